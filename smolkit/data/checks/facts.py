"""What can still be read of a dataset that may be broken: its tables and its rows, and a fault for all the rest.

    facts = gather(Path("outputs/red_cube"))
    facts.episodes, facts.rows["data/chunk-000/file-000.parquet"]["action"], facts.faults

The reader stops at the first fault, because nobody should learn from half a recording. A check goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolkit.data.claim import settle
from smolkit.data.columns import Columns, open_table, read_columns
from smolkit.data.layout import (
    Episode,
    episode_files,
    episode_rows,
    episode_v2,
    episode_v3,
    inside,
    inside_meta,
    json_lines,
    numbers,
    read_tasks,
    read_tasks_v2,
)
from smolkit.data.schema import Feature, Info, load_info
from smolkit.report import SmolkitError

HERE = "this row is in"            # a name that no column of the episodes table has
_CODES = {"SK403": "SK451", "SK405": "SK450"}      # a file that is absent, a path that leaves the folder


@dataclass(frozen=True)
class Fault:
    """What one rule found, or (a remark) what is no fault and yet somebody should know."""

    code: str
    found: str
    remark: bool = False


Faults = Iterator[Fault]


@dataclass
class Facts:
    """All that could be read, and what was found while reading it."""

    root: Path
    info: Info
    raw: list[dict[str, Any]] = field(default_factory=list)        # the episodes table as it stands, no statistics
    episodes: list[Episode] = field(default_factory=list)          # those of its rows that can be understood
    tasks: list[str] | None = None
    rows: dict[str, Columns] = field(default_factory=dict)         # data file -> its columns of numbers
    levels: dict[str, np.ndarray] = field(default_factory=dict)    # camera -> (3, 256) counts of the decoded pictures
    faults: list[Fault] = field(default_factory=list)

    @property
    def v3(self) -> bool:
        return self.info.version >= (3, 0)

    def stored(self) -> dict[str, Feature]:
        """The features that are columns of numbers."""
        return {key: feature for key, feature in self.info.features.items() if feature.is_number}

    def by_file(self) -> dict[str, list[Episode]]:
        """Data file -> its episodes."""
        files: dict[str, list[Episode]] = defaultdict(list)
        for episode in self.episodes:
            files[episode.data_file].append(episode)
        return files

    def short(self, text: object) -> str:
        """A path or a sentence with one, without the folder's own."""
        return str(text).replace(f"{self.root}/", "").replace(f"{self.root}\\", "")

    def parts(self, *names: str) -> Iterator[tuple[Episode, list[np.ndarray]]]:
        """Each episode with its rows (T, ...) of these columns, where its file holds just its episodes' rows."""
        by_file = self.by_file()
        for file, columns in self.rows.items():
            here = by_file[file]
            if set(names) <= set(columns) and count(columns) == sum(episode.length for episode in here):
                ends = np.cumsum([0, *(episode.length for episode in here)])
                for place, episode in enumerate(here):
                    yield episode, [columns[name][ends[place]:ends[place + 1]] for name in names]

    def everything(self) -> Columns:
        """The columns that every data file has, end to end; {} where one is missing."""
        files = {episode.data_file for episode in self.episodes}
        if not self.rows or set(self.rows) != files:
            return {}
        common = set.intersection(*(set(columns) for columns in self.rows.values()))
        return {key: np.concatenate([columns[key] for columns in self.rows.values()])
                for key in self.stored() if key in common}

    def attempt(self, code: str, what: Callable, *arguments: Any) -> Any:
        """The result of a reading function, or None and a fault of this code."""
        try:
            return what(*arguments)
        except SmolkitError as error:
            self.faults.append(Fault(_CODES.get(error.code, code), self.short(f"{error.expected}: {error.found}")))
            return None


def gather(root: Path) -> Facts:
    """Reads the tables and the rows file by file.

    Raises SK401 to SK405 for meta/info.json, and for what is no file in meta/, or leads out of the folder; SK437
    where a change waits to be completed, for a check writes nothing.
    """
    inside_meta(root)
    settle(root, writes=False)
    facts = Facts(root, load_info(root))
    if facts.info.total_episodes or (root / "meta/episodes").exists() or (root / "meta/episodes.jsonl").exists():
        (_tables_v3 if facts.v3 else _tables_v2)(facts)
    for file in dict.fromkeys(episode.data_file for episode in facts.episodes):
        columns = _columns(facts, file)
        if columns:
            facts.rows[file] = columns
    return facts


def _tables_v3(facts: Facts) -> None:
    for path in facts.attempt("SK453", episode_files, facts.root) or ():
        for row in facts.attempt("SK453", episode_rows, path) or ():
            facts.raw.append({**row, HERE: numbers(path)})
            episode = facts.attempt("SK454", episode_v3, facts.info, row, path)
            facts.episodes += [episode] if episode else []
    facts.episodes.sort(key=lambda episode: episode.index)
    facts.tasks = facts.attempt("SK457", read_tasks, facts.root)


def _tables_v2(facts: Facts) -> None:
    path, start = facts.root / "meta/episodes.jsonl", 0
    facts.raw = facts.attempt("SK453", json_lines, path, "episode_index", "length") or []
    for row in facts.raw:
        episode = facts.attempt("SK454", episode_v2, facts.info, row, path, start)
        if episode:
            facts.episodes.append(episode)
            start = episode.to_index
    facts.tasks = facts.attempt("SK457", read_tasks_v2, facts.root)


def _columns(facts: Facts, name: str) -> Columns:
    """The columns of numbers that can be read, each by itself; the others become faults."""
    path = facts.root / name
    file = facts.attempt("SK453", inside, facts.root, name) and facts.attempt("SK453", open_table, path)
    if file is None:
        return {}
    schema, features = file.schema_arrow, facts.info.features
    written = {key for key, feature in features.items() if not feature.is_video and feature.dtype != "language"}
    faults = [f"no column {key!r}" for key in sorted(written - set(schema.names))]
    faults += [f"a column {key!r} that info.json does not know" for key in schema.names
               if key not in features and not key.startswith("__index")]
    columns: Columns = {}
    for key, feature in ((key, feature) for key, feature in facts.stored().items() if key in schema.names):
        kind = _leaf(schema.field(key).type)
        if kind != pa.from_numpy_dtype(np.dtype(feature.dtype)):
            faults.append(f"{key} is {kind}, info.json says {feature.dtype}")
        columns |= facts.attempt("SK460", read_columns, path, {key: feature}) or {}
    facts.faults += [Fault("SK460", f"{name}: {fault}") for fault in faults]
    return columns


def _leaf(kind: pa.DataType) -> pa.DataType:
    """The type of a nested column's numbers."""
    while isinstance(kind, pa.BaseExtensionType) or (pa.types.is_nested(kind) and kind.num_fields == 1):
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.field(0).type
    return kind


def count(columns: Columns) -> int:
    """How many rows."""
    return len(next(iter(columns.values())))


def some(numbers_found: Sequence[Any], most: int = 5) -> str:
    """1, 2, 3, ... without flooding a line."""
    return ", ".join(str(one) for one in numbers_found[:most]) + (", ..." if len(numbers_found) > most else "")
