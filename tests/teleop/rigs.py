"""What the tests of teleoperation share: looks at an arm, a leader in a hand, a bench in stepped time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smolkit.arm import fake
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.joints import to_radians
from smolkit.cameras.camera import Observation
from smolkit.clock import SteppedClock
from smolkit.kit import Kit
from smolkit.teleop.leader import LeaderArm

REST = np.array([0, 0, 0, 0, 0, 50.0])             # deg, gripper %
READY = np.array([0, -30, 40, 70, 0, 50.0])        # the gripper looks down, the tip well above the table


def look(state_deg: np.ndarray, moment_s: float) -> Observation:
    return Observation(np.asarray(state_deg, float), captured_s=moment_s)


def goals(actor: Callable, count: int, *, start_s: float = 0.0, state_deg: np.ndarray = REST,
          period_s: float = 0.1) -> np.ndarray:
    """What an actor decides (count, 6) for a follower that is where its last goal was."""
    decided = []
    for index in range(count):
        state_deg = actor(look(state_deg, start_s + index * period_s)).goal_deg
        decided.append(state_deg)
    return np.array(decided)


class Hand:
    """A calibrated leader whose shafts a hand moves; `hold` a border pose (6,)."""

    def __init__(self, clock: SteppedClock, seed: int = 4):
        self.servos: ServoBus = fake.servos(seed)
        self.calibration = fake.calibrated(self.servos)
        self.port, self.clock = connect(self.servos), clock
        self.hold(REST)
        clock.on_advance(self.servos.advance_to)

    def hold(self, pose_deg: np.ndarray) -> None:
        self.servos.hand_pose(to_radians(np.asarray(pose_deg, float)))

    def arm(self) -> LeaderArm:
        return LeaderArm(self.port, self.calibration, self.clock)


def blind_bench(start_deg: np.ndarray = READY, profile: str = "standard") -> Kit:
    """A simulated kit without cameras (nothing to render), energized, its arm brought to a pose."""
    kit = Kit.sim("place", seed=1, profile=profile)
    kit.cameras.clear()
    kit.bench.bus.hand_pose(to_radians(start_deg))
    kit.arm.energize()
    return kit
