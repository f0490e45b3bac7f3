"""Driving the tool instead of the joints: a wished speed of the tip becomes the next joint goal.

    >>> import numpy as np
    >>> pose = np.array([0, 0, 0, 60, 0, 50.0])                         # deg, gripper %
    >>> goal = jog(pose, np.array([0.05, 0, 0, 0, 0, 0]), dt_s=0.2)     # 5 cm/s forward
    >>> from smolkit.arm.kinematics import tool_frame
    >>> tip = [tool_frame(to_radians(p))[:3, 3] for p in (pose, goal)]
    >>> ((tip[1] - tip[0]) * 1000).round() + 0.0                        # mm
    array([10.,  0.,  0.])

Method: damped least squares on the tip's Jacobian, the position first, pitch and roll with what the
position leaves free. A joint at its limit leaves the solve. Where the arm is nearly stretched out, a step
along it would take endless joint speed: there the damping grows, and the tip falls short instead
(Nakamura and Hanafusa 1986).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from smolkit.arm.inverse import BODY, bounded_step, linearise
from smolkit.arm.joints import GRIPPER, from_radians, to_radians
from smolkit.safety import geometry
from smolkit.safety.limits import FULL_RANGE_DEG

TOOL_AXES = ("x", "y", "z", "pitch", "roll", "gripper")
PIECE_M, PIECE_RAD = 0.002, 0.03          # the Jacobian is taken anew after so much; it bends the line else
SINGULAR = 0.06                           # m/rad: directions in which the tip moves less than this are damped
SINGULAR_TURN = 0.3                       # rad/rad: the same for pitch and roll
# The elbow is straight at -73.8 deg. Through there it would bend the other way, where only 23 deg are left.
ELBOW, LEAST_ELBOW_DEG = 2, -68.0


def careful_inverse(matrix: np.ndarray, singular: float = SINGULAR) -> np.ndarray:
    """Pseudo-inverse (n, m) of a matrix (m, n): exact where it is well conditioned, damped where it is not.

    Directions whose singular value is below `singular` are damped, the more the smaller it is.
    """
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    damping = 0.7 * np.maximum(singular - values, 0.0)
    return (right.T * (values / np.maximum(values**2 + damping**2, 1e-12))) @ left.T


_INVERSES = careful_inverse, partial(careful_inverse, singular=SINGULAR_TURN)


def jog(pose_deg: np.ndarray, tool_speed: np.ndarray, dt_s: float, limits_deg: np.ndarray = FULL_RANGE_DEG,
        joint_speed_deg_s: float = 90.0) -> np.ndarray:
    """The goal (6,) after driving the tool from `pose_deg` (6,) for `dt_s` seconds.

    Args:
        tool_speed: (6,) in the order of `TOOL_AXES`: m/s forward, left, up; deg/s of pitch (positive lowers
            the gripper's nose) and of the wrist's roll; gripper %/s (positive opens).
        limits_deg: (2, 6) lowest and highest pose. From beyond them the way back is open.
        joint_speed_deg_s: no body joint moves faster; the tip then moves slower in the same direction.
    """
    low, high = np.array(limits_deg[0], float), np.maximum(limits_deg[1], pose_deg)
    low[ELBOW] = max(low[ELBOW], LEAST_ELBOW_DEG)
    low = np.minimum(low, pose_deg)
    way_m = np.asarray(tool_speed[:3], float) * dt_s                             # (3,)
    turn_rad = np.deg2rad(tool_speed[3:5]) * dt_s                                # (2,) pitch, roll
    pieces = max(1, int(np.ceil(max(np.linalg.norm(way_m) / PIECE_M, np.abs(turn_rad).max() / PIECE_RAD))))
    goal_deg = np.clip(pose_deg + np.eye(6)[GRIPPER] * tool_speed[GRIPPER] * dt_s, low, high)
    if way_m.any() or turn_rad.any():
        limits = to_radians(low)[:BODY], to_radians(high)[:BODY]
        longest_rad = np.deg2rad(joint_speed_deg_s) * dt_s / pieces
        body = to_radians(pose_deg)[:BODY]
        wished_m = linearise(body)[0] + np.outer(np.arange(1, pieces + 1) / pieces, way_m)       # (pieces, 3)
        for place_m in wished_m:
            tip_m, jacobian = linearise(body)
            body = body + bounded_step(body, place_m - tip_m, turn_rad / pieces, jacobian, limits, longest_rad,
                                       _INVERSES)
        goal_deg[:BODY] = np.clip(from_radians(np.append(body, 0.0))[:BODY], low[:BODY], high[:BODY])
    return goal_deg


def within_tip_speed(pose_deg: np.ndarray, step_deg: np.ndarray, furthest_m: float) -> np.ndarray:
    """A step (6,) from a pose (6,), shortened so that no tip moves further, measured as the guard does."""
    here, there = geometry.tips(geometry.frames(to_radians(np.stack([pose_deg, pose_deg + step_deg]))))   # (3, 3) m
    return step_deg * min(1.0, furthest_m / max(float(np.linalg.norm(there - here, axis=-1).max()), 1e-12))
