"""Finding the port and the bring-up report: red where it is red, and never an exception."""

from __future__ import annotations

import pytest

from smolkit.arm import fake, registers
from smolkit.arm.emulator import connect
from smolkit.arm.find import Port, check_arm, ports, unplugged
from smolkit.report import SmolkitError


def port(name, vid=None, pid=None):
    return Port(name, "", vid, pid, None)


def test_ports_are_listed_without_opening_any():
    assert all(isinstance(found.name, str) and found.name for found in ports())


def test_servo_boards_are_recognised():
    assert port("a", 0x1A86, 0x55D3).like_an_arm and port("a", 0x1A86, 0x7523).like_an_arm
    assert not port("a", 0x1A86, 0x1234).like_an_arm and not port("a").like_an_arm


def test_the_port_that_went_away_is_the_arms():
    before = [port("COM1"), port("COM3"), port("COM4")]
    assert unplugged(before, [port("COM4"), port("COM1")]).name == "COM3"
    for after in (before, [port("COM1")], []):
        with pytest.raises(SmolkitError, match="SK113"):
            unplugged(before, after)


def report(change=lambda servo_bus: None, calibration=None):
    servo_bus = fake.servos(2)
    calibration = calibration or fake.calibrated(servo_bus)
    change(servo_bus)
    servo_bus.advance_to(servo_bus.now_s + 0.1)
    return check_arm(connect(servo_bus), calibration)


def test_a_healthy_arm_is_all_green():
    found = report()
    assert found.ok and len(found.checks) == 9
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
