"""A hand for the arm of the sim lane: six sliders that take the limp arm and move it, as you would on the desk.

    >>> from smolkit.arm import fake
    >>> servos = fake.servos()
    >>> panel = HandPanel(servos.hand_pose)                  # in a lesson: HandPanel(plant.hand_pose, plant_look)
    >>> panel.move(elbow_flex=-40, gripper=80)               # what dragging two sliders does
    >>> panel.hurry(); servos.plant.angle_rad.round(2)[[2, 5]]
    array([-0.7 ,  1.36])

The hand is no motor: it goes to where the sliders are at a person's speed, holds the arm there against its
weight, and lets it sink when it lets go; touched again, it lifts the arm to where the sliders are. It moves emulated
arms only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import ipywidgets as widgets
import numpy as np

from smolkit.arm.joints import JOINT_NAMES, LOWER_DEG, LOWER_RAD, UPPER_DEG, UPPER_RAD, from_radians, to_radians
from smolkit.sim.scene import START_DEG
from smolkit.widgets.arm_view import arm_svg, describe
from smolkit.widgets.panel import Panel, banner
from smolkit.widgets.sliders import STEP, joint_slider

# A calibration follows a shaft that turns less than half a turn between two looks; a person's hand does.
HAND_RAD_S = np.deg2rad(150)
LONGEST_S = 0.1                                    # of one step: after a hiccup the hand does not leap


class HandPanel(Panel):
    """Six sliders, a drawing of what your eyes see, and "let go".

    hand: puts the arm into angles (6,) rad. look: where it is, (6,) rad; without it, where the hand left it.
    """

    rate_hz, picture_speaks = 25.0, True           # a limp arm sinks 0.6 deg in 50 ms

    def __init__(self, hand: Callable[[np.ndarray], None], look: Callable[[], np.ndarray] | None = None):
        super().__init__()
        self._hand, self._look = hand, look
        self.angle_rad = to_radians(np.array(START_DEG)) if look is None else np.asarray(look(), float)
        self.target_rad = np.clip(self.angle_rad, LOWER_RAD, UPPER_RAD)        # where the sliders are
        self.holding = False
        self._moved_s = time.monotonic()

    def move(self, **pos_deg: float) -> None:
        """Sets sliders by name, deg and gripper %; the hand takes the arm and goes there."""
        with self.lock:
            self._aim(pos_deg)
            if self._view is not None:             # here alone: `paint` would set back what is dragged just now
                for slider, value in zip(self.sliders, from_radians(self.target_rad), strict=True):
                    slider.value = float(value)
            self._paint()

    def _aim(self, pos_deg: Mapping[str, float]) -> None:
        target_deg = from_radians(self.target_rad)
        for joint, value in pos_deg.items():
            target_deg[JOINT_NAMES.index(joint)] = value
        self.target_rad = np.clip(to_radians(target_deg), LOWER_RAD, UPPER_RAD)
        if not self.holding and self._look is not None:
            self.angle_rad = np.asarray(self._look(), float)
        self.holding = True

    def let_go(self) -> None:
        """The arm is left to its weight."""
        with self.lock:
            self.holding = False

    def hurry(self) -> None:
        """Goes there at once, for tests and demonstrations: by steps that a calibration can follow."""
        with self.lock:
            while self._step(LONGEST_S):
                continue

    def _step(self, dt_s: float) -> bool:
        """Whether the hand moved."""
        reach = HAND_RAD_S * min(dt_s, LONGEST_S)
        step = np.clip(self.target_rad - self.angle_rad, -reach, reach)
        self.angle_rad = self.angle_rad + step
        self._hand(self.angle_rad)
        return bool(np.abs(step).max() > 1e-9)

    # --- the panel --------------------------------------------------------------------------------------

    @property
    def alt(self) -> str:
        return "The arm as your eyes see it, from its side and from above: " + describe(from_radians(self.angle_rad))

    def build(self) -> widgets.Widget:
        self.sliders = tuple(joint_slider(joint, value, (LOWER_DEG[joint], UPPER_DEG[joint]), "hand", "380px",
                                          readout=False)                       # no number: a hand has none either
                             for joint, value in enumerate(from_radians(self.target_rad)))
        for slider in self.sliders:
            slider.observe(self._slid, "value")
        self.let_go_button = self.new_button("let go", "let-go", self.let_go,
                                             "take your hand off: the arm sinks under its weight", "hand-paper-o")
        row = widgets.HBox([widgets.VBox(self.sliders), self.let_go_button], layout={"align_items": "center"})
        return widgets.VBox([self._html, row])

    def _slid(self, change: dict) -> None:
        """A browser also answers what it is told to show, rounded; that is nobody's hand."""
        index = self.sliders.index(change["owner"])
        if abs(change["new"] - from_radians(self.target_rad)[index]) > STEP / 2:
            self.attempt(self._aim, {JOINT_NAMES[index]: change["new"]})

    def sample(self) -> None:
        now_s, before_s = time.monotonic(), self._moved_s
        self._moved_s = now_s
        if self.holding:
            self._step(now_s - before_s)
        elif self._look is not None:
            self.angle_rad = np.asarray(self._look(), float)

    def paint(self) -> None:
        super().paint()
        self.let_go_button.disabled = not self.holding

    def _state(self) -> str:
        return "Your hand holds the arm." if self.holding else "Nobody holds the arm. Move a slider to take it."

    def picture(self) -> str:
        return arm_svg(from_radians(self.angle_rad), alt=self.alt, numbers=False) + banner(self._state())

    def text(self) -> str:
        return f"{self._state()}\n{describe(from_radians(self.angle_rad))}"
