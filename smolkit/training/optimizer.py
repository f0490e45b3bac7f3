"""AdamW in float32, whatever the weights are stored in.

    >>> model = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    >>> _ = nn.init.ones_(model.weight)
    >>> optimizer = Optimizer(model, TrainConfig())
    >>> for _ in range(50):
    ...     model.weight.grad = torch.ones_like(model.weight)
    ...     optimizer.step(learning_rate=1e-4)
    >>> round(optimizer.masters["weight"].item(), 4), model.weight.item()
    (0.995, 0.99609375)

Near 1 two neighbouring bfloat16 numbers are 0.004 to 0.008 apart: a step of 1e-4 rounds back to where it began, each
time, and the weight never moves (LeRobot trains so). A float32 copy, the master, adds the steps up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smolkit.training.config import TrainConfig

MOMENTS = {"step", "exp_avg", "exp_avg_sq"}        # AdamW's memory of a weight: all of them or, before step 1, none


class Optimizer:
    """What learns in a model, by name, and AdamW's memory of it."""

    def __init__(self, model: nn.Module, config: TrainConfig):
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.masters = {name: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float())
                        for name, p in self.weights.items()}
        self.adamw = torch.optim.AdamW(self.masters.values(), lr=config.learning_rate, betas=config.betas,
                                       eps=config.eps, weight_decay=config.weight_decay, fused=True)

    def forget_gradients(self) -> None:
        for weight in self.weights.values():
            weight.grad = None

    def clip(self, limit: float) -> Tensor:
        """Shortens the gradient of all weights together to `limit`; returns the length () it had."""
        gradients = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        norm = nn.utils.get_total_norm([gradient.float() for gradient in gradients])
        if norm > limit:
            nn.utils.clip_grads_with_norm_(self.weights.values(), limit, norm)
        return norm

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Moves every weight by its gradient."""
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        for master, weight in self._halves():
            master.grad = None if weight.grad is None else weight.grad.float()
        self.adamw.step()
        for master, weight in self._halves():
            weight.copy_(master)
            master.grad = None

    def _halves(self) -> list[tuple[Tensor, Tensor]]:
        """(master, weight) of all that is stored in fewer bits."""
        pairs = ((self.masters[name], weight) for name, weight in self.weights.items())
        return [(master, weight) for master, weight in pairs if master is not weight]

    def tensors(self) -> dict[str, Tensor]:
        """All that a resumed run needs, `<weight>/exp_avg` and so on; `<weight>/master` where there is one."""
        moments = {f"{name}/{slot}": value for name, master in self.masters.items()
                   for slot, value in self.adamw.state.get(master, {}).items()}
        copies = {f"{name}/master": master.detach() for name, master in self.masters.items()
                  if master is not self.weights[name]}
        return {**moments, **copies}

    def check(self, tensors: dict[str, Tensor]) -> None:
        """KeyError or RuntimeError where `restore` could not: of another model, or not all there."""
        slots: dict[str, set[str]] = {}
        for key, value in tensors.items():
            name, _, slot = key.rpartition("/")
            shape = () if slot == "step" else self.masters[name].shape
            if tuple(value.shape) != tuple(shape):
                raise RuntimeError(f"{key} has the shape {tuple(value.shape)} instead of {tuple(shape)}")
            slots.setdefault(name, set()).add(slot)
        for name, found in slots.items():
            if name not in self.masters or found - {"master"} not in (set(), MOMENTS):
                raise KeyError(f"{name}/{', '.join(sorted(found))}")

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`, once the weights are loaded: a master that was not kept is taken from its weight.

        Errors: those of `check`; then nothing is touched.
        """
        self.check(tensors)
        for master, weight in self._halves():
            master.copy_(weight)
        for key, value in tensors.items():
            name, _, slot = key.rpartition("/")
            master = self.masters[name]
            if slot == "master":
                master.copy_(value)
                continue
            # A moment must lie in memory as its weight does (convolutions may be channels-last).
            like = master if value.shape == master.shape else value
            self.adamw.state[master][slot] = torch.empty_like(like, dtype=value.dtype).copy_(value)
