"""Copies that are whole or not there: to a folder or a USB stick, and back, compared by their sums.

    copy_whole({"meta/info.json": source / "meta/info.json"}, Path("/media/stick/cube"))

A copy grows under another name (`.cube.part`) beside its place, each file synced and compared with its original; it
gets its name as the last step. A stick pulled out in the middle leaves only the other name; the same call goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from smolkit.data.bundle import SUMS, faults, listed, sha256
from smolkit.data.files import sync_folder, write_synced
from smolkit.data.schema import check_relative
from smolkit.report import Check, Report, SmolkitError


def copy_whole(files: Mapping[str, Path | bytes], place: Path, sums: bool = True) -> Path:
    """Copies `files` (path below `place` -> path or content) and, if `sums`, their SHA256SUMS; returns `place`.

    A `place` with the same content is fine. Errors: SK498 another content there; a disk that is full, gone, or gives
    back other bytes.
    """
    part, wanted = place.with_name(f".{place.name}.part"), {}
    try:
        for name, source in files.items():
            digest = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256(source)
            wanted[check_relative(name)] = digest
            if not place.exists():
                _copy(source, part / name, digest)
        if place.exists():
            return _same(place, wanted)
        for left in part.rglob("*"):                       # of an earlier try with other contents
            if left.is_file() and left.relative_to(part).as_posix() not in wanted:
                left.unlink()
        if sums:
            write_synced(part / SUMS, "".join(f"{digest}  {name}\n" for name, digest in wanted.items()).encode())
        os.replace(part, place)
        sync_folder(place.parent)
    except OSError as error:
        raise SmolkitError("SK498", f"a whole copy in {place}", str(error), "the stick was pulled out, or it is full",
                           "mend that and run the same command again: what arrived is kept") from error
    return place


def _copy(source: Path | bytes, place: Path, wanted: str) -> None:
    if place.is_file() and sha256(place) == wanted:
        return                                             # it arrived before the break
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "wb") as new:
        if isinstance(source, bytes):
            new.write(source)
        else:
            with open(source, "rb") as old:
                shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())
    if sha256(place) != wanted:
        raise OSError(f"{place.name} reads back with other bytes than were written")


def _same(place: Path, wanted: Mapping[str, str]) -> Path:
    if all((place / name).is_file() and sha256(place / name) == digest for name, digest in wanted.items()):
        return place
    raise SmolkitError("SK498", f"nothing yet in {place}", "a folder with something else",
                       "an earlier copy, or another dataset of that name", "choose another name, or move it away")


def verify(folder: Path) -> Report:
    """Is a copy or a bundle as it was made? SK498 for all that is not."""
    wrong = faults(folder)
    found = f"{len(wrong)} others: {'; '.join(wrong[:5])}" if wrong else f"{len(listed(folder))} as they were copied"
    return Report(f"{folder.name}: each file against {SUMS}", (Check(
        "SK498", "files", not wrong, "all as they were copied", found,
        "the stick is failing, or somebody changed the copy",
        f"make it anew; if you changed it yourself, remove its {SUMS}"),))
