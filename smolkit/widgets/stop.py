"""The stop button: a click, or the space bar anywhere on the page, and the arm stands.

    >>> from smolkit.kit import Kit
    >>> with Kit.sim("reach", seed=1) as kit:
    ...     kit.arm.energize()
    ...     stop = StopButton(kit.arm)                 # the last line of a cell shows it
    ...     stop.press()
    ...     print(stop.text())
    stopped, it stands: torque on, goals refused
    SK310 the stop button; likely cause: somebody pressed stop; next: when the cause is gone: arm.energize(rearm=True)

It does not wait for the cell that moves the arm: its messages go over subshells of the kernel (ipykernel 7 and
JupyterLab 4.4 or newer, by default: Settings > Kernels > "Kernel Comms over subshells"), and from here over a line
of its own to the guardian. Where a page has no subshells (Colab, older JupyterLab), a press that stays unheard
for a quarter of a second interrupts the running cell where the page can, and says that nobody answered.
A press never arms the arm: that is another button, behind a question, and no key.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from smolkit.report import SmolkitError
from smolkit.safety.states import State

from .panel import AMBER, GREEN, RED, Panel

COMM = "smolkit.stop"
ASKED = "SK310"                                    # the stop that a person asked for: only after it one may let go
HOLDS = "SK135"                                    # a release that not every servo confirmed
WORDS = {State.IDLE: "limp: torque is off", State.ARMED: "standing, ready to move", State.RUNNING: "moving",
         State.HOLD: "stopped, it stands: torque on, goals refused", State.PARKING: "on its way to the rest pose",
         State.OFF: "let go after a stop: torque is off", State.LOST: "nobody answers: pull the power"}
COLOURS = {State.ARMED: GREEN, State.RUNNING: GREEN, State.HOLD: AMBER, State.PARKING: AMBER, State.LOST: RED}
STILL = ("flex: none; width: 132px; height: 92px; border-radius: 14px; border: 3px dashed #8f1d14; color: #c62f22; "
         "font-size: 25px; display: flex; flex-direction: column; align-items: center; justify-content: center; "
         "text-align: center")
NOT_OFF = "told to let go, but some servos may still hold: pull the power"
GONE = "SK814 the guardian has ended without being told to; the arm may hold its last goal: pull the power"
_numbers, _buttons = itertools.count(1), weakref.WeakValueDictionary()


class Face(anywidget.AnyWidget):
    """What the page shows; stop.js is its other half."""

    _esm, _css = Path(__file__).with_suffix(".js"), Path(__file__).with_suffix(".css")
    number = traitlets.Int().tag(sync=True)
    arm = traitlets.Unicode().tag(sync=True)       # two buttons of one arm answer one press of the space bar
    state = traitlets.Unicode("idle").tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    why = traitlets.Unicode().tag(sync=True)
    lets_go = traitlets.Bool(False).tag(sync=True)         # what a press means now
    rearms = traitlets.Bool(False).tag(sync=True)          # is "arm again" on offer?
    over = traitlets.Bool(False).tag(sync=True)
    beat = traitlets.Int(0).tag(sync=True)                 # news for the page that this kernel lives


class StopButton(Panel):
    """Stops `arm` (a `GuardedArm`, or a `Supervisor`), and shows what it does and why it stopped.

    Once a stop was asked for, the button says LET GO: the next press switches the torque off.
    """

    rate_hz = 4.0
    alt = "a stop button, and beside it what the arm does"

    def __init__(self, arm: Any, reason: str = "the stop button"):
        super().__init__()
        self.arm, self.reason = arm, reason
        self.state, self.why, self.turn = State.IDLE, "", 0
        self._apart = hasattr(arm, "watcher")      # a guardian's process; else a supervisor in this one
        self.line = arm.watcher() if self._apart else arm
        self._heard, self._hearing = deque(maxlen=64), threading.Lock()
        self.face = Face(number=next(_numbers), arm=arm.endpoint.name if self._apart else str(id(arm)))
        self.face.on_msg(lambda _, content, __: self._hear(content, self.face.send))
        _buttons[self.face.number] = self
        _listen()

    def press(self, lets_go: bool = False) -> None:
        """Stops the arm; with `lets_go`, a second one lets it go. Waits for no lock and behind no question."""
        self.line.hold(self.reason, lets_go)
        self.refresh()
        if self.state in (State.ARMED, State.RUNNING):
            raise SmolkitError("SK830", "an arm that stops", f"it is {self.state}", "somebody armed it at once again, "
                               "or the guardian is of another version", "pull the power")

    def arm_again(self) -> None:
        """Torque on where the arm stands, after the stop that is shown; one that came since then stays."""
        self.arm.energize(rearm=True, turn=self.turn)
        self.refresh()

    @property
    def lets_go(self) -> bool:
        """Does the next press on the button let go?"""
        return self.state is State.HOLD and self.why.startswith(ASKED)

    @property
    def words(self) -> str:
        """What the arm does, as it is told on the page."""
        return NOT_OFF if self.why.startswith(HOLDS) else WORDS[self.state]

    def build(self) -> Face:
        return self.face

    def sample(self) -> None:
        try:
            turn = self.line.turn                  # first: a stop between these questions makes it old
            self.state, self.why, self.turn = self.line.state, self.line.why, turn
        except SmolkitError:
            if not self._apart or self.arm.endpoint.alive:
                raise
            lost = self.state is State.LOST            # before the goodbye, too: then nobody knows whether it is limp
            self.face.over = self.arm.closed and not lost
            self.state, self.why = (State.IDLE, "") if self.face.over else (State.LOST, self.why if lost else GONE)

    def paint(self) -> None:
        face = self.face
        with face.hold_sync():
            face.state, face.words, face.why = str(self.state), self.words, self._short()
            face.lets_go, face.rearms = self.lets_go, bool(self.why) and self.state in (State.HOLD, State.OFF)
            face.beat += 1

    def text(self) -> str:
        return "\n".join(filter(None, (self.words, self._short())))

    def picture(self) -> str:
        colour = COLOURS.get(self.state, "#8a8a8a")
        return (f'<div role="img" aria-label="{escape(self.alt)}" style="display: flex; gap: 16px">'
                f'<div style="{STILL}">STOP<div style="font-size: 11px">a picture: press it in a live page</div></div>'
                f'<div><b style="color: {colour}">●</b> <b>{escape(self.words)}</b><br>'
                f"{escape(self._short())}</div></div>")

    def close(self) -> None:
        super().close()
        self.face.over = True
        if self._apart:
            self.line.close()

    def _short(self) -> str:
        """Why it stopped, without what was expected: that there be no stop."""
        if self.why.startswith(HOLDS):
            return self.why.partition("; pull the power")[0]
        code, _, rest = self.why.partition(" ")
        return f"{code} {rest.partition('found ')[2] or rest}" if rest else ""

    def _hear(self, message: dict[str, Any], answer: Callable[[Any], Any]) -> None:
        """A message from the page; it may come twice, over two ways, and counts once."""
        answer({"heard": message["id"]})
        with self._hearing:
            known = message["id"] in self._heard
            self._heard.append(message["id"])
        if known or message["do"] not in ("stop", "let go", "arm again"):
            return
        if message["do"] == "arm again":           # takes a second: a stop must be heard meanwhile
            threading.Thread(target=self.aside, args=(self.arm_again,), daemon=True).start()
        else:
            self.aside(self.press, message["do"] == "let go")


def _listen() -> None:
    """The page's second way to a button: a comm of its own, so a subshell of its own."""
    import comm
    comm.get_comm_manager().register_target(COMM, _opened)


def _opened(line: Any, message: dict[str, Any]) -> None:
    button = _buttons.get(message["content"]["data"]["button"])
    if button is not None:
        line.on_msg(lambda told: button._hear(told["content"]["data"], line.send))
