"""What may be sent to the arm: one pure function from a wished goal to an admissible one.

    >>> import numpy as np
    >>> from smolkit.safety.profiles import profile
    >>> memory = begin(np.array([0, 0, 0, 0, 0, 50.0]))
    >>> verdict = limit(np.array([3, 0, 0, 0, 0, 50.0]), memory.goal_deg, 1 / 30, profile("standard"), memory)
    >>> verdict.reasons, round(float(verdict.goal_deg[0]), 2)          # from rest: 600 deg/s2 for 1/30 s
    (('speed',), 0.67)

The order: into the calibrated range; no faster than the joints may, and no faster at once; no further ahead
of the measured arm than it can follow; no faster than the tip may; and no part of the step below the table
or into the arm itself. Speed limits shorten a step and keep its direction, so a policy's path stays its
path; the jaw alone may fall behind. Where a step leads into something, the part of it that stays clear is
taken, or a part that slides past.

A limit that is broken already (a person put the arm there) forbids only to make it worse.
No state hides here: `Memory` goes in and comes out. Wished goals must be finite, (6,) (see `Envelope`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from smolkit.arm.joints import GRIPPER, LOWER_DEG, UPPER_DEG, to_radians

from . import geometry
from .profiles import Profile

JOINT_DEG = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.1])   # deg of the joint per unit of a border pose
FULL_RANGE_DEG = np.stack([LOWER_DEG, UPPER_DEG])      # (2, 6)
ROUNDING_M = 1e-9
CHANGED_DEG = 1e-6                                     # a smaller difference is rounding, not a limit
SAMPLE_RAD = np.deg2rad(1.5)                           # a path is looked at this densely: 12 mm at most
FRACTIONS = np.array([1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0])
WAIT_SHARES = np.linspace(0.0, 1.0, 9)
JAW_SHARES = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
# Ways past an obstacle: the whole step, without one joint, with one only, and turning in place.
_ONE = np.eye(6, dtype=bool)
_WAYS = np.concatenate([np.ones((1, 6), dtype=bool), ~_ONE, _ONE, [[1, 0, 0, 0, 1, 1]]]).astype(float)


@dataclass(frozen=True)
class Memory:
    """What the next decision must know: the last admitted goal, and the ramp if one is running."""

    goal_deg: np.ndarray           # (6,) before the first action: where the arm stands
    speed_deg_s: np.ndarray        # (6,) at which the goals moved last, degrees of each joint
    fresh: bool = True             # no action admitted yet
    ramp_left_s: float = 0.0       # time for which the first approach stays slow
    ramp_deg_s: float = 0.0        # how slow


@dataclass(frozen=True)
class Verdict:
    """What may be sent, why it differs from the wish, by how much at most, and what to remember."""

    goal_deg: np.ndarray           # (6,)
    reasons: tuple[str, ...]
    withheld_deg: float
    memory: Memory


def begin(present_deg: np.ndarray) -> Memory:
    """The memory of an arm that stands at this pose and has been sent nothing."""
    return Memory(np.array(present_deg, dtype=float), np.zeros(6))


def halt(memory: Memory) -> Memory:
    """The memory after a cycle in which the goal stayed: the next one starts from rest."""
    return replace(memory, speed_deg_s=np.zeros(6))


def inner_range(range_deg: np.ndarray, profile: Profile) -> np.ndarray:
    """A calibrated range (2, 6) -> the range of goals (2, 6), the margin inside it."""
    margin = profile.range_margin_deg / JOINT_DEG
    return np.stack([range_deg[0] + margin, range_deg[1] - margin])


def limit(goal_deg: np.ndarray, present_deg: np.ndarray, dt_s: float, profile: Profile, memory: Memory,
          range_deg: np.ndarray = FULL_RANGE_DEG) -> Verdict:
    """The admissible goal nearest to `goal_deg` along a safe step from the last one.

    goal_deg, present_deg (6,): border poses; dt_s: time since the last action; range_deg (2, 6): calibrated.
    """
    rested = memory.fresh or dt_s > profile.pause_s
    period_s = min(dt_s, profile.first_period_s if rested else profile.longest_period_s) if dt_s > 0 else 0.0
    lowest, highest = inner_range(range_deg, profile)
    wish = np.clip(goal_deg, lowest, highest)
    memory = _ramp(memory if dt_s <= profile.longest_period_s else halt(memory), wish, dt_s, profile)
    whole = wish - memory.goal_deg
    paced = _pace(whole, period_s, profile, memory)
    near = _not_ahead(paced, period_s, memory, present_deg, (lowest, highest), profile)
    near = _waited_for(near, present_deg, profile, memory)
    step, blocked = _clear(near, period_s, profile, memory)
    causes = (("range", _differ(wish, goal_deg)), (_pace_name(memory, period_s), _differ(paced, whole)),
              ("lead", _differ(near, paced)))
    reasons = (*(name for name, hit in causes if hit), *blocked)
    return _verdict(goal_deg, step, reasons, period_s, memory, (lowest, highest))


def _verdict(goal_deg: np.ndarray, step: np.ndarray, reasons: tuple[str, ...], period_s: float, memory: Memory,
             bounds: tuple[np.ndarray, np.ndarray]) -> Verdict:
    last = memory.goal_deg
    admitted = np.clip(last + step, np.minimum(bounds[0], last), np.maximum(bounds[1], last))
    withheld = float((np.abs(goal_deg - admitted) * JOINT_DEG).max())
    speed_deg_s = (admitted - last) * JOINT_DEG / period_s if period_s else memory.speed_deg_s
    return Verdict(admitted, reasons, withheld,
                   replace(memory, goal_deg=admitted, speed_deg_s=speed_deg_s, fresh=False))


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() > CHANGED_DEG)


def _pace_name(memory: Memory, period_s: float) -> str:
    if period_s == 0.0:
        return "time"
    return "ramp" if memory.ramp_left_s > 0 else "speed"


def _ramp(memory: Memory, wish: np.ndarray, dt_s: float, profile: Profile) -> Memory:
    """Starts the ramp at a first action far away, and lets it run out.

    It lasts as long as the jump takes at the ramp's speed, so a policy that always asks for more than the
    arm has reached yet is not held slow for ever.
    """
    far_deg = float((np.abs(wish - memory.goal_deg) * JOINT_DEG).max())
    if memory.fresh or dt_s > profile.pause_s:
        if far_deg <= profile.ramp_jump_deg:
            return replace(memory, ramp_left_s=0.0)
        slow = min(profile.ramp_speed_deg_s, profile.joint_speed_deg_s, far_deg / profile.ramp_s)
        return replace(memory, ramp_left_s=far_deg / slow, ramp_deg_s=slow)
    if memory.ramp_left_s > 0 and dt_s > 0:
        return replace(memory, ramp_left_s=memory.ramp_left_s - min(dt_s, profile.longest_period_s))
    return memory


def _furthest(step: np.ndarray, period_s: float, profile: Profile, memory: Memory) -> np.ndarray:
    """How far each joint (6,) may go in the direction of the step, border units in this period.

    Speed grows by the profile's acceleration only, or a servo at its torque cap falls behind its goal and
    then catches up faster than any goal moved. Slower is always allowed: a stop must never wait.
    """
    ceiling_deg_s = memory.ramp_deg_s if memory.ramp_left_s > 0 else profile.joint_speed_deg_s
    along_deg_s = np.maximum(memory.speed_deg_s * np.sign(step), 0.0)
    speed_deg_s = np.minimum(ceiling_deg_s, along_deg_s + profile.acceleration_deg_s2 * period_s)
    return speed_deg_s * period_s / JOINT_DEG


def _pace(step: np.ndarray, period_s: float, profile: Profile, memory: Memory) -> np.ndarray:
    """Shortens the five body joints alike, which keeps their path, and the gripper by itself."""
    share = _furthest(step, period_s, profile, memory) / np.maximum(np.abs(step), 1e-12)
    return step * np.append(np.full(GRIPPER, min(1.0, share[:GRIPPER].min())), min(1.0, share[GRIPPER]))


def _not_ahead(step: np.ndarray, period_s: float, memory: Memory, present_deg: np.ndarray,
               bounds: tuple[np.ndarray, np.ndarray], profile: Profile) -> np.ndarray:
    """Joint by joint: no goal further from the measured arm than the lead; where one is, it comes back."""
    lead, last = profile.max_lead_deg / JOINT_DEG, memory.goal_deg
    near = np.clip(last + step, present_deg - lead, present_deg + lead)
    back = np.clip(near, *bounds) - last
    furthest = _furthest(back, period_s, profile, memory)
    back = np.clip(back, -furthest, furthest)
    return np.where(near == last + step, step, back)


def _waited_for(step: np.ndarray, present_deg: np.ndarray, profile: Profile, memory: Memory) -> np.ndarray:
    """The path waits for the arm: no further than its tip may lag, or than it lags already.

    Joints whose ways cancel at the tip move it fast when one of them falls behind, or goes on alone after a
    turn: so all five wait together. The jaw's goal is ahead of a held cube for good, and does not count.
    """
    body = np.where(np.arange(6) == GRIPPER, 0.0, step)
    arm = np.where(np.arange(6) == GRIPPER, memory.goal_deg, present_deg)
    ways = memory.goal_deg + WAIT_SHARES[:, None] * body                   # (S, 6)
    tips = geometry.tips(geometry.frames(to_radians(np.concatenate([arm[None], ways]))))
    lag_m = np.linalg.norm(tips[1:] - tips[0], axis=-1).max(-1)            # (S,)
    furthest_m = max(profile.wait_m + profile.wait_s * profile.tip_speed_m_s, lag_m[0] + ROUNDING_M)
    fine = np.logical_and.accumulate(lag_m <= furthest_m)                  # the first one always is
    return WAIT_SHARES[fine.sum() - 1] * body + (step - body)


@dataclass(frozen=True)
class _Look:
    """Steps (C, 6) looked at in (S,) fractions: what is clear, and how far the tips come."""

    table: np.ndarray              # (C, S) bool
    apart: np.ndarray              # (C, S) bool
    tip_m: np.ndarray              # (C, S) longest way of a tip from the start


def _look(last_rad: np.ndarray, steps_rad: np.ndarray, fractions: np.ndarray, profile: Profile) -> _Look:
    count, samples = len(steps_rad), len(fractions)
    along = (steps_rad[:, None, :] * fractions[:, None]).reshape(-1, 6)
    at = geometry.frames(last_rad + np.concatenate([np.zeros((1, 6)), along]))
    heights, gaps, tips = geometry.table_heights(at), geometry.gaps(at), geometry.tips(at)
    need_m = np.where(geometry.FINGERS, profile.finger_table_m, profile.table_m)
    table = (heights[1:] >= _bar(need_m, heights[0])).all(-1)
    apart = (gaps[1:] >= _bar(profile.apart_m, gaps[0])).all(-1)
    moved = tips[1:] - tips[0]
    tip_m = np.sqrt((moved * moved).sum(-1)).max(-1)                       # (C * S,)
    return _Look(*(x.reshape(count, samples) for x in (table, apart, tip_m)))


def _bar(need_m: np.ndarray | float, start_m: np.ndarray) -> np.ndarray:
    """What must be kept; where the start is below it already, worse is forbidden and better is not."""
    return np.where(start_m >= need_m, need_m, start_m - ROUNDING_M)


def _clear(step: np.ndarray, period_s: float, profile: Profile,
           memory: Memory) -> tuple[np.ndarray, tuple[str, ...]]:
    """The step with the tip's speed limit, stopped before or led past the table and the arm itself."""
    last_rad, step_rad = to_radians(memory.goal_deg), np.deg2rad(step * JOINT_DEG)
    if not np.any(step_rad):
        return step, ()
    ceiling_m_s = profile.ramp_tip_speed_m_s if memory.ramp_left_s > 0 else profile.tip_speed_m_s
    furthest_m = min(ceiling_m_s, profile.tip_speed_m_s) * period_s
    share = _within_tip_speed(last_rad, step_rad, furthest_m)              # (6,)
    samples = int(np.clip(np.ceil(np.abs(share * step_rad).max() / SAMPLE_RAD), 1, 24))
    look = _look(last_rad, (share * step_rad)[None], np.arange(1, samples + 1) / samples, profile)
    why = ("tip speed",) if share.min() < 1.0 else ()
    if look.table.all() and look.apart.all():
        return step * share, why
    blocked = (*(() if look.table.all() else ("table",)), *(() if look.apart.all() else ("self-collision",)))
    return _way_past(last_rad, step * share, furthest_m, profile), why + blocked


def _tips_move_m(last_rad: np.ndarray, steps_rad: np.ndarray) -> np.ndarray:
    """Steps (C, 6) rad -> the furthest way of a tip (C,) m."""
    tips = geometry.tips(geometry.frames(last_rad + np.concatenate([np.zeros((1, 6)), steps_rad])))
    moved = tips[1:] - tips[0]
    return np.sqrt((moved * moved).sum(-1)).max(-1)


def _within_tip_speed(last_rad: np.ndarray, step_rad: np.ndarray, furthest_m: float) -> np.ndarray:
    """The shares (6,) of the step at which no tip moves further than that.

    The body keeps its path and comes first; the jaw opens and closes with what speed is left for its end.
    """
    if _tips_move_m(last_rad, step_rad[None])[0] <= furthest_m:
        return np.ones(6)
    body = np.where(np.arange(6) == GRIPPER, 0.0, 1.0)
    for _ in range(6):             # tips move on arcs: a first shortening can miss by a percent
        over = _tips_move_m(last_rad, (body * step_rad)[None])[0] / furthest_m
        if over <= 1.0:
            break
        body *= 0.9999 / over
    else:
        return np.zeros(6)
    shares = body + np.outer(JAW_SHARES, np.arange(6) == GRIPPER)          # (5, 6)
    fits = _tips_move_m(last_rad, shares * step_rad) <= furthest_m
    fits[-1] = True                # jaw at rest: measured above, and rounding may see it otherwise here
    return shares[fits.argmax()]


def _way_past(last_rad: np.ndarray, step: np.ndarray, furthest_m: float, profile: Profile) -> np.ndarray:
    """Of all ways that `_WAYS` allows, the longest clear piece."""
    steps = _WAYS * step                                                   # (C, 6) border units
    look = _look(last_rad, np.deg2rad(steps * JOINT_DEG), FRACTIONS, profile)
    fine = np.logical_and.accumulate(look.table & look.apart & (look.tip_m <= furthest_m), axis=1)
    reach = np.where(fine, FRACTIONS, 0.0).max(1)                          # (C,) largest clear fraction
    best = int((reach * np.linalg.norm(steps * JOINT_DEG, axis=1)).argmax())
    return reach[best] * steps[best]
