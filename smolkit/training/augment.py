"""Small random changes to what a policy sees, so that it learns the scene and not the pixels.

    >>> rng = torch.Generator().manual_seed(0)
    >>> pictures = torch.randint(0, 255, (2, 8, 8, 3), dtype=torch.uint8)
    >>> random_shift(pictures, shift_px=2, rng=rng).shape
    torch.Size([2, 8, 8, 3])

All randomness comes from the generator handed in: one seed, one run.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_shift(pictures: Tensor, shift_px: int, rng: torch.Generator) -> Tensor:
    """Moves each picture by up to `shift_px` in x and y; the edge is repeated into the gap.

    Args: pictures (B, H, W, 3) of any dtype. Returns the same shape. A black gap would be a cue, an edge is
    not. The shift imitates a camera that was bumped.
    """
    if shift_px == 0:
        return pictures
    count, height, width, channels = pictures.shape
    offset = torch.randint(-shift_px, shift_px + 1, (2, count, 1), generator=rng)
    rows = (torch.arange(height) + offset[0]).clamp(0, height - 1)        # (B, H)
    columns = (torch.arange(width) + offset[1]).clamp(0, width - 1)       # (B, W)
    flat = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, -1, 1)
    moved = pictures.reshape(count, height * width, channels).gather(1, flat.expand(-1, -1, channels))
    return moved.reshape(pictures.shape)


def colour_jitter(pictures: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Changes brightness and contrast of each picture by up to `strength`, colours by half of it.

    Args: pictures (B, 3, H, W) float in 0..1. Returns the same, clamped to 0..1.
    """
    if strength == 0:
        return pictures
    count = len(pictures)
    draw = torch.rand((count, 5, 1, 1), generator=rng) * 2 - 1            # -1..1
    gain = 1 + strength * draw[:, :1] + 0.5 * strength * draw[:, 1:4]     # (B, 3, 1, 1) contrast and tint
    mean = pictures.mean((1, 2, 3), keepdim=True)
    return ((pictures - mean) * gain + mean + 0.5 * strength * draw[:, 4:]).clamp(0, 1)


def state_noise(state: Tensor, std: float, rng: torch.Generator) -> Tensor:
    """Adds noise to the normalised state (B, S): the policy must look at the pictures, too."""
    if std == 0:
        return state
    return state + std * torch.randn(state.shape, generator=rng)
