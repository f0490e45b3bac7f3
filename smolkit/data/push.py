"""A dataset to the Hub, with its card and a preview, once a person has looked at what in it is private.

    push_dataset("recordings/cube", "anna/red_cube", sheet=Path("look.jpg"), licence="cc-by-4.0", looked=True)

Only what belongs to it goes: what its tables name, and they. No locks, no journals, no scratch pictures, no notes.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from smolkit import hub
from smolkit.data.bundle import SUMS
from smolkit.data.checks.structure import check_dataset
from smolkit.data.claim import CLAIM_NAME, Claim
from smolkit.data.hub import episode_files
from smolkit.data.layout import inside, load_layout
from smolkit.data.privacy import private_data
from smolkit.data.reader import Dataset
from smolkit.data.rewrite import EDITS_PATH
from smolkit.data.schema import EXTRA_PATH, INFO_PATH, STATS_PATH, TASKS_PATH
from smolkit.report import Report

GIF_FRAMES, GIF_PX = 40, 160                   # 1.5 bytes a pixel at worst: 1.5 MB, where people wait for 2
KNOWN = (INFO_PATH, STATS_PATH, TASKS_PATH, EXTRA_PATH, EDITS_PATH, "README.md",
         "meta/tasks.jsonl", "meta/episodes.jsonl", "meta/episodes_stats.jsonl")          # the last three: v2.0, v2.1
_CARD = """---
license: {licence}
task_categories:
- robotics
tags:
- LeRobot
- {robot}
configs:
- config_name: default
  data_files: data/*/*.parquet
---
# {title}
{picture}
{robot}, {episodes} episodes, {frames} frames ({minutes:.1f} minutes at {fps} a second), cameras: {cameras}.

{tasks}

Use it: `lerobot-train --dataset.repo_id={name} ...` or `smolkit pull {name}`;
[look at it](https://huggingface.co/spaces/lerobot/visualize_dataset?path={name}). Made with smolkit.

## Quality
`smolkit check dataset {name}`, as it was when this was pushed:

{quality}

## meta/info.json
```json
{info}
```
"""


def push_dataset(root: Path | str, name: str, *, sheet: Path, licence: str | None, looked: bool = False,
                 private: bool = True, update: bool = False,
                 tell: Callable[[Report], None] = Report.raise_if_red) -> str:
    """One commit with the dataset and its card, and the version's tag on it; returns the commit's address.

    `sheet`, `licence`, `looked`: see `private_data`, whose report `tell` gets. After any error the same call goes on.
    Errors: SK495 what is private, SK496 the Hub's, SK417 somebody records into it, and the reader's.
    """
    root = Path(root)
    files: dict[str, Path | bytes] = {**dataset_files(root)}
    with closing(Dataset(root)) as dataset:
        report = private_data(dataset, sheet, licence, looked)
        tell(report)
        report.raise_if_red()
        files |= card(dataset, name, str(licence), check_dataset(root))
        return hub.push(name, files, dataset.info.codebase_version, private=private, update=update)


def dataset_files(root: Path) -> dict[str, Path]:
    """Path in the dataset -> file, of all that belongs to it; a warning names what else is there, and stays.

    Errors: SK417 while somebody records into it, SK403 and SK405 for files that are absent or links to the outside.
    """
    if (root / CLAIM_NAME).exists():
        Claim(root).release()                      # completes what a killed one had decided on
    names = [*episode_files(load_layout(root)), *_found(root, "meta/episodes/chunk-*/file-*.parquet"),
             *(name for name in KNOWN if (root / name).is_file())]
    left = [name for name in _found(root, "**/*") if name not in {*names, SUMS}]
    if left:
        warnings.warn(f"SK495 left behind, as no part of the dataset ({len(left)}): {', '.join(left[:5])}"
                      + ", ..." * (len(left) > 5), stacklevel=2)
    return {name: inside(root, name) for name in names}


def _found(root: Path, pattern: str) -> list[str]:
    """Files that are not hidden, relative to the root."""
    found = [path.relative_to(root) for path in sorted(root.glob(pattern)) if path.is_file()]
    return [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]


def card(dataset: Dataset, name: str, licence: str, quality: Report) -> dict[str, bytes]:
    """README.md as LeRobot and the Hub's visualiser read it and, where there is a camera, preview.gif."""
    info, cameras = dataset.info, dataset.camera_keys
    picture = {"preview.gif": preview(dataset)} if cameras else {}
    text = _CARD.format(
        licence=json.dumps(licence), robot=json.dumps(info.robot_type or "unknown robot"),
        title=name.rpartition("/")[2],
        picture="\n![what a camera sees in one episode](preview.gif)\n" if picture else "", name=name,
        episodes=len(dataset.episodes), frames=len(dataset), minutes=len(dataset) / info.fps / 60, fps=info.fps,
        cameras=", ".join(cameras) or "none", tasks="\n".join(f"- {_plain(task)}" for task in dataset.tasks[:50]),
        quality="\n".join(f"- {_plain(check.line())}" for check in quality.checks).replace(str(dataset.root), "."),
        info=json.dumps(json.loads((dataset.root / INFO_PATH).read_text(encoding="utf-8")), indent=2))
    return {"README.md": text.encode(), **picture}


def preview(dataset: Dataset) -> bytes:
    """A GIF of the first camera in the first episode, in real time."""
    rows, key = dataset.positions(dataset.episodes[0].index), dataset.camera_keys[0]
    positions = np.unique(np.linspace(rows.start, rows.stop - 1, GIF_FRAMES).round().astype(int))
    size = np.array(dataset.info.features[key].hwc()[:2])
    height, width = np.maximum(size * min(1.0, GIF_PX / size.max()), 1).astype(int).tolist()
    pictures = [Image.fromarray(frame).quantize(64) for frame in dataset.frames(key, positions, (height, width))]
    content, frame_ms = io.BytesIO(), max(20, round(1000 * len(rows) / dataset.fps / len(positions)))
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=frame_ms, loop=0)
    return content.getvalue()


def _plain(text: str) -> str:
    """One line that no Markdown and no HTML hides in."""
    return " ".join(text.split()).replace("<", "&lt;").replace("`", "'")
