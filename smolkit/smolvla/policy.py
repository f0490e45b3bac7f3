"""A policy as the arm sees it: observations in, a chunk of actions in degrees out.

    >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
    >>> chunk = tiny_policy().predict(fake_observation())
    >>> chunk.actions_deg.shape, chunk.fps
    ((10, 6), 10)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.smolvla import aloha
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.processors import Processors
from smolkit.smolvla.rtc import RealTimeChunking
from smolkit.smolvla.weights import LoadedWeights, fresh

STRANGE = 6.0                      # spreads of a state from its mean


@dataclass(frozen=True)
class ActionChunk:
    """What the policy wants to do next, and when it looked."""

    actions_deg: np.ndarray        # (T, 6) body deg, gripper %; row k is due at observed_s + (k + 1) / fps
    fps: int
    observed_s: float


class SmolVLAPolicy:
    """A network, its processors, and a generator of noise of its own: a seed gives the same run twice."""

    def __init__(self, model: SmolVLA, processors: Processors, fps: int = 10, seed: int = 0,
                 weights: LoadedWeights | None = None):
        self.model, self.processors, self.fps = model.eval(), processors, fps
        self.weights = weights or fresh(model)               # where they came from, and which parts are random
        self.reset(seed)

    def reset(self, seed: int = 0) -> None:
        """Starts the noise over."""
        self._generator = torch.Generator().manual_seed(seed)

    def predict(self, observations: Observation | Sequence[Observation],
                rtc: RealTimeChunking | None = None) -> ActionChunk | list[ActionChunk]:
        """One chunk per observation; a list is computed as one batch. `rtc` continues older chunks (`rest_of`)."""
        single = isinstance(observations, Observation)
        several = [observations] if single else list(observations)
        batch = self.processors.before(self.batch(several))
        _warn_if_strange(batch["observation.state"])
        shape = (len(several), self.model.config.chunk_size, self.model.config.max_action_dim)
        noise = torch.randn(shape, generator=self._generator).to(self._device)               # (B, T, A)
        actions_deg = self.processors.after(self.model.sample_actions(batch, noise=noise, rtc=rtc)).cpu().numpy()
        chunks = [ActionChunk(rows, self.fps, seen.captured_s)
                  for rows, seen in zip(actions_deg, several, strict=True)]
        return chunks[0] if single else chunks

    def rest_of(self, chunk: ActionChunk, executed: int) -> Tensor:
        """A chunk's steps that were not executed, as the network knows them: what `RealTimeChunking` continues.

            >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
            >>> policy = tiny_policy()
            >>> rest = policy.rest_of(policy.predict(fake_observation()), executed=4)
            >>> rtc = RealTimeChunking(rest, inference_delay=2)
            >>> policy.predict(fake_observation(seed=1), rtc).actions_deg.shape
            (10, 6)
        """
        rest_deg = torch.from_numpy(chunk.actions_deg[executed:]).to(self._device)           # (T', a)
        rest = self.processors.normalizer.apply("action", rest_deg)
        return aloha.actions_in(rest) if self.model.config.adapt_to_pi_aloha else rest

    def batch(self, observations: Sequence[Observation]) -> dict[str, Tensor | list[str]]:
        """Observations as a batch in robot units: what `Processors.before` takes."""
        state = np.stack([seen.state_deg for seen in observations]).astype(np.float32)       # (B, 6)
        pictures = {f"observation.images.{role}": self._pictures(observations, role)
                    for role in observations[0].images}
        self._check_cameras(pictures)
        return {**pictures, "observation.state": torch.from_numpy(state).to(self._device),
                "task": [seen.task for seen in observations]}

    def _pictures(self, observations: Sequence[Observation], role: str) -> Tensor:
        stacked = np.stack([seen.images[role] for seen in observations])     # (B, H, W, 3) uint8
        return torch.from_numpy(stacked).to(self._device).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)

    def _check_cameras(self, pictures: dict[str, Tensor]) -> None:
        """Every camera of the config must be there, except as many as it declares may be empty."""
        config, renames = self.model.config, self.processors.rename_map
        given = {renames.get(name, name) for name in pictures}
        missing = [name for name in config.cameras if name not in given]
        if len(missing) > config.empty_cameras:
            raise SmolkitError("SK505", f"pictures of {', '.join(config.cameras)}",
                               f"only {', '.join(sorted(given))}",
                               "a camera is not plugged in, or has another role than at training time",
                               "name the cameras as the policy does, or give a rename map")

    @property
    def _device(self) -> torch.device:
        return self.model.state_proj.weight.device


def _warn_if_strange(state: Tensor) -> None:
    """A normalised state (B, s) lies within a few spreads of 0; real recordings reach 5."""
    farthest = state.abs().amax(dim=0)                                                       # (s,)
    if farthest.max() > STRANGE:
        warnings.warn(f"SK586 number {int(farthest.argmax())} of the state is {farthest.max():.0f} spreads from what "
                      "the policy learned: other units, another calibration, or a pose nobody showed", stacklevel=3)
