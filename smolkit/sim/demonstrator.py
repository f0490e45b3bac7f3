"""A scripted expert: shows every task of `smolkit.sim.tasks`, at 10 Hz, within the policy's own limits.

    >>> result = demonstrate("place", seed=1)
    >>> result.success, result.instruction
    (True, 'put the green cube in the orange box')

The expert is a function of the truth of the moment (`smolkit.sim.intents`): no script, no timer, no memory.
So it recovers from a miss by itself, and may label any state that a policy gets into. `Perturbation` adds
what a careful recorder wants: bursts of wrong motion in what is executed, while the label stays clean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from smolkit.arm.joints import GRIPPER, LOWER_DEG, UPPER_DEG, from_radians, to_radians
from smolkit.sim import intents
from smolkit.sim.motion import Pace, Wish, advance
from smolkit.sim.tasks import Task, task_named
from smolkit.sim.truth import Truth, truth_of
from smolkit.sim.world import GRIPPER_LIMIT, World

INTENTS: dict[str, Callable[[Truth], Wish]] = {
    "reach": intents.reach_marker, "push": intents.push_to_zone, "pick": intents.pick_up,
    "place": intents.put_in_box, "fallen": intents.pick_up, "tour": intents.put_in_box,
}
INSIDE_DEG = 2.5                                 # the safety envelope asks for 2
SUBSTEPS = 5                                     # a servo follows a ramp of small steps more gently
TORQUE_LIMIT = np.array([1.0] * 5 + [GRIPPER_LIMIT])


class Demonstrator:
    """Says, for any truth, which goal comes next.

    Example:
        >>> from smolkit.sim.tasks import TASKS
        >>> world = World(TASKS["reach"].sample(np.random.default_rng(0)))
        >>> Demonstrator("reach").act(truth_of(world)).shape
        (6,)
    """

    def __init__(self, task: Task | str, pace: Pace | None = None):
        self.task = task_named(task) if isinstance(task, str) else task
        self.pace = Pace() if pace is None else pace
        self._intent = INTENTS[self.task.name]

    def act(self, truth: Truth) -> np.ndarray:
        """The goal (6,) deg, gripper % for one period ahead: the clean label."""
        return from_radians(advance(truth.goal_rad, self._intent(truth), self.pace))


class Perturbation:
    """Bursts of wrong motion: now and then, for a few steps, every joint drifts its own way.

    A policy that saw only clean demonstrations does not know the way back to them; one that saw bursts
    under clean labels does (Laskey et al. 2017, "DART"). Speeds stay within the pace.
    """

    def __init__(self, rng: np.random.Generator, pace: Pace | None = None, chance: float = 0.05,
                 steps: tuple[int, int] = (2, 5), drift_deg: float = 2.5):
        self._rng, self._pace = rng, Pace() if pace is None else pace
        self._chance, self._steps, self._drift_deg = chance, steps, drift_deg
        self._left, self._drift = 0, np.zeros(6)

    def disturb(self, present_goal_deg: np.ndarray, label_deg: np.ndarray) -> np.ndarray:
        """What to execute (6,) deg, % instead of the label; outside of a burst, the label itself."""
        if self._left == 0 and self._rng.random() < self._chance:
            self._left = int(self._rng.integers(self._steps[0], self._steps[1] + 1))
            self._drift = self._rng.normal(0.0, self._drift_deg, 6)      # deg a step
            self._drift[GRIPPER] *= 0.3                                  # a burst should seldom drop things
        if self._left == 0:
            return label_deg
        self._left -= 1
        most = self._pace.joint_deg_s * self._pace.period_s
        step_deg = np.clip(label_deg - present_goal_deg + self._drift, -most, most)
        return np.clip(present_goal_deg + step_deg, LOWER_DEG + INSIDE_DEG, UPPER_DEG - INSIDE_DEG)


@dataclass(frozen=True)
class Step:
    """One period: what was seen, what the expert said, what was executed."""

    state_deg: np.ndarray                        # (6,)
    label_deg: np.ndarray                        # (6,)
    executed_deg: np.ndarray                     # (6,)
    images: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeResult:
    """One demonstration and how it ended."""

    task: str
    instruction: str
    seed: int
    success: bool
    seconds: float
    steps: tuple[Step, ...]


def follow(world: World, goal_deg: np.ndarray, period_s: float) -> None:
    """Drives the world to a goal along a straight line in the joints, as the arm's driver does."""
    start, goal, begin_s = world.goal_rad(), to_radians(goal_deg), world.time_s
    for k in range(1, SUBSTEPS + 1):
        world.drive(start + (goal - start) * k / SUBSTEPS, np.ones(6, bool), TORQUE_LIMIT)
        world.advance_to(begin_s + period_s * k / SUBSTEPS)


def episode(world: World, task: Task, expert: Demonstrator, noise: Perturbation | None = None,
            look: Callable[[World], dict[str, np.ndarray]] | None = None) -> Iterator[Step]:
    """Plays the expert in the world's scene until success or timeout, one step a period."""
    period_s = expert.pace.period_s
    end_s = world.time_s + task.timeout_s
    while world.time_s < end_s and not task.success(world):
        state_deg, present_deg = from_radians(world.state().angle_rad), from_radians(world.goal_rad())
        images = look(world) if look else {}
        label_deg = expert.act(truth_of(world))
        executed_deg = noise.disturb(present_deg, label_deg) if noise else label_deg
        follow(world, executed_deg, period_s)
        yield Step(state_deg, label_deg, executed_deg, images)


def demonstrate(task: Task | str, seed: int, *, noise: bool = False, pace: Pace | None = None,
                world: World | None = None,
                look: Callable[[World], dict[str, np.ndarray]] | None = None) -> EpisodeResult:
    """One demonstration from a seed: the scene, the bursts and so every bit of the result follow from it.

    Example:
        >>> demonstrate("reach", seed=0).success
        True

    `world` is used instead of a new one when given; `look(world)` adds pictures to each step.
    """
    task = task_named(task) if isinstance(task, str) else task
    rng = np.random.default_rng(seed)
    scene = task.sample(rng)
    world = World() if world is None else world
    world.reset(scene)
    bursts = Perturbation(rng, pace) if noise else None
    begin_s = world.time_s
    steps = tuple(episode(world, task, Demonstrator(task, pace), bursts, look))
    seconds, success = world.time_s - begin_s, task.success(world)
    return EpisodeResult(task.name, scene.instruction, seed, success, seconds, steps)
