"""Time is a parameter: the same loop runs in wall time on the desk and in stepped time in tests.

    >>> clock = SteppedClock()
    >>> clock.on_advance(lambda until_s: None)     # the plant steps its physics here
    >>> clock.sleep_until(0.5)
    >>> clock.now_s()
    0.5
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

SLICE_S = 0.034                    # a longer wait is one of several such: a supervisor looks at least 30 times a second


class Clock(Protocol):
    """Monotonic seconds, and a way to wait for a moment."""

    def now_s(self) -> float: ...

    def sleep_until(self, moment_s: float) -> None: ...


class WallClock:
    """Real time, from `time.monotonic`: changing the computer's date does not move it."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep_until(self, moment_s: float) -> None:
        time.sleep(max(0.0, moment_s - time.monotonic()))


class SteppedClock:
    """Time that stands still until somebody waits; waiting advances everything that listens.

    A listener gets the moment (s) it must bring itself to, in the order of registration.
    """

    def __init__(self, start_s: float = 0.0):
        self._now_s = start_s
        self._listeners: list[Callable[[float], None]] = []

    def now_s(self) -> float:
        return self._now_s

    def on_advance(self, listener: Callable[[float], None]) -> None:
        self._listeners.append(listener)

    def sleep_until(self, moment_s: float) -> None:
        while self._now_s < moment_s:
            self._now_s = min(self._now_s + SLICE_S, moment_s)
            for listener in self._listeners:
                listener(self._now_s)
