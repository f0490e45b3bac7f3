"""LoRA: fine-tuning by small additions. The big matrices stand still; two thin ones beside each of them learn.

    >>> import torch
    >>> from smolkit.smolvla.fake import tiny_batch, tiny_model
    >>> from smolkit.smolvla.freezing import trainable_count
    >>> model, noise = tiny_model(), torch.zeros(2, 10, 32)
    >>> before = model.sample_actions(tiny_batch(), noise=noise)
    >>> add_lora(model, rank=4)
    >>> trainable_count(model), len(adapters(model))
    (3600, 13)
    >>> torch.equal(model.sample_actions(tiny_batch(), noise=noise), before)     # B starts at zero: no change yet
    True
    >>> merge(model)                                             # trained? Fold them in: nothing is slower now
    >>> len(adapters(model))
    0

A matrix W of 960 x 720 has 691,200 numbers; at rank 16 its adapter has 26,880. `save_checkpoint` writes the
adapters alone, in PEFT's layout, which LeRobot reads (`smolkit.smolvla.adapter_files`).
Source: LoRA (arXiv 2106.09685); which matrices, and alpha 8: LeRobot's defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor, nn

from smolkit.report import SmolkitError
from smolkit.smolvla.attention import Linear
from smolkit.smolvla.freezing import freeze, learn
from smolkit.smolvla.model import SmolVLA

# What the expert asks (q) and tells (v), and the five matrices by which states and actions come in and go out.
TARGETS = (r"expert\.layers\.\d+\.self_attn\.[qv]_proj"
           r"|state_proj|expert\.action_(in|out|time_in|time_out)")


class LoRALinear(Linear):
    """A frozen matrix W and two thin ones: y = W x + b + scale * B (A x), with A (r, in) and B (out, r)."""

    def __init__(self, frozen: nn.Linear, rank: int, scale: float):
        super().__init__(frozen.in_features, frozen.out_features, frozen.bias is not None, device="meta")
        self.weight, self.bias, self.scale = frozen.weight, frozen.bias, scale       # the same tensors, no copies
        on = {"bias": False, "device": frozen.weight.device}                         # float32: small steps must count
        self.lora_A = nn.Linear(frozen.in_features, rank, **on)
        self.lora_B = nn.Linear(rank, frozen.out_features, **on)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)                                                       # (..., out)
        added = self.lora_B(self.lora_A(x.to(self.lora_A.weight.dtype)))             # (..., out), by way of (..., r)
        return (y + self.scale * added).to(y.dtype)

    def merged(self) -> Linear:
        """One matrix that does the same: W + scale * B A."""
        plain = Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        added = self.scale * self.lora_B.weight.float() @ self.lora_A.weight.float()           # (out, in)
        plain.weight = nn.Parameter((self.weight + added).to(self.weight.dtype).detach())
        plain.bias = self.bias
        return plain


def add_lora(model: SmolVLA, rank: int = 16, alpha: float = 8, targets: str | Iterable[str] = TARGETS) -> None:
    """Gives every targeted matrix an adapter; from then on only adapters learn.

    targets: a regular expression that a matrix's whole name must match, or names. Adapters weigh alpha / rank.
    Errors: SK517 where nothing of that name is a matrix. A starts at random: seed torch for the same run twice.
    """
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    chosen = {name for name in linear if re.fullmatch(targets, name)} if isinstance(targets, str) else set(targets)
    if not chosen or not chosen <= linear or rank < 1 or not alpha:
        raise SmolkitError("SK517", "names of matrices of the policy, a rank of at least 1, an alpha other than 0",
                           f"{', '.join(sorted(chosen - linear)) or targets!r}, rank {rank}, alpha {alpha}",
                           "a typing mistake",
                           "see the names: [name for name, part in model.named_modules()]")
    for name in sorted(chosen):
        put(model, name, LoRALinear(model.get_submodule(name), rank, alpha / rank))
    learn_adapters(model)


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted matrices by their names."""
    return {name: part for name, part in model.named_modules() if isinstance(part, LoRALinear)}


def learn_adapters(model: nn.Module) -> None:
    """Freezes everything but the adapters: what `add_lora` leaves behind."""
    learn(model, False)
    for adapter in adapters(model).values():
        learn(adapter.lora_A, True)
        learn(adapter.lora_B, True)


def trained_whole(model: nn.Module) -> tuple[str, ...]:
    """Weights that learn beside the adapters, as they are."""
    return tuple(name for name, weight in model.named_parameters() if weight.requires_grad and ".lora_" not in name)


def merge(model: SmolVLA) -> None:
    """Folds all adapters into their matrices; what learns is then as the configuration says."""
    for name, adapter in adapters(model).items():
        put(model, name, adapter.merged())
    freeze(model)


def put(model: nn.Module, name: str, part: nn.Module) -> None:
    """Replaces a part of the network by another."""
    above, _, last = name.rpartition(".")
    setattr(model.get_submodule(above), last, part)
