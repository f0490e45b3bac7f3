"""Calibrating by buttons: the panel says what to do, why it may not be accepted yet, and the servos hold the result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from smolkit.arm import history
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD, CalibrationSession, hand_path
from smolkit.arm.calibration import Calibration
from smolkit.arm.configure import calibration_differences
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.fake import SpringPlant
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD, from_radians
from smolkit.arm.registers import HOMING_OFFSET, MAX_POSITION_LIMIT, MIN_POSITION_LIMIT, PRESENT_POSITION
from smolkit.clock import SteppedClock
from smolkit.safety.faults import fault
from smolkit.sim.plant import Plant
from smolkit.widgets.bars import bar_html
from smolkit.widgets.calibration import HANDS, REST_S, CalibrationPanel
from smolkit.widgets.hand import HandPanel
from tests.arm.arms import table

SETTINGS = (HOMING_OFFSET, MIN_POSITION_LIMIT, MAX_POSITION_LIMIT)


class Desk:
    """An arm, a hand, a panel whose time is stepped."""

    def __init__(self, seed: int = 5, **options: object):
        self.servos, self.clock = ServoBus(SpringPlant(), assembly_seed=seed), SteppedClock()
        self.servos.hand_pose(MIDDLE_RAD)
        self.bus = Bus(connect(self.servos))
        self.panel = CalibrationPanel(CalibrationSession(self.bus), clock=self.clock, **options)
        self.panel.view()

    def go(self, poses: Iterable[np.ndarray]) -> None:
        for pose in poses:
            self.servos.hand_pose(pose)
            self.panel.refresh()

    def sweep(self, joint: str, part: float = 1.0) -> None:
        """From the middle to both stops, or `part` of the way there, and back."""
        at, poses = JOINT_NAMES.index(joint), []
        low, middle, high = LOWER_RAD[at], MIDDLE_RAD[at], UPPER_RAD[at]
        for angle in (*np.linspace(middle, low, 6), *np.linspace(low, high, 12), *np.linspace(high, middle, 6)):
            pose = MIDDLE_RAD.copy()
            pose[at] = middle + part * (angle - middle)
            poses.append(pose)
        self.go(poses)

    def rest(self, seconds: float = REST_S + 1) -> None:
        self.panel.refresh()                       # the joint is seen where it came to rest
        self.clock.sleep_until(self.clock.now_s() + seconds)
        self.panel.refresh()

    def done(self) -> Desk:
        """Up to the moment when it may be accepted."""
        self.panel.middle_button.click()
        self.go(hand_path())
        return self

    def registers(self) -> list[list[int]]:
        return [table(self.servos, register) for register in SETTINGS]


def test_by_buttons_alone_an_arm_is_calibrated_and_its_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "blue.json"
    desk = Desk(keep=lambda calibration: history.keep(calibration, path).name)
    desk.done()
    assert not desk.panel.accept_button.disabled and desk.panel.advice() == []
    desk.panel.accept_button.click()
    assert not desk.panel.trouble and "blue.json" in desk.panel.text()
    assert calibration_differences(desk.bus, Calibration.load(path)) == []
    assert table(desk.servos, HOMING_OFFSET) == [m.homing_offset for m in desk.panel.calibration.motors]
    assert desk.panel.accept_button.disabled and desk.panel.middle_button.disabled
    assert desk.panel.refresh()                    # the servos count anew: it does not look any more


def test_nothing_reaches_the_servos_before_accept_and_the_grey_button_says_why() -> None:
    desk = Desk()
    before = desk.registers()
    assert desk.panel.accept_button.disabled and "Show the middle pose first." in desk.panel._why.value
    assert all(button.disabled for button in desk.panel.sweep_buttons.values())
    desk.panel.middle_button.click()
    desk.sweep("shoulder_pan", part=0.5)
    assert desk.panel.accept_button.disabled
    assert "Still to move from stop to stop: shoulder_pan, shoulder_lift" in desk.panel._why.value
    desk.panel.accept_button.click()               # as a program could
    assert "SK122" in desk.panel.trouble and desk.panel.calibration is None
    assert desk.registers() == before


def test_the_person_is_led_from_joint_to_joint_with_both_hands_on_the_arm() -> None:
    desk = Desk()
    assert "Step 1 of 3" in desk.panel.text() and "upper arm upright" in desk.panel._words.value
    desk.panel.middle_button.click()
    for place, joint in enumerate(JOINT_NAMES, 1):
        assert f"Step 2 of 3: {joint} ({place} of 6)" in desk.panel._words.value
        assert HANDS[joint] in desk.panel.text()
        desk.sweep(joint)
        desk.rest()
    assert "Step 3 of 3" in desk.panel._words.value and desk.panel._progress.value == pytest.approx(1.0)


def test_a_joint_half_way_is_waited_for_and_a_button_asks_for_another() -> None:
    desk = Desk()
    desk.panel.middle_button.click()
    desk.sweep("shoulder_pan", part=0.5)
    desk.rest(60)
    assert "shoulder_pan (1 of 6)" in desk.panel.text()
    desk.panel.sweep_buttons["gripper"].click()
    assert HANDS["gripper"] in desk.panel._words.value


def test_a_middle_that_was_none_is_named_and_a_new_one_mends_it() -> None:
    desk = Desk()
    wrong = MIDDLE_RAD.copy()
    wrong[2] += 1.0
    desk.servos.hand_pose(wrong)
    desk.done()
    for _ in range(3):
        desk.rest()
    assert desk.panel.accept_button.disabled and "elbow_flex -57 deg" in desk.panel._why.value
    assert "This is the middle, again" in desk.panel._why.value and "SK124" in desk.panel._why.value
    assert desk.panel.middle_button.description == "This is the middle, again"
    desk.servos.hand_pose(MIDDLE_RAD)
    desk.done()
    assert not desk.panel.accept_button.disabled


def test_the_seam_is_shown_before_it_spoils_the_file() -> None:
    desk = Desk()
    wrong = MIDDLE_RAD.copy()
    wrong[1] = UPPER_RAD[1]
    wrong[4] = 1.5
    desk.servos.hand_pose(wrong)
    desk.panel.middle_button.click()
    desk.servos.hand_pose(MIDDLE_RAD)
    desk.sweep("shoulder_lift", part=1.0)
    assert "seam" in desk.panel._rows["shoulder_lift"].value and "⚠" in desk.panel.text()
    assert desk.panel.accept_button.disabled


def test_swapped_servos_are_noticed_and_what_to_do_is_said() -> None:
    desk = Desk()
    with fault("swapped_ids", desk.servos, first=2, second=3):
        panel = CalibrationPanel(CalibrationSession(desk.bus), clock=desk.clock)
        panel.middle()
        panel.sweep("shoulder_lift")
        desk.panel = panel
        desk.sweep("shoulder_lift")
        assert "elbow_flex moves instead" in panel.text()
        assert any("setup-motors" in line for line in panel.advice())


def test_a_chain_that_breaks_under_the_hand_is_red_and_goes_on_when_it_is_whole() -> None:
    desk = Desk()
    desk.panel.middle_button.click()
    desk.sweep("shoulder_pan")
    with fault("chain_break", desk.servos, at=3):
        desk.servos.hand_pose(MIDDLE_RAD)
        assert not desk.panel.refresh()
        assert "SK101" in desk.panel._alarm.value and "servo 2 and servo 3" in desk.panel._alarm.value
        desk.panel.sweep_buttons["gripper"].click()        # buttons still answer
        assert desk.panel._asked == "gripper"
    assert desk.panel.refresh() and desk.panel._alarm.value == ""
    assert desk.panel._bar("shoulder_pan").share > 0.95
    desk.go(hand_path())
    desk.panel.accept_button.click()
    assert desk.panel.calibration is not None and not desk.panel.trouble


def test_a_usb_cable_pulled_and_plugged_in_again_costs_nothing() -> None:
    desk = Desk()
    desk.panel.middle_button.click()
    desk.sweep("shoulder_pan")
    with fault("usb_unplugged", desk.servos):
        assert not desk.panel.refresh() and "SK106" in desk.panel.trouble
    desk.panel.refresh()                           # finds the port dead, and opens it anew
    assert desk.panel.refresh() and not desk.panel.trouble
    desk.go(hand_path())
    desk.panel.accept_button.click()
    assert desk.panel.calibration is not None and not desk.panel.trouble


def test_a_bus_that_was_closed_stays_closed() -> None:
    desk = Desk()
    desk.bus.close()
    assert not desk.panel.refresh() and "it was closed" in desk.panel.trouble
    assert not desk.panel.refresh() and not desk.bus.port.is_open


def test_accepting_on_a_broken_chain_puts_back_what_it_can_and_says_what_it_could_not() -> None:
    desk = Desk().done()
    before = desk.registers()
    with fault("chain_break", desk.servos, at=4):
        desk.panel.accept_button.click()
    assert desk.registers() == before and desk.panel.calibration is None
    assert "SK101" in desk.panel.trouble and "servo 4 could not be put back" in desk.panel._alarm.value
    assert "Interrupted" in desk.panel._words.value and desk.panel.accept_button.disabled
    assert desk.panel.refresh()                    # the whole panel stays as it is, and says so


def test_a_disk_that_is_full_costs_no_calibration(tmp_path: Path) -> None:
    full = [True]

    def keep(calibration: Calibration) -> Path:
        if full[0]:
            raise OSError("no space left on device")
        return history.keep(calibration, tmp_path / "blue.json")

    desk = Desk(keep=keep).done()
    desk.panel.accept_button.click()
    assert "no space left" in desk.panel.trouble and desk.panel.calibration is not None
    assert desk.panel.accept_button.description == "Save again" and not desk.panel.accept_button.disabled
    full[0] = False
    desk.panel.accept_button.click()
    assert not desk.panel.trouble and (tmp_path / "blue.json").exists()


def test_the_drawing_is_the_arm_as_the_calibration_has_it() -> None:
    desk = Desk()
    desk.panel.middle_button.click()
    pose = MIDDLE_RAD + np.array([0.3, -0.4, 0.5, 0.2, -0.6, 0.3])
    desk.go([pose])
    assert np.abs(desk.panel.pose_deg - from_radians(pose)).max() < 0.2
    assert "smolkit-ghost" in desk.panel._drawing.value    # where the asked joint is to go


def test_each_state_has_a_picture_and_words() -> None:
    desk = Desk()
    seen = []
    for act in (lambda: None, desk.panel.middle, desk.done, desk.panel.accept):
        act()
        seen.append((desk.panel.picture(), desk.panel.text()))
    headings = [text.splitlines()[0].split(".")[0] for _, text in seen]
    assert headings == ["Step 1 of 3: the middle", "Step 2 of 3: shoulder_pan (1 of 6)",
                        "Step 2 of 3: shoulder_pan (1 of 6)", "Done"]
    assert all("aria-label" in picture and "<svg" in picture for picture, _ in seen)


def test_a_bar_shows_range_present_and_reference() -> None:
    desk = Desk()
    desk.panel.middle_button.click()
    desk.sweep("elbow_flex")
    html = bar_html(desk.panel._bar("elbow_flex"))
    assert "2047" in html and "945" in html and "stroke-dasharray" in html and "✓ 194 of 194 deg" in html


def test_the_arm_of_the_sim_lane_is_calibrated_by_its_hand() -> None:
    """Two panels side by side, a process with physics behind a port: what a learner does with the sliders."""
    with Plant.start("place", 3, name="calibrated by hand", calibrated=False) as plant, Bus(plant.port) as bus:
        hand, panel = HandPanel(plant.hand_pose), CalibrationPanel(CalibrationSession(bus))

        def drag(**pos_deg: float) -> None:
            hand.move(**pos_deg)
            while hand._step(0.1):
                panel.refresh()

        middle_deg = dict(zip(JOINT_NAMES, from_radians(MIDDLE_RAD), strict=True))
        drag(**middle_deg)
        panel.middle()
        for joint, room in zip(JOINT_NAMES, (None, "elbow_flex", "wrist_flex", None, None, None), strict=True):
            drag(**{room: -200} if room else {})   # else the table is in the way
            drag(**{joint: -200})
            drag(**{joint: 200})
            drag(**middle_deg)
        panel.accept()
        assert calibration_differences(bus, panel.calibration) == []
        hand._step(0.0)
        ticks = np.array(list(bus.sync_read(PRESENT_POSITION, range(1, 7)).values()), float)
    assert np.abs(panel.calibration.to_pos(ticks) - from_radians(MIDDLE_RAD)).max() < 3

