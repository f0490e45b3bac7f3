"""The parquet tables below meta/: one row per episode, one row per task.

    >>> record = EpisodeRecord(0, 3, ("push",), 0, (0, 0), {}, {"action": {"mean": np.zeros(2)}})
    >>> record.as_table((0, 0)).column_names[-3:]
    ['stats/action/mean', 'meta/episodes/chunk_index', 'meta/episodes/file_index']
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from smolkit.data.columns import parquet_bytes
from smolkit.data.layout import VideoSpan
from smolkit.data.schema import Info
from smolkit.data.stats import Stats

STATS = ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99")     # LeRobot's order
_TEXT_INDEX = "__index_level_0__"       # LeRobot looks tasks up through the pandas index
Place = tuple[int, int]                 # (chunk, file) numbers


def following(place: Place, info: Info) -> Place:
    """The place after this one.

    >>> following((0, 999), Info(fps=10, features={}))
    (1, 0)
    """
    chunk, number = place
    return (chunk + 1, 0) if number >= info.chunks_size - 1 else (chunk, number + 1)


@dataclass(frozen=True)
class EpisodeRecord:
    """One row of meta/episodes, statistics included."""

    index: int
    length: int
    tasks: tuple[str, ...]
    from_index: int
    data: Place
    videos: Mapping[str, VideoSpan]
    stats: Mapping[str, Stats]

    def as_table(self, here: Place) -> pa.Table:
        """The row as a table; `here` is the file of the episodes table in which it will stand."""
        columns = {"episode_index": pa.array([self.index]), "tasks": pa.array([list(self.tasks)]),
                   "length": pa.array([self.length]),
                   "data/chunk_index": pa.array([self.data[0]]), "data/file_index": pa.array([self.data[1]]),
                   "dataset_from_index": pa.array([self.from_index]),
                   "dataset_to_index": pa.array([self.from_index + self.length])}
        for key, span in self.videos.items():
            columns |= {f"videos/{key}/chunk_index": pa.array([span.chunk]),
                        f"videos/{key}/file_index": pa.array([span.number]),
                        f"videos/{key}/from_timestamp": pa.array([span.from_s]),
                        f"videos/{key}/to_timestamp": pa.array([span.to_s])}
        for key, stats in self.stats.items():
            names = [name for name in STATS if name in stats]
            columns |= {f"stats/{key}/{name}": _nested(stats[name]) for name in names}
        return pa.table({**columns, "meta/episodes/chunk_index": pa.array([here[0]]),
                         "meta/episodes/file_index": pa.array([here[1]])})


def _nested(value: np.ndarray) -> pa.Array:
    """One cell: (d,) -> list<double>, (3, 1, 1) -> three lists deep, count -> list<int64>."""
    kind = pa.int64() if np.issubdtype(value.dtype, np.integer) else pa.float64()
    for _ in range(value.ndim):
        kind = pa.list_(kind)
    return pa.array([value.tolist()], kind)


def episodes_bytes(rows: Sequence[pa.Table]) -> bytes:
    """The episodes table with all rows in one row group."""
    # Episodes of converted v2.1 sets have no quantiles: their cells stay empty.
    return parquet_bytes([pa.concat_tables(rows, promote_options="default").combine_chunks()])


def tasks_bytes(tasks: Sequence[str]) -> bytes:
    """meta/tasks.parquet, with the pandas index that LeRobot's reader expects."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()),
                      _TEXT_INDEX: pa.array(list(tasks), pa.string())})
    column = {"name": None, "field_name": _TEXT_INDEX, "pandas_type": "unicode", "numpy_type": "object",
              "metadata": None}
    number = {**column, "name": "task_index", "field_name": "task_index", "pandas_type": "int64",
              "numpy_type": "int64"}
    header = {**column, "field_name": None, "metadata": {"encoding": "UTF-8"}}
    pandas = {"index_columns": [_TEXT_INDEX], "column_indexes": [header], "columns": [number, column],
              "creator": {"library": "pyarrow", "version": pa.__version__}, "pandas_version": "2.2.0"}
    return parquet_bytes([table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})])
