"""The sheet for a first real arm: led through on an emulated one, with its faults."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smolkit.arm import fake
from smolkit.arm.acceptance import MOVING, NAMES, not_tried, save_sheet, with_torque, without_torque
from smolkit.arm.bus import Bus
from smolkit.arm.emulator import connect
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.registers import TORQUE_ENABLE
from smolkit.clock import SteppedClock
from smolkit.report import Report, SmolkitError
from smolkit.safety.envelope import Envelope
from smolkit.safety.geometry import REST_DEG

TURN_RAD = np.deg2rad(25)


def person(servo_bus, mistake=None):
    """Does what is told, at once; `mistake` (asked index -> index, rad) does something else."""
    def act(text):
        words = text.split()
        if words[0] == "turn":
            asked = JOINT_NAMES.index(words[1])
            way = -TURN_RAD if "comes up" in text else TURN_RAD
            index, angle_rad = (mistake or {}).get(asked, (asked, way))
            turned = servo_bus.plant.angle_rad + angle_rad * np.eye(6)[index]
            servo_bus.hand_pose(np.clip(turned, LOWER_RAD, UPPER_RAD))         # no further than the stops
    return act


def by_hand(mistake=None, spoil=lambda servo_bus: None):
    servo_bus = fake.servos(2)
    calibration, clock = fake.calibrated(servo_bus), SteppedClock()
    servo_bus.hand_pose(to_radians(REST_DEG))
    spoil(servo_bus)
    with Bus(connect(servo_bus)) as bus:
        return Report("sheet", without_torque(bus, calibration, clock, person(servo_bus, mistake), patience_s=2.0))


def test_a_good_arm_and_a_careful_person_are_green():
    found = by_hand()
    assert found.ok and [check.code for check in found.checks] == list(NAMES)[:4]


@pytest.mark.fault(5)
@pytest.mark.parametrize(("mistake", "words"), [
    ({0: (0, -TURN_RAD)}, "shoulder_pan counts the other way"),
    ({4: (4, -TURN_RAD)}, "wrist_roll counts the other way"),
    ({2: (2, TURN_RAD)}, "elbow_flex did not move"),
    ({3: (4, 2 * TURN_RAD)}, "wrist_roll moved instead of wrist_flex")])
def test_a_wrong_direction_is_named(mistake, words):
    red, = by_hand(mistake).red()
    assert red.code == "SK153" and words in red.found


def test_noise_is_seen():
    rng = np.random.default_rng(0)

    def shake(servo_bus):
        def noisy(answer, request):
            servo_bus.hand_pose(servo_bus.plant.angle_rad + rng.normal(0, 0.005, 6))
            return answer(request)
        servo_bus.filters.append(noisy)
    assert "SK152" in [check.code for check in by_hand(spoil=shake).red()]


def slip(servo_bus):
    """The lift sinks by 6 deg as the hand lets go."""
    servo_bus.plant.place(servo_bus.plant.angle_rad + 0.1 * np.eye(6)[1])
    servo_bus.plant.blocked[1] = True


def moved(change=lambda servo_bus: None, guard=None):
    servo_bus = fake.servos(2)
    arm = fake.arm(guard=guard or Envelope("beginner"), servo_bus=servo_bus)
    servo_bus.hand_pose(np.deg2rad([0, -20, 40, 10, 0, 45]))
    said = []

    def tell(text):
        said.append(text)
        if "let go" in text:
            change(servo_bus)
    with arm:
        checks = with_torque(arm, tell, hold_s=5.0)
    assert not any(servo.get(TORQUE_ENABLE) for servo in servo_bus.servos)
    return Report("moving", checks), said


def test_a_good_arm_moves_through_the_beginners_envelope_and_is_green():
    found, said = moved()
    assert found.ok, found.text()
    assert [check.code for check in found.checks] == list(MOVING)
    assert "take hold" in said[-1]


@pytest.mark.parametrize(("change", "code"), [
    pytest.param(lambda bus: setattr(bus.protection, "supply_v", 4.3), "SK157", marks=pytest.mark.fault(7)),
    pytest.param(lambda bus: bus.protection.temperature_c.__setitem__(2, 45.0), "SK158", marks=pytest.mark.fault(10)),
    pytest.param(lambda bus: bus.plant.blocked.__setitem__(3, True), "SK155", marks=pytest.mark.fault(32)),
    pytest.param(lambda bus: slip(bus), "SK154", marks=pytest.mark.fault(25))])
def test_each_fault_of_a_moving_arm_is_red_and_it_is_released(change, code):
    found, _ = moved(change)
    assert code in [check.code for check in found.red()]
    assert found.checks[-1].code == "SK159" and found.checks[-1].ok


@pytest.mark.fault(12)
def test_an_arm_that_falls_silent_half_way_ends_the_sheet_red_with_both_reasons():
    servo_bus = fake.servos(2)
    arm = fake.arm(guard=Envelope("beginner"), servo_bus=servo_bus)
    checks = with_torque(arm, lambda text: servo_bus.dead.update((5, 6)) if "let go" in text else None, hold_s=5.0)
    assert [check.code for check in checks] == ["SK101", "SK135"] and not any(check.ok for check in checks)
    servo_bus.dead.clear()
    arm.close()


def test_without_leave_to_move_the_sheet_is_not_green_and_says_why(tmp_path):
    report = Report("first real arm", (*by_hand().checks, *not_tried()))
    assert len(report.checks) == 10 and [check.code for check in report.red()] == list(MOVING)
    assert all("--move" in check.next_step for check in report.red())
    saved = json.loads(save_sheet(tmp_path / "sheet.json", {"port": "x"}, report).read_text(encoding="utf-8"))
    assert saved["port"] == "x" and not saved["ok"] and len(saved["checks"]) == 10


def test_an_interrupted_sheet_releases_the_arm():
    servo_bus = fake.servos(2)
    arm = fake.arm(guard=Envelope("beginner"), servo_bus=servo_bus)

    def stop(text):
        if "let go" in text:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        with_torque(arm, stop)
    assert not any(servo.get(TORQUE_ENABLE) for servo in servo_bus.servos)
    with pytest.raises(SmolkitError, match="SK131"):
        arm.command(np.zeros(6))
