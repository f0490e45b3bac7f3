"""Real-time chunking: a new chunk that agrees with what the arm is still doing while we compute.

    >>> [round(w, 2) for w in chunk_weights("LINEAR", chunk=8, delay=2, horizon=5).tolist()]
    [1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0]

The first `delay` actions will have been executed before the new chunk arrives, so they count fully; trust
in the old chunk then fades until `horizon`. At each Euler step the velocity is bent towards the old chunk.
Source: Black et al., "Real-time execution of action chunking flow policies" (arXiv 2506.07339), in
LeRobot's form: the correction is not carried back through the network (its Jacobian counts as the identity).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smolkit.report import SmolkitError

Velocity = Callable[[Tensor, float], Tensor]           # (x (B, T, A), t) -> (B, T, A)


@dataclass(frozen=True)
class RealTimeChunking:
    """What a new chunk must agree with."""

    previous: Tensor               # (T', a) or (B, T', a): the rest of the last chunk, normalised
    inference_delay: int           # steps that the robot executes while we compute
    execution_horizon: int = 10    # steps
    schedule: str = "LINEAR"       # ZEROS, ONES, LINEAR or EXP
    max_guidance_weight: float = 10.0


def chunk_weights(schedule: str, chunk: int, delay: int, horizon: int) -> Tensor:
    """How much each of the chunk's steps trusts the old chunk: (chunk,) from 1 to 0."""
    delay = min(delay, horizon)
    ramp = torch.linspace(1, 0, horizon - delay + 2)[1:-1]  # the inner points of a straight line
    fades = {"ZEROS": torch.zeros_like(ramp), "ONES": torch.ones_like(ramp), "LINEAR": ramp,
             "EXP": ramp * torch.expm1(ramp) / (math.e - 1)}
    if schedule not in fades:
        raise SmolkitError("SK506", f"a schedule out of {', '.join(fades)}", repr(schedule),
                           "a typing mistake in rtc_config", "use LINEAR")
    weights = torch.cat([torch.ones(delay), fades[schedule]])[:chunk]
    return F.pad(weights, (0, chunk - len(weights)))


def guided(velocity: Velocity, rtc: RealTimeChunking) -> Velocity:
    """The same velocity, bent towards the old chunk. velocity(x, t) takes and gives (B, T, A)."""
    def bent(x: Tensor, t: float) -> Tensor:
        straight = velocity(x, t)
        error = (_target(rtc, x) - (x - t * straight)) * _trust(rtc, x)      # x - t v: our guess of the actions
        return straight - guidance_weight(t, rtc.max_guidance_weight) * error
    return bent


def _target(rtc: RealTimeChunking, x: Tensor) -> Tensor:
    """The old chunk, with zeros where it does not reach: (B, T, A)."""
    old = rtc.previous if rtc.previous.ndim == 3 else rtc.previous[None]                     # (B, T', a)
    return F.pad(old, (0, x.shape[2] - old.shape[2], 0, x.shape[1] - old.shape[1]))


def _trust(rtc: RealTimeChunking, x: Tensor) -> Tensor:
    horizon = min(rtc.execution_horizon, rtc.previous.shape[-2])
    return chunk_weights(rtc.schedule, x.shape[1], rtc.inference_delay, horizon).to(x.device)[None, :, None]


def guidance_weight(t: float, largest: float) -> float:
    """Strong near noise, weaker near the actions; never above `largest`."""
    done = 1 - t  # 0 at noise, 1 at actions
    if done <= 0:
        return largest
    return min((1 - done) / done * ((1 - done) ** 2 + done ** 2) / (1 - done) ** 2, largest)
