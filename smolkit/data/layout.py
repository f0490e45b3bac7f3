"""Where each episode lies: the tables of v3.0 and v2.x, told in one language.

    >>> Episode(0, 45, ("push",), 0, "data/chunk-000/file-000.parquet", {}).to_index
    45

`info.json` is the last file that our writer renames, so its counter rules: an episode beyond
`total_episodes` was being saved when the power went, and does not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from smolkit.data.claim import settle
from smolkit.data.columns import open_table, read_table
from smolkit.data.files import damaged, missing, read_bytes
from smolkit.data.schema import TASKS_PATH, Info, load_info, whole
from smolkit.report import SmolkitError

LONGEST_S = 1e9                    # of a video: thirty years
MOST_TASKS = 300_000               # a few megabytes hold twenty million short ones


@dataclass(frozen=True)
class VideoSpan:
    """The part of an mp4 that shows one episode."""

    file: str              # relative to the root
    from_s: float
    to_s: float
    chunk: int = 0
    number: int = 0


@dataclass(frozen=True)
class Episode:
    """One row of the episodes table."""

    index: int
    length: int            # frames
    tasks: tuple[str, ...]
    from_index: int        # its first row in the whole dataset
    data_file: str         # relative to the root
    videos: Mapping[str, VideoSpan]

    @property
    def to_index(self) -> int:
        return self.from_index + self.length


@dataclass(frozen=True)
class Layout:
    """info.json, the episodes 0..n-1 and the task texts by task_index."""

    root: Path
    info: Info
    episodes: tuple[Episode, ...]
    tasks: tuple[str, ...]


def inside(root: Path, file: str) -> Path:
    """root/file, which no symbolic link may lead out of the folder; SK405, and SK403 where it is absent.

    The Hub's cache is made of links: its folders snapshots/<revision> point into blobs, beside them.
    """
    path, home = root / file, root.resolve()
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:
        raise damaged(path, f"a link that leads nowhere: {error}") from error
    allowed = (home, home.parents[1] / "blobs") if home.parent.name == "snapshots" else (home,)
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise SmolkitError("SK405", f"a file inside {root}", f"{path} is a link to the outside",
                           "a dataset of somebody else that wants to read your files, or a folder that you moved",
                           "copy the file to the place of the link, if you trust it")
    if not real.is_file():
        raise missing(path)
    return path


def inside_meta(root: Path) -> None:
    """`inside` for every table."""
    for path in (root / "meta").rglob("*"):
        if path.is_symlink() or not path.is_dir():
            inside(root, path.relative_to(root).as_posix())


def load_layout(root: Path) -> Layout:
    """Reads every table below meta/; raises SmolkitError naming the file that is absent or damaged."""
    inside_meta(root)
    settle(root)
    info = load_info(root)
    tables = _tables_v3 if info.version >= (3, 0) else _tables_v2
    episodes, tasks = tables(root, info) if info.total_episodes else ([], [])
    _check(root, info, episodes)
    return Layout(root, info, tuple(episodes), tuple(tasks))


def _tables_v3(root: Path, info: Info) -> tuple[list[Episode], list[str]]:
    rows: list[Episode] = []
    for path in episode_files(root):
        rows.extend(episode_v3(info, row, path) for row in episode_rows(path)
                    if _episode_index(row, path) < info.total_episodes)
    return sorted(rows, key=lambda episode: episode.index), read_tasks(root)


def _episode_index(row: dict[str, Any], path: Path) -> int:
    try:
        return whole("episode_index", row["episode_index"])
    except (KeyError, ValueError, OverflowError) as error:
        raise damaged(path, f"no column of episode_index: {error}") from error


def episode_files(root: Path) -> list[Path]:
    """All files of the episodes table, in the order of their numbers (file-1000 after file-999)."""
    found = list((root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not found:
        raise missing(root / "meta/episodes/chunk-000/file-000.parquet")
    return sorted(found, key=numbers)


def numbers(path: Path) -> tuple[int, ...]:
    """The (chunk, file) numbers of .../chunk-000/file-003.parquet."""
    return tuple(int(n) for part in path.parts[-2:] for n in re.findall(r"\d+", part)[:1])


def episode_rows(path: Path) -> list[dict[str, Any]]:
    """The table without its statistics, which are most of its columns."""
    names = open_table(path).schema_arrow.names
    return read_table(path, [name for name in names if not name.startswith("stats/")]).to_pylist()


def episode_v3(info: Info, row: dict[str, Any], path: Path) -> Episode:
    """One row of the episodes table; SK404 naming the episode where it can not be."""
    try:
        videos = {key: _span(info, key, row) for key in info.video_keys}
        data = info.data_file(_index(row, "data/chunk_index"), _index(row, "data/file_index"))
        return Episode(_index(row, "episode_index"), _index(row, "length"), _texts(row["tasks"]),
                       _index(row, "dataset_from_index"), data, videos)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(path, f"episode {row.get('episode_index')}: {type(error).__name__} {error}") from error


def _texts(tasks: Any) -> tuple[str, ...]:
    if isinstance(tasks, str) or not all(isinstance(task, str) for task in tasks):
        raise TypeError(f"tasks {str(tasks)[:80]}, not a list of texts")
    return tuple(tasks)


def _index(row: dict[str, Any], name: str) -> int:
    """A column of integers: a float there (2.0) says that something rewrote the table."""
    if not isinstance(row[name], int):
        raise TypeError(f"{name} is {row[name]!r}, not an integer")
    return whole(name, row[name])


def _span(info: Info, key: str, row: dict[str, Any]) -> VideoSpan:
    chunk, number = _index(row, f"videos/{key}/chunk_index"), _index(row, f"videos/{key}/file_index")
    from_s, to_s = (float(row[f"videos/{key}/{end}_timestamp"]) for end in ("from", "to"))
    if not 0 <= from_s <= to_s < LONGEST_S:              # nan fails every comparison
        raise ValueError(f"{key} is shown from {from_s} s to {to_s} s")
    return VideoSpan(info.video_file(key, chunk, number), from_s, to_s, chunk, number)


def read_tasks(root: Path) -> list[str]:
    """Task texts by task_index; the text is whatever string column there is (its name differs by release)."""
    path = root / TASKS_PATH
    footer = open_table(path).metadata
    rows = sum(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    if rows > MOST_TASKS:
        raise damaged(path, f"{rows:,} tasks, more than {MOST_TASKS:,}")
    table = read_table(path)
    texts = [name for name in table.column_names if _is_text(table.schema.field(name).type)]
    if len(texts) != 1 or "task_index" not in table.column_names:
        raise damaged(path, f"columns {table.column_names}, not task_index and one text")
    pairs = list(zip(table.column("task_index").to_pylist(), table.column(texts[0]).to_pylist(), strict=True))
    if not all(isinstance(index, int) and isinstance(text, str) for index, text in pairs):
        raise damaged(path, "a row without a number or without a text")
    return _by_index(path, dict(pairs))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _by_index(path: Path, tasks: dict[int, str]) -> list[str]:
    if set(tasks) != set(range(len(tasks))):
        raise damaged(path, f"task indices {list(tasks)[:9]}, not 0..{len(tasks) - 1}")
    return [tasks[index] for index in range(len(tasks))]


def _tables_v2(root: Path, info: Info) -> tuple[list[Episode], list[str]]:
    path = root / "meta/episodes.jsonl"
    episodes, start = [], 0
    rows = json_lines(path, "episode_index", "length")
    for row in sorted(rows, key=lambda row: _episode_index(row, path)):
        episodes.append(episode_v2(info, row, path, start))
        start += episodes[-1].length
    return episodes, read_tasks_v2(root)


def read_tasks_v2(root: Path) -> list[str]:
    """Task texts by task_index."""
    path = root / "meta/tasks.jsonl"
    try:
        tasks = {whole("task_index", row["task_index"]): str(row["task"])
                 for row in json_lines(path, "task_index", "task")}
    except (ValueError, OverflowError) as error:
        raise damaged(path, str(error)) from error
    return _by_index(path, tasks)


def episode_v2(info: Info, row: dict[str, Any], path: Path, start: int) -> Episode:
    """v2.x has one file per episode and camera, so each span begins at 0 s."""
    try:
        index, length = whole("episode_index", row["episode_index"]), whole("length", row["length"])
        chunk = index // info.chunks_size
        videos = {key: VideoSpan(info.video_file(key, chunk, 0, index), 0.0, length / info.fps, chunk, index)
                  for key in info.video_keys}
        return Episode(index, length, _texts(row.get("tasks", ())), start, info.data_file(chunk, 0, index), videos)
    except (TypeError, ValueError, OverflowError) as error:
        raise damaged(path, f"episode {row.get('episode_index')}: {type(error).__name__} {error}") from error


def json_lines(path: Path, *needed: str) -> list[dict[str, Any]]:
    """One JSON object per line, each with these keys; SK403, SK404 otherwise."""
    try:
        rows: list[Any] = [json.loads(line) for line in read_bytes(path).decode().splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"no valid JSON lines: {error}") from error
    if not all(isinstance(row, dict) and all(key in row for key in needed) for row in rows):
        raise damaged(path, f"a line without {' and '.join(needed)}")
    return rows


def _check(root: Path, info: Info, episodes: list[Episode]) -> None:
    """The table must hold each episode once, end to end, and agree with info.json."""
    start = 0
    for place, episode in enumerate(episodes):
        if (episode.index, episode.from_index) != (place, start):
            raise _disagree(root, f"episode {place} from row {start}",
                            f"episode {episode.index} from row {episode.from_index}")
        start = episode.to_index
    if (len(episodes), start) != (info.total_episodes, info.total_frames):
        raise _disagree(root, f"{info.total_episodes} episodes, {info.total_frames} frames (info.json)",
                        f"{len(episodes)} episodes, {start} frames")


def _disagree(root: Path, expected: str, found: str) -> SmolkitError:
    return SmolkitError("SK406", f"in the episodes table of {root}: {expected}", found,
                        "files of two recordings were mixed, or an edit broke off",
                        "copy the whole dataset again")
