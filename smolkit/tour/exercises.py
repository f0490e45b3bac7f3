"""Checks for the exercises of `notebooks/00_tour.ipynb`: one line of text each, never an exception.

    >>> print(check_ticks(lambda ticks, range_min, range_max: None))
    Exercise 0.1: not attempted yet
    >>> print(check_ticks(lambda ticks, range_min, range_max: (ticks - 2047) * 360 / 4095))
    Exercise 0.1: not yet. For 2047 ticks in a range of 800..3200 you give 0.00 deg, the driver 4.13. Where is zero?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from smolkit.arm.calibration import degrees
from smolkit.cameras.camera import Observation
from smolkit.evaluation.controls import CONTROLS
from smolkit.lessons import grammar
from smolkit.lessons.grammar import Exercise, is_number, shown

TICKS, PREDICT, SWAP = Exercise("0.1"), Exercise("0.2"), Exercise("0.3")
PREDICTED = ("policy", *sorted(CONTROLS))
TICK_CASES = ((2047, 800, 3200), (800, 800, 3200), (1500, 736, 3475), (4000, 850, 3063))


def check_prediction(prediction: Mapping[str, float | None]) -> str:
    """Exercise 0.2: a success rate (0..1) guessed for the policy and each control, before they run."""
    return grammar.check_prediction(PREDICT, prediction, PREDICTED, 0, 1)


def compare_prediction(prediction: Mapping[str, float | None], rates: Mapping[str, float]) -> str:
    """How far the guesses of exercise 0.2 were off, in points."""
    if "pass" not in check_prediction(prediction):
        return "No prediction was made, so nothing can surprise you. Exercise 0.2 is a few cells up."
    off = {name: 100 * abs(prediction[name] - rates[name]) for name in PREDICTED}
    worst = max(off, key=off.__getitem__)
    mean = np.mean(list(off.values()))
    return f"Off by {mean:.0f} points on average, most for {worst.replace('_', ' ')}: {off[worst]:.0f}."


def check_ticks(ticks_to_deg: Callable[[float, int, int], float | None]) -> str:
    """Exercise 0.1: encoder ticks -> degrees around the middle of the calibrated range."""
    return TICKS.judge(ticks_to_deg, TICK_CASES, _wrong_ticks)


def _wrong_ticks(given: Any, ticks: int, low: int, high: int) -> str:
    right = float(degrees(ticks, low, high))
    if is_number(given) and abs(given - right) <= 0.01:
        return ""
    return (f"For {ticks} ticks in a range of {low}..{high} you give {shown(given)} deg, the driver {right:.2f}. "
            f"{_hint(given, right, ticks, low, high)}")


def check_swap(swap_cameras: Callable[[Observation], Observation | None], observation: Observation) -> str:
    """Exercise 0.3: an observation whose front and wrist pictures are exchanged."""
    before = {role: image.copy() for role, image in observation.images.items()}
    handed = deepcopy(observation)
    given, error = SWAP.call(swap_cameras, handed)
    if error:
        return error
    if set(handed.images) != set(before) or any(not np.array_equal(handed.images[r], before[r]) for r in before):
        return SWAP.not_yet("The observation that was handed in has changed: make a new one")
    if given is None:
        return SWAP.not_attempted
    if not isinstance(given, Observation) or set(given.images) != set(before):
        return SWAP.not_yet("Return an Observation with the same two cameras")
    if not (np.array_equal(given.images["front"], before["wrist"])
            and np.array_equal(given.images["wrist"], before["front"])):
        return SWAP.not_yet("The wrist's picture belongs under 'front', and the front's under 'wrist'")
    if not np.array_equal(given.state_deg, observation.state_deg) or given.task != observation.task:
        return SWAP.not_yet("Joints and instruction must stay as they were")
    return SWAP.passed()


def compare_swap(swap_cameras: Callable[[Observation], Observation | None], observation: Observation,
                 predict: Callable[[Observation], np.ndarray]) -> str:
    """What `predict` (a chunk of actions (T, 6) deg) makes of exchanged pictures; for after exercise 0.3."""
    if not check_swap(swap_cameras, observation).endswith("pass"):
        return "Solve exercise 0.3 first: then this cell shows what the policy makes of it."
    apart_deg = np.abs(predict(observation) - predict(swap_cameras(observation)))[-1, :5].max()
    return f"At the end of the chunk the two plans are {apart_deg:.0f} deg apart, and no error was raised."


def _hint(given: Any, right: float, ticks: float, low: int, high: int) -> str:
    if not is_number(given):
        return "Return a number."
    if abs(given - np.deg2rad(right)) < 1e-3:
        return "Those are radians."
    if abs(given + right) < 0.01:
        return "The sign is turned round."
    if abs(given - (ticks - (low + high) / 2) * 360 / 4096) < 0.01:
        return "LeRobot counts 4095 ticks a turn, not 4096: keep its number, or datasets disagree."
    return "Where is zero?"
