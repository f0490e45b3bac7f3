"""The leader arm: only read, never a jump at the clutch, and the follower stands still when it is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration, MotorCalibration
from smolkit.arm.configure import write_calibration
from smolkit.arm.emulator import connect
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from smolkit.teleop.leader import ALIGN_DEG, JUMP_DEG, LeaderActor, LeaderArm, Phase
from tests.teleop.rigs import REST, Hand, look

PAN, JAW = np.eye(6)[0], np.eye(6)[5]


class Session:
    """A leader in a hand, an actor with a clutch, and a follower that is where its last goal was."""

    def __init__(self, **options):
        self.clock = SteppedClock()
        self.hand = Hand(self.clock)
        self.leader, self.clutch, self.state_deg = self.hand.arm(), False, REST
        self.actor = LeaderActor(self.leader, lambda: self.clutch, "standard", **options)

    def step(self, pose_deg=None, wait_s=0.1):
        if pose_deg is not None:
            self.hand.hold(pose_deg)
        self.clock.sleep_until(self.clock.now_s() + wait_s)
        self.state_deg = self.actor(look(self.state_deg, self.clock.now_s())).goal_deg
        return self.state_deg

    def steps(self, count, pose_deg=None):
        return np.array([self.step(pose_deg) for _ in range(count)])

    def follow(self):
        """Clutch in with both arms at rest, and wait until the fading is over."""
        self.step(REST)
        self.clutch = True
        self.steps(12, REST)
        assert self.actor.phase is Phase.FOLLOWING


# -- the arm ------------------------------------------------------------------------------------------------


def test_reading_asks_only_and_ages_from_the_question():
    hand = Hand(SteppedClock())
    requests = []
    servos_handle = hand.port._handle
    hand.port._handle = lambda data: requests.append(data) or servos_handle(data)
    with hand.arm() as leader:
        hand.hold([20, -30, 40, -10, 60, 80])
        hand.clock.sleep_until(2.0)
        reading = leader.read()
    assert reading.pos_deg == pytest.approx([20, -30, 40, -10, 60, 80], abs=0.2) and reading.asked_s == 2.0
    assert {request[4] for request in requests} <= {0x01, 0x02, 0x82}   # ping, read, sync read; never a write
    assert not hand.port.is_open


@pytest.mark.fault(29)
def test_a_leader_with_torque_on_is_refused_and_its_port_freed():
    hand = Hand(SteppedClock())
    hand.servos.set_register(3, registers.TORQUE_ENABLE, 1)
    with pytest.raises(SmolkitError, match="SK350") as refusal:
        hand.arm()
    assert "elbow_flex" in refusal.value.found and not hand.port.is_open


@pytest.mark.fault(29)
def test_another_arms_calibration_is_refused():
    hand, other = Hand(SteppedClock()), Hand(SteppedClock(), seed=9)
    with pytest.raises(SmolkitError, match="SK109"):
        LeaderArm(hand.port, other.calibration, hand.clock)


def test_a_trigger_of_half_the_travel_opens_the_follower_all_the_way():
    hand = Hand(SteppedClock())
    jaw = hand.calibration.motors[5]
    short = MotorCalibration(6, 0, jaw.homing_offset, jaw.range_min, (jaw.range_min + jaw.range_max) // 2)
    hand.calibration = Calibration((*hand.calibration.motors[:5], short))
    with Bus(connect(hand.servos)) as bus:
        write_calibration(bus, hand.calibration)
    leader = hand.arm()
    for shaft_percent, percent in ((0, 0), (25, 50), (50, 100)):
        hand.hold([0, 0, 0, 0, 0, shaft_percent])
        assert leader.read().pos_deg[5] == pytest.approx(percent, abs=0.3)


# -- clutch and alignment -------------------------------------------------------------------------------------


def test_released_the_follower_stands_whatever_the_leader_does():
    session = Session()
    decided = [session.step(pose) for pose in (REST, REST + 30 * PAN, REST - 20 * PAN)]
    assert np.all(np.array(decided) == REST) and session.actor.phase is Phase.RELEASED


@pytest.mark.fault(20)
@pytest.mark.fault(27)
def test_the_clutch_takes_only_when_both_arms_stand_alike_and_says_what_to_move():
    session = Session()
    session.step(REST + 35 * PAN - 30 * JAW)
    session.clutch = True
    waiting = session.steps(5)
    assert np.all(waiting == REST) and session.actor.phase is Phase.ALIGNING
    assert session.actor.misaligned() == pytest.approx({"shoulder_pan": -35, "gripper": 30}, abs=0.2)
    assert "shoulder_pan by -35 deg, gripper by +30 %" in session.actor.status
    taken = session.steps(25, REST + 0.8 * ALIGN_DEG * PAN)
    assert session.actor.phase is Phase.FOLLOWING
    assert np.abs(np.diff(np.concatenate([waiting[-1:], taken]), axis=0)).max() < 1.5      # deg in 0.1 s
    assert taken[-1] == pytest.approx(REST + 0.8 * ALIGN_DEG * PAN, abs=0.2)


@pytest.mark.fault(20)
def test_without_alignment_any_difference_fades_slowly():
    session = Session(align_deg=None)
    session.step(REST + 90 * PAN)
    session.clutch = True
    decided = session.steps(40)
    steps = np.diff(decided[:, 0])
    assert steps.max() / 0.1 < 31.0 and decided[-1] == pytest.approx(REST + 90 * PAN, abs=0.2)
    assert np.flatnonzero(steps > 0).size >= 29                         # 90 deg at 30 deg/s: three seconds


def test_following_goes_along_and_a_lifted_clutch_leaves_the_follower_where_it_is():
    session = Session()
    session.follow()
    for angle in range(0, 60, 10):
        assert session.step(REST + angle * PAN)[0] == pytest.approx(angle, abs=0.2)
    session.clutch = False
    assert np.all(session.steps(3, REST)[:, 0] == session.state_deg[0]) and session.state_deg[0] > 49


@pytest.mark.fault(20)
def test_after_a_pause_the_clutch_takes_anew():
    session = Session()
    session.follow()
    session.state_deg = REST + 25 * PAN                                  # somebody moved the follower meanwhile
    assert np.array_equal(session.step(REST, wait_s=3.0), REST + 25 * PAN)
    assert session.actor.phase is Phase.ALIGNING


# -- leader lost, leader jumps ----------------------------------------------------------------------------------


def silence(session):
    session.hand.servos.dead.update(range(3, 7))


def unplug(session):
    session.hand.port.unplug()


def delay(session):
    handle = session.hand.port._handle

    def late(data):
        session.clock.sleep_until(session.clock.now_s() + 0.11)
        return handle(data)

    session.hand.port._handle = late


def jump(session):
    session.hand.hold(REST + (10 + JUMP_DEG + 1) * PAN)


@pytest.mark.fault(27)
@pytest.mark.parametrize("fault, code", [(silence, "SK352"), (unplug, "SK352"), (delay, "SK352"), (jump, "SK353")])
def test_a_lost_or_jumping_leader_freezes_the_follower(fault, code):
    session = Session()
    session.follow()
    session.step(REST + 10 * PAN)
    before = session.state_deg
    fault(session)
    frozen = session.steps(5)
    assert np.all(frozen == before) and session.actor.phase is Phase.FROZEN
    assert session.actor.trouble.code == code and session.actor.trouble.cause
    assert code in session.actor.status and "release the clutch" in session.actor.status


@pytest.mark.fault(27)
def test_a_leader_that_comes_back_is_not_followed_until_the_clutch_was_released():
    session = Session()
    session.follow()
    before = session.state_deg
    silence(session)
    session.steps(2)
    session.hand.servos.dead.clear()
    assert np.all(session.steps(5, REST + 10 * PAN) == before) and session.actor.phase is Phase.FROZEN
    session.clutch = False
    session.step()
    assert session.actor.phase is Phase.RELEASED and session.actor.trouble is None
    session.clutch = True
    taken = session.steps(15)
    assert session.actor.phase is Phase.FOLLOWING and np.array_equal(taken[0], before)
    assert taken[-1][0] == pytest.approx(10, abs=0.2)


@pytest.mark.fault(27)
def test_a_leader_that_was_lost_before_the_clutch_never_takes():
    session = Session()
    unplug(session)
    session.step()
    assert session.actor.phase is Phase.RELEASED and session.actor.trouble.code == "SK352"
    session.clutch = True
    assert np.all(session.steps(3) == REST) and session.actor.phase is Phase.FROZEN


def test_torque_that_came_on_meanwhile_is_seen_at_the_clutch():
    session = Session()
    session.step(REST)
    session.hand.servos.set_register(1, registers.TORQUE_ENABLE, 1)
    session.clutch = True
    session.steps(2)
    assert session.actor.phase is Phase.FROZEN and session.actor.trouble.code == "SK350"


def test_a_quick_trigger_is_no_jump():
    session = Session()
    session.follow()
    assert session.step(REST - 50 * JAW)[5] == pytest.approx(0, abs=2.1)   # the margin of the range
    assert session.actor.phase is Phase.FOLLOWING


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-100, 100), st.booleans(), st.sampled_from(["", "silent", "back"])), max_size=12))
def test_no_play_of_hand_and_clutch_and_cable_makes_the_goal_jump(moves):
    """A goal moves only where the leader moved by less than a jump, or fades by 30 deg/s and less."""
    session, last_pan = Session(), 0.0
    for pan, clutch, cable in moves:
        session.hand.servos.dead.update(range(1, 7)) if cable == "silent" else session.hand.servos.dead.clear()
        session.clutch, before = clutch, session.state_deg
        moved = np.abs(session.step(REST + pan * PAN) - before).max()
        assert moved <= min(abs(pan - last_pan), JUMP_DEG) + 0.1 * 30 + 0.2
        assert clutch or moved == 0.0
        last_pan = pan if cable != "silent" else last_pan
