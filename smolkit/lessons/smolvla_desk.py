"""What lesson 05 looks at, in each lane: moments of an attempt, and a policy. Nothing moves in any of them.

    desk = open_desk("sim")
    desk.moments[0].observation, desk.moments[0].picture, desk.policy

`sim`: the simulated bench is rendered now, while its scripted expert works. `recorded`: the same, recorded.
`real`: a dataset of yours, read only. In every lane the policy is the shipped classroom checkpoint, unless you
name a folder of your own.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smolkit.cameras.camera import Observation
from smolkit.lessons.lane import dataset
from smolkit.report import SmolkitError
from smolkit.smolvla.tokenizer import ASSETS

if TYPE_CHECKING:
    from smolkit.data.reader import Dataset
    from smolkit.smolvla.ablations import Change
    from smolkit.smolvla.policy import SmolVLAPolicy
    from smolkit.teleop.loop import Step

CLASSROOM = ASSETS / "classroom"
TASK = "pick"                                 # what the classroom checkpoint learned: one red cube, one green
SCENES = (2_000_068, 2_000_641, 2_000_580)    # with a cube on each side; the checkpoint learned from other scenes
AT = (0, 4, 8)                                # steps of an attempt, at 10 Hz; the first is what the lesson follows
IMAGE_PX, PICTURE_PX = 64, (480, 640)


@dataclass(frozen=True)
class Moment:
    """What the policy knows, the front picture as large as it can be had, and what the demonstrator did next."""

    observation: Observation
    picture: np.ndarray                       # (H, W, 3) uint8, front
    shown_deg: np.ndarray                     # (up to 16, 6) body deg, gripper %


@dataclass(frozen=True)
class Desk:
    """Moments, the first of which the lesson follows, and the policy that is taken apart."""

    moments: tuple[Moment, ...]
    policy: SmolVLAPolicy
    folder: Path                              # of the policy

    @property
    def observations(self) -> list[Observation]:
        return [moment.observation for moment in self.moments]


def open_desk(lane: str, own_dataset: str = "", checkpoint: str = "") -> Desk:
    """The lane's moments and a policy; `checkpoint` names a folder of yours in any lane."""
    from smolkit.smolvla.checkpoint import load_checkpoint
    folder = Path(checkpoint or CLASSROOM)
    policy = load_checkpoint(folder)
    chunk = policy.model.config.chunk_size
    if lane == "sim":
        moments = {(at, scene): moment for scene in SCENES for at, moment in _simulated(scene, chunk).items()}
        return Desk(tuple(moments[at, scene] for at in AT for scene in SCENES), policy, folder)
    root = dataset("inside_smolvla") if lane == "recorded" else _given(own_dataset)
    return Desk(recorded_moments(root, chunk), policy, folder)


def _given(own_dataset: str) -> Path:
    if not own_dataset:
        raise SmolkitError("SK827", "a dataset of yours, for the lane real", "none was named",
                           "the first cell of the lesson was left as it came",
                           'set DATASET = "../outputs/teleop_recording/lesson", the recording of lesson 03')
    return Path(own_dataset)


def attempt(scene: int, image_px: int = IMAGE_PX) -> tuple[list[Step], dict[int, np.ndarray]]:
    """The scripted expert's attempt at a scene, and the front camera's large picture before the steps of `AT`."""
    from smolkit.kit import Kit
    from smolkit.sim.world import shared_renderer
    from smolkit.teleop.loop import Pace, run_episode
    from smolkit.teleop.scripted import ScriptedActor
    with Kit.sim(TASK, scene, image_px=image_px, renderer=shared_renderer(), parks=False) as kit:
        kit.arm.energize()
        steps, large = [], {0: kit.bench.world.render("front", *PICTURE_PX)}
        for step in run_episode(kit, ScriptedActor(kit.bench), 8.0, Pace(10, 30), kit.bench.success):
            steps.append(step)
            if len(steps) in AT:
                large[len(steps)] = kit.bench.world.render("front", *PICTURE_PX)
    return steps, large


def _simulated(scene: int, chunk: int) -> dict[int, Moment]:
    steps, large = attempt(scene)
    actions_deg = np.array([step.action_deg for step in steps])
    return {at: Moment(steps[at].observation, large[at], actions_deg[at:at + chunk]) for at in AT}


def recorded_moments(root: Path, chunk: int) -> tuple[Moment, ...]:
    """The same moments of a dataset's first episodes."""
    from smolkit.data.reader import Dataset
    with closing(Dataset(root)) as rows:
        episodes = [rows.positions(episode.index) for episode in rows.episodes[:len(SCENES)]]
        return tuple(_moment(rows, rows_of, min(at, len(rows_of) - 1), chunk) for at in AT for rows_of in episodes)


def _moment(rows: Dataset, rows_of: range, at: int, chunk: int) -> Moment:
    row = rows[rows_of[at]]
    images = {key.removeprefix("observation.images."): row[key] for key in rows.camera_keys}
    picture = images.get("front", next(iter(images.values())))
    return Moment(Observation(row["observation.state"].astype(float), images, row["task"]), picture,
                  rows.columns["action"][rows_of[at]:rows_of.stop][:chunk])


def changes(policy: SmolVLAPolicy, observation: Observation) -> dict[str, Change]:
    """What exercise 5.3 does to an observation, by name: words, cameras (the first and the last one), joints."""
    from smolkit.smolvla.ablations import change_of
    known = tuple(observation.images)
    first, last = known[0], known[-1]
    sentences = {"no words": "drop words", "front covered": f"blank {first}", "wrist covered": f"blank {last}",
                 "cameras exchanged": f"swap {first} and {last}", "joints unknown": "drop state"}
    return {"one other word": _one_other_word,
            **{name: change_of(policy, sentence, known) for name, sentence in sentences.items()}}


def _one_other_word(observation: Observation) -> Observation:
    """The other cube's colour; in a sentence without one, another last word.

        >>> _one_other_word(Observation(np.zeros(6), task="pick up the red cube")).task
        'pick up the green cube'
        >>> _one_other_word(Observation(np.zeros(6), task="wipe the table")).task
        'wipe the box'
    """
    words = observation.task.split()
    other = [{"red": "green", "green": "red"}.get(word, word) for word in words]
    return replace(observation, task=" ".join(other if other != words else [*words[:-1], "box"]))
