"""The hand of the sim lane: it takes a limp arm, moves it at a person's speed, holds it, and lets it sink."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from smolkit.arm import fake
from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, UPPER_RAD, from_radians
from smolkit.report import SmolkitError
from smolkit.sim.plant import Plant
from smolkit.widgets.hand import HAND_RAD_S, HandPanel


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    with Plant.start("place", 3, name="hand", calibrated=False) as started:
        yield started


def truth(plant: Plant) -> np.ndarray:
    return np.asarray(plant.truth()["angle_rad"])


def test_a_slider_moves_one_joint_of_the_emulated_arm() -> None:
    servos = fake.servos()
    panel = HandPanel(servos.hand_pose)
    panel.view()
    before = panel.angle_rad.copy()
    panel.sliders[2].value = -40.0
    panel.hurry()
    found = from_radians(servos.plant.angle_rad)
    assert found[2] == pytest.approx(-40) and panel.holding
    assert np.allclose(np.delete(servos.plant.angle_rad, 2), np.delete(before, 2))


def test_the_ends_of_a_slider_are_the_stops_of_the_joint() -> None:
    panel = HandPanel(lambda pose: None)
    panel.view()
    for slider, low, high in zip(panel.sliders, LOWER_DEG, UPPER_DEG, strict=True):
        assert (slider.min, slider.max) == pytest.approx((low, high))
    panel.sliders[5].value = 100.0
    panel.hurry()
    assert panel.angle_rad[5] == pytest.approx(UPPER_RAD[5])


def test_what_a_browser_rounds_is_nobodys_hand() -> None:
    """A slider answers 12.0 with 11.999999999999986, as if the person had moved it."""
    panel = HandPanel(fake.servos().hand_pose)
    panel.view()
    for slider in panel.sliders:
        slider.value = slider.value - 0.2
    assert not panel.holding
    panel.sliders[3].value = panel.sliders[3].value - 1
    assert panel.holding


def test_the_hand_has_a_persons_speed_however_far_the_slider_leapt() -> None:
    poses: list[np.ndarray] = []
    panel = HandPanel(lambda pose: poses.append(pose.copy()))
    panel.move(shoulder_pan=110)
    panel.hurry()
    panel.move(shoulder_pan=-110)
    panel._step(10.0)                              # a notebook that slept for ten seconds
    panel.hurry()
    steps = np.abs(np.diff(np.array([from_radians(pose) for pose in poses])[:, 0]))
    assert steps.max() <= np.rad2deg(HAND_RAD_S) * 0.1 + 1e-6 < 180


def test_it_holds_the_arm_of_the_plant_against_its_weight_and_lets_it_sink(plant: Plant) -> None:
    with HandPanel(plant.hand_pose, lambda: truth(plant)) as panel:
        panel.view()
        panel.start()
        panel.move(shoulder_pan=0, shoulder_lift=0, elbow_flex=0, wrist_flex=0)
        until_s = time.monotonic() + 15
        while np.abs(panel.target_rad - panel.angle_rad).max() > 1e-6 and time.monotonic() < until_s:
            time.sleep(0.05)
        time.sleep(0.5)
        with panel.lock:                           # no look comes between: a held arm has sunk for 50 ms at most
            panel.refresh()
            held = truth(plant)
        assert np.rad2deg(np.abs(held - panel.target_rad)).max() < 3 and not panel.trouble
        panel.let_go_button.click()
        time.sleep(1.5)
        assert np.rad2deg(truth(plant)[1]) > 15    # the shoulder sank
        panel.refresh()
        assert np.rad2deg(panel.angle_rad[1]) > 15 and not panel.holding           # and so does the drawing
        panel.move(wrist_roll=30)                  # taken where it lies, without a leap, and lifted
        assert np.rad2deg(truth(plant)[1]) > 15
        panel.hurry()
        assert abs(np.rad2deg(truth(plant)[1])) < 5


def test_an_arm_that_is_gone_is_a_red_line_and_taken_again_when_it_is_back() -> None:
    servos, gone = fake.servos(), [False]

    def hand(pose: np.ndarray) -> None:
        if gone[0]:
            raise SmolkitError("SK814", "an answer", "nothing", "the plant has ended", "Plant.start()")
        servos.hand_pose(pose)

    panel = HandPanel(hand)
    panel.view()
    panel.move(elbow_flex=0)
    gone[0] = True
    assert not panel.refresh() and "SK814" in panel.trouble
    gone[0] = False
    assert panel.refresh() and not panel.trouble


@pytest.mark.parametrize("holding", [False, True])
def test_it_says_whether_it_holds(holding: bool) -> None:
    panel = HandPanel(fake.servos().hand_pose)
    panel.view()
    if holding:
        panel.move(gripper=10)
    assert panel.text().startswith("Your hand holds" if holding else "Nobody holds")
    assert panel.let_go_button.disabled is not holding
    assert "°" not in panel.picture() and 'role="img"' in panel.picture()
