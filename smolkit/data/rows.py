"""The rows of some episodes: numbers in memory, about 100 bytes a row; texts and pictures stay in their files.

    columns = load_rows(layout, layout.episodes)
    columns["action"]                          # (N, 6) float32
    columns["observation.images.front"][7]     # the PNG of row 7, if the camera was recorded as pictures

Every file is checked against the episodes table before its rows are believed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolkit.data.columns import Columns, iter_columns, open_table, read_group
from smolkit.data.files import damaged
from smolkit.data.layout import Episode, Layout, inside
from smolkit.data.schema import Feature
from smolkit.report import SmolkitError

KEPT_BYTES = 256_000_000                  # of texts and pictures, a column: a row group or two of 100 MB files


@dataclass(frozen=True)
class Places:
    """Where each row is: row `row[i]` of the file `paths[file[i]]`."""

    paths: tuple[Path, ...]
    file: np.ndarray                      # (N,)
    row: np.ndarray                       # (N,)


class Stored(Sequence[Any]):
    """A column of texts or encoded pictures that is read when it is asked for, a row group at a time."""

    def __init__(self, key: str, feature: Feature, places: Places):
        self.key, self._feature, self._places = key, feature, places
        self._firsts: dict[Path, np.ndarray] = {}                                 # first row of each row group
        self._groups: OrderedDict[tuple[Path, int], pa.ChunkedArray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places.row)

    def __getitem__(self, place: Any) -> Any:
        """One cell for a number, a list of them for a slice."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return self._cell(self._places.paths[self._places.file[place]], int(self._places.row[place]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_groups": OrderedDict()}

    def _cell(self, path: Path, row: int) -> Any:
        if path not in self._firsts:
            footer = open_table(path).metadata
            sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
            self._firsts[path] = np.cumsum([0, *sizes])
        firsts = self._firsts[path]
        group = int(np.searchsorted(firsts, row, side="right")) - 1
        cell = self._group(path, group)[row - int(firsts[group])].as_py()
        if self._feature.is_camera and isinstance(cell, dict):                    # {"bytes": PNG, "path": its name}
            cell = cell.get("bytes")
        if not isinstance(cell, bytes if self._feature.is_camera else str):
            raise damaged(path, f"no {self._feature.dtype} in row {row} of {self.key}")
        return cell

    def _group(self, path: Path, group: int) -> pa.ChunkedArray:
        if (path, group) not in self._groups:
            self._groups[path, group] = read_group(path, group, self.key)
            while len(self._groups) > 1 and sum(found.nbytes for found in self._groups.values()) > KEPT_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end((path, group))
        return self._groups[path, group]


def load_rows(layout: Layout, episodes: Sequence[Episode]) -> Columns:
    """The rows of these episodes in order. Errors: SK403..SK406, naming the file."""
    features = layout.info.features
    numbers = {key: feature for key, feature in features.items() if feature.is_number}
    starts = np.cumsum([0, *(episode.length for episode in episodes)])            # (E + 1,)
    here: dict[str, list[int]] = {}                                               # file -> places in `episodes`
    for place, episode in enumerate(episodes):
        here.setdefault(episode.data_file, []).append(place)
    for file, some in here.items():
        _check_count(inside(layout.root, file), sum(episodes[place].length for place in some))
    columns: Columns = {key: np.empty((starts[-1], *f.row_shape), f.dtype) for key, f in numbers.items()}
    of_file, of_row = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int64)
    for number, (file, some) in enumerate(here.items()):
        slots = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in some])
        of_file[slots] = number
        of_row[slots] = _fill(layout, layout.root / file, [episodes[place] for place in some], columns, slots)
    places = Places(tuple(layout.root / file for file in here), of_file, of_row)
    kept = {key: Stored(key, f, places) for key, f in features.items() if f.dtype in ("string", "image")}
    pa.default_memory_pool().release_unused()
    return {key: columns[key] if key in columns else kept[key] for key in features if key in columns or key in kept}


def _fill(layout: Layout, path: Path, episodes: Sequence[Episode], columns: Columns, slots: np.ndarray) -> np.ndarray:
    """The rows of these episodes in one file into their slots; returns which rows of the file they are."""
    mine, rows, done, passed = [episode.index for episode in episodes], np.empty(len(slots), np.int64), 0, 0
    for part in iter_columns(path, {key: layout.info.features[key] for key in columns}):
        found = np.flatnonzero(np.isin(part["episode_index"], mine))
        if done + len(found) > len(slots):
            raise _other_rows(path, episodes, len(slots), done + len(found))
        here = slice(done, done + len(found))
        rows[here] = passed + found
        for key, values in part.items():
            columns[key][slots[here]] = values[found]
        done, passed = here.stop, passed + len(part["index"])
    wanted = np.concatenate([np.arange(e.from_index, e.to_index) for e in episodes])
    owners = np.repeat(mine, [episode.length for episode in episodes])
    if done < len(slots) or not (np.array_equal(columns["index"][slots], wanted)
                                 and np.array_equal(columns["episode_index"][slots], owners)):
        raise _other_rows(path, episodes, len(slots), done)
    _check_tasks(layout, path, columns["task_index"][slots])
    return rows


def _check_count(path: Path, rows: int) -> None:
    """Before memory is taken: a broken table may promise billions of rows."""
    found = open_table(path).metadata.num_rows
    if found < rows:
        raise _other_rows(path, (), rows, found)


def _other_rows(path: Path, episodes: Sequence[Episode], wanted: int, found: int) -> SmolkitError:
    span = f" of episodes {episodes[0].index}..{episodes[-1].index} in order" if episodes else ""
    return SmolkitError("SK406", f"{wanted} rows{span} in {path}", f"{found} rows, or in another order",
                        "the file belongs to another recording, or an edit broke off", "copy the whole dataset again")


def _check_tasks(layout: Layout, path: Path, task_index: np.ndarray) -> None:
    """Python would take task -1 for the last one."""
    strange = task_index[(task_index < 0) | (task_index >= len(layout.tasks))]
    if len(strange):
        raise SmolkitError("SK406", f"task_index in 0..{len(layout.tasks) - 1} in {path}", str(strange[0]),
                           "the tasks table belongs to another recording, or was edited",
                           "copy the whole dataset again")
