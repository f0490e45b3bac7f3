"""Rows of a dataset: parquet files on one side, numpy columns on the other.

    >>> features = {"action": Feature("float32", (2,)), "index": Feature("int64", (1,))}
    >>> rows = {"action": np.ones((3, 2), np.float32), "index": np.arange(3)}
    >>> read_columns(io.BytesIO(parquet_bytes([to_table(rows, features)])), features)["action"].shape
    (3, 2)

A feature of shape [1] is a plain column (N,), a vector [n] a fixed-size list (N, n).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolkit.data.files import damaged, missing
from smolkit.data.schema import Feature

Columns = dict[str, Any]          # feature -> (N, ...) array, or a list of N strings or N encoded pictures


def read_table(source: Path | io.BytesIO, columns: Sequence[str] | None = None) -> pa.Table:
    """The parquet file's table; SK403 where it is absent, SK404 where it is damaged."""
    if isinstance(source, Path) and not source.is_file():
        raise missing(source)
    name = source if isinstance(source, Path) else Path("(parquet in memory)")
    try:
        table = pq.ParquetFile(source).read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise damaged(name, str(error).strip().splitlines()[0]) from error
    lost = [column for column in columns or () if column not in table.column_names]
    if lost:
        raise damaged(name, f"no column {lost[0]!r}")
    return table


def read_columns(source: Path | io.BytesIO, features: Mapping[str, Feature]) -> Columns:
    """All features that live in parquet (everything but videos and annotations) of one file."""
    stored = {key: f for key, f in features.items() if f.is_number or f.dtype in ("string", "image")}
    table = read_table(source, list(stored))
    try:
        return {key: _values(table.column(key), feature) for key, feature in stored.items()}
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(source if isinstance(source, Path) else Path("(memory)"), str(error)) from error


def _values(column: pa.ChunkedArray, feature: Feature) -> Any:
    if feature.dtype == "string":
        return column.to_pylist()
    if feature.dtype == "image":
        return [cell["bytes"] for cell in column.to_pylist()]
    values = column.combine_chunks()
    if isinstance(values, pa.ExtensionArray):        # Hugging Face's Array2D where `datasets` is imported
        values = values.storage
    while pa.types.is_nested(values.type):
        values = values.flatten()
    shape = () if feature.shape == (1,) else feature.shape
    if values.null_count:
        raise ValueError(f"{values.null_count} empty cells in a column of {feature.dtype}")
    flat = values.to_numpy(zero_copy_only=False).astype(feature.dtype, copy=False)
    return flat.reshape(len(column), *shape)


def to_table(columns: Columns, features: Mapping[str, Feature]) -> pa.Table:
    """The rows as a table; columns in the order of `features`, videos left out."""
    stored = {key: f for key, f in features.items() if not f.is_video}
    return pa.table({key: _array(columns[key], feature) for key, feature in stored.items()})


def _array(values: Any, feature: Feature) -> pa.Array:
    if feature.dtype == "string":
        return pa.array(values, pa.string())
    kind = pa.from_numpy_dtype(np.dtype(feature.dtype))
    if feature.shape == (1,):
        return pa.array(np.asarray(values), kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
    return pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])


def parquet_bytes(tables: Sequence[pa.Table]) -> bytes:
    """A whole parquet file, footer and all, with one row group per table (= per episode)."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, tables[0].schema, compression="snappy", use_dictionary=True) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()


def take(columns: Columns, mask: np.ndarray) -> Columns:
    """The rows where mask (N,) bool is true."""
    return {key: value[mask] if isinstance(value, np.ndarray)
            else [cell for cell, keep in zip(value, mask, strict=True) if keep]
            for key, value in columns.items()}


def join(parts: Sequence[Columns]) -> Columns:
    """Rows under rows."""
    return {key: np.concatenate([part[key] for part in parts]) if isinstance(parts[0][key], np.ndarray)
            else [cell for part in parts for cell in part[key]] for key in parts[0]}
