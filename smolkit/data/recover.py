"""Opening a dataset to go on recording: what is counted is whole, and what is not counted is not touched.

What a kill left half-done was completed or removed when the folder was claimed (`smolkit.data.files`), so rows that
info.json does not count are no leftovers: info.json is older than they are, and they may be somebody's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.columns import open_table, read_table
from smolkit.data.files import missing
from smolkit.data.layout import Layout, episode_files, load_layout, numbers
from smolkit.data.schema import DATA_PATH, EXTRA_PATH, INFO_PATH, VERSION, VIDEO_PATH, read_object
from smolkit.data.stats import Stats, merge_stats
from smolkit.data.store import CameraStats, State, Store, number_stats
from smolkit.data.tables import Place, following
from smolkit.report import SmolkitError

COUNTED = ("episodes", "camera_histograms", "episode_facts")      # of meta/smolkit.json: written anew with each episode


def load_store(root: Path) -> Store:
    """The dataset, ready for its next episode, which goes to new files. The caller holds its claim.

    Errors: SK402 and SK405 for datasets that we can't continue, SK403 for missing videos, SK416 where files hold rows
    that info.json does not count.
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
    _check_files(layout)
    keys, facts = layout.info.video_keys, _listed(extra, "episode_facts")[:layout.info.total_episodes]
    kept = {key: value for key, value in extra.items() if key not in COUNTED} | {"sessions": _listed(extra, "sessions")}
    state = State(
        layout.info, kept, layout.tasks,
        number_stats(layout) if layout.episodes else {},
        camera_totals(layout, extra) if layout.episodes else {key: CameraStats(0) for key in keys},
        (*facts, *({} for _ in range(len(facts), layout.info.total_episodes))),
        *(following(_last(root, folder), layout.info) for folder in ("data", "meta/episodes")),
        {key: following(_last(root, f"videos/{key}"), layout.info) for key in keys})
    return Store(root, state)


def _listed(extra: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = extra.get(key)
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []


def camera_totals(layout: Layout, extra: Mapping[str, Any]) -> dict[str, CameraStats]:
    """Each camera over all episodes: the histograms of meta/smolkit.json, where they count the same
    episodes as info.json; else merged from the episodes' own statistics.
    """
    kept, keys = extra.get("camera_histograms"), layout.info.video_keys
    with suppress(TypeError, KeyError, ValueError, OverflowError):         # what a stranger made of that file
        if extra.get("episodes") == layout.info.total_episodes and set(kept) == set(keys):
            return {key: CameraStats(int(kept[key]["frames"]), np.array(kept[key]["counts"], np.int64).reshape(3, 256))
                    for key in keys}
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


def _check_files(layout: Layout) -> None:
    root, info = layout.root, layout.info
    for episode in layout.episodes:
        for span in episode.videos.values():
            if not (root / span.file).is_file():
                raise missing(root / span.file)
    rows, episodes = (sum(open_table(path).metadata.num_rows for path in (root / folder).glob("chunk-*/file-*.parquet"))
                      for folder in ("data", "meta/episodes"))
    if (rows, episodes) != (info.total_frames, info.total_episodes):
        raise SmolkitError(
            "SK416", f"in {root} {info.total_episodes} episodes and {info.total_frames} frames, as {INFO_PATH} counts",
            f"{episodes} episodes and {rows} frames in its tables",
            f"{INFO_PATH} is older than the other files: restored, copied or edited; or another program was killed",
            f"copy the folder; to keep all set total_episodes to {episodes} and total_frames to {rows} in {INFO_PATH}; "
            f"to drop what it does not count merge this dataset alone into a new folder")
