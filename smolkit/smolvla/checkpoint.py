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
with their statistics, and `vlm/` with the backbone's sizes and the tokenizer; of a policy with adapters
(`smolkit.smolvla.lora`) `adapter_config.json` and `adapter_model.safetensors` in the weights' place. Old checkpoints
(before autumn 2025) carry their statistics among the weights; they are found there. A weight that is missing is an
error: a random one would move the arm.
"""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from dataclasses import replace
from os.path import abspath
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from smolkit.report import SmolkitError
from smolkit.smolvla import adapter_files, hub, processor_files
from smolkit.smolvla.backbone import BACKBONES, Backbone, backbone_to_dict, read_backbone, with_special_ids
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.folders import recover, replaces, replacing
from smolkit.smolvla.lora import adapters, trained_whole
from smolkit.smolvla.names import theirs
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.processors import Stats
from smolkit.smolvla.weights import HEAD, WeightsFile, changed, empty_model, fill, stamp

WEIGHTS = "model.safetensors"


def load_checkpoint(name: str | Path, backbone: Path | Backbone | None = None, tokenizer: Path | None = None,
                    dtype: torch.dtype | None = torch.float32, device: str = "cpu", fps: int = 10, seed: int = 0,
                    stats: Stats | None = None, base: str | Path | None = None,
                    revision: str | None = None) -> SmolVLAPolicy:
    """A policy from a folder, or by its name on the Hub, ready to predict; `policy.weights` tells what was found.

    backbone: a folder with the VLM's `config.json` and tokenizer, or its sizes, where the checkpoint only names it.
    dtype: None keeps each tensor's own; float16 is for GPUs and warned of elsewhere. stats: used where the checkpoint
    has none. base: the checkpoint that an adapter stands on, where it is not the one it names. revision: on the Hub.
    """
    folder = _find(name, revision)
    config = SmolVLAConfig.from_json(folder / "config.json")
    adapter = adapter_files.read(folder)
    home = folder if adapter is None else _base_folder(folder, adapter, base)
    file = WeightsFile(home / WEIGHTS)
    vlm = _backbone_folder((folder, home), config, backbone, tokenizer)
    sizes = backbone if isinstance(backbone, Backbone) else _sizes(config, vlm)
    processors = processor_files.read(folder, config, {**(stats or {}), **file.statistics}, tokenizer or vlm)
    sizes = with_special_ids(sizes, processors.tokenizer.folder)     # of the tokenizer that is truly used
    model = empty_model(config, replace(sizes, lm_head=False))
    found = fill(model, file, dtype, device)
    if adapter is not None:
        whole, broken = adapter_files.attach(model, folder, adapter, dtype, device)
        found = replace(found, whole=whole, not_finite=found.not_finite + broken)
        revision = None if base else adapter.revision
    if torch.device(device).type == "cpu" and model.expert.action_out.weight.dtype == torch.float16:
        warnings.warn("SK580 float16 on a processor is slow, and what is larger than 65,504 becomes infinite: load in "
                      "torch.float32 or torch.bfloat16", stacklevel=2)
    named = _called(name if adapter is None else base, adapter, home)
    return SmolVLAPolicy(model, processors, fps, seed, replace(found, base=named, revision=revision))


def save_checkpoint(folder: str | Path, policy: SmolVLAPolicy) -> Path:
    """Writes beside `folder` first, then swaps: a crash leaves the old checkpoint or the new one, whole.

    Other files in the folder stay there. A policy with adapters is saved as those alone; its base must be in a file,
    and still be as it is there: else SK518. The unused lm_head that a loaded file held is copied out of that file, if
    it is still there; else SK515 warns, and LeRobot loads what is written all the same (its loader is not strict).
    Errors: SK514 where the folder holds something else than a policy.
    """
    folder, source = Path(folder), policy.weights.source
    if source and adapters(policy.model) and replaces(folder, source):
        raise _no_base("a folder of its own for the adapter", f"{folder}, where its base lies",
                       "the base would be deleted", "save it into another folder")
    with replacing(folder) as draft:
        _write(draft, policy)
    if source and (folder / WEIGHTS).exists() and source.resolve() == (folder / WEIGHTS).resolve():
        policy.weights = replace(policy.weights, stamp=stamp(source))          # the file is another, its head is not
    return folder


def _write(draft: Path, policy: SmolVLAPolicy) -> None:
    model, config = policy.model, policy.model.config
    light = bool(adapters(model))
    replace(config, use_peft=light).to_json(draft / "config.json")
    if light:
        whole = {*policy.weights.whole, *trained_whole(model)}
        adapter_files.write(draft, model, _named_base(policy, whole), whole, policy.weights.revision)
    else:
        save_file(_tensors(policy), draft / WEIGHTS, metadata={"format": "pt"})
    processor_files.write(draft, config, policy.processors)
    _write_backbone(draft / "vlm", policy)


def _tensors(policy: SmolVLAPolicy) -> dict[str, Tensor]:
    """Everything `model.safetensors` holds, in LeRobot's names; what is not in memory comes from the policy's file."""
    own = policy.model.state_dict()
    here = {theirs(name): value.detach().cpu().contiguous() for name, value in own.items() if not value.is_meta}
    file = policy.weights.file() if len(here) < len(own) else None
    return {**here, **{theirs(name): file.read(name) for name, value in own.items() if value.is_meta}, **_head(policy)}


def _head(policy: SmolVLAPolicy) -> dict[str, Tensor]:
    """The word predictor of the file that the policy came from; nothing where that had none."""
    weights = policy.weights
    if not weights.head:
        return {}
    with suppress(SmolkitError, KeyError):                                 # gone, or another: told below
        file = weights.file()
        file.check(HEAD, tuple(policy.model.language.embed.weight.shape))
        return {theirs(HEAD): file.read(HEAD)}
    warnings.warn("SK515 the unused lm_head is left out: the file that it came from is gone, or another now. LeRobot "
                  "loads the policy all the same", stacklevel=5)
    return {}


def _find(name: str | Path, revision: str | None) -> Path:
    """The folder of that name, or the repository on the Hub."""
    folder = recover(Path(name))
    if isinstance(name, str) and not folder.exists() and hub.is_hub_id(name):
        return hub.download(name, revision=revision)
    return folder


def _base_folder(folder: Path, adapter: adapter_files.AdapterConfig, given: str | Path | None) -> Path:
    """Where the weights lie that an adapter stands on: as told, at or beside its folder, or on the Hub.

    A path that leads elsewhere is not followed: a downloaded file does not choose what is opened here.
    """
    if given is not None:
        return _find(given, None)
    name = adapter.base_model_name_or_path or ""
    around = folder.resolve().parent
    places = [place.resolve() for place in (folder / name, folder.parent / name)]
    for place in places:
        if name and place.is_relative_to(around) and (place / WEIGHTS).is_file():
            return place
    if hub.is_hub_id(name):
        return hub.download(name, revision=adapter.revision, instead="give base=FOLDER with the adapter's base")
    raise SmolkitError("SK518", "the adapter's base: a folder at or beside the adapter's, or a name on the Hub",
                       repr(name), "the adapter was moved without its base, or trained on another computer",
                       f"load_checkpoint({folder.name!r}, base=FOLDER)")


def _called(given: str | Path | None, adapter: adapter_files.AdapterConfig | None, home: Path) -> str:
    """What a later adapter calls this base: its name on the Hub, or its folder's name, never where it lies."""
    name = str(given or adapter.base_model_name_or_path)
    here = given is not None and Path(given).exists()          # an adapter's own word is no path from where we stand
    return name if hub.is_hub_id(name) and not here else home.resolve().name


def _named_base(policy: SmolVLAPolicy, whole: set[str]) -> str:
    """The base's name, once it is sure that the weights beside the adapters are still the ones it stands for."""
    weights, learned = policy.weights, {name.rpartition(".")[0] for name in whole}
    if not weights.base:
        raise _no_base("a base that is in a file", "adapters on weights that were never loaded",
                       "add_lora was called on a new policy, whose own weights would be lost",
                       "save it before add_lora and load that")
    still = [name for name in weights.loaded
             if name.rpartition(".")[0] not in learned and name not in weights.not_finite]
    try:
        other = changed(policy.model, WeightsFile(weights.source), still)
    except SmolkitError:
        warnings.warn(f"SK518 the file of the base {weights.base} is gone: nobody can say whether its weights are "
                      "still as they were there", stacklevel=5)
        return weights.base
    if other:
        raise _no_base(f"the base's weights as they are in {weights.source}", f"{theirs(other)} is another",
                       "the base was trained or merged before add_lora, or its file was written anew",
                       "save the whole policy")
    return weights.base


def _no_base(expected: str, found: str, likely_cause: str, way_out: str) -> SmolkitError:
    return SmolkitError("SK518", expected, found, likely_cause, f"{way_out}, or merge(policy.model) first")


def _backbone_folder(folders: tuple[Path, Path], config: SmolVLAConfig, given: Path | Backbone | None,
                     tokenizer: Path | None) -> Path:
    """Where the backbone's config and tokenizer are: as told, in the checkpoint, beside it, or on the Hub.

    A downloaded config names no folder elsewhere on this computer.
    """
    if given is not None and not isinstance(given, Backbone):
        return Path(given)
    name, folder = config.vlm_model_name, folders[0]
    found = [place for one in folders for place in (one / "vlm", one / name, one.parent / name, one.parent / "vlm")
             if Path(abspath(place)).is_relative_to(abspath(one.parent)) and (place / "config.json").exists()]
    if found:
        return found[0]
    sized = given is not None or name in BACKBONES
    if (sized and (tokenizer or (folder / "tokenizer").exists())) or not hub.is_hub_id(name):
        return folder / "tokenizer"
    return hub.download(name, hub.BACKBONE, code="SK507",
                        instead="give backbone=FOLDER with its config.json and tokenizer.json")


def _sizes(config: SmolVLAConfig, home: Path) -> Backbone:
    if (home / "config.json").exists():
        return read_backbone(home)
    if config.vlm_model_name in BACKBONES:
        return BACKBONES[config.vlm_model_name]
    raise SmolkitError("SK502", f"the sizes of the backbone {config.vlm_model_name}",
                       "no folder of that name",
                       "the checkpoint names a backbone that is not beside it",
                       "give backbone=FOLDER with the VLM's config.json and tokenizer.json")


def _write_backbone(folder: Path, policy: SmolVLAPolicy) -> None:
    sizes = backbone_to_dict(policy.model.backbone)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(sizes, indent=2), encoding="utf-8")
    policy.processors.tokenizer.save(folder)
