"""A dataset's card for the Hub: README.md with the front matter that LeRobot and the Hub's visualiser read, and a GIF.

    files = card(dataset, "anna/red_cube", licence="cc-by-4.0")        # {"README.md": b"...", "preview.gif": b"..."}
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from smolkit.data.reader import Dataset
from smolkit.data.schema import INFO_PATH

_GIF_FRAMES, _GIF_PX = 40, 240
_FRONT = """---
license: {licence}
task_categories:
- robotics
tags:
- LeRobot
{robot_tag}configs:
- config_name: default
  data_files: data/*/*.parquet
---
"""


def card(dataset: Dataset, name: str, licence: str, quality: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """README.md and, where there is a camera, preview.gif; `quality`: a check's report, from `Report.as_dict`."""
    picture = {"preview.gif": preview(dataset)} if dataset.camera_keys else {}
    robot = dataset.info.robot_type
    text = _FRONT.format(licence=json.dumps(licence), robot_tag=f"- {json.dumps(robot)}\n" if robot else "")
    parts = [f"# {name.rpartition('/')[2]}", "![what a camera sees in one episode](preview.gif)" if picture else "",
             _table(dataset), _tasks(dataset), _quality(quality), _use(name, licence), _info(dataset)]
    return {"README.md": (text + "\n" + "\n\n".join(filter(None, parts)) + "\n").encode(), **picture}


def preview(dataset: Dataset) -> bytes:
    """A GIF of the first camera in the first episode, in real time."""
    rows, key = dataset.positions(dataset.episodes[0].index), dataset.camera_keys[0]
    positions = np.unique(np.linspace(rows.start, rows.stop - 1, _GIF_FRAMES).round().astype(int))
    height, width = dataset.info.features[key].hwc()[:2]
    smaller = min(1.0, _GIF_PX / max(height, width))
    frames = dataset.frames(key, positions, (max(1, round(height * smaller)), max(1, round(width * smaller))))
    return gif(frames, max(20, round(1000 * len(rows) / dataset.fps / len(positions))))


def gif(frames: np.ndarray, duration_ms: int, most_bytes: int = 2_000_000) -> bytes:
    """Frames (T, H, W, 3) as a GIF of at most so many bytes, if need be at half, a third, ... of their size."""
    for step in range(1, 9):
        pictures = [Image.fromarray(frame[::step, ::step]).quantize(128) for frame in frames]
        content = io.BytesIO()
        pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0)
        if content.tell() <= most_bytes:
            break
    return content.getvalue()


def _table(dataset: Dataset) -> str:
    info, minutes = dataset.info, len(dataset) / dataset.fps / 60
    cameras = [f"{key} ({height} x {width})" for key in dataset.camera_keys
               for height, width, _ in [info.features[key].hwc()]]
    rows = {"robot": info.robot_type or "unknown", "episodes": len(dataset.episodes),
            "frames": f"{len(dataset)}, {minutes:.1f} minutes at {dataset.fps} fps",
            "cameras": ", ".join(cameras) or "none", "format": f"LeRobot {info.codebase_version}"}
    units = dataset.extra().get("units") or {}
    if units:
        rows["units"] = ", ".join(sorted({str(unit) for unit in dict(units).values()}))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_plain(value)} |" for name, value in rows.items())])


def _tasks(dataset: Dataset) -> str:
    return "\n".join(["## Instructions", "", *(f"- {_plain(task)}" for task in dataset.tasks[:50])])


def _quality(quality: Mapping[str, Any] | None) -> str:
    if not quality:
        return ""
    lines = [f"- {'ok' if one['ok'] else 'RED'} {one['code']} {_plain(one['name'])}: {_plain(one['found'])}"
             for one in quality["checks"]]
    return "\n".join(["## Quality", "", "As `smolkit check dataset` found it when this was pushed.", "", *lines])


def _use(name: str, licence: str) -> str:
    seen = f"https://huggingface.co/spaces/lerobot/visualize_dataset?path=%2F{name.replace('/', '%2F')}"
    return (f"## Use\n\n```\nsmolkit check dataset {name}\nlerobot-train --dataset.repo_id={name} ...\n```\n\n"
            f"[Look at it in the browser]({seen}). Licence: {licence}. Made with smolkit.")


def _info(dataset: Dataset) -> str:
    content = json.loads((dataset.root / INFO_PATH).read_text(encoding="utf-8"))
    return f"## {INFO_PATH}\n\n```json\n{json.dumps(content, indent=4, ensure_ascii=False)}\n```"


def _plain(text: object) -> str:
    """One line that no Markdown and no HTML hides in."""
    return " ".join(str(text).split()).replace("|", "/").replace("<", "&lt;").replace("`", "'")
