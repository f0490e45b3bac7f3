"""How evenly does the 30 Hz loop run over a wire that takes its time, and what does it cost the processor?

    python -m benchmarks.driver --seconds 60

Six emulated servos are a process of their own behind a pty whose bytes take what they take at 1 Mbaud, and whose
servos pause 0.5 ms before each answer, as some factories leave them (we set that to 0, which is measured, too). A
cycle reads all telemetry and sends a goal through envelope and driver: once with the driver in this process, once
through the guardian. Beside it stands what the wire alone costs: no software can be faster. A pty has no USB: a real
adapter adds 1 to 4 ms.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measured import Row, keep
from smolkit.arm import fake, packets, registers
from smolkit.arm.calibration import Calibration
from smolkit.arm.serve import WireTime, serve_pty
from smolkit.arm.so101 import SO101, TORQUE_START
from smolkit.clock import WallClock
from smolkit.safety.client import GuardedArm
from smolkit.safety.envelope import Envelope, calibrated_range
from smolkit.safety.guardian import PATIENT

HZ, PERIOD_S = 30, 1 / 30
TICKS_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
RETURN_S = (500e-6, 0.0)
SHARES = ((50, "p50"), (95, "p95"), (99, "p99"), (100, "max"))


def wire_s(return_s: float) -> float:
    """What the bytes of one cycle and the servos' pauses take: read, then registers 40 to 70, then a goal."""
    ids, end, wire = range(1, 7), registers.TELEMETRY_START + registers.TELEMETRY_BYTES, WireTime(return_s=return_s)

    def read_s(first: int) -> float:
        replies = b"".join(packets.status(i, 0, bytes(end - first)) for i in ids)
        return wire.spent_s(packets.sync_read(first, end - first, ids), replies)

    goals = packets.sync_write(registers.GOAL_POSITION.address, 2, {i: bytes(2) for i in ids})
    return read_s(registers.TELEMETRY_START) + read_s(TORQUE_START) + wire.spent_s(goals, b"")


def serve(folder: Path, return_s: float) -> None:
    """The servos' process: tells its port, and lives until its standard input ends."""
    servo_bus = fake.servos(1)
    fake.calibrated(servo_bus).save(folder / "arm.json")
    with serve_pty(servo_bus, wire=WireTime(return_s=return_s)) as server:
        print(server.port, flush=True)
        sys.stdin.read()


@contextmanager
def servos(folder: Path, return_s: float) -> Iterator[str]:
    """Starts that process; yields its port."""
    command = [sys.executable, "-m", "benchmarks.driver", "--serve", str(folder), "--return-s", str(return_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has had (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def loop(arm: SO101 | GuardedArm, pids: tuple[int, ...], seconds: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Errors of the period (N,) s, durations of the cycles (N,) s, and the processors' share of the processes."""
    start_deg = arm.read().pos_deg
    began_s, took_s, spent_s = [], [], sum(map(cpu_s, pids))
    first_s = time.monotonic()
    for k in range(round(seconds * HZ)):
        time.sleep(max(0.0, first_s + k * PERIOD_S - time.monotonic()))
        began_s.append(time.monotonic())
        arm.read()
        arm.command(start_deg + 5 * np.sin(k / HZ))
        took_s.append(time.monotonic() - began_s[-1])
    share = (sum(map(cpu_s, pids)) - spent_s) / (time.monotonic() - first_s)
    return np.abs(np.diff(began_s) - PERIOD_S), np.array(took_s), share


def direct(port: str, file: Path, measure: Callable[..., object]) -> object:
    """The driver in this process."""
    calibration = Calibration.load(file)
    envelope = Envelope("standard", calibrated_range(calibration))
    with SO101(port, calibration, envelope, WallClock(), **PATIENT) as arm:    # as the guardian is with emulated ones
        arm.energize()
        return measure(arm, (os.getpid(),))


def guarded(port: str, file: Path, measure: Callable[..., object]) -> object:
    """The driver in the guardian's process; both processes count."""
    with GuardedArm.start(port, file, profile="standard", parks=False) as arm:
        arm.energize()
        return measure(arm, (os.getpid(), arm.pid))


def rows(seconds: float) -> list[Row]:
    """All that is measured, and what limits it."""
    found = [Row("load average of the computer before the run", os.getloadavg()[0], "processes", 1)]
    for return_s in RETURN_S:
        name = f"return delay {1e6 * return_s:.0f} us"
        found.append(Row(f"{name}: one cycle on the wire alone, computed", 1e3 * wire_s(return_s), "ms", 1))
        for way, run in (("driver in the loop's process", direct), ("driver in the guardian", guarded)):
            with TemporaryDirectory() as folder, servos(Path(folder), return_s) as port:
                error_s, took_s, share = run(port, Path(folder) / "arm.json", lambda *a: loop(*a, seconds))
            what, n = f"{name}, {way}", len(took_s)
            found += [Row(f"{what}: period error {word}", 1e3 * float(np.percentile(error_s, at)), "ms", n)
                      for at, word in SHARES]
            found += [Row(f"{what}: read and command {word}", 1e3 * float(np.percentile(took_s, at)), "ms", n)
                      for at, word in SHARES[::2]]
            found.append(Row(f"{what}: processor", 100 * share, "% of a core", n))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--return-s", type=float, default=0.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve(given.serve, given.return_s)
    found = rows(given.seconds)
    for row in found:
        print(f"{row.value:10.4g} {row.unit:12} {row.what}")
    return keep("driver", found)


if __name__ == "__main__":
    main()
