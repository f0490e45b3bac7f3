"""What does recording cost beside LeRobot's own recorder, and does memory stay flat while a dataset grows?

    python -m benchmarks.recording /path/to/lerobot-venv/bin/python          # side by side, 4 minutes
    python -m benchmarks.recording                                           # memory of a long dataset, 1 minute

Two cameras of 480x640 at 30 Hz, paced as on the desk, pictures of two kinds: natural (shapes, texture, a little sensor
noise) and very noisy. Both recorders get the same pictures and rows; processor time is that of the process and of its
children, over add_frame and save_episode. Without LeRobot's Python smolkit records a dataset, and one ten times as
long.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

if __name__ != "__main__" or "--inside" not in sys.argv:          # LeRobot's Python has none of this
    from benchmarks.measured import Row, keep

FPS, HEIGHT, WIDTH, LOOP = 30, 480, 640, 60               # so many pictures, again and again
CAMERAS = ("front", "wrist")
JOINTS = [f"{name}.pos" for name in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll",
                                     "gripper")]


def pictures(kind: str) -> np.ndarray:
    """(LOOP, H, W, 3) uint8: waves and a moving block, textured; noise of 2 or 10 grey levels."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    texture = np.repeat(np.repeat(random.normal(0, 8, (HEIGHT // 4, WIDTH // 4, 3)), 4, 0), 4, 1)
    out = np.empty((LOOP, HEIGHT, WIDTH, 3), np.uint8)
    for i in range(LOOP):
        image = np.stack([127 + 80 * np.sin(x / 90 + i / 20), 120 + 60 * np.cos(y / 70 - i / 30),
                          100 + 50 * np.sin((x + y) / 110)], -1) + texture
        image[200:300, 100 + 4 * i:180 + 4 * i] = (200, 30, 30)
        image += random.standard_normal(image.shape, np.float32) * (2 if kind == "natural" else 10)
        out[i] = np.clip(image, 0, 255)
    return out


class Ours:
    """smolkit's writer."""

    def __init__(self, root: Path):
        from smolkit.cameras.camera import CameraRole
        from smolkit.data.writer import DatasetWriter
        self.writer = DatasetWriter.create(root, FPS, [CameraRole(name, HEIGHT, WIDTH, FPS) for name in CAMERAS])

    def add(self, row: dict[str, np.ndarray], index: int) -> None:
        self.writer.add_frame(row | {"captured_s": index / FPS}, "push")

    def save(self) -> None:
        self.writer.save_episode()

    def close(self) -> None:
        self.writer.finalize()


class LeRobots:
    """LeRobot's recorder as `lerobot-record` sets it up, four picture writers a camera; or encoding as it goes."""

    def __init__(self, root: Path, streaming: bool):
        import torch

        library = torch.library.Library("torchvision", "DEF")  # its compiled part doesn't load beside CPU torch
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor a) -> Tensor")
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
        vector = {"dtype": "float32", "shape": (6,), "names": JOINTS}
        camera = {"dtype": "video", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]}
        features = {"action": vector, "observation.state": vector,
                    **{f"observation.images.{name}": camera for name in CAMERAS}}
        more = {"streaming_encoding": True} if streaming else {"image_writer_threads": 4 * len(CAMERAS)}
        self.dataset = LeRobotDataset.create("local/test", FPS, features, root=root, **more)
        self.library = library

    def add(self, row: dict[str, np.ndarray], index: int) -> None:
        self.dataset.add_frame(row | {"task": "push"})

    def save(self) -> None:
        self.dataset.save_episode()

    def close(self) -> None:
        self.dataset.finalize()


def cpu_s() -> float:
    """Of this process and of its children that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF,
                                                                                  resource.RUSAGE_CHILDREN)))


def rss_mb() -> float:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def record(recorder: Ours | LeRobots, shown: np.ndarray, episodes: int, rows: int,
           paced: bool) -> dict[str, list[float]]:
    """Seconds that each call took, processor seconds of each episode, and memory after it."""
    took: dict[str, list[float]] = {"add_s": [], "save_s": [], "cpu_s": [], "rss_mb": []}
    for _ in range(episodes):
        began_cpu_s, begin_s = cpu_s(), time.perf_counter()
        for index in range(rows):
            pose = np.full(6, index / 10, np.float32)
            images = {f"observation.images.{name}": shown[(index + 7 * k) % LOOP] for k, name in enumerate(CAMERAS)}
            now_s = time.perf_counter()
            recorder.add({"action": pose, "observation.state": pose, **images}, index)
            took["add_s"].append(time.perf_counter() - now_s)
            if paced:
                time.sleep(max(0.0, begin_s + (index + 1) / FPS - time.perf_counter()))
        now_s = time.perf_counter()
        recorder.save()
        took["save_s"].append(time.perf_counter() - now_s)
        took["cpu_s"].append(cpu_s() - began_cpu_s)
        took["rss_mb"].append(rss_mb())
    return took


def inside(options: argparse.Namespace) -> None:
    """Runs in a process of its own, in either Python."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "set")
        recorder = Ours(root) if options.inside == "smolkit" else LeRobots(root, options.inside == "lerobot streaming")
        took = record(recorder, pictures(options.kind), options.episodes, options.rows, options.paced)
        before_s = time.perf_counter()
        recorder.close()
        found = {**took, "close_s": time.perf_counter() - before_s, "threads": threading.active_count(),
                 "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                 "bytes": sum(path.stat().st_size for path in root.rglob("*.mp4")),
                 "files": sum(path.is_file() for path in root.rglob("*"))}
    options.out.write_text(json.dumps(found))


def run(python: str, who: str, kind: str, episodes: int, rows: int, paced: bool) -> dict:
    """One recording in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "found.json")
        command = [python, __file__, "--inside", who, "--kind", kind, "--episodes", str(episodes), "--rows", str(rows),
                   "--out", str(out), *(["--paced"] if paced else [])]
        here = str(Path(__file__).parents[1])
        quiet = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": folder, "PYTHONPATH": here, "SVT_LOG": "1",
                              "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=quiet, stderr=subprocess.DEVNULL)
        return json.loads(out.read_text())


def beside(options: argparse.Namespace) -> list[Row]:
    """Both recorders on both kinds of pictures, one after the other."""
    rows = []
    for kind in ("natural", "noisy"):
        cpu_ms = {}
        for who in ("smolkit", "lerobot", "lerobot streaming"):
            python = sys.executable if who == "smolkit" else options.lerobot
            found = run(python, who, kind, options.episodes, options.rows, True)
            cpu_ms[who] = 1000 * np.median(found["cpu_s"]) / options.rows / len(CAMERAS)
            name, n = f"{who}, {kind} 480x640", options.episodes * options.rows
            add_ms = 1000 * np.array(found["add_s"])
            rows += [Row(f"{name}: processor time a picture", cpu_ms[who], "ms", 2 * n),
                     Row(f"{name}: add_frame, mean", add_ms.mean(), "ms", n),
                     Row(f"{name}: add_frame, p99", np.quantile(add_ms, 0.99), "ms", n),
                     Row(f"{name}: save_episode of {options.rows / FPS:g} s, the slowest", max(found["save_s"]), "s",
                         options.episodes),
                     Row(f"{name}: peak memory", found["peak_mb"], "MiB", 1),
                     Row(f"{name}: video a picture", found["bytes"] / n / 2000, "KB", 2 * n)]
        rows += [Row(f"{kind}: processor time of {who} over smolkit's", cpu_ms[who] / cpu_ms["smolkit"], "times",
                     options.episodes) for who in cpu_ms if who != "smolkit"]
    return rows


def long() -> list[Row]:
    """A dataset, and one with ten times as many episodes of 2 s."""
    rows = []
    for episodes in (10, 100):
        found = run(sys.executable, "smolkit", "natural", episodes, 60, False)
        rows += [Row(f"memory after {episodes} episodes", found["rss_mb"][-1], "MB", 1),
                 Row(f"peak memory, {episodes} episodes and closing", found["peak_mb"], "MiB", 1),
                 Row(f"save_episode, the last of {episodes}", found["save_s"][-1], "s", 1),
                 Row(f"closing after {episodes} episodes: {found['files']} files", found["close_s"], "s", 1)]
    return rows


def main() -> None:
    """Measures, prints and keeps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lerobot", nargs="?", help="LeRobot's Python")
    parser.add_argument("--inside")
    parser.add_argument("--kind", default="natural")
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--paced", action="store_true")
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    rows = beside(options) if options.lerobot else long()
    for row in rows:
        sys.stdout.write(f"{row.what}: {row.value:.3g} {row.unit}\n")
    keep("recording", rows)


if __name__ == "__main__":
    main()
