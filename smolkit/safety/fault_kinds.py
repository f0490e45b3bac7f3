"""What a fault is: a context that spoils one thing of the sim lane, and mends it when it ends.

    >>> from smolkit.arm import fake
    >>> quiet = fault_kind(12)(lambda rig, servo=6: patched(part(rig, "bus"), dead={servo}))
    >>> quiet.rows, quiet.parameters
    ((12,), {'servo': 6})
    >>> servos = fake.servos()
    >>> with quiet.inject(servos, servo=2):
    ...     servos.dead
    {2}
    >>> servos.dead
    set()
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from smolkit.arm.emulator import ServoBus
from smolkit.report import SmolkitError

Context: TypeAlias = AbstractContextManager[Any]


@dataclass(frozen=True)
class FaultKind:
    """A fault by name, the rows of the failure catalogue that it injects, and its parameters with defaults."""

    name: str
    rows: tuple[int, ...]
    description: str
    parameters: Mapping[str, Any]                  # name, which tells the unit -> default
    inject: Callable[..., Context]                 # (target, **parameters)


def fault_kind(*rows: int) -> Callable[[Callable[..., Context]], FaultKind]:
    """Makes a `FaultKind` of a function from target and parameters to a context."""
    def made(inject: Callable[..., Context]) -> FaultKind:
        _, *parameters = inspect.signature(inject).parameters.values()
        return FaultKind(inject.__name__, rows, inspect.getdoc(inject) or "",
                         {p.name: p.default for p in parameters}, inject)
    return made


def part(rig: Any, name: str) -> Any:
    """`rig.bus`, `rig.world`, ...; a kit has some of them on its bench. SK391 where a rig has no such part."""
    if name == "bus" and isinstance(rig, ServoBus):
        return rig
    for owner in (rig, getattr(rig, "bench", None)):
        if getattr(owner, name, None) is not None:
            return getattr(owner, name)
    raise unsuited(f"a rig with a {name}", type(rig).__name__, "hand over a kit of the sim lane, or its bench")


def unsuited(expected: str, found: str, next_step: str) -> SmolkitError:
    """SK391: this fault can not be injected there."""
    return SmolkitError("SK391", expected, found, "the fault does not fit what it shall spoil", next_step)


def index_of(servo: int) -> int:
    """Servo 1..6 -> 0..5."""
    if servo not in range(1, 7):
        raise unsuited("a servo 1 to 6", repr(servo), "count from the base: shoulder_pan is 1, gripper 6")
    return servo - 1


@contextmanager
def patched(owner: Any, **values: Any) -> Iterator[None]:
    """Attributes of `owner` with other values while inside."""
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
