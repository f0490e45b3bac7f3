"""Inverse kinematics: the joint angles that bring the gripper's tip to a place.

    >>> import numpy as np
    >>> there = reach(np.array([0.24, 0.05, 0.10]), pitch_rad=np.pi / 2)      # tip down, 10 cm up
    >>> there.ok, bool(there.error_m < 1e-4)
    (True, True)

An SO-101 has five joints for six wishes, so two of them are in its own words: `pitch_rad` is how far
the gripper points below the horizon (0 forward, pi/2 straight down) and `roll_rad` is the wrist's own
turn. The position comes first; pitch and roll are met as well as the position and the limits allow.

Method: Gauss-Newton with damping, two priorities (Nakamura 1987), and joint limits as an active set: a
joint that would pass its limit is put onto it and the others solve again for what it cannot give.
Clipping the finished answer instead moves the tip by centimetres, because wrist_flex saturates often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .joints import LOWER_RAD, UPPER_RAD
from .kinematics import CHAIN, TOOL_XYZ, link_frames

BODY = 5                                  # joints that move the tip; the sixth only opens the jaw
GOOD_ENOUGH_M = 1e-5                      # stop here: a hundred times finer than the servos' backlash
DEFAULT_TOLERANCE_M = 1e-3
LONGEST_STEP_RAD = 0.6                    # beyond this the linear model of a step means nothing
DAMPING = 1e-3                            # m: keeps steps finite where the arm is stretched out
# Lift, elbow and wrist turn about parallel axes, so their sum is the pitch; the roll is its own joint.
POSTURE_ROWS = np.array([[0.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
PAN_AXIS_X_M = CHAIN[0][2][0]
Inverse = Callable[[np.ndarray], np.ndarray]
TIP = np.array([*TOOL_XYZ, 1.0])          # the tip in the gripper's frame, homogeneous
# Knees to start from: (lift, elbow) in rad; forward and bent, upright, folded back.
KNEES = ((0.0, 0.6), (-0.8, 1.0), (0.9, -0.6), (-1.2, -0.6))


@dataclass(frozen=True)
class Reach:
    """What the solver found: angles (6,) rad, how far the tip stays from the wish (m), close enough?"""

    angle_rad: np.ndarray
    error_m: float
    ok: bool


def approach_pitch(angle_rad: np.ndarray) -> float:
    """How far the gripper points below the horizon (rad) at these joint angles (6,)."""
    return float(angle_rad[1] + angle_rad[2] + angle_rad[3])


def reach(position_m: np.ndarray, pitch_rad: float = np.pi / 2, roll_rad: float = 0.0,
          start_rad: np.ndarray | None = None, margin_rad: float = 0.0,
          tolerance_m: float = DEFAULT_TOLERANCE_M) -> Reach:
    """Joint angles that put the tip at `position_m` (3,), with pitch and roll as near as possible.

    Example:
        >>> reach(np.array([0.60, 0.0, 0.1])).ok           # 60 cm: too far for this arm
        False

    `start_rad` (6,) is where to begin (the present pose makes the answer continuous, and its jaw angle
    is kept); without it, or where it leads nowhere, a few bent poses are tried. `margin_rad` keeps the
    answer that far inside the joint limits. Never raises: `ok` says whether error_m <= tolerance_m.
    """
    wish = np.array([pitch_rad, roll_rad])
    limits = LOWER_RAD[:BODY] + margin_rad, UPPER_RAD[:BODY] - margin_rad
    best = None
    for start in _starts(position_m, wish, start_rad):
        body, error_m = _descend(np.clip(start, *limits), position_m, wish, limits)
        if best is None or error_m < best[1]:
            best = body, error_m
        if error_m <= tolerance_m:
            break
    jaw_rad = 0.0 if start_rad is None else start_rad[BODY]
    return Reach(np.append(best[0], jaw_rad), float(best[1]), bool(best[1] <= tolerance_m))


def _starts(position_m: np.ndarray, wish: np.ndarray, start_rad: np.ndarray | None):
    if start_rad is not None:
        yield np.array(start_rad[:BODY], dtype=float)
    ahead = -np.arctan2(position_m[1], position_m[0] - PAN_AXIS_X_M)      # pan turns clockwise
    behind = ahead - np.pi if ahead > 0 else ahead + np.pi                # reach over the shoulder
    for pan in (ahead, behind):
        for lift, elbow in KNEES:
            yield np.array([pan, lift, elbow, wish[0] - lift - elbow, wish[1]])


def _descend(body: np.ndarray, position_m: np.ndarray, wish: np.ndarray,
             limits: tuple[np.ndarray, np.ndarray], rounds: int = 30) -> tuple[np.ndarray, float]:
    best, best_error_m = body, np.inf
    stale = 0
    for _ in range(rounds):
        tip_m, jacobian = linearise(body)
        gap = position_m - tip_m                                          # (3,) m
        error_m = float(np.linalg.norm(gap))
        stale = 0 if error_m < 0.9 * best_error_m else stale + 1
        if error_m <= max(best_error_m, GOOD_ENOUGH_M):
            best, best_error_m = body, error_m
        posture = wish - POSTURE_ROWS @ body                               # (2,) rad
        step = _step_inside(body, gap, posture, jacobian, limits)
        body = np.clip(body + step, *limits)
        if stale >= 8 or (error_m < GOOD_ENOUGH_M and np.abs(step).max() < 1e-3):
            break
    return best, best_error_m


def linearise(body: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tip (3,) m and its Jacobian (3, 5) m/rad from one pass along the chain."""
    frames = link_frames(np.append(body, 0.0))
    moving = np.array([frames[child] for child, *_ in CHAIN[:BODY]])      # (5, 4, 4)
    tip_m = (frames["gripper"] @ TIP)[:3]
    (ax, ay, az), (rx, ry, rz) = moving[:, :3, 2].T, (tip_m - moving[:, :3, 3]).T
    return tip_m, np.array([ay * rz - az * ry, az * rx - ax * rz, ax * ry - ay * rx])


def _step_inside(body: np.ndarray, gap: np.ndarray, posture: np.ndarray, jacobian: np.ndarray,
                 limits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """One step (5,) rad that asks for as much of the posture as costs the position nothing."""
    for share in (1.0, 0.3, 0.0):
        step = bounded_step(body, gap, share * posture, jacobian, limits)
        missed_m = np.linalg.norm(gap - jacobian @ step)
        if missed_m < 0.1 * np.linalg.norm(gap) + GOOD_ENOUGH_M:
            break
    return step


def damped_inverse(matrix: np.ndarray, damping: float = DAMPING) -> np.ndarray:
    """Least squares that stays finite where `matrix` (m, n) loses rank -> (n, m)."""
    gram = matrix @ matrix.T + damping**2 * np.eye(len(matrix))
    return matrix.T @ np.linalg.inv(gram)


def _damped_posture(matrix: np.ndarray) -> np.ndarray:
    return damped_inverse(matrix, 0.03)


def bounded_step(body: np.ndarray, gap: np.ndarray, posture: np.ndarray, jacobian: np.ndarray,
                 limits: tuple[np.ndarray, np.ndarray], longest_rad: float = LONGEST_STEP_RAD,
                 inverses: tuple[Inverse, Inverse] = (damped_inverse, _damped_posture)) -> np.ndarray:
    """One step (5,) rad of the tip by `gap` (3,) m and, as far as that leaves it free, of pitch and roll (2,) rad.

    Joints that would pass a limit stop on it and the rest solve again. `inverses` are the damped ones for the
    position's matrix (m/rad) and for the posture's (rad/rad).
    """
    step, free = np.zeros(BODY), np.ones(BODY, dtype=bool)
    while free.any():
        fixed = np.where(free, 0.0, step)
        step = fixed.copy()
        step[free] = _two_priorities(jacobian[:, free], gap - jacobian @ fixed,
                                     POSTURE_ROWS[:, free], posture - POSTURE_ROWS @ fixed, inverses)
        step *= min(1.0, longest_rad / max(np.abs(step).max(), 1e-12))
        landing = np.clip(body + step, *limits)
        beyond = free & (np.abs(landing - body - step) > 1e-12)
        if not beyond.any():
            break
        step[beyond] = (landing - body)[beyond]
        free &= ~beyond
    return step


def _two_priorities(first: np.ndarray, first_gap: np.ndarray, second: np.ndarray, second_gap: np.ndarray,
                    inverses: tuple[Inverse, Inverse]) -> np.ndarray:
    """Least squares for the first wish; the second only in what the first leaves free."""
    back = inverses[0](first)
    step = back @ first_gap
    spare = np.eye(first.shape[1]) - back @ first
    return step + spare @ (inverses[1](second @ spare) @ (second_gap - second @ step))
