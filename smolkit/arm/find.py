"""Which serial port is the arm's: by its USB serial number, or by pulling its cable.

    >>> from smolkit.clock import SteppedClock
    >>> arm, mouse = (Port(name, "", 0x1A86, 0x55D3, serial) for name, serial in (("COM3", "5A46"), ("COM4", None)))
    >>> desk = iter([(arm, mouse), (mouse,), (mouse,), (arm, mouse)])            # pulled, and plugged in again
    >>> replugged(lambda: next(desk), SteppedClock()).name
    'COM3'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from serial.tools import list_ports

from smolkit.clock import Clock, WallClock
from smolkit.report import SmolkitError

ARM_BOARDS = {(0x1A86, 0x55D3), (0x1A86, 0x7523)}  # CH343 and CH340, the chips on the usual boards
LOOK_EVERY_S = 0.2
BY_SERIAL = "usb:"                                 # "usb:5A46083062" names a port by its USB serial number


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

    @property
    def identity(self) -> str:
        """What stays the same when the system gives it another name: the serial number, if it has one."""
        return self.serial or self.name


def ports() -> tuple[Port, ...]:
    """All serial ports, those that look like a servo board first."""
    found = [Port(p.device, p.description, p.vid, p.pid, p.serial_number) for p in list_ports.comports()]
    return tuple(sorted(found, key=lambda port: (not port.like_an_arm, port.name)))


def port_named(name: str, look: Callable[[], Iterable[Port]] = ports) -> str:
    """"usb:SERIAL" -> the name that this port has today; any other name as it is. Raises SK113."""
    if not name.startswith(BY_SERIAL):
        return name
    serial = name.removeprefix(BY_SERIAL)
    found = [port for port in look() if port.serial == serial]
    if len(found) != 1:
        raise SmolkitError("SK113", f"one USB port with the serial number {serial}", f"{len(found)} of them",
                           "the arm's board is not plugged in, or it is another board",
                           "smolkit find-port lists the serial numbers of all boards")
    return found[0].name


def replugged(look: Callable[[], Iterable[Port]] = ports, clock: Clock | None = None, *, patience_s: float = 60.0,
              tell: Callable[[str], None] = lambda text: None) -> Port:
    """Watches until one port went and came back: that one is the arm's. Raises SK113 after `patience_s`."""
    clock = clock if clock is not None else WallClock()
    before, gone, end_s = tuple(look()), None, clock.now_s() + patience_s
    tell("now pull the arm's USB cable out of the computer")
    while clock.now_s() < end_s:
        clock.sleep_until(clock.now_s() + LOOK_EVERY_S)
        now = tuple(look())
        if gone is None and len(now) < len(before):
            gone = unplugged(before, now)
            tell(f"{gone.name} went; plug it in again")
        back = [port for port in now if gone is not None and port.identity not in
                {other.identity for other in before if other != gone}]
        if back:
            return back[0]
    raise SmolkitError("SK113", "one port to go and to come back", f"{gone.name} went only" if gone else "none went",
                       "the cable was not pulled, or it is a charging cable without data lines",
                       "smolkit find-port --watch, and pull the cable while it runs")


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
