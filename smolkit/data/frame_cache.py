"""Small frames for training, decoded once and kept on the disk, mapped into memory instead of loaded.

    arrays = Dataset(root).to_arrays(size=(96, 96), cache="outputs/frames")      # decodes: minutes
    arrays = Dataset(root).to_arrays(size=(96, 96), cache="outputs/frames")      # maps a file: milliseconds

An entry is named by a digest of everything that it was made from: which frames of which files, how large, and of
every file its size, its times and its first and last bytes. So a dataset that was edited, recorded on or copied anew
finds no entry and is decoded again; an old entry can't be taken for it. The folder holds at most `MOST_BYTES`: the
entries that were used longest ago go first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smolkit.data.files import write_failure
from smolkit.data.pictures import Size, frame_shape
from smolkit.report import SmolkitError

if TYPE_CHECKING:
    from smolkit.data.reader import Dataset

MOST_BYTES = 20_000_000_000
FORMAT = 1                                # of the entries: a change of how frames are resized needs the next number
DIGESTED_BYTES = 65_536                   # at either end of each file
ROWS_AT_ONCE = 256
ABANDONED_S = 86_400.0                    # a half-written entry that is older was left by a program that died


def cached_frames(dataset: Dataset, key: str, size: Size | None, folder: Path,
                  most_bytes: int = MOST_BYTES) -> np.ndarray:
    """The camera's frames of all rows, (N, H, W, 3) uint8, read-only, on the disk.

    Errors: SK441 where they don't fit, SK407 where the folder can't be written.
    """
    feature = dataset.info.features[key]
    shape, dtype = (len(dataset), *frame_shape(feature, size)), feature.pixel_dtype
    entry = folder / f"{_digest(dataset, key, shape)}.npy"
    with suppress(OSError, ValueError):                            # absent, or damaged: then it is made anew
        found = np.load(entry, mmap_mode="r")
        if (found.shape, found.dtype) == (shape, np.dtype(dtype)):
            os.utime(entry)
            return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, int(np.prod(shape)) * np.dtype(dtype).itemsize, most_bytes)
        _write(dataset, key, size, entry, shape, dtype)
    except OSError as error:
        raise write_failure(entry, error) from error
    return np.load(entry, mmap_mode="r")


def _digest(dataset: Dataset, key: str, shape: tuple[int, ...]) -> str:
    video = dataset.info.features[key].is_video
    spans = [(e.videos[key].file, e.videos[key].from_s, e.length) if video else (e.data_file, e.from_index, e.length)
             for e in dataset.episodes]
    files = {file: _file_digest(dataset.root / file) for file, _, _ in spans}
    told = [FORMAT, key, shape, dataset.fps, spans, files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _file_digest(path: Path) -> list[int | str]:
    stat = path.stat()
    with open(path, "rb") as file:
        ends = file.read(DIGESTED_BYTES)
        file.seek(max(0, stat.st_size - DIGESTED_BYTES))
        ends += file.read()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, hashlib.sha256(ends).hexdigest()]


def _make_room(folder: Path, wanted_bytes: int, most_bytes: int) -> None:
    """Removes what was used longest ago until there is room."""
    for part in folder.glob("*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()
    entries = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime)
    used = sum(path.stat().st_size for path in entries)
    for path in entries:
        if used + wanted_bytes <= most_bytes:
            break
        used -= path.stat().st_size
        path.unlink(missing_ok=True)
    free = min(most_bytes - used, shutil.disk_usage(folder).free)
    if wanted_bytes > free:
        raise SmolkitError("SK441", f"{wanted_bytes / 1e9:.1f} GB for the frames in {folder}", f"{free / 1e9:.1f} GB",
                           "large pictures, or a small disk", "give a smaller size=, or another folder")


def _write(dataset: Dataset, key: str, size: Size | None, entry: Path, shape: tuple[int, ...], dtype: str) -> None:
    """Plain writes, not through the map: there a full disk would kill the process (SIGBUS)."""
    part = entry.with_suffix(f".{os.getpid()}.part")
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    try:
        with open(part, "wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for start in range(0, shape[0], ROWS_AT_ONCE):
                file.write(dataset.frames(key, np.arange(start, min(start + ROWS_AT_ONCE, shape[0])), size))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, entry)
    finally:
        part.unlink(missing_ok=True)
