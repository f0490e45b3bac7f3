"""Which serial port is the arm's, and is the arm behind it well?

    >>> from smolkit.arm import fake
    >>> print(check_arm(fake.port()).checks[0].line())
    ✓ SK102 port: found in-process bus opened
    >>> check_arm(fake.port()).ok
    True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from serial.tools import list_ports

from smolkit.arm import configure, registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.report import Check, Report, SmolkitError

IDS = (1, 2, 3, 4, 5, 6)
ARM_BOARDS = {(0x1A86, 0x55D3), (0x1A86, 0x7523)}  # CH343 and CH340, the chips on the usual boards
WARM_C = 55                                        # above this an arm at rest has a story to tell


@dataclass(frozen=True)
class Port:
    """A serial port of this computer; vid, pid and serial number are None where it is not USB."""

    name: str
    description: str
    vid: int | None
    pid: int | None
    serial: str | None

    @property
    def like_an_arm(self) -> bool:
        """True if its USB chip is one that servo boards carry."""
        return (self.vid, self.pid) in ARM_BOARDS


def ports() -> tuple[Port, ...]:
    """All serial ports, those that look like a servo board first."""
    found = [Port(p.device, p.description, p.vid, p.pid, p.serial_number) for p in list_ports.comports()]
    return tuple(sorted(found, key=lambda port: (not port.like_an_arm, port.name)))


def unplugged(before: Iterable[Port], after: Iterable[Port]) -> Port:
    """The one port that went away while the arm's cable was pulled; raises SK113 if it is not one.

        >>> arm, mouse = (Port(name, "", None, None, None) for name in ("COM3", "COM4"))
        >>> unplugged([arm, mouse], [mouse]).name
        'COM3'
    """
    left = {port.name for port in after}
    gone = [port for port in before if port.name not in left]
    if len(gone) != 1:
        raise SmolkitError("SK113", "exactly one port to disappear",
                           ", ".join(port.name for port in gone) or "none did",
                           "the wrong cable was pulled, or it is a charging cable without data lines",
                           "plug it in again, wait a second, try again")
    return gone[0]


def check_arm(port: str | Any, calibration: Calibration | None = None) -> Report:
    """The bring-up report of an arm: red and green lines, nothing raised, nothing moved or written."""
    title = "bring-up"
    try:
        bus = Bus(port)
    except SmolkitError as error:
        return Report(title, (_red("port", error),))
    with bus:
        opened = Check("SK102", "port", True, "a port that opens", f"{bus.port.port_name} opened")
        return Report(title, (opened, *_checks(bus, calibration)))


def _checks(bus: Bus, calibration: Calibration | None) -> list[Check]:
    """Servos first: the others make no sense while one is silent."""
    checks = [_check("SK108", "servos", "ids 1 to 6, STS3215", lambda: _servos(bus))]
    if not checks[0].ok:
        return checks
    checks += [_check("SK114", "firmware", "one version in all servos", lambda: _firmware(bus)),
               _check("SK110", "servo voltage", "within the servos' limits", lambda: _voltage(bus)),
               _check("SK115", "temperature", f"below {WARM_C} deg C", lambda: _temperature(bus)),
               _check("SK116", "error bits", "none", lambda: _errors(bus)),
               _check("SK111", "protections", "all on", lambda: _protections(bus)),
               _check("SK112", "torque", "off in all servos", lambda: _torque(bus))]
    if calibration is not None:
        checks.append(_check("SK109", "calibration", "servos and file agree",
                             lambda: _calibration(bus, calibration)))
    return checks


def _check(code: str, name: str, expected: str, look: Callable[[], str]) -> Check:
    try:
        return Check(code, name, True, expected, look())
    except SmolkitError as error:
        return _red(name, error)


def _red(name: str, error: SmolkitError) -> Check:
    return Check(error.code, name, False, error.expected, error.found, error.cause, error.next_step)


def _servos(bus: Bus) -> str:
    configure.require_servos(bus, IDS)
    return f"6 x STS3215 (model {registers.MODEL_STS3215})"


def _firmware(bus: Bus) -> str:
    versions = {i: ".".join(map(str, reply.data)) for i, reply in bus.sync_read_block(0, 2, IDS).items()}
    if len(set(versions.values())) > 1:
        raise SmolkitError("SK114", "one firmware version in all servos", str(versions),
                           "servos of different batches; LeRobot refuses such a bus",
                           "update them with Feetech's FD program (Windows), one at a time")
    return versions[1]


def _voltage(bus: Bus) -> str:
    configure.check_voltage(bus, IDS)
    volts = bus.sync_read(registers.PRESENT_VOLTAGE, IDS).values()
    return f"{min(volts) / 10:.1f} to {max(volts) / 10:.1f} V"


def _temperature(bus: Bus) -> str:
    found = bus.sync_read(registers.PRESENT_TEMPERATURE, IDS)
    hottest = max(found, key=found.get)
    if found[hottest] >= WARM_C:
        raise SmolkitError("SK115", f"all servos below {WARM_C} deg C",
                           f"servo {hottest} ({configure.joint_name(hottest)}) at {found[hottest]} deg C",
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


def _protections(bus: Bus) -> str:
    configure.check_protection(bus, IDS)
    return "all on"


def _torque(bus: Bus) -> str:
    configure.require_limp(bus, IDS)
    return "off in all servos"


def _calibration(bus: Bus, calibration: Calibration) -> str:
    configure.check_calibration(bus, calibration)
    return "servos and file agree"
