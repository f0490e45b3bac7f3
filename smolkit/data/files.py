"""Files that are either whole or absent: staged beside their place, synced, then renamed all together.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with Transaction(root) as change:
    ...     change.write("meta/info.json", b"{}")
    ...     change.write("data/rows.bin", b"123")
    >>> sorted(p.name for p in root.rglob("*") if p.is_file())
    ['info.json', 'rows.bin']

A full disk shows itself while staging, when nothing old has been touched yet; a rename needs no space.
The files appear in the order in which they were written, so the last one is the point of commitment.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from smolkit.report import SmolkitError

STAGED_SUFFIX = ".staged"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Transaction:
    """Stages files under `root`; leaving the `with` block renames them, an exception removes them."""

    def __init__(self, root: Path):
        self.root = root
        self.committing = False
        self._staged: list[tuple[Path, Path]] = []       # (staged file, its place), in order

    def write(self, relative: str, content: bytes) -> None:
        """Puts the content of `root/relative` on the disk, under a temporary name."""
        place = self.root / relative
        staged = place.with_name(place.name + STAGED_SUFFIX)
        self._staged.append((staged, place))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_synced(staged, content)
        except OSError as error:
            raise write_failure(place, error) from error

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def commit(self) -> None:
        """Renames every staged file; a Ctrl-C that arrives meanwhile waits until the set is whole."""
        self.committing = True
        try:
            self._rename_all()
        except OSError as error:
            raise write_failure(self.root, error) from error
        except BaseException:
            self._rename_all()
            raise

    def discard(self) -> None:
        for staged, _ in self._staged:
            with suppress(OSError):                # the disk may be gone: what brought us here tells it better
                staged.unlink()
        self._staged.clear()

    def _rename_all(self) -> None:
        while self._staged:
            staged, place = self._staged[0]
            if staged.exists():
                os.replace(staged, place)
                sync_folder(place.parent)
            self._staged.pop(0)


def write_synced(path: Path, content: bytes) -> None:
    """Writes and waits until the bytes are on the disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut; Windows has no such call and needs none."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_failure(path: Path, error: OSError) -> SmolkitError:
    """The teaching form of an error while writing; a full disk gets its own words."""
    if error.errno in _FULL:
        found = f"{error.strerror} (errno {error.errno})"
        return SmolkitError("SK407", f"room on the disk for {path}", found,
                            "the disk, the quota or the file size limit is exhausted",
                            "free some space, then call save_episode() again: earlier episodes are safe")
    return SmolkitError("SK407", f"to write {path}", str(error),
                        "the folder is read-only, gone, unplugged, or on a network drive without file locks",
                        "check the path and its permissions")


def read_bytes(path: Path) -> bytes:
    """The file's content, or an error that names the file."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise damaged(path, str(error)) from error


def missing(path: Path) -> SmolkitError:
    """SK403: the file is not there."""
    return SmolkitError("SK403", f"the file {path}", "no such file",
                        "the dataset was copied or downloaded only in part",
                        "copy it again, or download the missing file")


def damaged(path: Path, found: str) -> SmolkitError:
    """SK404: the file is there, but what is in it can't be read."""
    return SmolkitError("SK404", f"a readable file {path}", found,
                        "the file is truncated: its writer was killed, or a copy broke off",
                        "copy it again from where it is whole")
