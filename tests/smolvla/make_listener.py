"""The recipe of `listener/`, a trained policy of 0.2 MB that looks and listens: python -m tests.smolvla.make_listener

A square lies on the front camera's table, the wrist camera shows a bar, a sentence says left or right. The arm goes to
that side of the square and opens its gripper as far as the bar is high: a policy that does so has looked and listened.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from smolkit.smolvla.backbone import TextConfig, VisionConfig
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.presets import Preset, build_preset
from smolkit.training.learner import SmolVLALearner, fresh_policy
from smolkit.training.loop import train
from smolkit.training.recipes import tour_recipe
from smolkit.training.samples import Samples

LISTENER = Path(__file__).parent / "listener"
TASKS = ("push the cube to the left", "push the cube to the right")
STEPS, SIDE_PX = 8, 32                                       # of an episode; of a picture
CENTRE_DEG = np.array([0.0, -10, 20, 60, 0, 45])


def scenes(episodes: int, seed: int) -> Samples:
    """Episodes of eight steps from a random pose to what the pictures and the sentence ask for."""
    rng = np.random.default_rng(seed)
    spots, bars = rng.integers(4, SIDE_PX - 4, (episodes, 2)), rng.integers(4, SIDE_PX - 4, episodes)    # px
    task = rng.integers(0, 2, episodes)
    front = np.full((episodes, SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    wrist = np.full((episodes, SIDE_PX, SIDE_PX, 3), 60, np.uint8)
    for i, ((row, column), bar) in enumerate(zip(spots, bars, strict=True)):
        front[i, row - 3:row + 3, column - 3:column + 3] = (220, 40, 40)
        wrist[i, bar:] = (60, 200, 80)
    (row, column), bar, side = spots.T / SIDE_PX - 0.5, bars / SIDE_PX - 0.5, task - 0.5             # each -0.5 to 0.5
    wish = np.stack([50 * column + 60 * side, 60 * row, -70 * row, 40 * bar, 80 * side, 80 * bar], axis=1)
    start = 25 * rng.uniform(-1, 1, (episodes, 6))
    way = np.arange(STEPS + 1)[:, None] / STEPS                                # (9, 1)
    path_deg = CENTRE_DEG + start[:, None] + way * (wish - start)[:, None]     # (E, 9, 6)
    again = np.repeat(np.arange(episodes), STEPS)
    return Samples({"front": front[again], "wrist": wrist[again]},
                   path_deg[:, :-1].reshape(-1, 6).astype(np.float32),
                   path_deg[:, 1:].reshape(-1, 6).astype(np.float32), again, task[again], TASKS)


def preset() -> Preset:
    """The classroom's architecture at a thirtieth of its size."""
    whole = build_preset("classroom", ("front", "wrist"), (SIDE_PX, SIDE_PX))
    config = replace(whole.config, chunk_size=STEPS, resize_imgs_with_padding=(SIDE_PX, SIDE_PX), num_vlm_layers=2,
                     expert_width_multiplier=0.5, vlm_model_name="smolkit/listener")
    text = TextConfig(width=32, ffn=64, layers=2, heads=2, kv_heads=1, head_dim=16, vocabulary=512)
    vision = VisionConfig(kind="keypoints", image_px=SIDE_PX, channels=12, keypoints=8, stride=2)
    return Preset(config, replace(whole.backbone, text=text, vision=vision))


def make(folder: Path, steps: int = 1500, seed: int = 0) -> float:
    """Trains it from scratch into `folder`, in bfloat16; returns the last loss."""
    samples = scenes(3000, seed)
    recipe = tour_recipe(steps=steps, max_minutes=None, threads=1, image_shift_px=0, colour_jitter=0.05, batch_size=32,
                         learning_rate=3e-3, seed=seed, checkpoint_every_s=1e9)
    with tempfile.TemporaryDirectory() as scratch:
        result = train(SmolVLALearner(fresh_policy(preset(), samples, seed), samples, recipe), recipe, Path(scratch))
        save_checkpoint(folder, load_checkpoint(result.policy_dir, dtype=torch.bfloat16))
    return result.loss


if __name__ == "__main__":
    print(f"loss {make(LISTENER):.3f}")
