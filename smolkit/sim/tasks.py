"""The tasks: an instruction, scenes drawn by a seed, and a test of what physically became true.

    >>> import numpy as np
    >>> scene = TASKS["place"].sample(np.random.default_rng(3))
    >>> scene.instruction
    'put the blue cube in the green box'
    >>> sorted(TASKS)
    ['fallen', 'pick', 'place', 'push', 'reach', 'tour']

The first cube of a scene is the one that the instruction means and the first box its destination; what
follows are distractors. Success reads the physics, never the demonstrator: a cube is in the box when it
lies there at rest and the gripper has let go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from smolkit.report import SmolkitError
from smolkit.sim import layout
from smolkit.sim.intents import in_box
from smolkit.sim.layout import Variant
from smolkit.sim.scene import Scene
from smolkit.sim.truth import Truth, truth_of
from smolkit.sim.world import World

TOUCH_M, LIFT_M, ZONE_M = 0.015, 0.05, 0.025
LET_GO_M, AT_REST_M_S = 0.03, 0.05


@dataclass(frozen=True)
class Task:
    """A data sheet: what is asked, how scenes are drawn, when it is done, how long it may take.

    `sample(rng)` draws a scene (poses, colours, light, tints, camera places, start pose, sentence).
    `success(world)` looks at positions, speeds and the gripper of the world as it is now.
    """

    name: str
    about: str                                   # what counts as success, in words
    timeout_s: float
    layout: Callable[[np.random.Generator, Variant], Scene]
    reached: Callable[[Truth, float], bool]      # (truth, speed m/s of cube or hand) -> done?
    variant: Variant = Variant()

    def sample(self, rng: np.random.Generator) -> Scene:
        """One scene; the same generator state draws the same scene."""
        scene = layout.furnish(rng, self.layout(rng, self.variant))
        rng.integers(2**31)                      # unused: without it, recorded seeds would give other bursts
        return scene

    def success(self, world: World) -> bool:
        """Is it physically done, now?"""
        cubes = world.scene.cubes
        velocity = world.body_velocity(cubes[0].name if cubes else "gripper")
        return self.reached(truth_of(world), float(np.linalg.norm(velocity)))

    def vary(self, **changes) -> Task:
        """The same task with other colours, sides or distractors.

            >>> TASKS["place"].vary(cube_colors=("red",)).variant.cube_colors
            ('red',)
        """
        return replace(self, variant=replace(self.variant, **changes))


def task_named(name: str) -> Task:
    """The task of that name; SK230 when there is none."""
    if name not in TASKS:
        raise SmolkitError("SK230", f"one of {', '.join(sorted(TASKS))}", repr(name),
                           "a task's name is misspelt", "smolkit.sim.tasks.TASKS lists the tasks")
    return TASKS[name]


def _touched(truth: Truth, speed_m_s: float) -> bool:
    return bool(np.linalg.norm(truth.tip_m - truth.place_m) < TOUCH_M and speed_m_s < AT_REST_M_S)


def _pushed(truth: Truth, speed_m_s: float) -> bool:
    return bool(np.linalg.norm((truth.cube_m - truth.place_m)[:2]) < ZONE_M)


def _lifted(truth: Truth, speed_m_s: float) -> bool:
    in_hand = np.linalg.norm(truth.centre_m - truth.cube_m) < 0.02
    return bool(in_hand and truth.cube_m[2] > truth.cube_edge_m / 2 + LIFT_M)


def _placed(truth: Truth, speed_m_s: float) -> bool:
    let_go = np.linalg.norm(truth.centre_m - truth.cube_m) > LET_GO_M
    return bool(in_box(truth) and let_go and speed_m_s < AT_REST_M_S)


TASKS: dict[str, Task] = {task.name: task for task in (
    Task("reach", "the finger tip stops within 1.5 cm of the floating ball", 6.0,
         layout.reach_scene, _touched),
    Task("push", "the named cube's centre lies within 2.5 cm of the zone's centre", 15.0,
         layout.push_scene, _pushed),
    Task("pick", "the named cube is in the gripper, 5 cm above where it lay", 12.0,
         layout.pick_scene, _lifted, Variant(distractors=(0, 2))),
    Task("place", "the named cube lies at rest in the named box and the gripper has let go", 16.0,
         layout.place_scene, _placed, Variant(distractors=(0, 2), boxes=(1, 2))),
    Task("fallen", "the cube that lies beside its empty stand is in the gripper, 5 cm up", 12.0,
         layout.fallen_scene, _lifted),
    Task("tour", "as place: one red cube, one blue box, on either side", 14.0, layout.place_scene, _placed,
         Variant(cube_colors=("red",), box_colors=("blue",), sentence="put the cube in the box")),
)}
