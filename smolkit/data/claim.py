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

Whoever gets the claim after a kill completes what the killed writer had decided on, and says so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from smolkit.data.files import JOURNAL, PENDING, complete, decided_here, write_failure
from smolkit.lock import locked, owner, signed, still_there
from smolkit.report import SmolkitError

CLAIM_NAME = ".recording.lock"                     # holds the writer's process id; LeRobot looks at no such name


class Claim(AbstractContextManager):
    """The right to write into `root`, until `release` or the process's end. Errors: SK417 somebody else has it."""

    def __init__(self, root: Path):
        self._root, self._path = root, root / CLAIM_NAME
        self._file = self._open()
        while not still_there(self._file, self._path):         # the one before us removed it between our two steps
            self._file.close()
            self._file = self._open()
        killed = self._file.read(20).strip()       # who ends well removes the file
        self._file.seek(0)
        signed(self._file)
        with self.kept_if_fine():
            try:
                repaired = complete(root)
            except OSError as error:
                raise write_failure(root, error) from error
        if killed.isdigit():
            repaired.insert(0, f"process {killed} was killed here: an episode that was not saved is lost")
        if repaired:
            warnings.warn(f"{root}: {'; '.join(repaired)}", RuntimeWarning, stacklevel=3)

    def release(self) -> None:
        """Lets the next one write, and removes the file; releasing twice is fine."""
        if self._file.closed:
            return
        with self._file, suppress(OSError):
            if os.name == "nt":
                self._file.close()                 # Windows removes no open file
            if os.name == "nt" or still_there(self._file, self._path):          # else the folder was replaced
                self._path.unlink()

    @contextmanager
    def kept_if_fine(self) -> Iterator[None]:
        """Released where what happens inside fails."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> TextIOWrapper:
        try:
            file = locked(self._path)
        except OSError as error:
            raise write_failure(self._path, error) from error
        if file is not None:
            return file
        pid = owner(self._path)
        here = f"{pid}: this one" if pid == str(os.getpid()) else pid
        raise SmolkitError("SK417", f"nobody else recording into {self._root}",
                           f"this folder is being recorded by process {here}",
                           "another notebook or terminal records into it, or a cell opened it twice",
                           "end it there: recorder.close(), or Kernel > Shut Down; or record into another folder")


def settle(root: Path, writes: bool = True) -> None:
    """Before reading: completes what a killed writer had decided on in this very folder; leaves a living one alone.

    Errors: SK437 where the change came with the folder, or where one waits for whom only looks (`writes` False).
    """
    if not root.exists():
        from smolkit.data.swap import mend  # which claims folders: it comes after this module
        mend(root)
    if (root / PENDING / JOURNAL).is_file():
        try:
            with suppress(FileNotFoundError):      # a living one has just completed it
                if not (writes and decided_here(root)):
                    raise _unfinished(root)
                Claim(root).release()
        except SmolkitError as error:
            if error.code not in ("SK403", "SK417"):
                raise


def _unfinished(root: Path) -> SmolkitError:
    return SmolkitError("SK437", f"no change under way in {root}", f"one that was decided on: {root / PENDING}",
                        "its writer was killed or is writing now; or the folder was copied, or comes from a stranger",
                        "if you trust it: DatasetWriter.resume(root).finalize() completes the change")


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
    return root.is_dir() and any(path.name not in (CLAIM_NAME, PENDING) for path in root.iterdir())


def _not_empty(root: Path) -> SmolkitError:
    return SmolkitError("SK410", f"no dataset yet in {root}", "a folder with files",
                        "an earlier recording has the same name",
                        "take another folder, or continue it with DatasetWriter.resume(root)")

