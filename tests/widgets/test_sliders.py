"""Sliders set the pilot's pose, show where the arm is, and go where it stands when a pause forgot them."""

from __future__ import annotations

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.cameras.camera import Observation
from smolkit.safety.limits import FULL_RANGE_DEG
from smolkit.teleop.sliders import SliderPilot
from smolkit.widgets.sliders import SliderPanel

HALF_OPEN = np.array([0, 0, 0, 0, 0, 30.0])
ARM_DEG = np.array([10, -20, 30, 40, -5, 50.0])


def seen(moment_s: float, pose_deg: np.ndarray = ARM_DEG) -> Observation:
    return Observation(pose_deg, captured_s=moment_s)


def panel_of(**options) -> SliderPanel:
    panel = SliderPanel(SliderPilot("standard", **options))
    panel.view()
    return panel


def test_a_hand_on_one_slider_moves_one_joint():
    panel = panel_of()
    panel.pilot(seen(0.0))
    panel.sliders[1].value = 12.5
    goal = panel.pilot(seen(0.1)).goal_deg
    assert panel.pilot.target_deg[1] == 12.5 and goal[1] > ARM_DEG[1] and goal[0] == ARM_DEG[0]


def test_the_other_sliders_go_to_where_the_arm_stands():
    panel = panel_of()
    panel.see(ARM_DEG)
    panel.refresh()
    assert [slider.value for slider in panel.sliders] == ARM_DEG.tolist()
    assert np.isnan(panel.pilot.target_deg).all()                          # showing is not setting
    panel.pilot(seen(0.0))
    panel.pilot(seen(9.0, ARM_DEG + 5))                                    # after a pause it stands elsewhere
    panel.see(ARM_DEG + 5)
    panel.refresh()
    assert [slider.value for slider in panel.sliders] == (ARM_DEG + 5).tolist()


def test_a_slider_that_was_set_stays_while_the_others_follow_the_arm():
    panel = panel_of()
    panel.see(ARM_DEG)
    panel.refresh()
    panel.sliders[0].value = 60.0
    panel.see(ARM_DEG + 1)
    panel.refresh()
    assert panel.sliders[0].value == 60.0 and panel.sliders[2].value == ARM_DEG[2] + 1


def test_what_the_browser_rounds_is_nobodys_hand():
    """A page answers what it is told to show, in steps of the slider; a drive would walk back to that pose."""
    panel = panel_of()
    outside = np.array([20.3, -60.2, 40.1, 30.3, 10.2, 400.0])               # an arm may stand beyond the sliders
    for pose_deg in (outside, outside + 7.4 * np.eye(6)[0]):
        panel.see(pose_deg)
        panel.refresh()
        for slider in panel.sliders:
            slider.set_state({"value": round(2 * slider.value) / 2})
        assert np.isnan(panel.pilot.target_deg).all()
    for value in (60.0, 27.5, 28.0):                                         # and back, by a hand
        panel.sliders[0].set_state({"value": value})
        assert panel.pilot.target_deg[0] == value


def test_sliders_end_inside_the_arms_own_range_and_stay_here_stops():
    narrow = FULL_RANGE_DEG * np.array([[0.5], [0.5]])
    panel = panel_of(range_deg=narrow)
    for slider, low, high in zip(panel.sliders, *panel.pilot.limits_deg, strict=True):
        assert slider.min >= low - 1e-9 and slider.max <= high + 1e-9
    panel.pilot(seen(0.0, HALF_OPEN))
    panel.sliders[4].value = 40.0
    panel.pilot(seen(0.1, HALF_OPEN))
    panel.view().children[1].children[-1].click()                          # "stay here"
    assert panel.pilot.target_deg[4] < 10 and panel.sliders[4].value < 40 or panel.pilot.arrived


def test_words_for_every_joint():
    panel = panel_of()
    panel.see(ARM_DEG)
    assert [line.split(":")[0] for line in panel.text().splitlines()] == list(JOINT_NAMES)
    assert "arm 50.0 %" in panel.text() and "shoulder_lift" in panel.picture()
