"""Moments to try a policy on: pictures, pose and sentence that belong together, from the simulator or a dataset.

    >>> moments = simulated(("observation.images.front", "observation.images.wrist"), height_px=64, width_px=64)
    >>> [moment.observation.task for moment in moments]
    ['put the green cube in the yellow box', 'put the red cube in the blue box']
    >>> moments[0].sentences[1]                                  # something else that this very table allows
    ('pick up the green cube', 'pick up the red cube')

A policy says little about noise: it has never seen any. So the pictures show what most policies of such an arm
see, a table with cubes and boxes, the arm at work on it, drawn by the simulator; two cubes and two boxes lie
there, so that a sentence has something to decide. A dataset's own pictures are better still.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import from_radians
from smolkit.cameras.camera import Observation

if TYPE_CHECKING:
    from smolkit.data.reader import Dataset
    from smolkit.sim.world import World

SCENES = ((63, 10), (67, 4))        # (seed, steps of 0.1 s into a demonstration): at the cube, and setting out
ON_THE_HAND = ("wrist", "hand", "gripper")
SENTENCES = 4                      # to tell apart


@dataclass(frozen=True)
class Moment:
    """What the policy is shown; `observation.images` is keyed by the policy's own camera names."""

    observation: Observation
    sentences: tuple[tuple[str, ...], ...]     # groups that all make sense here; the observation's own comes first
    actions: np.ndarray | None = None          # (n, a) what was done next, where a recording knows it


@cache
def simulated(cameras: tuple[str, ...], height_px: int, width_px: int) -> tuple[Moment, ...]:
    """The simulated bench in the middle of two demonstrations; seeded, the same each time. Pictures are read-only."""
    from smolkit.sim.render import SoftwareRenderer
    from smolkit.sim.world import World
    world = World(renderer=SoftwareRenderer())             # the same pictures on every computer
    return tuple(_simulated(world, cameras, (height_px, width_px), *scene) for scene in SCENES)


def _simulated(world: World, cameras: Sequence[str], size_px: tuple[int, int], seed: int, steps: int) -> Moment:
    from smolkit.sim.demonstrator import Demonstrator, episode
    from smolkit.sim.tasks import TASKS
    task = TASKS["place"].vary(cube_colors=("red", "green"), distractors=(1, 1), boxes=(2, 2))
    scene = task.sample(np.random.default_rng(seed))
    world.reset(scene)
    for _ in islice(episode(world, task, Demonstrator(task)), steps):
        continue
    views = {view: world.render(view, *size_px) for view in ("front", "wrist")}
    pictures = {name: _picture(views, view) for name, view in zip(cameras, _views(cameras), strict=True)}
    for picture in pictures.values():
        picture.setflags(write=False)                      # the cache hands the same ones to everybody
    state_deg = from_radians(world.state().angle_rad)
    put = tuple(f"put the {cube.color} cube in the {box.color} box" for cube, box in product(scene.cubes, scene.boxes))
    pick = tuple(f"pick up the {cube.color} cube" for cube in scene.cubes)
    return Moment(Observation(state_deg, pictures, put[0]), (put[:SENTENCES], pick))


def _views(cameras: Sequence[str]) -> list[str]:
    """Which view each camera gets: the hand's where its name says so, or else the second of three strangers."""
    held = [any(word in name for word in ON_THE_HAND) for name in cameras]
    if not any(held) and len(cameras) > 1:
        held[1] = True
    front = iter(["front", *["mirrored"] * len(cameras)])
    return ["wrist" if on_hand else next(front) for on_hand in held]


def _picture(views: dict[str, np.ndarray], view: str) -> np.ndarray:
    """(H, W, 3); a third camera's picture is the front's, seen in a mirror."""
    return np.ascontiguousarray(views["front"][:, ::-1]) if view == "mirrored" else views[view]


def asked(moments: Sequence[Moment], tasks: Sequence[str]) -> tuple[Moment, ...]:
    """The same moments with instructions that a policy has learned."""
    turns = [(*tasks[i % len(tasks):], *tasks[:i % len(tasks)])[:SENTENCES] for i in range(len(moments))]
    return tuple(replace(moment, observation=replace(moment.observation, task=turn[0]), sentences=(turn,))
                 for moment, turn in zip(moments, turns, strict=True))


def recorded(root: str | Path, names: dict[str, str], horizon: int, count: int = 3) -> tuple[Moment, ...]:
    """Moments of a dataset, spread over its episodes. names: the dataset's camera -> the policy's."""
    from smolkit.data.reader import Dataset
    with closing(Dataset(root)) as dataset:
        episodes = np.linspace(0, len(dataset.episodes) - 1, count).round().astype(int)
        shares = np.linspace(0.15, 0.7, count)              # into an episode: neither its rest nor its end
        return tuple(_recorded(dataset, names, horizon, int(episode), share)
                     for episode, share in zip(episodes, shares, strict=True))


def _recorded(dataset: Dataset, names: dict[str, str], horizon: int, episode: int, share: float) -> Moment:
    first, end = dataset.starts[episode], dataset.starts[episode + 1]
    row = int(first + share * (end - first))
    task = dataset.tasks[int(dataset.columns["task_index"][row])]
    others = [sentence for sentence in dataset.tasks if sentence != task]
    pictures = {ours: dataset.frames(theirs, [row])[0] for theirs, ours in names.items()}
    seen = Observation(np.asarray(dataset.columns["observation.state"][row], float), pictures, task)
    actions = np.asarray(dataset.columns["action"][row:min(row + horizon, int(end))], float)
    return Moment(seen, ((task, *others[:SENTENCES - 1]),), actions)
