"""A notebook's kernel that will be killed: it owns an arm, moves it slowly to and fro, and knows nothing.

    python -m smolkit.lessons.teleop_victim PORT arm.json incidents.jsonl --wave-deg 15

It says "moving" when it moves. Nothing here catches a signal or cleans up; lesson 03 ends it with SIGKILL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from smolkit.clock import WallClock
from smolkit.safety.client import GuardedArm

PERIOD_S, WAVE_S = 1 / 30, 4.0
SHARES = np.array([1.0, -0.5, 0.3, 0.0, 0.0, 0.0])                # of the wave, for each joint


def main() -> None:
    """Moves until it is killed."""
    parser = argparse.ArgumentParser(prog="python -m smolkit.lessons.teleop_victim")
    parser.add_argument("port")
    parser.add_argument("calibration", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--profile", default="beginner")
    parser.add_argument("--wave-deg", type=float, default=5.0)
    given = parser.parse_args()
    arm, clock = GuardedArm.start(given.port, given.calibration, profile=given.profile, log=given.log), WallClock()
    arm.energize()
    start_deg, begin_s = arm.read().pos_deg, clock.now_s()
    print("moving", flush=True)
    while True:
        moment_s = clock.now_s()
        wave = np.sin(2 * np.pi * (moment_s - begin_s) / WAVE_S)
        arm.command(start_deg + given.wave_deg * wave * SHARES)
        clock.sleep_until(moment_s + PERIOD_S)


if __name__ == "__main__":
    main()
