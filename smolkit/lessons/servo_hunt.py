"""The bug hunt of lesson 01: an emulated arm with one fault in it, drawn by a seed, to be found by reading registers.

    >>> hunt = Hunt(seed=4)
    >>> hunt.bus.read(1, registers.PRESENT_TEMPERATURE)          # any register of any servo, as often as you like
    25
    >>> print(hunt.check({"joint": None, "fault": None, "register": None, "value": None}))
    Exercise 1.6: not attempted yet

The arm stands in its middle pose, limp and calibrated. Numbers that look odd are evidence only with a register,
a joint and a value; the check reads that register itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from smolkit.arm import fake, registers
from smolkit.arm.bus import Bus
from smolkit.arm.emulator import connect
from smolkit.arm.joints import IDS, JOINT_NAMES
from smolkit.arm.registers import Register
from smolkit.lessons.grammar import Exercise, is_number
from smolkit.safety.faults import fault

HUNT = Exercise("1.6")
KEYS = ("joint", "fault", "register", "value")
TOOTH_TICKS = 164                                  # 25 teeth to a turn
NEAR = 3                                           # in the register's unit


@dataclass(frozen=True)
class Clue:
    """A fault of the catalogue, and how it is injected."""

    parameters: Mapping[str, Any]
    lead: str                                      # for who has the joint, but not yet the fault


CLUES = {
    "hot_servo": Clue({"temperature_c": 68.0}, "What would you feel with a finger on that servo?"),
    "error_flag": Clue({"bits": registers.OVERLOAD}, "Ask the servo itself: register Status"),
    "protections_off": Clue({}, "Compare its protection registers with its neighbours'"),
    "odd_calibration": Clue({"offset_ticks": 300}, "Compare Homing_Offset with the file, hunt.calibration"),
    "slipped_horn": Clue({"ticks": TOOTH_TICKS}, "Its settings are as filed; what does it read in the middle pose?"),
    "stale_goal": Clue({"ticks": 800}, "Where would it drive if torque came on now?"),
}


class Hunt:
    """One arm, one fault. `bus` reads it, `calibration` is its file; `check` judges an answer."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self._fault, self._servo = str(rng.choice(list(CLUES))), int(rng.integers(1, 7))
        servos = fake.servos(seed=int(rng.integers(1, 1000)))
        self.calibration = fake.calibrated(servos)
        servos.power_cycle()
        self.bus = Bus(connect(servos))
        self._healthy = {register.name: self.bus.read(self._servo, register) for register in registers.TABLE}
        self._injected = fault(self._fault, servos, servo=self._servo, **CLUES[self._fault].parameters)
        self._injected.__enter__()

    def table(self, *wanted: Register) -> str:
        """Registers of all six servos as a table."""
        rows = [f"{'':22}" + "".join(f"{name:>14}" for name in JOINT_NAMES)]
        for register in wanted:
            values = self.bus.sync_read(register, IDS).values()
            rows.append(f"{register.name:22}" + "".join(f"{value:>14}" for value in values))
        return "\n".join(rows)

    def check(self, answer: Mapping[str, Any]) -> str:
        """Exercise 1.6: joint, fault, and the register whose value shows it."""
        if unfilled := HUNT.unfilled(answer, KEYS):
            return unfilled
        if answer["joint"] not in JOINT_NAMES:
            return HUNT.not_yet(f"A joint is one of {', '.join(JOINT_NAMES)}")
        if answer["fault"] not in list(CLUES):     # a list: what a learner wrote may have no hash
            return HUNT.not_yet(f"A fault is one of {', '.join(CLUES)}")
        return self._judge(answer, JOINT_NAMES.index(answer["joint"]) + 1)

    def _judge(self, answer: Mapping[str, Any], servo: int) -> str:
        clue, register = CLUES[self._fault], _register(answer["register"])
        if register is None or not is_number(answer["value"]):
            return HUNT.not_yet("Evidence, please: the register's name, and the number that you read in it")
        found = self.bus.read(servo, register)
        if abs(found - answer["value"]) > NEAR:
            return HUNT.not_yet(f"{register.name} of {answer['joint']} reads {found}, not {answer['value']:g}")
        if servo != self._servo:
            return HUNT.not_yet(f"{answer['joint']} is as it should be: {register.name} = {found} is what one expects "
                                "there. Compare all six in a table")
        if answer["fault"] != self._fault:
            return HUNT.not_yet(f"The joint is right, the fault is another one. {clue.lead}")
        if found == self._healthy[register.name]:
            return HUNT.not_yet(f"Joint and fault are right, but {register.name} = {found} is no evidence of it. "
                                f"{clue.lead}")
        return HUNT.passed(f"{self._fault} in {answer['joint']}: {register.name} = {found}. Another seed hides another")


def _register(name: Any) -> Register | None:
    """By name, or the register itself."""
    known = {register.name: register for register in registers.TABLE}
    return known.get(name.name if isinstance(name, Register) else name) if isinstance(name, (str, Register)) else None
