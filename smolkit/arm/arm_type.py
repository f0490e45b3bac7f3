"""Which servos an arm is built of, what may feed them, and what their protections must say.

    >>> arm_type("7.4V").supply_v, arm_type("12V").supply_v
    ((4.6, 8.0), (11.0, 12.6))
    >>> arm_type("12V").protections[registers.MAX_VOLTAGE_LIMIT]
    Allowed(least=130, most=140, usual=140)
    >>> guess({1: 80, 2: 80, 3: 140})                # two servos of one type, one of the other
    Traceback (most recent call last):
    ...
    smolkit.report.SmolkitError: SK118 expected servos of one type, 7.4V or 12V
      found: voltage limits 1: 8.0 V, 2: 8.0 V, 3: 14.0 V
      likely cause: servos of both types in one arm, or a voltage limit that somebody changed
      next: read the labels (C001 is 7.4V, C018 is 12V), then run: smolkit doctor PORT --type 7.4V

A follower is built of 7.4 V servos (usually fed with 5 V) or of 12 V servos; a leader always of the former.
12 V on 7.4 V servos burns them, and only the label tells them apart for certain: register 14 says what the
factory, or somebody since, wrote there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smolkit.arm import registers
from smolkit.arm.registers import Register
from smolkit.report import SmolkitError

CUTS = registers.HOT | registers.CURRENT | registers.OVERLOAD


@dataclass(frozen=True)
class Allowed:
    """The values of a protection register that still protect, and the one to write otherwise."""

    least: int
    most: int
    usual: int


@dataclass(frozen=True)
class ArmType:
    """One kind of servo; `supply_v` is what a servo may measure while nothing moves."""

    name: str
    parts: str
    supply_v: tuple[float, float]
    max_voltage: int                               # register 14, 0.1 V

    @property
    def protections(self) -> dict[Register, Allowed]:
        """What the protection registers may say; the settings of `configure` are stricter for the gripper."""
        return PROTECTIONS | {registers.MAX_VOLTAGE_LIMIT:
                              Allowed(self.max_voltage - 10, self.max_voltage, self.max_voltage)}


# Some servos are sold with current, overload or all protections off; none of these values is a matter of taste.
PROTECTIONS = {
    registers.MAX_TEMPERATURE_LIMIT: Allowed(40, 80, 70),
    registers.MIN_VOLTAGE_LIMIT: Allowed(35, 110, 40),
    registers.UNLOADING_CONDITION: Allowed(CUTS, 255, CUTS),
    registers.PROTECTION_CURRENT: Allowed(1, 511, 500),
    registers.PROTECTIVE_TORQUE: Allowed(0, 50, 20),
    registers.PROTECTION_TIME: Allowed(1, 254, 200),
    registers.OVERLOAD_TORQUE: Allowed(1, 80, 80),
    registers.OVER_CURRENT_TIME: Allowed(1, 254, 200),
}
TYPES = {kind.name: kind for kind in (ArmType("7.4V", "C001, C044, C046", (4.6, 8.0), 80),
                                      ArmType("12V", "C018", (11.0, 12.6), 140))}
LABELS = "read the labels (C001 is 7.4V, C018 is 12V), then run: smolkit doctor PORT --type 7.4V"


def arm_type(name: str) -> ArmType:
    """The type of that name; SK118 where there is none."""
    if name not in TYPES:
        raise SmolkitError("SK118", f"an arm type: {' or '.join(TYPES)}", repr(name), "a misspelled name", LABELS)
    return TYPES[name]


def guess(max_voltage: Mapping[int, int]) -> ArmType:
    """The type by what the servos' registers 14 say (id -> 0.1 V); SK118 where they disagree."""
    for kind in TYPES.values():
        if all(kind.max_voltage - 10 <= limit <= kind.max_voltage for limit in max_voltage.values()):
            return kind
    words = ", ".join(f"{i}: {limit / 10:.1f} V" for i, limit in max_voltage.items())
    raise SmolkitError("SK118", f"servos of one type, {' or '.join(TYPES)}", f"voltage limits {words}",
                       "servos of both types in one arm, or a voltage limit that somebody changed", LABELS)
