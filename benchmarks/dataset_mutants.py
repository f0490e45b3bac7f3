"""Mutations of a dataset's files, by a seeded generator; each says in words what it did.

    seeds = make_seeds(Path("scratch"))                     # {"v3.0": folder, "pictures": ..., "v2.1": ..., ...}
    mutate(folder, np.random.default_rng(7))                # ["a field of JSON in meta/info.json: fps = -1"]
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolkit.data.store import Limits
from tests.data.damage import as_pictures, as_v21
from tests.data.recording import new

NASTY = [None, True, False, 0, 1, -1, 2**31, 2**63 - 1, 2**64, 10**30, 10**400, 0.5, -0.0, 1e-308, 1e308, float("nan"),
         float("inf"), "", " ", "x", "0", "../../x", "/etc/passwd", "C:\\x", "a\\b", "a/b", ".", "..", "\0", "\ud800",
         "\x1b[31m", "é" * 300, "x" * 100_000, "{chunk_index}", "{0.__class__}", "{video_key:99d}", "v3.0", "v9.9", [],
         {}, [[]], [None], [1, 2], [-1], [0, 0, 0], [10**9, 10**9, 3], [2**62], {"a": 1}, {"": {}}, "float32", "video",
         "image", "int64", "string", "language", "bool", "float16", "uint8"]
BOXES = (b"stsz", b"stts", b"stsc", b"stco", b"stss", b"ctts", b"elst", b"tkhd", b"mvhd", b"mdhd", b"stsd", b"avc1",
         b"avcC", b"moov", b"trak", b"ftyp", b"mdat", b"hdlr")


def make_seeds(folder: Path) -> dict[str, Path]:
    """The healthy ones: two episodes each, one file per episode where the layout can't have less."""
    new(folder / "v3.0", [5, 6])
    new(folder / "split", [5, 6], limits=Limits(episodes=1))
    return {"v3.0": folder / "v3.0", "pictures": as_pictures(folder / "v3.0", folder / "pictures"),
            "v2.1": as_v21(folder / "split", folder / "v2.1"),
            "v2.0": as_v21(folder / "split", folder / "v2.0", "v2.0")}


def mutate(root: Path, rng: np.random.Generator) -> list[str]:
    """One mutation, sometimes two or three."""
    done: list[str] = []
    wanted = rng.choice([1, 1, 1, 2, 3])
    for _ in range(30):
        if len(done) == wanted:
            break
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        chosen = rng.choice(len(KINDS), p=WEIGHTS)
        suffixes, change = KINDS[chosen]
        fitting = [path for path in files if not suffixes or path.suffix in suffixes]
        if not fitting:
            continue
        path = fitting[rng.integers(len(fitting))]
        before = _state(root)
        try:
            said = change(path, rng, root)
        except Exception as error:                    # an earlier mutation made it unfit for this one
            said = f"(could not: {type(error).__name__})"
        if _state(root) != before:
            done.append(f"{change.__name__.replace('_', ' ')} in {path.relative_to(root).as_posix()}: {said}")
    return done


def _state(root: Path) -> dict[str, Any]:
    """What is there: a mutation that changed nothing doesn't count."""
    return {str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else os.path.lexists(path)
            for path in sorted(root.rglob("*")) if not path.is_dir()}


def one_of(rng: np.random.Generator, values: list) -> Any:
    return values[rng.integers(len(values))]


def a_field(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Of JSON: changed, removed, renamed or moved."""
    lines = path.suffix == ".jsonl"
    text = path.read_text()
    content = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    parent, key, trail = content, None, []
    while isinstance(parent, dict | list) and parent:
        key = one_of(rng, list(parent) if isinstance(parent, dict) else list(range(len(parent))))
        trail.append(str(key))
        if not isinstance(parent[key], dict | list) or not parent[key] or rng.random() < 0.35:
            break
        parent = parent[key]
    way = rng.integers(6)
    if way == 0:
        parent.pop(key)
    elif way == 1 and isinstance(parent, dict):
        parent[str(one_of(rng, NASTY))[:300]] = parent.pop(key)
    elif way == 2 and isinstance(parent[key], int | float):
        parent[key] = parent[key] + one_of(rng, [1, -1, 0.5, 1e-6, 1e6])
    elif way == 3:
        parent[key] = one_of(rng, list(parent.values()) if isinstance(parent, dict) else parent)
    else:
        parent[key] = one_of(rng, NASTY)
    said = f"{'.'.join(trail)[:80]} way {way}: {str(parent[key])[:40] if way > 1 else ''}"
    if rng.random() < 0.02:
        path.write_text("[" * 200_000)
        return "nested 200,000 deep"
    dumped = [json.dumps(row) for row in content] if lines else [json.dumps(content)]
    path.write_text("\n".join(dumped))
    return said


def a_cell(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Of parquet: one value, of its own type where it can be, else of another."""
    table = pq.ParquetFile(path).read()
    name = one_of(rng, table.column_names)
    old = table.column(name).to_pylist()
    row, value = rng.integers(len(old)), one_of(rng, NASTY)
    if rng.random() < 0.5 and isinstance(old[row], int | float):
        value = old[row] + one_of(rng, [1, -1, 2, 1e-3, 1000])
    elif isinstance(old[row], list) and old[row] and rng.random() < 0.6:
        place = rng.integers(len(old[row]))
        value = [*old[row][:place], *([] if rng.random() < 0.3 else [value]), *old[row][place + 1:]]
    elif isinstance(old[row], dict):
        value = {**old[row], "bytes": one_of(rng, [b"", None, b"x" * 1000, old[row - 1]["bytes"]])}
    old[row] = value
    try:
        array = pa.array(old, table.column(name).type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        array = pa.array([str(one) if isinstance(value, str) else value for one in old])
    pq.write_table(table.set_column(table.column_names.index(name), name, array), path)
    return f"{name}[{row}] = {str(value)[:40]}"


def a_column(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Of parquet: removed, doubled, renamed, of another type, reversed, empty or huge."""
    table = pq.ParquetFile(path).read()
    name, way = one_of(rng, table.column_names), rng.integers(9)
    place = table.column_names.index(name)
    if way == 0:
        table = table.remove_column(place)
    elif way == 1:
        new_name = str(one_of(rng, NASTY))[:99].encode("utf8", "replace").decode()
        table = table.rename_columns([new_name if n == name else n for n in table.column_names])
    elif way == 2:
        kind = one_of(rng, [pa.float64(), pa.int32(), pa.string(), pa.float16(), pa.bool_(), pa.int64()])
        table = table.set_column(place, name, table.column(name).cast(kind, safe=False))
    elif way == 3:
        table = table.set_column(place, name, table.column(name).take(pa.array(range(len(table)))[::-1]))
    elif way == 4:
        table = table.set_column(place, name, pa.nulls(len(table), table.column(name).type))
    elif way == 5:
        table = table.take(pa.array(rng.permutation(len(table))))
    elif way == 6:
        table = table.slice(0, rng.integers(len(table) + 1))
    elif way == 7:
        table = pa.concat_tables([table] * int(one_of(rng, [2, 3])))
    else:
        many = int(one_of(rng, [10**5, 10**7]))
        if many * table.num_columns > 3 * 10**7:
            table = table.select([name])
        table = table.slice(0, 1).take(pa.array(np.zeros(many, np.int64))) if table.nbytes < 10**4 else table
    pq.write_table(table, path)
    return f"{name} way {way}"


def some_bytes(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Flipped, overwritten, cut off, put in."""
    content, way = bytearray(path.read_bytes()), rng.integers(6)
    start = int(rng.integers(max(1, len(content))))
    if rng.random() < 0.4:                             # footers and headers decide how the rest is read
        start = max(0, len(content) - int(rng.integers(1, 200)))
    count = int(one_of(rng, [1, 1, 4, 16, 200]))
    if way == 0 and content:
        for place in rng.integers(len(content), size=count):
            content[place] ^= 1 << rng.integers(8)
    elif way == 1:
        content[start:start + count] = rng.bytes(count)
    elif way == 2:
        content = content[:start]
    elif way == 3:
        content[start:start] = rng.bytes(count)
    elif way == 4:
        content[start:start + count] = one_of(rng, [b"\0", b"\xff"]) * count
    else:
        content = bytearray(rng.bytes(int(rng.integers(3000))))
    path.write_bytes(content)
    return f"way {way} at {start}, {count}"


def a_file(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Removed, emptied, swapped, renamed, doubled, linked, or no file at all."""
    way = rng.integers(11)
    other = one_of(rng, [p for p in sorted(root.rglob("*")) if p.is_file()])
    if way in (0, 4, 5, 6, 7, 8):
        content = path.read_bytes()
        path.unlink()
    if way == 1:
        path.write_bytes(b"")
    elif way == 2:
        shutil.copyfile(other, path) if other != path else path.write_bytes(b"")
    elif way == 3:
        stem = one_of(rng, ["file-001", "file-000", "FILE-000", "file--1", "file-x", "info"])
        path.rename(path.with_name(stem + path.suffix))
    elif way == 4:
        path.mkdir()
    elif way == 5:
        os.mkfifo(path)
    elif way == 6:
        path.symlink_to(path)
    elif way == 7:
        path.symlink_to("/dev/zero")
    elif way == 8:
        outside = root.parent / f"outside-{path.name}"
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif way == 9:
        path.with_name(path.stem + "9" + path.suffix).write_bytes(path.read_bytes())
    elif way == 10:
        shutil.rmtree(path.parent)
    return f"way {way} with {other.name}"


def a_box(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Of an mp4: a number in one of its boxes becomes absurd."""
    content, name = bytearray(path.read_bytes()), one_of(rng, list(BOXES))
    found = content.find(name)
    if found < 0:
        return "none"
    place = found + int(one_of(rng, [-4, 4, 8, 12, 16, 20, 24, 28, 32, 36, 80, 84]))
    content[place:place + 4] = one_of(rng, [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\xff\xff", b"\x20\0\0\0",
                                            rng.bytes(4)])
    path.write_bytes(content)
    return f"{name.decode()} at {place - found}"


def a_picture(path: Path, rng: np.random.Generator, root: Path) -> str:
    """Of the rows: a PNG header that promises another size, with a right checksum, or a bomb."""
    table = pq.ParquetFile(path).read()
    names = [name for name in table.column_names if pa.types.is_struct(table.column(name).type)]
    if not names:
        return "none"
    name = one_of(rng, names)
    cells = table.column(name).to_pylist()
    row = rng.integers(len(cells))
    size = one_of(rng, [(1, 1), (2**31 - 1, 2**31 - 1), (30000, 30000), (0, 0), (48, 32), (100000, 10)])
    cells[row] = {**cells[row], "bytes": png(*size, cells[row]["bytes"])}
    column = pa.array(cells, table.column(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)
    return f"{name}[{row}] {size}"


def png(width: int, height: int, template: bytes | None = None) -> bytes:
    """A PNG that says it is so large; a few bytes that unpack to 100 MB of zeros lie in it."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rest = template[33:] if template else chunk(b"IDAT", BOMB) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + rest


BOMB = zlib.compress(bytes(10**8), 9)
PARQUET, TEXT = (".parquet",), (".json", ".jsonl")
KINDS: list[tuple[tuple[str, ...], Callable]] = [
    (TEXT, a_field), (PARQUET, a_cell), (PARQUET, a_column), ((), some_bytes), ((), a_file), ((".mp4",), a_box),
    (PARQUET, a_picture)]
WEIGHTS = [0.3, 0.2, 0.12, 0.2, 0.07, 0.09, 0.02]
