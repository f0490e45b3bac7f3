"""Words to numbers: a task becomes token ids, padded on the right.

    >>> tokenizer = TaskTokenizer(ASSETS, max_length=12, pad_to="max_length")
    >>> tokens, mask = tokenizer(["put the cube in the box", "stop"])
    >>> tokens.shape, mask.sum(1).tolist()                       # six words, four letters... and the newline
    (torch.Size([2, 12]), [7, 2])

Nothing is added but a newline at the end, which the policy was trained to see. A task that is too long
loses its beginning (SmolVLM2 cuts on the left), with a warning. Source: LeRobot's SmolVLA processor.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from smolkit.report import SmolkitError

ASSETS = Path(__file__).parent / "assets"
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class TaskTokenizer:
    """A folder's `tokenizer.json` with the settings that the policy's config adds."""

    def __init__(self, folder: Path, max_length: int, pad_to: str = "longest",
                 truncation_side: str | None = None):
        self.folder, self.max_length, self.pad_to = Path(folder), max_length, pad_to
        self._tokenizer = open_tokenizer(self.folder / "tokenizer.json")
        settings = _settings(self.folder)
        self.truncation_side = truncation_side or settings.get("truncation_side", "right")
        self._pad = self._id(settings.get("pad_token", "<|im_end|>"))

    def __call__(self, tasks: list[str]) -> tuple[Tensor, Tensor]:
        """Tasks (B sentences) -> ids (B, L) int64 and mask (B, L) bool, True = real."""
        encoded = [self._tokenizer.encode(with_newline(task), add_special_tokens=False) for task in tasks]
        rows = [self._cut(sentence.ids) for sentence in encoded]
        width = self.max_length if self.pad_to == "max_length" else max(map(len, rows))
        ids = torch.full((len(rows), width), self._pad)
        for row, sentence in zip(ids, rows, strict=True):
            row[:len(sentence)] = torch.tensor(sentence)
        return ids, torch.arange(width) < torch.tensor([[len(row)] for row in rows])

    def save(self, folder: Path) -> None:
        """Copies the files that it was read from; where these are gone, writes what it knows."""
        for name in FILES:
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, folder / name)
        if not (folder / "tokenizer.json").exists():
            settings = {"truncation_side": self.truncation_side, "pad_token": self._tokenizer.id_to_token(self._pad)}
            self._tokenizer.save(str(folder / "tokenizer.json"))
            (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")

    @property
    def vocabulary(self) -> int:
        return self._tokenizer.get_vocab_size()

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.max_length:
            return ids
        warnings.warn(f"SK507 the task has {len(ids)} tokens, the policy reads {self.max_length}: its "
                      f"{'beginning' if self.truncation_side == 'left' else 'end'} is cut off", stacklevel=3)
        return ids[-self.max_length:] if self.truncation_side == "left" else ids[:self.max_length]

    def _id(self, token: str | dict | None) -> int:
        name = token.get("content") if isinstance(token, dict) else token
        found = self._tokenizer.token_to_id(name) if isinstance(name, str) else None
        if found is None:
            raise SmolkitError("SK507", f"a tokenizer that knows its padding token {name}", str(self.folder),
                               "the tokenizer belongs to another model",
                               "point at the backbone's own tokenizer")
        return found


def with_newline(task: str) -> str:
    """The task with exactly the ending the policy was trained with."""
    return task if task.endswith("\n") else f"{task}\n"


def open_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json` that neither cuts off nor pads by itself. Errors: SK507."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:                     # the library raises bare Exceptions
        raise SmolkitError("SK507", "a tokenizer.json", f"{path}: {error}", "the file is missing or cut off",
                           "download the backbone's tokenizer again, or give tokenizer=FOLDER") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _settings(folder: Path) -> dict:
    """`tokenizer_config.json`; without one, what SmolVLM2's says."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return {"truncation_side": "left", "pad_token": "<|im_end|>"}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_settings(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(settings, dict) or settings.get("truncation_side", "right") not in ("left", "right"):
        raise _no_settings(path, str(settings)[:80])
    return settings


def _no_settings(path: Path, found: str) -> SmolkitError:
    return SmolkitError("SK507", "a tokenizer_config.json: an object whose truncation_side is left or right",
                        f"{path}: {found}", "the file is cut off or was edited by hand",
                        "download the backbone's tokenizer again, or give tokenizer=FOLDER")
