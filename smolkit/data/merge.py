"""Several recordings into one dataset, without encoding a single frame again.

    merge(["outputs/tour/shard_0", "outputs/tour/shard_1"], "outputs/tour/dataset")

Rows are renumbered, tasks united by their text, mp4 files copied as they are, and the statistics are computed
from all rows (not averaged). The result appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolkit.data.columns import Columns, join, parquet_bytes, to_table
from smolkit.data.files import Transaction, read_bytes
from smolkit.data.layout import Episode, VideoSpan
from smolkit.data.reader import Dataset
from smolkit.data.recover import camera_totals, episode_camera_stats
from smolkit.data.schema import (
    DATA_PATH,
    EPISODES_PATH,
    EXTRA_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
    Info,
    fill,
)
from smolkit.data.stats import Stats, as_bytes, column_stats, merge_stats
from smolkit.data.store import Limits
from smolkit.data.tables import EpisodeRecord, Place, episodes_bytes, tasks_bytes
from smolkit.data.video import cut, frame_count
from smolkit.report import SmolkitError


def merge(roots: Sequence[str | Path], out_root: str | Path, limits: Limits | None = None) -> Info:
    """Joins v3.0 datasets of equal fps, robot, features and units, in this order; returns the new info.

    Raises SmolkitError: SK410 where `out_root` exists, SK415 where the datasets don't fit each other.
    """
    out, sources = Path(out_root), [Dataset(root) for root in roots]
    _check_fit(sources)
    if out.exists():
        raise SmolkitError("SK410", f"no dataset yet in {out}", "something is there",
                           "an earlier merge has the same name", "take another name, or remove the old one")
    partial = out.with_name(f".{out.name}.merging")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with Transaction(partial) as change:
            info = _Merger(sources, change, limits or Limits()).run()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return info


class _Merger:
    """One merge: walks the episodes of all sources in order and writes the new files."""

    def __init__(self, sources: list[Dataset], change: Transaction, limits: Limits):
        self.sources, self.change, self.limits = sources, change, limits
        self.tasks = tuple(dict.fromkeys(task for source in sources for task in source.tasks))
        first = sources[0].info
        totals = sum(len(s.episodes) for s in sources), sum(len(s) for s in sources), len(self.tasks)
        paths = {"data_path": DATA_PATH, "video_path": VIDEO_PATH, "codebase_version": VERSION}
        self.info = replace(first, **paths).counted(*totals)
        self.videos = {key: self._copy_videos(key) for key in first.video_keys}

    def run(self) -> Info:
        parts, records, tables, start = [], [], [], 0
        for number, source in enumerate(self.sources):
            pictures = episode_camera_stats(source.layout)
            for episode in source.episodes:
                rows = self._renumbered(source, episode, len(records), start)
                tables.append(to_table(rows, self.info.features))
                records.append(self._record(number, episode, len(records), rows, pictures[episode.index]))
                parts.append(rows)
                start += episode.length
        self._write(records, tables, parts)
        return self.info

    def _copy_videos(self, key: str) -> dict[tuple[int, str], Place]:
        """Copies every mp4 of a camera; (source, old file) -> its new place."""
        places: dict[tuple[int, str], Place] = {}
        for number, source in enumerate(self.sources):
            for file in dict.fromkeys(episode.videos[key].file for episode in source.episodes):
                place = divmod(len(places), self.info.chunks_size)
                places[number, file] = place
                self.change.write(self.info.video_file(key, *place), _video_bytes(source, key, file))
        return places

    def _renumbered(self, source: Dataset, episode: Episode, index: int, start: int) -> Columns:
        rows, frames = source.episode(episode.index), np.arange(episode.length)
        number = {task: i for i, task in enumerate(self.tasks)}
        new = {"episode_index": np.full(episode.length, index), "index": start + frames,
               "task_index": np.array([number[task] for task in rows.pop("task")])}
        return {**rows, **{key: values.astype(np.int64) for key, values in new.items()}}

    def _record(self, source: int, episode: Episode, index: int, rows: Columns,
                pictures: dict[str, Stats]) -> EpisodeRecord:
        spans = {key: self._span(source, key, span) for key, span in episode.videos.items()}
        numbers = {key: column_stats(rows[key]) for key, f in self.info.features.items() if f.is_number}
        return EpisodeRecord(index, episode.length, episode.tasks, int(rows["index"][0]), (0, 0), spans,
                             {**numbers, **pictures})

    def _span(self, source: int, key: str, span: VideoSpan) -> VideoSpan:
        place = self.videos[key][source, span.file]
        return replace(span, file=self.info.video_file(key, *place), chunk=place[0], number=place[1])

    def _write(self, records: list[EpisodeRecord], tables: list[pa.Table], parts: list[Columns]) -> None:
        files = self._data_files(tables)
        for number, group in enumerate(files):
            place = divmod(number, self.info.chunks_size)
            self.change.write(self.info.data_file(*place), parquet_bytes([tables[i] for i in group]))
            for i in group:
                records[i] = replace(records[i], data=place)
        rows = [record.as_table((0, 0)) for record in records]
        self.change.write(fill(EPISODES_PATH, "", 0, 0), episodes_bytes(rows))
        self.change.write(TASKS_PATH, tasks_bytes(self.tasks))
        totals = [camera_totals(source.layout, source.extra()) for source in self.sources]
        cameras = {key: [one[key] for one in totals] for key in self.info.video_keys}
        self.change.write(EXTRA_PATH, json.dumps(self._extra(cameras)).encode())
        self.change.write(STATS_PATH, as_bytes(self._stats(parts, cameras)))
        self.change.write(INFO_PATH, self.info.as_bytes())

    def _data_files(self, tables: list[pa.Table]) -> list[list[int]]:
        """Which episodes share a data file."""
        files: list[list[int]] = [[]]
        for i, table in enumerate(tables):
            size = sum(tables[k].nbytes for k in files[-1]) + table.nbytes
            if files[-1] and (size > self.limits.data_bytes or len(files[-1]) >= 4 * self.limits.episodes):
                files.append([])
            files[-1].append(i)
        return files

    def _stats(self, parts: list[Columns], cameras: dict[str, list[Any]]) -> dict[str, Stats]:
        everything = join(parts)
        stats = {key: column_stats(everything[key]) for key, f in self.info.features.items() if f.is_number}
        return stats | {key: _joined(found).stats() for key, found in cameras.items()}

    def _extra(self, cameras: dict[str, list[Any]]) -> dict[str, Any]:
        extras = [source.extra() for source in self.sources]
        origin = [{"name": s.root.name, "episodes": len(s.episodes), "calibration": extra.get("calibration"),
                   "notes": extra.get("notes")} for s, extra in zip(self.sources, extras, strict=True)]
        totals = {key: _joined(found) for key, found in cameras.items()}
        histograms = {key: {"frames": one.frames, "counts": one.histogram.tolist()}
                      for key, one in totals.items() if one.histogram is not None}
        same = all(extra.get("calibration") == extras[0].get("calibration") for extra in extras)
        return {"format": 1, **extras[0], "calibration": extras[0].get("calibration") if same else None,
                "episodes": self.info.total_episodes, "camera_histograms": histograms, "merged_from": origin}


def _joined(cameras: list[Any]) -> Any:
    """One camera's statistics over all sources: histograms add up, anything else is merged by count."""
    first, frames = cameras[0], sum(camera.frames for camera in cameras)
    if all(camera.histogram is not None for camera in cameras):
        return replace(first, frames=frames, histogram=sum(camera.histogram for camera in cameras))
    return replace(first, frames=frames, histogram=None, foreign=merge_stats([c.stats() for c in cameras]))


def _video_bytes(source: Dataset, key: str, file: str) -> bytes:
    """The mp4, without frames that a crash left behind the last counted episode."""
    content = read_bytes(source.root / file)
    ends = [e.videos[key].to_s for e in source.episodes if e.videos[key].file == file]
    counted = round(max(ends) * source.fps)
    return cut(content, counted) if frame_count(source.root / file) > counted else content


def _check_fit(sources: list[Dataset]) -> None:
    if not sources:
        raise _unfit("at least one dataset", "none")
    first = _identity(sources[0])
    for source in sources:
        if source.info.version != (3, 0):
            raise _unfit("datasets v3.0", f"{source.info.codebase_version} in {source.root}")
        for name, value in _identity(source).items():
            if value != first[name]:
                raise _unfit(f"{name} {first[name]} as in {sources[0].root}", f"{value} in {source.root}")


def _identity(source: Dataset) -> dict[str, Any]:
    """What must be equal: mixing units or joint orders would move an arm wrongly."""
    info = source.info
    shapes = {key: (f.dtype, f.shape, f.names) for key, f in info.features.items()}
    codecs = {key: info.features[key].extra.get("info", {}).get("video.codec") for key in info.video_keys}
    return {"fps": info.fps, "robot_type": info.robot_type, "features": shapes, "codecs": codecs,
            "units": source.extra().get("units")}


def _unfit(expected: str, found: str) -> SmolkitError:
    return SmolkitError("SK415", expected, found, "the recordings were made with different settings",
                        "merge only recordings of the same arm, cameras and fps")
