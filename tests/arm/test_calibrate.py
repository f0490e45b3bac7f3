"""The calibration routine: by a careful hand, and by hands that make the known mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.arm import calibrate as calibrate_module
from smolkit.arm import fake
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD, calibrate, calibrate_with_hand
from smolkit.arm.configure import calibration_differences
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.fake import SpringPlant
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD, from_radians
from smolkit.arm.registers import LOCK, MIN_POSITION_LIMIT, PRESENT_POSITION, TORQUE_ENABLE
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


def test_an_arm_that_still_holds_is_released_first():
    servo_bus = fake.servos()
    for servo_id in range(1, 7):
        servo_bus.memory(servo_id).put(TORQUE_ENABLE, 1)
    hand_over(servo_bus, sweep())
    assert all(servo.get(TORQUE_ENABLE) == 0 for servo in servo_bus.servos)


@pytest.mark.fault(6)
def test_a_servo_at_4095_does_not_overflow():
    servo_bus = ServoBus(SpringPlant(), [2047 - 512 * (i == 5) for i in range(6)])
    calibration = hand_over(servo_bus, sweep())
    assert max(motor.homing_offset for motor in calibration.motors) == 2047


def test_progress_shows_present_least_and_greatest():
    seen = []
    hand_over(fake.servos(1), sweep(), progress=lambda *ticks: seen.append(ticks))
    assert len(seen) == 9
    assert all((low <= present).all() and (present <= high).all() for present, low, high in seen)


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
    with pytest.raises(SmolkitError, match="SK121"):
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


def test_an_abort_that_cannot_put_a_servo_back_says_so():
    servo_bus = fake.servos(5)
    fake.calibrated(servo_bus)

    def lose_one():
        servo_bus.dead.add(4)
        raise KeyboardInterrupt

    with Bus(connect(servo_bus)) as bus, pytest.raises(KeyboardInterrupt) as ended:
        calibrate(bus, lose_one, lambda: False, clock=SteppedClock())
    note, = ended.value.__notes__
    assert "servo 4 could not be put back" in note and "SK101" in note
