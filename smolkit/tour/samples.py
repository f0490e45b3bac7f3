"""What the tour's pages show of a recording: first pictures, and where the cubes lay."""

from __future__ import annotations

import numpy as np

from smolkit.data.reader import Dataset
from smolkit.sim.tasks import task_named


def contact_frames(dataset: Dataset, most: int = 12) -> list[np.ndarray]:
    """The first front-camera picture (H, W, 3) of up to `most` episodes, spread over the recording."""
    starts = np.asarray(dataset.starts[:-1])
    chosen = starts[np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int)]
    return list(dataset.frames("observation.images.front", chosen))


def cube_places(task: str, seeds: list[int]) -> np.ndarray:
    """Where the cube lay at the start of these scenes: (N, 2) m. A seed draws its scene again."""
    scenes = (task_named(task).sample(np.random.default_rng(seed)) for seed in seeds)
    return np.array([scene.cubes[0].xyz_m[:2] for scene in scenes])
