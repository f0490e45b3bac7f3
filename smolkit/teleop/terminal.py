"""Keys of a terminal as keys that are held: what repeats is down, what stops repeating is up.

    >>> from smolkit.clock import SteppedClock
    >>> clock = SteppedClock()
    >>> keys = HeldKeys(clock)
    >>> keys.typed("w"); keys.down()
    {'KeyW'}
    >>> clock.sleep_until(0.3); keys.down()                    # no repeat came: the finger is up
    set()

A terminal never says that a key was released; it repeats the one that is held, ten to thirty times a second, after
half a second in which it says nothing. So a tap moves the arm for a fifth of a second, a key that is held goes on
after a moment, and only one at a time. For two hands take the widget of lesson 03.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from smolkit.clock import Clock
from smolkit.report import SmolkitError

HELD_S = 0.2                               # the slowest terminals repeat every 0.1 s


class HeldKeys:
    """Counts a character as a held key until it has not come for `HELD_S`."""

    def __init__(self, clock: Clock):
        self._clock, self._until_s = clock, {}

    def typed(self, text: str) -> None:
        """What came since the last look."""
        self._until_s.update(dict.fromkeys(text.lower(), self._clock.now_s() + HELD_S))

    def down(self) -> set[str]:
        """The letters that are held, named as a browser names their places: KeyA to KeyZ."""
        now_s = self._clock.now_s()
        return {f"Key{key.upper()}" for key, until_s in self._until_s.items()
                if key.isascii() and key.isalpha() and now_s < until_s}


class Terminal:
    """Standard input, character by character and without waiting; `with terminal():` opens and restores it."""

    def __init__(self, number: int):
        self._number = number

    def read(self) -> str:
        """What was typed since the last look; "" where nothing was."""
        import select
        typed = b""
        while select.select([self._number], [], [], 0)[0] and (some := os.read(self._number, 64)):
            typed += some
        return typed.decode(errors="ignore")


class WindowsTerminal:
    """The same where there is no termios."""

    def read(self) -> str:
        """What was typed since the last look."""
        import msvcrt
        typed = ""
        while msvcrt.kbhit():
            typed += msvcrt.getwch()
        return typed


@contextmanager
def terminal() -> Iterator[Terminal | WindowsTerminal]:
    """The terminal of this process; raises SK356 where there is none."""
    if not sys.stdin.isatty():
        raise SmolkitError("SK356", "a terminal to type in", "a pipe, or a notebook",
                           "standard input was redirected", "run it in a terminal; in a notebook: TeleopPanel")
    if sys.platform == "win32":
        yield WindowsTerminal()
        return
    import termios
    import tty
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield Terminal(number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
