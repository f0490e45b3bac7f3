"""What lesson 04 looks at, in each lane: one dataset of one's own, and three that are shipped. Nothing moves.

    desk = open_desk("sim")
    desk.root, desk.pick_place, desk.sick      # folders of LeRobot datasets

`sim`: four episodes are recorded now, on the simulated bench. `recorded`: the shipped `pick_place`. `real`: a dataset
of yours, read only. The recipes of `datasets/` record with the same functions.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from smolkit.cameras.camera import CameraRole
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.lessons.lane import dataset, outputs, quick
from smolkit.lessons.teleop_desk import hesitating
from smolkit.report import SmolkitError
from smolkit.sim.bench import measured_calibration
from smolkit.sim.scene import Scene
from smolkit.sim.tasks import task_named
from smolkit.sim.world import shared_renderer
from smolkit.teleop.loop import Pace, Step, run_episode
from smolkit.teleop.scripted import ScriptedActor

LESSON = "dataset_inspection"
IMAGE_PX, FPS, LONGEST_S = 128, 10, 14.0
HESITATES = range(12, 40)                      # steps of an attempt in which the demonstrator thinks
OWN = ((0, "red"), (1, "green"), (0, "green"), (1, "red"))         # scene, cube: what the sim lane records


@dataclass(frozen=True)
class Desk:
    """The dataset that the lesson looks at first, and the shipped ones."""

    root: Path

    @cached_property
    def pick_place(self) -> Path:
        """Ten scenes, two cubes, and each scene twice: once for each sentence."""
        return dataset("pick_place")

    @cached_property
    def sick(self) -> Path:
        """Six faults that no program ever complained about."""
        return dataset("sick")

    def folder(self, name: str) -> Path:
        """A new folder of this lesson's outputs: what an earlier run left there goes."""
        root = outputs(LESSON) / name
        shutil.rmtree(root, ignore_errors=True)
        return root


def open_desk(lane: str, own_dataset: str = "") -> Desk:
    """The desk of a lane; `own_dataset` is for the real one."""
    if lane == "sim":
        root = Desk(Path()).folder("sim_lesson")
        own = OWN[:2] if quick() else OWN
        write(root, [attempt(scene, named) for scene, named in own], {"lesson": "04_dataset_inspection"})
        return Desk(root)
    if lane == "real" and not own_dataset:
        raise SmolkitError("SK445", "a dataset of yours, for the lane real", "none was named",
                           "the first cell of the lesson was left as it came",
                           'set DATASET = "../outputs/03_teleop_recording/real_mine", the recording of lesson 03')
    return Desk(Path(own_dataset) if lane == "real" else dataset("pick_place"))


# -- recording ------------------------------------------------------------------------------------------------


def attempt(scene: int, named: str = "", thinks: bool = False, image_px: int = IMAGE_PX) -> list[Step]:
    """The scripted demonstrator behind driver and guard, in stepped time; raises SK446 where it fails.

    named: "red" or "green", the cube that the sentence names; "" for the ball of the task "reach". One that
    thinks stands for almost three seconds in the middle.
    """
    with Kit.sim("place" if named else "reach", scene, image_px=image_px, renderer=shared_renderer(),
                 parks=False) as kit:
        if named:
            kit.bench.scene = two_cubes(scene, named)
            kit.bench.world.reset(kit.bench.scene)
            kit.task = kit.bench.scene.instruction
        kit.arm.energize()
        actor = hesitating(ScriptedActor(kit.bench), HESITATES if thinks else range(0))
        steps = list(run_episode(kit, actor, LONGEST_S, Pace(FPS, 3 * FPS), kit.bench.success))
        if not kit.bench.success():
            raise SmolkitError("SK446", f"{kit.task!r} done within {LONGEST_S:g} s", "it was not",
                               f"the demonstrator cannot cope with scene {scene}", "take another scene")
    return steps


def two_cubes(scene: int, named: str) -> Scene:
    """A red and a green cube and a blue box. The sentence is all that tells which cube is meant."""
    task = task_named("place").vary(cube_colors=("red",), box_colors=("blue",), distractors=(1, 1), boxes=(1, 1))
    drawn = task.sample(np.random.default_rng(scene))
    red, other = drawn.cubes
    cubes = (red, replace(other, name="green cube", color="green"))
    return replace(drawn, cubes=cubes if named == "red" else cubes[::-1],
                   instruction=f"put the {named} cube in the blue box")


def write(root: Path, episodes: Iterable[list[Step]], notes: dict[str, str]) -> Path:
    """One dataset of these episodes; each has the instruction of its first observation."""
    cameras = [CameraRole(name, IMAGE_PX, IMAGE_PX, fps=FPS) for name in ("front", "wrist")]
    with Recorder(root, fps=FPS, cameras=cameras, calibration=measured_calibration(), notes=notes) as recorder:
        for steps in episodes:
            recorder.begin(steps[0].observation.task)
            for step in steps:
                recorder.add(step)
            recorder.save()
    return root
