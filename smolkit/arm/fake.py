"""Arms without physics, for tests, examples and graders: seeded, quick, with faults on request.

    >>> import numpy as np
    >>> with arm(seed=1) as robot:                           # an SO101 on an emulated bus, stepped time
    ...     robot.energize()
    ...     sent = robot.command(np.array([10, -20, 30, 0, 5, 50.0]))
    ...     robot.clock.sleep_until(robot.clock.now_s() + 2.0)
    ...     bool(np.abs(robot.read().pos_deg - sent).max() < 0.5)
    True

`SpringPlant` is not a robot: no gravity, no links, each shaft follows its goal by itself. Use
`smolkit.sim.World` where physics matters.
"""

from __future__ import annotations

import numpy as np

from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import calibrate_with_hand
from smolkit.arm.calibration import Calibration
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.joints import LOWER_DEG, LOWER_RAD, UPPER_DEG, UPPER_RAD
from smolkit.arm.plant import PlantState
from smolkit.arm.so101 import SO101, Guard
from smolkit.arm.wire import LoopbackSerial
from smolkit.clock import SteppedClock

NO_LOAD_RAD_S = 5.4                                # 312 deg/s, C001 at 7.4 V
STIFFNESS = 10.0                                   # of stall per rad of error
SETTLE_S = 0.02


class SpringPlant:
    """Six independent shafts; `blocked` (6,) bool holds one still, so that it loads its servo."""

    def __init__(self, angle_rad: np.ndarray | None = None):
        self.angle_rad = np.zeros(6) if angle_rad is None else np.asarray(angle_rad, float).copy()
        self.blocked = np.zeros(6, bool)
        self.stiffness = np.full(6, STIFFNESS)     # of stall per rad
        self._velocity, self._load = np.zeros(6), np.zeros(6)
        self._goal, self._on, self._cap = self.angle_rad.copy(), np.zeros(6, bool), np.ones(6)
        self._now_s = 0.0

    def state(self) -> PlantState:
        return PlantState(self.angle_rad, self._velocity, self._load)

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        self._goal, self._on, self._cap = goal_rad, torque_on.copy(), torque_limit

    def advance_to(self, moment_s: float) -> None:
        dt_s = moment_s - self._now_s
        if dt_s <= 0:
            return
        gap = self._goal - self.angle_rad
        free = self._on & ~self.blocked & (self._cap > 0)
        reach = NO_LOAD_RAD_S * dt_s
        step = np.clip(gap * (1 - np.exp(-dt_s / SETTLE_S)), -reach, reach) * free
        self.angle_rad = np.clip(self.angle_rad + step, LOWER_RAD - 0.2, UPPER_RAD + 0.2)
        self._velocity = step / dt_s
        self._load = np.clip((self._goal - self.angle_rad) * self.stiffness, -self._cap, self._cap) * self._on
        self._now_s = moment_s

    def place(self, angle_rad: np.ndarray) -> None:
        """A hand sets the shafts; they stay."""
        self.angle_rad, self._velocity = np.asarray(angle_rad, float).copy(), np.zeros(6)

    def tune(self, gain: np.ndarray) -> None:
        """The servos' P gain, as multiples of 16."""
        self.stiffness = STIFFNESS * gain


class OpenGuard:
    """Admits every finite goal inside the joints' limits; for tests of the driver, never for an arm."""

    def __init__(self) -> None:
        self.admitted, self.resets = 0, 0

    def admit(self, goal_deg: np.ndarray, present_deg: np.ndarray, dt_s: float) -> np.ndarray:
        self.admitted += 1
        return np.clip(np.where(np.isfinite(goal_deg), goal_deg, present_deg), LOWER_DEG, UPPER_DEG)

    def reset(self, holding_deg=None) -> None:
        self.resets += 1


def servos(seed: int = 0) -> ServoBus:
    """Six new servos with a `SpringPlant`; horns as drawn by `seed` (0: all straight)."""
    return ServoBus(SpringPlant(), assembly_seed=seed or None)


def port(seed: int = 0) -> LoopbackSerial:
    """A serial object with `servos(seed)` behind it."""
    return connect(servos(seed))


def bus(seed: int = 0) -> Bus:
    """A driver's bus on `port(seed)`."""
    return Bus(port(seed))


def calibrated(servo_bus: ServoBus) -> Calibration:
    """Calibrates the emulated arm by hand, as the sim lane does."""
    with Bus(connect(servo_bus)) as opened:
        return calibrate_with_hand(opened, servo_bus.hand_pose)


def arm(seed: int = 0, guard: Guard | None = None, servo_bus: ServoBus | None = None) -> SO101:
    """A calibrated SO101 in stepped time; its `clock` moves the emulated servos."""
    servo_bus = servos(seed) if servo_bus is None else servo_bus
    calibration, clock = calibrated(servo_bus), SteppedClock(servo_bus.now_s)
    clock.on_advance(servo_bus.advance_to)
    return SO101(connect(servo_bus), calibration, guard if guard is not None else OpenGuard(), clock)
