"""Which error of the driver is a stop: a bus that falls silent, servos that restarted, goals that nobody may send.

    >>> from smolkit.arm import fake
    >>> with fake.arm() as arm:
    ...     answers = Answers(arm, unanswered=2, gap_s=0.1, now_s=0.0)
    ...     lost = SmolkitError("SK101", "a reply", "none", "a loose plug", "look")
    ...     answers.judge(lost, now_s=0.01), answers.judge(lost, now_s=0.04).name
    (None, 'bad answers')

One lost packet is none: the next cycle asks again.
"""

from __future__ import annotations

from smolkit.arm.so101 import SO101
from smolkit.report import SmolkitError

from .states import Trip

COMM_CODES = ("SK101", "SK104", "SK106")
FAULTS = {"SK106": "wire gone", "SK302": "unusable actions", "SK137": "restarted", "SK139": "second program"}


class Answers:
    """Counts what an arm leaves unanswered: `unanswered` times in a row, or for longer than `gap_s`, is a stop."""

    def __init__(self, arm: SO101, unanswered: int, gap_s: float, now_s: float):
        self._arm, self._most, self._gap_s = arm, unanswered, gap_s
        self.heard(now_s)

    def heard(self, now_s: float) -> None:
        """All servos answered."""
        self._in_a_row, self._last_s = 0, now_s

    def judge(self, error: SmolkitError, now_s: float) -> Trip | None:
        """The stop that this error is, if it is one."""
        if name := FAULTS.get(error.code):
            return Trip(name, error.found, now_s)
        if error.code not in COMM_CODES:
            return None
        self._in_a_row += 1
        if self._in_a_row < self._most and now_s - self._last_s <= self._gap_s:
            return None
        return Trip(self._which(), error.found, now_s)

    def _which(self) -> str:
        """Whether all servos are silent, some, or none for longer than a moment."""
        try:
            missing = self._arm.missing()
        except SmolkitError:
            return "wire gone"
        return {0: "bad answers", len(self._arm.calibration.ids): "wire gone"}.get(len(missing), "chain broken")
