"""Many hours of bad luck: random faults, random users and mad policies, and what must never happen meanwhile.

    python -m benchmarks.soak                        # 24 hours of stepped time, 1.6 hours of one core
    python -m benchmarks.soak --hours 0.1 --seed 3

One arm under supervision, on emulated servos in physics. At every goal on the wire, and after every call, the
invariants are examined: (a) goals in range, (b) no leaps, (c) tip speed, (d) clear of table and itself,
(e) torque only by arming, (f) after a stop the arm refuses until it is re-armed, (g) closed means limp, or
says which servo is not, (h) no call ends in anything but an error that teaches, (i) port and locks stay free,
(j) every stop is in the log. A violation ends the run with its seed and its story.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, deque
from contextlib import ExitStack

import numpy as np

from benchmarks.measured import Row, keep
from smolkit.arm import registers
from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, to_radians
from smolkit.arm.so101 import SO101
from smolkit.arm.wire import LoopbackSerial
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from smolkit.safety.envelope import Envelope, calibrated_range
from smolkit.safety.faults import FAULTS, fault
from smolkit.safety.states import State
from smolkit.safety.supervisor import Supervisor
from smolkit.sim.bench import Bench
from tests.safety.oracle import IDS, Oracle

PERIOD_S, DAY_H, EPISODE_S = 1 / 30, 24.0, 300.0
HOME_DEG = np.array([0.0, -30.0, 45.0, 50.0, 0.0, 30.0])
# What changes the arm itself (horn, ids, calibration) makes every position a lie: the doctor's business, not the
# loop's. A port that dies for good ends an episode; it has tests of its own.
LIES = {"odd_calibration", "swapped_ids", "duplicate_id", "slipped_horn", "at_seam", "reversed_drive", "usb_unplugged",
        "foreign_write", "echo"}
ON_SERVOS = sorted(name for name, kind in FAULTS.items()
                   if kind.inject.__module__.split(".")[-1] in ("line_faults", "servo_faults") and name not in LIES)
ON_WORLD = ["table_raised", "push", "blocked_joint", "slippery_objects"]
CALLS = ("command", "command", "command", "policy", "policy", "mad", "wait", "rest", "hold", "release", "energize",
         "rearm", "rearm", "park", "read", "reset")


class Day:
    """One episode of a soak: a bench, its arm, and somebody who does as the dice say."""

    def __init__(self, seed: int):
        self.random, self.story = np.random.default_rng(seed), deque(maxlen=40)
        self.clock = SteppedClock()
        self.bench = Bench("place", seed, self.clock)
        self.bus, self.world = self.bench.bus, self.bench.world
        calibration = self.bench.install(None)
        profile = str(self.random.choice(["beginner", "standard", "demonstration"]))
        self.envelope = Envelope(profile, calibrated_range(calibration))
        self.oracle = Oracle(self.envelope, calibration, self.clock.now_s, self.bus)
        self.arm = SO101(LoopbackSerial(self.listen), calibration, self.envelope, self.clock, ramp_s=0.2)
        self.guarded = Supervisor(self.arm, self.envelope)
        self.faults, self.seen = ExitStack(), Counter()

    def listen(self, request: bytes) -> bytes:
        """The wire: what the driver says is examined, what the servos hear may be spoiled by a fault."""
        self.oracle.listen(request)
        return self.bus.handle(request)

    def live(self, seconds: float) -> None:
        """Calls and faults until the time is over; then everything mended, closed, and examined."""
        end_s = self.clock.now_s() + seconds
        while self.clock.now_s() < end_s:
            if self.random.random() < 0.15:
                self.faults.close()
            if self.random.random() < 0.1:
                self.inject()
            self.call(str(self.random.choice(CALLS)))
            self.examine()
        self.faults.close()
        self.close()

    def inject(self) -> None:
        name = str(self.random.choice(ON_SERVOS + ON_WORLD))
        self.story.append(f"{self.clock.now_s():.2f} s fault {name}")
        self.seen[f"fault {name}"] += 1
        self.faults.enter_context(fault(name, self))

    def call(self, what: str) -> None:
        self.story.append(f"{self.clock.now_s():.2f} s {what} ({self.guarded.state})")
        stopped = self.guarded.stopped_by
        try:
            with ExitStack() as arming:
                if what in ("energize", "rearm"):
                    self.hand()
                    arming.enter_context(self.oracle.rearming())
                getattr(self, what)()
            if stopped is not None and what in ("command", "policy", "mad", "energize"):
                assert what != "energize" and self.guarded.stopped_by is not stopped, "a stop did not latch"   # (f)
        except SmolkitError as error:                                                    # (h): nothing else comes
            self.seen[error.code] += 1
            self.story.append(f"    {error.code} {error.found}")

    def examine(self) -> None:
        port = self.arm._bus.port
        assert not port.is_using and self.arm._bus._lock.acquire(blocking=False), "the port is stuck"       # (i)
        self.arm._bus._lock.release()
        stop = self.guarded.stopped_by
        if stop is not None:
            assert self.guarded.state in (State.HOLD, State.PARKING, State.OFF, State.LOST), self.guarded.state   # (f)
            assert any(entry.code == stop.stop.code for entry in self.guarded.log.entries), "not in the log"   # (j)

    def close(self) -> None:
        try:
            self.guarded.close(park=bool(self.random.random() < 0.5))
        except SmolkitError as error:
            assert error.code == "SK135", error                                                        # (g)
            return
        assert not any(self.bus.memory(i).get(registers.TORQUE_ENABLE) for i in IDS), "closed, and not limp"
        self.bench.close()

    # -- what somebody may do --------------------------------------------------------------------------------

    def hand(self) -> None:
        """A limp arm lies about anywhere; somebody lifts it before it is energized."""
        if not any(self.bus.memory(i).get(registers.TORQUE_ENABLE) for i in IDS):
            self.bus.hand_pose(to_radians(HOME_DEG + self.random.uniform(-10, 10, 6)))

    def energize(self) -> None:
        self.guarded.energize()

    def rearm(self) -> None:
        self.guarded.energize(rearm=True)

    def goal_deg(self) -> np.ndarray:
        return self.random.uniform(LOWER_DEG, UPPER_DEG)

    def send(self, seconds: float, goal_deg: object, policy: bool) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            self.guarded.command(goal_deg, observed_s=self.clock.now_s() if policy else None)
            self.clock.sleep_until(self.clock.now_s() + PERIOD_S)

    def command(self) -> None:
        self.send(self.random.uniform(0.1, 4), self.goal_deg(), policy=False)

    def policy(self) -> None:
        for _ in range(self.random.integers(1, 20)):
            self.send(self.random.choice([0.1, 0.1, 0.3]), self.goal_deg(), policy=True)

    def mad(self) -> None:
        goals = [np.full(6, np.nan), np.full(6, 1e30), np.zeros(5), np.zeros((1, 6)), np.full(6, np.inf)]
        self.send(0.3, goals[self.random.integers(len(goals))], policy=bool(self.random.random() < 0.5))

    def wait(self) -> None:
        self.clock.sleep_until(self.clock.now_s() + self.random.choice([0.2, 1.0, 5.0]))

    def rest(self) -> None:
        self.guarded.rest()

    def hold(self) -> None:
        self.guarded.hold("the dice")

    def release(self) -> None:
        self.guarded.release()

    def park(self) -> None:
        self.guarded.park()

    def read(self) -> None:
        self.guarded.read()

    def reset(self) -> None:
        self.envelope.reset()


def soak(hours: float, seed: int) -> tuple[int, Counter[str]]:
    """Goals that were examined, and what was seen; raises AssertionError with the story at a violation."""
    goals, seen, spent_s = 0, Counter(), 0.0
    while spent_s < hours * 3600:
        day = Day(seed)
        try:
            day.live(min(EPISODE_S, hours * 3600 - spent_s))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}\n" + "\n".join(day.story)) from error
        goals, spent_s, seed = goals + day.oracle.goals, spent_s + EPISODE_S, seed + 1
        seen += day.seen
    return goals, seen


def main() -> None:
    parser = argparse.ArgumentParser(description="random faults, users and policies against the supervised arm")
    parser.add_argument("--hours", type=float, default=DAY_H)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    goals, seen = soak(given.hours, given.seed)
    sys.stdout.write(f"{given.hours:g} h from seed {given.seed}: {goals} goals examined, no invariant violated\n")
    sys.stdout.writelines(f"  {name}: {count}\n" for name, count in sorted(seen.items()))
    faults = sum(count for name, count in seen.items() if name.startswith("fault"))
    keep("soak", [Row(f"invariants violated in {given.hours:g} h, seed {given.seed}", 0, "violations", goals),
                  Row(f"faults injected in {given.hours:g} h, seed {given.seed}", faults, "faults", faults)])


if __name__ == "__main__":
    main()
