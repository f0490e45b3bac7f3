"""A desk of the sim lane for fault tests: bench, guarded arm, one camera each, a loop. A `Rig` and a target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smolkit.arm import registers
from smolkit.arm.joints import from_radians
from smolkit.arm.so101 import SO101
from smolkit.cameras.camera import CameraRole, Observation
from smolkit.clock import SteppedClock
from smolkit.safety.envelope import Envelope, calibrated_range
from smolkit.safety.limits import JOINT_DEG
from smolkit.sim.bench import Bench
from smolkit.sim.world import shared_renderer

PERIOD_S = 1 / 30
IDS = (1, 2, 3, 4, 5, 6)
TICK_DEG = 0.09


class Desk:
    def __init__(self, task: str = "pick", seed: int = 3, profile: str = "standard"):
        self.clock = SteppedClock()
        self.bench = Bench(task, seed, self.clock, shared_renderer())
        self.world, self.bus = self.bench.world, self.bench.bus
        self.calibration = self.bench.install(None)
        self.cameras = {name: self.bench.camera(CameraRole(name, 32, 32, fps=10)) for name in ("front", "wrist")}
        self.envelope = Envelope(profile, calibrated_range(self.calibration))
        self.open()

    def open(self) -> SO101:
        self.arm = SO101(self.bench.port, self.calibration, self.envelope, self.clock)
        return self.arm

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.arm.close()
        self.bench.close()

    def energized(self) -> np.ndarray:
        """Torque on; the pose (6,) that the arm holds."""
        self.arm.energize()
        return self.arm.read().pos_deg

    def wait(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now_s() + seconds)

    def go(self, goal: np.ndarray | Callable[[], np.ndarray], seconds: float) -> np.ndarray:
        """Commands at 30 Hz; the goals (n, 6) that were sent."""
        sent = []
        for _ in range(round(seconds / PERIOD_S)):
            sent.append(self.arm.command(goal() if callable(goal) else goal))
            self.wait(PERIOD_S)
        return np.array(sent)

    def observe(self) -> Observation:
        return Observation(self.arm.read().pos_deg, captured_s=self.clock.now_s())

    def command(self, goal_deg: np.ndarray, observation: Observation | None = None) -> None:
        self.arm.command(goal_deg)

    def rest(self) -> None:
        """The arm stands: nobody watches for goals here."""

    def truth_deg(self) -> np.ndarray:
        return from_radians(self.world.state().angle_rad)

    def table(self, register: registers.Register) -> list[int]:
        return [self.bus.memory(servo).get(register) for servo in IDS]

    def torque(self) -> list[int]:
        return self.table(registers.TORQUE_ENABLE)

    def goals(self) -> list[int]:
        return self.table(registers.GOAL_POSITION)


def on(servo: int, by: float) -> np.ndarray:
    """A pose (6,) of zeros but for one joint, to be added."""
    return by * (np.arange(1, 7) == servo)


def fastest_deg_s(sent: np.ndarray, period_s: float = PERIOD_S) -> float:
    """Of goals (n, 6) that were sent one period apart."""
    return float((np.abs(np.diff(sent, axis=0)) * JOINT_DEG).max() / period_s)
