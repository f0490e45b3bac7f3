"""What stands behind the servos' registers: something with six shafts that can be driven and read.

The emulated bus knows only this protocol, never MuJoCo; `smolkit.sim.World` implements it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class PlantState:
    """The six shafts at one moment, in the order of `smolkit.arm.joints.JOINTS`."""

    angle_rad: np.ndarray          # (6,) URDF angle
    velocity_rad_s: np.ndarray     # (6,)
    load: np.ndarray               # (6,) drive torque / stall torque, -1..1


class Plant(Protocol):
    """Physics of an arm: goals in, positions out. Time moves only by `advance_to`.

    A plant may offer more: `place(angle_rad (6,))` for `ServoBus.hand_pose`, a hand that moves the limp
    shafts at once; `tune(gain (6,))`, told the servos' P gains as multiples of 16 when they change.
    """

    def state(self) -> PlantState: ...

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        """Position goals (6,) rad, torque switches (6,) bool, torque caps (6,) 0..1 of stall."""

    def advance_to(self, moment_s: float) -> None: ...
