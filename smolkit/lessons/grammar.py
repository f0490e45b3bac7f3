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

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
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

    def judge(self, function: Callable, cases: Iterable[tuple], wrong: Callable[..., str], praise: str = "") -> str:
        """The verdict on a function, tried on `cases`, tuples of its arguments.

        wrong: gets (what the function gave, *arguments), and says what is wrong with that; "" where nothing is.
        """
        for case in cases:
            given, error = self.call(function, *deepcopy(case))
            if error or given is None:
                return error or self.not_attempted
            if hint := wrong(given, *case):
                return self.not_yet(hint)
        return self.passed(praise)

    def unfilled(self, answer: Any, keys: Sequence[str]) -> str:
        """What to say of a dictionary that was not filled in, or lost its keys; "" of any other."""
        if not isinstance(answer, Mapping) or set(answer) != set(keys):
            return self.not_yet(f"Keep the dictionary as it was, with {', '.join(keys)}, and replace each None")
        return self.not_attempted if all(value is None for value in answer.values()) else ""


def is_number(value: Any) -> bool:
    """A finite number, and no bool."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))


def shown(value: Any) -> str:
    """A learner's number with two decimals, or whatever else it is."""
    return f"{value:.2f}" if is_number(value) else repr(value)


def check_prediction(exercise: Exercise, prediction: Any, names: Sequence[str],
                     low: float, high: float, unit: str = "") -> str:
    """A guess for each name, made before the cell that tells runs; any honest number passes.

    >>> check_prediction(Exercise("1.1"), {"drop": None}, ["drop"], 0, 100, "deg")
    'Exercise 1.1: not attempted yet'
    >>> check_prediction(Exercise("1.1"), {"drop": 900}, ["drop"], 0, 100, "deg")
    'Exercise 1.1: not yet. Between 0 and 100 deg, please, for drop'
    """
    if unfilled := exercise.unfilled(prediction, names):
        return unfilled
    wrong = [name for name in names if not (is_number(prediction[name]) and low <= prediction[name] <= high)]
    if wrong:
        return exercise.not_yet(f"Between {low:g} and {high:g}{' ' * bool(unit)}{unit}, please, for {', '.join(wrong)}")
    return exercise.passed("Keep it: the measurement will be compared with it")
