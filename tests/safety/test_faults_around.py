"""The fault catalogue around the arm: table, obstacles, cameras, whoever decides, the computer. All in physics."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from smolkit.arm import fake
from smolkit.arm.calibration import LEROBOT_TURN
from smolkit.arm.joints import GRIPPER
from smolkit.arm.so101 import SO101
from smolkit.cameras.camera import Frame
from smolkit.clock import WallClock
from smolkit.report import SmolkitError
from smolkit.safety.envelope import Envelope
from smolkit.safety.faults import fault
from smolkit.safety.limits import inner_range
from smolkit.safety.policy_faults import BELOW_TABLE_DEG, INTO_ITSELF_DEG
from smolkit.sim.scene import CameraShift
from smolkit.teleop.loop import Decision, Pace, run_episode
from smolkit.teleop.scripted import ScriptedActor
from tests.arm.wires import PATIENT, wired
from tests.safety.desks import PERIOD_S, TICK_DEG, Desk, fastest_deg_s, on

PAN = on(1, 1.0)
ROUNDING_DEG_S = 2 * TICK_DEG / PERIOD_S


# -- the table and what is on it ----------------------------------------------------------------------------


@pytest.mark.fault(1)
@pytest.mark.parametrize("slippery", [False, True])
def test_a_cube_that_slips_leaves_a_jaw_that_closes_too_far_and_carries_nothing(slippery):
    with Desk("pick") as desk:
        desk.energized()
        cube = desk.world.scene.cubes[0].name
        with fault("slippery_objects", desk, friction=0.001 if slippery else 1.0):
            steps = list(run_episode(desk, ScriptedActor(desk.bench), 7.0, finished=desk.bench.success))
        lifted_m = desk.world.cube_position(cube)[2]
        assert steps and desk.bench.success() is not slippery and (lifted_m > 0.04) is not slippery
        if slippery:
            assert desk.arm.read().pos_deg[GRIPPER] < 15 or not desk.world.touching(cube, "jaw")


@pytest.mark.fault(2)
def test_a_higher_table_is_felt_as_load_and_the_goals_wait():
    with Desk() as desk:
        pose = desk.energized()
        with fault("table_raised", desk, height_m=0.08):
            desk.go(np.array(BELOW_TABLE_DEG), 4.0)
            state, profile = desk.arm.read(), desk.envelope.profile
            goals = desk.calibration.to_pos(np.array(desk.goals(), float))
            assert any(desk.world.touching(link, "table") for link in ("gripper", "jaw", "wrist"))
            assert abs(state.load).max() > 0.45 and abs(goals - state.pos_deg).max() > 3
            assert abs(goals - state.pos_deg).max() <= profile.max_lead_deg + 1
            sent = desk.go(pose, 3.0)
        assert fastest_deg_s(sent) <= profile.joint_speed_deg_s + ROUNDING_DEG_S
        assert desk.arm.read().pos_deg == pytest.approx(pose, abs=1.0)


@pytest.mark.parametrize(("goal_deg", "reason"), [
    pytest.param(BELOW_TABLE_DEG, "table", marks=pytest.mark.fault(2)),
    pytest.param(INTO_ITSELF_DEG, "self-collision", marks=pytest.mark.fault(3))])
def test_a_policy_that_aims_into_something_is_led_past_it(goal_deg, reason):
    with Desk() as desk:
        pose = desk.energized()
        with fault("aim_at", lambda: pose, goal_deg=goal_deg) as policy:
            desk.go(policy, 6.0)
            assert desk.envelope.report().by_reason[reason] > 5
            assert not any(desk.world.touching(link, "table") for link in ("gripper", "jaw", "wrist"))
        desk.go(policy, 5.0)
        assert desk.arm.read().pos_deg == pytest.approx(pose, abs=1.0)


# -- somebody in the way ------------------------------------------------------------------------------------


@pytest.mark.fault(4)
def test_against_an_obstacle_the_goal_waits_and_does_not_leap_when_it_is_gone():
    with Desk() as desk:
        pose, profile = desk.energized(), desk.envelope.profile
        with fault("blocked_joint", desk, servo=1):
            desk.go(pose + 40 * PAN, 1.5)
            state = desk.arm.read()
            goals = desk.calibration.to_pos(np.array(desk.goals(), float))
            assert abs(state.pos_deg - pose)[0] < 1 and abs(state.load[0]) > 0.55 and abs(state.vel_deg_s[0]) < 1
            assert 3 < goals[0] - state.pos_deg[0] <= profile.max_lead_deg + 1
        sent = desk.go(pose + 40 * PAN, 2.0)
        assert fastest_deg_s(sent) <= profile.joint_speed_deg_s + ROUNDING_DEG_S
        assert desk.arm.read().pos_deg[0] == pytest.approx(pose[0] + 40, abs=1)


@pytest.mark.fault(4)
def test_a_push_shows_in_the_load_and_is_gone_with_the_hand():
    with Desk() as desk:
        pose = desk.energized()
        desk.go(pose, 0.3)
        calm = abs(desk.arm.read().load[0])
        with fault("push", desk, force_n=(0.0, 3.0, 0.0)):
            desk.go(pose, 0.5)
            assert abs(desk.arm.read().load[0]) > calm + 0.2
        desk.go(pose, 0.5)
        assert abs(desk.arm.read().load[0]) < calm + 0.05
        assert desk.arm.read().pos_deg == pytest.approx(pose, abs=0.5)


# -- cameras ------------------------------------------------------------------------------------------------


def seen(desk: Desk, role: str = "front") -> list[Frame]:
    """Three frames of a moving arm."""
    frames = []
    for step in (3, 6, 9):
        desk.go(desk.pose + step * PAN, 0.1)
        frames.append(desk.cameras[role].read())
    return frames


@pytest.fixture
def desk():
    with Desk() as opened:
        opened.pose = opened.energized()
        yield opened


@pytest.mark.fault(15)
def test_a_frozen_camera_repeats_its_picture_under_new_times(desk):
    with fault("frozen_camera", desk):
        frames = seen(desk)
        assert len({frame.digest for frame in frames}) == 1 and (frames[0].image == frames[2].image).all()
        assert frames[0].captured_s < frames[1].captured_s < frames[2].captured_s == desk.clock.now_s()
        assert len({frame.digest for frame in seen(desk, "wrist")}) == 3
    assert len({frame.digest for frame in seen(desk)}) == 3


@pytest.mark.fault(15)
def test_a_stalled_camera_gives_a_frame_that_grows_old(desk):
    with fault("stalled_camera", desk):
        ages_s = [desk.clock.now_s() - frame.captured_s for frame in seen(desk)]
        assert ages_s[-1] > 0.25 and len({frame.captured_s for frame in seen(desk)}) == 1
    assert desk.cameras["front"].read().captured_s == desk.clock.now_s()


@pytest.mark.fault(15)
def test_a_covered_lens_is_black(desk):
    with fault("black_camera", desk, role="wrist"):
        assert not desk.cameras["wrist"].read().image.any() and desk.cameras["front"].read().image.any()
    assert desk.cameras["wrist"].read().image.any()


@pytest.mark.fault(16)
def test_swapped_cameras_keep_their_names_and_show_each_others_view(desk):
    front, wrist = (desk.cameras[name].read().image for name in ("front", "wrist"))
    with fault("swapped_cameras", desk):
        assert desk.cameras["front"].role.name == "front"
        assert (desk.cameras["front"].read().image == wrist).all()
        assert (desk.cameras["wrist"].read().image == front).all()
    assert (desk.cameras["front"].read().image == front).all()
    with pytest.raises(SmolkitError, match="SK391"), fault("frozen_camera", desk, role="top"):
        pass


@pytest.mark.fault(16)
def test_a_knocked_camera_sees_another_part_of_the_same_bench(desk):
    before = {name: camera.read().image.astype(int) for name, camera in desk.cameras.items()}
    with fault("camera_moved", desk):
        assert abs(desk.cameras["front"].read().image - before["front"]).mean() > 8
        assert (desk.cameras["wrist"].read().image == before["wrist"]).all()
    assert (desk.cameras["front"].read().image == before["front"]).all()


# -- whoever decides ----------------------------------------------------------------------------------------


def sweep(desk: Desk):
    """An actor that turns the base to and fro, slowly."""
    def act(observation):
        return Decision(desk.pose + 10 * np.sin(desk.clock.now_s()) * PAN)
    return act


def watched(desk: Desk) -> list[np.ndarray]:
    """Every goal that goes out from here on."""
    sent, command = [], desk.arm.command
    desk.arm.command = lambda goal_deg: sent.append(command(goal_deg))
    return sent


@pytest.mark.parametrize("delay_s", [pytest.param(0.05, marks=pytest.mark.fault(17)),
                                     pytest.param(0.8, marks=pytest.mark.fault(17)),
                                     pytest.param(10.0, marks=pytest.mark.fault(35))])
def test_a_slow_policy_slows_the_arm_and_never_hurries_it(desk, delay_s):
    sent = watched(desk)
    with fault("slow_policy", sweep(desk), delay_s=delay_s, clock=desk.clock) as slow:
        list(run_episode(desk, slow, 3 * (delay_s + 0.1)))
    profile = desk.envelope.profile
    largest_deg = profile.joint_speed_deg_s * profile.longest_period_s + 2 * TICK_DEG
    assert len(sent) >= 3 and abs(np.diff(sent, axis=0)).max() <= largest_deg
    list(run_episode(desk, slow, 1.0))                     # as it was again, and in time
    assert len(sent) >= 30


@pytest.mark.fault(17)
@pytest.mark.fault(36)
def test_a_policy_that_dies_ends_in_a_limp_arm():
    with pytest.raises(ConnectionError), Desk() as desk:
        desk.pose = desk.energized()
        with fault("dead_policy", sweep(desk)) as policy:
            list(run_episode(desk, policy, 1.0))
    assert desk.torque() == [0] * 6


@pytest.mark.fault(36)
@pytest.mark.fault(27)
def test_a_replayed_answer_leaves_the_arm_standing(desk):
    with fault("stuck_policy", sweep(desk)) as stuck:
        list(run_episode(desk, stuck, 1.0))
        stands = desk.arm.read().pos_deg
        list(run_episode(desk, stuck, 1.0))
        assert desk.arm.read().pos_deg == pytest.approx(stands, abs=0.2)
    assert stuck(None).goal_deg is not stuck(None).goal_deg


@pytest.mark.fault(18)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stops_the_arm_at_the_third_and_latches(desk, value):
    goals = desk.goals()
    with fault("bad_number", lambda: desk.pose + 5, joint=3, value=value) as policy:
        desk.go(policy, 2 * PERIOD_S)
        assert desk.goals() == goals
        for _ in range(3):
            with pytest.raises(SmolkitError, match="SK302"):
                desk.arm.command(policy())
    with pytest.raises(SmolkitError, match="SK302"):
        desk.arm.command(policy())                         # sound again: a stop stays a stop
    assert desk.goals() == goals and desk.torque() == [1] * 6
    desk.energized()
    desk.go(policy, 0.5)
    assert desk.goals() != goals


@pytest.mark.fault(18)
@pytest.mark.parametrize("shape", [(1, 6), (50, 6), (5,), ()])
def test_what_has_another_shape_is_refused_at_once(desk, shape):
    goals = desk.goals()
    with fault("wrong_shape", lambda: desk.pose + 5, shape=shape) as policy:
        for _ in range(5):
            with pytest.raises(SmolkitError, match="SK301"):
                desk.arm.command(policy())
    assert desk.goals() == goals
    desk.go(policy, 0.2)


@pytest.mark.fault(19)
@pytest.mark.parametrize("goal_deg", [1000.0, -1000.0])
def test_a_goal_out_of_range_ends_at_the_margin(desk, goal_deg):
    low, high = inner_range(desk.envelope.range_deg, desk.envelope.profile)
    with fault("out_of_range", lambda: desk.pose, joint=1, goal_deg=goal_deg) as policy:
        sent = desk.go(policy, 6.0)
    assert sent[-1][0] == pytest.approx(high[0] if goal_deg > 0 else low[0], abs=TICK_DEG)
    assert desk.envelope.report().by_reason["range"] == len(sent)


@pytest.mark.fault(20)
@pytest.mark.parametrize("pause_s", [0.0, 3.0])
def test_a_first_action_far_away_is_approached_slowly_also_after_a_pause(desk, pause_s):
    if pause_s:
        desk.go(desk.pose, 0.2)
        desk.wait(pause_s)
    with fault("jump", lambda: desk.pose, joint=1, step_deg=60.0) as policy:
        sent = desk.go(policy, 1.0)
        assert desk.envelope.report().by_reason["ramp"] > 20
        assert fastest_deg_s(sent) <= desk.envelope.profile.ramp_speed_deg_s + ROUNDING_DEG_S
        assert abs(sent[-1] - desk.pose).max() < 31


@pytest.mark.fault(21)
def test_leaping_goals_become_a_bounded_motion(desk):
    profile = desk.envelope.profile
    desk.go(desk.pose, 0.2)
    with fault("step_inputs", lambda: desk.pose, step_deg=30.0) as policy:
        sent = desk.go(policy, 1.0)
    speeds = np.diff(sent[:, 0]) / PERIOD_S
    assert abs(speeds).max() <= profile.joint_speed_deg_s + ROUNDING_DEG_S
    assert abs(sent[:, 0] - desk.pose[0]).max() < 10 and desk.envelope.report().by_reason["speed"] > 20


@pytest.mark.fault(27)
def test_a_leader_that_jumps_does_not_take_the_follower_along():
    with Desk() as desk, fake.arm() as leader:
        desk.energized()
        desk.go(lambda: leader.read().pos_deg, 3.0)
        with fault("jump", leader.read, step_deg=40.0) as reading:
            sent = desk.go(lambda: reading().pos_deg, 0.3)
            assert reading().pos_deg[0] == pytest.approx(leader.read().pos_deg[0] + 40)
        assert fastest_deg_s(sent) <= desk.envelope.profile.joint_speed_deg_s + ROUNDING_DEG_S
        assert reading().pos_deg == pytest.approx(leader.read().pos_deg)


@pytest.mark.fault(27)
def test_a_leader_that_is_lost_moves_nothing(desk):
    goals = desk.goals()
    with fault("dead_policy", lambda: desk.pose) as leader, pytest.raises(ConnectionError):
        desk.go(lambda: leader() + 30, 0.1)
    assert desk.goals() == goals


@pytest.mark.fault(33)
@pytest.mark.parametrize("units", ["rad", "percent"])
def test_a_policy_in_other_units_moves_within_the_limits_all_the_same(desk, units):
    low, high = inner_range(desk.envelope.range_deg, desk.envelope.profile)
    with fault("other_units", lambda: desk.pose + 5, units=units) as policy:
        goal = policy()
        assert abs(goal).max() < (3.5 if units == "rad" else 100.0) and abs(goal - desk.pose - 5).max() > 4
        sent = desk.go(policy, 1.0)
    assert (sent >= low - TICK_DEG).all() and (sent <= high + TICK_DEG).all()
    assert fastest_deg_s(sent) <= desk.envelope.profile.ramp_speed_deg_s + ROUNDING_DEG_S
    assert policy() == pytest.approx(desk.pose + 5)


# -- the computer -------------------------------------------------------------------------------------------


@pytest.mark.fault(34)
@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_the_date_is_nothing_to_the_driver(step_s):
    servos = fake.servos()
    calibration, clock = fake.calibrated(servos), WallClock()
    with wired("tcp", servos) as port, SO101(port, calibration, Envelope(), clock, ramp_s=0.1, **PATIENT) as arm:
        arm.energize()
        before, told_s = arm.read(), time.time()
        with fault("date_changed", arm, step_s=step_s):
            assert abs(time.time() - told_s) > 3000
            after = arm.read()
            assert 0 <= after.captured_s - before.captured_s < 60
            sent = arm.command(before.pos_deg + 10 * PAN)
            assert abs(sent - before.pos_deg).max() < 1
            arm.release()


@pytest.mark.fault(35)
def test_on_a_slow_computer_the_arm_goes_slower_not_further(desk):
    profile = desk.envelope.profile
    desk.go(desk.pose, 0.2)
    with fault("slow_host", desk, late_s=0.2):
        sent, begin_s = desk.go(desk.pose + 40 * PAN, 0.5), desk.clock.now_s()
        desk.wait(0.1)
        assert desk.clock.now_s() - begin_s == pytest.approx(0.3)
    assert abs(np.diff(sent, axis=0)).max() <= profile.joint_speed_deg_s * profile.longest_period_s + 2 * TICK_DEG
    list(run_episode(desk, sweep(desk), 0.5, Pace()))


def test_a_tick_is_what_these_tests_take_it_for():
    assert 360 / LEROBOT_TURN < TICK_DEG


@pytest.mark.fault(16)
def test_a_camera_that_a_new_scene_has_set_up_is_left_alone():
    with Desk() as desk:
        with fault("camera_moved", desk):
            desk.world.reset(replace(desk.world.scene, front_shift=CameraShift(turn_deg=(0.0, 3.0, 0.0))))
            placed = desk.world.model.cam("front").quat.copy()
        assert (desk.world.model.cam("front").quat == placed).all()
