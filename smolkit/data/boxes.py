"""What an mp4 promises in its index, before FFmpeg believes it: a few bytes can claim a billion frames.

    promised_samples(open("file-000.mp4", "rb"))                 # 300

FFmpeg takes memory and minutes for each claimed sample; a real one takes 8 bytes or more of the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_FOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4}          # where a box tells how many
MOST_BOXES = 1_000_000
LEAST_BYTES, FREE = 8, 1_000        # of a sample, its place in the index included; samples that need no proof


def check_index(file: BinaryIO) -> None:
    """ValueError where the file claims more samples than its bytes can hold."""
    size = file.seek(0, os.SEEK_END)
    promised = promised_samples(file)
    if promised > FREE + size / LEAST_BYTES:
        raise ValueError(f"{promised:,} frames in {size:,} bytes")


def promised_samples(file: BinaryIO) -> int:
    """All counts of all tracks and fragments."""
    size, total = file.seek(0, os.SEEK_END), 0
    for number, (kind, start) in enumerate(_boxes(file, 0, size)):
        if number > MOST_BOXES:
            raise ValueError(f"more than {MOST_BOXES:,} boxes")
        if kind in COUNTS:
            file.seek(start + COUNTS[kind])
            total += int.from_bytes(file.read(4), "big")
    return total


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Kind, and where the content begins; of folders what is in them, too."""
    todo = [(start, end)]
    while todo:
        start, end = todo.pop()
        while start + 8 <= end:
            file.seek(start)
            size, kind = struct.unpack(">I4s", file.read(8))
            head = 16 if size == 1 else 8
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            stop = min(end, start + size) if size >= head else end                 # 0: to the end
            yield kind, start + head
            if kind in _FOLDERS:
                todo.append((start + head, stop))
            start = stop
