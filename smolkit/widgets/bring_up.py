"""The first hour with an arm: which port it is, ids for new servos, and the doctor's report.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.doctor import check_arm
    >>> panel = DoctorPanel(lambda: check_arm(fake.port()))
    >>> _ = panel.refresh()
    >>> print(panel.text().splitlines()[0])
    bring-up: all 10 checks green

`PortPanel` finds the port by pulling a cable, `SetupMotorsPanel` gives ids one servo at a time, `DoctorPanel` looks
at everything that a servo says about itself. They show what `smolkit.arm` decides.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

import ipywidgets as widgets
import numpy as np

from smolkit.arm import setup_motors
from smolkit.arm.arm_type import ArmType
from smolkit.arm.bus import Bus
from smolkit.arm.find import BY_SERIAL, Port, ports, replugged
from smolkit.arm.joints import IDS, joint_name, servo_name
from smolkit.plotting import JOINT_COLORS
from smolkit.report import Report
from smolkit.sim.scene import START_DEG
from smolkit.widgets.arm_view import arm_svg
from smolkit.widgets.panel import GREEN, RED, Panel, banner, report_html, revived

SEVERAL = "SK119", "SK140"                          # more than one servo on the wire
START = 'Unplug all servos from the board, then press "begin".'
ENDED = "The run has ended, nothing more is written."
NO_PORT = "No serial port: is the board plugged in, with a cable that carries data?"


def chain_svg(marks: dict[int, str], alt: str, cut: int | None = None, cables: bool = True) -> str:
    """Board and servos in a row; `marks` says each one's state: its first character is the sign, the rest words.

    ✓ is drawn full, a blank faint, anything else red; `cut` is the servo behind the broken cable.
    """
    boxes = "".join(_box(90 + 108 * place, servo, mark, cables, servo == cut)
                    for place, (servo, mark) in enumerate(marks.items()))
    return (f'<svg class="smolkit-chain" viewBox="0 0 {90 + 108 * len(marks)} 66" width="{90 + 108 * len(marks)}" '
            f'role="img" aria-label="{escape(alt)}" fill="currentColor" font-size="12" text-anchor="middle">'
            f'<rect x="2" y="8" width="68" height="50" rx="5" fill="none" stroke="currentColor"/>'
            f'<text x="36" y="38" font-weight="bold">board</text>{boxes}</svg>')


def _box(x: int, servo: int, mark: str, cables: bool, cut: bool) -> str:
    sign, words, colour = mark[:1], mark[1:].strip(), JOINT_COLORS[servo - 1]
    red, faint = sign in "?‼✗", sign == " "
    loose, broken = (' stroke-dasharray="4 5"' if it else "" for it in (cut, red))
    cable = f'<path d="M{x - 20} 33h20" stroke="{RED if cut else "currentColor"}" stroke-width="3"{loose}/>'
    scissors = f'<text x="{x - 10}" y="20" font-size="20" fill="{RED}" font-weight="bold">✂</text>' if cut else ""
    return (f'{cable if cables else ""}{scissors}<g opacity="{0.5 if faint else 1}"><rect x="{x}" y="8" width="88" '
            f'height="50" rx="5" fill="{colour}" fill-opacity="{0.25 if sign == "✓" else 0}" '
            f'stroke="{RED if red else colour}" stroke-width="{1 if faint else 3}"{broken}/>'
            f'<text x="{x + 44}" y="24" font-weight="bold">{servo}</text><text x="{x + 44}" y="38">{joint_name(servo)}'
            f'</text><text x="{x + 44}" y="53" font-weight="bold" fill="{RED if red else "currentColor"}">'
            f"{escape(f'{sign} {words}'.strip())}</text></g>")


class PortPanel(Panel):
    """The serial ports of this computer, and "find my arm": pull its cable, plug it in again.

    `port` is what was found; `address` is what to write into the notebook, the same after every restart.
    """

    rate_hz, picture_speaks = 2.0, True

    def __init__(self, look: Callable[[], Iterable[Port]] = ports, *, patience_s: float = 60.0):
        super().__init__()
        self._look, self._patience_s = look, patience_s
        self.ports: tuple[Port, ...] = ()
        self.port: Port | None = None
        self._said = 'Press "find my arm", and keep a hand at its USB cable.'
        self._finder: threading.Thread | None = None

    @property
    def address(self) -> str:
        """The found port by its USB serial number, or by its name where it has none; '' before."""
        if self.port is None:
            return ""
        return f"{BY_SERIAL}{self.port.serial}" if self.port.serial else self.port.name

    @property
    def searching(self) -> bool:
        return self._finder is not None and self._finder.is_alive()

    def find(self) -> None:
        """Begins to watch for a port that goes and comes back."""
        if not self.searching:
            self.port = None
            self._finder = threading.Thread(target=self.aside, args=(self._find,), daemon=True)
            self._finder.start()

    def _find(self) -> None:
        try:
            self.port = replugged(self._look, patience_s=self._patience_s, tell=self._tell)
        except Exception:
            self._tell('That was not it. Press "find my arm" to try again.')
            raise
        self._tell(f'This is your arm: {self.port.name}. In the notebook: PORT = "{self.address}"')

    def _tell(self, words: str) -> None:
        self._said = words[:1].upper() + words[1:]

    @property
    def alt(self) -> str:
        return f"Serial ports: {', '.join(port.name for port in self.ports) or 'none'}"

    def build(self) -> widgets.Widget:
        self.find_button = self.new_button("find my arm", "find", self.find, "watches which port goes and comes back",
                                           "search")
        return widgets.VBox([self._html, self.find_button])

    def sample(self) -> None:
        self.ports = tuple(self._look())

    def paint(self) -> None:
        super().paint()
        self.find_button.disabled = self.searching

    def picture(self) -> str:
        rows = "".join(_port_row(port, port == self.port) for port in self.ports)
        table = f"<table>{rows}</table>" if rows else f"<p>{NO_PORT}</p>"
        return banner(self._said, self.port is not None) + table

    def text(self) -> str:
        lines = [f"{'→' if port.like_an_arm else ' '} {port.name}  {port.description}" for port in self.ports]
        return "\n".join([self._said, *(lines or [NO_PORT])])


def _port_row(port: Port, found: bool) -> str:
    what = ("your arm" if found else "looks like an arm's board") if found or port.like_an_arm else ""
    serial = f"{BY_SERIAL}{port.serial}" if port.serial else ""
    return (f'<tr><td style="color: {GREEN}"><b>{"✓" if found else "→" if port.like_an_arm else ""}</b></td>'
            f"<td><code>{escape(port.name)}</code></td><td>{escape(port.description)}</td>"
            f"<td><code>{escape(serial)}</code></td><td>{what}</td></tr>")


class SetupMotorsPanel(Panel):
    """Ids for new servos, one at a time; nothing is written before "begin", nor after "end".

    An arm that is plugged together must keep its ids: each run begins with an empty wire, and two servos end it.

    plug: for emulated servos, which have no cables to plug: gets the ids of those that are in, as a tuple.
    """

    rate_hz = 4.0

    def __init__(self, bus: Bus, kind: ArmType, ids: Sequence[int] = tuple(reversed(IDS)), *,
                 plug: Callable[[tuple[int, ...]], None] | None = None):
        super().__init__()
        self._wire, self._kind, self._ids, self._plug = bus, kind, tuple(ids), plug
        self.given: dict[int, str] = {}            # id -> what was written
        self.begun, self.step = False, self._told("begin", START)
        self._steps: Iterator[setup_motors.Step] = iter(())

    def begin(self) -> None:
        """From now on, the servo that is plugged in gets its id."""
        if not self.begun:
            self._steps = self._from_an_empty_wire()
            self.begun = True

    def end(self) -> None:
        """Writes no more; servos that have their ids keep them, and "begin" goes on with the next one."""
        if self.begun and not self.done:
            self.begun, self.step = False, self._told("begin", f"{ENDED} {START}")

    def _told(self, state: str, words: str) -> setup_motors.Step:
        return setup_motors.Step(self._left[0], state, words)

    @property
    def _left(self) -> list[int]:
        return [i for i in self._ids if i not in self.given]

    def _from_an_empty_wire(self) -> Iterator[setup_motors.Step]:
        """One servo alone may be the first of an arm whose chain broke, or one that has its id already."""
        while (found := setup_motors.find_one(self._wire)) is not None:
            yield self._told("unplug", f"first of all unplug servo {found.servo_id}: the wire must be empty once")
        yield from setup_motors.setup_motors(self._wire, self._kind, self._left)

    @property
    def done(self) -> bool:
        return self.step.state == "done"

    def sample(self) -> None:
        if not self.begun or self.done:
            return
        try:
            with revived(self._wire):
                self.step = next(self._steps)
        except Exception as error:
            self._steps = self._from_an_empty_wire()           # a generator that raised is at its end
            if getattr(error, "code", "") not in SEVERAL:
                raise
            self.step = self._told("refused", str(error))
        if self.step.state == "given":
            self.given[self.step.servo_id] = self.step.text
        elif self.step.state == "refused" and self.step.text.startswith(SEVERAL):
            self.begun, self.step = False, self._told("refused", f"{self.step.text}\n{ENDED} {START}")

    @property
    def alt(self) -> str:
        names = ", ".join(map(servo_name, self.given)) or "none"
        return f"Servos with their ids: {names}. {self.step.text}"

    def build(self) -> widgets.Widget:
        self.begin_button = self.new_button("begin", "begin", self.begin, "gives ids to the servos that are plugged in",
                                            "play")
        self.end_button = self.new_button("end", "end", self.end,
                                          "writes no more; servos that have their ids keep them", "stop")
        self.plugs = {i: widgets.ToggleButton(description=f"plug in {joint_name(i)}",
                                              tooltip=f"connects the emulated servo of the {joint_name(i)}")
                      for i in self._ids} if self._plug else {}
        for toggle in self.plugs.values():
            toggle.observe(lambda _: self.attempt(self._plugged), "value")
        return widgets.VBox([self._html, widgets.HBox([self.begin_button, self.end_button]),
                             widgets.HBox(list(self.plugs.values()), layout=widgets.Layout(flex_flow="row wrap"))])

    def _plugged(self) -> None:
        self._plug(tuple(i for i, toggle in self.plugs.items() if toggle.value))

    def paint(self) -> None:
        super().paint()
        self.begin_button.disabled, self.end_button.disabled = self.begun, not self.begun or self.done

    def picture(self) -> str:
        now = self.step.servo_id if self.begun and not self.done else None
        marks = {i: "✓ has its id" if i in self.given else "▸ this one" if i == now else " later" for i in IDS
                 if i in self._ids}
        refused = self.step.state == "refused"
        words = f'<div class="smolkit-trouble" role="alert">{escape(self.step.text)}</div>' if refused else banner(
            self.step.text[:1].upper() + self.step.text[1:], self.done or self.step.state == "given")
        arm = arm_svg(np.array(START_DEG), alt="Where the servo sits", numbers=False, servo=now) if now else ""
        return words + arm + chain_svg(marks, self.alt, cables=False)

    def text(self) -> str:
        return "\n".join(dict.fromkeys([*self.given.values(), self.step.text]))


class DoctorPanel(Panel):
    """The bring-up report as a table, under a drawing of the chain. `report` is the last one.

    make: gives a `Report`, as `lambda: check_arm(PORT, calibration)`. It looks when shown, and by its button.
    """

    rate_hz, picture_speaks = 0.0, True

    def __init__(self, make: Callable[[], Report]):
        super().__init__()
        self._make, self.report = make, None

    def sample(self) -> None:
        self.report = self._make()

    @property
    def alt(self) -> str:
        return self._chain() or "The arm's report"

    def build(self) -> widgets.Widget:
        self.look_button = self.new_button("look again", "look", self.sample,
                                           "asks every servo how it is; moves nothing", "refresh")
        return widgets.VBox([self._html, self.look_button])

    def _chain(self) -> str:
        found = (check.found for check in (self.report.checks if self.report else ()) if check.name == "daisy chain")
        return next(("board" + found.partition("board")[2] for found in found if "board" in found), "")

    def picture(self) -> str:
        if self.report is None:
            return banner("Nobody has looked yet.")
        links = re.findall(r"─(✂?)─? (\d) \w+ (\S)", self._chain())
        words = {"✓": "✓", "?": "? silent", "‼": "‼ two answer"}
        cut = next((int(servo) for scissors, servo, _ in links if scissors), None)
        chain = chain_svg({int(i): words.get(mark, mark) for _, i, mark in links}, self.alt, cut) if links else ""
        return banner(self._verdict(), self.report.ok) + chain + report_html(self.report)

    def _verdict(self) -> str:
        red = self.report.red()
        return (f"{self.report.title}: all {len(self.report.checks)} checks green" if self.report.ok else
                f"{self.report.title}: {len(red)} red: {', '.join(check.name for check in red)}")

    def text(self) -> str:
        if self.report is None:
            return "Nobody has looked yet."
        return "\n".join([self._verdict(), *(check.text() for check in self.report.checks)])
