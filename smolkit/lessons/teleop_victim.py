"""A notebook's kernel that will be killed: it owns an arm, moves it slowly to and fro, and knows nothing.

    python -m smolkit.lessons.teleop_victim PORT arm.json incidents.jsonl

It says "moving" when it moves. Nothing here catches a signal or cleans up; lesson 03 ends it with SIGKILL.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from smolkit.clock import WallClock
from smolkit.safety.client import GuardedArm

PERIOD_S, WAVE_S = 1 / 30, 4.0
WAVE_DEG = 15 * np.array([1.0, -0.5, 0.3, 0.0, 0.0, 0.0])


def main() -> None:
    """Moves until it is killed."""
    port, calibration, log = sys.argv[1:]
    arm, clock = GuardedArm.start(port, Path(calibration), profile="standard", log=Path(log)), WallClock()
    arm.energize()
    start_deg, begin_s = arm.read().pos_deg, clock.now_s()
    print("moving", flush=True)
    while True:
        moment_s = clock.now_s()
        arm.command(start_deg + WAVE_DEG * np.sin(2 * np.pi * (moment_s - begin_s) / WAVE_S))
        clock.sleep_until(moment_s + PERIOD_S)


if __name__ == "__main__":
    main()
