"""Datasets broken on purpose: one cell, one field, one file at a time."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from smolkit.data.reader import Dataset
from smolkit.data.stats import as_json, column_stats

DATA, TASKS = "data/chunk-000/file-000.parquet", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def edit(root: Path, **changes: Any) -> None:
    """Changes fields of info.json."""
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_features(root: Path, **changes: Any) -> None:
    """Changes entries of `features`; None removes one."""
    features = json.loads((root / "meta/info.json").read_text())["features"]
    merged = {key: {**features.get(key, {}), **(changes.get(key) or {})} for key in [*features, *changes]
              if changes.get(key, {}) is not None}
    edit(root, features=dict(merged))


def edit_column(path: Path, name: str, values: Callable[[list], list] | None) -> None:
    """Replaces a column of a parquet file by `values(old list)`; None removes it."""
    table = pq.ParquetFile(path).read()
    place = table.column_names.index(name)
    if values is None:
        table = table.remove_column(place)
    else:
        old = table.column(name).to_pylist()
        new = values(old)
        same = {type(value) for value in new if value is not None} <= {type(value) for value in old}
        table = table.set_column(place, name, pa.array(new, table.column(name).type if same else None))
    pq.write_table(table, path)


def edit_rows(path: Path, rows: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(rows(pq.ParquetFile(path).read()), path)


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    """`change` gets what the file holds and changes it in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def as_v21(root: Path, out: Path, version: str = "v2.1") -> Path:
    """A dataset that has one file per episode and camera, in the layout of v2.1 or v2.0."""
    dataset = Dataset(root)
    info = json.loads((root / "meta/info.json").read_text())
    stats = as_json(dataset.stats())
    (out / "meta").mkdir(parents=True)
    lines: dict[str, list] = {"tasks": [], "episodes": [], "episodes_stats": []}
    for index, task in enumerate(dataset.tasks):
        lines["tasks"].append({"task_index": index, "task": task})
    for episode in dataset.layout.episodes:
        name = f"episode_{episode.index:06d}"
        _copy(root / episode.data_file, out / f"data/chunk-000/{name}.parquet")
        for key, span in episode.videos.items():
            _copy(root / span.file, out / f"videos/chunk-000/{key}/{name}.mp4")
        rows = dataset.episode(episode.index)
        own = {key: column_stats(rows[key]) for key, feature in dataset.info.features.items() if feature.is_number}
        lines["episodes"].append({"episode_index": episode.index, "tasks": list(episode.tasks),
                                  "length": episode.length})
        lines["episodes_stats"].append({"episode_index": episode.index,
                                        "stats": {**{key: stats[key] for key in episode.videos}, **as_json(own)}})
    dataset.close()
    paths = {"data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
             "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"}
    (out / "meta/info.json").write_text(json.dumps({**info, **paths, "codebase_version": version}))
    if version == "v2.0":
        del lines["episodes_stats"]
        (out / "meta/stats.json").write_text(json.dumps(stats))
    for name, rows in lines.items():
        (out / f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def as_pictures(root: Path, out: Path) -> Path:
    """A v3.0 dataset with its pictures as PNGs in the rows, as LeRobot records without videos."""
    dataset, table = Dataset(root), pq.ParquetFile(root / DATA).read()
    for key in dataset.camera_keys:
        cells = [{"bytes": _png(picture), "path": f"frame-{step:06d}.png"}
                 for step, picture in enumerate(dataset.frames(key, range(len(dataset))))]
        table = table.append_column(key, pa.array(cells))
    dataset.close()
    for name in (DATA, EPISODES, TASKS, "meta/stats.json", "meta/info.json"):
        _copy(root / name, out / name)
    pq.write_table(table, out / DATA)
    edit_rows(out / EPISODES, lambda rows: rows.drop_columns([n for n in rows.column_names if n.startswith("videos/")]))
    edit_features(out, **{key: {"dtype": "image"} for key in dataset.camera_keys})
    edit(out, video_path=None)
    return out


def _png(picture: np.ndarray) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "PNG")
    return memory.getvalue()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
