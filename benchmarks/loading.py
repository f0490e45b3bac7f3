"""How long does a policy take to load, and how much memory, beside LeRobot?

    python -m benchmarks.loading /path/to/lerobot-venv/bin/python [--preset under200m] [--runs 5]

A random checkpoint in the published number formats (`base`: 450M parameters, 907 MB), out of the page cache. Every
run is a fresh process that imports first and then loads once, in turn ours and LeRobot's. Seconds are of the loading
alone, LeRobot's without reading its backbone's own weights first (which `load_vlm_weights: true` makes it do).
Memory is the highest of the whole process (VmHWM), imports included; `grown` is what loading added.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lerobot_policy import ROOT, LeRobot, memory_mb
from benchmarks.measured import Row, keep

DTYPES = {"ours, bfloat16": "bfloat16", "ours, float32": "float32", "ours, as published": None,
          "LeRobot, as published": "published", "LeRobot, float32": "float32"}


def make_checkpoint(folder: Path, preset: str = "base") -> Path:
    """A random policy in the number formats of lerobot/smolvla_base."""
    import torch

    from smolkit.smolvla.checkpoint import save_checkpoint
    from smolkit.smolvla.fake import tiny_policy
    policy = tiny_policy(preset=preset)
    policy.model.to(torch.bfloat16)
    cross = [part for layer, planned in zip(policy.model.expert.layers, policy.model.expert.plan, strict=True)
             if planned.kind == "cross" for part in (layer.self_attn.k_proj, layer.self_attn.v_proj)]
    for part in [policy.model.state_proj, policy.model.expert.action_in, policy.model.expert.action_out,
                 policy.model.expert.action_time_in, policy.model.expert.action_time_out, *cross]:
        part.float()
    return save_checkpoint(folder, policy)


def load_ours(folder: Path, dtype: str | None = "bfloat16", threads: int = 1) -> dict[str, float]:
    """Seconds and MiB of one loading in a fresh process of ours."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    asked = [sys.executable, "-m", "benchmarks.loading", "--inside", str(folder), str(dtype)]
    return json.loads(subprocess.run(asked, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def load_theirs(python: str, folder: Path, dtype: str = "published", threads: int = 1) -> dict[str, Any]:
    """The same of LeRobot; dtype "published" or "float32"."""
    with LeRobot(python, threads) as lerobot:
        before_mb = lerobot.ask("forget_peak")["rss_mb"]
        loaded = lerobot.ask("load", folder=str(folder), dtype=dtype)
    return {**loaded, "grown_mb": loaded["peak_mb"] - before_mb}


def inside(folder: str, dtype: str) -> None:
    """Runs in the fresh process."""
    import torch

    from smolkit.smolvla.checkpoint import load_checkpoint
    before_mb = memory_mb()["rss_mb"]
    begun = time.perf_counter()
    policy = load_checkpoint(folder, dtype=None if dtype == "None" else getattr(torch, dtype))
    seconds = time.perf_counter() - begun
    policy.weights.report().raise_if_red()
    found = memory_mb()
    print(json.dumps({"seconds": seconds, **found, "grown_mb": found["peak_mb"] - before_mb}))


def compare(python: str, folder: Path, runs: int) -> dict[str, dict[str, float]]:
    """Medians of every way to load, in turn; the first round only warms the page cache."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in DTYPES}
    for _ in range(runs + 1):
        for way, dtype in DTYPES.items():
            found[way].append(load_ours(folder, dtype) if way.startswith("ours") else
                              load_theirs(python, folder, dtype))
    return {way: {key: median(run[key] for run in several[1:]) for key in ("seconds", "peak_mb", "rss_mb", "grown_mb")}
            for way, several in found.items()}


def main(python: str, preset: str, runs: int, store: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        found = compare(python, make_checkpoint(Path(scratch, "policy"), preset), runs)
    for way, values in found.items():
        print(f"{way:24}", "  ".join(f"{key} {value:9.2f}" for key, value in values.items()))
    ours, theirs = found["ours, bfloat16"], found["LeRobot, as published"]
    exact, single = found["ours, float32"], found["LeRobot, float32"]
    ratios = {"seconds, bfloat16 / published": ours["seconds"] / theirs["seconds"],
              "seconds, float32 / float32": exact["seconds"] / single["seconds"],
              "peak memory, bfloat16 / published": ours["peak_mb"] / theirs["peak_mb"],
              "memory after loading, bfloat16 / published": ours["rss_mb"] / theirs["rss_mb"]}
    for what, ratio in ratios.items():
        print(f"{what}: {ratio:.3f}")
    if store:
        keep("loading", [Row(f"{preset}: {way}, {key}", value, "s" if key == "seconds" else "MiB", runs)
                         for way, values in found.items() for key, value in values.items()]
             + [Row(f"{preset}: {what}, ours / LeRobot", ratio, "x", runs) for what, ratio in ratios.items()])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:4])
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    main(given.python, given.preset, given.runs, given.store)
