"""Is the arm well? Red and green lines, each with its likely cause and the next command.

    >>> from smolkit.arm import fake
    >>> report = check_arm(fake.port())
    >>> print(report.checks[0].line())
    ✓ SK102 port: found in-process bus opened
    >>> report.ok
    True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smolkit.arm import arm_type, configure, daisy_chain, registers
from smolkit.arm.arm_type import ArmType
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.joints import IDS, servo_name
from smolkit.report import Check, Report, SmolkitError

WARM_C = 55                                        # above this an arm at rest has a story to tell


def check_arm(port: str | Any, calibration: Calibration | None = None, kind: ArmType | None = None) -> Report:
    """The bring-up report of an arm: nothing raised, nothing moved or written.

    `kind` is what the labels on the servos say; without it their voltage limits are believed.
    """
    try:
        bus = Bus(port)
    except SmolkitError as error:
        return Report("bring-up", (_red("port", error),))
    with bus:
        opened = Check("SK102", "port", True, "a port that opens", f"{bus.port.port_name} opened")
        return Report("bring-up", (opened, *check_bus(bus, calibration, kind)))


def check_bus(bus: Bus, calibration: Calibration | None = None, kind: ArmType | None = None) -> list[Check]:
    """The same on an open bus. The chain first: the others make no sense while a servo is silent."""
    try:
        chain = daisy_chain.look(bus)
    except SmolkitError as error:                  # the cable was pulled just now
        return [_red("daisy chain", error)]
    if not chain.check().ok:
        return [chain.check()]
    looks = [("SK108", "servos", "STS3215 on all ids", _servos), ("SK114", "firmware", "one version", _firmware),
             ("SK118", "servo type", "one type", lambda bus: _type(bus, kind)),
             ("SK110", "servo voltage", "as the servos are rated", lambda bus: _voltage(bus, kind)),
             ("SK115", "temperature", f"below {WARM_C} deg C", _temperature),
             ("SK116", "error bits", "none", _errors),
             ("SK111", "protections", "all on", lambda bus: _protections(bus, kind)),
             ("SK112", "torque", "off in all servos", _torque)]
    if calibration is not None:
        looks.append(("SK109", "calibration", "servos and file agree", lambda bus: _calibration(bus, calibration)))
    return [chain.check(), *(_check(bus, *look) for look in looks)]


def _check(bus: Bus, code: str, name: str, expected: str, look: Callable[[Bus], str]) -> Check:
    try:
        return Check(code, name, True, expected, look(bus))
    except SmolkitError as error:
        return _red(name, error)


def _red(name: str, error: SmolkitError) -> Check:
    return Check(error.code, name, False, error.expected, error.found, error.cause, error.next_step)


def _servos(bus: Bus) -> str:
    for servo_id in IDS:
        configure.require_model(servo_id, bus.read(servo_id, registers.MODEL_NUMBER))
    return f"{len(IDS)} x STS3215 (model {registers.MODEL_STS3215})"


def firmware(bus: Bus) -> dict[int, str]:
    """Firmware of each servo, by id."""
    return {i: ".".join(map(str, reply.data)) for i, reply in bus.sync_read_block(0, 2, IDS).items()}


def _firmware(bus: Bus) -> str:
    versions = firmware(bus)
    if len(set(versions.values())) > 1:
        raise SmolkitError("SK114", "one firmware version in all servos", str(versions),
                           "servos of different batches; LeRobot refuses such a bus",
                           "update them with Feetech's FD program (Windows), one at a time")
    return versions[1]


def type_of(bus: Bus, kind: ArmType | None) -> ArmType:
    """`kind`, or what the servos' own voltage limits say."""
    return kind or arm_type.guess(bus.sync_read(registers.MAX_VOLTAGE_LIMIT, IDS))


def _type(bus: Bus, kind: ArmType | None) -> str:
    found = type_of(bus, kind)
    return f"{found.name} ({found.parts}), {'as you said' if kind else 'by their voltage limits: compare the labels'}"


def _voltage(bus: Bus, kind: ArmType | None) -> str:
    configure.check_voltage(bus, IDS, type_of(bus, kind))
    volts = bus.sync_read(registers.PRESENT_VOLTAGE, IDS).values()
    return f"{min(volts) / 10:.1f} to {max(volts) / 10:.1f} V"


def _temperature(bus: Bus) -> str:
    found = bus.sync_read(registers.PRESENT_TEMPERATURE, IDS)
    hottest = max(found, key=found.get)
    if found[hottest] >= WARM_C:
        raise SmolkitError("SK115", f"all servos below {WARM_C} deg C",
                           f"servo {servo_name(hottest)} at {found[hottest]} deg C",
                           "it held a load for long, or it is blocked",
                           "switch the arm's power off and let it cool below 45 deg C")
    return f"{found[hottest]} deg C at most"


def _errors(bus: Bus) -> str:
    flagged = {i: registers.error_names(error) for i in IDS if (error := bus.ping(i))}
    if flagged:
        words = "; ".join(f"servo {i}: {', '.join(names)}" for i, names in flagged.items())
        raise SmolkitError("SK116", "no error bits", words, "a latched fault of an earlier session",
                           "switch the arm's power off and on; if it stays, look at that joint")
    return "none"


def _protections(bus: Bus, kind: ArmType | None) -> str:
    configure.check_protection(bus, IDS, type_of(bus, kind))
    return "all on"


def _torque(bus: Bus) -> str:
    configure.require_limp(bus, IDS)
    return "off in all servos"


def _calibration(bus: Bus, calibration: Calibration) -> str:
    configure.check_calibration(bus, calibration)
    return f"servos and file agree, fingerprint {calibration.fingerprint}"
