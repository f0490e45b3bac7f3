"""What an ALOHA robot needs to speak pi's language: four joints with the other sign, grippers as angles.

    >>> import torch
    >>> state = torch.zeros(1, 14)
    >>> state[0, 1] = 0.5
    >>> state_in(state)[0, 1].item(), state[0, 1].item()         # the input is left alone
    (-0.5, 0.5)
    >>> chunk = torch.rand(1, 3, 14)
    >>> torch.allclose(actions_out(actions_in(chunk)), chunk, atol=1e-6)
    True

Only checkpoints with `adapt_to_pi_aloha` use it. Numbers: openpi's and LeRobot's ALOHA adapters.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLIPPED = [1, 2, 8, 9]                         # joints whose sign differs
GRIPPERS = [6, 13]
OPEN, CLOSED = 0.05800, 0.01844                # m, the gripper's travel
ARM, HORN = 0.036, 0.022                       # m, of the gripper's linkage
SPAN, OFFSET = 1.4910 + 0.6213, 0.6213         # rad, of the gripper motor


def state_in(state: Tensor) -> Tensor:
    """Joint state (..., 14) as the policy expects it."""
    travel_m = state[..., GRIPPERS] * (OPEN - CLOSED) + CLOSED
    cosine = (HORN ** 2 + travel_m ** 2 - ARM ** 2) / (2 * HORN * travel_m)
    return _replace(state, (torch.asin(cosine.clamp(-1, 1)) - 0.4) / 1.1)


def actions_out(actions: Tensor) -> Tensor:
    """The policy's actions (..., 14) as the robot expects them."""
    return _replace(actions, (actions[..., GRIPPERS] * 1.1 + 0.4 + OFFSET) / SPAN)


def actions_in(actions: Tensor) -> Tensor:
    """Recorded actions (..., 14) as training targets: the inverse of `actions_out`."""
    return _replace(actions, (actions[..., GRIPPERS] * SPAN - OFFSET - 0.4) / 1.1)


def _replace(x: Tensor, grippers: Tensor) -> Tensor:
    out = x.clone()
    out[..., FLIPPED] = -x[..., FLIPPED]
    out[..., GRIPPERS] = grippers
    return out
