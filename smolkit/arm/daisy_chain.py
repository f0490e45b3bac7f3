"""The six servos on their one cable: who answers, and a drawing with the break marked.

    >>> from smolkit.arm import fake
    >>> servos = fake.servos(); servos.dead.update((3, 4, 5, 6))
    >>> chain = look(Bus(fake.connect(servos)))
    >>> print(chain.drawing())
    board ─ 1 shoulder_pan ✓ ─ 2 shoulder_lift ✓ ─✂─ 3 elbow_flex ? ─ 4 wrist_flex ? ─ 5 wrist_roll ? ─ 6 gripper ?
    >>> chain.check().cause
    'the cable between servo 2 and servo 3 is loose or broken'

✓ answers, ? silent, ‼ two servos answer at once, ✂ the likely break.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.joints import IDS, joint_name, servo_name
from smolkit.report import Check, SmolkitError


@dataclass(frozen=True)
class Chain:
    """What a look along the chain found; `ids` in the order of the wiring, from the board outward."""

    ids: tuple[int, ...]
    silent: tuple[int, ...]
    colliding: tuple[int, ...]                     # ids that two servos have

    @property
    def cut(self) -> int | None:
        """The first servo behind the break: it and all after it are silent. None without such a break."""
        tail = self.ids[len(self.ids) - len(self.silent):]
        return tail[0] if tail and self.silent == tail else None

    def drawing(self) -> str:
        """The chain in one line."""
        mark = dict.fromkeys(self.ids, "✓") | dict.fromkeys(self.silent, "?") | dict.fromkeys(self.colliding, "‼")
        return "board" + "".join(f" ─{'✂─' if i == self.cut else ''} {i} {joint_name(i)} {mark[i]}" for i in self.ids)

    def check(self) -> Check:
        """Red: SK119 (two servos with one id) or SK101 (silent servos)."""
        if self.colliding:
            return Check("SK119", "daisy chain", False, "one servo on each id",
                         f"two that answer at once on id {', '.join(map(str, self.colliding))}: {self.drawing()}",
                         "a new servo (all are sold with id 1) was chained before it got its own id, or one id was"
                         " given twice", "take the chain apart and run: smolkit setup-motors PORT")
        silent = f"nothing from {', '.join(map(servo_name, self.silent))}: " if self.silent else ""
        return Check("SK101", "daisy chain", not self.silent, f"servos {self.ids[0]} to {self.ids[-1]} to answer",
                     silent + self.drawing(), self._cause(), "check plugs and supply, then run: smolkit doctor PORT")

    def _cause(self) -> str:
        if self.silent == self.ids:
            return "the arm has no power, or the first cable is loose, or this port is not an arm's"
        if self.cut is not None:
            before = self.ids[self.ids.index(self.cut) - 1]
            return f"the cable between servo {before} and servo {self.cut} is loose or broken"
        return "these servos have another id, or their boards failed: the chain behind them still answers"


def look(bus: Bus, ids: Iterable[int] = IDS) -> Chain:
    """Asks every id by itself. A lost wire still raises: then nobody is missing, the bus is."""
    ids = tuple(ids)
    answers = {servo_id: _answer(bus, servo_id) for servo_id in ids}
    return Chain(ids, *(tuple(i for i in ids if answers[i] == code) for code in ("SK101", "SK104")))


def _answer(bus: Bus, servo_id: int) -> str:
    """'' for an answer, else the code of what came instead.

    Two servos of one id answer a ping with the same bytes at the same time, as if they were one. Their
    positions differ.
    """
    try:
        bus.read_block(servo_id, registers.TELEMETRY_START, registers.TELEMETRY_BYTES)
    except SmolkitError as error:
        if error.code not in ("SK101", "SK104"):
            raise
        return error.code
    return ""
