"""The arm as its users meet it: opening, reading, moving through the guard, letting go."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.arm import fake, registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.emulator import connect
from smolkit.arm.joints import from_radians, to_radians
from smolkit.arm.registers import GOAL_POSITION, HOMING_OFFSET, TORQUE_ENABLE
from smolkit.arm.so101 import SO101
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from tests.arm.arms import IDS, POSE, reopened, settle, table, table_is_limp
from tests.arm.wires import PATIENT, WIRES, tamper, wired

# -- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_degrees_agree_with_the_joints_angles_wherever_the_horns_sit(seed):
    servo_bus = fake.servos(seed)
    with fake.arm(servo_bus=servo_bus) as arm:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            angle_rad = rng.uniform(fake.LOWER_RAD, fake.UPPER_RAD)
            servo_bus.hand_pose(angle_rad)
            error = np.abs(arm.read().pos_deg - from_radians(angle_rad))
            assert error[:5].max() < 0.2 and error[5] < 0.5
            assert (arm.read_positions() == arm.read().pos_deg).all()


@pytest.mark.parametrize("kind", WIRES)
def test_the_same_driver_on_every_wire(kind):
    servo_bus = fake.servos(3)
    calibration = fake.calibrated(servo_bus)
    with wired(kind, servo_bus) as port, SO101(port, calibration, **PATIENT) as arm:
        state = arm.read()
        assert state.pos_deg == pytest.approx([0, 0, 0, 0, 0, 50], abs=0.2)
        assert state.voltage_v == pytest.approx(np.full(6, 5.0), abs=0.11)
        assert (state.temperature_c == 25).all() and (state.error_bits == 0).all()


def test_a_reading_says_everything_in_units():
    arm = fake.arm()
    arm.energize()
    arm.command(POSE)
    arm.clock.sleep_until(arm.clock.now_s() + 0.12)
    state = arm.read()
    assert state.vel_deg_s[0] > 20 and state.vel_deg_s[1] < -20 and state.vel_deg_s[5] > 5
    assert np.sign(state.load[:2]).tolist() == np.sign(state.current_ma[:2]).tolist() == [1, -1]
    assert state.captured_s == arm.clock.now_s()
    arm.close()


def test_error_bits_reach_the_reading():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    servo_bus.forced_errors[3] = registers.OVERLOAD
    assert arm.read().error_bits.tolist() == [0, 0, 32, 0, 0, 0]


# -- opening --------------------------------------------------------------------------------------------


def test_opening_writes_nothing():
    servo_bus = fake.servos(2)
    calibration = fake.calibrated(servo_bus)
    assert table(servo_bus, registers.P_COEFFICIENT) == [16] * 6       # calibrating left the settings in order
    assert table(servo_bus, registers.MAX_TORQUE_LIMIT) == [600] * 5 + [500]
    before = [bytes(servo.live[:56]) for servo in servo_bus.servos], [servo.eeprom_writes for servo in servo_bus.servos]
    reopened(servo_bus, fake.OpenGuard(), calibration)
    assert before == ([bytes(servo.live[:56]) for servo in servo_bus.servos],
                      [servo.eeprom_writes for servo in servo_bus.servos])


@pytest.mark.fault(30)
def test_an_arm_with_other_settings_can_be_read_not_moved():
    servo_bus = fake.servos()
    calibration = fake.calibrated(servo_bus)
    servo_bus.set_register(4, registers.P_COEFFICIENT, 32)
    before = [servo.eeprom_writes for servo in servo_bus.servos]
    with pytest.raises(SmolkitError, match="SK146") as error:
        reopened(servo_bus, fake.OpenGuard(), calibration)
    assert error.value.found == "4 (wrist_flex) P_Coefficient = 32, not 16" and "--repair" in error.value.next_step
    reader, _ = reopened(servo_bus, None, calibration)
    assert reader.read().pos_deg.shape == (6,)
    assert [servo.eeprom_writes for servo in servo_bus.servos] == before


@pytest.mark.fault(8)
def test_labels_say_more_than_a_register_that_somebody_raised():
    """Register 14 raised to 14 V hides that the servos are of the 7.4 V type; only who reads the labels knows."""
    servo_bus = fake.servos()
    calibration = fake.calibrated(servo_bus)
    arm = SO101(connect(servo_bus), calibration, fake.OpenGuard(), SteppedClock(servo_bus.now_s), arm_type="7.4V")
    for servo_id in IDS:
        servo_bus.set_register(servo_id, registers.MAX_VOLTAGE_LIMIT, 140)
    servo_bus.protection.supply_v = 12.0
    servo_bus.advance_to(servo_bus.now_s + 1)
    with pytest.raises(SmolkitError, match="SK110") as error:
        arm.energize()
    assert "12.0 V" in error.value.found and "unplug" in error.value.next_step
    assert table_is_limp(arm)
    arm.close()
    SO101(connect(servo_bus), calibration, fake.OpenGuard()).close()   # told nothing, it believes the register
    for named in ("7.4V", "5V"):
        with pytest.raises(SmolkitError, match="SK110" if named == "7.4V" else "SK118"):
            SO101(connect(servo_bus), calibration, arm_type=named)


@pytest.mark.fault(12)
@pytest.mark.parametrize(("dead", "cause"), [
    ({4, 5, 6}, "between servo 3 and servo 4"), ({1, 2, 3, 4, 5, 6}, "no power"),
    ({3}, "another id")])
def test_opening_names_all_missing_servos_and_the_cable(dead, cause):
    servo_bus = fake.servos()
    calibration = fake.calibrated(servo_bus)
    servo_bus.dead.update(dead)
    port = connect(servo_bus)
    with pytest.raises(SmolkitError, match="SK101") as error:
        SO101(port, calibration)
    assert all(f"{servo_id} (" in error.value.found for servo_id in dead)
    assert cause in error.value.cause
    assert not port.is_open


def test_another_model_is_refused():
    servo_bus = fake.servos()
    servo_bus.set_register(2, registers.MODEL_NUMBER, 1029)
    servo_bus.memory(2).show(registers.MODEL_NUMBER, 1029)
    with pytest.raises(SmolkitError, match="SK108"):
        SO101(connect(servo_bus), EXAMPLE)


@pytest.mark.parametrize(("supply_v", "step"), [
    pytest.param(12.2, "unplug", marks=pytest.mark.fault(8)),
    pytest.param(3.6, "supply", marks=pytest.mark.fault(7))])
def test_a_wrong_supply_is_refused(supply_v, step):
    servo_bus = fake.ServoBus(fake.SpringPlant(), supply_v=supply_v)
    with pytest.raises(SmolkitError, match="SK110") as error:
        SO101(connect(servo_bus), EXAMPLE)
    assert step in error.value.next_step


@pytest.mark.fault(30)
@pytest.mark.parametrize("register", [registers.PROTECTION_CURRENT, registers.UNLOADING_CONDITION])
def test_servos_without_protections_are_refused(register):
    servo_bus = fake.servos()
    calibration = fake.calibrated(servo_bus)
    servo_bus.set_register(5, register, 0)
    with pytest.raises(SmolkitError, match="SK111") as error:
        SO101(connect(servo_bus), calibration)
    assert f"{register.name} = 0" in error.value.found
    assert error.value.next_step == "smolkit doctor PORT --repair"
    with Bus(connect(servo_bus)) as bus:
        bus.write_eeprom(5, {register: register.default})
    SO101(connect(servo_bus), calibration).close()


@pytest.mark.fault(29)
def test_another_arms_calibration_is_refused():
    other = fake.calibrated(fake.servos(7))
    servo_bus = fake.servos(8)
    fake.calibrated(servo_bus)
    with pytest.raises(SmolkitError, match="SK109") as error:
        SO101(connect(servo_bus), other)
    assert "Homing_Offset: servo" in error.value.found


EXAMPLE = Calibration.from_dict(fake.calibrated(fake.servos()).as_dict())


# -- the guard --------------------------------------------------------------------------------------------


class Recorder:
    """A guard that notes what it was asked and admits a fixed pose."""

    def __init__(self, admits=POSE):
        self.admits, self.asked, self.resets = admits, [], 0

    def admit(self, goal_deg, present_deg, dt_s):
        self.asked.append((goal_deg, present_deg, dt_s))
        return self.admits

    def reset(self, holding_deg=None):
        self.resets += 1


def test_what_the_guard_admits_is_what_is_sent():
    guard, servo_bus = Recorder(), fake.servos(4)
    arm = fake.arm(guard=guard, servo_bus=servo_bus)
    arm.energize()
    assert guard.resets == 1 and guard.asked == []
    settle(arm, 0.05)
    assert (arm.command(POSE + 1000) == POSE).all()
    settle(arm)
    assert arm.read_positions() == pytest.approx(POSE, abs=0.3)
    assert from_radians(servo_bus.plant.angle_rad) == pytest.approx(POSE, abs=0.3)
    (goal, present, dt_s), = guard.asked
    assert goal[0] == 1020 and present == pytest.approx([0, 0, 0, 0, 0, 50], abs=0.3)
    assert dt_s == pytest.approx(0.05)
    arm.close()


def test_the_guard_hears_how_long_a_pause_was():
    guard = Recorder()
    arm = fake.arm(guard=guard)
    arm.energize()
    settle(arm, 30)
    arm.command(POSE)
    assert guard.asked[0][2] == pytest.approx(30.0)


def test_a_slow_write_does_not_grant_its_time_a_second_time():
    guard = Recorder()
    servo_bus = fake.servos()
    arm = fake.arm(guard=guard, servo_bus=servo_bus)
    arm.energize()

    def slow_write(reply):
        if not reply:
            settle(arm, 0.4)
        return reply

    tamper(servo_bus, slow_write)
    arm.command(POSE)
    tamper(servo_bus, None)
    arm.command(POSE)
    assert guard.asked[1][2] == pytest.approx(0.0)
    arm.close()


def test_without_a_guard_nothing_moves():
    arm, _ = reopened(fake.servos(1))
    for move in (arm.energize, lambda: arm.command(POSE)):
        with pytest.raises(SmolkitError, match="SK130"):
            move()
    assert table_is_limp(arm)


@pytest.mark.fault(26)
def test_no_goal_is_written_while_torque_is_off():
    arm = fake.arm()
    with pytest.raises(SmolkitError, match="SK131"):
        arm.command(POSE)
    arm.energize()
    arm.release()
    with pytest.raises(SmolkitError, match="SK131"):
        arm.command(POSE)
    assert table_is_limp(arm)


@pytest.mark.parametrize("just_read", [False, True])
@pytest.mark.parametrize("running", [False, True])
def test_a_servo_that_lost_its_power_is_not_woken_by_the_next_goal(just_read, running):
    servo_bus = fake.servos(3)
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    arm.command(POSE)
    settle(arm, 0.2)
    before = table(servo_bus, GOAL_POSITION)
    servo_bus.power_cycle([5])
    assert table(servo_bus, registers.TORQUE_LIMIT) == [600] * 5 + [500]
    if running:
        servo_bus.memory(5).put(TORQUE_ENABLE, 1)                    # a second program, at full force
        servo_bus.memory(5).put(registers.TORQUE_LIMIT, 1000)
    if just_read:
        arm.read()
    with pytest.raises(SmolkitError, match="SK137") as error:
        arm.command(POSE + 5)
    assert error.value.found == "5 (wrist_roll) " + ("cap 1000" if running else "torque off")
    settle(arm, 0.1)
    after = table(servo_bus, GOAL_POSITION)
    assert after[:4] + after[5:] == before[:4] + before[5:]
    assert table(servo_bus, TORQUE_ENABLE) == [1, 1, 1, 1, int(running), 1]
    with pytest.raises(SmolkitError, match="SK131"):
        arm.command(POSE)
    arm.release()
    arm.energize()
    assert (arm.command(POSE) == POSE).all()
    arm.close()


def test_a_command_takes_one_transaction_and_a_write():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    for just_read in (False, True):
        settle(arm, 0.1)
        if just_read:
            arm.read()
        sent = []
        tamper(servo_bus, lambda reply, sent=sent: sent.append(reply) or reply)
        arm.command(POSE)
        tamper(servo_bus, None)
        assert len([reply for reply in sent if reply]) == 1
    arm.close()


@pytest.mark.fault(18)
@pytest.mark.parametrize("admits", [POSE * np.nan, POSE * np.inf, POSE[:5], np.zeros((1, 6))])
def test_a_broken_guard_sends_nothing(admits):
    servo_bus = fake.servos()
    arm = fake.arm(guard=Recorder(admits), servo_bus=servo_bus)
    arm.energize()
    before = table(servo_bus, GOAL_POSITION)
    with pytest.raises(SmolkitError, match="SK132"):
        arm.command(POSE)
    assert table(servo_bus, GOAL_POSITION) == before


def test_a_guard_that_refuses_sends_nothing():
    class Refusing(Recorder):
        def admit(self, goal_deg, present_deg, dt_s):
            raise SmolkitError("SK301", "a", "b", "c", "d")

    servo_bus = fake.servos()
    arm = fake.arm(guard=Refusing(), servo_bus=servo_bus)
    arm.energize()
    with pytest.raises(SmolkitError, match="SK301"):
        arm.command(POSE)
    settle(arm)
    assert np.abs(servo_bus.plant.angle_rad - to_radians(np.array([0, 0, 0, 0, 0, 50]))).max() < 0.01


@pytest.mark.fault(19)
def test_no_goal_leaves_the_calibrated_range_even_through_a_careless_guard():
    servo_bus = fake.servos(6)
    arm = fake.arm(guard=Recorder(np.array([1000.0, -1000, 0, 0, 0, 300])), servo_bus=servo_bus)
    arm.energize()
    sent = arm.command(POSE)
    assert (arm.calibration.to_ticks(sent) == np.clip(arm.calibration.to_ticks(sent),
                                                      arm.calibration.range_min,
                                                      arm.calibration.range_max)).all()
    assert table(servo_bus, GOAL_POSITION)[:2] == [arm.calibration.range_max[0], arm.calibration.range_min[1]]
    assert sent[0] < 120


def test_the_same_seed_gives_the_same_run_twice():
    ends = []
    for _ in range(2):
        with fake.arm(seed=9) as arm:
            arm.energize()
            rng = np.random.default_rng(0)
            for _ in range(20):
                arm.command(rng.uniform(fake.LOWER_DEG, fake.UPPER_DEG))
                settle(arm, 1 / 30)
            ends.append(arm.read().pos_deg)
    assert (ends[0] == ends[1]).all()


def test_offsets_of_the_emulated_arm_are_really_drawn():
    servo_bus = fake.servos(3)
    fake.calibrated(servo_bus)
    assert len(set(table(servo_bus, HOMING_OFFSET))) == 6
