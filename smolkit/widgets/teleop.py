"""The desk of whoever drives: pilots to choose from, live pictures, the arm, record and save, and the stop button.

    panel = TeleopPanel(kit, {"sliders": SliderPilot(), "keys": KeysPanel()}, recorder)
    panel                                              # the last line of a cell shows it
    panel.run(); panel.record(); panel.save()          # its buttons, for cells and tests

Nothing moves before somebody presses "drive". A pilot is any actor of `smolkit.teleop.loop`, or a panel that
has one as its `pilot`; sliders and keys get their panels by themselves. A recorder has `begin`, `add`, `save`,
`discard`, `recording`, `frames`, `episodes` and `task`, as `smolkit.data.recorder.Recorder` does.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from smolkit.cameras.camera import Observation
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from smolkit.teleop.keys import KeyPilot
from smolkit.teleop.loop import Actor, Pace, Step, run_episode
from smolkit.teleop.sliders import SliderPilot

from .arm_view import ArmView, arm_svg, describe
from .cameras import Picture, camera_html
from .keys import KeysPanel
from .panel import Panel
from .sliders import SliderPanel
from .stop import StopButton

LIMITED_S = 1.0                                    # between two questions for the guard's share
WAIT_S = 10.0                                      # a loop that was told to end does so within one step
_newest: weakref.WeakKeyDictionary[Any, weakref.ref[TeleopPanel]] = weakref.WeakKeyDictionary()    # kit -> its panel


class TeleopPanel(Panel):
    """Drives `kit` by one of `pilots`, name -> actor or panel, and records into `recorder`, if there is one.

    A kit has one panel: making another, as a cell that is run again does, closes the one before.
    after: called when an episode was saved or discarded, to lay the next scene.
    """

    rate_hz = 10.0

    def __init__(self, kit: Any, pilots: Mapping[str, Actor | Panel], recorder: Any = None, *, pace: Pace | None = None,
                 after: Callable[[], None] | None = None):
        super().__init__()
        if isinstance(kit.clock, SteppedClock):
            raise SmolkitError("SK832", "a kit in wall time", "one whose time is stepped",
                               "nobody can drive an arm whose hours pass in seconds", "Kit.sim(..., wall_clock=True)")
        if (earlier := _newest.get(kit, lambda: None)()) is not None:
            earlier.close()
        self.kit, self.recorder, self.pace, self.after = kit, recorder, pace or Pace(), after
        self.pilots = {name: _with_panel(pilot) for name, pilot in pilots.items()}         # name -> (actor, panel)
        self.chosen = next(iter(self.pilots))
        self.stop, self.arm_view = StopButton(kit.arm), ArmView()
        self.busy = self.cut_short = False         # saving or discarding; the episode ended before it was over
        self.seen: Observation | None = None
        self.goal_deg: np.ndarray | None = None
        self.limited_share, self.steps = 0.0, 0
        self._moments, self._asked_s = deque(maxlen=20), -np.inf
        self._driver: threading.Thread | None = None
        self._pausing, self._keeping = threading.Event(), False
        self.closed, self._beginning = False, threading.Lock()
        _newest[kit] = weakref.ref(self)           # last: one that could not be made closes nothing

    # --- what its buttons do ----------------------------------------------------------------------------

    @property
    def driving(self) -> bool:
        """Is a pilot at the wheel?"""
        return self._driver is not None and self._driver.is_alive()

    def choose(self, name: str) -> None:
        """Another pilot for the next drive."""
        if self.driving and name != self.chosen:
            raise SmolkitError("SK831", "one pilot at the wheel", f"{self.chosen} drives", "two cannot", "pause first")
        self.chosen = name

    def run(self) -> None:
        """The chosen pilot drives, until `pause`; switches torque on, but never after a stop."""
        with self._beginning:                      # a `close` comes before or after, never between
            self._require_open()
            if self.driving or self.busy:
                return
            self._pausing.clear()
            self._moments.clear()
            self._driver = threading.Thread(target=self._drive, args=(self.pilots[self.chosen][0],), daemon=True)
            self._driver.start()

    def pause(self) -> None:
        """The arm stands, torque on; waits for the step under way."""
        self._keeping = False
        self._pausing.set()
        if self._driver is not None and self._driver is not threading.current_thread():
            self._driver.join(WAIT_S)

    def record(self, task: str | None = None) -> None:
        """Begins an episode, and drives."""
        self._require_open()
        self.recorder.begin(task)
        self.cut_short, self._keeping = False, True
        self.run()

    def save(self) -> None:
        """The episode is kept; the arm stands meanwhile."""
        self._finish(self.recorder.save)

    def discard(self) -> None:
        """The episode is thrown away."""
        self._finish(self.recorder.discard)

    def _require_open(self) -> None:
        if self.closed:
            raise SmolkitError("SK833", "the panel that drives the arm", "one that was closed",
                               "another was made for the same kit: its cell was run again", "use the newest panel")

    def _require_right(self, turn: int) -> None:
        """To move an arm that was armed at `turn`: who armed it again after a stop did not ask for this drive."""
        self._require_open()
        if self.kit.arm.turn != turn:
            raise SmolkitError("SK834", "an arm that nobody stopped during the drive",
                               self.kit.arm.why or "one that was armed anew",
                               "a stop ends the drive, armed again or not", "look at the arm, then press drive")

    # --- threads ----------------------------------------------------------------------------------------

    def _drive(self, actor: Actor) -> None:
        self.aside(self._lead, actor)
        if self.closed:                            # which left the stop button alive, as long as there was a driver
            self.stop.close()

    def _lead(self, actor: Actor) -> None:
        try:
            if not self.kit.arm.state.powered:
                self.kit.arm.energize()
            turn = self.kit.arm.turn
            wheel = Wheel(self.kit, lambda: self._require_right(turn))
            for step in run_episode(wheel, actor, float("inf"), self.pace, self._pausing.is_set, by_hand=True):
                self._took(step)
        except Exception:                          # a stop, most often: the red line tells
            if not self.closed:
                self.cut_short |= self._keeping
                raise
        finally:
            self._keeping = False

    def _took(self, step: Step) -> None:
        if self._keeping:
            self.recorder.add(step)
        self.seen, self.goal_deg, self.steps = step.observation, step.action_deg, self.steps + 1
        self._moments.append(time.monotonic())

    def _finish(self, end: Callable[[], Any]) -> None:
        if not self.busy:
            self.busy = True
            threading.Thread(target=self.aside, args=(self._end_episode, end), daemon=True).start()

    def _end_episode(self, end: Callable[[], Any]) -> None:
        try:                                       # a full disk, say: the episode can be saved again
            self.pause()
            end()
            self.cut_short = False
            if self.after is not None:
                self.after()
        finally:
            self.busy = False

    # --- the panel --------------------------------------------------------------------------------------

    def start(self) -> TeleopPanel:
        """Refreshes pictures and numbers from now on; nothing moves by it."""
        if self.closed:
            return self
        for panel in self._panels():
            panel.start()
        return super().start()

    def close(self) -> None:
        """The arm stands, nothing drives it or looks any more, for good; kit and recorder stay open."""
        with self._beginning:
            self.closed = True
        self.pause()
        super().close()
        for panel in self._panels():
            if panel is not self.stop or not self.driving:     # a driver that hangs closes it when it has ended
                panel.close()
        if self._view is not None:
            self._enable()

    @property
    def alt(self) -> str:
        return "What the cameras see, and the arm. " + self.text()

    def build(self) -> widgets.Widget:
        self._pictures = {role: Picture(role, 240) for role in self.kit.cameras}
        self._names = widgets.ToggleButtons(options=list(self.pilots), value=self.chosen,
                                            style={"button_width": "auto"})
        self._names.observe(lambda change: self.attempt(self.choose, change["new"]), "value")
        self._buttons = {what: self.new_button(words, f"teleop-{what}", work, tip, width="100px")
                         for what, words, work, tip in (
            ("run", "▶ drive", self.run, "The chosen pilot drives the arm"),
            ("pause", "❚❚ pause", self._pausing.set, "The arm stands, torque on"),
            ("record", "● record", lambda: self.record(self._task.value), "Begin an episode, and drive"),
            ("save", "✓ save", self.save, "Keep the episode"),
            ("discard", "✗ discard", self.discard, "Throw the episode away"))}
        self._task = widgets.Text(value=getattr(self.recorder, "task", ""), description="instruction",
                                  layout=widgets.Layout(width="400px"))
        self._wheel, self._numbers = widgets.VBox(), widgets.HTML()
        rows = [[self._names, self._buttons["run"], self._buttons["pause"]],
                [self._task, *(self._buttons[what] for what in ("record", "save", "discard"))]]
        return widgets.VBox([
            self.stop.view(), *map(_row, rows if self.recorder is not None else rows[:1]), self._numbers,
            _row([picture.view for picture in self._pictures.values()]), self._wheel, self.arm_view.view(),
        ]).add_class("smolkit-teleop")

    def sample(self) -> None:
        if self.closed:
            return
        if not self.stop.running:                  # on paper: else it would call an arm limp that nobody asked
            self.stop.refresh()
        if not self.driving:
            self.seen, self.goal_deg = self.kit.observe(), None
        panel = self.pilots[self.chosen][1]
        if isinstance(panel, SliderPanel):
            panel.see(self.seen.state_deg)
        if time.monotonic() - self._asked_s > LIMITED_S:
            self._asked_s, self.limited_share = time.monotonic(), self.stop.line.limited_share

    def paint(self) -> None:
        panel = self.pilots[self.chosen][1]
        self._wheel.children = () if panel is None else (panel.view(),)
        self._names.value = self.chosen
        self._numbers.value = "<br>".join(escape(line) for line in self._lines())
        self._enable()
        if self.seen is not None:
            for role, picture in self._pictures.items():
                picture.show(self.seen.images[role])
            self.arm_view.show(self.seen.state_deg, self.goal_deg)

    def text(self) -> str:
        if self.closed:
            return self._lines()[0]
        pose = [] if self.seen is None else [describe(self.seen.state_deg)]
        return "\n".join([self.stop.text(), *self._lines(), *pose])

    def picture(self) -> str:
        if self.closed:
            return super().picture()
        if self.seen is None:
            return self.stop.picture()
        images = " ".join(camera_html(role, image, 240) for role, image in self.seen.images.items())
        return f"{self.stop.picture()}{images}{arm_svg(self.seen.state_deg, self.goal_deg)}"

    def _enable(self) -> None:
        recording = self.recorder is not None and self.recorder.recording
        on = {"run": not self.driving and not self.busy, "pause": self.driving,
              "record": not recording and not self.busy, "save": recording and not self.busy,
              "discard": recording and not self.busy}
        for what, button in self._buttons.items():
            button.disabled = self.closed or not on[what]
        self._names.disabled = self.closed or self.driving or self.busy
        self._task.disabled = self.closed or recording
        self._buttons["record"].button_style = "danger" if self._keeping else ""

    def _lines(self) -> list[str]:
        if self.closed:
            return ["closed: nothing moves by this panel any more"]
        moments, recorder = tuple(self._moments), self.recorder
        rate_hz = (len(moments) - 1) / (moments[-1] - moments[0]) if self.driving and len(moments) > 1 else 0.0
        drives = f"drives, {rate_hz:.1f} decisions a second" if self.driving else "paused"
        lines = [f"{self.chosen}: {drives}; the guard held back {self.limited_share:.0%} of all goals so far"]
        if status := getattr(self.pilots[self.chosen][0], "status", ""):
            lines.append(status)
        if recorder is not None:
            now = ("saving …" if self.busy else f"recording: {recorder.frames} steps" if self._keeping else
                   f"{recorder.frames} steps wait for save or discard" if recorder.recording else "not recording")
            lines.append(f"{now}; {recorder.episodes} episodes saved")
        if self.cut_short:
            lines.append("the episode was cut short: discard it, unless what it shows is whole")
        return lines

    def _panels(self) -> list[Panel]:
        return [self.stop, *(panel for _, panel in self.pilots.values() if panel is not None)]


class Wheel:
    """`kit` as the loop sees it: asks `may` before each goal, since what drives may have lost its right to."""

    def __init__(self, kit: Any, may: Callable[[], None]):
        self._kit, self._may, self.clock = kit, may, kit.clock
        self.observe, self.rest = kit.observe, kit.rest

    def command(self, goal_deg: np.ndarray, seen: Observation | None = None) -> None:
        """To the kit, unless `may` raises."""
        self._may()
        self._kit.command(goal_deg, seen)


def _row(children: list[widgets.Widget]) -> widgets.HBox:
    return widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", align_items="center"))


def _with_panel(pilot: Actor | Panel) -> tuple[Actor, Panel | None]:
    if isinstance(pilot, Panel):
        return pilot.pilot, pilot
    if isinstance(pilot, SliderPilot):
        return pilot, SliderPanel(pilot)
    return pilot, KeysPanel(pilot) if isinstance(pilot, KeyPilot) else None
