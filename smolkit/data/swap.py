"""A folder that appears under its name when it is whole, and one that takes another's place with a way back.

    >>> import tempfile
    >>> cubes = Path(tempfile.mkdtemp()) / "cubes"
    >>> for text in ("monday", "tuesday"):
    ...     with staged(cubes, replaces=True) as new:
    ...         _ = (new / "notes.txt").write_text(text)
    >>> undo(cubes).name, (cubes / "notes.txt").read_text()
    ('cubes.undone-1', 'monday')

All happens in `.NAME.editing` beside the result: its lock keeps a second editor out, its journal tells what a kill
left undone between the two renames of a replacement. Nothing is ever deleted but what was not finished.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from smolkit.data.claim import CLAIM_NAME, Claim
from smolkit.data.files import sync_folder, write_synced
from smolkit.data.schema import read_object
from smolkit.report import SmolkitError

JOURNAL = "journal.json"


@contextmanager
def staged(out: Path, sources: Sequence[Path] = (), replaces: bool = False) -> Iterator[Path]:
    """A new empty folder that becomes `out` at the end of the block, and goes if the block fails.

    With `replaces` what is at `out` is kept as `out.backup-N`. Errors: SK410 something is there, SK417 somebody writes
    there or into a source, SK492 no room.
    """
    with _desk(out) as desk:
        new = desk / "new"
        shutil.rmtree(new, ignore_errors=True)                         # a killed edit's
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        if out.exists() and not replaces:
            raise SmolkitError("SK410", f"nothing yet at {out}", "something is there",
                               "an earlier edit has the same name", "take another name, or remove the old one")
        try:
            with ExitStack() as claims:
                for source in sources:             # one that may be read-only is not locked without need
                    if (source / CLAIM_NAME).exists() or source.resolve() == out.resolve():
                        claims.enter_context(Claim(source))
                new.mkdir()
                yield new
                _sync(new)
            _put(desk, new, out, "backup")
        except OSError as error:
            raise _no_room(out, error) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)


def undo(root: Path) -> Path:
    """Puts the newest backup back under its name; returns where the edited dataset lies now.

    Errors: SK494 without a backup, SK417 where somebody records into the dataset.
    """
    with _desk(root) as desk:
        backups = _numbered(root, "backup")
        if not backups:
            raise SmolkitError("SK494", f"a backup of {root}", "none beside it",
                               "it was not edited in its place, so what it was made from is still there",
                               "look at meta/edits.json for the source's name; remove the edited folder if you like")
        if root.exists():
            Claim(root).release()
        return _put(desk, backups[-1], root, "undone")


def mend(out: Path) -> None:
    """Takes back a replacement that was killed between its two renames: only then is nothing at `out`."""
    if (_desk_of(out) / JOURNAL).is_file():
        with suppress(SmolkitError), _desk(out):               # SK417: it is alive, and about to rename
            pass


def _take_back(out: Path, journal: Path) -> None:
    there = out.with_name(Path(str(read_object(journal).get("old"))).name)           # never outside of the parent
    if not out.exists() and there.is_dir():
        there.rename(out)
        sync_folder(out.parent)
    journal.unlink()


def _desk_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.editing")


@contextmanager
def _desk(out: Path) -> Iterator[Path]:
    """The folder to work in, ours alone."""
    desk = _desk_of(out)
    try:
        desk.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_room(out, error) from error
    try:
        with warnings.catch_warnings(action="ignore"):         # a killed edit lost nothing, whatever the claim fears
            claim = Claim(desk)
        with claim:
            if (desk / JOURNAL).is_file():
                _take_back(out, desk / JOURNAL)
            yield desk
    finally:
        with suppress(OSError):                                # somebody else is at it
            desk.rmdir()


def _put(desk: Path, new: Path, out: Path, name: str) -> Path:
    """`new` becomes `out`, and what was there goes to the next free number of that name."""
    aside = out.with_name(f"{out.name}.{name}-{len(_numbered(out, name)) + 1}")
    if out.exists():
        write_synced(desk / JOURNAL, json.dumps({"old": aside.name}).encode())
        sync_folder(desk)
        out.rename(aside)
    new.rename(out)
    sync_folder(out.parent)
    (desk / JOURNAL).unlink(missing_ok=True)
    return aside


def _numbered(out: Path, name: str) -> list[Path]:
    """out.backup-1, out.backup-2, ... as far as they go."""
    named = (out.with_name(f"{out.name}.{name}-{number}") for number in count(1))
    found = []
    for path in named:
        if not path.exists():
            return found
        found.append(path)


def _sync(root: Path) -> None:
    for path in [*root.rglob("*"), root]:
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _no_room(out: Path, error: OSError) -> SmolkitError:
    return SmolkitError("SK492", f"to write {out}", f"{error}", "the disk is full, read-only or gone",
                        "free some space and run it again: the source was not touched")
