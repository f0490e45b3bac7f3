"""A simulated bench whose arm is supervised, in stepped time: what the tests of stopping and parking stand on."""

from __future__ import annotations

import numpy as np

from smolkit.arm import registers
from smolkit.arm.so101 import SO101
from smolkit.clock import SteppedClock
from smolkit.safety.envelope import Envelope
from smolkit.safety.incidents import IncidentLog
from smolkit.safety.states import State
from smolkit.safety.supervisor import Supervisor
from smolkit.sim.bench import Bench

HOME_DEG = np.array([0.0, -30.0, 45.0, 50.0, 0.0, 30.0])
PERIOD_S = 1 / 30
IDS = range(1, 7)


class Desk:
    """A simulated bench whose arm is supervised."""

    def __init__(self, log: IncidentLog | None = None, **options: object):
        self.clock = SteppedClock()
        self.bench = Bench("place", 1, self.clock)
        calibration = self.bench.install(None)
        self.envelope = Envelope("standard")
        self.arm = SO101(self.bench.port, calibration, self.envelope, self.clock, ramp_s=0.1)
        self.guarded = Supervisor(self.arm, self.envelope, log, **options)

    @property
    def state(self) -> State:
        return self.guarded.state

    def wait(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now_s() + seconds)

    def run(self, seconds: float, goal_deg: np.ndarray = HOME_DEG, **context: object) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            self.guarded.command(goal_deg, **{k: v() if callable(v) else v for k, v in context.items()})
            self.wait(PERIOD_S)

    def limp(self) -> bool:
        return not any(self.bench.bus.memory(i).get(registers.TORQUE_ENABLE) for i in IDS)

    def logged(self, kind: str) -> list[str]:
        return [entry.code for entry in self.guarded.log.entries if entry.kind == kind]
