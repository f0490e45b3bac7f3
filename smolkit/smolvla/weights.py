"""Weights on their way from a file into a network: one tensor at a time, nothing held twice, nothing unnamed.

    >>> import tempfile
    >>> from smolkit.smolvla.checkpoint import save_checkpoint
    >>> from smolkit.smolvla.fake import tiny_policy
    >>> file = WeightsFile(save_checkpoint(tempfile.mkdtemp(), tiny_policy()) / "model.safetensors")
    >>> file.read("state_proj.bias", torch.bfloat16).dtype
    torch.bfloat16
    >>> from smolkit.smolvla.fake import tiny_model
    >>> fresh(tiny_model()).random                               # a new policy knows nothing
    ('backbone', 'expert')

The file is opened anew for each tensor: so only that tensor's pages are mapped, and a policy of 0.8 GB takes 0.8 GB
to load. Nothing of the file stays mapped, so it may be replaced while the policy lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from smolkit.report import Check, Report, SmolkitError
from smolkit.smolvla.backbone import Backbone
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.names import ours, split_statistics, theirs

FLOATS = ("F64", "F32", "F16", "BF16")
HEAD = "language.head.weight"      # the word predictor that nothing reads: kept in files, never in memory
PARTS = {"backbone": ("vision.", "language."), "expert": ("expert.", "state_proj.")}


@dataclass(frozen=True)
class LoadedWeights:
    """What a weights file held for the network, in our names."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]               # these are random
    unexpected: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    source: Path | None = None             # the file
    stamp: tuple[int, int] | None = None   # that file's size and time when it was read
    head: bool = False                     # it holds the unused `HEAD`, which a later save fetches from there
    base: str = ""                         # what an adapter calls these weights: a Hub id or a folder's name
    revision: str | None = None            # of a base on the Hub
    whole: tuple[str, ...] = ()            # came whole with an adapter, and are saved with it

    @property
    def random(self) -> tuple[str, ...]:
        """The parts that hold weights out of no file."""
        return tuple(part for part, prefixes in PARTS.items()
                     if any(name.startswith(prefixes) for name in self.missing))

    def file(self) -> WeightsFile:
        """The file, as long as it is the one that was read. Errors: SK515."""
        if self.source is None or not self.source.is_file() or stamp(self.source) != self.stamp:
            raise SmolkitError("SK515", f"{self.source}, out of which weights that are not in memory are copied",
                               "no such file, or one that was written since", "it was moved, deleted or saved anew",
                               "put it back, then do the same again")
        return WeightsFile(self.source)

    def report(self) -> Report:
        """Green when every weight was found and is a number, and every tensor of the file was used."""
        wanted = len(self.loaded) + len(self.missing)
        foreign = "the file belongs to a policy of another size, or was saved before it was complete"
        by_chance = f"; random: {', '.join(self.random)}" if self.random else ""
        new = not any(name.startswith(PARTS["expert"]) for name in self.loaded)
        return Report("weights", (
            Check("SK511", "weights found", not self.missing, f"{wanted} tensors",
                  f"{len(self.loaded)} tensors{_some(self.missing, ', without ')}{by_chance}",
                  "the policy is new: nothing was loaded into these parts" if new else foreign,
                  "load the backbone's weights before you train on it, or load a checkpoint" if new else
                  "use the config.json that was saved with these weights"),
            Check("SK512", "tensors used", not self.unexpected, "no tensor left over",
                  f"{len(self.unexpected)} left over{_some(self.unexpected, ': ')}", foreign,
                  "compare num_vlm_layers, num_expert_layers and attention_mode with the training run's"),
            Check("SK513", "weights are numbers", not self.not_finite, "finite numbers only",
                  f"{len(self.not_finite)} tensors with NaN or infinity{_some(self.not_finite, ': ')}",
                  "the training diverged before this was saved, or the file was damaged",
                  "go back to an earlier checkpoint, and train on with a smaller learning rate")))


class WeightsFile:
    """A safetensors file by our names. Opening reads its header only. prefix: what its names begin with.

    Errors: SK510 where it is no whole safetensors file, or holds one weight twice.
    """

    def __init__(self, path: Path, prefix: str = ""):
        self.path = path
        with self._open() as file:
            parts = {name: file.get_slice(name) for name in list(file.keys())}
            about = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
        weights, statistics = split_statistics({name: name for name in about})
        self.stored = {ours(name.removeprefix(prefix)): name for name in weights}      # our name -> the file's
        if len(self.stored) < len(weights):
            twice = next(name for name in sorted(weights) if name not in self.stored.values())
            raise SmolkitError("SK510", "every weight once", f"{path}: {twice} and another of that name",
                               "two checkpoints were merged into one file", "save the policy again")
        self.shapes = {name: about[at][1] for name, at in self.stored.items()}
        self.dtypes = {name: about[at][0] for name, at in self.stored.items()}
        self.statistics = {feature: {name: self._tensor(at).clone() for name, at in values.items()}
                           for feature, values in statistics.items()}

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses, before a byte is read, a weight of another shape or of something else than real numbers."""
        if self.dtypes[name] not in FLOATS:
            raise SmolkitError("SK510", f"{self.stored[name]} in one of {', '.join(FLOATS)}",
                               f"{self.dtypes[name]} in {self.path}", "the weights were quantised",
                               "use the checkpoint as it was before that")
        if self.shapes[name] != shape:
            raise SmolkitError("SK511", f"{self.stored[name]} of shape {shape}", str(self.shapes[name]),
                               "the backbone or the config is of another size",
                               "give the backbone that the checkpoint was trained with")

    def read(self, name: str, dtype: torch.dtype | None = None, device: str | torch.device = "cpu") -> Tensor:
        """A copy of the tensor in memory of its own; dtype None keeps the file's."""
        tensor = self._tensor(self.stored[name])
        return tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True)

    def _tensor(self, stored: str) -> Tensor:
        with self._open() as file:
            return file.get_tensor(stored)

    def _open(self) -> safe_open:
        try:
            return safe_open(self.path, "pt")
        except (OSError, SafetensorError) as error:
            raise SmolkitError("SK510", f"a whole {self.path.name}", f"{self.path}: {error}",
                               "the download or the copy was cut off, or the disk was full while saving",
                               "compare the file's size with the original and copy it again") from error


class Undrawn(TorchFunctionMode):
    """Draws no random numbers for weights that come from a file: torch's generator stays where it is.

    For weights without memory torch would even import its compiler first, for 3 s.
    """

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        drawn = function in (nn.init.normal_, nn.init.kaiming_uniform_)
        return kwargs["tensor"] if drawn else function(*args, **(kwargs or {}))


def empty_model(config: SmolVLAConfig, backbone: Backbone) -> SmolVLA:
    """The network without memory for its weights: they come from a file. Nothing random is ever made."""
    with torch.device("meta"), Undrawn():
        return SmolVLA(config, backbone)


def fill(model: nn.Module, file: WeightsFile, dtype: torch.dtype | None = torch.float32,
         device: str | torch.device = "cpu") -> LoadedWeights:
    """Puts the file's weights into the network; a missing one or one of another shape is an error."""
    own = model.state_dict()
    found = LoadedWeights(tuple(sorted(own.keys() & file.stored.keys())),
                          tuple(sorted(own.keys() - file.stored.keys())),
                          tuple(sorted(file.stored.keys() - own.keys() - {HEAD})), source=file.path.absolute(),
                          stamp=stamp(file.path), head=HEAD in file.stored)
    found.report().checks[0].raise_if_red()
    return replace(found, not_finite=pour(model, file, found.loaded, dtype, device))


def pour(model: nn.Module, file: WeightsFile, names: Iterable[str], dtype: torch.dtype | None = torch.float32,
         device: str | torch.device = "cpu") -> tuple[str, ...]:
    """Replaces these weights of the network by the file's; returns those that are not all finite."""
    own, names = model.state_dict(), list(names)
    for name in names:
        file.check(name, tuple(own[name].shape))
    tensors = {name: file.read(name, dtype, device) for name in names}
    model.load_state_dict(tensors, strict=False, assign=True)
    return tuple(name for name, tensor in tensors.items() if not finite(tensor))


def changed(model: nn.Module, file: WeightsFile, names: Iterable[str]) -> str | None:
    """The first of these weights that is no longer the file's, read one by one; None where all are.

    Rounding to half precision at any time since is no change, and what is not in memory is the file's.
    """
    own = {name: weight for name, weight in model.state_dict().items() if not weight.is_meta}
    return next((name for name in names if name in own and
                 (name not in file.stored or not _same(own[name], file.read(name)))), None)


def _same(own: Tensor, stored: Tensor) -> bool:
    own = own.cpu()
    return any(torch.equal(own, stored.to(kept).to(own.dtype)) for kept in (own.dtype, torch.bfloat16, torch.float16))


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and time of writing: another pair, another file."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def finite(tensor: Tensor) -> bool:
    """True where no number is NaN or infinite; the two extremes tell, ten times faster than asking each number."""
    return tensor.numel() == 0 or bool(torch.stack(tensor.aminmax()).isfinite().all())


def fresh(model: nn.Module) -> LoadedWeights:
    """Of a policy into which nothing was loaded."""
    return LoadedWeights((), tuple(sorted(model.state_dict())))


def _some(names: tuple[str, ...], lead: str) -> str:
    if not names:
        return ""
    return lead + ", ".join(theirs(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
