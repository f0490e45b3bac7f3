"""Rows of a dataset: parquet files on one side, numpy columns on the other.

    >>> features = {"action": Feature("float32", (2,)), "index": Feature("int64", (1,))}
    >>> rows = {"action": np.ones((3, 2), np.float32), "index": np.arange(3)}
    >>> read_columns(io.BytesIO(parquet_bytes([to_table(rows, features)])), features)["action"].shape
    (3, 2)

A feature of shape [1] is a plain column (N,), a vector [n] a fixed-size list (N, n).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolkit.data.files import damaged, missing
from smolkit.data.schema import Feature

FREE_CELLS, CELLS_PER_BYTE = 1_000_000, 16     # a recorded row takes 4 bytes a cell or more, in a file a bit less
FREE_BYTES, TIMES_PACKED = 128_000_000, 50     # what a file may unpack to, whatever it promises
_UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, MemoryError, OverflowError, LookupError)

Columns = dict[str, Any]          # feature -> (N, ...) array, or a list of N strings or N encoded pictures


def open_table(source: Path | io.BytesIO) -> pq.ParquetFile:
    """The parquet file, its footer read and its size found plausible; SK403 where it is absent, SK404 otherwise."""
    if isinstance(source, Path) and not source.is_file():
        raise missing(source)
    try:
        table = pq.ParquetFile(source)
        _check_size(table.metadata, _file_bytes(source))
    except _UNREADABLE as error:
        raise damaged(_name(source), _first_line(error)) from error
    return table


def _check_size(footer: pq.FileMetaData, file_bytes: int) -> None:
    """Run-length coding and compression let a few bytes promise billions of rows."""
    chunks = _chunks(footer)
    cells, unpacked = sum(c.num_values for c in chunks), sum(c.total_uncompressed_size for c in chunks)
    if max(cells, footer.num_rows) > FREE_CELLS + CELLS_PER_BYTE * file_bytes:
        raise ValueError(f"{cells:,} cells in {file_bytes:,} bytes")
    if unpacked > FREE_BYTES + TIMES_PACKED * file_bytes:
        raise ValueError(f"{file_bytes:,} bytes that unpack to {unpacked:,}")


def read_table(source: Path | io.BytesIO, columns: Sequence[str] | None = None) -> pa.Table:
    """The parquet file's table; SK403 where it is absent, SK404 where it is damaged, or a bomb."""
    file = open_table(source)
    names = set(file.schema_arrow.names)                   # asked once: the episodes table has hundreds
    lost = [column for column in columns or () if column not in names]
    if lost:
        raise damaged(_name(source), f"no column {lost[0]!r}")
    try:
        return _read(file, columns, FREE_BYTES + TIMES_PACKED * _file_bytes(source))
    except _UNREADABLE as error:
        raise damaged(_name(source), _first_line(error)) from error


def read_group(path: Path, group: int, column: str) -> pa.ChunkedArray:
    """One column of one row group."""
    file = open_table(path)
    try:
        return _read(file, [column], FREE_BYTES + TIMES_PACKED * _file_bytes(path), [group]).column(0)
    except _UNREADABLE as error:
        raise damaged(path, _first_line(error)) from error


def _read(file: pq.ParquetFile, columns: Sequence[str] | None, most_bytes: int,
          groups: Sequence[int] | None = None) -> pa.Table:
    batches = list(_batches(file, columns, most_bytes, groups))
    return pa.Table.from_batches(batches) if batches else file.read(columns=columns)


def _batches(file: pq.ParquetFile, columns: Sequence[str] | None, most_bytes: int,
             groups: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Some rows at a time: a dictionary lets a million rows repeat one long text."""
    taken, largest = 0, max((chunk.total_uncompressed_size for chunk in _chunks(file.metadata)), default=0)
    rows = min(4096, max(8, FREE_BYTES // max(1, largest)))
    for batch in file.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False):
        taken += batch.nbytes
        if taken > most_bytes:
            raise ValueError(f"more than {most_bytes:,} bytes in its columns")
        yield batch


def _chunks(footer: pq.FileMetaData) -> list[pq.ColumnChunkMetaData]:
    return [footer.row_group(group).column(column) for group in range(footer.num_row_groups)
            for column in range(footer.num_columns)]


def _file_bytes(source: Path | io.BytesIO) -> int:
    return source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes


def _name(source: Path | io.BytesIO) -> Path:
    return source if isinstance(source, Path) else Path("(parquet in memory)")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_columns(source: Path | io.BytesIO, features: Mapping[str, Feature]) -> Columns:
    """All features that live in parquet (everything but videos and annotations) of one file."""
    stored = {key: f for key, f in features.items() if f.is_number or f.dtype in ("string", "image")}
    return _converted(source, read_table(source, list(stored)), stored)


def iter_columns(path: Path, features: Mapping[str, Feature]) -> Iterator[Columns]:
    """The same some thousand rows at a time: memory stays flat, however long the file is."""
    file = open_table(path)
    lost = [key for key in features if key not in file.schema_arrow.names]
    if lost:
        raise damaged(path, f"no column {lost[0]!r}")
    try:
        for batch in _batches(file, list(features), FREE_BYTES + TIMES_PACKED * _file_bytes(path)):
            yield _converted(path, pa.Table.from_batches([batch]), features)
    except _UNREADABLE as error:
        raise damaged(path, _first_line(error)) from error


def _converted(source: Path | io.BytesIO, table: pa.Table, features: Mapping[str, Feature]) -> Columns:
    try:
        return {key: _values(table.column(key), feature) for key, feature in features.items()}
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(_name(source), str(error)) from error


def _values(column: pa.ChunkedArray, feature: Feature) -> Any:
    if feature.dtype == "string":
        return column.to_pylist()
    if feature.dtype == "image":
        return [cell["bytes"] for cell in column.to_pylist()]
    values, shape = _flat(column.combine_chunks(), feature)
    flat = values.to_numpy(zero_copy_only=False)
    if flat.dtype.kind not in "fiub":
        raise ValueError(f"a column of {values.type}, info.json says {feature.dtype}")
    with np.errstate(invalid="ignore"):
        numbers = flat.astype(feature.dtype, copy=False)
    if numbers.dtype.kind in "iub" and not np.array_equal(numbers, flat):
        raise ValueError(f"a column of {values.type} whose values are not {feature.dtype}")
    return numbers.reshape(len(column), *shape)


def _flat(values: pa.Array, feature: Feature) -> tuple[pa.Array, tuple[int, ...]]:
    """All numbers of a column of (nested) lists, each of exactly the promised length; and the shape of a row."""
    values, nested = _storage(values), feature.shape
    for size in nested if pa.types.is_nested(values.type) else feature.row_shape:
        lengths = pc.list_value_length(values).unique().to_pylist() if pa.types.is_nested(values.type) else ["no list"]
        if values.null_count or (len(values) and lengths != [size]):
            raise ValueError(f"rows of {lengths} entries, info.json says {list(feature.shape)}")
        values = _storage(values.flatten())
    if pa.types.is_nested(values.type) or values.null_count:
        raise ValueError(f"{values.null_count} empty cells in a column of {values.type}, not {feature.dtype}")
    return values, feature.row_shape


def _storage(values: pa.Array) -> pa.Array:
    """Hugging Face's Array2D is an extension type where `datasets` is imported, nested lists elsewhere."""
    return values.storage if isinstance(values, pa.ExtensionArray) else values


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
