"""Checks for the exercises of `notebooks/03_teleop_recording.ipynb`: one line of text each, never an exception.

    >>> print(check_lag(lambda action, state, period_ms: None))
    Exercise 3.2: not attempted yet
    >>> print(check_idle(lambda state, fps: 37.5))
    Exercise 3.3: not yet. A share lies between 0 and 1; you give 37.5. Divide by 100?

The bug hunt's check, 3.4, lives in `teleop_hunt`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.checks.motion import idle_share, lag_ms
from smolkit.data.checks.sense import demonstrations
from smolkit.lessons.grammar import Exercise, is_number
from smolkit.lessons.teleop_death import Death
from smolkit.report import SmolkitError

FATES = ("goes on to its goal", "falls at once", "stands, then parks")
LEAST_EPISODES = 4
SHARE_NEAR = 0.002                                 # of 3.3: a sum over N - 1 steps is not one over N frames


def check_prediction(prediction: Any) -> str:
    """Exercise 3.1: what an arm does when its notebook is killed, and when; any honest guess passes."""
    exercise = Exercise("3.1")
    if unfilled := exercise.unfilled(prediction, ("the arm", "stands after (s)", "limp after (s)")):
        return unfilled
    if prediction["the arm"] not in FATES:
        return exercise.not_yet(f"For the arm, one of: {'; '.join(FATES)}")
    times = [prediction["stands after (s)"], prediction["limp after (s)"]]
    if not all(is_number(time_s) and 0 <= time_s <= 600 for time_s in times):
        return exercise.not_yet("Two times in seconds, please, between 0 and 600")
    return exercise.passed("Keep it: the measurement will be compared with it")


def compare_prediction(prediction: Any, death: Death) -> str:
    """The guess beside what the guardian's log says."""
    if "pass" not in check_prediction(prediction):
        return "No prediction was made, so nothing can surprise you. Exercise 3.1 is a few cells up."
    fate = "as you said" if prediction["the arm"] == FATES[2] else f"you said: it {prediction['the arm']}"
    return (f"It stood, then parked ({fate}). It stood after {death.stands_after_s:.2f} s, you said "
            f"{prediction['stands after (s)']:g}; limp after {death.limp_after_s:.1f} s, you said "
            f"{prediction['limp after (s)']:g}.")


def check_lag(lag_ms: Callable[[np.ndarray, np.ndarray, float], float | None]) -> str:
    """Exercise 3.2: by how much the state runs behind the action, in ms, found by shifting one against the other."""
    cases = [(*_hand_and_follower(frames), period_ms)
             for frames, period_ms in ((3, 100 / 3), (0, 100 / 3), (2, 100.0), (6, 20.0))]
    said = Exercise("3.2").judge(lag_ms, cases, _wrong_lag, "A policy learns this lead from your recording")
    return said + (". Is action[:-shift] empty? It is where shift is 0" if "raised ValueError" in said else "")


def _wrong_lag(given: Any, action: np.ndarray, state: np.ndarray, period_ms: float) -> str:
    if not is_number(given):
        return f"One number in ms, please, not {type(given).__name__}"
    frames = round(lag_ms(action, state, period_ms=1))
    right = frames * period_ms
    return "" if abs(given - right) <= 0.5 * period_ms else (
        f"A follower {frames} frames of {period_ms:.1f} ms behind: you give {given:.0f} ms, it is {right:.0f}. "
        f"{_lag_hint(float(given), frames, period_ms)}")


def _hand_and_follower(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each: a smooth hand, and one that does the same later, with a zero elsewhere and a little noise."""
    rng = np.random.default_rng(frames)
    hand = np.convolve(np.cumsum(rng.normal(size=260)), np.ones(9) / 9, mode="valid")             # deg
    shown = hand[20:220]
    return shown, hand[20 - frames:220 - frames] + 40 + rng.normal(0, 0.05, 200)


def _lag_hint(given: float, frames: int, period_ms: float) -> str:
    if abs(given + frames * period_ms) < 0.5 * period_ms:
        return "The sign is turned round: the state comes later, and that is positive."
    if frames and abs(given - frames) < 0.5:
        return "That is frames; how many ms is one?"
    if frames and abs(given - frames * period_ms / 1000) < 0.01:
        return "Those are seconds."
    return ("For each shift, compare action[:len(action) - shift] with state[shift:], each less its own mean: the two "
            "may stand on different zeros.")


def check_idle(idle: Callable[[np.ndarray, float], float | None]) -> str:
    """Exercise 3.3: the share of steps in which no joint moved 5 deg/s or faster."""
    return Exercise("3.3").judge(idle, _idle_cases(), _wrong_idle,
                                 "Above 0.3 show it again: who learns from pauses, pauses")


def _idle_cases() -> list[tuple[np.ndarray, float]]:
    """(state (101, 6), fps): stretches of one speed each, chosen so that every usual mistake gives another share."""
    stretches = ((20, ()), (16, ((2, 3.6),)), (9, ((2, -3.6),)), (12, ((0, 0.4), (3, 0.4))), (7, ((5, 2.7),)),
                 (25, ((1, 6.0),)), (11, ((4, 0.5),)))                             # steps, (joint, deg a frame)
    step = np.zeros((100, 6))
    begin = np.cumsum([0, *(steps for steps, _ in stretches)])
    for first, (steps, moves) in zip(begin, stretches, strict=False):
        for joint, deg in moves:
            step[first:first + steps, joint] = deg
    state = np.vstack([np.zeros(6), np.cumsum(step, axis=0)])
    return [(state, 10.0), (state, 30.0)]


def _wrong_idle(given: Any, state: np.ndarray, fps: float) -> str:
    if not is_number(given):
        return f"One number, please, not {type(given).__name__}"
    right, step = idle_share(state, fps), np.diff(state, axis=0)
    if abs(given - right) <= SHARE_NEAR:
        return ""
    speed = np.abs(step) * fps                     # (N - 1, 6) deg/s
    told = f"you give {given:.3f}, it is {right:.3f}."
    if not 0 <= given <= 1:
        return f"A share lies between 0 and 1; you give {given:g}. Divide by 100?"
    usual = ((1 - right, "That is the share in which something moved"),
             (right * len(step) / len(state), f"{len(state)} frames are {len(step)} steps"),
             ((step.max(axis=1) * fps < 5).mean(), "A joint that goes back moves, too: where is the absolute value?"),
             ((speed < 5).mean(), "You count joints; an arm is idle only while all six are"),
             ((speed < 5).any(axis=1).mean(), "So every step is idle: are these deg/s, and all six joints?"),
             ((speed.sum(axis=1) < 5).mean(), "Two joints at 4 deg/s are both slow: do not add them up"),
             ((np.linalg.norm(speed, axis=1) < 5).mean(), "Two joints at 4 deg/s are both slow: do not add them up"),
             ((speed[:, :5] < 5).all(axis=1).mean(), "The gripper counts, too"),
             ((speed.max(axis=1) <= 5).mean(), "5 deg/s or faster is moving: exactly 5, too"),
             ((speed.max(axis=1) < 5 * fps).mean(), "5 deg/s, not 5 deg a frame: multiply by fps"),
             ((speed.max(axis=1) < fps / 2).mean(), "Not every film has 10 frames a second: multiply by fps"))
    hint = next((words for share, words in usual if abs(given - share) <= SHARE_NEAR), "")
    return f"At {fps:g} frames a second {told} {hint or 'Compare the fastest joint of each step with 5 deg/s'}"


def check_dataset(root: Any, least: int = LEAST_EPISODES) -> str:
    """Exercise 3.5: your own recording. Red lines say what to show again, and why."""
    exercise = Exercise("3.5")
    if root is None:
        return exercise.not_attempted
    try:
        report = demonstrations(Path(root), least)
    except SmolkitError as error:
        return exercise.not_yet(f"It does not open. {error}")
    red = [check for check in report.checks if not check.ok]
    if not red:
        episodes = report.checks[0].found
        return exercise.passed(f"{episodes}, {len(report.checks)} checks green. Hand it in")
    return exercise.not_yet("\n".join(check.text() for check in red))
