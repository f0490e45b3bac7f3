"""Deleting 1 of 20 episodes beside LeRobot 0.4.4: how long, and what is left of the pictures?

    python -m benchmarks.editing /path/to/lerobot-data-venv/bin/python --root SCRATCH [--runs 3] [--store]

The set is that of benchmarks/data.py: recorded by LeRobot itself, 20 episodes x 300 frames, 2 cameras 480x640, AV1.
Every run is a fresh process, in turn; its imports are not counted. Afterwards all kept frames are decoded and
compared with the source's, and LeRobot reads what we wrote (rows, frames, windows, episode filter). `counted anew` is
the same deletion where the recorder's picture statistics can't be true (LeRobot 0.4.4's): ours then decodes a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from smolkit.data.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
GONE = 7                       # the episode that goes
WAYS = ("LeRobot", "ours", "ours, counted anew")


def delete(way: str, root: Path, out: Path) -> dict[str, float]:
    """Runs in a fresh process of either Python."""
    if way == "LeRobot":
        from benchmarks.data import _lerobot
        dataset = _lerobot()("local/bench", root=root, video_backend="pyav")
        from lerobot.datasets.dataset_tools import delete_episodes
        work = lambda: delete_episodes(dataset, [GONE], output_dir=out, repo_id="local/less")          # noqa: E731
    else:
        from smolkit.data.edit import Plan
        plan = Plan.of(root).drop([GONE])
        work = (plan.recounted() if "anew" in way else plan).write
        work = lambda write=work: write(out)                                                          # noqa: E731
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"s": time.perf_counter() - wall, "CPU-s": time.process_time() - cpu, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def fresh(python: str, way: str, root: Path, out: Path) -> dict[str, float]:
    """One deletion in a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    scratch = str(out.parent / "hf")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": scratch, "HF_HOME": scratch}
    inside = [python if way == "LeRobot" else sys.executable, "-m", "benchmarks.editing", "--inside", way, root, out]
    done = subprocess.run([str(word) for word in inside], env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def kept(source: Path, out: Path) -> tuple[int, int, float]:
    """(kept frames, how many of them decode to the very same pixels, mean difference of the others of 255)."""
    from smolkit.data.layout import load_layout
    old, new = load_layout(source), load_layout(out)
    equal, off = 0, []
    for key in old.info.video_keys:
        wanted = _frames(old, key, [episode.index for episode in old.episodes if episode.index != GONE])
        found = _frames(new, key, range(len(new.episodes)))
        for before, after in zip(wanted, found, strict=True):
            same = np.array_equal(before, after)
            equal += same
            if not same:
                off.append(np.abs(before.astype(int) - after).mean())
    return equal + len(off), equal, float(np.mean(off)) if off else 0.0


def _frames(layout: Layout, key: str, episodes: Iterable[int]) -> Iterator[np.ndarray]:
    """All pixels (yuv420p) of a camera's episodes, one frame at a time; plain PyAV, no code of ours."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for index in episodes:
        span = layout.episodes[index].videos[key]
        ends = round(span.from_s * layout.info.fps), round(span.to_s * layout.info.fps)
        ranges.setdefault(span.file, []).append(ends)
    for file, wanted in ranges.items():
        with av.open(str(layout.root / file)) as video:
            for frame in video.decode(video=0):
                number = round(frame.pts * frame.time_base * layout.info.fps)
                if any(first <= number < stop for first, stop in wanted):
                    yield frame.to_ndarray()


def main(python: str, scratch: Path, runs: int, store: bool) -> int:
    from benchmarks import data, lerobot_reads_ours
    from benchmarks.measured import Row, keep
    recorded = scratch / "recorded"
    if not recorded.exists():
        data.fresh(python, "--record", str(data.RECORDED), str(data.FRAMES), str(recorded))
    root, long = data.longer(recorded, data.TIMES), data.longer(recorded, 10 * data.TIMES)
    outs = {way: scratch / f"less_{number}" for number, way in enumerate(WAYS)}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            found[way].append(fresh(python, way, root, outs[way]))
            print(way, found[way][-1], flush=True)
    medians = {way: {key: median(run[key] for run in several) for key in several[0]} for way, several in found.items()}
    rows = [Row(f"delete 1 of 20 episodes, {way}", values[unit], unit, runs) for way, values in medians.items()
            for unit in ("s", "CPU-s")]
    rows += [Row(f"delete 1 of 20 episodes, LeRobot / {way}, {unit}", medians["LeRobot"][unit] / medians[way][unit],
                 "x", runs) for way in WAYS[1:] for unit in ("s", "CPU-s")]
    rows += [Row(f"delete 1 of 20 episodes, {way}: peak memory", medians[way]["peak_mb"], "MiB", runs) for way in WAYS]
    peak = fresh(python, "ours", long, scratch / "less_long")["peak_mb"]
    rows.append(Row("delete 1 of 200 episodes, ours: peak memory", peak, "MiB", 1))
    for way in WAYS[:2]:
        frames, equal, off = kept(root, outs[way])
        rows += [Row(f"kept frames with the very same pixels, {way}", 100 * equal / frames, "%", frames),
                 Row(f"mean difference of the other frames, of 255, {way}", off, "levels", frames - equal)]
    for row in rows:
        print(f"{row.value:10.4g} {row.unit:7} {row.what}")
    if store:
        keep("editing", rows)
    return lerobot_reads_ours.main(python, [str(outs["ours"])])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(delete(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))))
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("python")
        parser.add_argument("--root", type=Path, required=True)
        parser.add_argument("--runs", type=int, default=3)
        parser.add_argument("--store", action="store_true")
        given = parser.parse_args()
        sys.exit(main(given.python, given.root.resolve(), given.runs, given.store))
