"""What the demonstrator wants next: for every skill one function from the truth to a wish.

    >>> import numpy as np
    >>> ease(-1.0), ease(0.5), ease(2.0)
    (0.0, 0.5, 1.0)

No function here remembers anything. Where the gripper should be follows from where things are, by
funnels: high above the table while it is out of place, lower the better it is placed. That makes a
missed grasp or a slipped cube need no special case, for the same function simply answers again; and it
makes the demonstrations a function of what a camera can see, which a policy can learn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smolkit.arm.joints import GRIPPER
from smolkit.sim.motion import Wish, azimuth, closing_direction, jaw_for, roll_across
from smolkit.sim.truth import Truth

JAW_OPEN_RAD = 0.6                # 61 mm between the tips: 18 mm of air on both sides of a cube
JAW_SQUEEZE_RAD = np.deg2rad(-7)  # asked for, never reached while a cube is between the fingers
JAW_PUSH_RAD = np.deg2rad(-6)    # two tips with a gap too narrow for the cube's corner to jam in
GRASP_Z_M = 0.013                 # of the grip's centre; the finger tips reach 6 mm lower
CARRY_Z_M = 0.072                 # of the grip's centre above a box: 2.5 cm of air over 3.5 cm walls
HELD_M = 0.016                    # a held cube's centre is no farther from the grip's centre


def ease(x: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)


def cube_yaw(pose: np.ndarray) -> float:
    """A cube's yaw (rad, modulo a quarter turn), whichever face it lies on."""
    level = int(np.argmin(np.abs(pose[2, :3])))
    return float(np.arctan2(pose[1, level], pose[0, level]))


def is_held(truth: Truth) -> bool:
    """The cube is between the fingers, and the jaw rests on it or is stopped by it."""
    near = np.linalg.norm(truth.centre_m - truth.cube_m) < HELD_M
    touching = truth.jaw_rad < jaw_for(truth.cube_edge_m) + np.deg2rad(3.0)
    stopped = truth.jaw_rad - truth.goal_rad[GRIPPER] > np.deg2rad(4.0)
    return bool(near and (touching or stopped))


def in_box(truth: Truth) -> bool:
    """The cube's centre is between the walls and below their top."""
    aside = np.abs(truth.cube_m - truth.place_m)[:2].max()
    return bool(aside < truth.place_half_m and truth.cube_m[2] < truth.place_wall_m)


def reach_marker(truth: Truth) -> Wish:
    """The closed finger tips at the marker."""
    closing = closing_direction(azimuth(truth.place_m), np.deg2rad(80), 0.0)
    return Wish(truth.place_m + 0.001 * closing, jaw_rad=np.deg2rad(-5), pitch_rad=np.deg2rad(80))


def pick_up(truth: Truth) -> Wish:
    """The cube, grasped and lifted a hand's breadth."""
    if not is_held(truth):
        return grasp(truth)
    return Wish(np.array([*truth.centre_m[:2], 0.11]), truth.goal_rad[4], JAW_SQUEEZE_RAD)


def put_in_box(truth: Truth) -> Wish:
    """The cube, grasped, carried over the walls and let go above the middle of the box."""
    if in_box(truth):
        return Wish(np.array([*truth.place_m[:2], CARRY_Z_M + 0.02]), 0.0, JAW_OPEN_RAD)
    aside_m = np.linalg.norm((truth.centre_m - truth.place_m)[:2])
    over_box = aside_m < 0.03 and truth.cube_m[2] > truth.place_wall_m
    return carry(truth, aside_m) if over_box or is_held(truth) else grasp(truth)


def carry(truth: Truth, aside_m: float) -> Wish:
    """Up first, then across; the jaw opens over the middle of the box."""
    now = truth.centre_m
    lifted = ease((now[2] - GRASP_Z_M - 0.008) / 0.035)
    across = now[:2] + lifted * (truth.place_m[:2] - now[:2])
    let_go = ease((0.022 - aside_m) / 0.008) if now[2] > truth.place_wall_m + 0.02 else 0.0
    jaw_rad = JAW_SQUEEZE_RAD + let_go * (JAW_OPEN_RAD - JAW_SQUEEZE_RAD)
    return Wish(np.array([*across, CARRY_Z_M]), 0.0, jaw_rad)


def grasp(truth: Truth) -> Wish:
    """Over the cube with an open jaw, down around it, and closed."""
    cube, now = truth.cube_m, truth.centre_m
    roll = roll_across(cube_yaw(truth.cube), cube, near_rad=0.5 * truth.goal_rad[4])
    aside_m, turn = np.linalg.norm((now - cube)[:2]), abs(roll - truth.angle_rad[4])
    around = aside_m < 0.016 and now[2] < cube[2] + 0.018
    narrow = 0.0 if around else max(0.0, 0.85 - truth.jaw_rad / JAW_OPEN_RAD)
    misfit_m = aside_m + 0.03 * turn + 0.05 * narrow
    wish = funnel(truth, np.array([*cube[:2], max(GRASP_Z_M, cube[2])]), misfit_m, roll)
    # Patient, not strict: the fingers straighten a cube by themselves, and a policy that is a little less exact
    # than its teacher would wait for ever above the cube for what the teacher insists on.
    settled = around and turn < 0.45 and now[2] < cube[2] + 0.011
    return replace(wish, jaw_rad=JAW_SQUEEZE_RAD if settled else JAW_OPEN_RAD)


def funnel(truth: Truth, goal_m: np.ndarray, misfit_m: float, roll: float) -> Wish:
    """High while out of place, lower as `misfit_m` shrinks; sideways only where it is high enough."""
    now = truth.centre_m
    height = goal_m[2] + truth.clear_m * ease((misfit_m - 0.010) / 0.04)
    free = 1.0 - ease((height - now[2] - 0.005) / 0.02)
    across = now[:2] + free * (goal_m[:2] - now[:2])
    return Wish(np.array([*across, height]), roll, JAW_OPEN_RAD)


def push_to_zone(truth: Truth) -> Wish:
    """Behind the cube, down, and forward; two parted finger tips keep the cube from turning away."""
    cube, zone, now = truth.cube_m, truth.place_m, truth.centre_m
    ahead = (zone - cube)[:2] / max(np.linalg.norm((zone - cube)[:2]), 1e-6)
    left = np.array([-ahead[1], ahead[0]])
    back_m, aside_m = float((cube - now)[:2] @ ahead), float((now - cube)[:2] @ left)
    roll = roll_across(np.arctan2(left[1], left[0]), cube, np.pi, 0.5 * truth.goal_rad[4])
    start = cube[:2] - 0.042 * ahead
    behind = back_m > 0.013
    off_m = abs(aside_m) if behind else np.linalg.norm(now[:2] - start)
    misfit_m = off_m + 0.02 * abs(roll - truth.angle_rad[4]) + max(0.0, back_m - 0.06)
    wish = funnel(truth, np.array([*start, GRASP_Z_M]), misfit_m, roll)
    if behind and misfit_m < 0.012 and now[2] < GRASP_Z_M + 0.010:
        onward = cube[:2] - 0.019 * ahead + min(0.03, np.linalg.norm((zone - cube)[:2])) * ahead
        wish = replace(wish, centre_m=np.array([*onward, GRASP_Z_M]), hurry=0.6)
    return replace(wish, jaw_rad=JAW_PUSH_RAD)
