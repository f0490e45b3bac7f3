"""Makes `smolkit/smolvla/assets/classroom`: a small SmolVLA that picks up the cube that the sentence names.

    python datasets/make_classroom_policy.py              # about 20 minutes on two quiet cores
    python datasets/make_classroom_policy.py --try-only   # tries the shipped one on unseen scenes again

Every scene has one red and one green cube, and half of the sentences name each: whoever does not read the
sentence takes the wrong cube half of the time. Scripted demonstrations, the `classroom` preset from scratch; a
helper loss makes the eyes name where both cubes are, and stays behind.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from smolkit.arm.joints import to_radians
from smolkit.arm.kinematics import link_frames
from smolkit.deploy.actor import ChunkActor
from smolkit.evaluation.parallel import ordered_map
from smolkit.evaluation.statistics import wilson_interval
from smolkit.sim.bench import measured_calibration
from smolkit.sim.tasks import task_named
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.presets import build_preset
from smolkit.teleop.loop import run_episode
from smolkit.tour.demos import PACE, Demonstration, demonstrate, open_kit, until_stopped
from smolkit.tour.settings import TourSettings
from smolkit.training.learner import SmolVLALearner, fresh_policy
from smolkit.training.loop import train
from smolkit.training.recipes import tour_recipe
from smolkit.training.samples import Samples

HERE = Path(__file__).parents[1] / "smolkit" / "smolvla" / "assets" / "classroom"
TASK, COLORS = "pick", {"red", "green"}
DEMONSTRATIONS, STEPS, FIRST_TRIAL, TRIALS = 240, 1800, 1_000_000, 50
SETTINGS = TourSettings(task=TASK)


def two_coloured(first: int) -> Iterator[int]:
    """Seeds of the task whose scene has exactly a red and a green cube."""
    for seed in itertools.count(first):
        cubes = task_named(TASK).sample(np.random.default_rng(seed)).cubes
        if len(cubes) == 2 and {cube.color for cube in cubes} == COLORS:
            yield seed


def record() -> list[Demonstration]:
    """Successful demonstrations, noisy and corrected, as the tour's."""
    work = partial(demonstrate, settings=SETTINGS, calibration=measured_calibration())
    tries = ordered_map(work, two_coloured(0), SETTINGS.workers)
    kept = (shown for _, shown in tries if shown.trial.success)
    return list(itertools.islice(kept, DEMONSTRATIONS))


def samples_of(shown: list[Demonstration]) -> Samples:
    """All frames in memory."""
    frames = [seen for episode in shown for seen in episode.observations]
    tasks = tuple(sorted({seen.task for seen in frames}))
    truths_m = np.concatenate([truth_m(episode) for episode in shown]).astype(np.float32)    # (N, 12)
    return Samples({role: np.stack([seen.images[role] for seen in frames]) for role in frames[0].images},
                   np.stack([seen.state_deg for seen in frames]).astype(np.float32),
                   np.concatenate([episode.actions_deg for episode in shown]).astype(np.float32),
                   np.repeat(np.arange(len(shown)), [len(episode.observations) for episode in shown]),
                   np.array([tasks.index(seen.task) for seen in frames]), tasks, truths_m)


def truth_m(shown: Demonstration) -> np.ndarray:
    """Where the red and the green cube were, in the base and as the gripper sees them: (N, 12) m.

    Training asks the picture tokens to name this; without, the front camera's eyes never woke up.
    """
    named, other = task_named(TASK).sample(np.random.default_rng(shown.trial.seed)).cubes
    moved_m, rows = shown.truths_m[:, :3], []                    # the named cube's centre, (N, 3)
    for seen, named_m in zip(shown.observations, moved_m, strict=True):
        at_m = {named.color: named_m, other.color: np.array(other.xyz_m)}
        grip = link_frames(to_radians(seen.state_deg))["gripper"]                            # (4, 4)
        cubes_m = [at_m[color] for color in sorted(COLORS)]
        rows.append(np.concatenate([*cubes_m, *(grip[:3, :3].T @ (cube - grip[:3, 3]) for cube in cubes_m)]))
    return np.stack(rows)


def learn(shown: list[Demonstration], folder: Path) -> None:
    """From scratch; saved in half precision, which halves the file."""
    samples = samples_of(shown)
    preset = build_preset("classroom", samples.cameras, (SETTINGS.image_px, SETTINGS.image_px))
    recipe = tour_recipe(steps=STEPS, max_minutes=None, auxiliary_weight=0.5)
    with tempfile.TemporaryDirectory() as scratch:
        result = train(SmolVLALearner(fresh_policy(preset, samples), samples, recipe), recipe, Path(scratch),
                       progress=lambda p: sys.stdout.write(f"\r{p.step} {p.losses['loss']:.4f} {p.left_s:.0f} s "))
        policy = load_checkpoint(result.policy_dir)
        policy.model.to(torch.float16)
        save_checkpoint(folder, policy)
    sys.stdout.write(f"\ntrained on {samples.count} frames in {result.elapsed_s:.0f} s, loss {result.loss:.4f}\n")


def attempt(seed: int, folder: Path) -> bool:
    """Is the named cube in the gripper at the end?"""
    policy = _policy(folder)
    policy.reset(seed)
    with open_kit(seed, SETTINGS, measured_calibration()) as kit:
        kit.arm.energize()
        steps = until_stopped(kit, run_episode(kit, ChunkActor(policy, SETTINGS.execute), SETTINGS.trial_seconds, PACE,
                                               kit.bench.success))
        return bool(steps) and kit.bench.success()


@lru_cache(maxsize=1)
def _policy(folder: Path):
    return load_checkpoint(folder)


def evaluate(folder: Path) -> dict:
    """Success on unseen scenes, with its interval."""
    seeds = itertools.islice(two_coloured(FIRST_TRIAL), TRIALS)
    won = [success for _, success in ordered_map(partial(attempt, folder=folder), seeds, SETTINGS.workers)]
    low, high = wilson_interval(sum(won), len(won))
    return {"task": TASK, "successes": sum(won), "trials": len(won), "wilson": [round(low, 3), round(high, 3)]}


def main(folder: Path = HERE, learn_too: bool = True) -> None:
    """Records, trains, tries."""
    if learn_too:
        learn(record(), folder)
    sys.stdout.write(json.dumps(evaluate(folder)) + "\n")


if __name__ == "__main__":
    main(learn_too="--try-only" not in sys.argv)
