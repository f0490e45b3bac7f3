"""Between the robot's units and the network's: rename, tokenise, normalise; and back.

    >>> from smolkit.smolvla.fake import tiny_stats
    >>> normalizer = Normalizer(tiny_stats(), {"STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    ...                         {"observation.state": "STATE", "action": "ACTION"})
    >>> state_deg = torch.tensor([[10.0, 20, 30, 40, 50, 60]])
    >>> back = normalizer.restore("observation.state", normalizer.apply("observation.state", state_deg))
    >>> torch.allclose(back, state_deg, atol=1e-4)
    True

A feature that should be normalised and has no statistics is an error here. LeRobot passes it through as it
is, and the arm then moves a degree where it should move fifty: the most expensive silence of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smolkit.report import SmolkitError
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.tokenizer import TaskTokenizer

EPS = 1e-8
Stats = dict[str, dict[str, Tensor]]           # feature -> statistic ("mean", "std", ...) -> tensor
NEEDED = {"MEAN_STD": ("mean", "std"), "MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"),
          "QUANTILE10": ("q10", "q90"), "IDENTITY": ()}


@dataclass(frozen=True)
class Normalizer:
    """The affine map of each feature, by its type's mode: MEAN_STD, IDENTITY, or one of a lowest and a highest."""

    stats: Stats
    modes: Mapping[str, str]                   # feature type -> mode
    types: Mapping[str, str]                   # feature -> feature type
    eps: float = EPS

    def apply(self, name: str, x: Tensor) -> Tensor:
        """Robot units -> about one."""
        mode, stats = self._mode(name), self._stats(name, x)
        if mode == "MEAN_STD":
            return (x - stats["mean"]) / (stats["std"] + self.eps)
        if mode == "IDENTITY":
            return x
        low, span = self._span(*stats.values())
        return (x - low) / span * 2 - 1

    def restore(self, name: str, x: Tensor) -> Tensor:
        """About one -> robot units: LeRobot's inverse of `apply`, which leaves out the eps of MEAN_STD."""
        mode, stats = self._mode(name), self._stats(name, x)
        if mode == "MEAN_STD":
            return x * stats["std"] + stats["mean"]
        if mode == "IDENTITY":
            return x
        low, span = self._span(*stats.values())
        return (x + 1) / 2 * span + low

    def _span(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        span = high - low
        return low, torch.where(span == 0, torch.full_like(span, self.eps), span)      # a joint that never moved

    def _mode(self, name: str) -> str:
        mode = self.modes.get(self.types.get(name, ""), "IDENTITY")
        if mode not in NEEDED:
            raise SmolkitError("SK508", f"a normalisation out of {', '.join(NEEDED)}", f"{mode} for {name}",
                               "the checkpoint was trained with a mode that SmolVLA does not use",
                               "train with MEAN_STD, SmolVLA's own")
        return mode

    def _stats(self, name: str, x: Tensor) -> dict[str, Tensor]:
        found = self.stats.get(name, {})
        missing = [key for key in NEEDED[self._mode(name)] if key not in found]
        if missing:
            raise SmolkitError("SK508", f"statistics {', '.join(missing)} of {name}", "none",
                               "the checkpoint was saved without its dataset's statistics: its actions would "
                               "be in no unit at all",
                               "give stats=..., from the dataset the policy was trained on")
        stats = {key: found[key].to(device=x.device, dtype=x.dtype) for key in NEEDED[self._mode(name)]}
        for key, value in stats.items():
            if value.ndim < 3 and value.shape[-1:] != x.shape[-1:]:            # pictures' are (3, 1, 1)
                raise SmolkitError("SK508",
                                   f"{name} of {value.shape[-1]} numbers, as the statistic {key} has",
                                   f"{x.shape[-1]} numbers", "the policy was trained on another robot",
                                   "use statistics and recordings of the same robot")
        return stats


@dataclass(frozen=True)
class Processors:
    """Everything around the network: `before` a batch goes in, `after` actions come out."""

    normalizer: Normalizer
    tokenizer: TaskTokenizer
    rename_map: dict[str, str] = field(default_factory=dict)            # dataset's name -> policy's name
    tasks: tuple[str, ...] = ()                # the instructions it learned, where somebody noted them

    def before(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch in robot units, with `task` (B sentences) -> what `SmolVLA` takes, as a new dict."""
        out = {self.rename_map.get(key, key): value for key, value in batch.items()}
        for name in (name for name in self.normalizer.types if name in out):
            out[name] = self.normalizer.apply(name, out[name])
        if "task" in out:
            tokens, mask = self.tokenizer(_sentences(out["task"]))
            device = next((x.device for x in out.values() if isinstance(x, Tensor)), "cpu")
            out["observation.language.tokens"] = tokens.to(device)                 # (B, L)
            out["observation.language.attention_mask"] = mask.to(device)           # (B, L)
        return out

    def after(self, actions: Tensor) -> Tensor:
        """Normalised actions (..., action_dim) -> robot units."""
        return self.normalizer.restore("action", actions)


def make_processors(config: SmolVLAConfig, stats: Mapping[str, Mapping[str, Any]], tokenizer_folder: Path,
                    rename_map: Mapping[str, str] | None = None, tasks: Sequence[str] = ()) -> Processors:
    """The processors of a new policy; `stats` come from the dataset it learns from, under its own names."""
    renames = dict(rename_map or {})
    tensors = {renames.get(name, name): {key: torch.as_tensor(value) for key, value in values.items()}
               for name, values in stats.items()}
    features = {**config.input_features, **config.output_features}
    normalizer = Normalizer(tensors, config.normalization_mapping,
                            {name: f.type for name, f in features.items()})
    for name in ("observation.state", "action"):
        if name in features:
            normalizer.apply(name, torch.zeros(features[name].shape))  # red now, not at the first step
    tokenizer = TaskTokenizer(tokenizer_folder, config.tokenizer_max_length, config.pad_language_to)
    return Processors(normalizer, tokenizer, renames, tuple(tasks))


def _sentences(task: str | Sequence[str]) -> list[str]:
    return [task] if isinstance(task, str) else list(task)
