"""A dataset that grows by whole episodes: after each one every file on the disk is complete.

LeRobot keeps its parquet files open until the end, so a kill takes the whole session. Here the running file
is small (`Limits`), is rewritten with each episode and renamed into place; info.json comes last and decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolkit.data.columns import Columns, join, parquet_bytes, to_table
from smolkit.data.encoding import Encoded
from smolkit.data.files import Transaction
from smolkit.data.layout import VideoSpan
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
from smolkit.data.tables import EpisodeRecord, Place, episodes_bytes, tasks_bytes
from smolkit.data.video import append, probe
from smolkit.report import SmolkitError


@dataclass(frozen=True)
class Limits:
    """When to start the next file. Small on purpose: the running file is rewritten with each episode."""

    data_bytes: int = 4_000_000
    video_bytes: int = 4_000_000
    episodes: int = 25


@dataclass(frozen=True)
class _Running:
    """The files that the next episode goes into."""

    data: Place = (0, 0)
    rows: tuple[pa.Table, ...] = ()                    # the episodes in the data file
    rows_bytes: int = 0
    table: Place = (0, 0)
    records: tuple[pa.Table, ...] = ()                 # the rows in the episodes file
    videos: Mapping[str, _RunningVideo] = field(default_factory=dict)


@dataclass(frozen=True)
class _RunningVideo:
    place: Place = (0, 0)
    content: bytes = b""
    frames: int = 0
    episodes: int = 0


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


class Store:
    """The dataset as it stands on the disk, and `add_episode`, which changes it all or not at all."""

    def __init__(self, root: Path, info: Info, extra: Mapping[str, Any], limits: Limits | None = None):
        self.root, self.info, self.extra, self.limits = root, info, dict(extra), limits or Limits()
        self.tasks: tuple[str, ...] = ()
        self.rows: tuple[Columns, ...] = ()            # all numbers recorded, for exact statistics
        self.cameras: dict[str, CameraStats] = {key: CameraStats(0) for key in info.video_keys}
        self.running = _Running(videos={key: _RunningVideo() for key in info.video_keys})
        self._stale = False

    def write_header(self) -> None:
        """info.json of a dataset without episodes: from here on it can be resumed."""
        with Transaction(self.root) as change:
            change.write(EXTRA_PATH, self._extra_bytes(0, self.cameras))
            change.write(INFO_PATH, self.info.as_bytes())

    def rewrite_stats(self) -> None:
        """After a tail was cut off: the statistics of what is left."""
        if self.rows:
            with Transaction(self.root) as change:
                change.write(EXTRA_PATH, self._extra_bytes(self.info.total_episodes, self.cameras))
                change.write(STATS_PATH, _stats_bytes(self.rows, self.cameras))

    def start_after(self, data: Place, table: Place, videos: Mapping[str, Place]) -> None:
        """Continues behind these files, which stay as they are."""
        fresh = {key: _RunningVideo(self._next(place)) for key, place in videos.items()}
        self.running = _Running(data=self._next(data), table=self._next(table), videos=fresh)

    def add_episode(self, columns: Columns, tasks: list[str], cameras: Mapping[str, Encoded]) -> None:
        """Saves one episode; `columns` without the automatic ones, `tasks` one text per row.

        After SmolkitError SK407 (disk full) nothing has changed, and the call may be repeated.
        """
        self._check_fresh()
        all_tasks = tuple(dict.fromkeys([*self.tasks, *tasks]))
        rows = {**columns, **self._automatic(tasks, all_tasks)}
        info = self._info_after(len(tasks), len(all_tasks), cameras)
        running, change = self._place(info, rows, cameras), Transaction(self.root)
        totals = {key: self.cameras[key].plus(one.histogram, one.sampled) for key, one in cameras.items()}
        record = self._record(info, running, rows, tasks, cameras)
        running = replace(running, records=(*running.records, record.as_table(running.table)))
        everything = (*self.rows, {key: rows[key] for key in info.features if info.features[key].is_number})
        try:
            with change:
                self._write(change, info, running, all_tasks, everything, totals)
        except BaseException:
            self._stale = change.committing            # staged only: the disk is as it was
            raise
        self.info, self.running, self.tasks = info, running, all_tasks
        self.rows, self.cameras = everything, totals

    def _write(self, change: Transaction, info: Info, running: _Running, tasks: tuple[str, ...],
               everything: tuple[Columns, ...], cameras: Mapping[str, CameraStats]) -> None:
        """Videos before the rows that point at them, info.json last: any prefix of this is consistent."""
        for key, video in running.videos.items():
            change.write(info.video_file(key, *video.place), video.content)
        if tasks != self.tasks:
            change.write(TASKS_PATH, tasks_bytes(tasks))
        change.write(fill(EPISODES_PATH, "", *running.table), episodes_bytes(running.records))
        change.write(info.data_file(*running.data), parquet_bytes(running.rows))
        change.write(EXTRA_PATH, self._extra_bytes(info.total_episodes, cameras))
        change.write(STATS_PATH, _stats_bytes(everything, cameras))
        change.write(INFO_PATH, info.as_bytes())

    def _check_fresh(self) -> None:
        if self._stale:
            raise SmolkitError("SK413", "a writer that agrees with its disk", "a save that was interrupted",
                               "Ctrl-C or a disk error while the files of an episode were renamed",
                               "open the dataset again with DatasetWriter.resume(root)")

    def _automatic(self, tasks: list[str], all_tasks: tuple[str, ...]) -> Columns:
        count, number = len(tasks), {task: i for i, task in enumerate(all_tasks)}
        frame = np.arange(count)
        values = {"timestamp": frame / self.info.fps, "frame_index": frame,
                  "episode_index": np.full(count, self.info.total_episodes),
                  "index": frame + self.info.total_frames,
                  "task_index": np.array([number[task] for task in tasks])}
        return {key: values[key].astype(dtype) for key, dtype in AUTOMATIC.items()}

    def _info_after(self, frames: int, tasks: int, cameras: Mapping[str, Encoded]) -> Info:
        info = self.info.counted(self.info.total_episodes + 1, self.info.total_frames + frames, tasks)
        features = dict(info.features)
        for key, camera in cameras.items():
            if "info" not in features[key].extra:
                features[key] = replace(features[key], extra={"info": probe(camera.video)})
        return replace(info, features=features)

    def _place(self, info: Info, rows: Columns, cameras: Mapping[str, Encoded]) -> _Running:
        """The running files with the episode in them, or fresh ones where they are full."""
        now, table = self.running, to_table(rows, info.features)
        if now.rows_bytes + table.nbytes > self.limits.data_bytes or len(now.rows) >= self.limits.episodes:
            now = replace(now, data=self._next(now.data) if now.rows else now.data, rows=(), rows_bytes=0)
        if len(now.records) >= 4 * self.limits.episodes:
            now = replace(now, table=self._next(now.table), records=())
        videos = {key: self._place_video(now.videos[key], camera) for key, camera in cameras.items()}
        return replace(now, rows=(*now.rows, table), rows_bytes=now.rows_bytes + table.nbytes, videos=videos)

    def _place_video(self, now: _RunningVideo, camera: Encoded) -> _RunningVideo:
        if not now.episodes:
            return _RunningVideo(now.place, camera.video, camera.frames, 1)
        fits = (len(now.content) + len(camera.video) < self.limits.video_bytes
                and now.episodes < self.limits.episodes)
        joined = append(now.content, camera.video) if fits else None
        if joined is None:
            return _RunningVideo(self._next(now.place), camera.video, camera.frames, 1)
        return _RunningVideo(now.place, joined, now.frames + camera.frames, now.episodes + 1)

    def _next(self, place: Place) -> Place:
        chunk, number = place
        return (chunk + 1, 0) if number >= self.info.chunks_size - 1 else (chunk, number + 1)

    def _record(self, info: Info, running: _Running, rows: Columns, tasks: list[str],
                cameras: Mapping[str, Encoded]) -> EpisodeRecord:
        spans = {key: _span(info, key, running.videos[key], camera.frames) for key, camera in cameras.items()}
        stats = {key: histogram_stats(cameras[key].histogram, cameras[key].sampled) if feature.is_video
                 else column_stats(rows[key])
                 for key, feature in info.features.items() if feature.is_video or feature.is_number}
        return EpisodeRecord(self.info.total_episodes, len(tasks), tuple(dict.fromkeys(tasks)),
                             self.info.total_frames, running.data, spans, stats)

    def _extra_bytes(self, episodes: int, cameras: Mapping[str, CameraStats]) -> bytes:
        histograms = {key: {"frames": camera.frames, "counts": camera.histogram.tolist()}
                      for key, camera in cameras.items() if camera.histogram is not None}
        counted = {"episodes": episodes, "camera_histograms": histograms}
        return json.dumps({**self.extra, **counted}).encode()


def _stats_bytes(rows: tuple[Columns, ...], cameras: Mapping[str, CameraStats]) -> bytes:
    stats = {key: column_stats(values) for key, values in join(rows).items()}
    return as_bytes(stats | {key: camera.stats() for key, camera in cameras.items()})


def _span(info: Info, key: str, video: _RunningVideo, frames: int) -> VideoSpan:
    return VideoSpan(info.video_file(key, *video.place), (video.frames - frames) / info.fps,
                     video.frames / info.fps, *video.place)
