"""Checks for the exercises of `notebooks/04_dataset_inspection.ipynb`: one line of text each, never an exception.

    >>> print(check_place(lambda index, episodes, fps: None))
    Exercise 4.1: not attempted yet
    >>> print(check_trim(lambda state, fps: (0, 0.5)))
    Exercise 4.2: not yet. Two whole numbers, please: (first row, row after the last)

The bug hunt's check, 4.4, lives in `dataset_hunt`; 4.5, a dataset of one's own, is graded by `smolkit.grade`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from smolkit.data.checks.motion import STILL_DEG_S
from smolkit.lessons import grammar
from smolkit.lessons.grammar import Exercise, is_number

Place = tuple[str, float]
SPREAD = Exercise("4.3")
STEPS = ("gripper, 1 % further", "still joint, 1 deg further")
# Three episodes in two files: the second file begins at 0 s again, and the first holds a leftover before episode 0.
EPISODES = ({"dataset_from_index": 0, "dataset_to_index": 30, "file": "file-000.mp4", "from_timestamp": 0.5},
            {"dataset_from_index": 30, "dataset_to_index": 50, "file": "file-000.mp4", "from_timestamp": 3.5},
            {"dataset_from_index": 50, "dataset_to_index": 90, "file": "file-001.mp4", "from_timestamp": 0.0},
            {"dataset_from_index": 90, "dataset_to_index": 95, "file": "file-001.mp4", "from_timestamp": 4.0})


def check_place(place_of: Callable[[int, list[dict[str, Any]], int], Place | None]) -> str:
    """Exercise 4.1: in which mp4 the picture of a row lies, and at which second."""
    cases = [(index, [dict(row) for row in EPISODES], 10) for index in (42, 0, 50, 71, 30, 94)]
    return Exercise("4.1").judge(place_of, cases, _wrong_place, "So a row and its picture find each other, and "
                                 "nothing else says that they belong together")


def _wrong_place(given: Any, index: int, episodes: Sequence[dict[str, Any]], fps: int) -> str:
    if not isinstance(given, (tuple, list)) or len(given) != 2 or not is_number(given[1]):
        return "Two things, please: the file's name, and a time in seconds"
    own = next(row for row in episodes if row["dataset_from_index"] <= index < row["dataset_to_index"])
    frame = index - own["dataset_from_index"]
    right = own["file"], own["from_timestamp"] + frame / fps
    file, time_s = given[0], float(given[1])
    if file == right[0] and abs(time_s - right[1]) < 0.5 / fps:
        return ""
    told = f"Row {index} is in {right[0]} at {right[1]:.1f} s; you give {file} at {time_s:.1f} s. "
    if file != right[0]:
        edge = index == own["dataset_from_index"]
        return told + ("dataset_to_index belongs to the next episode: from <= index < to" if edge else
                       "Which episode holds the row? Its line of the table names the file")
    usual = ((index / fps, "A row's number counts over the whole dataset, and mp4s hold several episodes each"),
             (own["from_timestamp"] + index / fps, "Count the rows from where the episode begins"),
             (frame / fps, "The episode does not begin where its file does: add from_timestamp"),
             (own["from_timestamp"] * fps + frame, "Those are frames; the mp4 wants seconds"),
             (own["from_timestamp"] + frame, "Those are frames; how many seconds is one?"))
    near = next((words for other, words in usual if abs(time_s - other) < 0.5 / fps), "")
    return told + (near or "from_timestamp, and then one period for every row of the episode before it")


def check_trim(trim: Callable[[np.ndarray, float], tuple[int, int] | None]) -> str:
    """Exercise 4.2: which rows to keep, from the first move to the last one."""
    return Exercise("4.2").judge(trim, _trim_cases(), _wrong_trim, "What lies in the middle stays: an episode with a "
                                 "hole in it jumps, and a policy learns the jump")


def _trim_cases() -> list[tuple[np.ndarray, float]]:
    """(state (T, 6), fps): rests at both ends and one in the middle; gripper last; slow, backward; nothing at all."""
    moves = ((15, None, 0), (10, 1, 1.2), (6, None, 0), (8, 3, -0.9), (5, 5, 2.0), (4, 0, 0.3), (12, None, 0))
    step = np.zeros((sum(count for count, _, _ in moves), 6))
    row = 0
    for count, joint, deg in moves:
        if joint is not None:
            step[row:row + count, joint] = deg
        row += count
    state = np.vstack([np.zeros(6), np.cumsum(step, axis=0)])
    return [(state, 10.0), (state, 30.0), (state[::-1].copy(), 10.0), (np.zeros((20, 6)), 10.0)]


def kept(state: np.ndarray, fps: float, slow_deg_s: float = STILL_DEG_S) -> tuple[int, int]:
    """The rows from the first move to the end of the last one, half-open; (0, 0) where nothing moves."""
    moving = np.flatnonzero(np.abs(np.diff(state, axis=0)).max(axis=1, initial=0.0) * fps >= slow_deg_s)
    return (int(moving[0]), int(moving[-1]) + 2) if len(moving) else (0, 0)


def _wrong_trim(given: Any, state: np.ndarray, fps: float) -> str:
    whole = isinstance(given, (tuple, list)) and len(given) == 2 and all(
        isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in given)
    if not whole:
        return "Two whole numbers, please: (first row, row after the last)"
    right, (begin, end) = kept(state, fps), map(int, given)
    if (begin, end) == right:
        return ""
    if right == (0, 0):
        return f"An arm that never moves leaves nothing to keep: (0, 0); you give ({begin}, {end})"
    step = np.diff(state, axis=0)
    usual = ((kept(state[:, :5], fps), "The gripper moves, too"), (kept(state, 1.0), "Deg a second: multiply by fps"),
             (kept(state, 10.0), "Not every dataset has 10 rows a second"),
             (kept(state, fps, 1e-9), "Slower than 5 deg/s counts as rest"),
             (_forward(step, fps), "A joint that goes back moves, too: where is the absolute value?"))
    told = f"At {fps:g} Hz you keep rows {begin} to {end}, it is {right[0]} to {right[1]}. "
    if begin == right[0] and right[1] - end in (1, 2):
        return told + "A step leads from one row to the next: keep the row where the last one ends, half-open"
    if end == right[1] and begin == right[0] + 1:
        return told + "Keep the row from which the first move sets off"
    return told + next((words for rows, words in usual if rows == (begin, end)),
                       "From the row where the first fast step begins to the row where the last one ends")


def _forward(step: np.ndarray, fps: float) -> tuple[int, int]:
    moving = np.flatnonzero(step.max(axis=1) * fps >= STILL_DEG_S)
    return (int(moving[0]), int(moving[-1]) + 2) if len(moving) else (0, 0)


def check_spread(prediction: Any) -> str:
    """Exercise 4.3: how large two small moves look to a policy, in standard deviations; any honest guess passes."""
    return grammar.check_prediction(SPREAD, prediction, STEPS, 0, 1e12)


def compare_spread(prediction: Any, measured: Sequence[float]) -> str:
    """The guesses beside what normalising made of the two moves."""
    if "pass" not in check_spread(prediction):
        return "No prediction was made, so nothing can surprise you. Exercise 4.3 is a few cells up."
    return "; ".join(f"{name}: {found:,.2f}, you said {prediction[name]:,.2f}"
                     for name, found in zip(STEPS, measured, strict=True))
