"""Real-time chunking: a new chunk that agrees with what the arm is still doing while we compute.

    >>> [round(w, 2) for w in chunk_weights("LINEAR", chunk=8, delay=2, horizon=5).tolist()]
    [1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0]

The first `delay` actions will have been executed before the new chunk arrives, so they count fully; trust
in the old chunk then fades until `horizon`. At each Euler step the policy guesses the finished chunk,
x - t v, and the velocity is bent so that this guess comes nearer to the old chunk. There are two ways to bend it:

- jacobian "identity", LeRobot's: each number of x is pushed straight towards the old chunk, as if the guess
  moved exactly as x does. Costs nothing. Where the old chunk has no say, nothing is pushed.
- jacobian "network", the paper's: the error goes back through the network, so x moves where the guess *answers*
  to it, in steps that are not pinned too; a plan that the policy holds for impossible is not forced upon it.
  Costs a backward pass at each Euler step.

They agree near t = 0, where the guess is x itself, and differ most near noise, where a policy that is sure of its
plan guesses the same whatever x is. Only "network" leaves alone the padding beyond the robot's own joints, of
which the old chunk says nothing; LeRobot pulls it to zero.

Measured on the shipped classroom policy (`python -m benchmarks.rtc`: 40 moments, EXP, three steps late; one thread):

    way         jump where the chunks meet    from the old chunk    from the demonstrator    a chunk
    none                          11.7 deg               4.9 deg                  3.0 deg      24 ms
    identity                       3.7 deg               0.1 deg                  6.5 deg      25 ms
    network                        6.3 deg               0.9 deg                  4.4 deg      54 ms

So "identity" holds on to the old chunk harder; "network" gives it up where the new pictures say otherwise.
Source: Black et al., "Real-time execution of action chunking flow policies" (arXiv 2506.07339).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smolkit.report import SmolkitError

Velocity = Callable[[Tensor, float], Tensor]           # (x (B, T, A), t) -> (B, T, A)
FADES: dict[str, Callable[[Tensor], Tensor]] = {       # of a straight ramp between 1 and 0
    "LINEAR": torch.clone, "EXP": lambda ramp: ramp * torch.expm1(ramp) / (math.e - 1),
    "ONES": torch.ones_like, "ZEROS": torch.zeros_like}
JACOBIANS = ("identity", "network")
NAMES = {"prefix_attention_schedule": "schedule", "max_guidance_weight": "max_guidance_weight",
         "execution_horizon": "execution_horizon"}     # LeRobot's name in rtc_config -> ours


@dataclass(frozen=True)
class RealTimeChunking:
    """What a new chunk must agree with. The old chunk may be shorter or longer than the new one.

    Example:
        >>> rtc = RealTimeChunking(torch.zeros(12, 6), inference_delay=3, jacobian="network")
        >>> rtc.execution_horizon, rtc.schedule
        (10, 'LINEAR')
    """

    previous: Tensor               # (T', a) or (B, T', a): the rest of the last chunk, normalised
    inference_delay: int           # steps that the robot executes while we compute
    execution_horizon: int = 10    # steps after which the old chunk has no say; as far as it reaches
    schedule: str = "LINEAR"       # ZEROS, ONES, LINEAR or EXP
    max_guidance_weight: float = 10.0
    jacobian: str = "identity"     # LeRobot's, or "network", the paper's

    def __post_init__(self) -> None:
        _one_of("schedule", self.schedule, FADES)
        _one_of("jacobian", self.jacobian, JACOBIANS)
        for name in ("inference_delay", "execution_horizon", "max_guidance_weight"):
            if not _is_amount(getattr(self, name), whole=name != "max_guidance_weight"):
                raise _refused(f"{name}, a number from 0 up", repr(getattr(self, name)), f"correct {name}")
        if self.previous.ndim not in (2, 3):
            raise _refused("a previous chunk of (steps, joints) or (batch, steps, joints)",
                           str(tuple(self.previous.shape)), "pass the chunk's rows that were not executed")

    @classmethod
    def from_config(cls, rtc_config: Mapping[str, Any] | None, previous: Tensor, inference_delay: int,
                    jacobian: str = "identity") -> RealTimeChunking | None:
        """As a checkpoint's `rtc_config` wishes it; None where there is none, or where it is not enabled.

            >>> asked = {"enabled": True, "prefix_attention_schedule": "EXP", "execution_horizon": 8, "debug": False}
            >>> RealTimeChunking.from_config(asked, torch.zeros(12, 6), inference_delay=3).schedule
            'EXP'
        """
        if not rtc_config or not rtc_config.get("enabled", True):
            return None
        if rtc_config.get("mode", "guided") != "guided":
            raise _refused("mode 'guided' in rtc_config", repr(rtc_config["mode"]), "set it to guided")
        wishes = {ours: rtc_config[theirs] for theirs, ours in NAMES.items() if theirs in rtc_config}
        return cls(previous, inference_delay, jacobian=jacobian, **wishes)


def chunk_weights(schedule: str, chunk: int, delay: int, horizon: int) -> Tensor:
    """How much each of the chunk's steps trusts the old chunk: (chunk,) from 1 to 0."""
    _one_of("schedule", schedule, FADES)
    delay = min(delay, horizon)
    ramp = torch.linspace(1, 0, horizon - delay + 2)[1:-1]  # the inner points of a straight line
    weights = torch.cat([torch.ones(delay), FADES[schedule](ramp)])[:chunk]
    return F.pad(weights, (0, chunk - len(weights)))


def guided(velocity: Velocity, rtc: RealTimeChunking) -> Velocity:
    """The same velocity, bent towards the old chunk. velocity(x, t) takes and gives (B, T, A)."""
    correct = _through_network if rtc.jacobian == "network" else _as_identity

    def bent(x: Tensor, t: float) -> Tensor:
        straight, correction = correct(velocity, rtc, x, t)
        return straight - guidance_weight(t, rtc.max_guidance_weight) * correction
    return bent


def _as_identity(velocity: Velocity, rtc: RealTimeChunking, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """The velocity, and the guess's error itself. Numbers that the old chunk lacks are pulled to 0."""
    straight = velocity(x, t)
    return straight, _error(rtc, x - t * straight)


def _through_network(velocity: Velocity, rtc: RealTimeChunking, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """The velocity, and the guess's error carried back to x: J^T error, with J = d guess / d x."""
    if torch.is_inference_mode_enabled():              # what is computed there can never be part of a backward pass
        raise _refused("a place where gradients can be computed, for jacobian 'network'", "torch.inference_mode()",
                       "use torch.no_grad() instead, or jacobian 'identity'",
                       "the chunk was asked for inside torch.inference_mode()")
    with torch.enable_grad():                          # sampling runs without; weights get no gradient here either
        x = x.detach().requires_grad_()
        straight = velocity(x, t)
        guess = x - t * straight
    error = _error(rtc, guess.detach())
    error[:, :, rtc.previous.shape[-1]:] = 0           # padding: nothing is known, so nothing may be asked
    return straight.detach(), torch.autograd.grad(guess, x, error)[0]


def _error(rtc: RealTimeChunking, guess: Tensor) -> Tensor:
    """How far the guessed chunk is from the old one, as far as that one is trusted: (B, T, A)."""
    old = rtc.previous if rtc.previous.ndim == 3 else rtc.previous[None]                     # (B, T', a)
    batch, chunk, width = guess.shape
    if len(old) not in (1, batch) or old.shape[2] > width:
        raise _refused(f"a previous chunk for {batch} samples, of at most {width} numbers a step",
                       str(tuple(rtc.previous.shape)), "pass one chunk for each observation, normalised")
    target = F.pad(old.to(guess), (0, width - old.shape[2], 0, chunk - old.shape[1]))        # longer ones are cut
    horizon = min(rtc.execution_horizon, old.shape[1])
    trust = chunk_weights(rtc.schedule, chunk, rtc.inference_delay, horizon).to(guess)
    return (target - guess) * trust[:, None]


def guidance_weight(t: float, largest: float) -> float:
    """Strong near noise, weaker near the actions; never above `largest`."""
    done = 1 - t  # 0 at noise, 1 at actions
    if done <= 0:
        return largest
    return min((1 - done) / done * ((1 - done) ** 2 + done ** 2) / (1 - done) ** 2, largest)


def _one_of(name: str, value: Any, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise _refused(f"{name} out of {', '.join(known)}", repr(value), f"use {next(iter(known))}")


def _is_amount(value: Any, whole: bool) -> bool:
    wanted = int if whole else (int, float)
    return isinstance(value, wanted) and not isinstance(value, bool) and 0 <= value < math.inf


def _refused(expected: str, found: str, next_step: str, likely_cause: str = "rtc_config was edited by hand, or "
             "real-time chunking was given another robot's chunk") -> SmolkitError:
    return SmolkitError("SK506", expected, found, likely_cause, next_step)
