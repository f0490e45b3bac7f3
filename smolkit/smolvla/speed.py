"""Faster on the computer at hand: threads, number formats, int8, compiling. The mathematics stays the same.

    >>> import torch
    >>> from smolkit.smolvla.fake import tiny_batch, tiny_policy
    >>> policy, batch = tiny_policy(seed=0), tiny_batch(seed=0)
    >>> noise = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0))
    >>> exact = policy.model.sample_actions(batch, noise=noise)
    >>> error = action_error(exact, quantise(policy).model.sample_actions(batch, noise=noise))
    >>> 0 < error.mean < 0.05                                    # in normalised units, in which actions are about 1
    True

What each is worth, measured: `python -m benchmarks.inference`, docs/sizes.md.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smolkit.machine import free_cores
from smolkit.report import SmolkitError
from smolkit.smolvla.attention import Linear
from smolkit.smolvla.lora import merge, put
from smolkit.smolvla.policy import SmolVLAPolicy

ENGINES = ("onednn", "fbgemm", "qnnpack")                            # torch's int8 kernels, the fastest first
BIG = ("vision.layers.", "language.layers.", "expert.layers.")       # where the time goes; the rest is 3 % of it


@dataclass(frozen=True)
class ActionError:
    """How far two plans from the same noise lie apart, in normalised units."""

    mean: float
    max: float


def action_error(exact: Tensor, found: Tensor) -> ActionError:
    """Of two chunks (B, T, action_dim)."""
    apart = (exact.float() - found.float()).abs()
    return ActionError(apart.mean().item(), apart.max().item())


def use_free_cores() -> int:
    """No more threads than there are cores for us: with one more, each matrix waits for a thread that has no core."""
    torch.set_num_threads(min(torch.get_num_threads(), free_cores()))
    return torch.get_num_threads()


def prepare(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Readies a policy for acting, in place: threads, and the arithmetic that is fastest here for its weights.

    A GPU's policy is compiled. Weights of bfloat16 on a processor that is slow with them are computed in float32. A
    second time changes nothing.
    """
    weight = policy.model.expert.action_out.weight
    if weight.is_cuda:
        return compiled(policy) if policy.model.trims else policy
    use_free_cores()
    return widen(policy) if weight.dtype != torch.float32 and not quick(weight.dtype) else policy


# --- number formats ---------------------------------------------------------------------------------------------------

def quick(dtype: torch.dtype, size: int = 768) -> bool:
    """Does this processor multiply matrices of `dtype` faster than of float32? Tried: some can, and are slower."""
    def best_s(kind: torch.dtype) -> float:
        a, b = torch.ones(size, size, dtype=kind), torch.ones(size, size, dtype=kind)
        return min(_seconds(lambda: F.linear(a, b)) for _ in range(5))
    return best_s(dtype) < best_s(torch.float32)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class WideLinear(Linear):
    """A matrix that rests in half precision and is made float32 whenever it is used."""

    def forward(self, x: Tensor) -> Tensor:
        multiply = F.linear if self.weight.requires_grad else _Widened.apply
        return multiply(x.float(), self.weight.float() if self.weight.requires_grad else self.weight,
                        None if self.bias is None else self.bias.float())


class WideEmbedding(nn.Embedding):
    """Word vectors that rest in half precision; those that are looked up are made float32."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens).float()


class _Widened(torch.autograd.Function):
    """`F.linear` with a frozen matrix that keeps it, until the gradient comes back, as it rests."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight.float(), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient @ ctx.saved_tensors[0].float(), None, None


@torch.no_grad()
def widen(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Half precision in memory, float32 in the arithmetic, in place: big matrices are made wide at each use.

    Everything small becomes float32 for good.
    """
    for name, module in policy.model.named_modules():
        if isinstance(module, WideLinear) or isinstance(module, nn.Embedding) and name.startswith("language."):
            continue                                             # of an embedding one row a word: nothing to gain
        if type(module) is Linear and name.startswith(BIG):
            module.__class__ = WideLinear
        else:
            for weight in module.parameters(recurse=False):
                weight.data = weight.float()
    return policy


# --- int8 -------------------------------------------------------------------------------------------------------------

class Int8Linear(nn.Module):
    """A matrix as int8 with a scale for each output; tokens are rounded to int8 as they come, each by its own scale.

    Some tokens of a trained transformer are a hundred times larger than the rest: with one scale for all, the others
    would round to nothing. Sums are exact (int32), only the two roundings err. float32 in, float32 out.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight, zeros = linear.weight.detach().float(), torch.zeros(linear.out_features, dtype=torch.long)
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127                      # (out,)
        rounded = torch.quantize_per_channel(weight, scale.double(), zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, None)
        bias = torch.zeros(()) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:                            # torch would only warn, and carry back zeros
            raise _only_acts("a network that a gradient can run through", "use it, or jacobian='identity'")
        size = x.float().abs().amax(dim=-1, keepdim=True).clamp(min=1e-12)           # (..., 1)
        y = torch.ops.quantized.linear_dynamic(x / size, self._packed, reduce_range=True)
        return torch.addcmul(self.bias, y, size, out=y)                              # (..., out)

    def _save_to_state_dict(self, *args: Any) -> None:
        raise _only_acts("weights as they were learned", "save that one")


def _only_acts(expected: str, remedy: str) -> SmolkitError:
    return SmolkitError("SK550", expected, "a policy rounded to int8", "quantise() was called on it: int8 only acts",
                        f"load the policy again without quantise() and {remedy}")


@torch.no_grad()
def quantise(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Rounds the big matrices to int8, in place, for acting on a processor: such a policy neither learns nor is saved.

    How far that moves the plan depends on the weights: see `action_error`. Errors: SK550 where torch cannot.
    """
    found = [engine for engine in ENGINES if engine in torch.backends.quantized.supported_engines]
    device = policy.model.state_proj.weight.device
    if not found or device.type != "cpu":
        raise SmolkitError("SK550", "a processor that torch has int8 kernels for", str(device),
                           "the policy is on a GPU, or this build of torch has none", "use bfloat16 there")
    merge(policy.model)                                          # adapters, if it has some
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, found[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor")     # deprecated; its heir wants compiling
        for name, module in list(policy.model.named_modules()):
            if isinstance(module, nn.Linear) and name.startswith(BIG):
                put(policy.model, name, Int8Linear(module))
    torch.backends.quantized.engine = before
    return widen(policy)


# --- compiling --------------------------------------------------------------------------------------------------------

def compiled(policy: SmolVLAPolicy, **options: Any) -> SmolVLAPolicy:
    """Eyes, language model and expert as compiled programs, on a GPU each one CUDA graph; in place.

    A graph replays one shape, so words keep their padding from now on: every instruction is as long as the longest.
    The first chunk compiles, for minutes. options: of `torch.compile`, where "reduce-overhead" is not wanted.
    """
    options = options or {"mode": "reduce-overhead", "dynamic": False}
    model, act = policy.model, policy.model.sample_actions
    model.trims = False
    for part in (model.vision, model.language, model.expert):
        part.compile(**options)

    def sample_actions(*args: Any, **kwargs: Any) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()     # the last chunk's notes may be overwritten, this one's not yet
        return act(*args, **kwargs).clone()            # nor may the actions that a caller still holds

    model.sample_actions = sample_actions
    return policy
