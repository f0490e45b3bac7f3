"""Files that change all together or not at all: prepared aside, synced, noted in a journal, then renamed.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with Transaction(root, "saved two files") as change:
    ...     change.write("meta/info.json", b"{}")
    ...     change.write("data/rows.bin", b"123")
    >>> sorted(p.name for p in root.rglob("*") if p.is_file())
    ['info.json', 'rows.bin']
    >>> complete(root)                             # nothing was left undone
    []

A full disk shows itself while the files are prepared, when nothing old has been touched yet; a rename needs no
space. The journal is the point of decision: a change that was killed before it leaves no trace, one that was
killed after it is completed by whoever opens the folder next, unless the folder was copied or came from elsewhere:
then by its next writer.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from smolkit.report import SmolkitError

PENDING, JOURNAL = ".pending", "journal.json"     # a change that is being prepared: a folder in the dataset's root
LONGEST = 200                              # characters that an error repeats of what a journal says
MOST_BYTES = 2**28                         # of a JSON file; as objects it takes several times as much memory
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Transaction:
    """Prepares files for `root`; leaving the `with` block puts them in place, an exception removes them.

    `what` says in words what the change does, for who completes it after a kill. Errors: SK407.
    """

    def __init__(self, root: Path, what: str = "a change"):
        self.root, self.what = root, what
        self.committing = False                    # from here on only `complete` knows how much has happened
        self._places: list[str] = []               # where file 0, 1, ... of the pending folder belongs
        self._removed: list[str] = []

    def write(self, relative: str, content: bytes) -> None:
        """The content of `root/relative`."""
        staged = self.stage(relative)
        try:
            staged.write_bytes(content)
        except OSError as error:
            raise write_failure(self.root / relative, error) from error

    def stage(self, relative: str) -> Path:
        """A path to write to, for what is too large for memory; it becomes `root/relative`."""
        pending, place = self.root / PENDING, self.root / relative
        try:
            if not self._places:
                shutil.rmtree(pending, ignore_errors=True)
            for folder in (pending, place.parent):         # what can fail fails before the decision
                if not folder.is_dir():
                    folder.mkdir(parents=True)
                    for above in (above for above in folder.parents if above.is_relative_to(self.root)):
                        sync_folder(above)
        except OSError as error:
            raise write_failure(place, error) from error
        self._places.append(relative)
        return pending / str(len(self._places) - 1)

    def remove(self, relative: str) -> None:
        """`root/relative` goes."""
        self._removed.append(relative)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def commit(self) -> None:
        """Renames every file; a Ctrl-C that arrives meanwhile waits until the set is whole."""
        if not (self._places or self._removed):
            return
        try:
            self.decide()
            complete(self.root)
        except OSError as error:
            self.discard()
            raise write_failure(self.root, error) from error
        except BaseException:
            self.discard()
            complete(self.root)
            raise

    def decide(self) -> None:
        """Syncs what was prepared and writes the journal: from here on the change will happen."""
        pending = self.root / PENDING
        pending.mkdir(parents=True, exist_ok=True)
        for number in range(len(self._places)):
            with open(pending / str(number), "rb+") as file:
                os.fsync(file.fileno())
        journal = {"what": self.what, "places": self._places, "remove": self._removed, "here": pending.stat().st_ino}
        write_synced(pending / "journal.part", json.dumps(journal).encode())
        sync_folder(pending)
        self.committing = True
        os.replace(pending / "journal.part", pending / JOURNAL)
        sync_folder(pending)
        sync_folder(self.root)

    def discard(self) -> None:
        """Nothing happens, unless it was decided. The disk may be gone: what brought us here tells it better."""
        if not (self.root / PENDING / JOURNAL).exists():
            self.committing = False
            shutil.rmtree(self.root / PENDING, ignore_errors=True)
        self._places.clear()


def complete(root: Path) -> list[str]:
    """Completes the change that a killed writer had decided on, removes what it had not; says what it did.

    The caller holds the claim of the folder. Errors: SK437 for a journal that was not written by `Transaction`.
    """
    pending = root / PENDING
    if not pending.is_dir():
        return []
    if not (pending / JOURNAL).is_file():
        left = [path.name for path in pending.iterdir()]
        shutil.rmtree(pending)
        return [f"removed {len(left)} files of a change that had not been decided on"] if left else []
    what, places, removed, _ = _read_journal(root)
    for number, place in enumerate(places):
        if (pending / str(number)).exists():       # else it was renamed before the kill
            os.replace(pending / str(number), place)
    for place in removed:
        place.unlink(missing_ok=True)
    for folder in {place.parent for place in [*places, *removed] if place.parent.is_dir()}:
        sync_folder(folder)
    (pending / JOURNAL).unlink()
    shutil.rmtree(pending)
    return [f"completed: {what}"]


def decided_here(root: Path) -> bool:
    """Did the change that waits begin in this very folder? A copy, a download or an archive has other inodes."""
    return _read_journal(root)[3] == (root / PENDING).stat().st_ino


def _read_journal(root: Path) -> tuple[str, list[Path], list[Path], Any]:
    """A dataset may come from a stranger, and so may its journal: it names files inside the folder, no more."""
    path = root / PENDING / JOURNAL
    try:
        journal = json.loads(read_bytes(path))
        places, removed = ([root / name for name in journal[key]] for key in ("places", "remove"))
        if not path.parent.is_symlink() and all(_is_of(root, place) for place in [*places, *removed]):
            return str(journal["what"])[:LONGEST], places, removed, journal.get("here")
        found = "a path that is no file of it"
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        found = f"{type(error).__name__}: {error}"[:LONGEST]
    raise SmolkitError("SK437", f"a journal of changes inside {root}", f"{found} in {path}",
                       "the folder was made or edited by something else than smolkit",
                       f"remove the folder {path.parent}; then check the dataset")


def _is_of(root: Path, place: Path) -> bool:
    """May a change put or remove this file? Its folder was made before the journal; links do not lead out."""
    real, home = place.resolve(), root.resolve()
    inside = real.is_relative_to(home) and not real.is_relative_to(home / PENDING)
    return inside and len(os.fsencode(place.name)) < 256 and place.parent.is_dir() and not place.is_dir()


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
    """The content of a JSON file, or an error that names the file; a pipe or a device would never end."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
            raise damaged(path, f"no plain file of less than {MOST_BYTES:,} bytes")
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
