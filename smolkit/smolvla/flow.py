"""Flow matching: learn the direction from actions to noise, then walk it backwards.

Time t runs from 0 (data) to 1 (noise). On the straight line between a chunk and a draw of noise,

    x_t = t * noise + (1 - t) * actions,    and its velocity is    u = noise - actions

wherever we stand on it. The model learns to say u from x_t and t; to act, start at noise and walk to t = 0.

    >>> import torch
    >>> actions, noise = torch.tensor([[[2.0]]]), torch.tensor([[[10.0]]])
    >>> x_t, velocity = interpolate(actions, noise, torch.tensor([0.5]))
    >>> x_t.item(), velocity.item()
    (6.0, 8.0)
    >>> home = euler(noise, 10, lambda x, t: torch.full_like(x, 8.0))        # the true velocity leads home
    >>> round(home.item(), 3)
    2.0

Source: Lipman et al. (arXiv 2210.02747); time and signs as in pi0 (arXiv 2410.24164) and SmolVLA.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from smolkit.report import SmolkitError


def interpolate(actions: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Actions and noise (B, T, A), time (B,) -> the point x_t and the velocity u there, both (B, T, A)."""
    t = time[:, None, None]
    return t * noise + (1 - t) * actions, noise - actions


def sample_time(count: int, generator: torch.Generator | None = None,
                device: torch.device | None = None) -> Tensor:
    """(count,) moments from 0.001 to 1, leaning to noise: 0.999 * Beta(1.5, 1) + 0.001.

    A Beta(a, 1) number is u ** (1 / a) for u uniform (its distribution function is x ** a): exact, seedable.
    """
    uniform = torch.rand(count, generator=generator, device=device)
    return 0.999 * uniform ** (1 / 1.5) + 0.001


def time_embedding(time: Tensor, width: int, min_period: float, max_period: float) -> Tensor:
    """(B,) -> (B, width): sines, then cosines, of periods from the shortest to the longest. In float64."""
    dtype = torch.float32 if time.device.type == "mps" else torch.float64       # Apple's GPU has no float64
    fraction = torch.linspace(0, 1, width // 2, dtype=dtype, device=time.device)
    period = min_period * (max_period / min_period) ** fraction
    angle_rad = 2 * math.pi * time.to(dtype)[:, None] / period                  # (B, width / 2)
    return torch.cat([angle_rad.sin(), angle_rad.cos()], dim=1)


def euler(noise: Tensor, steps: int, velocity: Callable[[Tensor, float], Tensor]) -> Tensor:
    """From noise at t = 1 to actions at t = 0 in `steps` equal steps. velocity(x, t) -> (B, T, A)."""
    x = noise
    for step in range(steps):
        x = x - velocity(x, 1 - step / steps) / steps
    return x


def reduce_loss(per_element: Tensor, is_pad: Tensor | None, action_dim: int,
                generation: str = "main") -> Tensor:
    """One number from squared errors (B, T, A).

    "main": only the robot's own action_dim numbers and only steps inside the episode count. "0.4.4": LeRobot
    before 2026 averaged everything, padding included; offered to compare loss curves, not to train with.
    """
    if generation == "0.4.4":
        return per_element.mean()
    if generation != "main":
        raise SmolkitError("SK504", "loss generation 'main' or '0.4.4'", repr(generation),
                           "a typing mistake", "use 'main' unless you compare with an old curve")
    own = per_element[:, :, :action_dim]                                        # (B, T, a)
    if is_pad is None:
        return own.mean()
    valid = (~is_pad)[:, :, None].to(own.dtype)                                 # (B, T, 1)
    return (own * valid).sum() / (valid.sum() * action_dim).clamp(min=1)
