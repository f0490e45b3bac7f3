"""The tour's training stage: dataset in, checkpoint out, resumable at any moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from smolkit.data.reader import Dataset
from smolkit.smolvla.presets import build_preset
from smolkit.tour.settings import TourSettings
from smolkit.training.learner import SmolVLALearner, fresh_policy
from smolkit.training.loop import Progress, train
from smolkit.training.recipes import tour_recipe
from smolkit.training.samples import Samples


def learn(dataset_dir: Path, out_dir: Path, settings: TourSettings,
          tell: Callable[[str, int, int, str], None]) -> dict:
    """Trains the `classroom` preset from scratch; goes on from the newest checkpoint if there is one.

    Errors: KeyboardInterrupt after Ctrl-C, once everything is saved.
    """
    with closing(Dataset(dataset_dir)) as dataset:
        samples = Samples.from_arrays(dataset.to_arrays())
    preset = build_preset("classroom", tuple(samples.images), (settings.image_px, settings.image_px))
    config = tour_recipe() if settings.train_steps is None else tour_recipe(steps=settings.train_steps)
    learner = SmolVLALearner(fresh_policy(preset, samples), samples, config)

    def show(progress: Progress) -> None:
        minutes, seconds = divmod(int(progress.left_s), 60)
        tell("train", progress.step, progress.total_steps,
             f"loss {progress.losses['loss']:.3f}, {minutes}:{seconds:02d} left")

    result = train(learner, config, out_dir, progress=show)
    if not result.finished:
        raise KeyboardInterrupt
    return {"steps": result.steps, "parameters": learner.trainable, "seconds": result.elapsed_s,
            "loss": result.loss, "samples": samples.count,
            "curve": result.curve_path.relative_to(out_dir.parent).as_posix()}
