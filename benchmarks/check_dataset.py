"""What does `smolkit check dataset` cost for a classroom's recording? Seconds and memory, structure and sense.

    python -m benchmarks.check_dataset [--episodes 50] [--frames 300] [--runs 3] [--store] [--dataset FOLDER]

50 episodes of 300 frames of two cameras of 480x640 px, recorded by us (H.264); `--dataset` takes another one. Every
run is a fresh process, imports included.
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

import numpy as np

from benchmarks.measured import Row, keep

MB = 1e6


def record(root: Path, episodes: int, frames: int) -> Path:
    """An arm that waves before two cameras that see it move, with a little noise."""
    from smolkit.cameras.camera import CameraRole
    from smolkit.data.writer import DatasetWriter
    roles = [CameraRole(name, 480, 640, 30) for name in ("front", "wrist")]
    rng, noise = np.random.default_rng(0), np.random.default_rng(1).integers(0, 12, (480, 720, 3), np.uint8)
    with DatasetWriter.create(root, 30, roles) as writer:
        for _ in range(episodes):
            phase, cube = rng.uniform(0, 6, 6), rng.integers(40, 400, 2)
            for step in range(frames):
                pose = 30 * np.sin(phase + step / 20 * np.array([1, 0.7, 0.9, 1.3, 0.4, 1.1])) + 35
                writer.add_frame({"action": 30 * np.sin(phase + (step + 3) / 20) + 35, "observation.state": pose,
                                  "captured_s": step / 30,
                                  **{role.feature: picture(noise, pose, cube, n) for n, role in enumerate(roles)}},
                                 "put the red cube into the box")
            writer.save_episode()
    return root


def picture(noise: np.ndarray, pose: np.ndarray, cube: np.ndarray, camera: int) -> np.ndarray:
    """(480, 640, 3) uint8: a grey desk, a red cube, a bar that goes with the pose."""
    shift = int(abs(pose[0]))
    image = noise[:, shift:shift + 640] + np.uint8(90 + 60 * camera)
    image[cube[0]:cube[0] + 40, cube[1]:cube[1] + 40] = (200, 30, 30)
    at = int(np.clip(200 + 4 * pose[camera + 1], 0, 560))
    image[100:380, at:at + 60] = (30, 40, 60)
    return image


def inside(folder: str) -> None:
    """Runs in the fresh process: one check, and what it took."""
    begun_s = time.perf_counter()
    from smolkit.data.checks.structure import check_dataset
    report = check_dataset(folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": time.perf_counter() - begun_s, "cpu_s": used.ru_utime + used.ru_stime,
                      "peak_mb": used.ru_maxrss * 1024 / MB, "checks": len(report.checks), "red": len(report.red())}))


def measure(folder: Path) -> dict[str, float]:
    """Of one check in a fresh process, on one thread."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-m", "benchmarks.check_dataset", "--inside", str(folder)]
    return json.loads(subprocess.run(asked, env=env, check=True, capture_output=True, text=True).stdout)


def main(folder: Path, what: str, runs: int, store: bool) -> None:
    several = [measure(folder) for _ in range(runs)]
    found = {key: median(one[key] for one in several) for key in several[0]}
    print(f"{what}: {found['seconds']:.1f} s ({found['cpu_s']:.1f} s of processors), peak {found['peak_mb']:.0f} MB, "
          f"{found['checks']:.0f} checks, {found['red']:.0f} red")
    if store:
        keep("check_dataset", [Row(f"{what}: seconds", found["seconds"], "s", runs),
                               Row(f"{what}: processor seconds", found["cpu_s"], "s", runs),
                               Row(f"{what}: peak memory", found["peak_mb"], "MB", runs)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", help="a folder: check it in this process")
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    if given.inside:
        inside(given.inside)
    elif given.dataset:
        main(given.dataset, given.dataset.name, given.runs, given.store)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            made = record(Path(scratch, "set"), given.episodes, given.frames)
            what = f"{given.episodes} episodes of {given.frames} frames, two cameras 480x640"
            main(made, what, given.runs, given.store)
