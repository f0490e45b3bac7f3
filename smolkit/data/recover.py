"""Opening a dataset to go on recording: first everything beyond info.json's counters is taken back.

A kill between two renames can leave an episode in the data file or in an mp4 that info.json doesn't
count. Such a tail is cut off (packets are copied, nothing is encoded again) and a warning tells it; counted
episodes stay. A kill leaves one such episode at most: where there are more, info.json is wrong, not they.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from smolkit.data.columns import parquet_bytes, read_table
from smolkit.data.files import STAGED_SUFFIX, Transaction
from smolkit.data.layout import Layout, episode_files, load_layout, numbers
from smolkit.data.reader import Dataset
from smolkit.data.schema import DATA_PATH, EXTRA_PATH, INFO_PATH, VERSION, VIDEO_PATH, read_object
from smolkit.data.stats import Stats, merge_stats
from smolkit.data.store import CameraStats, Store
from smolkit.data.tables import Place
from smolkit.data.video import cut, frame_count
from smolkit.report import SmolkitError


def load_store(root: Path) -> Store:
    """The dataset, cleaned, ready for its next episode; that one goes to new files, as LeRobot does it.

    What was taken back is told by a warning. Errors: SK402 and SK405 for datasets that we can't continue,
    SK416 where more than one episode would go.
    """
    layout = load_layout(root)
    if layout.info.codebase_version != VERSION:
        raise SmolkitError("SK402", f"a dataset {VERSION} to continue", layout.info.codebase_version,
                           "the dataset was recorded with an older LeRobot", "convert it to v3.0 first")
    if (layout.info.data_path, layout.info.video_path or VIDEO_PATH) != (DATA_PATH, VIDEO_PATH):
        raise SmolkitError("SK405", f"the paths {DATA_PATH} and {VIDEO_PATH}", layout.info.data_path,
                           "another program laid this dataset out",
                           "record into a new dataset and merge them")
    extra = read_object(root / EXTRA_PATH) if (root / EXTRA_PATH).is_file() else {"format": 1}
    refuse_to_drop_many(layout)
    done = clean(layout)
    if done:
        warnings.warn(f"{root}: an episode that was not saved to its end was taken back: {'; '.join(done)}",
                      RuntimeWarning, stacklevel=3)
    cameras = camera_totals(layout, extra) if layout.episodes else {}
    kept = {key: value for key, value in extra.items() if key not in ("episodes", "camera_histograms")}
    store = Store(root, layout.info, kept)
    if layout.episodes:
        store.rows = (_numbers(Dataset(root)),)
        used = int(store.rows[0]["task_index"].max()) + 1
        store.tasks = layout.tasks[:max(used, layout.info.total_tasks)]
        store.cameras = cameras
        store.start_after(_last(root, "data"), _last(root, "meta/episodes"),
                          {key: _last(root, f"videos/{key}") for key in layout.info.video_keys})
    if done:
        store.rewrite_stats()
    return store


def _numbers(dataset: Dataset) -> dict[str, np.ndarray]:
    return {key: dataset.columns[key] for key, f in dataset.info.features.items() if f.is_number}


def camera_totals(layout: Layout, extra: Mapping[str, Any]) -> dict[str, CameraStats]:
    """Each camera over all episodes: the histograms of meta/smolkit.json, where they count the same
    episodes as info.json; else merged from the episodes' own statistics.
    """
    kept, keys = extra.get("camera_histograms", {}), layout.info.video_keys
    if extra.get("episodes") == layout.info.total_episodes and set(kept) == set(keys):
        return {key: CameraStats(int(kept[key]["frames"]), np.array(kept[key]["counts"])) for key in keys}
    episodes = episode_camera_stats(layout)
    merged = {key: merge_stats([one[key] for one in episodes.values()]) for key in keys}
    return {key: CameraStats(int(stats["count"][0]), None, stats) for key, stats in merged.items()}


def episode_camera_stats(layout: Layout) -> dict[int, dict[str, Stats]]:
    """Each episode's own picture statistics, as its recorder found them before compression."""
    found: dict[int, dict[str, Stats]] = {episode.index: {} for episode in layout.episodes}
    for path in episode_files(layout.root):
        table = read_table(path)
        wanted = [(name, *name.removeprefix("stats/").split("/")) for name in table.column_names
                  if name.startswith("stats/") and name.split("/")[1] in layout.info.video_keys]
        indices = table.column("episode_index").to_pylist()
        for name, key, stat in wanted:
            for index, value in zip(indices, table.column(name).to_pylist(), strict=True):
                if index in found and value is not None:
                    found[index].setdefault(key, {})[stat] = np.asarray(value)
    return found


def _last(root: Path, folder: str) -> Place:
    found = [numbers(path) for path in (root / folder).glob("chunk-*/file-*.*")]
    return max(found, default=(0, -1))          # the next after it is (0, 0)


def clean(layout: Layout) -> list[str]:
    """Takes back what info.json doesn't count; returns what was done, in words."""
    root, done = layout.root, []
    for path in [*root.rglob(f"*{STAGED_SUFFIX}")]:
        path.unlink()
        done.append(f"removed {path.relative_to(root)}")
    for folder in ("meta/episodes", "data"):
        for path in sorted((root / folder).glob("chunk-*/file-*.parquet")):
            done.extend(_cut_rows(root, path, layout.info.total_episodes))
    for key in layout.info.video_keys:
        for path in sorted((root / "videos" / key).glob("chunk-*/file-*.mp4")):
            done.extend(_cut_frames(layout, key, path))
    return done


def refuse_to_drop_many(layout: Layout) -> None:
    """SK416 where files hold two or more episodes that info.json doesn't count; nothing is changed."""
    root, counted = layout.root, layout.info.total_episodes
    rows = _data_rows(root)                                                # episode -> frames
    tail = {index for index in [*rows, *_indices(root / "meta/episodes")] if index >= counted}
    loose = {key: _loose_videos(layout, key) for key in layout.info.video_keys}
    if max([len(tail), *map(len, loose.values())]) <= 1:
        return
    names = [path.relative_to(root).as_posix() for paths in loose.values() for path in paths]
    more = f"episodes {sorted(tail)}" if tail else "no rows for them"
    raise SmolkitError(
        "SK416", f"at most one episode beyond the {counted} that {INFO_PATH} counts in {root}",
        f"{more}; uncounted videos: {', '.join(names) or 'none'}",
        f"{INFO_PATH} is older than the other files: it was restored, copied or edited",
        f"copy the folder; to keep them set total_episodes to {max(tail, default=counted - 1) + 1} and total_frames "
        f"to {sum(rows.values())} in {INFO_PATH}; to drop them merge this dataset alone into a new folder")


def _data_rows(root: Path) -> Counter[int]:
    return Counter(_indices(root / "data"))


def _indices(folder: Path) -> list[int]:
    """episode_index of every row of all tables in the folder."""
    return [index for path in sorted(folder.glob("chunk-*/file-*.parquet"))
            for index in read_table(path, ["episode_index"]).column(0).to_pylist()]


def _loose_videos(layout: Layout, key: str) -> list[Path]:
    """The camera's mp4s that no counted episode is shown by."""
    used = {layout.root / episode.videos[key].file for episode in layout.episodes}
    return [path for path in sorted((layout.root / "videos" / key).glob("chunk-*/file-*.mp4")) if path not in used]


def _cut_rows(root: Path, path: Path, episodes: int) -> list[str]:
    """Keeps the rows of counted episodes; the file goes where none is left."""
    table = read_table(path)
    kept = table.filter(pc.less(table.column("episode_index"), episodes))
    if kept.num_rows == table.num_rows:
        return []
    name = path.relative_to(root).as_posix()
    if not kept.num_rows:
        path.unlink()
        return [f"removed {name}"]
    with Transaction(root) as change:
        change.write(name, parquet_bytes([kept]))
    return [f"cut {table.num_rows - kept.num_rows} rows from {name}"]


def _cut_frames(layout: Layout, key: str, path: Path) -> list[str]:
    name = path.relative_to(layout.root).as_posix()
    spans = [e.videos[key] for e in layout.episodes if e.videos[key].file == name]
    if not spans:
        path.unlink()
        return [f"removed {name}"]
    counted = round(max(span.to_s for span in spans) * layout.info.fps)
    surplus = frame_count(path) - counted
    if surplus <= 0:
        return []
    with Transaction(layout.root) as change:
        change.write(name, cut(path.read_bytes(), counted))
    return [f"cut {surplus} frames from {name}"]
