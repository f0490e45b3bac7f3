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
    """Physics of an arm: goals in, positions out. Time moves only by `advance_to`."""

    def state(self) -> PlantState: ...

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        """Position goals (6,) rad, torque switches (6,) bool, torque caps (6,) 0..1 of stall."""

    def advance_to(self, moment_s: float) -> None: ...


class HandledPlant(Plant, Protocol):
    """A plant that can also be moved by hand while limp, and that feels the servos' gain."""

    def place(self, angle_rad: np.ndarray) -> None:
        """A hand brings the shafts to (6,) rad at once."""

    def tune(self, gain: np.ndarray) -> None:
        """P gains (6,) as multiples of 16, the SO-101's usual one. Optional: called only where it exists."""
