"""Where one chunk's time goes: each part's arithmetic, its bytes, and its share of what this machine can do at most.

    peak = Peak(matrix_peak("cpu", torch.float32, 2048), bandwidth("cpu", 1024))
    print(table(measure_parts(policy.model, batch, noise, peak)))

A part can't be faster than its multiplications at the machine's matrix peak, nor than its weights and notes at the
memory's bandwidth, both measured here, in the same run. `share` is the larger of those two over the time it takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lerobot_policy import CLOCKS
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.prefix import joined

ROUNDS = 3


def _attention_flop(query: torch.Size, key: torch.Size, *_: object, **__: object) -> int:
    """Two matrix products for each query head; torch itself does not count this kernel."""
    batch, heads, rows, width = query
    return 4 * batch * heads * rows * key[2] * width


UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop}


@dataclass(frozen=True)
class Peak:
    """The most that this machine does, with as many threads as torch now has."""

    gflop_s: float                 # of one large matrix product
    gbyte_s: float                 # reading numbers that no cache holds


@dataclass(frozen=True)
class Part:
    """One part of a chunk."""

    name: str
    gflop: float
    gbyte: float                   # of weights and notes that it reads at least
    seconds: float
    share: float                   # of the peak


def best_s(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The fastest of several runs, after one that does not count: nothing disturbs a run to be faster."""
    def once() -> float:
        _wait()
        clock = CLOCKS[os.environ.get("BENCHMARK_CLOCK", "wall")]
        begun = clock()
        work()
        _wait()
        return clock() - begun
    once()
    return min(once() for _ in range(rounds))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_peak(device: str, dtype: torch.dtype, size: int) -> float:
    """Gigaflops a second of one big matrix product."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size ** 3 / best_s(lambda: a @ b) / 1e9


def bandwidth(device: str, mbyte: int) -> float:
    """Gigabytes a second, read and summed up, out of more than any cache holds."""
    numbers = torch.ones(mbyte * 250_000, device=device)
    return numbers.nbytes / best_s(numbers.sum) / 1e9


@torch.no_grad()
def measure_parts(model: SmolVLA, batch: dict[str, Tensor], noise: Tensor, peak: Peak) -> list[Part]:
    """The parts of one chunk in their order. Flops are counted by torch as they happen, so of a float model only."""
    seen, chunk, steps = model.look(batch), noise.shape[1], model.config.num_steps
    prefix = joined([model.scene(batch, seen).trimmed(), model.state(batch)])
    memory = model.remember(prefix)
    notes = sum(x.nbytes for x in memory.keys + memory.values)
    pictures, expert, tower = len(seen), model.expert, model.vision
    shuffled = torch.randn(pictures, seen[0].tokens.shape[1], tower.connector.in_features, device=noise.device)
    cross = [layer.self_attn for layer, plan in zip(expert.layers, expert.plan, strict=True) if plan.kind == "cross"]
    translating = [matrix for attention in cross for matrix in (attention.k_proj, attention.v_proj)]
    eyes = _bytes(tower) - _bytes(tower.connector)
    works = [
        ("connector", lambda: tower.connector(shuffled), _bytes(tower.connector)),
        ("eyes and connector", lambda: model.look(batch), pictures * eyes + _bytes(tower.connector)),
        ("prefix", lambda: model.remember(prefix), _bytes(model.language.layers)),
        ("cross projections", lambda: expert.read(memory, chunk), _bytes(*translating) + notes),
        ("Euler steps", lambda: model.denoise(memory, noise), steps * (_bytes(expert) - _bytes(*translating) + notes))]
    return [_part(name, work, nbytes / 1e9, peak) for name, work, nbytes in works]


def _part(name: str, work: Callable[[], object], gbyte: float, peak: Peak) -> Part:
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        work()
    gflop, seconds = counter.get_total_flops() / 1e9, best_s(work)
    return Part(name, gflop, gbyte, seconds, max(gflop / peak.gflop_s, gbyte / peak.gbyte_s) / seconds)


def _bytes(*modules: nn.Module) -> int:
    return sum(weight.nbytes for module in modules for weight in module.parameters())


def table(parts: list[Part]) -> str:
    """One line a part."""
    return "\n".join(f"  {part.name:20} {part.gflop:8.1f} GFLOP {part.gbyte:7.3f} GB {part.seconds * 1e3:9.1f} ms "
                     f"{part.gflop / part.seconds:7.0f} GFLOP/s {part.share:6.1%} of the peak" for part in parts)
