"""Controls: the same policy with one vital part taken away. A success rate means something beside them.

    >>> sorted(CONTROLS)
    ['blank_cameras', 'dead_normaliser', 'untrained']

Each takes a trained policy and returns one that looks just as healthy: it loads, it predicts, nothing
crashes. That is how these faults appear on a learner's desk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from smolkit.cameras.camera import Observation
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import ActionChunk, SmolVLAPolicy


class BlindPolicy:
    """Covers every lens: the policy sees joints and instruction, and grey pictures."""

    def __init__(self, policy: SmolVLAPolicy):
        self._policy = policy

    def reset(self, seed: int = 0) -> None:
        self._policy.reset(seed)

    def predict(self, observation: Observation) -> ActionChunk:
        grey = {role: np.full_like(image, 128) for role, image in observation.images.items()}
        return self._policy.predict(replace(observation, images=grey))


def untrained(policy: SmolVLAPolicy, seed: int = 0) -> SmolVLAPolicy:
    """Random weights under the right statistics: what a forgotten `load_vlm_weights` deploys."""
    torch.manual_seed(seed)
    return SmolVLAPolicy(SmolVLA(policy.model.config, policy.model.backbone), policy.processors, policy.fps)


def dead_normaliser(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Mean 0 and std 1 instead of the dataset's: the silent identity of missing statistics."""
    normalizer = policy.processors.normalizer
    dead = {name: {"mean": torch.zeros_like(stats["mean"]), "std": torch.ones_like(stats["std"])}
            for name, stats in normalizer.stats.items() if {"mean", "std"} <= set(stats)}
    processors = replace(policy.processors, normalizer=replace(normalizer, stats=dead))
    return SmolVLAPolicy(policy.model, processors, policy.fps)


CONTROLS: dict[str, Callable[[SmolVLAPolicy], SmolVLAPolicy | BlindPolicy]] = {
    "untrained": untrained, "dead_normaliser": dead_normaliser, "blank_cameras": BlindPolicy}
