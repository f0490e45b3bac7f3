"""How long one chunk takes, beside the real LeRobot: same weights, same inputs, same cores, taking turns.

    python -m benchmarks.inference /path/to/lerobot-venv/bin/python               # everything, about ten minutes
    python -m benchmarks.inference /path/to/lerobot-venv/bin/python --what fp32 --rounds 3
    python -m benchmarks.inference none --tiny                                    # without LeRobot, at a toy's size
    python -m benchmarks.inference /path/to/lerobot-venv/bin/python --device cuda --what bf16 --samples 16

The policy is the published one's shape (450M) with random weights, rounded as the published file stores them: bfloat16,
26 tensors float32. Two 480x640 cameras, 48 language tokens of which 12 are real, one sample; `--samples` of them are a
classroom of arms that is decided for at once. LeRobot 0.4.4 runs eagerly in a process of its own
(benchmarks.lerobot_policy), our bf16 on a GPU as CUDA graphs (`speed.prepare`). Rows go to measured.csv; `--dry` prints
only. Loading has a benchmark of its own (benchmarks.loading).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.inference_parts import ROUNDS, Peak, bandwidth, matrix_peak, measure_parts, table
from benchmarks.lerobot_policy import CLOCKS, LeRobot
from benchmarks.measured import Row, keep
from smolkit.machine import free_cores
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_stats
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.presets import as_published, build_preset
from smolkit.smolvla.processors import make_processors
from smolkit.smolvla.speed import action_error, prepare, quantise
from smolkit.smolvla.tokenizer import ASSETS

Options = argparse.Namespace
BENCH, IMAGE_PX, WORDS, REAL_WORDS = "inference", (480, 640), 48, 12


# --- one policy and one moment, for both sides ------------------------------------------------------------------------

def make_checkpoint(folder: Path, preset: str, seed: int = 0) -> Path:
    """A policy of random weights in which every path matters: matrices 1/sqrt(fan in), biases 0.1, norms 1 +- 0.1."""
    chosen = build_preset(preset, image_px=IMAGE_PX)
    torch.manual_seed(seed)
    with torch.device("meta"):
        model = SmolVLA(chosen.config, chosen.backbone)
    model = model.to_empty(device="cpu").requires_grad_(False)
    for name, weight in model.named_parameters():
        spread = 0.1 if weight.ndim == 1 else weight[0].numel() ** -0.5
        weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, spread)
    processors = make_processors(chosen.config, tiny_stats(seed), ASSETS)
    return save_checkpoint(folder, SmolVLAPolicy(as_published(model), processors))


def make_inputs(path: Path, preset: str, samples: int = 1, seed: int = 1) -> Path:
    """A batch as the preprocessor makes it, and the noise to start from."""
    chosen, rng = build_preset(preset, image_px=IMAGE_PX), torch.Generator().manual_seed(seed)
    words = min(WORDS, chosen.config.tokenizer_max_length)
    tokens = torch.randint(3, chosen.backbone.text.vocabulary, (samples, words), generator=rng)
    pictures = {name: torch.rand(samples, 3, *IMAGE_PX, generator=rng) for name in chosen.config.cameras}
    noise = torch.randn(samples, chosen.config.chunk_size, chosen.config.max_action_dim, generator=rng)
    save_file({**pictures, "observation.state": torch.randn(samples, 6, generator=rng), "noise_sampling": noise,
               "observation.language.tokens": tokens,
               "observation.language.attention_mask": (torch.arange(words) < REAL_WORDS).repeat(samples, 1)}, path)
    return path


# --- the two sides ----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Run:
    """One chunk: how long it took, how much of that in the vision tower, and what came out."""

    seconds: float
    vision_s: float
    actions: Tensor                # (B, T, action_dim)


def ours(folder: Path, inputs: Path, variant: str, device: str) -> Callable[[], Run]:
    """Our policy, loaded and made ready; calling it computes one chunk."""
    policy = load_variant(folder, variant, device)
    batch = load_file(inputs, device=device)
    noise, model, spent = batch.pop("noise_sampling"), policy.model, [0.0]
    see = model._see
    model._see = lambda pictures: _timed(lambda: see(pictures), device, spent)[1]

    def run() -> Run:
        spent[0] = 0.0
        seconds, actions = _timed(lambda: model.sample_actions(batch, noise=noise), device)
        return Run(seconds, spent[0], actions.float().cpu())
    return run


def load_variant(folder: Path, variant: str, device: str = "cpu") -> SmolVLAPolicy:
    """fp32; bf16 (on a GPU compiled, on a processor in the arithmetic that is fastest here); int8."""
    dtype = torch.float32 if variant == "fp32" else torch.bfloat16
    policy = load_checkpoint(folder, dtype=dtype, device=device)
    return {"fp32": lambda done: done, "bf16": prepare, "int8": quantise}[variant](policy)


def _timed(work: Callable[[], object], device: str, spent: list[float] | None = None) -> tuple[float, object]:
    clock = CLOCKS[os.environ.get("BENCHMARK_CLOCK", "wall")]
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    begun = clock()
    done = work()
    wait()
    seconds = clock() - begun
    if spent is not None:
        spent[0] += seconds
    return seconds, done


@contextmanager
def theirs(python: str, folder: Path, inputs: Path, dtype: str, options: Options) -> Iterator[Callable[[], Run]]:
    """LeRobot in its own process, loaded; calling it computes one chunk."""
    with LeRobot(python, options.threads, options.device) as lerobot, tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "actions.safetensors")
        _ask(lerobot, "load", folder=folder, vlm=folder / "vlm", dtype=dtype)
        _ask(lerobot, "sample", inputs=inputs)

        def run() -> Run:
            answer = _ask(lerobot, "sample", out=out)
            return Run(answer["seconds"], answer["vision_s"], load_file(out)["actions"])
        yield run


def _ask(lerobot: LeRobot, do: str, **details: object) -> dict:
    answer = lerobot.ask(do, **details)
    if "error" in answer:
        raise RuntimeError(f"LeRobot: {answer['error']}")
    return answer


# --- what is compared -------------------------------------------------------------------------------------------------

def take_turns(sides: dict[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Every side once a round, so that whatever else the machine does disturbs all alike. A first round warms up."""
    runs = [{name: side() for name, side in sides.items()} for _ in range(rounds + 1)]
    return {name: [one[name] for one in runs[1:]] for name in sides}


def compare(name: str, others: list[str], done: dict[str, list[Run]]) -> list[Row]:
    """Our variant beside each of LeRobot's: ratios of medians, and how far our actions are from LeRobot's fp32."""
    mine, rounds = done[name], len(done[name])
    rows = [Row(f"{name}, one chunk", _middle(mine), "s", rounds),
            Row(f"{name}, after the vision tower", _after(mine), "s", rounds)]
    for other in others:
        rows += [Row(f"LeRobot {other}, one chunk", _middle(done[other]), "s", rounds),
                 Row(f"{name}, total, ours over LeRobot {other}", _middle(mine) / _middle(done[other]), "", rounds),
                 Row(f"{name}, after the vision tower, ours over LeRobot {other}",
                     _after(mine) / _after(done[other]), "", rounds)]
    if "float32" in done:
        error = action_error(done["float32"][0].actions, mine[0].actions)
        rows += [Row(f"{name}, mean action error against LeRobot float32", error.mean, "normalised", 1),
                 Row(f"{name}, largest action error against LeRobot float32", error.max, "normalised", 1)]
    return rows


def _middle(runs: list[Run]) -> float:
    return median(run.seconds for run in runs)


def _after(runs: list[Run]) -> float:
    return median(run.seconds - run.vision_s for run in runs)


OTHERS = {"fp32": ["float32"], "bf16": ["float32", "published"], "int8": ["float32", "published"]}


def chunk_rows(what: str, python: str | None, folder: Path, inputs: Path, options: Options) -> list[Row]:
    """One of our variants beside LeRobot."""
    with ExitStack() as stack:
        sides = {what: ours(folder, inputs, what, options.device)}
        for other in OTHERS[what] if python else ():
            sides[other] = stack.enter_context(theirs(python, folder, inputs, other, options))
        return compare(what, list(sides)[1:], take_turns(sides, options.rounds))


# --- parts ------------------------------------------------------------------------------------------------------------

def part_rows(folder: Path, inputs: Path, options: Options) -> list[Row]:
    """Our fp32 chunk, part by part, against the machine's peaks."""
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    size, mbyte = (256, 16) if options.tiny else (2048, 1024)
    peaks = {name: matrix_peak(options.device, dtype, size) for name, dtype in kinds.items()}
    peak = Peak(peaks["float32"], bandwidth(options.device, mbyte))
    batch = load_file(inputs, device=options.device)
    noise = batch.pop("noise_sampling")
    parts = measure_parts(load_variant(folder, "fp32", options.device).model, batch, noise, peak)
    print(table(parts))
    rows = [Row(f"matrix peak, {name}", value, "GFLOP/s", ROUNDS) for name, value in peaks.items()]
    rows.append(Row("memory bandwidth, reading", peak.gbyte_s, "GB/s", ROUNDS))
    for part in parts:
        numbers = ((part.seconds, "s"), (part.gflop, "GFLOP"), (part.gbyte, "GB"), (100 * part.share, "% of the peak"))
        rows += [Row(f"fp32, {part.name}", value, unit, ROUNDS) for value, unit in numbers]
    return rows


WHAT = ("fp32", "bf16", "int8", "parts")


def measure(python: str | None, options: Options) -> list[Row]:
    """Everything that was asked for, on one checkpoint in a scratch folder."""
    with tempfile.TemporaryDirectory() as scratch:
        preset = "tiny" if options.tiny else "base"
        folder = options.checkpoint or make_checkpoint(Path(scratch, "policy"), preset)
        inputs = make_inputs(Path(scratch, "inputs.safetensors"), preset, options.samples)
        rows = []
        everything = [what for what in WHAT if options.device == "cpu" or what != "int8"]
        for what in everything if options.what == "all" else [options.what]:
            work = part_rows if what == "parts" else partial(chunk_rows, what, python)
            rows += work(folder, inputs, options)
        return rows


def pinned(threads: int) -> None:
    """This process and those it starts: `threads` of the free cores, and as many threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("python", nargs="?", help="LeRobot's Python, or none")
    parser.add_argument("--what", choices=[*WHAT, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=free_cores())
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor seconds, of one thread only")
    parser.add_argument("--checkpoint", type=Path, help="made before, in a scratch folder of yours")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--dry", action="store_true", help="write nothing into measured.csv")
    options = parser.parse_args(arguments)
    pinned(options.threads)
    os.environ["BENCHMARK_CLOCK"] = options.clock
    rows = measure(None if options.python in (None, "none") else options.python, options)
    for row in rows:
        print(f"{row.what:75} {row.value:10.4g} {row.unit}")
    if not (options.dry or options.tiny):
        how = f"{options.threads} threads, {options.clock} time"
        if (options.samples, options.device) != (1, "cpu"):
            how += f", {options.samples} samples, {options.device}"
        keep(BENCH, [Row(f"{row.what}, {how}", row.value, row.unit, row.n) for row in rows])
    return rows


if __name__ == "__main__":
    main()
