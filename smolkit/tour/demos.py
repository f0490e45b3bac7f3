"""Recording the demonstrations: the scripted expert, through driver and envelope, into a LeRobot dataset.

    for done in record(folder / "dataset", settings, calibration): print(done, "episodes")

Simulation runs in worker processes, one process writes. Only successful demonstrations are kept; the
scene's seed is a column of the dataset, so an interrupted recording knows where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.cameras.camera import CameraRole, Observation
from smolkit.data.reader import Dataset
from smolkit.data.recorder import open_writer
from smolkit.data.schema import Feature
from smolkit.data.writer import DatasetWriter
from smolkit.evaluation.parallel import ordered_map
from smolkit.evaluation.trials import Trial
from smolkit.kit import FRONT_AND_WRIST, Kit
from smolkit.report import SmolkitError
from smolkit.safety.states import State
from smolkit.sim.tasks import task_named
from smolkit.sim.world import shared_renderer
from smolkit.teleop.loop import Decision, Pace, Step, run_episode
from smolkit.teleop.scripted import PRIVILEGED_NAMES, ScriptedActor, privileged_truth
from smolkit.tour.settings import TourSettings

PACE = Pace(policy_hz=10, control_hz=30)
SEED_COLUMN, TRUTH_COLUMN = "scene_seed", "observation.environment_state"


@dataclass(frozen=True)
class Demonstration:
    """One episode as a worker process hands it over."""

    observations: tuple[Observation, ...]
    actions_deg: np.ndarray                    # (N, 6) body deg, gripper %
    truths_m: np.ndarray                       # (N, 11) true positions, which only a simulation knows
    trial: Trial                               # how it went, in an evaluation's words


def demonstrate(seed: int, settings: TourSettings, calibration: Calibration) -> Demonstration:
    """Shows the task once in the scene of that seed, under the profile that the policy will run under."""
    with open_kit(seed, settings, calibration) as kit:
        kit.arm.energize()
        expert, truths = ScriptedActor(kit.bench, noisy=True), []

        def actor(observation: Observation) -> Decision:
            truths.append(privileged_truth(kit.bench))
            return expert(observation)

        steps = until_stopped(kit, run_episode(kit, actor, settings.trial_seconds, PACE, finished=kit.bench.success))
        return Demonstration(tuple(step.observation for step in steps),
                             np.array([step.action_deg for step in steps]), np.array(truths[:len(steps)]),
                             trial_of(kit, settings.task, seed, len(steps)))


def record(root: Path, settings: TourSettings, calibration: Calibration) -> Iterator[Demonstration]:
    """Records until the dataset holds `settings.demonstrations` episodes; yields each attempt.

    Call it again after an interruption: saved episodes stay, seeds continue after the last one.
    """
    work = partial(demonstrate, settings=settings, calibration=calibration)
    with _open_writer(root, settings, calibration) as writer:
        if writer.episodes >= settings.demonstrations:
            return
        seeds = count(_next_seed(root, settings, writer.episodes))
        attempts = ordered_map(work, seeds, settings.workers)
        try:
            for seed, attempt in attempts:
                if attempt.trial.success:
                    _save(writer, seed, attempt)
                yield attempt
                if writer.episodes >= settings.demonstrations:
                    return
        finally:
            attempts.close()


def until_stopped(kit: Kit, episode: Iterator[Step]) -> list[Step]:
    """The steps of an episode; one in which the guard stopped the arm ends there, and has failed."""
    steps: list[Step] = []
    try:
        steps.extend(episode)
    except SmolkitError:
        if kit.arm.state is not State.HOLD:
            raise
    return steps


def trial_of(kit: Kit, task: str, seed: int, steps: int) -> Trial:
    """What there is to say about the episode that a kit just went through."""
    x_m, y_m, _ = task_named(task).sample(np.random.default_rng(seed)).cubes[0].xyz_m
    success = kit.bench.success() and kit.arm.state is not State.HOLD
    return Trial(seed, success, round(steps / PACE.policy_hz, 3), (x_m, y_m), round(kit.arm.limited_share, 4))


def open_kit(seed: int, settings: TourSettings, calibration: Calibration, wall_clock: bool = False) -> Kit:
    """The tour's arm in the scene of that seed. The renderer is shared: making one costs half a second."""
    return Kit.sim(settings.task, seed, profile=settings.profile, image_px=settings.image_px, calibration=calibration,
                   renderer=None if wall_clock else shared_renderer(), wall_clock=wall_clock, parks=False)


def _open_writer(root: Path, settings: TourSettings, calibration: Calibration) -> DatasetWriter:
    size_px = settings.image_px
    cameras = [CameraRole(name, size_px, size_px, PACE.policy_hz) for name in FRONT_AND_WRIST]
    columns = {SEED_COLUMN: Feature("int64", (1,)),
               TRUTH_COLUMN: Feature("float32", (len(PRIVILEGED_NAMES),), list(PRIVILEGED_NAMES))}
    return open_writer(root, fps=PACE.policy_hz, cameras=cameras, features=columns, calibration=calibration,
                       notes={"profile": settings.profile})


def _next_seed(root: Path, settings: TourSettings, episodes: int) -> int:
    if episodes == 0:
        return settings.first_demo_seed
    with closing(Dataset(root, episodes=[episodes - 1])) as dataset:
        return int(dataset.columns[SEED_COLUMN][0]) + 1


def _save(writer: DatasetWriter, seed: int, attempt: Demonstration) -> None:
    for seen, action_deg, truth_m in zip(attempt.observations, attempt.actions_deg, attempt.truths_m, strict=True):
        writer.add(seen, action_deg, **{SEED_COLUMN: seed, TRUTH_COLUMN: truth_m})
    writer.save_episode()
