"""The one writer behind every edit: rows and packets stream from the sources into a folder that appears when whole.

    print(rewrite(plan, Path("cubes_clean"), replaces=False).text())

Memory does not grow with the dataset: one data file's rows and a few packets at a time. Statistics of numbers are
exact, from the rows that were written; meta/edits.json tells the sources, the operations and what happened.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolkit.data.columns import _values, read_table, to_table
from smolkit.data.files import damaged
from smolkit.data.layout import Layout, json_lines, load_layout
from smolkit.data.recover import episode_camera_stats
from smolkit.data.recut import Camera, extra_of
from smolkit.data.schema import (
    EPISODES_PATH,
    EXTRA_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    Feature,
    Info,
    fill,
    read_object,
)
from smolkit.data.stats import Stats, as_bytes, column_stats, from_json
from smolkit.data.store import Limits, number_stats
from smolkit.data.swap import staged
from smolkit.data.tables import EpisodeRecord, Place, episodes_bytes, tasks_bytes
from smolkit.data.video import probe
from smolkit.report import SmolkitError

if TYPE_CHECKING:
    from smolkit.data.edit import Piece, Plan

EDITS_PATH = "meta/edits.json"
RECORDS_PER_FILE = 100                                             # episodes in one file of their table
OF_FRAMES = ("timing", "pauses", "identical", "lost_rows")         # facts that hold for all frames of an episode only


@dataclass(frozen=True)
class Edited:
    """What an edit made: the dataset's info, and what a reader of it should know."""

    root: Path
    info: Info
    copied: int                     # frames of cameras whose packets were copied
    encoded: int                    # frames of cameras that were encoded: anew, or to begin at a key frame
    notes: tuple[str, ...]

    def text(self) -> str:
        counts = f"{self.info.total_episodes} episodes, {self.info.total_frames} frames in {self.root}"
        return "\n".join([counts, f"pictures: {self.copied} copied, {self.encoded} encoded", *self.notes])


class Rows:
    """Rows of the sources, one data file in memory at a time."""

    def __init__(self, sources: tuple[Layout, ...]):
        self._sources, self._path, self._table = sources, None, None

    def table(self, source: int, episode: int) -> pa.Table:
        """An episode's rows."""
        layout, wanted = self._sources[source], self._sources[source].episodes[episode]
        path = layout.root / wanted.data_file
        if self._path != path:
            self._table, self._path = read_table(path), path
        place = np.flatnonzero(_column(self._table, layout, "episode_index") == wanted.index)
        if len(place) != wanted.length or place[-1] - place[0] != wanted.length - 1:
            raise damaged(path, f"{len(place)} rows of episode {wanted.index}, its table says {wanted.length}")
        return self._table.slice(place[0], wanted.length)

    def values(self, source: int, episode: int, key: str) -> Any:
        """One feature of an episode."""
        return _column(self.table(source, episode), self._sources[source], key)


def _column(rows: pa.Table, layout: Layout, key: str) -> Any:
    """Numbers (T, ...), a list of texts, or, for pictures and matrices, the column as it is stored."""
    feature = layout.info.features[key]
    try:
        stored = rows.column(key)
        return _values(stored, feature) if feature.dtype == "string" or _is_vector(feature) else stored
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(layout.root / "data", f"column {key}: {error}") from error


def _is_vector(feature: Feature) -> bool:
    return feature.is_number and len(feature.shape) == 1


def rewrite(plan: Plan, out: Path, replaces: bool) -> Edited:
    """Writes what the plan says; see `Plan.write`."""
    with staged(out, [layout.root for layout in plan.sources], replaces) as root:
        try:
            return replace(_Writer(plan, root).run(), root=out)
        except av.FFmpegError as error:
            raise OSError(getattr(error, "errno", None), f"FFmpeg could not write a video: {error}") from error


class _Writer:
    """One edit: walks the pieces in order; rows, packets and statistics of one episode at a time."""

    def __init__(self, plan: Plan, root: Path):
        self.plan, self.root, self.info = plan, root, plan.info
        self.rows, self.tasks = Rows(plan.sources), _tasks(plan)
        self.loose = {key for key, feature in self.info.features.items() if feature.dtype == "language"}
        known = [picture_stats(layout) for layout in plan.sources]
        self.cameras = [Camera(plan, root, key, known) for key in plan.kept
                        if plan.sources[0].info.features[key].is_camera]

    def run(self) -> Edited:
        start, records, tables, last = 0, [], 0, len(self.plan.pieces) - 1
        with ExitStack() as stack:
            data = stack.enter_context(_DataFiles(self.root, self.info))
            for camera in self.cameras:
                stack.enter_context(camera)
            threads = stack.enter_context(ThreadPoolExecutor())    # last: it waits before a video is closed under it
            for index, piece in enumerate(self.plan.pieces):
                table = self._table(piece, index, start)
                taken = list(threads.map(lambda camera: camera.take(piece, table), self.cameras))      # noqa: B023
                records.append(self._record(index, start, table, data.add(table), taken))
                start += len(table)
                if len(records) == RECORDS_PER_FILE or index == last:
                    place = divmod(tables, self.info.chunks_size)
                    self._put(fill(EPISODES_PATH, "", *place), episodes_bytes([r.as_table(place) for r in records]))
                    records, tables = [], tables + 1
        return self._finish(start)

    def _table(self, piece: Piece, index: int, start: int) -> pa.Table:
        """The piece's rows under their new numbers and names."""
        plan, layout, picks = self.plan, self.plan.sources[piece.source], self.plan.picks(piece)
        rows, frame = self.rows.table(piece.source, piece.episode).take(pa.array(picks)), np.arange(len(picks))
        numbers = _column(rows, layout, "task_index")
        if numbers.min() < 0 or numbers.max() >= len(layout.tasks):
            raise damaged(layout.root / "data", f"task_index {numbers.max()} where there are {len(layout.tasks)} tasks")
        before = [layout.tasks[number] for number in numbers]
        texts = [plan.tasks.get(text, text) for text in before]
        task_index = np.array([self.tasks.setdefault(text, len(self.tasks)) for text in texts])
        new = {"index": start + frame, "episode_index": np.full(len(frame), index), "task_index": task_index}
        if not plan.whole(piece):
            new |= {"frame_index": frame, "timestamp": frame / self.info.fps}
        values = {plan.name(key): new[key] if key in new else _column(rows, layout, key) for key in plan.kept
                  if not layout.info.features[key].is_video and (key in rows.column_names or key not in self.loose)}
        for key, (feature, made) in plan.added.items():
            values[key] = made({**values, "task": texts}) if callable(made) else made[start:start + len(frame)]
            if np.shape(values[key]) != (len(frame), *feature.row_shape):
                raise unfit(f"{len(frame)} rows of {feature.row_shape} for {key} in episode {index}",
                            str(np.shape(values[key])))
        return pa.table({key: self._stored(key, column) for key, column in values.items()})

    def _stored(self, key: str, values: Any) -> pa.Array:
        feature = self.info.features[key]
        if isinstance(values, pa.ChunkedArray):
            return values
        return to_table({key: np.asarray(values, feature.dtype) if feature.is_number else values}, {key: feature})[key]

    def _record(self, index: int, start: int, table: pa.Table, data: Place, taken: list[Any]) -> EpisodeRecord:
        numbers = {key: column_stats(_values(table[key], feature)) for key, feature in self.info.features.items()
                   if feature.is_number and key in table.column_names}
        texts = list(self.tasks)
        tasks = tuple(dict.fromkeys(texts[number] for number in table["task_index"].to_pylist()))
        spans = {camera.name: span for camera, (span, _) in zip(self.cameras, taken, strict=True) if span}
        pictures = {camera.name: stats for camera, (_, stats) in zip(self.cameras, taken, strict=True)}
        return EpisodeRecord(index, len(table), tasks, start, data, spans, {**numbers, **pictures})

    def _finish(self, frames: int) -> Edited:
        probed = {camera.name: replace(camera.feature, extra={
            "info": probe(self.root / self.info.video_file(camera.name, 0, 0))})
            for camera in self.cameras if camera.changed}
        self.info = replace(self.info, features={**self.info.features, **probed}).counted(
            len(self.plan.pieces), frames, len(self.tasks))
        totals = {camera.name: camera.total() for camera in self.cameras}
        edited = Edited(self.root, self.info, sum(camera.copied for camera in self.cameras),
                        sum(camera.encoded for camera in self.cameras),
                        tuple(note for camera in self.cameras for note in camera.notes.values()))
        self._put(TASKS_PATH, tasks_bytes(list(self.tasks)))
        self._put(EXTRA_PATH, json.dumps({**self._extra(), "camera_histograms": {
            key: {"frames": one.frames, "counts": one.histogram.tolist()} for key, one in totals.items()
            if one.histogram is not None}}).encode())
        self._put(EDITS_PATH, json.dumps(self._manifest(edited), indent=2, ensure_ascii=False).encode())
        self._put(INFO_PATH, self.info.as_bytes())
        self._put(STATS_PATH, as_bytes({**number_stats(load_layout(self.root)),
                                        **{key: one.stats() for key, one in totals.items()}}))
        return edited

    def _extra(self) -> dict[str, Any]:
        """meta/smolkit.json: what the sources agree on, their sessions, and what is known of each episode."""
        extras = [extra_of(layout.root) for layout in self.plan.sources]
        agreed = {key: value for key, value in extras[0].items() if all(extra.get(key) == value for extra in extras)}
        sessions, facts, firsts = [], [], []
        for extra in extras:
            firsts.append(len(sessions))
            sessions += _listed(extra, "sessions")
        for piece in self.plan.pieces:
            known = _listed(extras[piece.source], "episode_facts")[piece.episode:piece.episode + 1]
            facts.append({key: value for one in known for key, value in one.items()
                          if key not in OF_FRAMES or self.plan.whole(piece)})
            if isinstance(facts[-1].get("session"), int):
                facts[-1]["session"] += firsts[piece.source]
        began = {fact["session"]: index for index, fact in reversed([*enumerate(facts)])
                 if isinstance(fact.get("session"), int)}
        sessions = [{**session, "first_episode": began.get(number)} for number, session in enumerate(sessions)]
        return {"format": 1, **agreed, "sessions": sessions, "episodes": len(facts), "episode_facts": facts}

    def _manifest(self, edited: Edited) -> dict[str, Any]:
        """All edits since the recording, this one last."""
        roots = [layout.root for layout in self.plan.sources]
        sources = [{"name": layout.root.resolve().name, "version": layout.info.codebase_version,
                    "episodes": layout.info.total_episodes, "frames": layout.info.total_frames,
                    "tables_sha256": fingerprint(layout.root)} for layout in self.plan.sources]
        before = [edit for root in roots if (root / EDITS_PATH).is_file()
                  for edit in read_object(root / EDITS_PATH).get("edits", [])]
        edit = {"kit": version("smolkit"), "sources": sources, "operations": [*self.plan.operations],
                "pieces": [f"source {piece.source}, episode {piece.episode}, frames {piece.start}..{piece.stop - 1}"
                           for piece in self.plan.pieces],
                "pictures": {"copied": edited.copied, "encoded": edited.encoded}, "notes": [*edited.notes]}
        return {"format": 1, "edits": [*before, edit]}

    def _put(self, relative: str, content: bytes) -> None:
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class _DataFiles(AbstractContextManager):
    """data/*.parquet, one row group an episode; the next file begins where one is full."""

    def __init__(self, root: Path, info: Info):
        self._root, self._info, self._number, self._files = root, info, -1, ExitStack()

    def add(self, table: pa.Table) -> Place:
        if self._number < 0 or self._file.tell() + table.nbytes > Limits.of(self._info).data_bytes:
            self._files.close()
            self._number += 1
            path = self._root / self._info.data_file(*divmod(self._number, self._info.chunks_size))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._files.enter_context(path.open("wb"))
            self._out = self._files.enter_context(pq.ParquetWriter(self._file, table.schema))
        self._out.write_table(table)
        return divmod(self._number, self._info.chunks_size)

    def __exit__(self, *_: object) -> None:
        self._files.close()


def _tasks(plan: Plan) -> dict[str, int]:
    """The texts of the episodes that stay, in the sources' order, and their new numbers."""
    used = {(piece.source, text) for piece in plan.pieces
            for text in plan.sources[piece.source].episodes[piece.episode].tasks}
    texts = [plan.tasks.get(text, text) for number, layout in enumerate(plan.sources) for text in layout.tasks
             if (number, text) in used]
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def _listed(extra: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """What others wrote there is no list of ours."""
    found = extra.get(key)
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []


def picture_stats(layout: Layout) -> dict[int, dict[str, Stats]]:
    """Each episode's own statistics of its pictures, {} where its recorder left none (v2.0)."""
    if layout.info.version >= (3, 0):
        return episode_camera_stats(layout)
    path = layout.root / "meta/episodes_stats.jsonl"
    try:
        return {line["episode_index"]: from_json({key: one for key, one in line["stats"].items()
                                                  if key in layout.info.camera_keys})
                for line in (json_lines(path, "episode_index", "stats") if path.is_file() else ())}
    except (AttributeError, TypeError, ValueError) as error:
        raise damaged(path, f"no statistics by feature and name: {error}") from error


def fingerprint(root: Path) -> str:
    """SHA-256 of all tables (rows, episodes, tasks, info), so that one knows the source again."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("meta", "data") for path in (root / folder).rglob("*")
                       if path.suffix in (".json", ".jsonl", ".parquet")):
        digest.update(path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def unfit(expected: str, found: str) -> SmolkitError:
    """SK490: what was asked for is not there, or would leave nothing."""
    return SmolkitError("SK490", expected, found, "it was meant for another dataset, or for the one before an edit",
                        "smolkit edit ... --dry-run shows what would be done")
