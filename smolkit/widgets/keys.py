"""Held keys, a gamepad, or a finger on drawn keys, from the page to the arm.

    >>> panel = KeysPanel(profile="standard")          # the last line of a cell shows it; `panel.pilot` drives
    >>> print(panel.text().splitlines()[0])
    tool: W forward, S back, A left, D right, R up, F down, T nose up, G nose down, ...

The page reports all that is down ten times a second. What comes late counts as nothing pressed, and so does
silence: a page that froze with a key down moves no arm. Losing the focus releases everything.
"""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from smolkit.arm.joints import JOINT_NAMES
from smolkit.plotting import JOINT_COLORS
from smolkit.safety.limits import FULL_RANGE_DEG
from smolkit.safety.profiles import Profile
from smolkit.teleop.keys import KEYS, MODE_KEY, SLOW_KEYS, STALE_S, GamepadPilot, KeyPilot
from smolkit.teleop.leader import LeaderActor, LeaderArm

from .panel import Panel

LATE_S = 0.25                              # a report older than this was waiting somewhere: the key may be up again
DRIFT_S = 0.001                            # a report: two clocks drift apart
CLUTCH = "KeyC"
ROWS = "QWERTY", "ASDFGH"
MOTIONS = {"cartesian": (("forward", "back"), ("left", "right"), ("up", "down"), ("nose down", "nose up"),
                         ("roll +", "roll −"), ("open", "close")),
           "joint": tuple((f"{name} +", f"{name} −") for name in JOINT_NAMES)}
TITLES = {"cartesian": "tool", "joint": "joints"}
KEY_PX, GAP_PX, ROW_PX = 110, 6, 52


class Face(anywidget.AnyWidget):
    """What the page shows and reports; keys.js is its other half."""

    _esm, _css = Path(__file__).with_suffix(".js"), Path(__file__).with_suffix(".css")
    codes = traitlets.List(traitlets.Unicode()).tag(sync=True)             # of the keys that mean something
    label, drawing, words = (traitlets.Unicode().tag(sync=True) for _ in range(3))
    pads = traitlets.Bool(True).tag(sync=True)


class Wheel(KeyPilot, GamepadPilot):
    """Keys and a gamepad at one wheel: who was heard last drives."""


class HeldPanel(Panel):
    """Hears the page's reports; a subclass says what to do with them, and draws its keys."""

    rate_hz = 5.0
    label = words = ""

    def __init__(self, codes: list[str], pads: bool) -> None:
        super().__init__()
        self.down: frozenset[str] = frozenset()
        self._heard_s, self._behind_s = -np.inf, np.inf
        self.face = Face(codes=codes, pads=pads, label=self.label, words=self.words, drawing=self.drawing())
        self.face.on_msg(lambda _, message, __: self.hear(message))

    def hear(self, message: dict[str, Any]) -> None:
        """One report of the page: {"keys": codes} or {"axes": ..., "buttons": ...}, and "sent_ms" by its clock."""
        with self.lock:
            now_s = time.monotonic()
            behind_s = now_s - message["sent_ms"] / 1000
            self._behind_s = min(self._behind_s + DRIFT_S, behind_s)
            late = behind_s - self._behind_s > LATE_S
            self._heard_s = now_s
            if "keys" in message:
                self.down = frozenset() if late else frozenset(message["keys"])
                self.keys_changed()
            else:
                self.pad_moved(*([[], []] if late else [message["axes"], message["buttons"]]))

    def keys_changed(self) -> None:
        """`down` was reported."""

    def pad_moved(self, axes: list[float], buttons: list[float]) -> None:
        """A gamepad was reported; empty lists where it was let go."""

    def drawing(self) -> str:
        """The keys as SVG; each has its `data-code`."""
        return ""

    @property
    def alt(self) -> str:
        return self.text()

    def picture(self) -> str:
        return self.drawing()


class KeysPanel(HeldPanel):
    """Drives `pilot`, by default a `Wheel` of that profile and range; M changes between tool and joints."""

    label = "Keys that drive the arm: click, then hold keys. Leaving this area releases them."
    words = "Driving: hold keys. Esc, or a click elsewhere, releases them all."

    def __init__(self, pilot: KeyPilot | None = None, *, profile: Profile | str = "standard",
                 range_deg: np.ndarray = FULL_RANGE_DEG, mode: str = "cartesian"):
        self.pilot = pilot if pilot is not None else Wheel(profile, range_deg, mode)
        codes = sorted({*KEYS["joint"], *KEYS["cartesian"], *SLOW_KEYS, MODE_KEY})
        super().__init__(codes, isinstance(self.pilot, GamepadPilot))

    def keys_changed(self) -> None:
        self.pilot.press(self.down)

    def pad_moved(self, axes: list[float], buttons: list[float]) -> None:
        if isinstance(self.pilot, GamepadPilot):
            self.pilot.report(axes, buttons)

    def build(self) -> widgets.Widget:
        return self.face

    def paint(self) -> None:
        self.face.drawing = self.drawing()

    def drawing(self) -> str:
        mode = self.pilot.mode
        keys = [_key(f"Key{letter}", letter, _motion(mode, letter), column, row, JOINT_COLORS[_axis(mode, letter)])
                for row, letters in enumerate(ROWS) for column, letter in enumerate(letters)]
        other = TITLES["joint" if mode == "cartesian" else "cartesian"]
        keys += [_key("ShiftLeft", "Shift", "slow: a quarter", 0, 2),
                 _key(MODE_KEY, "M", f"now {TITLES[mode]}; to {other}", 1, 2, wide=2)]
        return _svg(keys, 6, 3, self.text())

    def text(self) -> str:
        mode = self.pilot.mode
        order = "WSADRFTGQEYH" if mode == "cartesian" else "QAWSEDRFTGYH"
        keys = ", ".join(f"{letter} {_motion(mode, letter)}" for letter in order)
        return f"{TITLES[mode]}: {keys}\nShift slows to a quarter, M changes between tool and joints."


class LeaderPanel(HeldPanel):
    """The clutch of a leader arm, a held key: while it is down the follower goes along. `pilot` drives."""

    label = "The clutch: hold C, or hold the drawn key. Leaving this area releases it."
    words = "Hold C: the follower goes along."

    def __init__(self, leader: LeaderArm, profile: Profile | str = "standard", range_deg: np.ndarray = FULL_RANGE_DEG):
        self.pilot = LeaderActor(leader, self.clutch, profile, range_deg)
        super().__init__([CLUTCH], pads=False)

    def clutch(self) -> bool:
        """Is the key down, as far as the page's last report of the last half second tells?"""
        return CLUTCH in self.down and time.monotonic() - self._heard_s < STALE_S

    def build(self) -> widgets.Widget:
        self._status = widgets.HTML()
        return widgets.VBox([self.face, self._status])

    def paint(self) -> None:
        self._status.value = escape(self.text()).replace("\n", "<br>")

    def drawing(self) -> str:
        return _svg([_key(CLUTCH, "C", "hold: the follower goes along", 0, 0, wide=2)], 2, 1, self.label)

    def text(self) -> str:
        return f"leader: {self.pilot.status}"


def _axis(mode: str, letter: str) -> int:
    return KEYS[mode][f"Key{letter}"][0]


def _motion(mode: str, letter: str) -> str:
    axis, direction = KEYS[mode][f"Key{letter}"]
    return MOTIONS[mode][axis][direction < 0]


def _key(code: str, cap: str, motion: str, column: int, row: int, colour: str = "currentColor", wide: int = 1) -> str:
    x, y = 2 + column * (KEY_PX + GAP_PX) + 14 * min(row, 1), 2 + row * (ROW_PX + GAP_PX)
    width = wide * KEY_PX + (wide - 1) * GAP_PX
    return (f'<g data-code="{code}"><rect x="{x}" y="{y}" width="{width}" height="{ROW_PX}" rx="7" fill="{colour}" '
            f'fill-opacity=".08" stroke="{colour}" stroke-width="1.5"/>'
            f'<text class="smolkit-cap" x="{x + 9}" y="{y + 22}" font-size="16" font-weight="bold">{cap}</text>'
            f'<text x="{x + 9}" y="{y + 42}" font-size="12">{escape(motion)}</text></g>')


def _svg(keys: list[str], columns: int, rows: int, alt: str) -> str:
    width, height = columns * (KEY_PX + GAP_PX) + 16, rows * (ROW_PX + GAP_PX)
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" fill="currentColor" role="img" '
            f'aria-label="{escape(alt)}">{"".join(keys)}</svg>')
