"""Six sliders that set a pose; the arm walks there, and the sliders show where it is.

    >>> panel = SliderPanel(SliderPilot("standard"))   # the last line of a cell shows it; `panel.pilot` drives
    >>> panel.sliders[0].value = 20.0                  # a hand on the first slider
    >>> print(panel.text().splitlines()[0])
    shoulder_pan: slider 20.0°
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES
from smolkit.plotting import JOINT_COLORS
from smolkit.teleop.sliders import SliderPilot

from .panel import Panel

STEP = 0.5                                         # deg, gripper %


class SliderPanel(Panel):
    """The sliders of `pilot`. `see` tells it where the arm is."""

    rate_hz = 5.0

    def __init__(self, pilot: SliderPilot):
        super().__init__()
        self.pilot, self.pose_deg = pilot, np.full(6, np.nan)
        self.sliders = [joint_slider(i, 0.0, limits_deg, "slider", "480px", readout_format=".0f")
                        for i, limits_deg in enumerate(pilot.limits_deg.T)]
        for slider in self.sliders:
            slider.observe(self._moved, "value")
        self._shown = self._values()               # what a hand, or `paint`, last set them to
        self._measured = [widgets.HTML(layout=widgets.Layout(width="90px")) for _ in range(6)]

    def see(self, pose_deg: np.ndarray) -> None:
        """Where the arm is now (6,), deg and gripper %."""
        with self.lock:
            self.pose_deg = np.array(pose_deg, float)

    @property
    def alt(self) -> str:
        return "Six sliders, one a joint. " + self.text()

    def build(self) -> widgets.Widget:
        here = self.new_button("stay here", "sliders-here", self.pilot.stop, width="120px", margin="2px 2px 2px 106px",
                               tooltip="The sliders go to where the arm is going now")
        rows = [widgets.HBox(pair, layout=widgets.Layout(align_items="center"))
                for pair in zip(self.sliders, self._measured, strict=True)]
        return widgets.VBox([*rows, here]).add_class("smolkit-sliders")

    def paint(self) -> None:
        wished = np.where(np.isnan(self.pilot.target_deg), self.pose_deg, self.pilot.target_deg)
        wished = np.clip(wished, *self.pilot.limits_deg)
        for i in np.flatnonzero(np.abs(wished - self._values()) > STEP / 2):                # not where it is unknown
            self._shown[i] = wished[i]
            self.sliders[i].value = float(wished[i])
        for i, measured in enumerate(self._measured):
            measured.value = "" if np.isnan(self.pose_deg[i]) else f"now {self.pose_deg[i]:.0f}{_unit(i)}"

    def text(self) -> str:
        target = self.pilot.target_deg
        return "\n".join(f"{name}: slider {'where the arm is' if np.isnan(target[i]) else f'{target[i]:.1f}{_unit(i)}'}"
                         + ("" if np.isnan(self.pose_deg[i]) else f", arm {self.pose_deg[i]:.1f}{_unit(i)}")
                         for i, name in enumerate(JOINT_NAMES))

    def _moved(self, change: dict) -> None:
        """A browser also answers what it is told to show, rounded; that is nobody's hand."""
        index, value = self.sliders.index(change["owner"]), change["new"]
        with self.lock:
            if abs(value - self._shown[index]) <= STEP / 2:
                return
            self._shown[index] = value
            self.attempt(lambda: self.pilot.set(**{JOINT_NAMES[index]: value}))

    def _values(self) -> np.ndarray:
        return np.array([slider.value for slider in self.sliders])


def joint_slider(joint: int, value: float, limits_deg: Sequence[float], name: str, width: str,
                 **options: Any) -> widgets.FloatSlider:
    """One joint's slider in its colour; its class in the page is `smolkit-{name}-{joint}`."""
    low, high = map(float, limits_deg)
    slider = widgets.FloatSlider(float(np.clip(value, low, high)), min=low, max=high, step=STEP,
                                 description=JOINT_NAMES[joint], layout={"width": width},
                                 style={"description_width": "100px", "handle_color": JOINT_COLORS[joint]}, **options)
    return slider.add_class(f"smolkit-{name}-{JOINT_NAMES[joint]}")


def _unit(index: int) -> str:
    return " %" if index == GRIPPER else "°"
