"""Which weights learn: the rules of LeRobot's configuration flags.

    >>> from smolkit.smolvla.fake import tiny_model
    >>> model = tiny_model()
    >>> model.expert.norm.weight.requires_grad, model.language.embed.weight.requires_grad
    (True, False)

No part of the network has dropout or batch statistics, so `train()` and `eval()` compute the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from smolkit.smolvla.model import SmolVLA


def freeze(model: SmolVLA, generation: str = "main") -> None:
    """Sets `requires_grad` of every weight by the model's configuration.

    generation "0.4.4": as LeRobot then, which meant to freeze the last language layer and did not.
    """
    learn(model, True)
    learn(model.state_proj, model.config.train_state_proj)
    for module in frozen_modules(model, generation):
        learn(module, False)


def frozen_modules(model: SmolVLA, generation: str = "main") -> list[nn.Module]:
    """What stays as it is, from the whole language model down to the parts that never get a gradient."""
    language, config = model.language, model.config
    if model.backbone.from_scratch:
        last = language.layers[-1]           # only its keys and values are read
        return [language.norm, last.self_attn.q_proj, last.self_attn.o_proj, last.mlp,
                last.post_attention_layernorm]
    if config.train_expert_only:
        return [model.vision, language]
    unread = 1 if len(model.expert.plan) == len(language.layers) else 2
    last = [] if generation == "0.4.4" else [language.norm, *language.layers[-unread:]]
    frozen = [*last, *([language.head] if language.head else [])]
    if config.freeze_vision_encoder:         # the connector is not covered by this flag
        frozen += [child for name, child in model.vision.named_children() if name != "connector"]
    return frozen


def learn(module: nn.Module, on: bool) -> None:
    """Switches all weights of a part on or off."""
    for parameter in module.parameters():
        parameter.requires_grad_(on)


def trainable_count(model: nn.Module) -> int:
    """How many numbers the optimiser may change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
