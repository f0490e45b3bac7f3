"""What does a policy act on? Take one thing away, or change it, and see how far the plan moves.

    >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
    >>> effects = ablate(tiny_policy(), fake_observation(), ["blank front", "task: stop"], draws=3)
    >>> [effect.change for effect in effects]
    ['blank front', 'task: stop']

The yardstick is the sampling noise: one observation has many plans, one for each draw of noise. The plan with
and without the change starts from the same draw, and `size` is the median distance between the two over the
median distance between two draws of the unchanged one (`probes.moved`). 0: nothing has arrived; 1: as much as
another roll of the dice; 2 and more: the policy acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.smolvla.inside import prepared
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.probes import GREY, moved, shown, spread, swapped

Change = Callable[[Observation], Observation]


@dataclass(frozen=True)
class Effect:
    """How far one change moves the plan; medians over observations and draws."""

    change: str
    size: float                    # in units of what sampling noise alone does
    sizes: tuple[float, ...]       # the same for each observation
    moved: float                   # normalised units, root of the mean square over steps and joints
    noise: float                   # likewise: two draws of noise, nothing changed


def ablate(policy: SmolVLAPolicy, observations: Observation | Sequence[Observation],
           changes: Sequence[str] | Mapping[str, Change] | None = None, draws: int = 8,
           seed: int = 0) -> tuple[Effect, ...]:
    """One effect for each change, in the changes' order, from `draws` draws of noise per observation.

    A change is a function from observation to observation with a name, or one of these sentences:
    "blank CAMERA" (grey, as behind a cap), "swap CAMERA and CAMERA", "drop state" (the arm as it stands on
    average), "drop words", "task: ANOTHER ONE". None: all of them that need no word of yours.
    """
    several = [observations] if isinstance(observations, Observation) else list(observations)
    sentences = everything(several[0]) if changes is None else changes
    known = tuple(several[0].images)
    named = sentences if isinstance(sentences, Mapping) else {
        one: change_of(policy, one, known) for one in sentences}
    if draws < 2:
        raise SmolkitError("SK541", "two draws of noise or more", str(draws),
                           "with a single draw nobody knows what noise alone does", "draws=8")
    before = [plans(policy, seen, draws, seed) for seen in several]
    return tuple(_effect(name, before, [plans(policy, change(seen), draws, seed) for seen in several])
                 for name, change in named.items())


def everything(observation: Observation) -> tuple[str, ...]:
    """The sentences that fit this observation: each camera blank, each pair exchanged, no state, no words.

        >>> from smolkit.smolvla.fake import fake_observation
        >>> everything(fake_observation())
        ('blank front', 'blank wrist', 'swap front and wrist', 'drop state', 'drop words')
    """
    cameras = list(observation.images)
    pairs = [f"swap {one} and {other}" for i, one in enumerate(cameras) for other in cameras[i + 1:]]
    return (*(f"blank {camera}" for camera in cameras), *pairs, "drop state", "drop words")


def change_of(policy: SmolVLAPolicy, sentence: str, cameras: Sequence[str]) -> Change:
    """What a sentence does to an observation with these cameras; SK541 if it says nothing that we know."""
    match sentence.split():
        case ["blank", camera] if camera in cameras:
            return partial(shown, camera=camera)
        case ["swap", one, "and", other] if one in cameras and other in cameras:
            return partial(swapped, one=one, other=other)
        case ["drop", "state"]:
            return partial(replace, state_deg=_average_state(policy))
        case ["drop", "words"]:
            return partial(replace, task="")
        case ["task:", *_]:
            return partial(replace, task=sentence.removeprefix("task:").strip())
    raise SmolkitError("SK541", "blank CAMERA, swap CAMERA and CAMERA, drop state, drop words or task: WORDS",
                       repr(sentence), f"a typing mistake, or no such camera: there are {', '.join(cameras)}",
                       f'write for example "blank {cameras[0]}"')


def _average_state(policy: SmolVLAPolicy) -> np.ndarray:
    """The state that the network gets as zeros."""
    zeros = torch.zeros(policy.model.config.state_dim)
    return policy.processors.normalizer.restore("observation.state", zeros).numpy()


@torch.no_grad()
def plans(policy: SmolVLAPolicy, observation: Observation, draws: int, seed: int = 0) -> Tensor:
    """Several plans for one observation, normalised: (draws, T, a). The scene is read once for all."""
    model, config = policy.model, policy.model.config
    noise = torch.randn(draws, config.chunk_size, config.max_action_dim,
                        generator=torch.Generator().manual_seed(seed))
    memory = model.remember(model.encode(prepared(policy, observation))).repeat(draws)
    return model.denoise(memory, noise.to(memory.pad.device))[:, :, :config.action_dim].cpu()


def cover_map(policy: SmolVLAPolicy, observation: Observation, camera: str, cells: int = 8, draws: int = 4,
              seed: int = 0) -> np.ndarray:
    """How far the plan moves when one cell of a camera's picture is covered with grey: (cells, cells), from the top.

    Attention says where a policy looked, this says what it acted on; and it works for every kind of eyes. One look
    for each cell: 64 of them take the published policy minutes on a processor.
    """
    before, picture, sizes = plans(policy, observation, draws, seed), observation.images[camera], []
    rows, columns = (np.linspace(0, length, cells + 1).astype(int) for length in picture.shape[:2])
    for row, column in np.ndindex(cells, cells):
        covered = picture.copy()
        covered[rows[row]:rows[row + 1], columns[column]:columns[column + 1]] = GREY
        sizes.append(moved(before, plans(policy, shown(observation, camera, covered), draws, seed)))
    return np.array(sizes).reshape(cells, cells)


def _effect(name: str, before: Sequence[Tensor], after: Sequence[Tensor]) -> Effect:
    sizes = tuple(moved(one, other) for one, other in zip(before, after, strict=True))
    noise = np.median([spread(one) for one in before])
    apart = np.median([moved(one, other) * spread(one) for one, other in zip(before, after, strict=True)])
    unit = before[0][0].numel() ** 0.5
    return Effect(name, float(np.median(sizes)), sizes, float(apart / unit), float(noise / unit))
