"""No sequence of actions whatsoever: the invariants of the envelope, and what it says when it refuses.

(a) goals inside the calibrated range less its margin; (b) steps no longer than speed * time; (c) tips no
faster than their limit; (d) links above the table and apart, on the goal and on the way to it; (h) nothing
but finite numbers comes out.
"""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.arm.calibration import Calibration, MotorCalibration
from smolkit.arm.inverse import reach
from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, from_radians, to_radians
from smolkit.arm.kinematics import link_frames, tool_frame
from smolkit.report import SmolkitError
from smolkit.safety import geometry
from smolkit.safety.envelope import Envelope, calibrated_range
from smolkit.safety.limits import FULL_RANGE_DEG, JOINT_DEG, inner_range
from smolkit.safety.profiles import PROFILES, Profile

HOME_DEG = np.array([0.0, -30.0, 45.0, 50.0, 0.0, 30.0])
PAN, ROLL = np.eye(6)[0], np.eye(6)[4]
BETWEEN_SAMPLES_M = 0.002          # how deep a path may dip between two looks of the envelope, 12 mm apart
LONGER = int(os.environ.get("SMOLKIT_LONGER", "1"))   # times the number of examples
NASTY = (np.nan, np.inf, -np.inf, 1e30, -1e30, 1e300, 1000.0, -1000.0, 0.0, 3.4e38)

numbers = st.one_of(st.floats(-200, 200), st.sampled_from(NASTY))
inside = st.tuples(*(st.floats(lo, hi) for lo, hi in zip(LOWER_DEG, UPPER_DEG, strict=True)))
goals = st.one_of(inside, inside, st.tuples(*[numbers] * 6))
periods = st.one_of(st.sampled_from([1 / 30, 1 / 30, 0.1, 0.01]),
                    st.sampled_from([0.0, -1.0, np.nan, np.inf, 1e9, 0.7, 1e-9]), st.floats(0.001, 0.2))
# One move: a goal held for some actions, at some period, by an arm that follows by some share.
moves = st.tuples(goals, st.integers(1, 25), periods, st.sampled_from([0.0, 0.3, 1.0]))
profiles = st.sampled_from(list(PROFILES))


def is_clear(profile: Profile, pose_deg: np.ndarray, slack_m: float = 1e-9) -> bool:
    table_m, apart_m = geometry.clearances(to_radians(pose_deg))
    need_m = np.where(geometry.FINGERS, profile.finger_table_m, profile.table_m)
    return bool((table_m >= need_m - slack_m).all() and (apart_m >= profile.apart_m - slack_m).all())


def tips_m(pose_deg: np.ndarray) -> np.ndarray:
    """The tool by the kinematics, the two finger ends by the links' frames: (3, 3) m."""
    angle_rad = to_radians(pose_deg)
    frames = link_frames(angle_rad)
    ends = [frames[link][:3, :3] @ np.array(xyz) + frames[link][:3, 3] for link, xyz in geometry.TIPS[1:]]
    return np.array([tool_frame(angle_rad)[:3, 3], *ends])


def check_step(profile: Profile, before: np.ndarray, after: np.ndarray, dt_s: float) -> None:
    time_s = min(dt_s, profile.longest_period_s) if dt_s > 0 else 0.0
    lowest, highest = inner_range(FULL_RANGE_DEG, profile)
    assert np.isfinite(after).all()                                                              # (h)
    assert (after >= lowest - 1e-9).all() and (after <= highest + 1e-9).all()                    # (a)
    assert (np.abs(after - before) * JOINT_DEG <= profile.joint_speed_deg_s * time_s + 1e-9).all()   # (b)
    moved_m = np.linalg.norm(tips_m(after) - tips_m(before), axis=1).max()
    assert moved_m <= profile.tip_speed_m_s * time_s + 1e-9                                      # (c)
    assert is_clear(profile, after)                                                              # (d)
    if moved_m > 0.004:
        for part in np.linspace(0, 1, 9)[1:-1]:
            assert is_clear(profile, before + part * (after - before), BETWEEN_SAMPLES_M)        # (d)


def play(envelope: Envelope, actions: list, start_deg: np.ndarray = HOME_DEG) -> list[np.ndarray]:
    """Sends moves as a policy would, re-arms after a latched stop, and checks every goal that comes out."""
    last, present, sent = start_deg, start_deg, []
    for goal, repeats, dt_s, follows in actions:
        for _ in range(repeats):
            try:
                goal_deg = envelope.admit(np.array(goal), present, dt_s)
            except SmolkitError as error:
                assert error.code == "SK302" and not np.isfinite(goal).all()
                present = last             # energize writes goal := present; here the arm has arrived
                envelope.reset()
                continue
            check_step(envelope.profile, last, goal_deg, dt_s)
            present, last = present + follows * (goal_deg - present), goal_deg
            sent.append(goal_deg)
    return sent


@settings(max_examples=120 * LONGER)
@given(profiles, st.lists(moves, min_size=1, max_size=8))
def test_no_sequence_breaks_an_invariant(name: str, actions: list):
    play(Envelope(name), actions)


@settings(max_examples=25 * LONGER)
@given(profiles, inside, inside)
def test_oscillating_between_extremes_breaks_nothing(name: str, one: tuple, other: tuple):
    play(Envelope(name), [(one, 1, 1 / 30, 1.0), (other, 1, 1 / 30, 1.0)] * 15 + [(one, 20, 0.1, 1.0)])


@settings(max_examples=25 * LONGER)
@given(st.lists(inside, min_size=3, max_size=30), st.lists(inside, min_size=30, max_size=30))
def test_measurements_that_make_no_sense_break_nothing(actions: list, measured: list):
    envelope, last = Envelope("standard"), HOME_DEG
    envelope.admit(HOME_DEG, HOME_DEG, 1 / 30)
    for goal, present in zip(actions, measured, strict=False):
        goal_deg = envelope.admit(np.array(goal), np.array(present), 1 / 30)
        check_step(envelope.profile, last, goal_deg, 1 / 30)
        last = goal_deg


@settings(max_examples=40 * LONGER)
@given(inside, inside)
def test_an_arm_that_stands_wrong_is_never_made_worse(start: tuple, goal: tuple):
    """Placed by hand in the table, in itself or on its stops: each broken limit may only get better."""
    envelope, last = Envelope("standard"), np.array(start)
    lowest, highest = inner_range(FULL_RANGE_DEG, envelope.profile)
    need_m = np.where(geometry.FINGERS, envelope.profile.finger_table_m, envelope.profile.table_m)
    for _ in range(30):
        goal_deg = envelope.admit(np.array(goal), last, 1 / 30)
        outside = np.maximum(np.maximum(lowest - last, last - highest), 0)
        assert (np.maximum(np.maximum(lowest - goal_deg, goal_deg - highest), 0) <= outside + 1e-9).all()
        before, after = geometry.clearances(to_radians(last)), geometry.clearances(to_radians(goal_deg))
        assert (after[0] >= np.minimum(need_m, before[0]) - 1e-8).all()
        assert (after[1] >= np.minimum(envelope.profile.apart_m, before[1]) - 1e-8).all()
        last = goal_deg


def test_an_arm_below_the_table_may_rise():
    low = np.array([0.0, 60.0, -40.0, 40.0, 0.0, 30.0])
    assert not is_clear(PROFILES["standard"], low)
    envelope, last = Envelope("standard"), low
    for _ in range(200):
        last = envelope.admit(HOME_DEG, last, 1 / 30)
    np.testing.assert_allclose(last, HOME_DEG, atol=1e-6)


def test_what_is_safe_passes_untouched():
    """The pace of a careful demonstration: nothing to limit in `standard`."""
    goals_deg = smooth_sweep(0.22)
    envelope, last = Envelope("standard"), goals_deg[0]
    for goal in goals_deg[1:]:
        last = envelope.admit(goal, last, 1 / 30)
        np.testing.assert_allclose(last, goal, atol=1e-9)
    assert envelope.report().limited == 0 and envelope.report().steps == len(goals_deg) - 1


def smooth_sweep(peak_m_s: float, seconds: float = 6.0) -> np.ndarray:
    """Goals (T, 6) at 30 Hz of a tip that swings to and fro along an ellipse, 24 cm wide."""
    start, poses = reach(np.array([0.28, 0.0, 0.08]), np.deg2rad(70)).angle_rad, []
    for k in range(int(30 * seconds)):
        moment_s = k / 30
        eased_s = moment_s ** 2 / 2 if moment_s < 1 else moment_s - 0.5       # nobody starts at full speed
        turn = 0.97 * peak_m_s / 0.12 * eased_s                               # rad
        place = np.array([0.25 + 0.03 * np.cos(turn), 0.12 * np.sin(turn), 0.08 + 0.02 * np.sin(turn)])
        start = reach(place, np.deg2rad(70), start_rad=start).angle_rad
        poses.append(from_radians(start))
    return np.array(poses)


def test_a_first_action_far_away_is_approached_slowly():
    envelope, goal = Envelope("standard"), HOME_DEG + PAN * 20
    sent = [HOME_DEG]
    for _ in range(60):
        sent.append(envelope.admit(goal, sent[-1], 1 / 30))
    steps = np.array([np.abs(b - a).max() for a, b in pairwise(sent)])
    assert steps[:29].max() * 30 <= 20.0 + 1e-6, "20 deg in no less than a second"
    np.testing.assert_allclose(sent[-1], goal, atol=1e-6)
    assert envelope.report().by_reason["ramp"] > 20
    envelope.reset()
    again = envelope.admit(HOME_DEG, goal, 1 / 30)
    assert np.abs(again - goal).max() * 30 <= 20.0 + 1e-6, "reset makes the next action a first one"


def test_a_pause_makes_the_next_action_a_first_one():
    envelope = Envelope("standard")
    last = envelope.admit(HOME_DEG, HOME_DEG, 1 / 30)
    far = HOME_DEG + ROLL * 60
    assert "ramp" not in envelope.report().by_reason
    envelope.admit(far, last, 2.0)
    assert envelope.report().by_reason["ramp"] == 1


def test_a_blocked_arm_is_not_wound_up():
    envelope = Envelope("standard")
    for _ in range(100):
        sent = envelope.admit(HOME_DEG + (PAN + ROLL) * 60, HOME_DEG, 1 / 30)
    assert np.abs(sent - HOME_DEG).max() <= envelope.profile.max_lead_deg + 1e-9
    assert envelope.report().by_reason["lead"] > 10


@settings(deadline=None)
@given(profiles, st.lists(moves, min_size=2, max_size=6))
def test_speed_grows_by_no_more_than_the_acceleration(name: str, actions: list):
    envelope, last, speed_deg_s = Envelope(name), HOME_DEG, np.zeros(6)
    growth_deg_s = envelope.profile.acceleration_deg_s2 / 30
    for goal, repeats, *_ in actions:
        for _ in range(repeats):
            if not np.isfinite(np.array(goal, float)).all():
                continue
            sent = envelope.admit(np.array(goal, float), last, 1 / 30)
            now_deg_s = (sent - last) * JOINT_DEG * 30
            before_deg_s = np.maximum(speed_deg_s * np.sign(now_deg_s), 0.0)
            assert (np.abs(now_deg_s) <= before_deg_s + growth_deg_s + 1e-6).all()
            last, speed_deg_s = sent, now_deg_s


def test_a_stop_never_waits():
    envelope, last = Envelope("standard"), HOME_DEG
    for k in range(30):
        last = envelope.admit(HOME_DEG + PAN * min(k + 1, 2) * (k + 1), last, 1 / 30)
    np.testing.assert_array_equal(envelope.admit(last, last, 1 / 30), last)


@pytest.mark.parametrize("name", list(PROFILES))
def test_the_path_waits_for_an_arm_that_falls_behind(name: str):
    envelope = Envelope(name)
    for _ in range(60):
        sent = envelope.admit(HOME_DEG + np.array([60, 20, -20, 0, 0, 0]), HOME_DEG, 1 / 30)
    profile = envelope.profile
    lag_m = np.linalg.norm(tips_m(sent) - tips_m(HOME_DEG), axis=1).max()
    most_m = profile.wait_m + profile.wait_s * profile.tip_speed_m_s
    assert 0.7 * most_m < lag_m <= most_m + 1e-9
    assert envelope.report().by_reason["lead"] > 20


def test_a_late_cycle_earns_no_leap():
    envelope, last = Envelope("standard"), HOME_DEG
    for k in range(30):
        last = envelope.admit(HOME_DEG + PAN * (k + 1), last, 1 / 30)
    late = envelope.admit(HOME_DEG + PAN * 80, last, 0.4)
    assert abs(late[0] - last[0]) <= envelope.profile.acceleration_deg_s2 * 0.05 ** 2 + 1e-9, "from rest again"


def test_it_slides_along_the_table():
    """A goal under the table on the other side: the arm goes there, along the table, not through it."""
    start, goal = np.array([-40, 10, 10, 60, 0, 10.0]), np.array([40, 50, 10, 60, 0, 10.0])
    envelope, last = Envelope("standard"), start
    for _ in range(400):
        sent = envelope.admit(goal, last, 1 / 30)
        check_step(envelope.profile, last, sent, 1 / 30)
        last = sent
    assert last[0] == pytest.approx(40.0, abs=0.1) and last[1] < 60.0
    assert envelope.report().by_reason["table"] > 10


def test_three_unusable_actions_in_a_row_stop_the_arm_until_it_is_rearmed():
    envelope, bad = Envelope("standard"), HOME_DEG * np.nan
    first = envelope.admit(HOME_DEG, HOME_DEG, 1 / 30)
    for _ in range(2):
        np.testing.assert_array_equal(envelope.admit(bad, HOME_DEG, 1 / 30), first)
    envelope.admit(HOME_DEG, HOME_DEG, 1 / 30)                    # a good one: the count starts anew
    for _ in range(2):
        envelope.admit(bad, HOME_DEG, 1 / 30)
    for action in (bad, HOME_DEG, HOME_DEG):                      # latched: good actions do not re-arm
        with pytest.raises(SmolkitError) as caught:
            envelope.admit(action, HOME_DEG, 1 / 30)
        assert caught.value.code == "SK302"
    envelope.reset()
    np.testing.assert_array_equal(envelope.admit(HOME_DEG, HOME_DEG, 1 / 30), HOME_DEG)
    assert envelope.report().by_reason["not finite"] == 5


@pytest.mark.parametrize("action", [
    np.zeros(5), np.zeros((1, 6)), np.zeros((6, 1)), 3.0, None, "go", ["a"] * 6, [1, 2, [3]],
    np.zeros(6, bool), np.zeros(6, complex), np.zeros(6, object), {}, np.zeros(0)])
def test_wrong_shape_or_type_is_a_mistake_in_a_program(action: object):
    envelope = Envelope("standard")
    with pytest.raises(SmolkitError) as caught:
        envelope.admit(action, HOME_DEG, 1 / 30)
    assert caught.value.code == "SK301" and envelope.report().rejected == 1


@pytest.mark.parametrize("action", [list(HOME_DEG), HOME_DEG.astype(np.float32), HOME_DEG.astype(int)])
def test_six_numbers_of_any_kind_are_an_action(action: object):
    np.testing.assert_allclose(Envelope("standard").admit(action, HOME_DEG, 1 / 30), HOME_DEG, atol=1e-5)


def test_an_arm_that_cannot_be_where_it_says_is_not_moved():
    for present in (HOME_DEG * np.nan, HOME_DEG + 1e30, HOME_DEG + PAN * 200):
        with pytest.raises(SmolkitError) as caught:
            Envelope("standard").admit(HOME_DEG, present, 1 / 30)
        assert caught.value.code == "SK303"


@pytest.mark.parametrize("range_deg", [np.zeros((2, 6)), FULL_RANGE_DEG[::-1], FULL_RANGE_DEG * np.nan,
                                       FULL_RANGE_DEG[0]])
def test_a_calibrated_range_without_room_is_refused(range_deg: np.ndarray):
    with pytest.raises(SmolkitError) as caught:
        Envelope("standard", range_deg)
    assert caught.value.code == "SK304"


def test_the_calibrated_range_binds():
    narrow = np.stack([HOME_DEG - 10, HOME_DEG + 10])
    envelope, last = Envelope("demonstration", narrow), HOME_DEG
    for _ in range(60):
        last = envelope.admit(HOME_DEG + 90, last, 1 / 30)
    margin = envelope.profile.range_margin_deg / JOINT_DEG
    assert (last <= HOME_DEG + 10 - margin + 1e-9).all() and last[4] == pytest.approx(HOME_DEG[4] + 8)


def test_every_clip_is_in_the_log_with_cause_and_time():
    envelope, last = Envelope("beginner"), HOME_DEG
    for k in range(10):
        last = envelope.admit(HOME_DEG + (90 if k % 2 else 0), last, 0.1)
    report = envelope.report()
    assert report.steps == 10 and report.limited == len(report.log) >= 4
    moments = [clip.moment_s for clip in report.log]
    assert moments == sorted(moments) and moments[-1] == pytest.approx(1.0)
    assert all(clip.reasons and clip.withheld_deg > 1 for clip in report.log)
    assert "limited" in report.text() and report.limited_share == report.limited / 10


def test_the_calibrated_range_is_never_wider_than_the_drawing_but_may_be_narrower():
    wide = Calibration(tuple(MotorCalibration(i, 0, 0, 0, 4095) for i in range(1, 7)))
    assert (calibrated_range(wide)[:, :5] == FULL_RANGE_DEG[:, :5]).all()
    narrow = calibrated_range(Calibration(tuple(MotorCalibration(i, 0, 0, 1100, 2900) for i in range(1, 7))))
    assert np.abs(narrow[:, :5].T - [-79.12, 79.12]).max() < 0.01
    assert narrow[:, 5].tolist() == [0, 100]
