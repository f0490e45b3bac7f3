"""How every exercise of the course speaks: one line of text, never an exception.

    >>> exercise = Exercise("1.2")
    >>> exercise.not_attempted
    'Exercise 1.2: not attempted yet'
    >>> given, wrong = exercise.call(lambda ticks: 1 / 0, 2047)
    >>> wrong
    'Exercise 1.2: not yet. Your function raised ZeroDivisionError: division by zero'
    >>> exercise.not_yet("Where is zero?")
    'Exercise 1.2: not yet. Where is zero?'

A check says "not attempted yet" while the stub returns None, then what is wrong, or "pass". It compares with
the package's own functions, so it holds no answers to copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Exercise:
    """The three answers of one exercise."""

    number: str

    @property
    def not_attempted(self) -> str:
        return f"Exercise {self.number}: not attempted yet"

    def not_yet(self, hint: str) -> str:
        """What is wrong, in words that lead on."""
        return f"Exercise {self.number}: not yet. {hint}"

    def passed(self, words: str = "") -> str:
        """It is right; and what to take from it."""
        return f"Exercise {self.number}: pass" + (f". {words}" if words else "")

    def call(self, function: Callable, *arguments: Any) -> tuple[Any, str]:
        """(result, ""), or (None, the verdict): a learner's mistake must not end the notebook."""
        try:
            return function(*arguments), ""
        except Exception as error:             # anything a learner can write
            return None, self.not_yet(f"Your function raised {type(error).__name__}: {error}")


def is_number(value: Any) -> bool:
    """A finite number, and no bool."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))


def check_prediction(exercise: Exercise, prediction: Any, names: Sequence[str],
                     low: float, high: float, unit: str = "") -> str:
    """A guess for each name, made before the cell that tells runs; any honest number passes.

    >>> check_prediction(Exercise("1.1"), {"drop": None}, ["drop"], 0, 100, "deg")
    'Exercise 1.1: not attempted yet'
    >>> check_prediction(Exercise("1.1"), {"drop": 900}, ["drop"], 0, 100, "deg")
    'Exercise 1.1: not yet. Between 0 and 100 deg, please, for drop'
    """
    if not isinstance(prediction, Mapping) or set(prediction) != set(names):
        return exercise.not_yet("Keep the dictionary as it was, and replace each None by a number")
    if all(prediction[name] is None for name in names):
        return exercise.not_attempted
    wrong = [name for name in names if not (is_number(prediction[name]) and low <= prediction[name] <= high)]
    if wrong:
        return exercise.not_yet(f"Between {low:g} and {high:g}{' ' * bool(unit)}{unit}, please, for {', '.join(wrong)}")
    return exercise.passed("Keep it: the measurement will be compared with it")
