"""Many small files become few: neighbours are joined by copying, in one change that happens or does not.

    compact(Path("datasets/red_cube"))     # 50 episodes of two cameras: 200 files become 4

A recording writes every episode to files of its own, which is safe and quick; files of LeRobot's sizes (100 MB of
rows, 200 MB of video) are what others download and open. Packets and row groups are copied as they are, so pictures
and numbers stay bit for bit, and one row group is in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import dropwhile
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq

from smolkit.data.columns import open_table
from smolkit.data.files import Transaction, damaged, write_failure
from smolkit.data.layout import Layout, episode_files, load_layout, numbers
from smolkit.data.schema import EPISODES_PATH, fill
from smolkit.data.splice import Splicer, Video
from smolkit.data.store import Limits
from smolkit.data.tables import Place
from smolkit.data.video import encoding_of, frame_count

Moves = dict[Place, tuple[Place, int]]             # a file's place -> its new one, and how many frames precede it there
ROWS_AT_ONCE = 100                                 # episodes in one row group of their table


def compact(root: Path, limits: Limits | None = None) -> None:
    """Joins what the limits (those of info.json, where none are given) let join.

    The caller holds the claim of the folder. Errors: SK407 disk full, and all stays as it was; SK403, SK404 and SK491
    for a dataset that is not whole.
    """
    layout = load_layout(root)
    try:
        with Transaction(root, "small files were joined") as change:
            joined = _Joined(layout, change, limits or Limits.of(layout.info))
            moves = {f"videos/{key}": joined.videos(key) for key in layout.info.video_keys}
            moves["data"] = joined.rows()
            if any(moves.values()):
                joined.episodes(moves)
    except (OSError, av.FFmpegError) as error:
        raise write_failure(root, error) from error


class _Joined:
    """One compaction: the new files are prepared, the old ones that went into them removed."""

    def __init__(self, layout: Layout, change: Transaction, limits: Limits):
        self.layout, self.change, self.limits = layout, change, limits

    def videos(self, key: str) -> Moves:
        """A camera's mp4s, joined by copying packets; their new places."""
        info, staged, frames, moves = self.layout.info, [], [], {}
        files = [episode.videos[key].file for episode in self.layout.episodes]
        groups = _touched(self._groups(files, self.limits.video_bytes, encoding_of))
        places = _places(groups)

        def path(_: int) -> Path:
            staged.append(self.change.stage(info.video_file(key, *places[len(staged)])))
            return staged[-1]

        for group in groups:
            with Splicer(path, info.fps, self.limits.video_bytes) as out:
                for file in group:
                    with closing(Video(file, info.fps)) as video:
                        _, at = out.add(video, 0, len(video.numbers))
                        frames[len(staged) - 1:] = [at + len(video.numbers)]
                    moves[_place(file)] = places[len(staged) - 1], at
        for file, wanted in zip(staged, frames, strict=True):  # nothing is removed that was not copied whole
            if frame_count(file) != wanted:
                raise damaged(file, f"{frame_count(file)} frames of {wanted}")
        return self._without_old(groups, moves)

    def rows(self) -> Moves:
        """The data files, joined by copying row groups; their new places."""
        files = [episode.data_file for episode in self.layout.episodes]
        groups = _touched(self._groups(files, self.limits.data_bytes, _columns))
        return self._tables(groups, self.layout.info.data_file, lambda table, _: table)

    def episodes(self, moves: Mapping[str, Moves]) -> None:
        """The episodes table, pointing at the new places."""
        root, info = self.layout.root, self.layout.info
        files = [file.relative_to(root).as_posix() for file in episode_files(root)]
        self._tables(self._groups(files, self.limits.data_bytes, _columns),
                     lambda chunk, file: fill(EPISODES_PATH, "", chunk, file),
                     lambda table, here: _repointed(table, moves, here, info.fps), ROWS_AT_ONCE)

    def _tables(self, groups: list[list[Path]], name: Callable[[int, int], str],
                rewritten: Callable[[pa.Table, Place], pa.Table], rows_at_once: int = 1) -> Moves:
        moves: Moves = {}
        for group, place in zip(groups, _places(groups), strict=False):
            with pq.ParquetWriter(self.change.stage(name(*place)), open_table(group[0]).schema_arrow) as out:
                for table in _batches(group, rows_at_once):
                    out.write_table(rewritten(table, place))
            moves |= {_place(file): (place, 0) for file in group}
        return self._without_old(groups, moves)

    def _groups(self, files: Iterable[str], most_bytes: int, kind: Callable[[Path], Any]) -> list[list[Path]]:
        """Which neighbours fit into one file."""
        groups: list[list[Path]] = []
        size, episodes, last = 0, 0, None
        for file, more in Counter(files).items():
            path = self.layout.root / file
            size, episodes, before, last = size + path.stat().st_size, episodes + more, last, kind(path)
            if groups and size <= most_bytes and episodes <= self.limits.episodes and before == last:
                groups[-1].append(path)
            else:
                groups.append([path])
                size, episodes = path.stat().st_size, more
        return groups

    def _without_old(self, groups: list[list[Path]], moves: Moves) -> Moves:
        kept = {place for place, _ in moves.values()}
        for file in (file for group in groups for file in group if _place(file) not in kept):
            self.change.remove(file.relative_to(self.layout.root).as_posix())
        return moves


def _places(groups: list[list[Path]]) -> list[Place]:
    """Where the joined files go, in order: onto their sources, so nobody else's file is in the way."""
    return [_place(file) for group in groups for file in group]


def _touched(groups: list[list[Path]]) -> list[list[Path]]:
    """Without the first ones, which are one full file each and stay as they are."""
    return list(dropwhile(lambda group: len(group) == 1, groups))


def _batches(files: list[Path], rows_at_once: int) -> Iterator[pa.Table]:
    """The files' row groups, joined up to so many rows."""
    waiting: list[pa.Table] = []
    for file in files:
        table = open_table(file)
        for number in range(table.num_row_groups):
            waiting.append(table.read_row_group(number))
            if sum(map(len, waiting)) >= rows_at_once:
                yield pa.concat_tables(waiting)
                waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting)


def _repointed(table: pa.Table, moves: Mapping[str, Moves], here: Place, fps: int) -> pa.Table:
    """Rows of the episodes table with the new places of what they point at."""
    for what, moved in {**moves, "meta/episodes": {}}.items():
        old = list(zip(*(table.column(f"{what}/{part}_index").to_pylist() for part in ("chunk", "file")), strict=True))
        new = [(here, 0) if what == "meta/episodes" else moved.get(place, (place, 0)) for place in old]
        columns = {"chunk_index": [place[0] for place, _ in new], "file_index": [place[1] for place, _ in new]}
        if what.startswith("videos/"):
            for end in ("from_timestamp", "to_timestamp"):
                columns[end] = [(round(second * fps) + frames) / fps if frames else second for second, (_, frames)
                                in zip(table.column(f"{what}/{end}").to_pylist(), new, strict=True)]
        for name, values in columns.items():
            at = table.column_names.index(f"{what}/{name}")
            table = table.set_column(at, table.field(at), pa.array(values, table.field(at).type))
    return table


def _place(file: Path) -> Place:
    chunk, number = numbers(file)
    return chunk, number


def _columns(file: Path) -> pa.Schema:
    return open_table(file).schema_arrow.remove_metadata()
