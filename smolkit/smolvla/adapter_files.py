"""Adapters in PEFT's layout, as LeRobot writes and reads them: `adapter_config.json`, `adapter_model.safetensors`.

    >>> import tempfile
    >>> from smolkit.smolvla.fake import tiny_model
    >>> from smolkit.smolvla.lora import add_lora
    >>> model, folder = tiny_model(), Path(tempfile.mkdtemp())
    >>> add_lora(model, rank=4)
    >>> write(folder, model, base="lerobot/smolvla_base")
    >>> read(folder).r, read(folder).base_model_name_or_path
    (4, 'lerobot/smolvla_base')

The base's weights lie elsewhere, under `base_model_name_or_path`. PEFT knows dozens of variants of LoRA; what is not
plain LoRA is refused by name here, because an adapter that is half applied moves the arm anywhere.
Source: PEFT 0.21's `LoraConfig` and `get_peft_model_state_dict`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from smolkit.report import SmolkitError
from smolkit.smolvla.fields import misfits
from smolkit.smolvla.lora import LoRALinear, adapters, learn_adapters, put
from smolkit.smolvla.names import theirs
from smolkit.smolvla.weights import HEAD, Undrawn, WeightsFile, pour

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
UNREAD = HEAD.removesuffix("weight")           # nobody asks the word predictor: its adapter changes no action
PREFIX = "base_model.model."       # PEFT's two wrappers around the policy
A, B = ".lora_A.weight", ".lora_B.weight"
# Entries that change nothing in what a trained adapter computes, whatever they say.
HARMLESS = {"auto_mapping", "inference_mode", "megatron_core", "peft_version", "qalora_group_size", "task_type",
            "ensure_weight_tying", "layers_pattern"}
MOST = 3, 4, 16                    # LeRobot's own expression has 1, 3 and 6
PLAIN = {"peft_type": ("LORA",), "bias": ("none",), "init_lora_weights": (True, False, "gaussian")}


@dataclass(frozen=True)
class AdapterConfig:
    """What PEFT's `LoraConfig` says about plain LoRA, under its names."""

    r: int
    lora_alpha: float
    target_modules: str | list[str]          # a regular expression, or ends of names
    base_model_name_or_path: str | None = None
    revision: str | None = None              # of the base, on the Hub
    lora_dropout: float = 0.0
    use_rslora: bool = False                 # alpha / sqrt(r) in place of alpha / r
    rank_pattern: dict[str, int] = field(default_factory=dict)      # regular expression -> another r
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    modules_to_save: list[str] | None = None                        # parts that were trained whole

    def targets(self, name: str) -> bool:
        """Does a matrix (LeRobot's name) have an adapter?"""
        if self.trained_whole(name):
            return False
        if isinstance(self.target_modules, str):
            return re.fullmatch(self.target_modules, name) is not None
        return any(name == target or name.endswith(f".{target}") for target in self.target_modules)

    def trained_whole(self, name: str) -> bool:
        return any(f".{part}." in f".{name}." for part in self.modules_to_save or ())

    def rank(self, name: str) -> int:
        return _matched(self.rank_pattern, name, self.r)

    def scale(self, name: str) -> float:
        rank = self.rank(name)
        return _matched(self.alpha_pattern, name, self.lora_alpha) / (rank ** 0.5 if self.use_rslora else rank)


def read(folder: Path) -> AdapterConfig | None:
    """The adapter's configuration; None where the folder has none. SK517 for anything but plain LoRA."""
    path = folder / CONFIG
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        config = AdapterConfig(**{part.name: raw[part.name] for part in fields(AdapterConfig) if part.name in raw})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(path, "PEFT's settings of a LoRA adapter", f"{type(error).__name__}: {error}") from error
    wrong = [f"{name}: {value!r}, expected {wanted}" for name, wanted, value in misfits(config)]
    if wrong or min([config.r, *config.rank_pattern.values()], default=0) < 1:
        raise _refused(path, "PEFT's settings of a LoRA adapter", "; ".join(wrong) or f"r: {config.r}")
    _check_plain(path, raw)
    _check_patterns(path, config)
    if config.lora_dropout:
        warnings.warn(f"SK517 {path.name}: lora_dropout {config.lora_dropout} is not applied here; it matters only "
                      "if you train on", stacklevel=2)
    if not all([config.lora_alpha, *config.alpha_pattern.values()]):
        warnings.warn(f"SK517 {path.name}: lora_alpha 0 switches adapters off; what they learned does nothing",
                      stacklevel=2)
    return config


def _check_plain(path: Path, raw: Mapping[str, Any]) -> None:
    """Every entry that we do not follow must be switched off."""
    followed = {part.name for part in fields(AdapterConfig)} | HARMLESS
    odd = {key: value for key, value in raw.items() if key not in followed
           and (value not in PLAIN[key] if key in PLAIN else value not in (None, False) and value not in ([], {}))}
    if odd or "peft_type" not in raw:
        raise _refused(path, "plain LoRA", ", ".join(f"{key}: {value!r}" for key, value in odd.items()) or "no type",
                       "in LeRobot's environment: PeftModel.merge_and_unload(), then save_pretrained")


def _check_patterns(path: Path, config: AdapterConfig) -> None:
    """Regular expressions out of a foreign file: one that could run for hours is refused."""
    whole = [config.target_modules] if isinstance(config.target_modules, str) else []
    for pattern in [*whole, *config.rank_pattern, *config.alpha_pattern]:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise _refused(path, "regular expressions", f"{pattern[:200]!r}: {error}") from error
        plain = pattern.replace("(?:", "(")
        counts = len(re.findall(r"[*+?{]", plain)), plain.count("("), plain.count("|")
        if re.search(r"\)[*+?{]|\\\d", plain) or any(map(int.__gt__, counts, MOST)):
            raise _refused(path, "simple regular expressions: at most {} repetitions, {} groups (none repeated) "
                           "and {} alternatives".format(*MOST), repr(pattern[:200]),
                           "list the names of the matrices instead")


def attach(model: nn.Module, folder: Path, config: AdapterConfig, dtype: torch.dtype | None = torch.float32,
           device: str | torch.device = "cpu") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Puts the folder's adapters onto the base's weights; they alone learn, with parts that were trained whole.

    Returns (weights that came whole, weights that are not finite). SK517 where config and tensors disagree.
    """
    file = WeightsFile(folder / WEIGHTS, PREFIX)
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    wanted = {name for name in linear if config.targets(_module(name))}
    whole = {name for name in model.state_dict() if config.trained_whole(theirs(name))}
    expected = {name + end for name in wanted for end in (A, B)} | whole
    found = {name for name in file.stored if not name.startswith(UNREAD)}
    if expected != found or not found:
        _disagree(folder, sorted(expected - found), sorted(file.stored[name] for name in found - expected))
    for name in sorted(wanted):
        frozen, rank = model.get_submodule(name), config.rank(_module(name))
        file.check(name + A, (rank, frozen.in_features))       # before anything of the size that is claimed is made
        with Undrawn():
            put(model, name, LoRALinear(frozen, rank, config.scale(_module(name))))
    learn_adapters(model)
    broken = pour(model, file, sorted(found), dtype, device)
    for name in whole:
        model.get_parameter(name).requires_grad_(True)
    return tuple(sorted(whole)), broken


def write(folder: Path, model: nn.Module, base: str, whole: Iterable[str] = (), revision: str | None = None) -> None:
    """The adapters, and the parts that were trained whole, so that LeRobot and PEFT read them."""
    own, parts = model.state_dict(), adapters(model)
    ranks = {_module(name): part.lora_A.out_features for name, part in parts.items()}
    alphas = {_module(name): part.scale * part.lora_A.out_features for name, part in parts.items()}
    modules = {name.rpartition(".")[0] for name in whole}
    if both := sorted(modules & parts.keys()):
        raise SmolkitError("SK517", "a matrix that learns whole or by an adapter", f"both: {both[0]}",
                           "weights were unfrozen after add_lora", "learn_adapters(model), or merge(model) first")
    settings = {**_settings(ranks, alphas, modules), "base_model_name_or_path": base, "revision": revision}
    (folder / CONFIG).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    saved = [name for name in own if name.endswith((A, B)) or name.rpartition(".")[0] in modules]
    save_file({PREFIX + theirs(name): own[name].detach().cpu().contiguous() for name in saved}, folder / WEIGHTS,
              metadata={"format": "pt"})


def _settings(ranks: Mapping[str, int], alphas: Mapping[str, float], whole: set[str]) -> dict[str, Any]:
    """The JSON; what it leaves out PEFT takes to be off."""
    r, alpha = max(ranks.values()), max(alphas.values())
    return {"peft_type": "LORA", "task_type": None, "inference_mode": True, "r": r, "lora_alpha": alpha,
            "lora_dropout": 0.0, "bias": "none", "target_modules": sorted(ranks),
            "rank_pattern": {name: rank for name, rank in ranks.items() if rank != r},
            "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
            "modules_to_save": sorted(map(_module, whole)) or None}


def _module(name: str) -> str:
    """LeRobot's name of one of our matrices."""
    return theirs(f"{name}.").removesuffix(".")


def _matched(patterns: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """PEFT's rule: the first pattern that the end of the name matches."""
    return next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name)), otherwise)


def _disagree(folder: Path, missing: list[str], surplus: list[str]) -> None:
    found = [f"without {name}" for name in missing[:2]] + [f"with {name}" for name in surplus[:2]]
    raise _refused(folder / WEIGHTS, f"the adapters that {CONFIG} names", ", ".join(found) or "none",
                   "copy both files from the same checkpoint; the base must be a SmolVLA of this size")


def _refused(path: Path, expected: str, found: str,
             next_step: str = "copy the adapter's folder from the original again") -> SmolkitError:
    return SmolkitError("SK517", expected, f"{path}: {found}",
                        "the file was edited or cut off, or the policy was fine-tuned in another way", next_step)
