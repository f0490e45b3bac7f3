"""Looking inside a policy while it decides: its tokens, who may see whom, where it looks, how a chunk appears.

    >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
    >>> policy, seen = tiny_policy(), fake_observation()
    >>> [(part.name, part.count) for part in token_budget(policy, seen)]
    [('front', 4), ('wrist', 4), ('words', 16), ('state', 1)]
    >>> attention_maps(policy, seen).weights.shape               # (steps, layers, heads, T, P + T)
    (10, 4, 3, 10, 35)
    >>> denoising(policy, seen, seed=0).chunks_deg.shape         # (steps + 1, T, 6), from noise to actions
    (11, 10, 6)

Nothing here changes the policy, nor its noise: a seed gives the same numbers as `policy.reset(seed)` and then
`policy.predict`. Shapes: P prefix tokens, T action tokens. The pictures of all this: `inside_figures.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smolkit.cameras.camera import Observation
from smolkit.smolvla import aloha
from smolkit.smolvla.attention import Watch, block_mask
from smolkit.smolvla.flow import euler
from smolkit.smolvla.model import Batch
from smolkit.smolvla.policy import SmolVLAPolicy

PICTURE = "observation.images."


# --- tokens -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A stretch of tokens of one kind; the first `real` of them count, the others are padding."""

    name: str                      # a camera's role, "special", "words", "state", "padding" or "actions"
    start: int                     # in the row of all tokens
    count: int
    real: int
    side: int = 0                  # tokens lie on a grid of side x side places; 0: they have no places

    @property
    def columns(self) -> slice:
        return slice(self.start, self.start + self.count)


def token_budget(policy: SmolVLAPolicy, observation: Observation) -> tuple[Part, ...]:
    """What the prefix is made of, in its order. Two cameras and 48 words: 177 tokens in the published policy."""
    parts: list[Part] = []
    for name, count, real, side in _stretches(policy, prepared(policy, observation)):
        parts.append(Part(name, parts[-1].columns.stop if parts else 0, count, real, side))
    total = parts[-1].columns.stop
    padding = max(0, policy.model.config.prefix_length - total)
    return (*parts, Part("padding", total, padding, 0)) if padding else tuple(parts)


def prepared(policy: SmolVLAPolicy, observation: Observation) -> Batch:
    """The observation as a batch of one, as the network takes it."""
    return policy.processors.before(policy.batch([observation]))


def _stretches(policy: SmolVLAPolicy, batch: Batch) -> Iterator[tuple[str, int, int, int]]:
    """Name, count, how many are real, and the side of their grid."""
    config, vision = policy.model.config, policy.model.backbone.vision
    special = config.add_image_special_tokens
    for picture in policy.model.pictures(batch):
        count = vision.tokens_per_image(picture.image.shape[-1])
        side = math.isqrt(count) if vision.kind == "siglip" else 0
        real = bool(picture.mask.any())
        if special:
            yield "special", 2, 2, 0
        yield role_of(policy, config.cameras[picture.camera]) if real else "empty", count, count * real, side
        if special:
            yield "special", 1, 1, 0
    words = batch["observation.language.attention_mask"]
    yield "words", words.shape[1], int(words.sum()), 0
    yield "state", 1, 1, 0


def role_of(policy: SmolVLAPolicy, camera: str) -> str:
    """The robot's own name of one of the policy's cameras."""
    back = {theirs: ours for ours, theirs in policy.processors.rename_map.items()}
    return back.get(camera, camera).removeprefix(PICTURE)


def prefix_mask(policy: SmolVLAPolicy, observation: Observation) -> np.ndarray:
    """Who may see whom, action tokens included: (P + T, P + T) bool, query by key."""
    parts = with_actions(policy, token_budget(policy, observation))
    pad = np.concatenate([np.arange(part.count) < part.real for part in parts])              # (P + T,)
    block = np.concatenate([np.arange(part.count) < _stages(part) for part in parts])
    return block_mask(torch.from_numpy(pad)[None], torch.from_numpy(block)[None])[0].numpy()


def _stages(part: Part) -> int:
    return {"state": 1, "actions": part.count}.get(part.name, 0)


def with_actions(policy: SmolVLAPolicy, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The prefix's parts and, at the end, the chunk's action tokens."""
    chunk = policy.model.config.chunk_size
    return (*parts, Part("actions", parts[-1].columns.stop, chunk, chunk))


# --- attention ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """What the action tokens listened to, at each Euler step and in each layer of the expert.

    `weights` holds 109 MB for the published policy with two cameras. A cross layer sees no action token: there
    the last T columns are zero.
    """

    weights: np.ndarray            # (steps, layers, heads, T, P + T) float32, rows sum to 1
    times: np.ndarray              # (steps,) from 1, noise, down
    kinds: tuple[str, ...]         # per layer: "self" or "cross"
    parts: tuple[Part, ...]        # of the columns; the last one is "actions"

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def shares(self) -> dict[str, np.ndarray]:
        """How much each kind of token was listened to, mean over heads and action tokens: (steps, layers)."""
        mean = self.weights.mean(axis=(2, 3))                                                # (steps, layers, P + T)
        shares = {part.name: np.zeros(mean.shape[:2], np.float32) for part in self.parts}
        for part in self.parts:
            shares[part.name] += mean[..., part.columns].sum(axis=-1)
        return shares


def attention_weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """What `attend` weighs the values with: query (B, T, h, d), key (B, S, g, d), mask (B, T, S) -> (B, h, T, S)."""
    shared = key.float().repeat_interleave(query.shape[2] // key.shape[2], dim=2)            # (B, S, h, d)
    scores = torch.einsum("bthd,bshd->bhts", query.float(), shared) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask[:, None], -math.inf).softmax(dim=-1)


def attention_maps(policy: SmolVLAPolicy, observation: Observation, seed: int = 0) -> Attention:
    """The action tokens' attention in every layer of the expert while one chunk is denoised."""
    parts = with_actions(policy, token_budget(policy, observation))
    plan, steps, columns = policy.model.expert.plan, policy.model.config.num_steps, parts[-1].columns.stop
    shape = (steps, len(plan), policy.model.backbone.text.heads, parts[-1].count, columns)
    weights, calls = np.zeros(shape, np.float32), iter(np.ndindex(shape[:2]))

    def watch(layer: int, query: Tensor, key: Tensor, mask: Tensor) -> None:
        seen = attention_weights(query, key, mask)[0].cpu().numpy()                          # (heads, T, P or P + T)
        weights[next(calls)][..., :seen.shape[-1]] = seen

    _walk(policy, observation, seed, watch)
    return Attention(weights, _times(policy)[:-1], tuple(layer.kind for layer in plan), parts)


@torch.no_grad()
def reading_maps(policy: SmolVLAPolicy, observation: Observation) -> np.ndarray:
    """What each prefix token listened to while the language model read: (layers - 1, heads, P, P).

    The last layer is asked for its keys and values only: it listens to nothing. Rows of padding tokens mean
    nothing; nobody reads them.
    """
    model, seen = policy.model, []

    def watch(layer: int, query: Tensor, key: Tensor, mask: Tensor) -> None:
        seen.append(attention_weights(query, key, mask)[0].cpu().numpy())

    model.language(model.encode(prepared(policy, observation), trim=False), watch=watch)
    return np.stack(seen)


# --- from noise to actions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Denoising:
    """One chunk on its way from noise to actions."""

    times: np.ndarray              # (steps + 1,) from 1, noise, to 0, actions
    chunks_deg: np.ndarray         # (steps + 1, T, a) body deg, gripper %
    guesses_deg: np.ndarray        # (steps, T, a) x - t v: where each step's velocity would lead straight away
    velocities: np.ndarray         # (steps, T, a) normalised, per unit of the flow's time


def denoising(policy: SmolVLAPolicy, observation: Observation, seed: int = 0) -> Denoising:
    """The chunk at every Euler step, and what the policy believes there that it will become."""
    places, velocities = _walk(policy, observation, seed)
    times = _times(policy)
    passed = torch.from_numpy(times[:-1, None, None]).to(places)
    own = velocities[..., :policy.model.config.action_dim].cpu().numpy()
    return Denoising(times, _degrees(policy, places), _degrees(policy, places[:-1] - passed * velocities), own)


@torch.no_grad()
def _walk(policy: SmolVLAPolicy, observation: Observation, seed: int,
          watch: Watch | None = None) -> tuple[Tensor, Tensor]:
    """All places (steps + 1, T, A) of one walk from noise to actions, and the velocities (steps, T, A) there."""
    model = policy.model
    memory = model.remember(model.encode(prepared(policy, observation), trim=False))
    shape = (1, model.config.chunk_size, model.config.max_action_dim)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(memory.pad.device)
    context, places, velocities = model.expert.read(memory, shape[1]), [], []

    def velocity(x: Tensor, t: float) -> Tensor:
        places.append(x)
        velocities.append(model.expert(x, torch.full((1,), t, device=x.device), context, watch))
        return velocities[-1]

    end = euler(noise, model.config.num_steps, velocity)
    return torch.cat([*places, end]), torch.cat(velocities)


def _times(policy: SmolVLAPolicy) -> np.ndarray:
    steps = policy.model.config.num_steps
    return 1 - np.arange(steps + 1) / steps


def _degrees(policy: SmolVLAPolicy, x: Tensor) -> np.ndarray:
    """What the network walks through (n, T, A) in robot units (n, T, a)."""
    own = x[..., :policy.model.config.action_dim]
    own = aloha.actions_out(own) if policy.model.config.adapt_to_pi_aloha else own
    return policy.processors.after(own).cpu().numpy()
