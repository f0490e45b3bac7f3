"""What does `smolkit check policy` cost for 450 million weights? Seconds, and memory above the checkpoint's size.

    python -m benchmarks.check_policy [--cameras 3] [--threads 2] [--runs 3] [--store]

A random policy in the published number formats (907 MB with the unused lm_head), so red it is; what it costs does
not depend on that. Every run is a fresh process, imports and reading included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measured import Row, keep
from smolkit.machine import free_cores

MB = 1e6


def make_checkpoint(folder: Path, cameras: int) -> Path:
    """lerobot/smolvla_base's shape and formats, untrained, with our small tokenizer."""
    from smolkit.smolvla.checkpoint import save_checkpoint
    from smolkit.smolvla.fake import tiny_stats
    from smolkit.smolvla.model import SmolVLA
    from smolkit.smolvla.policy import SmolVLAPolicy
    from smolkit.smolvla.presets import as_published, build_preset
    from smolkit.smolvla.processors import make_processors
    from smolkit.smolvla.tokenizer import ASSETS
    preset = build_preset("base", tuple(f"camera{i + 1}" for i in range(cameras)))
    model = as_published(SmolVLA(preset.config, preset.backbone))
    return save_checkpoint(folder, SmolVLAPolicy(model, make_processors(preset.config, tiny_stats(), ASSETS)))


def inside(folder: str, threads: int) -> None:
    """Runs in the fresh process: one check, and what it took."""
    begun_s = time.perf_counter()
    import torch

    from smolkit.smolvla.checks import check_policy
    torch.set_num_threads(threads)
    report = check_policy(folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": time.perf_counter() - begun_s, "cpu_s": used.ru_utime + used.ru_stime,
                      "peak_mb": used.ru_maxrss * 1024 / MB, "checks": len(report.checks)}))


def measure(folder: Path, threads: int) -> dict[str, float]:
    """Of one check in a fresh process; the threads are pinned to as many cores."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    asked = [sys.executable, "-m", "benchmarks.check_policy", "--inside", str(folder), "--threads", str(threads)]
    return json.loads(subprocess.run(asked, env=env, check=True, capture_output=True, text=True).stdout)


def main(cameras: int, threads: int, runs: int, store: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_checkpoint(Path(scratch, "policy"), cameras)
        size_mb = (folder / "model.safetensors").stat().st_size / MB
        several = [measure(folder, threads) for _ in range(runs)]
    found = {key: median(one[key] for one in several) for key in several[0]}
    above_mb = found["peak_mb"] - size_mb
    print(f"{cameras} cameras, {threads} threads: {found['seconds']:.1f} s ({found['cpu_s']:.1f} s of processors), "
          f"{found['checks']:.0f} checks, peak {found['peak_mb']:.0f} MB: {above_mb:.0f} above the checkpoint's size")
    if store:
        what = f"450M, {cameras} cameras, {threads} threads"
        keep("check_policy", [Row(f"{what}: seconds", found["seconds"], "s", runs),
                              Row(f"{what}: processor seconds", found["cpu_s"], "s", runs),
                              Row(f"{what}: peak memory above the checkpoint's size", above_mb, "MB", runs)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", help="a folder: check it in this process")
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--threads", type=int, default=free_cores())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    if given.inside:
        inside(given.inside, given.threads)
    else:
        main(given.cameras, given.threads, given.runs, given.store)
