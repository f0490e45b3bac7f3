"""How the demonstrator moves: a wish for the gripper, and one bounded step toward it.

    >>> import numpy as np
    >>> from smolkit.arm.inverse import reach
    >>> home = reach(np.array([0.20, 0.0, 0.10])).angle_rad
    >>> goal = advance(home, Wish(np.array([0.24, 0.05, 0.06])), Pace())
    >>> bool(np.rad2deg(np.abs(goal - home)).max() <= 8.0)         # at most 80 deg/s, for 0.1 s
    True

A wish is where the middle of the open gripper shall be, so opening and closing the jaw leave the wish
alone: the fixed finger steps aside by itself. The step is a function of goal and wish only; it slows
down before it arrives, which is smooth and needs no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolkit.arm.inverse import PAN_AXIS_X_M, approach_pitch, reach
from smolkit.arm.joints import GRIPPER, LOWER_RAD, UPPER_RAD
from smolkit.arm.kinematics import link_frames, tool_frame

# Opening between the finger tips by jaw angle, from the meshes (SO-ARM100).
JAW_DEG = np.array([-10, -5, 0, 5, 10, 20, 30, 45, 60])
OPENING_MM = np.array([2, 9, 16, 22, 29, 43, 56, 74, 92])
JAW_TWIST_RAD = 0.0486795              # the wrist's frame is turned by so much against the roll joint
PITCH_RAD = np.deg2rad(85.0)           # almost straight down; 90 would saturate the wrist all the time
MARGIN_RAD = np.deg2rad(3.0)           # the safety envelope keeps goals 2 deg inside the limits


@dataclass(frozen=True)
class Pace:
    """Speed limits of a demonstration, well inside those of the profile `standard` (0.25 m/s, 90 deg/s).

    Slower than allowed: at 0.15 m/s a policy that looks again every 0.4 s has moved 6 cm in between.
    """

    tip_m_s: float = 0.15
    joint_deg_s: float = 60.0
    period_s: float = 0.1
    share: float = 0.6                 # of what is left that one step goes, when no limit binds


@dataclass(frozen=True)
class Wish:
    """Where the middle between the fingers shall be (m), how turned and how open (rad)."""

    centre_m: np.ndarray               # (3,)
    roll_rad: float = 0.0
    jaw_rad: float = 0.0
    pitch_rad: float = PITCH_RAD
    hurry: float = 1.0                 # share of the tip speed that is allowed


def opening_m(jaw_rad: float) -> float:
    """How far apart the finger tips are (m) at this jaw angle."""
    return float(np.interp(np.rad2deg(jaw_rad), JAW_DEG, OPENING_MM)) / 1000


def jaw_for(opening: float) -> float:
    """The jaw angle (rad) that parts the finger tips by `opening` (m)."""
    return float(np.deg2rad(np.interp(1000 * opening, OPENING_MM, JAW_DEG)))


def grip_centre(angle_rad: np.ndarray) -> np.ndarray:
    """The middle between the finger tips (3,) m; the tool frame itself lies on the fixed finger."""
    closing = link_frames(angle_rad)["gripper"][:3, 0]
    return tool_frame(angle_rad)[:3, 3] + 0.5 * opening_m(angle_rad[GRIPPER]) * closing


def closing_direction(azimuth_rad: float, pitch_rad: float, roll_rad: float) -> np.ndarray:
    """Unit vector (3,) from the fixed finger to the jaw for an arm that looks along `azimuth_rad`."""
    turn = roll_rad - JAW_TWIST_RAD
    (c, s), (cp, sp) = (np.cos(azimuth_rad), np.sin(azimuth_rad)), (np.cos(pitch_rad), np.sin(pitch_rad))
    upright, sideways = np.array([c * sp, s * sp, cp]), np.array([-s, c, 0.0])
    return np.cos(turn) * upright + np.sin(turn) * sideways


def azimuth(point_m: np.ndarray) -> float:
    """The direction (rad, counter-clockwise from x) in which the pan axis sees a point."""
    return float(np.arctan2(point_m[1], point_m[0] - PAN_AXIS_X_M))


def roll_across(yaw_rad: float, point_m: np.ndarray, period_rad: float = np.pi / 2,
                near_rad: float = 0.0) -> float:
    """The wrist roll (rad) that closes the jaw along `yaw_rad` at a point.

    A cube looks the same after a quarter turn (`period_rad`); of all such rolls this takes the one
    nearest to `near_rad`, so that alike pictures ask for alike motions.
    """
    roll = yaw_rad - azimuth(point_m) + JAW_TWIST_RAD
    return float(near_rad + (roll - near_rad + period_rad / 2) % period_rad - period_rad / 2)


def advance(goal_rad: np.ndarray, wish: Wish, pace: Pace) -> np.ndarray:
    """The next goal (6,) rad: one step of `pace` from the present goal toward the wish.

    Joint and tip speed hold by construction; where the wish is out of reach the goal stays near it.
    """
    tip_m, jaw_step = tool_frame(goal_rad)[:3, 3], np.deg2rad(pace.joint_deg_s) * pace.period_s
    jaw_rad = goal_rad[GRIPPER] + np.clip(wish.jaw_rad - goal_rad[GRIPPER], -jaw_step, jaw_step)
    next_m = tip_m + shorten(pace.share * (_tip_for(wish, jaw_rad) - tip_m),
                             wish.hurry * pace.tip_m_s * pace.period_s)
    pitch_rad = approach_pitch(goal_rad)
    pitch_rad += np.clip(wish.pitch_rad - pitch_rad, -jaw_step, jaw_step)
    roll_rad = goal_rad[4] + np.clip(pace.share * (wish.roll_rad - goal_rad[4]), -jaw_step, jaw_step)
    there = reach(next_m, pitch_rad, roll_rad, start_rad=goal_rad, margin_rad=MARGIN_RAD).angle_rad
    step = _within_pace(goal_rad, there - goal_rad, pace)
    step[GRIPPER] = jaw_rad - goal_rad[GRIPPER]
    return np.clip(goal_rad + step, LOWER_RAD + MARGIN_RAD, UPPER_RAD - MARGIN_RAD)


def shorten(vector: np.ndarray, longest: float) -> np.ndarray:
    """The vector, no longer than `longest`."""
    return vector * min(1.0, longest / max(float(np.linalg.norm(vector)), 1e-12))


def _tip_for(wish: Wish, jaw_rad: float) -> np.ndarray:
    closing = closing_direction(azimuth(wish.centre_m), wish.pitch_rad, wish.roll_rad)
    return wish.centre_m - 0.5 * opening_m(jaw_rad) * closing


def _within_pace(goal_rad: np.ndarray, step_rad: np.ndarray, pace: Pace) -> np.ndarray:
    """Scales all joints alike, so that the tip keeps its path and no limit is passed."""
    longest = np.deg2rad(pace.joint_deg_s) * pace.period_s
    step_rad = step_rad * min(1.0, longest / max(np.abs(step_rad[:GRIPPER]).max(), 1e-12))
    moved_m = np.linalg.norm(tool_frame(goal_rad + step_rad)[:3, 3] - tool_frame(goal_rad)[:3, 3])
    return step_rad * min(1.0, pace.tip_m_s * pace.period_s / max(moved_m, 1e-12))
