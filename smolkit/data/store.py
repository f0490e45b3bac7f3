"""A dataset that grows by whole episodes: after each one every file on the disk is complete.

LeRobot keeps its parquet files open until the end, so a kill takes the whole session. Here an episode is a set of
files of its own, put in place together by a `Transaction`; `finish` joins them to few large ones by stream copy.

What is kept in memory: nothing of an episode but its row of facts in meta/smolkit.json, about 300 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.columns import Columns, parquet_bytes, read_columns, to_table
from smolkit.data.encoding import Encoded
from smolkit.data.files import Transaction
from smolkit.data.layout import Layout, VideoSpan
from smolkit.data.schema import (
    AUTOMATIC,
    EPISODES_PATH,
    EXTRA_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    Info,
    fill,
)
from smolkit.data.stats import Stats, as_bytes, column_stats, histogram_stats, merge_stats
from smolkit.data.tables import EpisodeRecord, Place, episodes_bytes, following, tasks_bytes
from smolkit.data.video import probe
from smolkit.report import SmolkitError


@dataclass(frozen=True)
class Limits:
    """When a file is full, for `compact` and for merging."""

    data_bytes: int = 100 * 2**20
    video_bytes: int = 200 * 2**20
    episodes: int = 1_000_000

    @classmethod
    def of(cls, info: Info) -> Limits:
        """Those that the dataset itself names."""
        return cls(info.data_files_size_in_mb * 2**20, info.video_files_size_in_mb * 2**20)


@dataclass(frozen=True)
class CameraStats:
    """A camera over the whole dataset: its histogram, or statistics alone if another recorder made them."""

    frames: int
    histogram: np.ndarray | None = None                # (3, 256)
    foreign: Stats | None = None

    def plus(self, histogram: np.ndarray, frames: int) -> CameraStats:
        if self.foreign is None:
            old = 0 if self.histogram is None else self.histogram
            return CameraStats(self.frames + frames, old + histogram)
        return CameraStats(self.frames + frames, None,
                           merge_stats([self.foreign, histogram_stats(histogram, frames)]))

    def stats(self) -> Stats:
        return self.foreign or histogram_stats(self.histogram, self.frames)


@dataclass(frozen=True)
class State:
    """What the next episode adds to: all that is known of the dataset besides its files."""

    info: Info
    extra: Mapping[str, Any]                           # meta/smolkit.json, without what is counted
    tasks: tuple[str, ...] = ()
    numbers: Mapping[str, Stats] = field(default_factory=dict)
    cameras: Mapping[str, CameraStats] = field(default_factory=dict)
    facts: tuple[Mapping[str, Any], ...] = ()          # one an episode, in JSON's terms
    data: Place = (0, 0)                               # where the next episode goes
    table: Place = (0, 0)
    videos: Mapping[str, Place] = field(default_factory=dict)


class Store:
    """The dataset as it stands on the disk, and what changes it all or not at all.

    After SmolkitError SK407 (disk full) nothing has changed, and the call may be repeated.
    """

    def __init__(self, root: Path, state: State):
        self.root, self.state = root, state
        self._before: tuple[State, list[str]] | None = None       # the last episode's files, and what was without it
        self._stale = False

    @classmethod
    def new(cls, root: Path, info: Info, extra: Mapping[str, Any]) -> Store:
        """A dataset without episodes: its header is on the disk, it can be resumed."""
        state = State(info, extra, cameras={key: CameraStats(0) for key in info.video_keys},
                      videos=dict.fromkeys(info.video_keys, (0, 0)))
        with Transaction(root, "the header of a new dataset") as change:
            _write_meta(change, state)
        return cls(root, state)

    def add_episode(self, columns: Columns, tasks: list[str], cameras: Mapping[str, Encoded],
                    facts: Mapping[str, Any] | None = None) -> None:
        """Saves one episode; `columns` without the automatic ones, `tasks` one text per row."""
        now = self.state
        all_tasks = tuple(dict.fromkeys([*now.tasks, *tasks]))
        rows = {**columns, **self._automatic(tasks, all_tasks)}
        stats = {key: column_stats(rows[key]) for key, feature in now.info.features.items() if feature.is_number}
        info = self._info_after(len(tasks), len(all_tasks), cameras)
        record = self._record(rows, tasks, cameras, stats)
        files = {info.video_file(key, *now.videos[key]): camera.video for key, camera in cameras.items()}
        files |= {fill(EPISODES_PATH, "", *now.table): episodes_bytes([record.as_table(now.table)]),
                  info.data_file(*now.data): parquet_bytes([to_table(rows, info.features)])}
        self._change(f"episode {now.info.total_episodes} was saved", files, State(
            info, now.extra, all_tasks,
            {key: merge_stats([now.numbers[key], one]) if now.numbers else one for key, one in stats.items()},
            {key: now.cameras[key].plus(one.histogram, one.frames) for key, one in cameras.items()},
            (*now.facts, dict(facts or {})), following(now.data, info), following(now.table, info),
            {key: following(place, info) for key, place in now.videos.items()}))
        self._before = now, list(files)

    def remove_last(self) -> None:
        """Takes the episode back that was saved last. Errors: SK435 where that was not since the opening."""
        if self._before is None:
            raise SmolkitError("SK435", "an episode saved since this recording was opened", "none, or it went already",
                               "only the last one can be taken back, and only once",
                               "save one first; older episodes are dropped by smolkit edit")
        before, files = self._before
        self._change(f"episode {before.info.total_episodes} was taken back", {}, before, files)
        self._before = None

    def put_stats(self, numbers: Mapping[str, Stats]) -> None:
        """Other statistics of the numbers, on the disk too where they differ from those there."""
        self.state = replace(self.state, numbers=numbers)
        path = self.root / STATS_PATH
        if numbers and (not path.is_file() or path.read_bytes() != _stats_bytes(self.state)):
            with Transaction(self.root, "the statistics over all rows") as change:
                change.write(STATS_PATH, _stats_bytes(self.state))

    def _change(self, what: str, files: Mapping[str, bytes], after: State, gone: Sequence[str] = ()) -> None:
        """Videos before the rows that point at them, info.json last: any prefix of this is consistent."""
        if self._stale:
            raise SmolkitError("SK413", "a writer that agrees with its disk", "a save that was interrupted",
                               "Ctrl-C or a disk error while the files of an episode were renamed",
                               "open the dataset again with DatasetWriter.resume(root)")
        change = Transaction(self.root, what)
        try:
            with change:
                for name, content in files.items():
                    change.write(name, content)
                _write_meta(change, after, self.state)
                for name in gone:
                    change.remove(name)
        except BaseException:
            self._stale = change.committing            # prepared only: the disk is as it was
            raise
        self.state = after

    def _automatic(self, tasks: list[str], all_tasks: tuple[str, ...]) -> Columns:
        info, count, number = self.state.info, len(tasks), {task: i for i, task in enumerate(all_tasks)}
        frame = np.arange(count)
        values = {"timestamp": frame / info.fps, "frame_index": frame,
                  "episode_index": np.full(count, info.total_episodes), "index": frame + info.total_frames,
                  "task_index": np.array([number[task] for task in tasks])}
        return {key: values[key].astype(dtype) for key, dtype in AUTOMATIC.items()}

    def _info_after(self, frames: int, tasks: int, cameras: Mapping[str, Encoded]) -> Info:
        info = self.state.info
        features = dict(info.features)
        for key, camera in cameras.items():
            if "info" not in features[key].extra:
                features[key] = replace(features[key], extra={"info": probe(camera.video)})
        return replace(info, features=features).counted(info.total_episodes + 1, info.total_frames + frames, tasks)

    def _record(self, rows: Columns, tasks: list[str], cameras: Mapping[str, Encoded],
                stats: Mapping[str, Stats]) -> EpisodeRecord:
        now, info = self.state, self.state.info
        spans = {key: VideoSpan(info.video_file(key, *now.videos[key]), 0.0, len(tasks) / info.fps, *now.videos[key])
                 for key in cameras}
        pictures = {key: histogram_stats(one.histogram, one.frames) for key, one in cameras.items()}
        ordered = {key: (stats | pictures)[key] for key in info.features if key in stats or key in pictures}
        return EpisodeRecord(info.total_episodes, len(tasks), tuple(dict.fromkeys(tasks)), info.total_frames,
                             now.data, spans, ordered)


def number_stats(layout: Layout) -> dict[str, Stats]:
    """Exact statistics of all numbers, column by column: 20 bytes a row are in memory at a time."""
    numbers = {key: feature for key, feature in layout.info.features.items() if feature.is_number}
    files = dict.fromkeys(layout.root / episode.data_file for episode in layout.episodes)
    found = {}
    for key, feature in numbers.items():
        rows = np.concatenate([read_columns(file, {key: feature})[key] for file in files])
        parts = [column_stats(column) for column in rows.reshape(len(rows), -1).T]
        found[key] = {name: parts[0][name] if name == "count" else np.concatenate([part[name] for part in parts])
                      for name in parts[0]}
    return found


def _write_meta(change: Transaction, state: State, before: State | None = None) -> None:
    if before is not None and state.tasks != before.tasks:
        change.write(TASKS_PATH, tasks_bytes(state.tasks))
    histograms = {key: {"frames": camera.frames, "counts": camera.histogram.tolist()}
                  for key, camera in state.cameras.items() if camera.histogram is not None}
    change.write(EXTRA_PATH, json.dumps({**state.extra, "episodes": state.info.total_episodes,
                                         "camera_histograms": histograms, "episode_facts": state.facts}).encode())
    if state.info.total_episodes:
        change.write(STATS_PATH, _stats_bytes(state))
    else:
        change.remove(STATS_PATH)
    change.write(INFO_PATH, state.info.as_bytes())


def _stats_bytes(state: State) -> bytes:
    return as_bytes({**state.numbers, **{key: camera.stats() for key, camera in state.cameras.items()}})
