"""How fast are rows and frames read, beside LeRobot 0.4.4 on the same files, and does memory grow with the dataset?

    python -m benchmarks.data /path/to/lerobot-data-venv/bin/python --root SCRATCH [--runs 3] [--store]

LeRobot itself records the set (once, into SCRATCH): 2 episodes of 300 frames, 2 cameras 480x640, AV1 with a key frame
every second frame; `Plan` lays them ten times one after the other by copying packets: 20 episodes. An item is one row
and both pictures: LeRobot gives float32 CHW, as it always does; ours are uint8 HWC, and once the same floats. Every
run is a fresh process, in turn; medians. `plain PyAV` is the floor: seek, decode and convert with one open container
per camera, one thread, no dataset around it. CPU-ms count all threads.
`benchmarks/lerobot_reads_ours.py` tells that both see the same pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RECORDED, TIMES, FRAMES, FPS = 2, 10, 300, 30
OURS = ("plain PyAV", "ours", "ours, 1 thread", "ours, float CHW", "ours, batches of 16")
THEIRS = ("LeRobot pyav", "LeRobot torchcodec")


def record(root: Path, episodes: int, frames: int) -> None:
    """Runs inside the foreign Python: LeRobot records pictures of a moving square on a noisy gradient."""
    dataset_class = _lerobot()
    joints = [f"joint_{n}.pos" for n in range(6)]
    vector = {"dtype": "float32", "shape": (6,), "names": joints}
    camera = {"dtype": "video", "shape": (480, 640, 3), "names": ["height", "width", "channels"]}
    features = {"action": vector, "observation.state": vector, "observation.images.front": camera,
                "observation.images.wrist": camera}
    dataset = dataset_class.create("local/bench", fps=FPS, features=features, root=root, image_writer_threads=2)
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:480, :640]
    for episode in range(episodes):
        for step in range(frames):
            frame: dict[str, Any] = {key: rng.normal(0, 30, 6).astype(np.float32) for key in list(features)[:2]}
            for number, key in enumerate(list(features)[2:]):
                scene = np.stack([(x / 3 + step + 40 * number) % 255, (y / 2 + 13 * episode) % 255, (x + y) / 5], -1)
                left = int(5 + 1.5 * step) % 560
                scene[160:240, left:left + 80] = (200, 30 + 60 * number, 30)
                frame[key] = np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
            dataset.add_frame({**frame, "task": "push the square"})
        dataset.save_episode()
    dataset.finalize()


def _lerobot() -> Any:
    import torch

    library = torch.library.Library("torchvision", "DEF")   # its compiled part doesn't load beside CPU torch
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor a) -> Tensor")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    LeRobotDataset.keep_alive = library
    return LeRobotDataset


def opened(way: str, root: Path) -> tuple[int, Callable[[Sequence[int]], object], int]:
    """(number of rows, a function that reads items, how many at a time)."""
    if way.startswith("LeRobot"):
        dataset = _lerobot()("local/bench", root=root, video_backend=way.split()[1])
        return len(dataset), lambda rows: [dataset[int(row)] for row in rows], 1
    if way == "plain PyAV":
        return _plain(root)
    from smolkit.data.reader import Dataset
    ours = Dataset(root, threads=1 if "1 thread" in way else None, as_torch="CHW" in way)
    return len(ours), ours.batch, 16 if "16" in way else 1


def _plain(root: Path) -> tuple[int, Callable[[Sequence[int]], object], int]:
    import av
    from av.video.reformatter import VideoReformatter

    from smolkit.data.layout import load_layout
    layout = load_layout(root)
    files = {span.file for episode in layout.episodes for span in episode.videos.values()}
    videos = []
    for file in files:
        stream = av.open(str(root / file)).streams.video[0]
        stream.codec_context.thread_count = 1
        videos.append((stream, VideoReformatter(), [-1, iter(())]))
    ticks = int(1 / (videos[0][0].time_base * layout.info.fps))

    def read(rows: Sequence[int]) -> object:
        pictures = []
        for row in rows:
            for stream, converter, state in videos:
                if state[0] != row:
                    stream.container.seek(int(row) * ticks, stream=stream)
                    state[1] = stream.container.decode(stream)
                frame = next(frame for frame in state[1] if frame.pts >= row * ticks)
                state[0] = row + 1
                pictures.append(converter.reformat(frame, format="rgb24").to_ndarray())
        return pictures

    return layout.info.total_frames if len(files) == len(layout.info.video_keys) else 0, read, 1


def measure(way: str, root: Path, items: int) -> dict[str, float]:
    """Runs in a fresh process of either Python."""
    total, read, at_once = opened(way, root)
    orders = {"random": np.random.default_rng(0).integers(0, total, items), "sequential": np.arange(items) % total}
    read(orders["random"][:at_once])
    found: dict[str, float] = {"rss_mb": _memory_mb("VmRSS")}
    for name, order in orders.items():
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, items, at_once):
            read(order[start:start + at_once])
        found[f"{name} items/s"] = items / (time.perf_counter() - wall)
        found[f"{name} CPU-ms"] = 1000 * (time.process_time() - cpu) / items
    return {**found, "peak_mb": _memory_mb("VmHWM"), "after_mb": _memory_mb("VmRSS")}


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def fresh(python: str, *arguments: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    kept = str(Path(arguments[-1]).parent / "hf")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": kept, "HF_HOME": kept, "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "benchmarks.data", *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1]) if "--record" not in arguments else {}


def compare(python: str, root: Path, runs: int, items: int) -> dict[str, dict[str, float]]:
    """Medians of all ways, run in turn."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in (*OURS, *THEIRS)}
    for _ in range(runs):
        for way, results in found.items():
            counted = items if way in OURS else items // 8
            one = fresh(python if way in THEIRS else sys.executable, "--inside", way, str(counted), str(root))
            print(f"{way:22}", "  ".join(f"{key} {value:8.1f}" for key, value in one.items()), flush=True)
            results.append(one)
    return {way: {key: median(one[key] for one in several) for key in several[0]} for way, several in found.items()}


def longer(root: Path, times: int) -> Path:
    """The same recording many times over, by copying packets."""
    from smolkit.data.edit import Plan
    out = root.with_name(f"{root.name}_x{times}")
    if not out.exists():
        Plan.of(*[root] * times).write(out)
    return out


def main(python: str, scratch: Path, runs: int, items: int, store: bool) -> None:
    from benchmarks.measured import Row, keep
    recorded = scratch / "recorded"
    if not recorded.exists():
        fresh(python, "--record", str(RECORDED), str(FRAMES), str(recorded))
    root, long = longer(recorded, TIMES), longer(recorded, 10 * TIMES)
    found = compare(python, root, runs, items)
    rows = [Row(f"{way}: {key}", value, key.split()[-1].replace("_", " "), runs * items) for way, values in
            found.items() for key, value in values.items() if "items" in key or "CPU" in key]
    for way in OURS[1:]:
        for theirs in THEIRS:
            for order in ("random", "sequential"):
                ratio = found[way][f"{order} items/s"] / found[theirs][f"{order} items/s"]
                print(f"{way} / {theirs}, {order}: {ratio:.1f} x")
                rows.append(Row(f"{order} items/s, {way} / {theirs}", ratio, "x", runs))
    for name, where in (("as recorded", root), ("ten times longer", long)):
        grown = median(fresh(sys.executable, "--inside", "ours", str(items), str(where))["after_mb"] for _ in range(3))
        print(f"memory after reading, {name}: {grown:.1f} MB")
        rows.append(Row(f"ours: resident memory after {items} random items, {name}", grown, "MiB", 3))
    if store:
        keep("data", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[4]), int(sys.argv[3]))))
    elif sys.argv[1:2] == ["--record"]:
        record(Path(sys.argv[4]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("python")
        parser.add_argument("--root", type=Path, required=True)
        parser.add_argument("--runs", type=int, default=3)
        parser.add_argument("--items", type=int, default=400)
        parser.add_argument("--store", action="store_true")
        given = parser.parse_args()
        main(given.python, given.root.resolve(), given.runs, given.items, given.store)
