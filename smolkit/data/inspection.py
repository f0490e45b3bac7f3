"""Is this recording worth learning from? Checks with a number each: pauses, lag, pace, pictures, coverage.

    >>> pose = np.repeat([[0.0] * 6, [9.0] * 6], [8, 2], axis=0)              # one move in ten frames
    >>> round(idle_share(pose, fps=10), 2)
    0.89
    >>> hand = np.cumsum(np.random.default_rng(0).normal(size=(200, 6)), axis=0)
    >>> round(lag_ms(hand[3:], hand[:-3], period_ms=100), -1)                 # done three frames after it was wished
    300.0
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from smolkit.arm.joints import JOINT_NAMES, LOWER_DEG, UPPER_DEG
from smolkit.data.reader import Arrays, Dataset
from smolkit.data.recorder import recorded_calibration
from smolkit.report import Check, Report
from smolkit.safety.limits import JOINT_DEG

SAME_PICTURE = 0.5                # mean difference of two pictures, of 255: below it nothing moved
STILL_DEG_S = 5.0                 # slower than this no joint visibly moves; a hand's tremor stays below it
MOST_IDLE = 0.30                  # of an episode; the shipped demonstrations have none, the one that hesitates 0.39
LONGEST_LAG_S = 1.0
LEAST_SPREAD = 4.0                # of first pictures, mean difference of 255: below it every scene is the same scene


def checks(arrays: Arrays) -> tuple[Check, ...]:
    """What must hold for any recording of an arm: range, motion, pace, living cameras."""
    state, action = arrays.columns["observation.state"], arrays.columns["action"]        # (N, 6), (N, 6)
    return (_range(action), _moving(state), _pace(arrays),
            *(_alive(name, frames) for name, frames in arrays.frames.items()))


def demonstrations(root: Path | str, least: int = 4) -> Report:
    """What a person's demonstrations must be besides, before a policy may learn from them."""
    with closing(Dataset(root)) as dataset:
        arrays, fps = dataset.to_arrays(), dataset.fps
    state, action = (_episodes(arrays, key) for key in ("observation.state", "action"))
    return Report("the demonstrations", (
        count(len(state), least), _worded(arrays.tasks), _steady_hands(state, fps), _leads(action, state, fps),
        _covered(arrays), _calibrated(Path(root)), *checks(arrays)))


def idle_share(state_deg: np.ndarray, fps: float) -> float:
    """Of the steps from frame to frame (N, 6), the share (0..1) in which no joint moved 5 deg/s or faster."""
    speed_deg_s = np.abs(np.diff(np.asarray(state_deg, float) * JOINT_DEG, axis=0)).max(axis=1) * fps
    return float((speed_deg_s < STILL_DEG_S).mean()) if len(speed_deg_s) else 1.0


def lag_ms(action_deg: np.ndarray, state_deg: np.ndarray, period_ms: float) -> float:
    """How long the state (N, 6) runs behind the action (N, 6): where their cross-correlation is greatest.

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


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    size = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / size) if size > 0 else float("nan")


def _episodes(arrays: Arrays, key: str) -> list[np.ndarray]:
    return np.split(arrays.columns[key], arrays.starts[1:-1])


def count(episodes: int, wanted: int) -> Check:
    """Are there so many episodes, at least?"""
    return Check("SK420", "demonstrations", episodes >= wanted, f"{wanted} episodes", f"{episodes} episodes",
                 "the recording was interrupted", "run it again: it goes on where it stopped")


def _worded(tasks: tuple[str, ...]) -> Check:
    short = [task for task in tasks if len(task.split()) < 3]
    return Check("SK425", "instruction", not short, "a sentence of three words or more",
                 f"{short[0]!r}" if short else f"{tasks[0]!r}",
                 "the text field still held its first word", "record with the sentence that you will say to the policy")


def _steady_hands(state: list[np.ndarray], fps: int) -> Check:
    idle = [idle_share(part, fps) for part in state]
    worst = int(np.argmax(idle))
    return Check("SK426", "no long pauses", idle[worst] <= MOST_IDLE, f"at most {MOST_IDLE:.0%} of an episode idle",
                 f"{idle[worst]:.0%} in episode {worst}", "somebody thought while recording: a policy learns to stand",
                 "discard that episode and show it again without a rest")


def _leads(action: list[np.ndarray], state: list[np.ndarray], fps: int) -> Check:
    lags = [lag_ms(wish, done, 1000 / fps) for wish, done in zip(action, state, strict=True)]
    least = float(np.nanmin(lags)) if np.isfinite(lags).any() else float("nan")
    return Check("SK427", "action leads the state", bool(least > 20), "more than 20 ms ahead",
                 f"{least:.0f} ms in the worst episode", "positions were recorded in place of goals",
                 "record what was commanded: the leader's pose, not the follower's")


def _covered(arrays: Arrays) -> Check:
    """Do the first pictures differ? Where the arm starts may always be the same, where the cube lies may not."""
    firsts = [frames[arrays.starts[:-1]].astype(float) for frames in arrays.frames.values()]
    apart = max((float(np.abs(np.diff(first, axis=0)).mean(axis=(1, 2, 3)).min()) for first in firsts
                 if len(first) > 1), default=0.0)
    return Check("SK428", "scenes that differ", apart > LEAST_SPREAD, f"first pictures {LEAST_SPREAD:g} of 255 apart",
                 f"{apart:.1f} for the two most alike in a row", "the cube was put back to the same place",
                 "move the cube, its angle and the light between episodes")


def _calibrated(root: Path) -> Check:
    found = recorded_calibration(root)
    return Check("SK429", "whose degrees these are", found is not None, "the arm's calibration in the dataset",
                 f"fingerprint {found.fingerprint}" if found else "none",
                 "another recorder made it", "keep the calibration file beside it; record with smolkit")


def _range(action_deg: np.ndarray) -> Check:
    outside = ((action_deg < LOWER_DEG - 1) | (action_deg > UPPER_DEG + 1)).any(axis=1).mean()
    return Check("SK421", "actions within the joints' limits", bool(outside == 0), "0 % outside",
                 f"{outside:.0%} outside", "degrees and radians, or two calibrations, were mixed",
                 "look at the units in meta/smolkit.json")


def _moving(state_deg: np.ndarray) -> Check:
    still = [name for name, std in zip(JOINT_NAMES, state_deg.std(axis=0), strict=True) if std < 0.5]
    return Check("SK422", "every joint moves", not still, "a spread of 0.5 deg or more",
                 f"still: {', '.join(still)}" if still else "all move",
                 "a loose cable, or a task that does not need the joint", "look at the joint's trace")


def _pace(arrays: Arrays) -> Check:
    if "captured_s" not in arrays.columns:
        return Check("SK423", "steady pace", True, "known moments", "nobody noted them: another recorder")
    same_episode = np.diff(arrays.columns["episode_index"].ravel()) == 0
    period_s = np.diff(arrays.columns["captured_s"][:, 0])[same_episode]             # the joints' moments
    worst_ms = float(np.abs(period_s - np.median(period_s)).max() * 1000)
    return Check("SK423", "steady pace", worst_ms < 20, "periods within 20 ms of each other",
                 f"worst {worst_ms:.1f} ms off", "the loop was slower than its clock", "lower the rate")


def _alive(name: str, frames: np.ndarray) -> Check:
    change = np.abs(np.diff(frames[:200].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    frozen = float((change < SAME_PICTURE).mean())
    return Check("SK424", f"{name.rsplit('.', 1)[-1]} camera alive", bool(frozen < 0.5 and frames.std() > 5),
                 "pictures that change, and not black", f"{frozen:.0%} of pictures repeat the one before",
                 "a covered lens, or a driver that repeats its last frame", "look at the contact sheet")
