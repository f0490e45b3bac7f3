"""The calibration routine: by a careful hand, and by hands that make the known mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.arm import calibrate as calibrate_module
from smolkit.arm import fake
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD, CalibrationSession, calibrate, calibrate_with_hand, guided
from smolkit.arm.configure import calibration_differences, servo_fingerprint
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.fake import SpringPlant
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD, from_radians
from smolkit.arm.registers import ID, LOCK, MIN_POSITION_LIMIT, PRESENT_POSITION, TORQUE_ENABLE
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError


def hand_over(servo_bus, poses, middle=MIDDLE_RAD, **options):
    """Runs the routine with a hand that goes through `poses`."""
    poses = iter(poses)

    def move_on():
        pose = next(poses, None)
        if pose is not None:
            servo_bus.hand_pose(pose)
        return pose is not None

    with Bus(connect(servo_bus)) as bus:
        return calibrate(bus, lambda: servo_bus.hand_pose(middle), move_on, clock=SteppedClock(), **options)


def sweep(low=LOWER_RAD, high=UPPER_RAD, steps=9):
    """All joints together from stop to stop."""
    return [low + (high - low) * part for part in np.linspace(0, 1, steps)]


@pytest.mark.parametrize("seed", range(6))
def test_any_assembly_can_be_calibrated(seed):
    servo_bus = fake.servos(seed)
    calibration = fake.calibrated(servo_bus)
    for angle_rad in (LOWER_RAD, MIDDLE_RAD, UPPER_RAD):
        servo_bus.hand_pose(angle_rad)
        with Bus(connect(servo_bus)) as bus:
            assert calibration_differences(bus, calibration) == []
            ticks = np.array(list(bus.sync_read(PRESENT_POSITION, calibration.ids).values()), float)
        error = np.abs(calibration.to_pos(ticks) - from_radians(angle_rad))
        assert error[:5].max() < 0.2 and error[5] < 0.5


def test_the_wrist_roll_is_given_a_whole_turn():
    motor = fake.calibrated(fake.servos(2)).motors[JOINT_NAMES.index("wrist_roll")]
    assert (motor.range_min, motor.range_max) == (0, 4095)


def test_calibrating_again_finds_the_same_and_wears_nothing():
    servo_bus = fake.servos(3)
    first = fake.calibrated(servo_bus)
    before = [servo.eeprom_writes for servo in servo_bus.servos]
    assert fake.calibrated(servo_bus) == first
    assert [servo.eeprom_writes for servo in servo_bus.servos] == before
    assert all(servo.get(LOCK) == 1 for servo in servo_bus.servos)


def test_the_registers_survive_a_power_cycle():
    servo_bus = fake.servos(4)
    calibration = fake.calibrated(servo_bus)
    servo_bus.power_cycle()
    with Bus(connect(servo_bus)) as bus:
        assert calibration_differences(bus, calibration) == []


@pytest.mark.fault(24)
def test_an_arm_that_holds_is_not_dropped_unless_somebody_says_that_he_holds_it():
    servo_bus = fake.servos()
    for servo_id in (2, 3):
        servo_bus.memory(servo_id).put(TORQUE_ENABLE, 1)
    with pytest.raises(SmolkitError, match="SK112") as error:
        hand_over(servo_bus, sweep())
    assert "2 (shoulder_lift), 3 (elbow_flex)" in error.value.found and "--release" in error.value.next_step
    assert [servo.get(TORQUE_ENABLE) for servo in servo_bus.servos] == [0, 1, 1, 0, 0, 0]
    hand_over(servo_bus, sweep(), release=True)
    assert all(servo.get(TORQUE_ENABLE) == 0 for servo in servo_bus.servos)


@pytest.mark.fault(6)
def test_a_servo_at_4095_does_not_overflow():
    servo_bus = ServoBus(SpringPlant(), [2047 - 512 * (i == 5) for i in range(6)])
    calibration = hand_over(servo_bus, sweep())
    assert max(motor.homing_offset for motor in calibration.motors) == 2047


def test_progress_shows_present_least_and_greatest():
    seen = []
    hand_over(fake.servos(1), sweep(), progress=seen.append)
    assert len(seen) == 9 and [bar.joint for bar in seen[0]] == list(JOINT_NAMES)
    assert all(bar.low <= bar.present <= bar.high for bars in seen for bar in bars)
    assert all(0.99 < bar.share < 1.01 and not bar.warning for bar in seen[-1])


@pytest.mark.fault(6)
def test_a_sweep_across_the_seam_is_rejected():
    wrong_middle = MIDDLE_RAD.copy()
    wrong_middle[0] = LOWER_RAD[0] - 0.1           # pan at its stop, not in the middle
    with pytest.raises(SmolkitError, match="SK123") as error:
        hand_over(fake.servos(1), sweep(steps=30), middle=wrong_middle)
    assert "shoulder_pan" in error.value.expected


@pytest.mark.fault(5)
@pytest.mark.parametrize("joint", [0, 1, 2, 3, 5])
def test_half_a_sweep_is_rejected_by_name(joint):
    high = UPPER_RAD.copy()
    high[joint] = MIDDLE_RAD[joint]
    with pytest.raises(SmolkitError, match="SK122") as error:
        hand_over(fake.servos(1), sweep(high=high))
    assert JOINT_NAMES[joint] in error.value.expected


def test_no_sweep_at_all_is_rejected():
    with pytest.raises(SmolkitError, match="SK122"):
        hand_over(fake.servos(1), [])


@pytest.mark.fault(12)
def test_a_missing_servo_stops_before_anything_is_written():
    servo_bus = fake.servos()
    servo_bus.dead.add(6)
    with pytest.raises(SmolkitError, match="SK101"):
        calibrate_with_hand(Bus(connect(servo_bus)), servo_bus.hand_pose)
    assert all(servo.eeprom_writes == 0 for servo in servo_bus.servos)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("moment", ["middle", "sweep", "limits"])
def test_an_abort_leaves_the_servos_as_they_were(error, moment, monkeypatch):
    servo_bus = fake.servos(5)
    first = fake.calibrated(servo_bus)
    other_middle = MIDDLE_RAD + 0.1

    def abort(*_):
        raise error

    def stop_half_way():
        yield from sweep()[:4]
        abort()

    def write_one_limit(bus, calibration):
        bus.write_eeprom(1, {MIN_POSITION_LIMIT: 1234})
        abort()

    if moment == "limits":
        monkeypatch.setattr(calibrate_module, "write_calibration", write_one_limit)
    poses = stop_half_way() if moment == "sweep" else sweep(steps=30)
    with Bus(connect(servo_bus)) as bus, pytest.raises(error) as ended:
        calibrate(bus, abort if moment == "middle" else lambda: servo_bus.hand_pose(other_middle),
                  lambda: _moved(servo_bus, poses), clock=SteppedClock())
    assert not getattr(ended.value, "__notes__", [])
    servo_bus.power_cycle()
    with Bus(connect(servo_bus)) as bus:
        assert calibration_differences(bus, first) == []


def _moved(servo_bus, poses):
    if not isinstance(poses, list):
        servo_bus.hand_pose(next(poses))
        return True
    if poses:
        servo_bus.hand_pose(poses.pop(0))
    return bool(poses)


def test_an_abort_that_cannot_put_a_servo_back_says_so(monkeypatch):
    servo_bus = fake.servos(5)
    fake.calibrated(servo_bus)

    def lose_one(bus, calibration):
        bus.write_eeprom(4, {MIN_POSITION_LIMIT: 1234})
        servo_bus.dead.add(4)
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate_module, "write_calibration", lose_one)
    with pytest.raises(KeyboardInterrupt) as ended:
        hand_over(servo_bus, sweep())
    note, = ended.value.__notes__
    assert "servo 4 could not be put back" in note and "SK101" in note


# -- step by step, as a widget or the command line does it ----------------------------------------------


class Hand:
    """A session on an emulated arm, and a hand that moves one joint after the other from stop to stop."""

    def __init__(self, servo_bus, middle=MIDDLE_RAD):
        self.servo_bus, self.middle = servo_bus, middle
        self.session = CalibrationSession(Bus(connect(servo_bus)))
        servo_bus.hand_pose(middle)
        self.session.hold_middle()

    def move(self, shaft, low=None, high=None):
        """Moves `shaft`; returns the last bars."""
        low, high = LOWER_RAD[shaft] if low is None else low, UPPER_RAD[shaft] if high is None else high
        middle = self.middle[shaft]
        for angle in np.concatenate([np.linspace(*leg, 9) for leg in ((middle, low), (low, high), (high, middle))]):
            pose = self.middle.copy()
            pose[shaft] = angle
            self.servo_bus.hand_pose(pose)
            bars = self.session.look()
        return bars

    def sweep_all(self):
        for index, joint in enumerate(JOINT_NAMES):
            self.session.sweep(joint)
            self.move(index)


def test_nothing_is_written_before_accept():
    servo_bus = fake.servos(2)
    hand = Hand(servo_bus)
    hand.sweep_all()
    assert hand.session.report().ok
    assert not any(servo.eeprom_writes for servo in servo_bus.servos)
    accepted = hand.session.accept()
    with Bus(connect(servo_bus)) as bus:
        assert calibration_differences(bus, accepted) == []
        assert servo_fingerprint(bus, accepted.ids) == accepted.fingerprint


def test_a_session_says_what_comes_next_and_how_far_it_is():
    hand, seen = Hand(fake.servos(2)), []
    for index in range(6):
        seen.append((hand.session.step, round(hand.session.progress, 2)))
        hand.move(index)
    assert seen == [("sweep", round(index / 6, 2)) for index in range(5)] + [("sweep", 0.83)]
    assert (hand.session.step, hand.session.progress) == ("accept", 1.0)


def test_without_a_middle_pose_no_sweep_is_accepted():
    servo_bus = fake.servos()
    hand = Hand(servo_bus)
    hand.session = CalibrationSession(Bus(connect(servo_bus)))
    hand.sweep_all()
    assert hand.session.step == "middle" and hand.session.progress == 0
    with pytest.raises(SmolkitError, match="SK124") as error:
        hand.session.accept()
    assert "not held yet" in error.value.found and not any(servo.eeprom_writes for servo in servo_bus.servos)


def test_both_ways_to_calibrate_find_the_same():
    by_session = Hand(fake.servos(7))
    by_session.sweep_all()
    assert by_session.session.accept() == fake.calibrated(fake.servos(7))


@pytest.mark.fault(5)
@pytest.mark.parametrize(("one", "two"), [(0, 1), (2, 3), (4, 5)])
def test_two_servos_with_each_others_id_are_noticed_while_the_person_moves_the_first(one, two):
    servo_bus = fake.servos(2)
    servo_bus.set_register(one + 1, ID, two + 1)
    servo_bus.set_register(two + 1, ID, one + 1)
    hand = Hand(servo_bus)
    hand.session.sweep(JOINT_NAMES[one])
    warning = hand.move(one)[one].warning          # the person moves the joint that was asked for
    assert warning.startswith(f"{JOINT_NAMES[two]} moves instead")
    hand.sweep_all()
    first = hand.session.report().red()[0]
    assert first.code == "SK125" and JOINT_NAMES[two] in first.found
    with pytest.raises(SmolkitError, match="SK125"):
        hand.session.accept()


def test_a_person_who_moved_the_wrong_joint_first_may_mend_it():
    hand = Hand(fake.servos(2))
    hand.session.sweep("elbow_flex")
    assert "shoulder_lift moves instead" in hand.move(1)[2].warning
    assert not hand.move(2)[2].warning
    hand.sweep_all()
    assert hand.session.report().ok


@pytest.mark.fault(5)
@pytest.mark.parametrize("joint", range(6))
def test_a_wrong_middle_pose_is_named(joint):
    middle = MIDDLE_RAD.copy()
    middle[joint] += np.deg2rad(-50 if joint == 5 else 30)
    hand = Hand(fake.servos(2), middle)
    hand.sweep_all()
    red = hand.session.report().red()
    assert red and {check.code for check in red} <= {"SK123", "SK124"}
    assert JOINT_NAMES[joint] in red[-1].found


@pytest.mark.fault(6)
def test_the_seam_is_warned_of_while_sweeping_and_a_new_middle_mends_it():
    middle = MIDDLE_RAD.copy()
    middle[0] = LOWER_RAD[0]
    hand = Hand(fake.servos(1), middle)
    assert "seam" in hand.move(0)[0].warning
    assert hand.session.report().red()[0].code == "SK123"
    hand.middle = MIDDLE_RAD
    hand.servo_bus.hand_pose(MIDDLE_RAD)
    hand.session.hold_middle()
    hand.sweep_all()
    assert hand.session.report().ok


def test_a_wrist_roll_without_stops_is_no_fault():
    hand = Hand(fake.servos(2))
    hand.sweep_all()
    hand.move(4, -3.9, 3.9)                        # once and a quarter round
    assert hand.session.report().ok and hand.session.accept().motors[4].range_max == 4095


@settings(max_examples=25)
@given(st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6), st.lists(st.floats(0, 0.15), min_size=12, max_size=12))
def test_what_is_accepted_gives_the_true_angles(horn_rad, short):
    """Any assembly, any sweep that stays a little short of the stops: zero is the middle of what was swept."""
    servo_bus = ServoBus(SpringPlant(), [int(angle * 4096 / (2 * np.pi)) for angle in horn_rad])
    hand = Hand(servo_bus)
    low, high = LOWER_RAD + 0.4 * np.array(short[:6]), UPPER_RAD - 0.4 * np.array(short[6:])
    for index in range(6):
        hand.move(index, low[index], high[index])
    calibration = hand.session.accept()
    servo_bus.hand_pose((low + high) / 2)
    with Bus(connect(servo_bus)) as bus:
        ticks = np.array(list(bus.sync_read(PRESENT_POSITION, calibration.ids).values()), float)
    swept = np.arange(6) != JOINT_NAMES.index("wrist_roll")
    assert np.abs(calibration.to_pos(ticks) - [0, 0, 0, 0, 0, 50])[swept].max() < 0.2


def test_a_person_is_led_through_all_joints():
    servo_bus, clock, said = fake.servos(2), SteppedClock(), []
    poses = {}

    def person(_):
        """Brings the joint that was named last to a pose between its stops that depends on the time."""
        pose = MIDDLE_RAD.copy()
        words = said[-1].split()
        if words[0] == "move":
            index = JOINT_NAMES.index(words[1])
            part = 0.5 + 0.5 * np.sin(poses.setdefault(index, clock.now_s()) - clock.now_s())
            pose[index] = LOWER_RAD[index] + part * (UPPER_RAD[index] - LOWER_RAD[index])
        servo_bus.hand_pose(pose)

    session = CalibrationSession(Bus(connect(servo_bus)))
    assert guided(session, clock, said.append, person, hold_s=2.0).ok
    assert [words.split()[1] for words in said[1:]] == list(JOINT_NAMES)
    assert clock.now_s() < 80.0                    # it went on when a joint was done
    session.accept()


def test_a_person_who_does_nothing_is_not_waited_for_for_ever():
    clock = SteppedClock()
    session = CalibrationSession(fake.bus())
    red = guided(session, clock, lambda text: None, lambda bars: None, hold_s=1.0, patience_s=3.0).red()
    assert "SK122" in [check.code for check in red] and clock.now_s() < 25.0
