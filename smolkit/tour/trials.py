"""Trials of the trained policy and of its controls: bus, envelope, unseen scenes, and films of some.

    trials = list(run_trials(partial(try_scene, job=job), seeds, file, workers=2))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.data.video import VideoEncoder
from smolkit.deploy.actor import ChunkActor
from smolkit.evaluation.controls import CONTROLS
from smolkit.evaluation.trials import Trial
from smolkit.kit import FRONT_AND_WRIST, Kit
from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.teleop.loop import Step, run_episode
from smolkit.tour.demos import PACE, open_kit, trial_of, until_stopped
from smolkit.tour.settings import TourSettings

FILM_PX = 240


@dataclass(frozen=True)
class Job:
    """What a worker process needs to try a scene."""

    policy_dir: Path
    settings: TourSettings
    calibration: Calibration
    control: str | None = None             # a name of `CONTROLS`, or the policy as it was trained


def try_scene(seed: int, job: Job) -> Trial:
    """One attempt at the scene of that seed. The same seed gives the same trial twice."""
    with open_kit(seed, job.settings, job.calibration, job.settings.wall_clock and job.control is None) as kit:
        return trial_of(kit, job.settings.task, seed, len(_attempt(kit, job, seed)))


def film_scene(seed: int, job: Job) -> np.ndarray:
    """The same attempt again, filmed: (N, FILM_PX, 2 * FILM_PX, 3) uint8, front and wrist side by side."""
    with open_kit(seed, job.settings, job.calibration) as kit:
        frames: list[np.ndarray] = []
        world = kit.bench.world
        _attempt(kit, job, seed, lambda: frames.append(
            np.hstack([world.render(name, FILM_PX, FILM_PX) for name in FRONT_AND_WRIST])))
        return np.stack(frames)


def write_gallery(path: Path, films: Iterable[np.ndarray]) -> None:
    """One film of several attempts, one after the other; a short one holds its last picture for a second."""
    encoder = VideoEncoder(FILM_PX, 2 * FILM_PX, PACE.policy_hz)
    for film in films:
        for frame in (*film, *[film[-1]] * PACE.policy_hz):
            encoder.add(frame)
    path.write_bytes(encoder.finish())


def _attempt(kit: Kit, job: Job, seed: int, watch: Callable[[], None] = lambda: None) -> list[Step]:
    policy = _policy(job.policy_dir, job.control)
    policy.reset(seed)
    kit.arm.energize()
    actor = ChunkActor(policy, job.settings.execute)

    def finished() -> bool:
        watch()
        return kit.bench.success()

    return until_stopped(kit, run_episode(kit, actor, job.settings.trial_seconds, PACE, finished))


@lru_cache(maxsize=4)
def _policy(policy_dir: Path, control: str | None):
    policy = load_checkpoint(policy_dir)
    return policy if control is None else CONTROLS[control](policy)
