"""The loop that moves the arm: observe, decide at 10 Hz, interpolate to 30 Hz, through the guard.

    >>> import numpy as np
    >>> interpolate(np.zeros(6), np.full(6, 3.0), parts=3)[:, 0]     # deg, sent 33 ms apart
    array([1., 2., 3.])

One loop serves a human with a leader arm, the scripted demonstrator and a policy: what they have in
common is an `Actor`, which turns an observation into a decision. Whoever decides, every single
command passes the rig's guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from smolkit.cameras.camera import Observation
from smolkit.clock import Clock
from smolkit.report import SmolkitError


@dataclass(frozen=True)
class Pace:
    """How often the actor decides, and how often the servos hear a new goal."""

    policy_hz: int = 10
    control_hz: int = 30           # below about 20 Hz the servos visibly stop between goals

    @property
    def parts(self) -> int:
        """Commands per decision."""
        return max(1, round(self.control_hz / self.policy_hz))


@dataclass(frozen=True)
class Decision:
    """What to send now and, where it differs, what a student should learn from this moment.

    A demonstrator that stumbles on purpose executes the stumble and records the right move.
    """

    goal_deg: np.ndarray                       # (6,) body deg, gripper %
    label_deg: np.ndarray | None = None        # (6,) or None: the goal itself

    @property
    def recorded_deg(self) -> np.ndarray:
        return self.goal_deg if self.label_deg is None else self.label_deg


@dataclass(frozen=True)
class Step:
    """One policy step of an episode: what was seen, what was decided."""

    index: int
    observation: Observation
    action_deg: np.ndarray                     # (6,) the decision's label


class Rig(Protocol):
    """What the loop needs: senses, a guarded arm, and time. `smolkit.Kit` is one."""

    clock: Clock

    def observe(self) -> Observation: ...

    def command(self, goal_deg: np.ndarray, seen: Observation | None = None) -> None: ...

    def rest(self) -> None: ...


Actor = Callable[[Observation], Decision]


def _check(decision: Decision) -> None:
    """A whole chunk or a batch instead of one goal would be broadcast into nonsense."""
    shape = np.shape(decision.goal_deg)
    if shape != (6,):
        raise SmolkitError("SK301", "one goal of six numbers, body joints in deg and the gripper in %",
                           f"shape {shape}", "a whole chunk (T, 6) or a batch (1, 6) was handed over",
                           "hand over one row at a time; ChunkActor does")


def interpolate(start_deg: np.ndarray, goal_deg: np.ndarray, parts: int) -> np.ndarray:
    """Straight line in joint space, (6,) -> (6,), as `parts` goals (parts, 6); the last is the goal."""
    fraction = np.arange(1, parts + 1)[:, None] / parts            # (parts, 1)
    return start_deg + fraction * (goal_deg - start_deg)


def run_episode(rig: Rig, actor: Actor, seconds: float, pace: Pace = Pace(),
                finished: Callable[[], bool] = lambda: False, by_hand: bool = False) -> Iterator[Step]:
    """Runs one episode and yields each step after it was executed.

    Args:
        rig: senses and guarded arm, torque already on.
        actor: decides from each observation.
        seconds: the episode's limit on the rig's clock.
        finished: asked after each step; True ends the episode early.
        by_hand: a person decides, who sees the arm itself. A late picture is then no reason to stop it, and an
            arm without goals simply stands.
    """
    try:
        yield from _steps(rig, actor, seconds, pace, finished, by_hand)
    finally:
        rig.rest()                         # however it ended: nobody may wait for a goal that never comes


def _steps(rig: Rig, actor: Actor, seconds: float, pace: Pace, finished: Callable[[], bool],
           by_hand: bool) -> Iterator[Step]:
    period_s, previous_deg, index = 1.0 / pace.policy_hz, None, 0
    begin_s, end_s = rig.clock.now_s(), float("inf")
    while begin_s < end_s:
        observation = rig.observe()
        decision = actor(observation)
        late = rig.clock.now_s() - begin_s > period_s / pace.parts
        if late and index == 0:            # opening a network takes seconds: what it decided then is out of date
            getattr(actor, "reset", lambda: None)()
            begin_s, observation = rig.clock.now_s(), rig.observe()
            decision = actor(observation)
        if late:                           # a late decision shifts all that follows: the arm never hurries after
            begin_s = rig.clock.now_s()
        if index == 0:                     # and is not the episode's time
            end_s = begin_s + seconds - period_s / 2
        _check(decision)
        goals = interpolate(observation.state_deg if previous_deg is None else previous_deg,
                            decision.goal_deg, pace.parts)
        for part, goal_deg in enumerate(goals, start=1):
            rig.command(goal_deg, None if by_hand else observation)
            rig.clock.sleep_until(begin_s + period_s * part / pace.parts)
        previous_deg, begin_s = decision.goal_deg, begin_s + period_s
        yield Step(index, observation, decision.recorded_deg)
        index += 1
        if finished():
            return
