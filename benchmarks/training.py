"""One training step of ours beside LeRobot's: seconds, memory, and whether the gradients are the same.

    python -m benchmarks.training /path/to/lerobot-venv/bin/python
    python -m benchmarks.training /path/to/lerobot-venv/bin/python --preset tiny --only speed   # to try the program

The same random weights (`base`, 450M), rounded as the published file stores them, batch 4, two pictures of 480x640,
default freezing, float32, the same cores and threads. Both sides live in processes of their own and are asked in turn;
ratios are of medians. A step is forward, backward, clipping and AdamW; looking up what was kept is part of it. Memory
is the highest of a fresh process's life: LeRobot's loads and makes two steps, ours is a run of two steps that saves its
checkpoint and the policy, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.lerobot_policy import CLOCKS, LeRobot, serve
from benchmarks.measured import Row, keep
from smolkit.machine import free_cores
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.names import theirs
from smolkit.smolvla.presets import as_published, build_preset
from smolkit.training.config import TrainConfig
from smolkit.training.lean import come_back, let_go, return_freed_memory
from smolkit.training.learner import SmolVLALearner, make_cache, prepare
from smolkit.training.loop import train
from smolkit.training.optimizer import Optimizer
from smolkit.training.samples import Samples

BATCH, WORDS, REAL_WORDS = 4, 48, 12
WAYS = {"nothing kept": {"cache": "none"}, "image tokens kept": {"cache": "tokens"}, "notes kept": {"cache": "notes"}}
MORE = {"notes kept, 4 draws": {"cache": "notes", "draws": 4}}


def make_files(folder: Path, preset: str) -> dict[str, Path]:
    """A checkpoint of random weights, and a batch as the preprocessor makes it."""
    config, rng = build_preset(preset).config, torch.Generator().manual_seed(0)
    policy = tiny_policy(seed=0, preset=preset)
    as_published(policy.model)
    save_checkpoint(folder / "policy", policy)
    shape = (BATCH, config.chunk_size, config.max_action_dim)
    save_file({**{name: torch.rand(BATCH, 3, 480, 640, generator=rng) for name in config.cameras},
               "observation.state": torch.randn(BATCH, 6, generator=rng),
               "observation.language.tokens": torch.randint(3, 500, (BATCH, WORDS), generator=rng),
               "observation.language.attention_mask": (torch.arange(WORDS) < REAL_WORDS).repeat(BATCH, 1),
               "action": torch.randn(*shape[:2], 6, generator=rng),
               "action_is_pad": torch.zeros(shape[:2], dtype=torch.bool),
               "noise": torch.randn(shape, generator=rng), "time": torch.rand(BATCH, generator=rng)},
              folder / "batch.safetensors")
    return {"folder": folder / "policy", "inputs": folder / "batch.safetensors", "out": folder / "out.safetensors"}


class Desk:
    """Our side of the pipe; every method is one question."""

    def load(self, folder: str, inputs: str) -> dict:
        self.policy, self.caches = load_checkpoint(folder), {}
        self.model = self.policy.model
        prepare(self.model, TrainConfig())
        return_freed_memory()
        self.optimizer = Optimizer(self.model, TrainConfig())
        self.batch = load_file(inputs)
        self.drawn = {name: self.batch.pop(name) for name in ("noise", "time")}
        return {}

    def way(self, draws: int = 1, cache_dtype: str = "float32", folder: str | None = None, **settings: str) -> dict:
        """How to train from now on; the cache is filled, as in the first epoch. Answers what a later look-up takes."""
        config, self.draws = TrainConfig(cache_dtype=cache_dtype, **settings), draws
        come_back(self.policy)
        new = make_cache(self.model, config, Path(folder) if folder else None)
        self.cache = self.caches.setdefault((config.cache, cache_dtype, folder), new)
        filling_s, lookup_s = (self._seconds(self._known) for _ in range(2))
        if self.cache:
            let_go(self.policy, self.cache.asks)               # as the learner does
        return {"filling_s": filling_s, "lookup_s": lookup_s, "bytes": self.cache.shelf.bytes if self.cache else 0}

    def run(self, folder: str, out: str, stop_at: int = 2, **settings: object) -> dict:
        """A run of three steps on four frames, from its start or its newest checkpoint to the step `stop_at`."""
        policy, rng = load_checkpoint(folder), np.random.default_rng(0)
        pictures = {name.rpartition(".")[2]: rng.integers(0, 256, (BATCH, 480, 640, 3), np.uint8)
                    for name in policy.model.config.cameras}
        samples = Samples(pictures, *rng.normal(0, 20, (2, BATCH, 6)).astype(np.float32), np.zeros(BATCH, int),
                          np.zeros(BATCH, int), ("put the red cube in the blue box",))
        config = TrainConfig(steps=3, batch_size=BATCH, threads=torch.get_num_threads(), **settings)
        stop = threading.Event()
        train(SmolVLALearner(policy, samples, config), config, Path(out), stop=stop,
              progress=lambda now: now.step < stop_at or stop.set())
        return {}

    def _seconds(self, work: Callable[[], object]) -> float:
        clock = CLOCKS[os.environ.get("BENCHMARK_CLOCK", "wall")]
        begun = clock()
        work()
        return clock() - begun

    def _known(self) -> dict:
        return self.cache.known(self.batch) if self.cache else {}

    def step(self) -> dict:
        return {"seconds": self._seconds(self._step)}

    def _step(self) -> None:
        self.optimizer.forget_gradients()
        self.model(self.batch, draws=self.draws, generation="0.4.4", **self._known())["loss"].backward()
        self.optimizer.clip(TrainConfig.grad_clip)
        self.optimizer.step(TrainConfig.learning_rate)

    def loss(self, out: str) -> dict:
        self.optimizer.forget_gradients()
        found = self.model(self.batch, generation="0.4.4", **self.drawn, **self._known())
        found["loss"].backward()
        gradients = {f"grad.{theirs(name)}": weight.grad for name, weight in self.optimizer.weights.items()}
        save_file({"loss": found["loss"].detach(), **gradients}, out)
        return {}


def ours(threads: int) -> LeRobot:
    """Our desk at the end of the same kind of pipe."""
    return LeRobot(sys.executable, threads, module="benchmarks.training")


def speed(python: str, files: dict[str, Path], threads: int, rounds: int) -> list[Row]:
    """Seconds a step, asked in turn; LeRobot's first step is not counted, nor is ours."""
    taken_s: dict[str, list[float]] = {name: [] for name in ("LeRobot", *WAYS, *MORE)}
    with LeRobot(python, threads) as lerobot, ours(threads) as desk:
        _answered(lerobot.ask("load", folder=files["folder"]))
        _answered(desk.ask("load", folder=files["folder"], inputs=files["inputs"]))
        for number in range(rounds + 1):
            inputs = {} if number else {"inputs": files["inputs"]}
            taken_s["LeRobot"].append(_answered(lerobot.ask("step", **inputs))["seconds"])
            for name, way in {**WAYS, **MORE}.items():
                _answered(desk.ask("way", **way))
                taken_s[name].append(_answered(desk.ask("step"))["seconds"])
    middle_s = {name: median(seconds[1:]) for name, seconds in taken_s.items()}
    rows = [Row(f"step, {name}", seconds, "s", rounds) for name, seconds in middle_s.items()]
    return rows + [Row(f"step, {name}: of LeRobot's time", middle_s[name] / middle_s["LeRobot"], "ratio", rounds)
                   for name in (*WAYS, *MORE)]


def gradients(python: str, files: dict[str, Path], threads: int) -> list[Row]:
    """Every weight that LeRobot trains: the largest difference, over the largest number of its own gradient."""
    with LeRobot(python, threads) as lerobot:
        _answered(lerobot.ask("load", folder=files["folder"]))
        _answered(lerobot.ask("loss", inputs=files["inputs"], out=files["out"], generation="0.4.4"))
    wanted, rows = load_file(files["out"]), []
    with ours(threads) as desk:
        _answered(desk.ask("load", folder=files["folder"], inputs=files["inputs"]))
        for name, way in {**WAYS, **{f"{name}, bfloat16": {**way, "cache_dtype": "bfloat16"}
                                     for name, way in list(WAYS.items())[1:]}}.items():
            _answered(desk.ask("way", **way))
            _answered(desk.ask("loss", out=files["out"]))
            difference = _difference(load_file(files["out"]), wanted)
            rows.append(Row(f"gradients, {name}: largest difference from LeRobot's", difference, "of the largest",
                            len(wanted) - 1))
    return rows


def _difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Both sides must train the same weights."""
    wanted = {name: value for name, value in wanted.items() if name.startswith("grad.")}
    if set(wanted) != {name for name in found if name.startswith("grad.")}:
        raise SystemExit(f"other weights learn: {sorted(set(wanted) ^ set(found))[:5]}")
    return max(((found[name] - value).abs().max() / value.abs().max()).item() for name, value in wanted.items())


def memory(python: str, files: dict[str, Path], threads: int) -> list[Row]:
    """The peaks of fresh processes."""
    with LeRobot(python, threads) as lerobot:
        _answered(lerobot.ask("load", folder=files["folder"]))
        loading = _answered(lerobot.ask("step", inputs=files["inputs"]))["peak_mb"]
        theirs_mb = max(loading, _answered(lerobot.ask("step"))["peak_mb"])
    notes = WAYS["notes kept"]
    ways = {**WAYS, "notes kept, layers recomputed": {**notes, "recompute": True},
            "notes kept, LoRA of rank 16": {**notes, "lora_rank": 16}}
    peaks_mb = {name: _our_peak_mb(files, threads, name, way) for name, way in ways.items()}
    peaks_mb["notes kept, resumed"] = _our_peak_mb(files, threads, "notes kept", notes, stop_at=3)
    rows = [Row(f"peak memory, {name}", mb, "MiB", 1) for name, mb in [("LeRobot", theirs_mb), *peaks_mb.items()]]
    return rows + [Row(f"peak memory, {name}: of LeRobot's", peak_mb / theirs_mb, "ratio", 1)
                   for name, peak_mb in peaks_mb.items()]


def keeping(files: dict[str, Path], threads: int) -> list[Row]:
    """What the caches take on the disk, and how long they need, for one sample of two pictures in bfloat16."""
    rows = []
    with ours(threads) as desk:
        _answered(desk.ask("load", folder=files["folder"], inputs=files["inputs"]))
        for name, way in list(WAYS.items())[1:]:
            folder = files["out"].parent / "kept" / way["cache"]
            found = _answered(desk.ask("way", cache_dtype="bfloat16", folder=folder, **way))
            again = _answered(desk.ask("way", cache_dtype="bfloat16", folder=folder, **way))
            seconds = min(again["filling_s"], again["lookup_s"])           # both were answered from the disk
            about = f"{name} in a folder, bfloat16"
            rows += [Row(f"{about}: room for one sample", found["bytes"] / BATCH / 1e6, "MB", BATCH),
                     Row(f"{about}: making one sample", found["filling_s"] / BATCH, "s", BATCH),
                     Row(f"{about}: looking one sample up", seconds / BATCH, "s", BATCH)]
    return rows


def _our_peak_mb(files: dict[str, Path], threads: int, name: str, way: dict[str, object], **how: int) -> float:
    with ours(threads) as desk:
        out = files["out"].with_name(name)
        answer = desk.ask("run", folder=files["folder"], out=out, cache_dtype="float32", **way, **how)
        return _answered(answer)["peak_mb"]


def _answered(answer: dict) -> dict:
    if "error" in answer:
        raise SystemExit(answer["error"])
    return answer


def main(given: argparse.Namespace) -> None:
    parts: dict[str, Callable[[dict[str, Path]], list[Row]]] = {
        "speed": lambda files: speed(given.python, files, given.threads, given.rounds),
        "gradients": lambda files: gradients(given.python, files, given.threads),
        "memory": lambda files: memory(given.python, files, given.threads),
        "keeping": lambda files: keeping(files, given.threads)}
    with tempfile.TemporaryDirectory() as scratch:
        files = make_files(Path(scratch), given.preset)
        rows = [row for name in given.only or parts for row in parts[name](files)]
    for row in rows:
        sys.stdout.write(f"{row.value:10.4g} {row.unit:16} {row.what}\n")
    if given.preset == "base":
        how = f"{given.threads} threads, {given.clock} time"
        keep("training", [Row(f"{row.what} ({how})", row.value, row.unit, row.n) for row in rows])


if __name__ == "__main__":
    if sys.argv[1:] == ["cpu"]:                    # the far end of `ours`
        serve(Desk)
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the Python of an environment with LeRobot 0.4.4")
    parser.add_argument("--preset", default="base", help="another size, to try this program; nothing is stored")
    parser.add_argument("--only", nargs="*", choices=("speed", "gradients", "memory", "keeping"), default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=free_cores())
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor seconds, of one thread only")
    given = parser.parse_args()
    os.environ["BENCHMARK_CLOCK"] = given.clock
    main(given)
