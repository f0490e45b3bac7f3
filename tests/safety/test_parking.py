"""How a stopped arm goes home and lets go, and what may stop it on the way."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.arm.joints import to_radians
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault
from smolkit.safety.geometry import REST_DEG, clearances
from smolkit.safety.parking import waypoints
from smolkit.safety.states import State
from tests.safety.supervised import HOME_DEG, Desk


@pytest.mark.fault(23)
def test_a_second_stop_lets_go(desk: Desk):
    desk.guarded.hold("stop")
    desk.guarded.hold("stop!")
    assert desk.state is State.OFF and desk.limp()


@pytest.mark.slow
def test_a_hold_that_nobody_ends_parks_in_the_end(desk: Desk):
    desk.guarded.hold("lunch")
    desk.wait(100.0)
    assert desk.state is State.OFF and desk.limp()


@pytest.mark.fault(24)
@pytest.mark.parametrize("start", [HOME_DEG, (60, 40, 20, 30, 90, 60), (-80, 60, -40, 0, 0, 10),
                                   (0, 30, -20, -40, 0, 0)])
def test_parking_ends_folded_and_limp_and_never_under_the_table(desk: Desk, start: tuple):
    desk.guarded.release()
    desk.bench.bus.hand_pose(np.deg2rad(np.array(start, float) * [1, 1, 1, 1, 1, 1.1] - [0, 0, 0, 0, 0, 10]))
    desk.guarded.energize()
    lowest: list[float] = []
    desk.clock.on_advance(lambda _: lowest.append(desk.bench.world.body_pose("gripper")[0][2]))
    desk.guarded.park()
    assert desk.state is State.IDLE and desk.limp()
    assert min(lowest) > 0.0
    assert np.abs(desk.arm.read().pos_deg - REST_DEG)[1:4].max() < 8.0


@pytest.mark.fault(22)
def test_silence_of_the_client_holds_then_parks_then_lets_go():
    desk = Desk(heartbeat=True)
    desk.guarded.energize()
    desk.run(0.3)
    desk.wait(0.6)
    assert desk.state is State.HOLD and desk.guarded.stopped_by.name == "silence"
    desk.wait(2.2)
    assert desk.state is State.PARKING
    desk.wait(20.0)
    assert desk.state is State.OFF and desk.limp()
    with pytest.raises(SmolkitError, match="SK311"):
        desk.guarded.energize()


@pytest.mark.fault(23)
def test_a_stop_stops_a_parking_arm_and_a_second_one_lets_go(desk: Desk):
    desk.run(1.0, HOME_DEG + np.array([60, 60, -40, 0, 0, 0]))
    desk.guarded._begin_parking("a test")
    desk.wait(1.0)
    desk.guarded.hold("not onto my hand")
    stood = desk.arm.read().pos_deg
    desk.wait(1.0)
    assert desk.state is State.HOLD and np.abs(desk.arm.read().pos_deg - stood)[:5].max() < 3.0
    desk.guarded.hold("off!")
    assert desk.state is State.OFF and desk.limp()


@pytest.mark.fault(4)
def test_two_stops_let_go_also_where_something_else_stopped_the_arm(desk: Desk):
    desk.run(0.3)
    with fault("error_flag", desk.bench, servo=2, bits=32), pytest.raises(SmolkitError, match="SK315"):
        desk.run(0.2)
    desk.guarded.hold("let go")
    assert desk.state is State.HOLD
    desk.guarded.hold("let go!")
    assert desk.state is State.OFF and desk.limp()


@pytest.mark.fault(31)
def test_servos_that_did_not_hear_are_told_again_until_they_do(desk: Desk):
    with fault("chain_break", desk.bench, at=4):
        desk.guarded.hold("one")
        desk.guarded.hold("two")
        assert desk.state is State.LOST and not desk.limp()
        assert "4 (wrist_flex)" in desk.guarded.why and "not all servos confirmed" in desk.guarded.log.text()
    desk.wait(3.0)
    assert desk.state is State.OFF and desk.limp() and "SK135" not in desk.guarded.why


@pytest.mark.slow
@pytest.mark.fault(22)
def test_an_arm_that_a_person_stopped_stands_a_minute_whoever_restarts_the_kernel():
    """A hand may still be in it; only a client that says goodbye sends it home after two seconds of silence."""
    desk = Desk(heartbeat=True)
    desk.guarded.energize()
    desk.guarded.hold("the teacher")
    desk.wait(58)
    assert desk.state is State.HOLD
    desk.wait(3)
    assert desk.state is State.PARKING
    desk = Desk(heartbeat=True)
    desk.guarded.energize()
    desk.guarded.hold("the teacher")
    desk.guarded.unattended()
    desk.wait(3.5)
    assert desk.state is State.PARKING


@pytest.mark.fault(4)
def test_somebody_in_the_way_home_stops_the_parking(desk: Desk):
    desk.run(0.3)
    with fault("blocked_joint", desk.bench, servo=2):
        desk.guarded._begin_parking("a test")
        desk.wait(5.0)
        assert desk.state is State.HOLD and desk.guarded.stopped_by.name == "blocked"
    desk.wait(80.0)
    assert desk.state is State.OFF and desk.limp(), "and when the way is free it goes home after all"


@pytest.mark.fault(31)
def test_a_release_that_was_not_confirmed_says_so_and_goes_on_trying(desk: Desk):
    with fault("chain_break", desk.bench, at=4), pytest.raises(SmolkitError, match="SK135"):
        desk.guarded.release()
    assert desk.state is State.LOST and desk.guarded.why.startswith("SK135")
    desk.wait(3.0)
    assert desk.state is State.IDLE and desk.limp() and not desk.guarded.why


@pytest.mark.fault(31)
def test_an_arm_that_is_armed_again_is_not_let_go_by_an_old_release(desk: Desk):
    with fault("chain_break", desk.bench, at=4), pytest.raises(SmolkitError, match="SK135"):
        desk.guarded.release()
    desk.guarded.energize(rearm=True)
    desk.wait(3.0)
    assert desk.state is State.ARMED and not desk.limp()


@pytest.mark.fault(22)
def test_a_stop_on_the_way_home_of_an_arm_without_a_client_lasts():
    desk = Desk(heartbeat=True)
    desk.guarded.energize()
    desk.wait(4.0)                                 # nobody beats: it holds, then parks
    assert desk.state is State.PARKING
    desk.guarded.hold("a hand is caught", lets_go=False)
    stood_deg = desk.arm.read().pos_deg
    desk.wait(20.0)
    assert desk.state is State.HOLD and desk.guarded.why.startswith("SK310")
    assert np.abs(desk.arm.read().pos_deg - stood_deg)[:5].max() < 3.0
    desk.wait(60.0)
    assert desk.limp(), "and in the end it goes home"
    desk.bench.close()


@pytest.mark.fault(24)
@pytest.mark.parametrize("roll_deg", range(-150, 151, 30))
def test_the_way_home_is_clear_however_the_wrist_is_rolled(roll_deg: int):
    raised, _, folded = waypoints(np.array([0, 40, 20, 30, roll_deg, 60.0]))
    for pose in (raised, folded * [1, 1, 1, 1, 0, 1]):
        table_m, apart_m = clearances(to_radians(pose))
        assert table_m.min() > 0.005 and apart_m.min() > 0.003
