"""What an adversary found: ways to make a stopped arm move, fall, or say of itself what is not so."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext, suppress

import numpy as np
import pytest

from smolkit.arm import packets, registers
from smolkit.arm.joints import GRIPPER, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.arm.so101 import SO101
from smolkit.report import SmolkitError
from smolkit.safety import guardian
from smolkit.safety.envelope import Envelope
from smolkit.safety.faults import fault
from smolkit.safety.incidents import IncidentLog, read_incidents
from smolkit.safety.states import State
from smolkit.safety.supervisor import Supervisor
from tests.safety.supervised import HOME_DEG, IDS, Desk

RAISED_DEG = np.array([0.0, -30.0, 0.0, 50.0, 0.0, 30.0])


@pytest.fixture
def desk():
    desk = Desk()
    desk.guarded.energize()
    desk.run(2.0)
    return desk


def height_mm(desk: Desk) -> float:
    return 1000 * tool_frame(to_radians(desk.arm.read().pos_deg))[2, 3]


def somebody_elses_goal(desk: Desk, ticks: int) -> None:
    desk.bench.bus.handle(packets.write(1, registers.GOAL_POSITION.address, ticks.to_bytes(2, "little")))


def once(when: float, act, clock) -> None:
    """Calls `act` at the first moment after `when` (s)."""
    waiting = [act]
    clock.on_advance(lambda now_s: waiting.pop()() if waiting and now_s > when else None)


def misread(desk: Desk, servo_id: int, by_ticks: int) -> None:
    """The next telemetry tells a position that is not so, with a valid checksum."""
    left = [1]

    def spoil(answer, request):
        reply = answer(request)
        asked = packets.split(request)[0]
        if not (left[0] and asked and asked[0].code == packets.SYNC_READ and len(reply) > 100):
            return reply
        left[0] = 0
        out = b""
        for packet in packets.split(reply)[0]:
            data = bytearray(packet.params)
            if packet.id == servo_id:
                at = registers.PRESENT_POSITION.address - asked[0].params[0]
                data[at:at + 2] = (int.from_bytes(data[at:at + 2], "little") + by_ticks).to_bytes(2, "little")
            out += packets.status(packet.id, packet.code, bytes(data))
        return out
    desk.bench.bus.filters.append(spoil)


@pytest.mark.fault(13)
@pytest.mark.parametrize(("servo_id", "by_ticks"), [(2, -680), (1, 900)])
def test_a_stop_for_a_wrong_reading_does_not_drive_to_what_was_read(desk, servo_id, by_ticks):
    before = desk.bench.world.state().angle_rad
    misread(desk, servo_id, by_ticks)
    with pytest.raises(SmolkitError, match="SK320"):
        desk.run(0.2)
    desk.wait(3.0)
    assert desk.state is State.HOLD
    assert np.rad2deg(np.abs(desk.bench.world.state().angle_rad - before)).max() < 2


@pytest.mark.fault(12)
def test_an_arm_that_could_not_be_armed_says_which_servos_may_hold_until_they_let_go():
    desk = Desk()
    desk.arm.ramp_s = 1.0
    broken = fault("chain_break", desk.bench, at=3)
    once(0.5, broken.__enter__, desk.clock)
    with pytest.raises(SmolkitError, match="SK101"):
        desk.guarded.energize()
    assert desk.state is State.LOST and desk.guarded.why.startswith("SK135") and not desk.limp()
    broken.__exit__(None, None, None)
    desk.wait(3.0)
    assert desk.limp() and desk.state is State.IDLE and desk.guarded.why == ""


@pytest.mark.fault(23)
@pytest.mark.parametrize(("wish", "state"), [("park", State.PARKING), ("hold", State.HOLD)])
def test_a_standing_arm_that_is_armed_again_falls_for_no_wish_that_comes_meanwhile(wish, state):
    desk = Desk()
    desk.guarded.energize()
    desk.run(4.0, RAISED_DEG)
    desk.guarded.hold("a visitor")
    desk.wait(0.3)
    desk.arm.ramp_s, high = 1.0, height_mm(desk)
    once(desk.clock.now_s() + 0.5, lambda: desk.guarded.park() if wish == "park" else desk.guarded.hold("again", False),
         desk.clock)
    with pytest.raises(SmolkitError):
        desk.guarded.energize(rearm=True)
    assert desk.state is state and height_mm(desk) > high - 5
    desk.wait(30.0)
    assert desk.limp() == (wish == "park")


@pytest.mark.fault(28)
def test_a_stop_for_a_second_program_holds_against_it(desk):
    somebody_elses_goal(desk, 2048 + 700)
    with pytest.raises(SmolkitError, match="SK139"):
        desk.run(0.2)
    for ticks in (700, -700, 700, -700):
        desk.wait(1.0)
        somebody_elses_goal(desk, 2048 + ticks)
    assert desk.state is State.HOLD and abs(desk.arm.read().pos_deg[0]) < 10


@pytest.mark.parametrize(("change", "code"), [
    pytest.param(lambda desk: desk.bench.bus.power_cycle([2]), "SK137", marks=pytest.mark.fault(7)),
    pytest.param(lambda desk: somebody_elses_goal(desk, 2048 + 700), "SK139", marks=pytest.mark.fault(28))])
def test_an_arm_that_waits_is_looked_after_like_one_that_moves(desk, change, code):
    desk.guarded.rest()
    change(desk)
    desk.wait(0.2)
    assert desk.guarded.stopped_by.stop.code == code and abs(desk.arm.read().pos_deg[0]) < 5


@pytest.mark.fault(11)
def test_a_lost_arm_that_answers_again_stands_and_goes_home(desk):
    desk.bench.bus.dead.update(IDS)
    with pytest.raises(SmolkitError, match="SK"):
        for _ in range(9):
            try:
                desk.run(0.04)
            except SmolkitError as error:
                if desk.state is State.LOST:
                    raise error
    assert desk.state is State.LOST and desk.guarded.why.startswith("SK319")
    with pytest.raises(SmolkitError, match="SK319"):
        desk.guarded.park()
    desk.bench.bus.dead.clear()
    desk.wait(1.5)
    assert desk.state is State.HOLD
    desk.wait(30.0)
    assert desk.state is State.OFF and desk.limp() and desk.guarded.why.startswith("SK319")


@pytest.mark.fault(11)
def test_a_limp_arm_that_was_lost_is_limp_when_it_answers_again():
    desk = Desk()
    desk.bench.bus.dead.update(IDS)
    for _ in range(9):
        with suppress(SmolkitError):
            desk.guarded.read()
        desk.wait(0.04)
    assert desk.state is State.LOST
    desk.bench.bus.dead.clear()
    desk.wait(1.5)
    assert desk.state is State.OFF and desk.guarded.why.startswith("SK319")


@pytest.mark.fault(11)
def test_a_lost_arm_that_a_person_stopped_stands_a_minute_when_it_answers_again(desk):
    desk.bench.bus.dead.update(IDS)
    for _ in range(9):
        with suppress(SmolkitError):
            desk.run(0.04)
        desk.wait(0.04)
    desk.guarded.hold("a hand is in it")
    assert desk.state is State.LOST and desk.guarded.why.startswith("SK319"), "and why it was lost is not forgotten"
    desk.bench.bus.dead.clear()
    desk.wait(50.0)
    assert desk.state is State.HOLD
    desk.wait(40.0)
    assert desk.limp()


@pytest.mark.fault(9)
def test_let_go_still_means_let_go_after_an_arming_that_failed(desk):
    desk.guarded.hold("pinched")
    desk.bench.bus.forced_errors[2] = registers.OVERLOAD
    with pytest.raises(SmolkitError, match="SK138"):
        desk.guarded.energize(rearm=True)
    desk.guarded.hold("let go")
    assert desk.limp() and desk.state is State.OFF


@pytest.mark.fault(25)
def test_a_stop_right_after_arming_stands_where_the_arm_is_not_where_it_was():
    desk = Desk()
    desk.guarded.energize()
    desk.arm.latest.pos_deg[0] -= 40                # carried by hand while its torque came on
    before = desk.bench.world.state().angle_rad[0]
    desk.guarded.hold("at once")
    desk.wait(2.0)
    assert np.rad2deg(abs(desk.bench.world.state().angle_rad[0] - before)) < 2


@pytest.mark.fault(4)
def test_a_stopped_gripper_pinches_nobody(desk):
    joint = desk.bench.world.model.joint("gripper").dofadr[0]
    desk.bench.world.model.dof_damping[joint] = 1000.0          # a fingertip is in it
    desk.run(0.7, HOME_DEG - 2.5 * np.eye(6)[GRIPPER])
    desk.guarded.hold("ouch")
    desk.wait(1.0)
    assert abs(desk.arm.read().load[GRIPPER]) < 0.1


@pytest.mark.fault(25)
def test_ten_stops_and_armings_do_not_sink_the_arm():
    desk = Desk()
    desk.guarded.energize()
    desk.run(4.0, np.array([0.0, 10, -20, 30, 0, 30]))
    before = height_mm(desk)
    for _ in range(10):
        desk.guarded.hold("again", lets_go=False)
        desk.wait(0.5)
        desk.guarded.energize(rearm=True)
        desk.wait(0.5)
    assert abs(height_mm(desk) - before) < 2


@pytest.mark.fault(18)
def test_goals_of_the_wrong_shape_are_no_goals(desk):
    said = set()
    for _ in range(60):
        try:
            desk.guarded.command(np.zeros((1, 6)), observed_s=desk.clock.now_s())
        except SmolkitError as error:
            said.add(error.code)
        desk.wait(1 / 30)
    assert said == {"SK301", "SK312"} and desk.guarded.stopped_by.name == "stale action"


@pytest.mark.fault(35)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe stands in for a network folder that hangs")
def test_a_log_on_a_drive_that_hangs_keeps_no_stop_waiting(tmp_path):
    os.mkfifo(tmp_path / "arm.jsonl")              # whoever writes waits until somebody reads
    desk = Desk(IncidentLog(tmp_path / "arm.jsonl"))
    desk.guarded.energize()
    stopping = threading.Thread(target=lambda: desk.guarded.hold("a visitor"), daemon=True)
    stopping.start()
    stopping.join(10)
    assert desk.state is State.HOLD and "a visitor" in desk.guarded.log.text()


def test_a_log_is_on_the_disk_when_write_returns(tmp_path):
    log = IncidentLog(tmp_path / "arm.jsonl")

    def tell(who: int) -> None:
        for number in range(50):
            log.write(0.0, "note", "idle", "", f"{who}-{number}")
    writers = [threading.Thread(target=tell, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log.write(1.0, "note", "idle", "", "last")
    found = [entry.words for entry in read_incidents(tmp_path / "arm.jsonl")]
    assert len(found) == 201 and found[-1] == "last" and log.lost == 0
    for who in range(4):
        assert [words for words in found if words.startswith(f"{who}-")] == [f"{who}-{n}" for n in range(50)]


@pytest.mark.fault(22)
@pytest.mark.parametrize("stopped", [True, False])
def test_an_arm_whose_guardian_died_is_not_dropped_by_a_stop_on_its_way_home(stopped):
    desk = Desk()
    desk.guarded.energize()
    desk.run(4.0, RAISED_DEG)
    desk.clock._listeners.remove(desk.guarded.tick)            # kill -9
    desk.arm.abandon()
    envelope = Envelope("standard")
    desk.arm = SO101(desk.bench.port, desk.arm.calibration, envelope, desk.clock, ramp_s=1.0)
    desk.guarded, high = Supervisor(desk.arm, envelope), height_mm(desk)
    if stopped:
        once(desk.clock.now_s() + 0.5, lambda: desk.guarded.hold("smolkit stop"), desk.clock)
    else:
        desk.bench.bus.forced_errors[2] = registers.OVERLOAD
    with nullcontext() if stopped else pytest.raises(SmolkitError, match="SK138"):
        guardian._settle(desk.guarded, "park")
    desk.wait(2.0)
    assert not desk.limp()
    if stopped:
        assert desk.state is State.HOLD and desk.guarded.why.startswith("SK310") and height_mm(desk) > high - 5
