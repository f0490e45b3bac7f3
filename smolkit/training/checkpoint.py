"""Everything a run needs to go on, written so that no kill at any moment can spoil it.

A checkpoint is a folder `checkpoints/step_0000400/`:

    model.safetensors       what learns, as trained (with the auxiliary head, if there is one)
    ema.safetensors         their average, which is what becomes the policy
    optimizer.safetensors   AdamW's moments, `<weight>/exp_avg` and so on, and torch's random state
    state.json              step, planned steps, seconds spent, threads, the learner's fingerprint, sizes of the files

Frozen weights are the base's, which the fingerprint vouches for. The folder is written under another name, flushed to
the disk and renamed: one that has the name is whole.
There is no pickle: `torch.load` runs code that a downloaded file brings along.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from smolkit.data.files import sync_folder
from smolkit.report import SmolkitError
from smolkit.training.ema import Ema
from smolkit.training.optimizer import Optimizer

TENSOR_FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors")
RANDOM = "random_state"        # torch's own, for models with dropout
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class TrainState:
    """Where a run stands: `step` steps are done of `total_steps` planned."""

    step: int
    total_steps: int
    elapsed_s: float
    threads: int
    fingerprint: str = ""         # of data and model, see `loop.Learner`


def save_checkpoint(out_dir: Path, state: TrainState, model: nn.Module, ema: Ema | None,
                    optimizer: Optimizer, keep: int) -> Path:
    """Writes one checkpoint atomically, then deletes all but the newest `keep`.

    A step that has its checkpoint keeps it: deleting it first could lose the only one.
    Errors: SK609 when the disk is full or can't be written; older checkpoints stay.
    """
    folder = out_dir / "checkpoints" / f"step_{state.step:07d}"
    if folder.exists():
        return folder
    fresh = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(fresh, ignore_errors=True)
    tensors = (learned(model), ema.weights if ema else {}, {**optimizer.tensors(), RANDOM: torch.get_rng_state()})
    try:
        with writing(folder):
            _write(fresh, tensors, state)
            os.replace(fresh, folder)
            sync_folder(folder.parent)
    except SmolkitError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for old in list_checkpoints(out_dir)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _write(fresh: Path, tensors: Sequence[Mapping[str, Tensor]], state: TrainState) -> None:
    fresh.mkdir(parents=True)
    for name, content in zip(TENSOR_FILES, tensors, strict=True):
        save_file({key: value.contiguous() for key, value in content.items()}, fresh / name)
    sizes = {name: (fresh / name).stat().st_size for name in TENSOR_FILES}
    (fresh / "state.json").write_text(json.dumps({**asdict(state), "bytes": sizes}, indent=2))
    _flush(fresh)


def learned(model: nn.Module) -> dict[str, Tensor]:
    """All of a model's state but what is frozen."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


class TensorFile(Mapping[str, Tensor]):
    """A safetensors file, opened for each tensor anew: never is all of it in memory."""

    def __init__(self, path: Path, without: str = ""):
        self.path = path
        with safe_open(path, "pt") as file:
            names = list(file.keys())
        self._names = dict.fromkeys(name for name in names if name != without)

    def __getitem__(self, name: str) -> Tensor:
        self._names[name]                                    # KeyError, as of any mapping
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def sweep_unfinished(out_dir: Path) -> None:
    """Removes checkpoints that a kill left half-written."""
    for path in (out_dir / "checkpoints").glob(".step_*.writing"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever goes wrong while files of a run are written is told as SK609."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = getattr(error, "errno", None)
        full = code in FULL_DISK or any(f"os error {number}" in str(error) for number in FULL_DISK)
        cause = "the disk is full, or a quota or file size limit is reached" if full else (
            "the folder is read-only, gone or unplugged, or the disk is full")
        raise SmolkitError("SK609", f"to write {path}", str(error), cause,
                           "free some space, then start the same command again: it resumes from the newest "
                           "checkpoint") from error


def load_checkpoint(folder: Path, model: nn.Module, ema: Ema | None, optimizer: Optimizer,
                    fingerprint: str = "") -> TrainState:
    """Restores all parts in place; nothing is touched unless everything fits.

    Errors: SK602 if the folder is damaged, SK603 if it belongs to another model, SK606 to another dataset.
    """
    state = _read_state(folder)
    try:
        weights, average, optimizing = (TensorFile(folder / name) for name in TENSOR_FILES)
        moments = TensorFile(folder / TENSOR_FILES[2], without=RANDOM)
    except (OSError, SafetensorError) as error:
        raise _damaged(folder, str(error)) from error
    _check_same_model(folder, shapes_of(learned(model)), shapes_of(weights))
    if state.fingerprint != fingerprint:
        raise SmolkitError("SK606", f"the dataset and the model of this run ({folder.parent.parent})",
                           "another dataset, other statistics, another preset, other frozen weights or another "
                           "precision",
                           "episodes were added since, the run began on another base or in another precision, or the "
                           "folder holds a run on other data",
                           "choose another output folder, or train on the dataset and from the base of this one")
    try:
        restored = {name: average[name] for name in ema.weights} if ema else {}
        _check_same_model(folder, shapes_of(ema.weights if ema else {}), shapes_of(restored))
        random_state = optimizing[RANDOM]
        torch.Generator().set_state(random_state)
        optimizer.check(moments)
    except (KeyError, RuntimeError, TypeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    model.load_state_dict(weights, strict=False)
    for name, weight in restored.items():
        ema.weights[name].copy_(weight)
    optimizer.restore(moments)         # after the weights, which masters that were not kept are taken from
    torch.set_rng_state(random_state)
    return state


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Each tensor's shape by name."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _check_same_model(folder: Path, here: dict[str, tuple[int, ...]], there: dict[str, tuple[int, ...]]) -> None:
    differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    if differing:
        name = differing[0]
        raise SmolkitError("SK603", f"a checkpoint of this model in {folder.name}",
                           f"{len(differing)} differing tensors, e.g. {name}: {there.get(name, 'absent')} there, "
                           f"{here.get(name, 'absent')} here",
                           "the model's configuration or the auxiliary loss changed since this run began",
                           "use the old settings, or another output folder for the new ones")


def list_checkpoints(out_dir: Path) -> list[Path]:
    """All whole checkpoints of a run, oldest first."""
    return sorted((out_dir / "checkpoints").glob("step_*"))


def write_atomically(path: Path, text: str) -> None:
    """Replaces a text file in one move: readers see the old one or the new one."""
    fresh = path.with_name(f".{path.name}.writing")
    with writing(path):
        fresh.write_text(text)
        os.replace(fresh, path)


def _read_state(folder: Path) -> TrainState:
    """state.json, after checking that every tensor file has the size noted there."""
    try:
        raw = json.loads((folder / "state.json").read_text())
        sizes = {name: int(raw["bytes"][name]) for name in TENSOR_FILES}
        state = TrainState(int(raw["step"]), int(raw["total_steps"]), float(raw["elapsed_s"]), int(raw["threads"]),
                           str(raw["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"state.json: {type(error).__name__} {error}") from error
    for name, size in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).exists() else 0
        if found != size:
            raise _damaged(folder, f"{name} has {found} bytes instead of {size}")
    return state


def _damaged(folder: Path, found: str) -> SmolkitError:
    return SmolkitError("SK602", f"a whole checkpoint in {folder}", found,
                        "a full disk, or a copy that was cut off",
                        f"delete {folder.name}: the run goes on from the checkpoint before it")


def _flush(folder: Path) -> None:
    """Forces the files to the disk: without it a power cut can leave a renamed but empty file."""
    for path in folder.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
