"""Inverse kinematics against forward kinematics: what goes in comes out, and limits always hold."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smolkit.arm.inverse import PAN_AXIS_X_M, approach_pitch, reach
from smolkit.arm.joints import LOWER_RAD, UPPER_RAD
from smolkit.arm.kinematics import tool_frame

FRACTION = st.floats(0.0, 1.0)


def angles(fractions: list[float]) -> np.ndarray:
    return LOWER_RAD + np.array(fractions) * (UPPER_RAD - LOWER_RAD)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(FRACTION, min_size=6, max_size=6))
def test_whatever_place_a_pose_reaches_is_found_again_to_a_millimetre(fractions):
    angle_rad = angles(fractions)
    tip_m = tool_frame(angle_rad)[:3, 3]
    from_pan_axis_m = np.hypot(tip_m[0] - PAN_AXIS_X_M, tip_m[1])
    assume(tip_m[2] > 0.0 and from_pan_axis_m > 0.10)        # not under the table, not inside the base
    found = reach(tip_m, approach_pitch(angle_rad), angle_rad[4])
    assert found.ok
    assert np.linalg.norm(tool_frame(found.angle_rad)[:3, 3] - tip_m) < 1e-3


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(-0.3, 0.6)),
       st.floats(-2.0, 3.0), st.floats(-4.0, 4.0), st.floats(0.0, 0.1))
def test_no_wish_moves_a_joint_past_its_limits(position, pitch_rad, roll_rad, margin_rad):
    found = reach(np.array(position), pitch_rad, roll_rad, margin_rad=margin_rad)
    body = found.angle_rad[:5]
    assert np.all(body >= LOWER_RAD[:5] + margin_rad - 1e-9)
    assert np.all(body <= UPPER_RAD[:5] - margin_rad + 1e-9)
    assert np.isclose(found.error_m, np.linalg.norm(tool_frame(found.angle_rad)[:3, 3] - position))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.17, 0.26), st.floats(-0.8, 0.8), st.floats(0.005, 0.05), st.floats(-1.5, 1.5))
def test_over_the_table_the_gripper_points_down_with_the_roll_it_was_asked_for(radius, turn, z, roll):
    place = np.array([PAN_AXIS_X_M + (radius - PAN_AXIS_X_M) * np.cos(turn), radius * np.sin(turn), z])
    found = reach(place, np.pi / 2, roll)
    assert found.ok
    assert abs(approach_pitch(found.angle_rad) - np.pi / 2) < 0.05
    assert abs(found.angle_rad[4] - roll) < 0.02


def test_a_saturated_wrist_costs_pitch_not_position():
    far = np.array([0.36, 0.0, 0.02])                        # straight down is out of reach here
    found = reach(far, np.pi / 2)
    assert found.ok
    assert approach_pitch(found.angle_rad) < np.deg2rad(80)


def test_following_a_path_never_jumps():
    pose = reach(np.array([0.20, -0.10, 0.05])).angle_rad
    for share in np.linspace(0.0, 1.0, 100):
        following = reach(np.array([0.20 + 0.1 * share, -0.10 + 0.2 * share, 0.05]), start_rad=pose)
        assert following.ok and np.abs(following.angle_rad - pose).max() < 0.05
        pose = following.angle_rad
