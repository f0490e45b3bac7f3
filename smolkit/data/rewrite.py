"""The one writer behind every edit: rows and packets stream from the sources into a folder that appears when whole.

    rewrite(plan, Path("cubes_clean"), replaces=False).text()

Memory does not grow with the dataset: one data file's rows and a few packets at a time. Statistics of numbers come
from the rows that were written; those of pictures stay the recorder's where the pictures stayed, and come from
decoded frames where they changed, or where the recorder's can't be true.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolkit.data.columns import _values, read_table, to_table
from smolkit.data.decoding import VideoFile
from smolkit.data.files import damaged
from smolkit.data.layout import Layout, VideoSpan, json_lines, load_layout
from smolkit.data.pictures import decode_image
from smolkit.data.recover import camera_totals, episode_camera_stats
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
from smolkit.data.splice import Encoding, Splicer, Video
from smolkit.data.stats import (
    Stats,
    as_bytes,
    column_stats,
    frame_histogram,
    impossible,
    merge_stats,
    sampled_frames,
)
from smolkit.data.store import CameraStats, number_stats
from smolkit.data.swap import staged
from smolkit.data.tables import EpisodeRecord, Place, episodes_bytes, tasks_bytes
from smolkit.data.video import probe
from smolkit.report import SmolkitError

if TYPE_CHECKING:
    from smolkit.data.edit import Piece, Plan

EDITS_PATH = "meta/edits.json"
RECORDS_PER_FILE = 100
MIB = 1024 ** 2
OPEN_VIDEOS = 8
OF_FRAMES = ("timing", "pauses", "identical", "lost_rows")      # facts of an episode that count its frames


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
        self._sources, self._file, self._table = sources, None, None

    def table(self, source: int, episode: int) -> pa.Table:
        """An episode's rows, every column that is a feature."""
        layout, wanted = self._sources[source], self._sources[source].episodes[episode]
        path = layout.root / wanted.data_file
        if self._file != path:
            self._table, self._file = read_table(path), path
        place = np.flatnonzero(self._table["episode_index"].to_numpy() == wanted.index)
        if len(place) != wanted.length or place[-1] - place[0] != wanted.length - 1:
            raise damaged(path, f"{len(place)} rows of episode {wanted.index}, its table says {wanted.length}")
        return self._table.slice(place[0], wanted.length)

    @staticmethod
    def values(rows: pa.Table, layout: Layout, key: str) -> Any:
        """One column of some rows: numbers (T, ...), a list of texts, or as it is stored."""
        feature = layout.info.features[key]
        if key not in rows.column_names:
            raise damaged(layout.root / "data", f"no column {key!r}")
        plain = feature.is_number and len(feature.shape) == 1 or feature.dtype == "string"
        return _values(rows.column(key), feature) if plain else rows.column(key)


def rewrite(plan: Plan, out: Path, replaces: bool) -> Edited:
    """Writes what the plan says; see `Plan.write`."""
    with staged(out, [layout.root for layout in plan.sources], replaces) as root:
        return replace(_Writer(plan, root).run(), root=out)


class _Writer:
    """One edit: walks the pieces in order; rows, packets and statistics of one episode at a time."""

    def __init__(self, plan: Plan, root: Path):
        self.plan, self.root, self.info = plan, root, plan.info
        self.rows = Rows(plan.sources)
        self.tasks = _tasks(plan)
        self.known = [picture_stats(layout) for layout in plan.sources]
        self.cameras = {key: _Camera(self, key) for key in plan.kept if plan.sources[0].info.features[key].is_camera}
        self.notes: dict[str, str] = {}

    def run(self) -> Edited:
        start, records, tables = 0, [], 0
        with ExitStack() as files:
            data = files.enter_context(_DataFiles(self.root, self.info))
            for camera in self.cameras.values():
                files.enter_context(camera)
            for index, piece in enumerate(self.plan.pieces):
                table = self._renumbered(piece, index, start)
                records.append(self._record(piece, index, start, table, data.add(table)))
                start += len(table)
                if len(records) == RECORDS_PER_FILE or index == len(self.plan.pieces) - 1:
                    place = divmod(tables, self.info.chunks_size)
                    _write(self.root / fill(EPISODES_PATH, "", *place),
                           episodes_bytes([record.as_table(place) for record in records]))
                    records, tables = [], tables + 1
        self.info = self.info.counted(len(self.plan.pieces), start, len(self.tasks))
        return self._finish()

    def _renumbered(self, piece: Piece, index: int, start: int) -> pa.Table:
        """The piece's rows under their new numbers and names."""
        layout, picks = self.plan.sources[piece.source], self.plan.picks(piece)
        rows, frame = self.rows.table(piece.source, piece.episode).take(pa.array(picks)), np.arange(len(picks))
        texts = [layout.tasks[i] for i in self.rows.values(rows, layout, "task_index")]
        numbers = [self.tasks.setdefault(self.plan.tasks.get(text, text), len(self.tasks)) for text in texts]
        new = {"index": start + frame, "episode_index": np.full(len(frame), index), "task_index": np.array(numbers)}
        if not self.plan.whole(piece):
            new |= {"frame_index": frame, "timestamp": frame / self.info.fps}
        columns, plain = {}, {}
        for key in self.plan.kept:
            feature = layout.info.features[key]
            if not feature.is_video and (key in rows.column_names or feature.dtype != "language"):
                values = new[key] if key in new else self.rows.values(rows, layout, key)
                columns[name := self.plan.names.get(key, key)] = _stored(values, feature)
                plain[name] = values
        for key, (feature, made) in self.plan.added.items():
            values = np.asarray(made({**plain, "task": texts}) if callable(made) else made[start:start + len(frame)])
            if values.shape != (len(frame), *feature.row_shape):
                raise unfit(f"{len(frame)} rows of {feature.row_shape} for {key} in episode {index}", str(values.shape))
            columns[key] = _stored(values, feature)
        return pa.table(columns)

    def _record(self, piece: Piece, index: int, start: int, table: pa.Table, data: Place) -> EpisodeRecord:
        features = self.info.features
        stats = {key: column_stats(_values(table.column(key), feature)) for key, feature in features.items()
                 if feature.is_number and key in table.column_names}
        spans = {}
        for key, camera in self.cameras.items():
            name = self.plan.names.get(key, key)
            if features[name].is_video:
                spans[name] = camera.copy(piece)
            stats[name] = camera.stats(piece, table)
        numbers = table.column("task_index").to_pylist()
        texts = {number: text for text, number in self.tasks.items()}
        tasks = tuple(dict.fromkeys(texts[number] for number in numbers))
        return EpisodeRecord(index, len(table), tasks, start, data, spans, stats)

    def _finish(self) -> Edited:
        features = dict(self.info.features)
        for key, camera in self.cameras.items():
            name = self.plan.names.get(key, key)
            if camera.changed and features[name].is_video:
                first = self.root / self.info.video_file(name, 0, 0)
                features[name] = replace(features[name], extra={"info": probe(first)})
        self.info = replace(self.info, features=features)
        notes = tuple(self.notes.values())
        _write(self.root / TASKS_PATH, tasks_bytes(list(self.tasks)))
        _write(self.root / EXTRA_PATH, json.dumps(self._extra()).encode())
        _write(self.root / INFO_PATH, self.info.as_bytes())
        stats = {**number_stats(load_layout(self.root)), **{self.plan.names.get(key, key): camera.total().stats()
                                                            for key, camera in self.cameras.items()}}
        _write(self.root / STATS_PATH, as_bytes(stats))
        edited = Edited(self.root, self.info, sum(c.frames - c.encoded for c in self.cameras.values()),
                        sum(c.encoded for c in self.cameras.values()), notes)
        _write(self.root / EDITS_PATH, json.dumps(self._manifest(edited), indent=2, ensure_ascii=False).encode())
        return edited

    def _extra(self) -> dict[str, Any]:
        """meta/smolkit.json: what the sources agree on, their sessions, and what is known of each episode."""
        extras = [extra_of(layout) for layout in self.plan.sources]
        agreed = {key: value for key, value in extras[0].items() if all(extra.get(key) == value for extra in extras)}
        firsts = np.cumsum([0, *(len(extra.get("sessions", ())) for extra in extras)])
        histograms = {self.plan.names.get(key, key): {"frames": one.frames, "counts": one.histogram.tolist()}
                      for key, one in ((key, camera.total()) for key, camera in self.cameras.items())
                      if one.histogram is not None}
        facts = [self._facts(extras[piece.source], piece, int(firsts[piece.source])) for piece in self.plan.pieces]
        return {"format": 1, **agreed, "sessions": [one for extra in extras for one in extra.get("sessions", ())],
                "episodes": self.info.total_episodes, "camera_histograms": histograms, "episode_facts": facts}

    def _facts(self, extra: Mapping[str, Any], piece: Piece, first_session: int) -> dict[str, Any]:
        """What counts frames no longer holds where frames are missing."""
        known = extra.get("episode_facts", ())
        facts = known[piece.episode] if piece.episode < len(known) else {}
        return {key: value + first_session if key == "session" else value for key, value in facts.items()
                if self.plan.whole(piece) or key not in OF_FRAMES}

    def _manifest(self, edited: Edited) -> dict[str, Any]:
        sources = [{"name": layout.root.resolve().name, "version": layout.info.codebase_version,
                    "episodes": layout.info.total_episodes, "frames": layout.info.total_frames,
                    "tables_sha256": fingerprint(layout.root)} for layout in self.plan.sources]
        before = [edit for layout in self.plan.sources if (layout.root / EDITS_PATH).is_file()
                  for edit in read_object(layout.root / EDITS_PATH).get("edits", [])]
        pictures = {"copied": edited.copied, "encoded": edited.encoded}
        pieces = [f"source {piece.source}, episode {piece.episode}, frames {piece.start}..{piece.stop - 1}"
                  for piece in self.plan.pieces]
        edit = {"kit": version("smolkit"), "sources": sources, "operations": [*self.plan.operations],
                "pieces": pieces, "pictures": pictures, "notes": list(edited.notes)}
        return {"format": 1, "edits": [*before, edit]}


class _Camera(AbstractContextManager):
    """One camera of the result: its mp4 files, and the statistics of its pictures."""

    def __init__(self, writer: _Writer, key: str):
        self.plan, self.key, self.notes = writer.plan, key, None
        self.writer, self.frames, self.encoded = writer, 0, 0
        name, info = self.plan.names.get(key, key), writer.info
        self.feature = info.features[name]
        self.changed = bool(self.plan.encoding or info.fps != self.plan.sources[0].info.fps)
        self._files = lambda number: writer.root / info.video_file(name, *divmod(number, info.chunks_size))
        self._place = lambda number: divmod(number, info.chunks_size)
        self._splicer = Splicer(self._files, info.fps, info.video_files_size_in_mb * MIB)
        self._videos: dict[Path, Video] = {}
        self._parts: list[CameraStats] = []

    def copy(self, piece: Piece) -> VideoSpan:
        """Puts the piece's frames into the running file; where its pictures stand from then on."""
        layout = self.plan.sources[piece.source]
        span, fps = layout.episodes[piece.episode].videos[self.key], self.writer.info.fps
        first = round(span.from_s * layout.info.fps)
        picks = first + self.plan.picks(piece)
        video = self._open(layout.root / span.file, layout.info.fps)
        if self.changed:
            self.encoded += len(picks)
            number, at = self._encode(video, picks.tolist(), fps)
        else:
            bridged = self._splicer.bridged
            number, at = self._splicer.add(video, int(picks[0]), int(picks[-1]) + 1)
            self.encoded += self._splicer.bridged - bridged
            if self._splicer.bridged > bridged:
                self._tell()
        self.frames += len(picks)
        place = self._place(number)
        return VideoSpan(self._files(number).relative_to(self.writer.root).as_posix(), at / fps,
                         (at + len(picks)) / fps, *place)

    def _encode(self, video: Video, numbers: list[int], fps: int) -> tuple[int, int]:
        encoding = self.plan.encoding or Encoding(video.stream.codec_context.codec.canonical_name)
        scratch = self.writer.root / f"{self.key}.mp4"
        encoding.write(video, numbers, scratch, fps)
        made = Video(scratch, fps)
        try:
            return self._splicer.add(made, 0, len(numbers))
        finally:
            made.close()
            scratch.unlink()

    def _tell(self) -> None:
        self.writer.notes[self.key] = (
            f"{self.key}: {self._splicer.bridged} frames between a cut and the next key frame were encoded again, "
            f"at most {self._splicer.worst} of 255 from what they were; all others are copies")

    def stats(self, piece: Piece, table: pa.Table) -> Stats:
        """The recorder's own where the pictures are the same, else from frames."""
        known = self.writer.known[piece.source].get(piece.episode, {}).get(self.key)
        wrong = known is not None and impossible(known)
        if known is None or wrong or self.changed or self.plan.recount or not self.plan.whole(piece):
            part = self._counted(piece, table)
            if wrong:
                self.writer.notes[f"std {self.key}"] = (
                    f"{self.key}: the source's std can't be true (episode {piece.episode}: "
                    f"{np.ravel(known['std'])[0]:.4f}, LeRobot 0.4.4 overflows there); from frames it is "
                    f"{np.ravel(part.stats()['std'])[0]:.4f}")
        else:
            part = CameraStats(int(np.ravel(known["count"])[0]), None, known)
        self._parts.append(part)
        return part.stats()

    def _counted(self, piece: Piece, table: pa.Table) -> CameraStats:
        """From a sample of decoded frames, as LeRobot samples them."""
        picks = self.plan.picks(piece)
        chosen = sampled_frames(len(picks))
        layout = self.plan.sources[piece.source]
        if self.feature.is_video:
            span = layout.episodes[piece.episode].videos[self.key]
            numbers = round(span.from_s * layout.info.fps) + picks[chosen]
            with closing(VideoFile(layout.root / span.file, layout.info.fps)) as video:
                size = self.plan.encoding.size if self.plan.encoding else None
                counts = sum(frame_histogram(image) for image in video.read(numbers.tolist(), size))
        else:
            cells = table.column(self.plan.names.get(self.key, self.key))
            counts = sum(frame_histogram(decode_image(cells[int(i)].as_py()["bytes"], self.feature)) for i in chosen)
        return CameraStats(len(chosen), counts)

    def total(self) -> CameraStats:
        """Over the whole result: the sources' histograms where all their pictures stayed."""
        parts = self._untouched() or self._parts
        if all(part.histogram is not None for part in parts):
            return CameraStats(sum(part.frames for part in parts), sum(part.histogram for part in parts))
        return CameraStats(sum(part.frames for part in parts), None, merge_stats([part.stats() for part in parts]))

    def _untouched(self) -> list[CameraStats]:
        pieces = self.plan.pieces
        everything = [(number, episode.index) for number, layout in enumerate(self.plan.sources)
                      for episode in layout.episodes]
        same = sorted((piece.source, piece.episode) for piece in pieces) == everything
        if not same or any(part.histogram is not None for part in self._parts) or not self.feature.is_video:
            return []
        if any(layout.info.version < (3, 0) for layout in self.plan.sources):
            return []
        return [camera_totals(layout, extra_of(layout))[self.key] for layout in self.plan.sources]

    def _open(self, path: Path, fps: int) -> Video:
        video = self._videos.pop(path, None) or Video(path, fps)
        self._videos[path] = video
        while len(self._videos) > OPEN_VIDEOS:
            self._videos.pop(next(iter(self._videos))).close()
        return video

    def __exit__(self, *_: object) -> None:
        self._splicer.close()
        for video in self._videos.values():
            video.close()


class _DataFiles(AbstractContextManager):
    """data/*.parquet, one row group an episode; the next file begins where one is full."""

    def __init__(self, root: Path, info: Info):
        self._root, self._info, self._number, self._writer, self._file = root, info, -1, None, None

    def add(self, table: pa.Table) -> Place:
        full = self._file is not None and self._file.tell() + table.nbytes > self._info.data_files_size_in_mb * MIB
        if self._writer is None or full:
            self.__exit__()
            self._number += 1
            path = self._root / self._info.data_file(*divmod(self._number, self._info.chunks_size))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="snappy", use_dictionary=True)
        self._writer.write_table(table)
        return divmod(self._number, self._info.chunks_size)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._file.close()


def _tasks(plan: Plan) -> dict[str, int]:
    """The texts of the episodes that stay, in the sources' order, and their new numbers."""
    used = {(piece.source, text) for piece in plan.pieces
            for text in plan.sources[piece.source].episodes[piece.episode].tasks}
    texts = [plan.tasks.get(text, text) for number, layout in enumerate(plan.sources) for text in layout.tasks
             if (number, text) in used]
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def _stored(values: Any, feature: Feature) -> pa.Array | pa.ChunkedArray:
    """One column as it stands in data files; what is no plain number or text stays as its recorder stored it."""
    if isinstance(values, pa.ChunkedArray):
        return values
    if feature.is_number:
        values = np.asarray(values).astype(feature.dtype)
    return to_table({"it": values}, {"it": feature}).column(0)


def picture_stats(layout: Layout) -> dict[int, dict[str, Stats]]:
    """Each episode's own statistics of its pictures, {} where its recorder left none (v2.0)."""
    if layout.info.version >= (3, 0):
        return episode_camera_stats(layout)
    path = layout.root / "meta/episodes_stats.jsonl"
    lines = json_lines(path, "episode_index", "stats") if path.is_file() else []
    return {line["episode_index"]: {key: {name: np.asarray(value) for name, value in one.items()}
                                    for key, one in line["stats"].items() if key in layout.info.camera_keys}
            for line in lines}


def extra_of(layout: Layout) -> dict[str, Any]:
    """meta/smolkit.json; {} for other recorders' datasets."""
    path = layout.root / EXTRA_PATH
    return read_object(path) if path.is_file() else {}


def fingerprint(root: Path) -> str:
    """SHA-256 of all tables (rows, episodes, tasks, info), so that one knows the source again."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("meta", "data") for path in (root / folder).rglob("*")
                       if path.suffix in (".json", ".jsonl", ".parquet")):
        digest.update(path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(MIB):
                digest.update(block)
    return digest.hexdigest()


def unfit(expected: str, found: str) -> SmolkitError:
    """SK490: what was asked for is not there, or would leave nothing."""
    return SmolkitError("SK490", expected, found, "it was meant for another dataset, or for the one before an edit",
                        "smolkit edit ... --dry-run shows what would be done")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
