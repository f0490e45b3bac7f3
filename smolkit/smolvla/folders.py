"""A policy's folder, replaced whole: written beside it, then swapped; what others put into it stays.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "policy"
    >>> for number in (1, 2):
    ...     with replacing(folder) as draft:
    ...         _ = (draft / "config.json").write_text('{"type": "smolvla"}')
    ...     _ = (folder / f"note {number}.txt").write_text("mine")
    >>> sorted(path.name for path in folder.iterdir())
    ['config.json', 'note 1.txt', 'note 2.txt']

A crash or a power cut leaves the old policy or the new one, whole: the draft is on the disk before the old folder
steps aside, and that is deleted last, when everything that is not a policy's own has moved along.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from smolkit.data.files import sync_folder
from smolkit.report import SmolkitError
from smolkit.smolvla import hub

# What a policy consists of, by place; a save replaces these, also where the new policy has no such file.
OWN = {"": ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors", "tasks.json",
            "policy_preprocessor*", "policy_postprocessor*", "tokenizer", "vlm"),
       "vlm": hub.BACKBONE}


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A draft to write into, which then takes the folder's place. A link stays, and what it leads to is replaced.

    Errors: SK514, before anything is written, where the folder holds something else than a policy.
    """
    folder = recover(folder).resolve()
    _check_place(folder)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        _swap(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recover(folder: Path) -> Path:
    """Undoes a swap that a power cut stopped halfway: the old folder steps back."""
    place = folder.resolve()
    if not place.exists() and _old(place).exists():
        os.replace(_old(place), place)
    return folder


def replaces(folder: Path, path: Path) -> bool:
    """Would saving a policy into the folder replace this file?"""
    folder, path = folder.resolve(), path.parent.resolve() / path.name
    return folder in path.parents and _own(path.relative_to(folder).parts[0], "")


def _check_place(folder: Path) -> None:
    if folder.is_dir() and (_is_policy(folder) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise SmolkitError("SK514", "a new or empty folder, or one that holds a SmolVLA policy", str(folder),
                           "the folder is used for something else, which saving there would mix with the policy",
                           f"save into a folder of its own: {folder.name}/policy")


def _is_policy(folder: Path) -> bool:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("type") == "smolvla"
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _swap(draft: Path, folder: Path) -> None:
    """Moves the draft into place; the old folder steps aside first and is deleted last."""
    for path in (*draft.rglob("*"), draft):
        sync_folder(path)                                  # files, too: a name must not outlive its bytes
    if _old(folder).exists():
        _clear(folder)                                     # a power cut stopped an earlier save right here
    if folder.exists():
        os.replace(folder, _old(folder))
    os.replace(draft, folder)
    sync_folder(folder.parent)
    if _old(folder).exists():
        _clear(folder)


def _clear(folder: Path) -> None:
    """Deletes the old folder, when everything that is not a policy's own has moved to the new one."""
    for place in OWN:
        source = _old(folder) / place
        foreign = [] if source.is_symlink() or not source.is_dir() else list(source.iterdir())
        for entry in foreign:
            target = folder / place / entry.name
            if not _own(entry.name, place) and not os.path.lexists(target):
                target.parent.mkdir(exist_ok=True)
                os.replace(entry, target)
    for path in (folder, folder / "vlm"):
        if path.is_dir():
            sync_folder(path)
    shutil.rmtree(_old(folder), ignore_errors=True)


def _own(name: str, place: str) -> bool:
    return any(fnmatch(name, own) for own in OWN[place])


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
