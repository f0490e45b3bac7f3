"""Does the real LeRobot open what we recorded, and does it see what we see?

    python benchmarks/lerobot_reads_ours.py /path/to/lerobot-venv/bin/python DATASET [DATASET ...]

The foreign Python (LeRobot 0.4.4, PyAV 15) reads rows, frames, delta_timestamps and an episode filter and
leaves them in a scratch file; this program compares them with smolkit's reader, bit for bit. Exit code 0:
all equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WANTED = 25                    # rows compared, spread over the dataset


def deltas(fps: int, camera_keys: list[str]) -> dict[str, list[float]]:
    wanted = {"action": [n / fps for n in range(12)], "observation.state": [-1 / fps, 0.0]}
    return wanted | {key: [-2 / fps, 0.0] for key in camera_keys[:1]}


def foreign(root: Path, out: Path) -> None:
    """Runs inside the foreign Python."""
    import torch

    library = torch.library.Library("torchvision", "DEF")   # its compiled part doesn't load beside CPU torch
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor a) -> Tensor")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    def opened(**options: object) -> LeRobotDataset:
        return LeRobotDataset("local/test", root=root, video_backend="pyav", **options)

    plain = opened()
    found, texts = {}, {"length": len(plain), "texts": {}}
    several = opened(delta_timestamps=deltas(plain.fps, plain.meta.camera_keys))
    last = plain.num_episodes - 1
    for name, dataset in (("plain", plain), ("delta", several), ("filter", opened(episodes=[0, last]))):
        for i in np.unique(np.linspace(0, len(dataset) - 1, WANTED).astype(int)):
            for key, value in dataset[int(i)].items():
                if isinstance(value, str):
                    texts["texts"][f"{name}|{i}|{key}"] = value
                else:
                    found[f"{name}|{i}|{key}"] = value.numpy()
    np.savez(out, **found)
    out.with_suffix(".json").write_text(json.dumps(texts))


def compare(root: Path, out: Path) -> list[str]:
    """What differs between LeRobot's items and ours; [] is what we want."""
    from smolkit.data.reader import Dataset

    texts = json.loads(out.with_suffix(".json").read_text())
    plain = Dataset(root, as_torch=True)
    last = plain.info.total_episodes - 1
    ours = {"plain": plain, "filter": Dataset(root, episodes=[0, last], as_torch=True),
            "delta": Dataset(root, as_torch=True, delta_timestamps=deltas(plain.fps, plain.camera_keys))}
    wrong = [] if texts["length"] == len(plain) else [f"length {texts['length']}, ours {len(plain)}"]
    items: dict[str, dict] = {}
    with np.load(out) as theirs:
        for name in theirs.files:
            kind, i, key = name.split("|")
            item = items.setdefault(f"{kind}|{i}", ours[kind][int(i)])
            mine, other = item[key].numpy(), theirs[name]
            if mine.shape != other.shape or not np.array_equal(mine.astype(other.dtype), other):
                wrong.append(f"{root.name} {name}: {mine.shape} {other.shape}")
        found = theirs.files
        if not found:
            wrong.append("nothing compared")
    for at, item in items.items():
        read = {name.split("|")[2] for name in (*found, *texts["texts"]) if name.startswith(f"{at}|")}
        wrong += [f"{at} keys {sorted(set(item) ^ read)}"] if set(item) != read else []
    for name, text in texts["texts"].items():
        at, key = name.rsplit("|", 1)
        wrong += [f"text {name}"] if items[at][key] != text else []
    return wrong


def main(python: str, roots: list[str]) -> int:
    """One line per dataset; 1 where anything differs."""
    failed = 0
    for root in map(Path, roots):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch, "lerobot.npz")
            quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": scratch}
            inside = [python, __file__, "--inside", str(root.resolve()), str(out)]
            subprocess.run(inside, check=True, env=quiet)
            wrong = compare(root, out)
            sys.stdout.write(f"{root}: {'equal' if not wrong else f'{len(wrong)} differences'}\n")
            sys.stdout.writelines(f"  {line}\n" for line in wrong[:10])
            failed += bool(wrong)
    return 1 if failed or not roots else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        foreign(Path(sys.argv[2]), Path(sys.argv[3]))
    elif len(sys.argv) < 3:
        sys.exit(__doc__)
    else:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
