"""What once passed the monitor, the torque ramp and the parking unseen: bits, supplies, readings, deaf servos."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from smolkit.arm import packets, registers
from smolkit.arm.so101 import SO101
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault
from smolkit.safety.parking import TIME_LIMIT_S, Parking
from smolkit.safety.states import State
from smolkit.safety.supervisor import Supervisor
from tests.safety.supervised import HOME_DEG, IDS, PERIOD_S, Desk

AWAY_TICKS = 800                                   # 70 deg


def stopped_by(desk: Desk, seconds: float = 1.0) -> str:
    """Commands for a while: the name of the stop that ended it, "" where none did."""
    with suppress(SmolkitError):
        desk.run(seconds)
    return desk.guarded.stopped_by.name if desk.guarded.stopped_by else ""


# -- what a servo says of itself ----------------------------------------------------------------------------


@pytest.mark.fault(9)
@pytest.mark.parametrize(("bits", "stop"), [
    pytest.param(registers.VOLTAGE, "low voltage", marks=pytest.mark.fault(7)),
    pytest.param(registers.ANGLE, "angle sensor", marks=pytest.mark.fault(13)),
    pytest.param(registers.HOT, "too hot", marks=pytest.mark.fault(10))])
@pytest.mark.parametrize("servo", [2, 6])
def test_an_error_bit_in_motion_stops_the_arm(desk: Desk, bits: int, stop: str, servo: int):
    desk.run(0.3)
    with fault("error_flag", desk.bench, servo=servo, bits=bits):
        assert stopped_by(desk) == stop and desk.state is State.HOLD
        desk.wait(2.5)
    assert desk.state is (State.PARKING if stop == "too hot" else State.HOLD)


# -- a supply of 12 V ---------------------------------------------------------------------------------------


@pytest.fixture
def tall(desk: Desk) -> Desk:
    """The desk with servos of the 12 V type: what their registers say at the opening of the arm."""
    desk.arm.close()
    for servo in IDS:
        desk.bench.bus.set_register(servo, registers.MAX_VOLTAGE_LIMIT, 140)
        desk.bench.bus.set_register(servo, registers.MIN_VOLTAGE_LIMIT, 95)
    desk.bench.bus.protection.supply_v = 12.0
    desk.wait(0.1)
    desk.arm = SO101(desk.bench.port, desk.arm.calibration, desk.envelope, desk.clock, ramp_s=0.1)
    desk.guarded = Supervisor(desk.arm, desk.envelope)
    desk.guarded.energize()
    desk.run(0.3)
    return desk


@pytest.mark.fault(7)
@pytest.mark.parametrize("supply_v", [9.8, 9.4, 8.5, 6.0])
def test_a_sagging_12_v_supply_is_too_low_however_deep_it_sags(tall: Desk, supply_v: float):
    with fault("weak_supply", tall.bench, supply_v=supply_v, supply_ohm=0.06):
        assert stopped_by(tall) == "low voltage" and tall.state is State.HOLD


@pytest.mark.fault(8)
def test_more_than_a_12_v_arm_bears_switches_it_off(tall: Desk):
    with fault("over_voltage", tall.bench, supply_v=14.8):
        assert stopped_by(tall) == "over-voltage" and tall.limp()


# -- torque that comes on -----------------------------------------------------------------------------------


def one_wrong_reading(nth: int) -> Callable:
    """A line filter: servo 1 shows a position far away in the `nth` reading of positions alone."""
    count = iter(range(1000))

    def spoil(answer: Callable[[bytes], bytes], request: bytes) -> bytes:
        asked = packets.split(request)[0][0]
        positions = asked.code == packets.SYNC_READ and tuple(asked.params[:2]) == (56, 2)
        if not positions or next(count) != nth:
            return answer(request)
        return b"".join(packets.status(p.id, p.code, shifted(p.params) if p.id == 1 else p.params)
                        for p in packets.split(answer(request))[0])
    return spoil


def shifted(word: bytes) -> bytes:
    return (int.from_bytes(word, "little") + AWAY_TICKS).to_bytes(2, "little")


@pytest.mark.fault(13)
@pytest.mark.parametrize("nth", [2, 3, 10, 11, 20, 21])
def test_one_wrong_reading_while_torque_grows_sends_no_goal(desk: Desk, nth: int):
    desk.guarded.release()
    before = desk.arm.read_positions()
    desk.bench.bus.filters.append(one_wrong_reading(nth))
    desk.guarded.energize()
    desk.wait(1.0)
    assert abs(desk.arm.read_positions() - before)[0] < 2.0


@pytest.mark.fault(14)
@pytest.mark.fault(25)
def test_torque_comes_on_at_a_tenth_also_where_one_packet_is_lost(desk: Desk):
    desk.guarded.release()
    lost, caps = [], []

    def spoil(answer: Callable[[bytes], bytes], request: bytes) -> bytes:
        told = packets.split(request)[0][0]
        if told.code == packets.SYNC_WRITE and told.params[0] == registers.TORQUE_LIMIT.address and not lost:
            lost.append(request)
            return b""
        if told.code == packets.SYNC_WRITE and told.params[0] == registers.TORQUE_ENABLE.address:
            caps.extend(desk.bench.bus.memory(i).get(registers.TORQUE_LIMIT) for i in IDS)
        return answer(request)

    desk.bench.bus.power_cycle()                   # caps are 1000 again
    desk.bench.bus.filters.append(spoil)
    desk.guarded.energize()
    assert lost and caps[:6] == [100] * 6


# -- goals ------------------------------------------------------------------------------------------------------


def deaf_to_goals(servo: int) -> Callable:
    """A line filter: that servo answers, and hears no goals."""
    def spoil(answer: Callable[[bytes], bytes], request: bytes) -> bytes:
        told = packets.split(request)[0][0]
        if told.code != packets.SYNC_WRITE or told.params[0] != registers.GOAL_POSITION.address:
            return answer(request)
        words = bytes(told.params[2:])
        chunks = {words[k]: words[k + 1:k + 3] for k in range(0, len(words), 3) if words[k] != servo}
        return answer(packets.sync_write(registers.GOAL_POSITION.address, 2, chunks))
    return spoil


@pytest.mark.fault(14)
def test_a_servo_that_takes_no_goals_stops_the_arm(desk: Desk):
    desk.run(2.0)
    desk.bench.bus.filters.append(deaf_to_goals(2))
    there = HOME_DEG + np.array([20, 20, 0, 0, 0, 0])
    with pytest.raises(SmolkitError, match=r"SK325(.|\n)*shoulder_lift"):
        desk.run(1.0, there)
    assert desk.state is State.HOLD
    desk.bench.bus.filters.clear()
    desk.guarded.energize(rearm=True)
    desk.run(2.0, there)
    assert desk.state is State.RUNNING, "and what was counted before is forgotten"


@pytest.mark.fault(14)
def test_goals_lost_now_and_then_stop_nobody(desk: Desk):
    with fault("lost_writes", desk.bench, rate=0.5, address=registers.GOAL_POSITION.address):
        for side in (20.0, -20.0):
            desk.run(2.0, HOME_DEG + np.array([side, 0, 0, 0, 0, 0]))
    assert desk.state is State.RUNNING


# -- the way home -----------------------------------------------------------------------------------------------


@pytest.mark.fault(24)
@pytest.mark.fault(35)
def test_who_was_frozen_on_the_way_home_goes_on_and_lets_nothing_fall():
    parking = Parking(HOME_DEG, HOME_DEG, 0.0)
    assert parking.strength(PERIOD_S) == 1.0
    assert parking.strength(60.0) == parking.strength(120.0) == 1.0, "frozen twice for a minute"
    now_s = 120.0
    while parking.strength(now_s) == 1.0:
        now_s += 0.1
    assert now_s - 120.0 == pytest.approx(TIME_LIMIT_S, abs=0.4), "time that was lived through counts"
