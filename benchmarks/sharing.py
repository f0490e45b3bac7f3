"""Pushes and copies killed at random moments; LeRobot on the same Hub; a bundle installed without network.

    python -m benchmarks.sharing kills 20                      # pushes and copies each, SIGKILL, then once more
    python -m benchmarks.sharing lerobot /path/to/lerobot-venv/bin/python
    python -m benchmarks.sharing pack                          # without PyTorch; needs a package index

The Hub is tests/hub_server.py on this computer. Exit code 0: nothing half looked whole, everything was equal.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.measured import Row, keep
from smolkit.data.copies import copy_whole, verify
from smolkit.data.hub import hub_dataset
from smolkit.data.push import dataset_files, push_dataset
from smolkit.data.reader import Dataset
from tests.hub_server import TOKEN, Hub, serve
from tests.paths import REPO

SOURCE = REPO / "datasets" / "teleop_recording" / "demos"
NAME, REQUESTS = "robots/cube", 16                  # of a push, about
CHILD = """
import sys
from pathlib import Path
from smolkit.data.copies import copy_whole
from smolkit.data.push import dataset_files, push_dataset
source, place, sheet = map(Path, sys.argv[1:])
print("ready", flush=True)
copy_whole(dataset_files(source), place) if str(place) != "." else push_dataset(
    source, "robots/cube", sheet=sheet, licence="cc0-1.0", looked=True)
"""
LEROBOT = """
import torch
library = torch.library.Library("torchvision", "DEF")          # its compiled part doesn't load beside CPU torch
for line in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor a) -> Tensor"):
    library.define(line)
from huggingface_hub import repocard
from lerobot.datasets.lerobot_dataset import LeRobotDataset
repocard.RepoCard.validate = lambda self, **_: None            # asks huggingface.co, whatever HF_ENDPOINT says
dataset = LeRobotDataset("robots/cube", video_backend="pyav")
print([dataset.num_episodes, dataset.num_frames, dataset[7]["action"].tolist()])
LeRobotDataset("robots/theirs", root=dataset.root, video_backend="pyav").push_to_hub(license="mit")
"""


def same(one: Path, other: Path) -> bool:
    """The same rows and the same frames?"""
    with closing(Dataset(one)) as a, closing(Dataset(other)) as b:
        everything = range(len(a))
        return a.columns.keys() == b.columns.keys() and all(
            np.array_equal(a.columns[key], b.columns[key]) for key in a.columns) and all(
            np.array_equal(a.frames(key, everything), b.frames(key, everything)) for key in a.camera_keys)


def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_OFFLINE": "0",
            "PYTHONPATH": str(REPO)}


def killed(arguments: list[str], env: dict[str, str], hub: Hub, requests: int, after_s: float) -> bool:
    """Was the child still at work after so many requests, and then so many seconds?"""
    with subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, env=env,
                          stderr=subprocess.DEVNULL) as child:
        child.stdout.readline()
        while child.poll() is None and len(hub.requests) < requests:
            time.sleep(0.001)
        time.sleep(after_s)
        at_work = child.poll() is None
        child.send_signal(signal.SIGKILL)
    return at_work


def kills(count: int) -> bool:
    """SIGKILL at random moments: what is half must not look whole, and the same call must bring it to its end."""
    good, moments = True, random.Random(0)
    hits = {"push": 0, "copy": 0}
    for number in range(2 * count):
        kind = ("push", "copy")[number % 2]
        with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch, "cache")) as hub:
            place = Path(scratch, "copy")
            arguments = [str(SOURCE), "." if kind == "push" else str(place), str(Path(scratch, "look.jpg"))]
            env = environment(hub, Path(scratch))
            hits[kind] += killed(arguments, env, hub, moments.randint(1, REQUESTS) if kind == "push" else 0,
                                 0.0 if kind == "push" else moments.uniform(0, 0.2))
            if kind == "copy":
                good &= not place.exists() or verify(place).ok
                good &= verify(copy_whole(dataset_files(SOURCE), place)).ok and same(place, SOURCE)
                continue
            there = hub.repositories.get(NAME)
            whole = there is not None and "v3.0" in there.tags
            good &= not whole or "meta/info.json" in there.files()
            push_dataset(SOURCE, NAME, sheet=Path(scratch, "look.jpg"), licence="cc0-1.0", looked=True, update=whole)
            good &= same(hub_dataset(NAME), SOURCE)
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch, "cache")) as hub:
        hub.add(NAME, SOURCE, tag="v3.0")
        hub.fail = [("GET .*/resolve/.*mp4", 0)] * 2                   # the line is cut in the middle of both videos
        good &= same(hub_dataset(NAME), SOURCE) and not hub.fail
    print(f"{count} pushes and {count} copies, killed at work: {hits}: {'fine' if good else 'WRONG'}")
    keep("sharing", [Row(f"{kind}, killed at work, then whole", hits[kind], "kills", count) for kind in hits])
    return good


def lerobot(python: str) -> bool:
    """LeRobot reads by its name what we pushed, pushes it itself, and we read that."""
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch, "cache")) as hub:
        push_dataset(SOURCE, NAME, sheet=Path(scratch, "look.jpg"), licence="cc0-1.0", looked=True)
        done = subprocess.run([python, "-c", LEROBOT], env=environment(hub, Path(scratch, "home")), text=True,
                              capture_output=True)
        if done.returncode:
            print(done.stderr[-3000:])
            return False
        with closing(Dataset(SOURCE)) as dataset:
            ours = [dataset.info.total_episodes, len(dataset), dataset[7]["action"].tolist()]
        return json.loads(done.stdout.splitlines()[-1]) == ours and same(hub_dataset("robots/theirs"), SOURCE)


def packed() -> bool:
    """Minutes and megabytes of a bundle without PyTorch, and whether it installs where no network is."""
    with tempfile.TemporaryDirectory() as scratch:
        room, desk, began_s = Path(scratch, "room"), Path(scratch, "desk"), time.monotonic()
        subprocess.run([sys.executable, "-m", "smolkit", "pack", str(room), str(SOURCE), str(REPO / "notebooks"),
                        "--no-torch"], check=True, cwd=REPO)
        packed_s, began_s = time.monotonic() - began_s, time.monotonic()
        alone = ["unshare", "--user", "--net"] if sys.platform.startswith("linux") else []
        subprocess.run([*alone, sys.executable, str(room / "install.py"), str(desk)], check=True,
                       env={"PATH": os.environ["PATH"], "HOME": scratch, "PIP_NO_INDEX": "1"})
        installed_s, tool = time.monotonic() - began_s, desk / ".venv" / "bin" / "smolkit"
        good = not subprocess.run([*alone, str(tool), "verify", str(room)]).returncode
        good &= same(desk / "datasets" / SOURCE.name, SOURCE)
        size_mb = sum(path.stat().st_size for path in room.rglob("*") if path.is_file()) / 1e6
        wheels = len(list(room.glob("wheels/*.whl")))
    keep("sharing", [Row("bundle without PyTorch, packed", packed_s, "s", 1),
                     Row("the same, its size", size_mb, "MB", wheels),
                     Row("the same, installed without network", installed_s, "s", 1)])
    return good


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    sys.exit(not {"kills": lambda: kills(int(rest[0])), "lerobot": lambda: lerobot(rest[0]), "pack": packed}[what]())
