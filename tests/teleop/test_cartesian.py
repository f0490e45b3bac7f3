"""The tool goes where it is told, joints stay inside their limits, and nothing asked is nothing done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smolkit.arm.inverse import linearise
from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.teleop.cartesian import ELBOW, LEAST_ELBOW_DEG, SINGULAR, jog, within_tip_speed
from tests.teleop.rigs import READY

FRACTIONS = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6)
UNIT = st.floats(-1.0, 1.0)
SPEEDS = st.tuples(*[st.floats(-0.25, 0.25)] * 3, *[st.floats(-90, 90)] * 3).map(np.array)


def pose(fractions: list[float]) -> np.ndarray:
    return LOWER_DEG + np.array(fractions) * (UPPER_DEG - LOWER_DEG)


def tip_m(pose_deg: np.ndarray) -> np.ndarray:
    return tool_frame(to_radians(pose_deg))[:3, 3]


@settings(max_examples=150)
@given(FRACTIONS, SPEEDS, st.floats(0.0, 0.2))
def test_no_wish_leads_past_a_limit_or_faster_than_a_joint_may(fractions, tool_speed, dt_s):
    start = pose(fractions)
    goal = jog(start, tool_speed, dt_s, joint_speed_deg_s=60.0)
    assert np.all(goal >= LOWER_DEG - 1e-9) and np.all(goal <= UPPER_DEG + 1e-9)
    assert np.abs(goal - start)[:5].max() <= 60.0 * dt_s + 1e-9


@settings(max_examples=150)
@given(FRACTIONS, st.tuples(UNIT, UNIT, UNIT))
def test_away_from_singularities_and_limits_the_tip_moves_straight_and_as_far_as_asked(fractions, direction):
    start, way = pose(fractions), np.array(direction)
    assume(np.linalg.norm(way) > 0.1)
    way *= 0.004 / np.linalg.norm(way)                                   # 4 mm in 0.1 s
    goal = jog(start, np.append(way / 0.1, np.zeros(3)), 0.1, joint_speed_deg_s=240.0)
    smallest = np.linalg.svd(linearise(to_radians(start)[:5])[1], compute_uv=False)[2]
    assume(goal[ELBOW] > LEAST_ELBOW_DEG)
    assume(smallest > SINGULAR and np.all(goal[:5] > LOWER_DEG[:5]) and np.all(goal[:5] < UPPER_DEG[:5]))
    moved = tip_m(goal) - tip_m(start)
    assert np.linalg.norm(moved - way) < 0.1 * 0.004                     # 6 degrees, or a tenth of the way


@given(FRACTIONS, st.floats(0.0, 0.2))
def test_zero_in_is_zero_out(fractions, dt_s):
    assert np.array_equal(jog(pose(fractions), np.zeros(6), dt_s), pose(fractions))


@given(FRACTIONS, SPEEDS)
def test_no_time_is_no_step(fractions, tool_speed):
    assert np.allclose(jog(pose(fractions), tool_speed, 0.0), pose(fractions), atol=1e-9)


def test_pitch_and_roll_turn_the_gripper_around_a_tip_that_stays():
    for speed, expected in (([0, 0, 0, 20, 0, 0], (20, 0)), ([0, 0, 0, 0, -20, 0], (0, -20))):
        goal = READY
        for _ in range(10):
            goal = jog(goal, np.array(speed, float), 0.1)
        turned = (goal - READY)[1:4].sum(), (goal - READY)[4]
        assert turned == pytest.approx(expected, abs=0.5)
        assert np.linalg.norm(tip_m(goal) - tip_m(READY)) < 0.001


def test_a_joint_at_its_limit_leaves_the_solve_and_the_others_keep_the_line():
    """wrist_flex cannot bend further: the pitch gives way, the tip goes on straight."""
    start = np.array([0, 0, 0, UPPER_DEG[3], 0, 50.0])
    goal = start
    for _ in range(10):
        goal = jog(goal, np.array([0.05, 0, 0, 0, 0, 0]), 0.1)
    assert goal[3] <= UPPER_DEG[3] and abs((goal - start)[1:4].sum()) > 3.0
    assert tip_m(goal) - tip_m(start) == pytest.approx([0.05, 0, 0], abs=0.002)


def test_stretched_out_the_arm_falls_short_no_joint_races_and_the_way_back_is_open():
    goal, away = np.array([60, 0, 0, 0, 0, 50.0]), np.array([0.1, -0.173, 0, 0, 0, 0])
    radius_m, fastest_deg_s = [], []
    for tool_speed in (*[away] * 30, *[-away] * 15):
        last, goal = goal, jog(goal, tool_speed, 0.1)
        fastest_deg_s.append(np.abs(goal - last)[:5].max() / 0.1)
        radius_m.append(np.linalg.norm(tip_m(goal)[:2] - [0.0388, 0]))
    assert radius_m[29] > 0.43 and max(fastest_deg_s[15:30]) < 15.0      # leaning against its reach, calmly
    assert radius_m[44] < radius_m[29] - 0.1                             # and the elbow bends back as it was


def test_a_pose_beyond_a_limit_may_come_back_and_go_no_further():
    beyond = np.array([0, 0, 0, UPPER_DEG[3] + 4, 0, 50.0])
    assert np.array_equal(jog(beyond, np.zeros(6), 0.1), beyond)
    assert jog(beyond, np.array([0, 0, 0, 60, 0, 0.0]), 0.1)[3] <= beyond[3]
    assert jog(beyond, np.array([0, 0, 0, -60, 0, 0.0]), 0.1)[3] < beyond[3]


def test_a_joint_step_is_shortened_until_no_tip_is_too_fast():
    wish = np.array([0, 10.0, 0, 0, 0, 0])
    step = within_tip_speed(np.zeros(6), wish, 0.02)
    assert 0.018 < np.linalg.norm(tip_m(step) - tip_m(np.zeros(6))) <= 0.02      # the jaw's end may be the faster one
    assert np.array_equal(within_tip_speed(np.zeros(6), wish, 1.0), wish)
