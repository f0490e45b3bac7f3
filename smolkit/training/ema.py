"""An exponential moving average of the weights: smoother than the last step, and free.

    >>> import torch
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> ema = Ema(model, decay=0.5)
    >>> _ = model.weight.data.add_(1.0)
    >>> ema.update(model, step=1000)
    >>> round((model.weight - ema.weights["weight"]).item(), 3)
    0.5
"""

from __future__ import annotations

import torch
from torch import nn


class Ema:
    """Averages of all trainable weights; the decay grows from 0.1, so the first steps are forgotten."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.weights = {name: p.detach().clone().float()         # half precision would round small moves away
                        for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model's weights after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = dict(model.named_parameters())
        averages = list(self.weights.values())
        torch._foreach_lerp_(averages, [now[name].detach().float() for name in self.weights], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Writes the average into `model`."""
        parameters = dict(model.named_parameters())
        for name, average in self.weights.items():
            parameters[name].copy_(average)
