"""Checkpoints in LeRobot's layout, read and written: a folder of JSON and safetensors, nothing else.

    >>> import tempfile
    >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
    >>> policy, folder = tiny_policy(seed=3), tempfile.mkdtemp()
    >>> _ = save_checkpoint(folder, policy)
    >>> again = load_checkpoint(folder, seed=3)
    >>> seen = fake_observation()
    >>> (again.predict(seen).actions_deg == policy.predict(seen).actions_deg).all().item()
    True

In the folder: `config.json`, `model.safetensors`, `policy_preprocessor.json`, `policy_postprocessor.json`
with their statistics, and `vlm/` with the backbone's sizes and the tokenizer. Old checkpoints (before
autumn 2025) carry their statistics among the weights; they are found there. A weight that is missing is an
error: a random one would move the arm.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from smolkit.report import Check, Report, SmolkitError
from smolkit.smolvla import processor_files
from smolkit.smolvla.backbone import BACKBONES, Backbone, backbone_to_dict, read_backbone, with_special_ids
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.names import ours, split_statistics, theirs
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.processors import Stats


@dataclass(frozen=True)
class LoadedWeights:
    """What a weights file held for the network, in our names."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def report(self) -> Report:
        """Green when every weight was found and every tensor of the file used."""
        wanted = len(self.loaded) + len(self.missing)
        cause = "the file belongs to a policy of another size, or was saved before it was complete"
        return Report("weights", (
            Check("SK511", "weights found", not self.missing, f"{wanted} tensors",
                  f"{len(self.loaded)} tensors{_some(self.missing, ', without ')}", cause,
                  "use the config.json that was saved with these weights"),
            Check("SK512", "tensors used", not self.unexpected, "no tensor left over",
                  f"{len(self.unexpected)} left over{_some(self.unexpected, ': ')}", cause,
                  "compare num_vlm_layers, num_expert_layers and attention_mode with the training run's")))


def load_checkpoint(folder: str | Path, backbone: Path | Backbone | None = None,
                    tokenizer: Path | None = None,
                    dtype: torch.dtype | None = torch.float32, device: str = "cpu", fps: int = 10,
                    seed: int = 0, stats: Stats | None = None) -> SmolVLAPolicy:
    """A policy from a folder, ready to predict; `policy.weights` tells what was found.

    backbone: a folder with the VLM's `config.json` and tokenizer, or its sizes, where the checkpoint only
    names it. dtype: None keeps each tensor's own. stats: used where the checkpoint has none.
    """
    folder = _recover(Path(folder))
    config = SmolVLAConfig.from_json(folder / "config.json")
    if (folder / "adapter_config.json").exists():
        raise SmolkitError("SK510", f"whole weights in {folder}", "a PEFT adapter (adapter_config.json)",
                           "the policy was fine-tuned with LoRA and saved without its base",
                           "in LeRobot's environment: PeftModel.merge_and_unload(), then save_pretrained")
    weights, statistics = read_weights(folder / "model.safetensors")
    home = _backbone_folder(folder, config, backbone)
    sizes = backbone if isinstance(backbone, Backbone) else _sizes(config, home)
    processors = processor_files.read(folder, config, {**(stats or {}), **statistics}, tokenizer or home)
    sizes = with_special_ids(sizes, processors.tokenizer.folder)     # of the tokenizer that is truly used
    model = _empty_model(config, replace(sizes, lm_head="language.head.weight" in weights))
    found = fill(model, weights, dtype)
    return SmolVLAPolicy(model.to(device), processors, fps, seed, weights=found)


def save_checkpoint(folder: str | Path, policy: SmolVLAPolicy) -> Path:
    """Writes beside `folder` first, then swaps: a crash leaves the old checkpoint or the new one, whole."""
    folder = _recover(Path(folder))
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    model, config = policy.model, policy.model.config
    config.to_json(draft / "config.json")
    tensors = {theirs(name): value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
    processor_files.write(draft, config, policy.processors)
    _write_backbone(draft / "vlm", model.backbone, policy.processors.tokenizer.folder)
    _swap(draft, folder)
    return folder


def read_weights(path: Path) -> tuple[dict[str, Tensor], Stats]:
    """The tensors of a `model.safetensors` in our names, and the statistics old files keep among them."""
    try:
        raw = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SmolkitError("SK510", "a whole model.safetensors", f"{path}: {error}",
                           "the download or the copy was cut off, or the disk was full while saving",
                           "compare the file's size with the original and copy it again") from error
    weights, statistics = split_statistics(raw)
    return {ours(name): value for name, value in weights.items()}, statistics


def fill(model: SmolVLA, weights: dict[str, Tensor], dtype: torch.dtype | None) -> LoadedWeights:
    """Puts the weights into the network; a missing one or one of another shape is an error."""
    own = model.state_dict()
    found = LoadedWeights(tuple(sorted(own.keys() & weights.keys())),
                          tuple(sorted(own.keys() - weights.keys())),
                          tuple(sorted(weights.keys() - own.keys())))
    found.report().checks[0].raise_if_red()
    for name in found.loaded:
        if weights[name].shape != own[name].shape:
            raise SmolkitError("SK511", f"{theirs(name)} of shape {tuple(own[name].shape)}",
                               str(tuple(weights[name].shape)),
                               "the backbone or the config is of another size",
                               "give the backbone that the checkpoint was trained with")
    kept = {name: weights[name] if dtype is None else weights[name].to(dtype) for name in found.loaded}
    model.load_state_dict(kept, assign=True)
    return found


def _empty_model(config: SmolVLAConfig, backbone: Backbone) -> SmolVLA:
    """The network without memory for its weights: they come from the file. Nothing random is ever made."""
    with torch.device("meta"):
        return SmolVLA(config, backbone)


def _backbone_folder(folder: Path, config: SmolVLAConfig, given: Path | Backbone | None) -> Path:
    """Where the backbone's config and tokenizer are: as told, in the checkpoint, or beside it."""
    if given is not None and not isinstance(given, Backbone):
        return Path(given)
    name = config.vlm_model_name
    places = [folder / "vlm", folder / name, folder.parent / name, folder.parent / "vlm", Path(name)]
    found = [place for place in places if (place / "config.json").exists()]
    return found[0] if found else folder / "tokenizer"


def _sizes(config: SmolVLAConfig, home: Path) -> Backbone:
    if (home / "config.json").exists():
        return read_backbone(home)
    if config.vlm_model_name in BACKBONES:
        return BACKBONES[config.vlm_model_name]
    raise SmolkitError("SK502", f"the sizes of the backbone {config.vlm_model_name}",
                       "no folder of that name",
                       "the checkpoint names a backbone that is not beside it",
                       "give backbone=FOLDER with the VLM's config.json and tokenizer.json")


def _write_backbone(folder: Path, backbone: Backbone, tokenizer: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(backbone_to_dict(backbone), indent=2), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)


def _swap(draft: Path, folder: Path) -> None:
    """Moves the draft into place; the old folder steps aside first and is deleted last."""
    shutil.rmtree(_old(folder), ignore_errors=True)
    if folder.exists():
        os.replace(folder, _old(folder))
    os.replace(draft, folder)
    shutil.rmtree(_old(folder), ignore_errors=True)


def _recover(folder: Path) -> Path:
    """Undoes a swap that a power cut stopped halfway: the old folder steps back."""
    if not folder.exists() and _old(folder).exists():
        os.replace(_old(folder), folder)
    return folder


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _some(names: tuple[str, ...], lead: str) -> str:
    if not names:
        return ""
    return lead + ", ".join(theirs(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
