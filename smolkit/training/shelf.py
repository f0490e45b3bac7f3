"""Tensors by key, in memory or in a folder, up to a limit: a damaged or a foreign one is never given out.

    >>> shelf = Shelf(limit_bytes=100)
    >>> shelf.put("a", torch.ones(20)), shelf.put("b", torch.zeros(20))        # 80 bytes, and 80 more: too many
    (True, False)
    >>> shelf.get("a").sum().item(), shelf.get("b")
    (20.0, None)

A full shelf keeps what it has. Training visits every frame once per epoch: throwing out the oldest would throw out
what is needed next. In a folder, entries that this run never asked for make room first, the oldest of them first.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from smolkit.training.checkpoint import writing


class Shelf:
    """Entries are never changed: a key stands for all that its tensor was made of (`feature_cache`)."""

    def __init__(self, limit_bytes: float, folder: Path | None = None):
        self.limit_bytes, self.folder = limit_bytes, folder
        self._memory: dict[str, Tensor] = {}                 # where there is no folder
        self._sizes: dict[str, int] = {}                     # key -> bytes, of entries this run uses
        self._others = _inventory(folder) if folder else {}  # key -> bytes, of all others, oldest first
        self.bytes = sum(self._others.values())
        self.full = False                                    # something was turned away

    @property
    def count(self) -> int:
        """How many entries this run has used or made."""
        return len(self._sizes)

    def get(self, key: str) -> Tensor | None:
        """The tensor of that key; None if there is none, or what lies there is not it."""
        if self.folder is None:
            return self._memory.get(key)
        found = _read(self._path(key), key)
        if found is not None and key in self._others:
            self._sizes[key] = self._others.pop(key)
        return found

    def put(self, key: str, tensor: Tensor) -> bool:
        """Keeps a tensor if there is room. Errors: SK609 when the disk is full or can't be written."""
        tensor = tensor.detach().cpu().contiguous()
        packed = None if self.folder is None else _pack(key, tensor)
        size = tensor.nbytes if packed is None else len(packed)
        self._forget(key)
        if not self._make_room(size):
            self.full = True
            return False
        if packed is None:
            self._memory[key] = tensor
        else:
            _write(self._path(key), packed)
        self._sizes[key] = size
        self.bytes += size
        return True

    def _make_room(self, size: int) -> bool:
        """Deletes entries that this run never asked for, as long as `size` bytes do not fit; none if it is no use."""
        if sum(self._sizes.values()) + size > self.limit_bytes:
            return False
        while self.bytes + size > self.limit_bytes:
            oldest = next(iter(self._others))
            self._path(oldest).unlink(missing_ok=True)
            self._forget(oldest)
        return True

    def _forget(self, key: str) -> None:
        """Its bytes no longer count."""
        self.bytes -= self._sizes.pop(key, 0) + self._others.pop(key, 0)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def _inventory(folder: Path) -> dict[str, int]:
    """Key -> bytes of what lies in the folder, oldest first."""
    known = {path.stem: path.stat() for path in folder.glob("*/*.safetensors")}
    return {key: stat.st_size for key, stat in sorted(known.items(), key=lambda item: item[1].st_mtime)}


def _pack(key: str, tensor: Tensor) -> bytes:
    return save({"entry": tensor, "seal": _seal(key, tensor)})


def _read(path: Path, key: str) -> Tensor | None:
    """The entry in that file, if it is whole and of that key."""
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError):
        return None
    whole = tensors.keys() == {"entry", "seal"} and torch.equal(tensors["seal"], _seal(key, tensors["entry"]))
    return tensors["entry"] if whole else None


def _seal(key: str, tensor: Tensor) -> Tensor:
    """Ties a tensor to its key: bytes that were cut, flipped or taken from another entry have another seal."""
    digest = hashlib.sha256(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.flatten().view(torch.uint8).numpy())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _write(path: Path, content: bytes) -> None:
    """In one move; no flush to the disk, for an entry that a power cut spoils fails its seal and is made again."""
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.writing")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        os.replace(fresh, path)
