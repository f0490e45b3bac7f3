"""The emulated servos behave as the fact sheet says the real ones do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.arm import packets, registers
from smolkit.arm.emulator import ServoBus
from smolkit.arm.fake import SpringPlant, servos
from smolkit.arm.packets import BROADCAST, split
from smolkit.arm.registers import (
    GOAL_POSITION,
    HOMING_OFFSET,
    LOCK,
    PRESENT_POSITION,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    decode,
    encode,
)

RAD = 2 * np.pi / 4096                              # per tick


def ask(bus, request):
    return split(bus.handle(request))[0]


def read(bus, servo_id, register):
    (answer,) = ask(bus, packets.read(servo_id, register.address, register.size))
    return decode(register, answer.params)


def write(bus, servo_id, register, value):
    return ask(bus, packets.write(servo_id, register.address, encode(register, value)))


def run(bus, seconds):
    bus.advance_to(bus.now_s + seconds)


# -- talking ------------------------------------------------------------------------------------------


def test_a_broadcast_ping_is_answered_by_all_in_order():
    assert [answer.id for answer in ask(servos(), packets.ping(BROADCAST))] == [1, 2, 3, 4, 5, 6]


def test_sync_read_answers_in_the_order_asked_and_skips_the_dead():
    bus = servos()
    bus.dead.add(4)
    answers = ask(bus, packets.sync_read(56, 15, (6, 4, 1)))
    assert [(answer.id, len(answer.params)) for answer in answers] == [(6, 15), (1, 15)]


def test_writes_are_acknowledged_unless_broadcast_or_told_not_to():
    bus = servos()
    assert write(bus, 1, TORQUE_ENABLE, 0) == [packets.Packet(1, 0)]
    assert write(bus, BROADCAST, TORQUE_ENABLE, 0) == []
    write(bus, 2, registers.RESPONSE_STATUS_LEVEL, 0)
    assert write(bus, 2, TORQUE_ENABLE, 0) == []
    assert len(ask(bus, packets.ping(2))) == len(ask(bus, packets.read(2, 56, 2))) == 1


def test_reg_write_waits_for_action():
    bus = servos()
    for servo_id in (1, 2):
        assert ask(bus, packets.reg_write(servo_id, 42, encode(GOAL_POSITION, 2100)))[0].id == servo_id
    assert read(bus, 1, GOAL_POSITION) == 2048
    assert ask(bus, packets.action()) == []
    assert read(bus, 1, GOAL_POSITION) == read(bus, 2, GOAL_POSITION) == 2100


@pytest.mark.fault(29)
def test_two_servos_with_one_id_answer_at_once_and_garble():
    bus = ServoBus(SpringPlant(np.linspace(-1, 1, 6)))
    bus.set_register(2, registers.ID, 1)
    assert bus.handle(packets.ping(2)) == b""
    assert ask(bus, packets.ping(1)) == [packets.Packet(1, 0)]        # the same bits: nobody notices
    assert ask(bus, packets.read(1, 56, 2)) == []                     # different ones: no valid checksum


@given(st.binary(max_size=60))
def test_rubbish_never_breaks_a_servo(data):
    bus = servos()
    bus.handle(data)
    assert [answer.id for answer in ask(bus, data + packets.ping(3)) if not answer.params][-1] == 3


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=20))
def test_any_valid_packet_with_any_content_is_survived(servo_id, code, params):
    bus = servos()
    bus.handle(packets.build(packets.Packet(min(servo_id, BROADCAST), code, params)))
    run(bus, 0.04)
    assert np.isfinite(bus.plant.angle_rad).all()


# -- memory -------------------------------------------------------------------------------------------


def test_read_only_registers_stay():
    bus = servos()
    write(bus, 1, registers.MODEL_NUMBER, 5)
    write(bus, 1, PRESENT_POSITION, 5)
    assert (read(bus, 1, registers.MODEL_NUMBER), read(bus, 1, PRESENT_POSITION)) == (777, 2048)


def test_eeprom_persists_only_when_unlocked():
    bus = servos()
    write(bus, 1, registers.P_COEFFICIENT, 7)
    write(bus, 2, LOCK, 0)
    write(bus, 2, registers.P_COEFFICIENT, 7)
    assert read(bus, 1, registers.P_COEFFICIENT) == 7
    bus.power_cycle()
    assert [read(bus, i, registers.P_COEFFICIENT) for i in (1, 2)] == [32, 7]
    assert read(bus, 2, LOCK) == 1


@pytest.mark.fault(7)
def test_power_off_forgets_ram_and_makes_the_present_the_goal():
    bus = servos()
    bus.set_register(1, registers.MAX_TORQUE_LIMIT, 500)
    write(bus, 1, GOAL_POSITION, 2300)
    run(bus, 1.0)
    bus.power_cycle()
    assert read(bus, 1, TORQUE_ENABLE) == 0
    assert read(bus, 1, GOAL_POSITION) == read(bus, 1, PRESENT_POSITION) == 2300
    assert read(bus, 1, TORQUE_LIMIT) == 500


# -- moving -------------------------------------------------------------------------------------------


def test_a_goal_switches_a_limp_servo_on_one_tick_later():
    bus = servos()
    write(bus, 1, GOAL_POSITION, 2148)
    assert read(bus, 1, TORQUE_ENABLE) == 0
    run(bus, 1.0)
    assert (read(bus, 1, TORQUE_ENABLE), read(bus, 1, PRESENT_POSITION)) == (1, 2148)
    assert bus.plant.angle_rad[0] == pytest.approx(100 * RAD, abs=RAD)


def test_without_that_quirk_it_stays_limp():
    bus = ServoBus(SpringPlant(), goal_enables_torque=False)
    write(bus, 1, GOAL_POSITION, 2148)
    run(bus, 1.0)
    assert (read(bus, 1, TORQUE_ENABLE), read(bus, 1, PRESENT_POSITION)) == (0, 2048)


@pytest.mark.fault(25)
def test_torque_on_drives_to_yesterdays_goal():
    bus = ServoBus(SpringPlant(), goal_enables_torque=False)
    write(bus, 1, GOAL_POSITION, 2500)
    write(bus, 1, TORQUE_ENABLE, 1)
    run(bus, 2.0)
    assert read(bus, 1, PRESENT_POSITION) == 2500


def test_a_goal_outside_the_limits_is_kept_but_driven_to_the_edge():
    bus = servos()
    bus.set_register(1, registers.MAX_POSITION_LIMIT, 2200)
    write(bus, 1, GOAL_POSITION, 2900)
    run(bus, 2.0)
    assert (read(bus, 1, GOAL_POSITION), read(bus, 1, PRESENT_POSITION)) == (2900, 2200)


@pytest.mark.parametrize(("acceleration", "velocity", "least_s", "most_s"), [
    (0, 0, 0.2, 0.6), (0, 500, 1.95, 2.2), (10, 0, 1.9, 2.3), (10, 500, 2.4, 2.7)])
def test_acceleration_and_velocity_shape_the_way(acceleration, velocity, least_s, most_s):
    bus = ServoBus(SpringPlant())
    write(bus, 1, registers.ACCELERATION, acceleration)
    write(bus, 1, registers.GOAL_VELOCITY, velocity)
    write(bus, 1, GOAL_POSITION, 3048)
    while read(bus, 1, PRESENT_POSITION) < 3046:
        run(bus, 0.02)
        assert bus.now_s < 5
    assert least_s <= bus.now_s <= most_s


def test_velocity_zero_means_stop_where_phase_says_so():
    bus = servos()
    bus.set_register(1, registers.PHASE, 4)
    write(bus, 1, GOAL_POSITION, 2500)
    run(bus, 1.0)
    assert read(bus, 1, PRESENT_POSITION) == 2048


def test_time_may_come_in_any_pieces():
    ends = []
    for pieces in (1, 30, 77):
        bus = servos()
        write(bus, 1, registers.ACCELERATION, 50)
        write(bus, 1, GOAL_POSITION, 3000)
        for piece in range(pieces):
            bus.advance_to(0.4 * (piece + 1) / pieces)
        ends.append(bus.plant.angle_rad[0])
    assert ends[0] == ends[1] == ends[2] > 0


# -- offsets ------------------------------------------------------------------------------------------


@given(st.integers(-2047, 2047), st.integers(-2047, 2047), st.integers(-1200, 1200))
def test_present_is_actual_minus_offset_modulo_a_turn(horn, offset, ticks):
    bus = ServoBus(SpringPlant(np.full(6, ticks * RAD)), [horn] * 6)
    bus.set_register(3, HOMING_OFFSET, offset)
    assert read(bus, 3, PRESENT_POSITION) == (2048 + horn + ticks - offset) % 4096


@settings(max_examples=30)
@given(st.integers(-2047, 2047), st.integers(-1200, 1200))
def test_a_goal_moves_the_shaft_by_the_difference_wherever_the_horn_sits(horn, ticks):
    bus = ServoBus(SpringPlant(), [horn] * 6)
    bus.set_register(1, HOMING_OFFSET, max(-2047, min(2047, horn)))     # present reads 2048 here
    write(bus, 1, GOAL_POSITION, 2048 + ticks)
    run(bus, 2.0)
    assert bus.plant.angle_rad[0] == pytest.approx(ticks * RAD, abs=1.01 * RAD)


def test_one_key_makes_the_present_the_middle():
    bus = ServoBus(SpringPlant(), [700] * 6)
    write(bus, 2, TORQUE_ENABLE, 128)
    assert read(bus, 2, PRESENT_POSITION) == 2048
    assert (read(bus, 2, HOMING_OFFSET), read(bus, 2, TORQUE_ENABLE)) == (700, 0)
    bus.power_cycle()
    assert read(bus, 2, HOMING_OFFSET) == 700


# -- protections --------------------------------------------------------------------------------------


def blocked(**options):
    """Servo 2 held by an obstacle, pushing at full force."""
    bus = ServoBus(SpringPlant(), **options)
    bus.plant.blocked[1] = True
    write(bus, 2, GOAL_POSITION, 3000)
    return bus


@pytest.mark.fault(9)
def test_overload_trips_after_its_time_and_cuts_the_torque():
    bus = blocked()
    run(bus, 1.9)
    assert ask(bus, packets.ping(2)) == [packets.Packet(2, 0)]
    run(bus, 0.6)
    assert ask(bus, packets.ping(2)) == [packets.Packet(2, registers.OVERLOAD)]
    assert read(bus, 2, registers.STATUS) == registers.OVERLOAD
    assert read(bus, 2, registers.PRESENT_LOAD) == 200               # register 34: 20 %
    assert ask(bus, packets.ping(1)) == [packets.Packet(1, 0)]


@pytest.mark.fault(9)
def test_a_goal_away_from_the_obstacle_clears_an_overload_and_one_towards_it_does_not():
    bus = blocked()
    run(bus, 3.0)
    write(bus, 2, GOAL_POSITION, 3100)
    assert ask(bus, packets.ping(2))[0].code == registers.OVERLOAD
    write(bus, 2, GOAL_POSITION, 1900)
    assert ask(bus, packets.ping(2))[0].code == 0


@pytest.mark.fault(9)
def test_a_sticky_firmware_wants_a_power_cycle():
    bus = blocked(sticky_overload=True)
    run(bus, 3.0)
    write(bus, 2, TORQUE_ENABLE, 0)
    write(bus, 2, GOAL_POSITION, 1900)
    run(bus, 0.1)
    assert ask(bus, packets.ping(2))[0].code == registers.OVERLOAD
    bus.power_cycle()
    assert ask(bus, packets.ping(2))[0].code == 0


def test_the_torque_limit_caps_the_load():
    bus = blocked()
    write(bus, 2, TORQUE_LIMIT, 300)
    run(bus, 0.5)
    assert read(bus, 2, registers.PRESENT_LOAD) == 300


@pytest.mark.fault(10)
def test_a_stalled_servo_gets_hot_reports_it_and_gives_up():
    bus = blocked()
    bus.set_register(2, registers.OVERLOAD_TORQUE, 100)              # so that only heat can stop it
    cool = read(bus, 2, registers.PRESENT_TEMPERATURE)
    run(bus, 20.0)
    assert cool < read(bus, 2, registers.PRESENT_TEMPERATURE) < 40
    bus.protection.temperature_c[1] = 69.0
    run(bus, 20.0)
    assert ask(bus, packets.ping(2))[0].code == registers.HOT
    assert read(bus, 2, registers.PRESENT_LOAD) == 0


@pytest.mark.fault(7)
def test_the_supply_sags_with_the_current():
    bus = ServoBus(SpringPlant(), supply_v=4.6)
    idle = read(bus, 1, registers.PRESENT_VOLTAGE)
    bus.plant.blocked[:] = True
    for servo_id in range(1, 7):
        write(bus, servo_id, GOAL_POSITION, 3000)
    run(bus, 1.0)
    assert idle == 46
    assert read(bus, 1, registers.PRESENT_VOLTAGE) < 40
    assert ask(bus, packets.ping(1))[0].code == registers.VOLTAGE


@pytest.mark.fault(8)
def test_twelve_volts_on_small_servos_is_flagged():
    bus = ServoBus(SpringPlant(), supply_v=12.2)
    run(bus, 0.1)
    assert ask(bus, packets.ping(1))[0].code == registers.VOLTAGE


def test_over_current_is_a_protection_of_its_own():
    bus = blocked()
    bus.set_register(2, registers.OVERLOAD_TORQUE, 100)
    bus.set_register(2, registers.PROTECTION_CURRENT, 250)           # 1.6 A
    run(bus, 2.5)
    assert ask(bus, packets.ping(2))[0].code == registers.CURRENT


@pytest.mark.parametrize(("gain", "load"), [(16, 200), (8, 100), (32, 400)])
def test_the_p_gain_is_the_stiffness(gain, load):
    bus = servos()
    bus.plant.blocked[1] = True
    write(bus, 2, registers.P_COEFFICIENT, gain)
    write(bus, 2, GOAL_POSITION, 2048 + round(0.02 / RAD))
    run(bus, 0.5)
    assert read(bus, 2, registers.PRESENT_LOAD) == pytest.approx(load, rel=0.02)


def test_current_and_load_carry_their_signs():
    bus = ServoBus(SpringPlant())
    bus.plant.blocked[:] = True
    write(bus, 1, GOAL_POSITION, 1000)
    write(bus, 2, GOAL_POSITION, 3000)
    run(bus, 1.0)
    signs = [np.sign(read(bus, i, r)) for i in (1, 2)
             for r in (registers.PRESENT_LOAD, registers.PRESENT_CURRENT)]
    assert signs == [-1, -1, 1, 1]
