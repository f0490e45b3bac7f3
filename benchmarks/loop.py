"""What one control cycle, one second of physics and one picture cost on this computer.

    python -m benchmarks.loop

Processor time of one thread, the median of several rounds: other programs disturb it less than a clock on
the wall. `cycle` is a read and a command through envelope, driver, packets and emulated servos, without the
physics; 30 of them are wanted a second. Physics carries out what the demonstrator wishes, contacts included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.measured import Row, keep
from smolkit.kit import Kit
from smolkit.sim.demonstrator import demonstrate
from smolkit.sim.world import World

CONTROL_HZ, ROUNDS = 30, 5
CYCLES, PICTURES, SEEDS = 200, 40, range(10)
SIZES_PX = ((64, 64), (96, 96), (128, 128), (240, 320))


def cpu_s(work: Callable[[], object]) -> float:
    """Processor seconds, this process and all its threads."""
    begin_s = time.process_time()
    work()
    return time.process_time() - begin_s


def cycle_row() -> Row:
    """One read and one command; the clock moves on outside of the measured time."""
    with Kit.sim("place", seed=0, image_px=64) as kit:
        kit.arm.energize()
        start_deg = kit.arm.read().pos_deg

        def cycle(goal_deg: np.ndarray) -> None:
            kit.arm.read()
            kit.command(goal_deg)

        def spent_s(k: int) -> float:
            kit.clock.sleep_until(kit.clock.now_s() + 1 / CONTROL_HZ)
            return cpu_s(lambda: cycle(start_deg + 5 * np.sin(k / CONTROL_HZ)))      # every joint moves

        taken_s = [spent_s(k) for k in range(CYCLES)]
    return Row("control cycle: read and command through the envelope", 1e3 * median(taken_s), "ms CPU", CYCLES)


def physics_row() -> Row:
    """Simulated seconds of demonstrations for each second of one core."""
    demonstrate("place", 0)                     # the model is compiled once

    def round_s() -> float:
        simulated = []
        spent_s = cpu_s(lambda: simulated.extend(demonstrate("place", seed).seconds for seed in SEEDS))
        return sum(simulated) / spent_s

    return Row("physics of demonstrations, place", median(round_s() for _ in range(ROUNDS)), "x real time", len(SEEDS))


def picture_rows() -> list[Row]:
    """Pictures of the front camera, by size; software GL (llvmpipe) draws on the processor, too."""
    rows = []
    with World() as world:
        for height_px, width_px in SIZES_PX:
            def draw(size=(height_px, width_px)) -> None:
                for _ in range(PICTURES):
                    world.render("front", *size)

            draw()                              # the first picture of a size makes its buffers
            fps = median(PICTURES / wall_s(draw) for _ in range(ROUNDS))
            rows.append(Row(f"pictures {height_px}x{width_px}, {world.renderer.name}", fps, "1/s", PICTURES * ROUNDS))
    return rows


def wall_s(work: Callable[[], object]) -> float:
    """Seconds on the wall: a graphics card's work costs the processor nothing, and still takes time."""
    begin_s = time.monotonic()
    work()
    return time.monotonic() - begin_s


def main() -> None:
    rows = [cycle_row(), physics_row(), *picture_rows()]
    for row in rows:
        print(f"{row.value:10.4g} {row.unit:12} {row.what}")
    keep("loop", rows)


if __name__ == "__main__":
    main()
