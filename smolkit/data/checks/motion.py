"""What the joints of a recording tell: pauses, lag, offset, tremor, jumps, dead servos, a gripper that stays open.

    >>> pose = np.repeat([[0.0] * 6, [9.0] * 6], [8, 2], axis=0)              # one move in ten frames
    >>> round(idle_share(pose, fps=10), 2)
    0.89
    >>> hand = np.cumsum(np.random.default_rng(0).normal(size=(200, 6)), axis=0)
    >>> round(lag_ms(hand[3:], hand[:-3], period_ms=100), -1)                 # done three frames after it was wished
    300.0

"Real" below: 50 episodes of an SO-101 led by hand at 30 Hz (shared/real/so101_pick_place_tape). "Sim": recordings of
the scripted demonstrator at 10 Hz. `benchmarks/sense.py` counts the false alarms and what was missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from smolkit.arm.joints import LOWER_DEG, UPPER_DEG
from smolkit.data.checks import pictures
from smolkit.data.checks.evidence import Evidence, Finding
from smolkit.report import Check
from smolkit.safety.limits import JOINT_DEG

STILL_DEG_S = 5.0                 # slower than this no joint visibly moves; a hand's tremor stays below it
MOST_IDLE = 0.30                  # of an episode: more is worth a look. Sim has none, the one that hesitates 0.39
IDLE = 0.50                       # real: 0.15 to 0.41, most of it before and after the task
LONGEST_PAUSE_S = 2.0             # between two moves; real: 1.2 at most
LONGEST_LAG_S = 1.0
LEAST_LAG_MS, MOST_LAG_MS = 20.0, 300.0       # real 122 to 137, sim 120 to 127; over 300 a hand overshoots
OFFSET_DEG = 8.0                  # real: 1.3 at most; sim 6.2 where it pushes; one tooth of a horn is 17.1
DEAD_SHARE, STILL_DEG = 1e-3, 0.5                  # of a joint's 200 deg: its statistics would be noise
SHAKY = 2.0                       # third over first differences: real 0.19 to 0.36, sim 0.5 to 1.6, noise 3.2
FAST_DEG_S, JUMP = 600.0, 5.0     # an STS3215 turns 270 to 360; real 251, led by hand 310; and 5 times the usual
NAMED = 8                         # episodes in a check's line
GRASPS = ("pick", "grasp", "grab", "place", "put", "take", "lift", "hold", "stack", "move")


def idle_share(state_deg: np.ndarray, fps: float) -> float:
    """Of the steps from frame to frame (N, D), the share (0..1) in which no joint moved 5 deg/s or faster."""
    still = _still(state_deg, fps)
    return float(still.mean()) if len(still) else 1.0


def lag_ms(action_deg: np.ndarray, state_deg: np.ndarray, period_ms: float) -> float:
    """How long the state (N, D) runs behind the action (N, D): where their cross-correlation is greatest.

    nan where nothing moves. The peak is found between frames, by the parabola through its three highest points.
    """
    best = correlations(action_deg, state_deg, round(1000 * LONGEST_LAG_S / period_ms))
    if not np.isfinite(best).all():
        return float("nan")
    top = int(best.argmax())
    if 0 < top < len(best) - 1:
        left, peak, right = best[top - 1:top + 2]
        bend = left - 2 * peak + right
        return float(period_ms * (top + (0.5 * (left - right) / bend if bend < 0 else 0.0)))
    return float(period_ms * top)


def correlations(action_deg: np.ndarray, state_deg: np.ndarray, longest: int) -> np.ndarray:
    """For each shift 0..longest (frames) how alike action and later state are: (longest + 1,), 1 is the same."""
    action, state = np.asarray(action_deg, float), np.asarray(state_deg, float)
    longest = min(longest, len(action) // 2)
    return np.array([_alike(action[:len(action) - shift], state[shift:]) for shift in range(longest + 1)])


def longest_pause(state_deg: np.ndarray, fps: float) -> tuple[float, int]:
    """(seconds, first row) of the longest rest between two moves; what lies before and after the task is none."""
    moving = np.flatnonzero(~_still(state_deg, fps))
    gaps = np.diff(moving) - 1
    return (float(gaps.max() / fps), int(moving[gaps.argmax()]) + 1) if len(gaps) else (0.0, 0)


def within_limits(e: Evidence) -> Iterator[Finding]:
    """SK421."""
    if not e.is_so101 or not e.action:
        return
    low, high = (LOWER_DEG - 1, UPPER_DEG + 1) if e.unit.name.startswith("deg") else (-100.5, 100.5)
    share = np.array([((part < low) | (part > high)).any(axis=1).mean() for part in e.action])
    yield _finding(e, "SK421", "actions within the joints' limits", share, share > 0, "0 % outside",
                   f"{share.max():.0%} outside", "degrees and radians, or two calibrations, were mixed",
                   "look at the units in meta/smolkit.json, then drop these episodes")


def every_joint_moves(e: Evidence) -> Iterator[Finding]:
    """SK422. A joint that only one of action and state moves is a dead servo, or was not recorded."""
    if not e.state:
        return
    spread = np.concatenate(e.state).std(axis=0)                                               # (D,)
    asked = np.concatenate(e.action).std(axis=0) if e.action else spread
    dead = (spread < DEAD_SHARE * 200) | ((spread < STILL_DEG) & (asked > 4 * STILL_DEG))
    quiet = (spread < STILL_DEG) & ~dead
    names = ", ".join(name for name, still in zip(e.names, dead | quiet, strict=True) if still)
    draw = partial(pictures.joints, e, 0, np.flatnonzero(dead))
    yield Finding(Check("SK422", "every joint moves", not dead.any(), f"a spread of {STILL_DEG} deg or more",
                        f"still: {names}" if names else "all move",
                        "a loose cable, or a task that does not need the joint: its statistics are noise then",
                        "look at the joint's trace; leave it out, or show it moving"),
                  remark=bool(quiet.any() and not dead.any()), draw=draw,
                  alt=f"Joints of an episode over time; still: {names or 'none'}")
    yield from _stuck(e)


def _stuck(e: Evidence) -> Iterator[Finding]:
    """A state that stays bit for bit the same while the action moves: the bus was silent."""
    if not e.action:
        return
    longest = np.zeros(len(e))
    for place, (state, action) in enumerate(zip(e.state, e.action, strict=True)):
        same = (np.diff(state, axis=0) == 0).all(axis=1) & (np.abs(np.diff(action, axis=0)).max(axis=1) > 0.3)
        longest[place] = _longest_run(same) / e.fps
    yield _finding(e, "SK488", "the measured state is fresh", longest, longest > 0.5,
                   "0.5 s at most of equal rows while the action moves", f"{longest.max():.1f} s",
                   "the servos did not answer, and the last reading was recorded again and again",
                   "check the bus and its supply (`smolkit doctor PORT`); drop these episodes")


def no_pauses(e: Evidence) -> Iterator[Finding]:
    """SK426."""
    if not e.state:
        return
    idle = np.array([idle_share(part, e.fps) for part in e.state])
    pause = np.array([longest_pause(part, e.fps)[0] for part in e.state])
    bad = (idle > IDLE) | (pause >= LONGEST_PAUSE_S)
    worst = int(np.argmax(bad * 10 + idle))
    yield _finding(e, "SK426", "no long pauses", bad * 10 + idle, bad,
                   f"at most {IDLE:.0%} of an episode idle, no pause of {LONGEST_PAUSE_S:.0f} s in the middle",
                   f"{idle.mean():.0%} idle; {idle[worst]:.0%} in episode {e.episodes[worst]}, where the longest pause "
                   f"takes {pause[worst]:.1f} s", "somebody thought while recording: a policy learns to stand",
                   "discard these episodes and show them again without a rest; trim rests at their ends",
                   remark=bool(idle.mean() > MOST_IDLE), draw=partial(pictures.idle, e, worst))


def leads(e: Evidence) -> Iterator[Finding]:
    """SK427: how far the action is ahead of the state."""
    if not e.action:
        return
    lags = _lags(e)
    if not np.isfinite(lags).any():
        return
    same = np.array([np.mean(wish == done) for wish, done in zip(e.action, e.state, strict=True)])          # (E,)
    told = 500 / e.fps <= LEAST_LAG_MS             # less than half a frame cannot be told from nothing
    early = (lags < LEAST_LAG_MS) & (told | (same > 0.9))
    next_state = np.concatenate([part[1:] for part in e.state])
    shifted = np.mean(np.concatenate([part[:-1] for part in e.action]) == next_state)
    bad = early | (lags > MOST_LAG_MS)
    found = (f"the same numbers in {same.mean():.0%} of cells" if same.mean() > 0.9 else
             f"{np.nanmedian(lags):.0f} ms; {np.nanmin(lags):.0f} to {np.nanmax(lags):.0f}")
    yield _finding(e, "SK427", "action leads the state", np.nan_to_num(np.abs(lags - np.nanmedian(lags))), bad,
                   (f"more than {LEAST_LAG_MS:.0f}" if told else "by other numbers than its own, 0")
                   + f" to {MOST_LAG_MS:.0f} ms ahead",
                   found + (": the action is the next state" if shifted > 0.9 else ""),
                   "positions were recorded in place of goals" if early.any() else
                   "a slow loop, lost packets, or a follower without force",
                   "record what was commanded: the leader's pose, not the follower's",
                   remark=bool(shifted > 0.9 or np.nanmedian(lags) < LEAST_LAG_MS),
                   draw=partial(pictures.lag, e, int(np.nanargmax(bad * 1e4 + lags))))


def no_offset(e: Evidence) -> Iterator[Finding]:
    """SK475: where action and state should agree, once the lag is taken out, they do."""
    if not e.action or not e.body:
        return
    lags, body = np.nan_to_num(_lags(e)), e.body
    gap = np.array([_gap(wish[:, body], done[:, body], round(lag * e.fps / 1000))
                    for wish, done, lag in zip(e.action, e.state, lags, strict=True)])          # (E, body)
    worst = np.abs(gap).max(axis=1)
    joint = int(np.abs(gap[worst.argmax()]).argmax())
    yield _finding(e, "SK475", "action and state mean the same degrees", worst, worst > OFFSET_DEG,
                   f"under {OFFSET_DEG:.0f} deg apart at rest",
                   f"{gap[worst.argmax(), joint]:+.1f} deg at {e.names[body[joint]]}",
                   "leader and follower were calibrated in different poses, or the joint cannot carry its load",
                   "calibrate both arms again, compare them side by side (smolkit.widgets.mirror), record anew",
                   draw=partial(pictures.offset, e, gap))


def gripper_closes(e: Evidence) -> Iterator[Finding]:
    """SK476."""
    values = e.action or e.state
    if not values or not e.grippers:
        return
    reach = np.array([np.ptp(part[:, e.grippers], axis=0).max() for part in values])            # (E,) deg or %
    usual, wanted = float(np.median(reach)), any(word in " ".join(e.tasks).lower().split() for word in GRASPS)
    bad = reach < 5 if usual < 5 and wanted else (reach < 0.25 * usual) & (usual >= 5)
    never = " and ".join(sorted({e.names[i] for i in e.grippers}))
    yield _finding(e, "SK476", "the gripper closes", -reach, bad, "a move of the gripper in every episode",
                   f"{bad.sum()} of {len(e)} episodes without" if bad.any() else f"{usual:.0f} of 100 in the median",
                   "the grasp failed and the episode was kept, or the gripper's motor or calibration is off",
                   "drop these episodes; sweep the gripper and calibrate it again",
                   remark=usual < 5 and not wanted,
                   draw=partial(pictures.joints, e, int(reach.argmin()), e.grippers, f"{never} does not close"))


def smooth(e: Evidence) -> Iterator[Finding]:
    """SK484: how much of a motion reverses from frame to frame."""
    values = e.action or e.state
    if not values:
        return
    shake = np.array([_shake(part[:, e.body or slice(None)]) for part in values])
    yield _finding(e, "SK484", "a calm hand", shake, shake > SHAKY, f"jerk under {SHAKY} of a step (noise: 3.2)",
                   f"{np.median(shake):.2f}; {shake.max():.2f} in episode {e.episodes[int(shake.argmax())]}",
                   "lost packets, a worn gear, a trembling leader, or keys in place of a hand",
                   "look at the trace; show it again with the leader held loosely",
                   draw=partial(pictures.joints, e, int(shake.argmax())))


def no_jumps(e: Evidence) -> Iterator[Finding]:
    """SK485: steps that are faster than a servo can turn, or far faster than this arm ever does."""
    if not e.state or max(map(len, e.state)) < 2:
        return
    steps = [np.abs(np.diff(part, axis=0)) * e.fps for part in e.state]
    usual = np.percentile(np.concatenate(steps), 99, axis=0)                                   # (D,) deg/s
    bad_rows = [((step > FAST_DEG_S) | ((step > FAST_DEG_S / 2) & (step > JUMP * usual))).any(axis=1) for step in steps]
    fastest = np.array([step.max(initial=0.0) for step in steps])
    bad = np.array([rows.any() for rows in bad_rows])
    worst = int(np.argmax(bad * 1e6 + fastest))
    yield _finding(e, "SK485", "no faster than the arm", bad * 1e6 + fastest, bad,
                   f"up to {FAST_DEG_S:.0f} deg/s; an SO-101 turns 270 to 360", f"{fastest[worst]:.0f} deg/s",
                   "rows are missing, a servo's reading jumped, or its zero is at the seam where 4095 turns to 0",
                   "look at the row; drop the episode, or calibrate so that the seam is out of reach",
                   draw=partial(pictures.joints, e, worst, None, f"{fastest[worst]:.0f} deg/s in one frame"))


def steady_pace(e: Evidence) -> Iterator[Finding]:
    """SK423: the real moments, where somebody noted them."""
    if not e.captured:
        yield Finding(Check("SK423", "steady pace", True, "known moments", "nobody noted them: another recorder",
                            "LeRobot's `timestamp` is a count divided by fps, whatever the loop did",
                            "record with smolkit, which notes when each row was caught"), remark=True)
        return
    periods = [np.diff(part) * 1000 for part in e.captured]                                    # ms
    usual = float(np.median(np.concatenate(periods))) if sum(map(len, periods)) else 1000 / e.fps
    off = np.array([np.abs(part - usual).max(initial=0.0) for part in periods])
    missed = sum(int((part > 1.5 * usual).sum()) for part in periods)
    rate_off = abs(usual * e.fps / 1000 - 1)
    bad = (off >= 20) | (rate_off > 0.1)
    yield _finding(e, "SK423", "steady pace", off, bad, f"periods of {1000 / e.fps:.0f} ms, within 20 ms",
                   f"{usual:.0f} ms, worst {off.max():.1f} ms off" + (f"; {missed} gaps of a row and more" if missed
                                                                      else ""),
                   "the loop was slower than its clock", "lower the rate; close other programs",
                   draw=partial(pictures.joints, e, int(off.argmax())) if e.state else None)


def _finding(e: Evidence, code: str, name: str, order: np.ndarray, bad: np.ndarray, expected: str, found: str,
             cause: str, next_step: str, **more) -> Finding:
    """Red where an episode is bad; they are named, the worst (greatest `order`) first."""
    places = [int(place) for place in np.argsort(-order, kind="stable") if bad[place]]
    numbers = e.number(places)
    named = ", ".join(map(str, numbers[:NAMED])) + ", ..." * (len(numbers) > NAMED)
    where = f" (episode{'s' * (len(numbers) > 1)} {named})"
    check = Check(code, name, not places, expected, found + where * bool(places), cause, next_step)
    return Finding(check, numbers, more.pop("remark", False) and not places, more.get("draw"),
                   f"{name}: {check.found}")


def _still(state_deg: np.ndarray, fps: float) -> np.ndarray:
    state = np.asarray(state_deg, float)
    scale = JOINT_DEG if state.shape[1] == len(JOINT_DEG) else 1.0
    return np.abs(np.diff(state * scale, axis=0)).max(axis=1, initial=0.0) * fps < STILL_DEG_S


def _lags(e: Evidence) -> np.ndarray:
    """(E,) ms; nan where nothing moves, or the action is no goal of these joints (a step, a speed)."""
    return np.array([lag_ms(wish, done, 1000 / e.fps) if correlations(wish, done, e.fps).max() > 0.5 else np.nan
                     for wish, done in zip(e.action, e.state, strict=True)])


def _gap(action: np.ndarray, state: np.ndarray, lag: int) -> np.ndarray:
    """Median of action minus the state that follows it, (D,)."""
    return np.median(action[:len(action) - lag] - state[lag:], axis=0)


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    size = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / size) if size > 0 else float("nan")


def _shake(values: np.ndarray) -> float:
    if len(values) < 5:
        return 0.0
    step, jerk = (np.sqrt((np.diff(values, order, axis=0)**2).mean()) for order in (1, 3))
    return float(jerk / step) if step > 0.05 else 0.0          # a resolution's last digit is no tremor


def _longest_run(flags: Sequence[bool]) -> int:
    ends = np.flatnonzero(~np.append(flags, False))
    return int(np.diff(np.concatenate([[-1], ends])).max() - 1)
