"""Small seeded examples of everything: for tests, lessons and graders.

    >>> policy = tiny_policy(seed=0)
    >>> policy.predict(fake_observation(seed=1)).actions_deg.shape
    (10, 6)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from smolkit.cameras.camera import Observation
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.presets import build_preset

if TYPE_CHECKING:
    from smolkit.smolvla.policy import SmolVLAPolicy


def tiny_model(seed: int = 0, preset: str = "tiny") -> SmolVLA:
    """An untrained network whose weights depend on the seed alone."""
    chosen = build_preset(preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmolVLA(chosen.config, chosen.backbone)


def tiny_batch(seed: int = 0, batch: int = 2, chunk: int = 10) -> dict[str, Tensor]:
    """A training batch as the preprocessor makes it: two cameras, six joints, two-word tasks."""
    rng = torch.Generator().manual_seed(seed)
    pictures = {f"observation.images.{name}": torch.rand(batch, 3, 48, 64, generator=rng)
                for name in ("front", "wrist")}
    tokens = torch.randint(3, 500, (batch, 16), generator=rng)
    return {**pictures, "observation.state": torch.randn(batch, 6, generator=rng),
            "observation.language.tokens": tokens,
            "observation.language.attention_mask": torch.arange(16).expand(batch, -1) < 5,
            "action": torch.randn(batch, chunk, 6, generator=rng),
            "action_is_pad": torch.arange(chunk).expand(batch, -1) >= chunk - 2}


def tiny_stats(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Statistics of a robot that never existed: means around 0 deg, spreads around 20 deg."""
    rng = torch.Generator().manual_seed(seed)
    return {name: {"mean": 10 * torch.randn(6, generator=rng), "std": 15 + 10 * torch.rand(6, generator=rng)}
            for name in ("observation.state", "action")}


def tiny_policy(seed: int = 0, preset: str = "tiny") -> SmolVLAPolicy:
    """An untrained policy, complete with processors: it predicts nonsense, the same nonsense each time."""
    from smolkit.smolvla.policy import SmolVLAPolicy
    from smolkit.smolvla.processors import make_processors
    from smolkit.smolvla.tokenizer import ASSETS
    model = tiny_model(seed, preset)
    return SmolVLAPolicy(model, make_processors(model.config, tiny_stats(seed), ASSETS), seed=seed)


def fake_observation(seed: int = 0, task: str = "put the red cube in the blue box") -> Observation:
    """One moment of an arm with a front and a wrist camera."""
    rng = np.random.default_rng(seed)
    images = {name: rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for name in ("front", "wrist")}
    return Observation(rng.normal(0, 20, 6), images, task, captured_s=float(seed))
