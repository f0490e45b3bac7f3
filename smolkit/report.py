"""Checks that teach: what was expected, what was found, the likely physical cause, the next command.

    >>> check = Check("SK110", "servo voltage", ok=False, expected="4.6 V or more", found="3.9 V",
    ...               cause="the supply sags under load", next_step="use a 5 V supply of at least 4 A")
    >>> report = Report("bring-up", (check,))
    >>> report.ok
    False
    >>> print(check.line())
    ✗ SK110 servo voltage: found 3.9 V, expected 4.6 V or more

Codes by room: SK1xx arm, SK2xx cameras and sim, SK3xx safety, SK4xx data, SK5xx smolvla,
SK6xx training, SK7xx deploy and evaluation, SK8xx kit and command line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Check:
    """One red or green result; a red one names its likely physical cause and the next command."""

    code: str
    name: str
    ok: bool
    expected: str
    found: str
    cause: str = ""
    next_step: str = ""

    def line(self) -> str:
        """The check in one line, for terminals and logs."""
        mark = "✓" if self.ok else "✗"
        tail = "" if self.ok else f", expected {self.expected}"
        return f"{mark} {self.code} {self.name}: found {self.found}{tail}"

    def text(self) -> str:
        """The line and, when red, its cause and its next command."""
        if self.ok:
            return self.line()
        return f"{self.line()}\n    likely cause: {self.cause}\n    next: {self.next_step}"

    def raise_if_red(self) -> None:
        """Turns a red check into a `SmolkitError`; a green one returns."""
        if not self.ok:
            raise SmolkitError(self.code, f"{self.name}: expected {self.expected}", self.found,
                               self.cause, self.next_step)


@dataclass(frozen=True)
class Report:
    """A named list of checks; green only when it holds at least one check and all are green."""

    title: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    def red(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)

    def text(self) -> str:
        return "\n".join([self.title, *(check.text() for check in self.checks)])

    def as_dict(self) -> dict:
        return {"title": self.title, "ok": self.ok, "checks": [asdict(c) for c in self.checks]}

    def raise_if_red(self) -> None:
        """Raises the first red check as a `SmolkitError`."""
        for check in self.red():
            check.raise_if_red()


class SmolkitError(RuntimeError):
    """An error that teaches.

    Example:
        >>> raise SmolkitError("SK101", "an STS3215 on id 3", "no answer",
        ...                    "the cable between servos 2 and 3 is loose", "smolkit doctor")
        Traceback (most recent call last):
        ...
        smolkit.report.SmolkitError: SK101 expected an STS3215 on id 3
          found: no answer
          likely cause: the cable between servos 2 and 3 is loose
          next: smolkit doctor
    """

    def __init__(self, code: str, expected: str, found: str, cause: str, next_step: str):
        self.code, self.expected, self.found = code, expected, found
        self.cause, self.next_step = cause, next_step
        super().__init__(f"{code} expected {expected}\n  found: {found}\n"
                         f"  likely cause: {cause}\n  next: {next_step}")

    def __reduce__(self):
        # Worker processes send errors home; the default would call us with one joined string.
        return type(self), (self.code, self.expected, self.found, self.cause, self.next_step)
