"""How fast are rows and frames read, beside LeRobot 0.4.4 on the same files, and does memory grow with the dataset?

    python -m benchmarks.data /path/to/lerobot-data-venv/bin/python --root SCRATCH [--rounds 9] [--store]

LeRobot itself records the set (once, into SCRATCH): 2 episodes of 300 frames, 2 cameras 480x640, AV1 with a key frame
every second frame; `Plan` lays them ten times one after the other by copying packets: 20 episodes. An item is one row
and both pictures: LeRobot gives float32 CHW, as it always does; ours are uint8 HWC, and once the same floats. Each way
has a process of its own, and in every round all read in turn, within seconds: so a busy machine is as busy for all.
Medians of rounds, and of each round's ratio. `plain PyAV` is the floor: seek, decode and convert with one open
container per camera, one thread, no dataset around it. CPU-ms count all threads.
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
from itertools import chain
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


def serve(way: str, root: Path) -> None:
    """Runs in a process of its own, in either Python: answers "random 64 3" (order, items, seed) with measurements."""
    total, read, at_once = opened(way, root)
    for line in chain(["random 32 0"], sys.stdin):
        name, items, seed = line.split()[0], *map(int, line.split()[1:])
        rng = np.random.default_rng(seed)
        order = rng.integers(0, total, items) if name == "random" else (rng.integers(total) + np.arange(items)) % total
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, items, at_once):
            read(order[start:start + at_once])
        found = {"items/s": items / (time.perf_counter() - wall), "CPU-ms": 1000 * (time.process_time() - cpu) / items}
        print(json.dumps({**found, "resident MiB": _resident_mib()}), flush=True)


def _resident_mib() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


class Reader:
    """A process that reads one way; the first answer, to a warming-up, is thrown away."""

    def __init__(self, python: str, way: str, root: Path):
        kept = str(root.parent / "hf")
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": kept, "HF_HOME": kept, "OMP_NUM_THREADS": "1"}
        command = [python if way in THEIRS else sys.executable, "-m", "benchmarks.data", "--serve", way, str(root)]
        self.process = subprocess.Popen(command, env=env, cwd=ROOT, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._answer()

    def ask(self, order: str, items: int, seed: int) -> dict[str, float]:
        self.process.stdin.write(f"{order} {items} {seed}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, float]:
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("the reading process died")


def compare(python: str, root: Path, rounds: int, items: int) -> list[dict[str, dict[str, float]]]:
    """Every round all ways read in turn, within seconds: (order, way) -> measurements."""
    readers = {way: Reader(python, way, root) for way in (*OURS, *THEIRS)}
    found = []
    for seed in range(rounds):
        found.append({f"{order}, {way}": reader.ask(order, items if way in OURS else items // 4, seed)
                      for order in ("random", "sequential") for way, reader in readers.items()})
    for reader in readers.values():
        reader.close()
    return found


def longer(root: Path, times: int) -> Path:
    """The same recording many times over, by copying packets."""
    from smolkit.data.edit import Plan
    out = root.with_name(f"{root.name}_x{times}")
    if not out.exists():
        Plan.of(*[root] * times).write(out)
    return out


def main(python: str, scratch: Path, rounds: int, items: int, store: bool) -> None:
    from benchmarks.measured import Row, keep
    recorded = scratch / "recorded"
    if not recorded.exists():
        subprocess.run([python, "-m", "benchmarks.data", "--record", str(recorded)], check=True, cwd=ROOT)
    root, long = longer(recorded, TIMES), longer(recorded, 10 * TIMES)
    found, rows = compare(python, root, rounds, items), []
    for what in found[0]:
        for unit in ("items/s", "CPU-ms"):
            rows.append(Row(what, median(one[what][unit] for one in found), unit, rounds))
    for order in ("random", "sequential"):
        for way in OURS:
            for theirs in THEIRS:
                for unit in ("items/s", "CPU-ms"):
                    pairs = ((one[f"{order}, {way}"][unit], one[f"{order}, {theirs}"][unit]) for one in found)
                    ratio = median(ours / other if unit == "items/s" else other / ours for ours, other in pairs)
                    rows.append(Row(f"{order}, {way} against {theirs}, {unit}", ratio, "x", rounds))
    for name, where in ((f"{2 * TIMES} episodes", root), (f"{20 * TIMES} episodes", long)):
        reader = Reader(python, "ours", where)
        mib = reader.ask("random", items, 0)["resident MiB"]
        rows.append(Row(f"ours: memory after {items} random items, {name}", mib, "MiB", 1))
        reader.close()
    for row in rows:
        print(f"{row.what:70} {row.value:10.2f} {row.unit}")
    if store:
        keep("data", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--record"]:
        record(Path(sys.argv[2]), RECORDED, FRAMES)
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("python")
        parser.add_argument("--root", type=Path, required=True)
        parser.add_argument("--rounds", type=int, default=9)
        parser.add_argument("--items", type=int, default=64)
        parser.add_argument("--store", action="store_true")
        given = parser.parse_args()
        main(given.python, given.root.resolve(), given.rounds, given.items, given.store)
