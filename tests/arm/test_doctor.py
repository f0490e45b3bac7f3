"""The bring-up report: red where it is red, never an exception; the chain's drawing; the repair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm import fake, registers
from smolkit.arm.arm_type import TYPES, arm_type, guess
from smolkit.arm.bus import Bus
from smolkit.arm.configure import repair
from smolkit.arm.daisy_chain import Chain, look
from smolkit.arm.doctor import check_arm
from smolkit.arm.emulator import connect
from smolkit.arm.joints import IDS
from smolkit.report import SmolkitError


def report(change=lambda servo_bus: None, calibration=None):
    servo_bus = fake.servos(2)
    calibration = calibration or fake.calibrated(servo_bus)
    change(servo_bus)
    servo_bus.advance_to(servo_bus.now_s + 0.1)
    return check_arm(connect(servo_bus), calibration)


def test_a_healthy_arm_is_all_green():
    found = report()
    assert found.ok and len(found.checks) == 11
    assert "5.0 V" in found.text() and "777" in found.text()


@pytest.mark.parametrize(("change", "code"), [
    pytest.param(lambda bus: bus.dead.add(5), "SK101", marks=pytest.mark.fault(12)),
    pytest.param(lambda bus: bus.memory(3).live.__setitem__(1, 9), "SK114", marks=pytest.mark.fault(29)),
    pytest.param(lambda bus: setattr(bus.protection, "supply_v", 12.2), "SK110", marks=pytest.mark.fault(8)),
    pytest.param(lambda bus: bus.protection.temperature_c.fill(58.0), "SK115", marks=pytest.mark.fault(10)),
    pytest.param(lambda bus: bus.forced_errors.update({2: 36}), "SK116", marks=pytest.mark.fault(9)),
    pytest.param(lambda bus: bus.set_register(4, registers.UNLOADING_CONDITION, 0), "SK111",
                 marks=pytest.mark.fault(30)),
    (lambda bus: bus.memory(1).put(registers.TORQUE_ENABLE, 1), "SK112"),
    pytest.param(lambda bus: bus.set_register(1, registers.HOMING_OFFSET, 7), "SK109",
                 marks=pytest.mark.fault(5))])
def test_each_fault_is_red_under_its_code_with_a_next_step(change, code):
    found = report(change)
    codes = [check.code for check in found.red()]
    assert code in codes and not found.ok
    assert all(check.cause and check.next_step for check in found.red())


def test_several_error_bits_are_all_named():
    red = report(lambda bus: bus.forced_errors.update({2: 36})).red()
    assert "over-temperature, overload" in red[0].found


def test_a_port_that_does_not_open_is_a_red_line():
    found = check_arm("/dev/there-is-no-such-port")
    assert not found.ok and [check.code for check in found.checks] == ["SK102"]


def test_looking_changes_nothing():
    servo_bus = fake.servos(2)
    before = [bytes(servo.live) for servo in servo_bus.servos]
    check_arm(connect(servo_bus))
    after = [bytes(servo.live) for servo in servo_bus.servos]
    assert [b[:56] for b in before] == [a[:56] for a in after]       # 56 to 70 are measurements


# -- the chain ----------------------------------------------------------------------------------------


def chain(change):
    servo_bus = fake.servos(3)                     # horns at odd angles: no two shafts read alike
    change(servo_bus)
    return look(Bus(connect(servo_bus)))


@pytest.mark.fault(12)
@pytest.mark.parametrize("first", IDS)
def test_the_break_is_drawn_before_the_first_silent_servo(first):
    found = chain(lambda bus: bus.dead.update(range(first, 7)))
    assert found.cut == first and found.drawing().count("✂") == 1
    assert f"─✂─ {first} " in found.drawing() and found.drawing().count("?") == 7 - first
    assert found.check().code == "SK101" and found.drawing() in found.check().found


def test_a_silent_servo_in_the_middle_is_no_broken_cable():
    found = chain(lambda bus: bus.dead.add(3))
    assert "✂" not in found.drawing() and "3 elbow_flex ?" in found.drawing()
    assert "another id" in found.check().cause


@pytest.mark.fault(29)
def test_two_servos_with_one_id_are_told_from_silence():
    found = chain(lambda bus: bus.set_register(5, registers.ID, 4))
    assert (found.colliding, found.silent) == ((4,), (5,))
    assert found.check().code == "SK119" and "4 wrist_flex ‼" in found.drawing()
    assert "setup-motors" in found.check().next_step


@given(st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS)))
def test_a_drawing_names_every_servo_once_and_cuts_at_most_once(silent, colliding):
    found = Chain(IDS, tuple(sorted(silent - colliding)), tuple(sorted(colliding)))
    drawing = found.drawing()
    assert all(drawing.count(f" {i} ") == 1 for i in IDS) and drawing.count("✂") <= 1
    assert found.check().ok == (not silent and not colliding)


# -- what the arm is built of -------------------------------------------------------------------------


@pytest.mark.fault(8)
def test_twelve_volts_on_servos_labelled_7_4_are_red_whatever_their_registers_allow():
    servo_bus = fake.servos()
    for servo_id in IDS:
        servo_bus.set_register(servo_id, registers.MAX_VOLTAGE_LIMIT, 140)
    servo_bus.protection.supply_v = 12.2
    servo_bus.advance_to(0.1)
    assert check_arm(connect(servo_bus)).ok                    # the registers say: 12 V servos
    red = check_arm(connect(servo_bus), kind=arm_type("7.4V")).red()
    assert {check.code for check in red} == {"SK110", "SK111"}
    assert any("NOW" in check.next_step for check in red)


@pytest.mark.fault(7)
def test_a_12_volt_arm_at_5_volts_is_red():
    servo_bus = fake.servos()
    servo_bus.advance_to(0.1)
    red = check_arm(connect(servo_bus), kind=arm_type("12V")).red()
    assert "SK110" in [check.code for check in red] and "5 V supply on 12 V servos" in red[0].cause


@pytest.mark.fault(29)
def test_mixed_servo_types_are_red():
    servo_bus = fake.servos()
    servo_bus.set_register(6, registers.MAX_VOLTAGE_LIMIT, 140)
    servo_bus.advance_to(0.1)
    assert "SK118" in [check.code for check in check_arm(connect(servo_bus)).red()]


@given(st.dictionaries(st.sampled_from(IDS), st.integers(0, 255), min_size=1))
def test_a_guess_fits_every_servo_or_is_refused(limits):
    try:
        kind = guess(limits)
    except SmolkitError as error:
        assert error.code == "SK118"
    else:
        assert all(kind.max_voltage - 10 <= limit <= kind.max_voltage for limit in limits.values())


def test_an_unknown_type_names_the_known():
    with pytest.raises(SmolkitError, match="SK118") as error:
        arm_type("5V")
    assert all(name in error.value.expected for name in TYPES)


@pytest.mark.fault(30)
@pytest.mark.parametrize(("register", "bad"), [
    (registers.MAX_TEMPERATURE_LIMIT, 100), (registers.MAX_VOLTAGE_LIMIT, 200), (registers.MIN_VOLTAGE_LIMIT, 0),
    (registers.UNLOADING_CONDITION, 4), (registers.PROTECTION_CURRENT, 0), (registers.PROTECTIVE_TORQUE, 100),
    (registers.PROTECTION_TIME, 0), (registers.OVERLOAD_TORQUE, 100), (registers.OVER_CURRENT_TIME, 0)])
def test_repair_writes_what_does_not_protect_and_nothing_else(register, bad):
    servo_bus = fake.servos()
    with Bus(connect(servo_bus)) as bus:
        repair(bus, IDS, arm_type("7.4V"))
        servo_bus.set_register(4, register, bad)
        servo_bus.advance_to(0.1)
        assert "SK111" in [c.code for c in check_arm(connect(servo_bus), kind=arm_type("7.4V")).red()]
        assert repair(bus, IDS, arm_type("7.4V")) == {i: (register,) * (i == 4) for i in IDS}
        assert not any(repair(bus, IDS, arm_type("7.4V")).values())
    servo_bus.power_cycle()
    assert check_arm(connect(servo_bus), kind=arm_type("7.4V")).ok


def test_nothing_is_repaired_while_a_servo_holds_or_is_fed_wrongly():
    for change, code in ((lambda bus: bus.memory(2).put(registers.TORQUE_ENABLE, 1), "SK112"),
                         (lambda bus: setattr(bus.protection, "supply_v", 12.2), "SK110")):
        servo_bus = fake.servos()
        change(servo_bus)
        servo_bus.advance_to(0.1)
        with pytest.raises(SmolkitError, match=code):
            repair(Bus(connect(servo_bus)), IDS, arm_type("7.4V"))
        assert not any(servo.eeprom_writes for servo in servo_bus.servos)
