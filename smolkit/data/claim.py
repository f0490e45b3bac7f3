"""One writer for a dataset's folder, from its opening to its end, even where that end is a kill.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with Claim(root):
    ...     Claim(root)
    Traceback (most recent call last):
    ...
    smolkit.report.SmolkitError: SK417 expected nobody else recording into ...
      found: this folder is being recorded by process ...
    >>> list(root.iterdir())
    []

Two writers that do not know of each other number their episodes alike, and each takes the other's staged files for
the leftovers of a crash. The lock lies in the folder, so it also holds for a second name of the same folder.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from smolkit.data.files import write_failure
from smolkit.report import SmolkitError

try:
    import fcntl
except ImportError:                                # Windows
    fcntl = None
    import msvcrt

CLAIM_NAME = ".recording.lock"                     # holds the writer's process id; LeRobot looks at no such name
FAR = 1 << 20                                      # Windows locks bytes against readers, too: one behind the text
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)     # some network drives: nobody can be kept out there


class Claim:
    """The right to write into `root`, until `release` or the process's end. Errors: SK417 somebody else has it."""

    def __init__(self, root: Path):
        self._root, self._path = root, root / CLAIM_NAME
        self._file = self._open()
        while not self._is_there():                # the one before us removed it between our two steps
            self._file.close()
            self._file = self._open()
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Lets the next one write, and removes the file; releasing twice is fine."""
        if self._file.closed:
            return
        with self._file, suppress(OSError):
            if fcntl is None:
                self._file.close()                 # Windows removes no open file
            if fcntl is None or self._is_there():  # another one's, where the whole folder was replaced
                self._path.unlink()

    @contextmanager
    def kept_if_fine(self) -> Iterator[None]:
        """Released where what happens inside fails."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> TextIOWrapper:
        try:
            file = open(self._path, "a+", encoding="ascii")  # noqa: SIM115
        except OSError as error:
            raise write_failure(self._path, error) from error
        if _locked(file):
            return file
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        here = f"{owner}: this one" if owner == str(os.getpid()) else owner
        raise SmolkitError("SK417", f"nobody else recording into {self._root}",
                           f"this folder is being recorded by process {here}",
                           "another notebook or terminal records into it, or a cell opened it twice",
                           "end it there: recorder.close(), or Kernel > Shut Down; or record into another folder")

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False


def claim_new(root: Path) -> Claim:
    """The right to write into a folder that is empty, or not there yet; SK410 for another."""
    if root.exists() and not root.is_dir() or _holds_files(root):
        raise _not_empty(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(root, error) from error
    claim = Claim(root)
    if _holds_files(root):                         # somebody made a dataset here meanwhile
        claim.release()
        raise _not_empty(root)
    return claim


def _holds_files(root: Path) -> bool:
    return root.is_dir() and any(path.name != CLAIM_NAME for path in root.iterdir())


def _not_empty(root: Path) -> SmolkitError:
    return SmolkitError("SK410", f"no dataset yet in {root}", "a folder with files",
                        "an earlier recording has the same name",
                        "take another folder, or continue it with DatasetWriter.resume(root)")


def _locked(file: TextIOWrapper) -> bool:
    """Takes the lock, which the system frees when this process ends, however it ends."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return error.errno in NO_LOCKS
    return True
