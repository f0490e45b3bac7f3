"""Calibrating by hand with a panel beside the arm: what to do now, six live bars, and when it may be accepted.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.emulator import connect
    >>> from smolkit.arm.bus import Bus
    >>> servos = fake.servos(seed=5)                         # horns screwed on at random angles
    >>> panel = CalibrationPanel(CalibrationSession(Bus(connect(servos))))
    >>> panel.middle()                                       # what the button "This is the middle" does
    >>> print(panel.advice()[0])
    Still to move from stop to stop: shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, gripper.

The session decides, the panel shows: `smolkit.arm.calibrate` says what is red, and nothing is written into the
servos before "Accept". Hands stay on the arm: when a joint has reached both stops and rests, the next one is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from smolkit.arm.calibrate import MIDDLE, MIDDLE_RAD, Bar, CalibrationSession
from smolkit.arm.calibration import LEAST_SPAN, Calibration
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD, from_radians
from smolkit.clock import Clock, WallClock
from smolkit.plotting import JOINT_COLORS
from smolkit.report import Check, Report
from smolkit.widgets.arm_view import arm_svg
from smolkit.widgets.bars import DEG, LEGEND, bar_html, bar_words
from smolkit.widgets.panel import GREEN, Panel, banner, report_html, revived

REST_S = 2.5                                       # a joint that rests for so long at the end of its sweep is done
HANDS = {
    "shoulder_pan": "Turn the whole arm on its base, to the left until it stops, then to the right until it stops.",
    "shoulder_lift": "Tip the upper arm back until it stops, then forward until it stops; fold the elbow to have room.",
    "elbow_flex": "Bend the forearm up until it stops, then down until it stops; bend the wrist up to have room.",
    "wrist_flex": "Bend the gripper up until it stops, then down until it stops.",
    "wrist_roll": "Turn the gripper about its own length, one way until it stops, then the other.",
    "gripper": "Close the jaw until the fingers touch, then open it as wide as it goes.",
}
HOLD = ("Hold the arm as in the drawing, every joint half way between its stops: upper arm upright, forearm and "
        "gripper straight ahead, jaw half open. Within 10 degrees is good. Press the button while you hold it so.")
LOOK = "All joints have been at both stops. Does the drawing follow your arm? Then accept: the servos learn it."


class CalibrationPanel(Panel):
    """A `CalibrationSession` with buttons. `calibration` is None until it was accepted.

    keep: gets the accepted calibration, as `lambda c: history.keep(c, path)`; what it returns is shown.
    """

    rate_hz = 15.0

    def __init__(self, session: CalibrationSession, *, keep: Callable[[Calibration], Any] | None = None,
                 clock: Clock | None = None):
        super().__init__()
        self._session, self._keep, self._clock = session, keep, clock or WallClock()
        self._bars = session.look()
        self._asked: str | None = None
        self._covered, self._grew_s = 0, 0.0       # tick of the asked joint, and since when
        self.calibration: Calibration | None = None
        self.kept, self.spoiled = "", False

    # --- what the buttons do ----------------------------------------------------------------------------

    def middle(self) -> None:
        """The arm is in its middle pose, now; sweeps begin anew."""
        with self.lock:
            self._session.hold_middle()
            self._bars = self._session.look()
            self.sweep(JOINT_NAMES[0])

    def sweep(self, joint: str) -> None:
        """The person is asked to move `joint`."""
        with self.lock:
            self._session.sweep(joint)
            self._asked, self._covered, self._grew_s = joint, 0, self._clock.now_s()

    def accept(self) -> None:
        """Into the servos, and to `keep`; raises what is red. Called again, only what failed is done again."""
        with self.lock:
            if self.calibration is None:
                try:
                    self.calibration = self._session.accept()
                except Exception as error:
                    self.spoiled = bool(getattr(error, "__notes__", ()))       # a servo kept half of it
                    raise
            if self._keep is not None and not self.kept:
                self.kept = str(self._keep(self.calibration) or "kept")
            self.rest()

    # --- looking ----------------------------------------------------------------------------------------

    def sample(self) -> None:
        if self.calibration is not None or self.spoiled:
            return                                 # the session counts with the offsets from before
        with revived(self._session):
            self._bars = self._session.look()
        if self._asked is not None and self._bar(self._asked).share >= LEAST_SPAN:
            self._go_on(self._bar(self._asked))

    def _bar(self, joint: str) -> Bar:
        return self._bars[JOINT_NAMES.index(joint)]

    def _go_on(self, bar: Bar) -> None:
        """To the next joint, once this one has not got further for `REST_S`."""
        now_s = self._clock.now_s()
        if bar.high - bar.low > self._covered:
            self._covered, self._grew_s = bar.high - bar.low, now_s
        elif now_s - self._grew_s >= REST_S:
            left = [other.joint for other in self._bars if other.share < LEAST_SPAN]
            self._asked = None
            if left:
                self.sweep(left[0])

    @property
    def pose_deg(self) -> np.ndarray:
        """Where the arm stands (6,), deg and gripper %, if the middle pose was the middle."""
        return from_radians(MIDDLE_RAD + (self._session.position - MIDDLE) * np.deg2rad(DEG))

    def advice(self) -> list[str]:
        """Why it cannot be accepted yet, in words for the person with the arm; empty when it can."""
        red = self._session.report().red()
        if self._session.step == "middle":
            return ["Show the middle pose first."]
        short = [check.name for check in red if self._is_short(check)]
        still = [f"Still to move from stop to stop: {', '.join(short)}."] if short else []
        return [_advice(check) for check in red if not self._is_short(check)] + still

    def _is_short(self, check: Check) -> bool:
        return check.code == "SK122" and self._bar(check.name).share < LEAST_SPAN

    def _step(self) -> tuple[str, str]:
        """What to do now: a heading and a sentence."""
        if self.calibration is not None:
            kept = f" Kept: {self.kept}." if self.kept else ""
            return "Done", f"The servos hold calibration {self.calibration.fingerprint}.{kept} Lay the arm down."
        if self.spoiled:
            return "Interrupted", "A servo may hold half of it. Mend the cable, begin with a new CalibrationSession."
        if self._session.step == "middle":
            return "Step 1 of 3: the middle", HOLD
        if self._asked is not None:
            place = JOINT_NAMES.index(self._asked) + 1
            return f"Step 2 of 3: {self._asked} ({place} of 6)", HANDS[self._asked]
        if self._session.step == "accept":
            return "Step 3 of 3: look and accept", LOOK
        return "Step 2 of 3: something is red", "Read below what it is. A joint's button asks for that joint again."

    # --- drawing ----------------------------------------------------------------------------------------

    @property
    def alt(self) -> str:
        return f"Calibration, {self._step()[0]}. " + "; ".join(bar_words(bar) for bar in self._bars)

    def build(self) -> widgets.Widget:
        self._words, self._drawing, self._why = (widgets.HTML() for _ in range(3))
        self.middle_button = self.new_button("This is the middle", "middle", self.middle,
                                             "press while you hold the arm in its middle pose", "dot-circle-o")
        self.accept_button = self.new_button("Accept", "accept", self.accept, "writes the ranges into the servos",
                                             "check")
        self.sweep_buttons = {name: self.new_button(
            name, f"sweep-{name}", partial(self.sweep, name), f"move {name} from stop to stop", width="130px",
            border_left=f"5px solid {colour}") for name, colour in zip(JOINT_NAMES, JOINT_COLORS, strict=True)}
        self._rows = {name: widgets.HTML() for name in JOINT_NAMES}
        rows = [widgets.HBox([self.sweep_buttons[name], self._rows[name]]) for name in JOINT_NAMES]
        self._progress = widgets.FloatProgress(max=1, description="covered", layout=widgets.Layout(width="300px"))
        return widgets.VBox([self._words, self._drawing, self.middle_button, *rows, widgets.HTML(LEGEND),
                             widgets.HBox([self.accept_button, self._progress]), self._why])

    def paint(self) -> None:
        over, step = self.calibration is not None or self.spoiled, self._session.step
        ready = not over and step == "accept"
        self._words.value, self._drawing.value = self._banner(), self._arm()
        self._why.value = self._verdict()
        for bar in self._bars:
            self._rows[bar.joint].value = bar_html(bar, bar.joint == self._asked and not over, step != "middle")
            self.sweep_buttons[bar.joint].disabled = over or step == "middle"
        self.middle_button.disabled = over
        self.middle_button.description = "This is the middle" + ("" if step == "middle" else ", again")
        unsaved = self.calibration is not None and self._keep is not None and not self.kept
        self.accept_button.disabled = not (ready or unsaved)
        self.accept_button.description = "Save again" if unsaved else "Accepted" if self.calibration else "Accept"
        self.accept_button.button_style = "success" if ready or unsaved else ""
        self._progress.value = self._session.progress

    def _banner(self) -> str:
        heading, sentence = self._step()
        return banner(sentence, self.calibration is not None, heading)

    def _arm(self) -> str:
        """First the pose that is wanted; then the arm, and pale behind it where the asked joint still has to go."""
        if self._session.step == "middle":
            return arm_svg(from_radians(MIDDLE_RAD), alt="The middle pose: " + HOLD, numbers=False)
        return arm_svg(self.pose_deg, self._goal_deg(), "The arm as this calibration has it.", numbers=False)

    def _goal_deg(self) -> np.ndarray | None:
        if self._asked is None or self.calibration is not None:
            return None
        joint, bar = JOINT_NAMES.index(self._asked), self._bar(self._asked)
        goal_rad = np.deg2rad(DEG) * (self._session.position - MIDDLE) + MIDDLE_RAD
        up = MIDDLE - bar.low >= bar.high - MIDDLE             # the stop that is further from being reached
        goal_rad[joint] = (UPPER_RAD if up else LOWER_RAD)[joint]
        if up and self._asked in ("shoulder_lift", "elbow_flex"):
            goal_rad[joint + 1] = LOWER_RAD[joint + 1]         # out of the table's way
        return from_radians(goal_rad)

    def _verdict(self) -> str:
        """Why "Accept" is grey, and once all is swept the red checks in full."""
        if self.calibration is not None or self.spoiled:
            return ""
        words = self.advice()
        if not words:
            return f'<div style="color: {GREEN}"><b>✓ Nothing speaks against it.</b></div>'
        red = [check for check in self._session.report().red() if not self._is_short(check)]
        details = (f"<details><summary>the checks</summary>{report_html(Report('calibration', tuple(red)))}</details>"
                   if red and self._session.step != "middle" else "")
        lines = "".join(f"<li>{escape(line)}</li>" for line in words)
        return (f'<div class="smolkit-why"><b>Not to be accepted yet:</b><ul style="margin: 2px 0">{lines}</ul>'
                f"{details}</div>")

    def picture(self) -> str:
        placed = self._session.step != "middle"
        rows = "".join(f'<tr><td style="vertical-align: middle">{bar.joint}</td>'
                       f"<td>{bar_html(bar, placed=placed)}</td></tr>" for bar in self._bars)
        return (f'{self._banner()}{self._arm()}<table role="img" aria-label="{escape(self.alt)}">{rows}</table>{LEGEND}'
                f"{self._verdict()}")

    def text(self) -> str:
        heading, sentence = self._step()
        return "\n".join([f"{heading}. {sentence}", *(bar_words(bar) for bar in self._bars),
                          *([] if self.calibration is not None or self.spoiled else self.advice())])


def _advice(check: Check) -> str:
    """A red check, said to somebody who has buttons instead of a command line."""
    again = 'bring the arm into the middle pose and press "This is the middle, again"'
    known = {"SK123": f"{check.found}, where its count jumps: {again}.",
             "SK124": f"The middle was not the middle ({check.found}): {again}, each joint half way between its stops.",
             "SK125": f"{check.found}. Press the joint's button and move that one; if you did, two servos have each "
                      "other's id: smolkit setup-motors PORT."}
    return known.get(check.code, f"{check.name}: {check.found}, expected {check.expected}. Likely: {check.cause}.")
