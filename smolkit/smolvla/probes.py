"""Does the policy look, and does it listen? Ask twice with one thing changed, and compare the two plans.

    >>> from smolkit.smolvla.fake import tiny_policy
    >>> from smolkit.smolvla.moments import simulated
    >>> probe = Probe(tiny_policy())
    >>> moment = simulated(probe.cameras, 48, 64)[0]
    >>> plans = probe.plans(moment.observation)
    >>> plans.shape                                              # four draws of noise, ten steps, six joints
    torch.Size([4, 10, 6])
    >>> round(unlike(plans, plans), 2), round(moved(plans, plans), 2)
    (1.0, 0.0)

SmolVLA samples: one observation has many plans, one for each draw of noise, and how far these lie apart is
the measure of everything here. `unlike` compares plans of different draws: 1 says that the change does no more
than another roll of the dice. `moved` compares plans of the same draw, so that the dice cancel: 0 says that
nothing has arrived at all.

Exact short cuts keep it within seconds for 450 million weights: a picture is looked at once however often it is
shown, pictures and words are read once for all draws, and since an action token sees only those before it, the
first 16 steps of a chunk come out right without the rest. Not exact are four Euler steps in place of ten:
coarser plans, of the same policy.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from smolkit.cameras.camera import Observation
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.prefix import Picture, Seen, joined

DRAWS, EULER_STEPS, HORIZON = 4, 4, 16
GREY = 128


class Probe:
    """A policy with a fixed set of dice: what differs between two answers comes from what was changed."""

    def __init__(self, policy: SmolVLAPolicy, seed: int = 0):
        self.policy, self.model, self.config = policy, policy.model, policy.model.config
        self.cameras = real_cameras(self.config)
        self.horizon = min(self.config.chunk_size, HORIZON)
        rng = torch.Generator().manual_seed(seed)
        self._noise = torch.randn(DRAWS, self.horizon, self.config.max_action_dim, generator=rng)
        self._looked: dict[tuple[int, bytes], Tensor] = {}

    @torch.no_grad()
    def plans(self, observation: Observation, shift: float = 0.0) -> Tensor:
        """(draws, steps, action_dim) normalised: what the policy would do, once for each draw of noise.

        `shift` moves each joint's state that many spreads of the statistics, towards the middle.
        """
        batch = self._batch(observation)
        state = batch["observation.state"]
        batch["observation.state"] = torch.where(state > 0, state - shift, state + shift)
        seen = [Seen(self._look(picture), picture.mask) for picture in self.model.pictures(batch)]
        scene = self.model.scene(batch, seen).trimmed()
        memory = self.model.remember(joined([scene, self.model.state(batch)])).repeat(DRAWS)
        plans = self.model.denoise(memory, self._noise.to(memory.pad.device), EULER_STEPS)
        return plans[:, :, :self.config.action_dim].cpu()

    def _look(self, picture: Picture) -> Tensor:
        """The picture's tokens; the eyes open once for each."""
        camera = 0 if self.model.vision.shared else picture.camera
        key = camera, picture.image.cpu().numpy().tobytes()
        if key not in self._looked:
            self._looked[key] = self.model.vision(picture.image, camera)
        return self._looked[key]

    def _batch(self, observation: Observation) -> dict[str, Tensor]:
        """One observation as the network takes it."""
        device, processors = self.model.state_proj.weight.device, self.policy.processors
        pictures = {name: torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255
                    for name, image in observation.images.items()}
        tokens, mask = processors.tokenizer([observation.task])
        return {**pictures, "observation.state": self._state(observation.state_deg).to(device),
                "observation.language.tokens": tokens.to(device),
                "observation.language.attention_mask": mask.to(device)}

    def _state(self, state_deg: np.ndarray) -> Tensor:
        """(1, s) normalised, at most two from the middle of what is known; 0 where statistics are no numbers."""
        normalizer = self.policy.processors.normalizer
        if len(state_deg) != self.config.state_dim:
            return torch.zeros(1, self.config.state_dim)
        state = torch.tensor(np.asarray(state_deg, np.float32))[None]
        return normalizer.apply("observation.state", state).clamp(-2, 2).nan_to_num()


def real_cameras(config: SmolVLAConfig) -> tuple[str, ...]:
    """The cameras that a policy truly has, by its own names; not those that are promised to stay empty."""
    promised = {f"observation.images.empty_camera_{i}" for i in range(config.empty_cameras)}
    return tuple(name for name in config.cameras if name not in promised)


def spread(plans: Tensor) -> float:
    """How far the plans (draws, T, a) of one observation lie apart: what sampling noise alone makes."""
    return torch.stack([(one - other).norm() for one, other in combinations(plans, 2)]).median().item()


def unlike(one: Tensor, other: Tensor) -> float:
    """Median distance of two observations' plans, different draws, over what noise alone makes."""
    across = torch.stack([(one[i] - other[j]).norm() for i in range(len(one)) for j in range(len(other)) if i != j])
    within = np.median([spread(one), spread(other)])
    return across.median().item() / max(float(within), 1e-9)


def moved(one: Tensor, other: Tensor) -> float:
    """Median distance of two observations' plans, draw by draw, over what noise alone makes."""
    apart = (one - other).flatten(1).norm(dim=1).median().item()
    return apart / max(spread(one), 1e-9)


def roughness(plans: Tensor) -> float:
    """Step-to-step change over the size of the plan: 1.4 for noise, near 0 for a smooth motion."""
    return (plans.diff(dim=1).square().mean().sqrt() / plans.square().mean().sqrt().clamp(min=1e-9)).item()


def swapped(observation: Observation, one: str, other: str) -> Observation:
    """The same moment with two cameras' cables exchanged."""
    images = observation.images
    return replace(observation, images={**images, one: images[other], other: images[one]})


def shown(observation: Observation, camera: str, picture: np.ndarray | None = None) -> Observation:
    """The same moment with another picture from one camera; grey without one, as behind a cap."""
    grey = np.full_like(observation.images[camera], GREY)
    return replace(observation, images={**observation.images, camera: grey if picture is None else picture})
