"""What can go wrong with whoever decides: a policy, an actor of the loop, the reading of a leader arm.

    >>> with bad_number.inject(lambda seen: np.zeros(6), joint=2) as policy:
    ...     policy(None)
    array([ 0., nan,  0.,  0.,  0.,  0.])

The target is the callable; a context gives a spoiled one, which is itself again afterwards. It may return a
bare array (6,), or anything with a field `goal_deg` or `pos_deg`. `smolkit.safety.faults` gives the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from smolkit.arm.joints import GRIPPER, LOWER_DEG, UPPER_DEG
from smolkit.clock import Clock, WallClock
from smolkit.safety.fault_kinds import Context, fault_kind, index_of, unsuited

BELOW_TABLE_DEG = (0.0, 95.0, 0.0, 60.0, 0.0, 10.0)
INTO_ITSELF_DEG = (26.0, -79.0, 48.0, 93.0, 155.0, 83.0)     # curled up, the jaw opens into the base


@contextmanager
def _spoiled(decide: Callable, spoil: Callable[..., Any]) -> Iterator[Callable]:
    """A callable that answers as `spoil(*arguments)` does while inside."""
    if not callable(decide):
        raise unsuited("a policy, an actor or a leader: something that is called", type(decide).__name__,
                       "hand over the callable and use what `as` gives")
    active = [True]
    try:
        yield lambda *arguments: (spoil if active else decide)(*arguments)
    finally:
        active.clear()


def _changed(decide: Callable, change: Callable[[np.ndarray], Any]) -> Context:
    """Goals or poses (6,) through `change`: bare arrays, or the field of a decision or a joint state."""
    def spoil(*arguments: Any) -> Any:
        answer = decide(*arguments)
        for field in ("goal_deg", "pos_deg"):
            if hasattr(answer, field):
                return replace(answer, **{field: change(np.array(getattr(answer, field), float))})
        return change(np.array(answer, float))
    return _spoiled(decide, spoil)


def _one_joint(decide: Callable, joint: int, change: Callable[[float], float]) -> Context:
    at = index_of(joint)
    return _changed(decide, lambda pose: np.where(np.arange(6) == at, change(pose[at]), pose))


@fault_kind(2, 3)
def aim_at(decide: Callable, goal_deg: tuple[float, ...] = BELOW_TABLE_DEG) -> Context:
    """Every goal is this one: deep in the table, or in the arm's own base (INTO_ITSELF_DEG)."""
    return _changed(decide, lambda pose: np.array(goal_deg))


@fault_kind(17, 35)
def slow_policy(decide: Callable, delay_s: float = 1.0, clock: Clock | None = None) -> Context:
    """Each decision comes `delay_s` late, on `clock` (None: wall time)."""
    time_s = clock or WallClock()

    def spoil(*arguments: Any) -> Any:
        answer = decide(*arguments)
        time_s.sleep_until(time_s.now_s() + delay_s)
        return answer
    return _spoiled(decide, spoil)


@fault_kind(17, 27, 36)
def dead_policy(decide: Callable) -> Context:
    """Nobody answers any more: the server is gone, the leader's cable is out."""
    def spoil(*arguments: Any) -> Any:
        raise ConnectionError("connection lost")
    return _spoiled(decide, spoil)


@fault_kind(17, 27, 36)
def stuck_policy(decide: Callable) -> Context:
    """The first answer comes again and again: a replay, or a leader that nobody holds."""
    kept: list[Any] = []

    def spoil(*arguments: Any) -> Any:
        kept.extend([] if kept else [decide(*arguments)])
        return kept[0]
    return _spoiled(decide, spoil)


@fault_kind(18)
def bad_number(decide: Callable, joint: int = 1, value: float = float("nan")) -> Context:
    """One joint's goal is not a number, or infinite."""
    return _one_joint(decide, joint, lambda goal_deg: value)


@fault_kind(18)
def wrong_shape(decide: Callable, shape: tuple[int, ...] = (1, 6)) -> Context:
    """A batch, a chunk or too few numbers instead of one goal."""
    return _changed(decide, lambda pose: np.resize(pose, shape))


@fault_kind(18, 33)
def other_units(decide: Callable, units: str = "rad") -> Context:
    """A policy that learned in "rad", or in "percent" (-100..100 of the joints' ranges)."""
    scale = {"rad": np.full(6, np.pi / 180), "percent": 200 / (UPPER_DEG - LOWER_DEG)}
    if units not in scale:
        raise unsuited("units rad or percent", repr(units), "name one of the two")
    scale[units][GRIPPER] = 0.01 if units == "rad" else 1.0
    zero = np.where(np.arange(6) == GRIPPER, 0.0, (LOWER_DEG + UPPER_DEG) / 2 * (units == "percent"))
    return _changed(decide, lambda pose: (pose - zero) * scale[units])


@fault_kind(19)
def out_of_range(decide: Callable, joint: int = 1, goal_deg: float = 1000.0) -> Context:
    """A goal that no joint can reach."""
    return _one_joint(decide, joint, lambda _: goal_deg)


@fault_kind(20, 27)
def jump(decide: Callable, joint: int = 1, step_deg: float = 40.0) -> Context:
    """From one moment to the next all answers are `step_deg` away: a first action, a leader that was knocked."""
    return _one_joint(decide, joint, lambda goal_deg: goal_deg + step_deg)


@fault_kind(21)
def step_inputs(decide: Callable, joint: int = 1, step_deg: float = 30.0) -> Context:
    """A goal that leaps to and fro at every decision."""
    signs = [1.0]

    def leap(goal_deg: float) -> float:
        signs[0] = -signs[0]
        return goal_deg + signs[0] * step_deg
    return _one_joint(decide, joint, leap)
