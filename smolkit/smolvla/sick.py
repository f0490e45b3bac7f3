"""Sick checkpoints: a healthy one's copy with one named fault, for tests, lessons and graders.

    >>> import tempfile
    >>> from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
    >>> from smolkit.smolvla.fake import tiny_policy
    >>> healthy = save_checkpoint(Path(tempfile.mkdtemp()) / "healthy", tiny_policy())
    >>> sick = plant("dead normaliser", healthy, healthy.with_name("sick"))
    >>> load_checkpoint(sick).processors.normalizer.stats["action"]["std"]   # loads, predicts, and moves nothing
    tensor([1., 1., 1., 1., 1., 1.])

Nearly all of them load and predict without a word, as they do on a learner's desk. `FAULTS` says for each what was
done, which check finds it, and whether that check needs the data the policy learned from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smolkit.report import SmolkitError

Tensors = dict[str, Tensor]
VLM, EXPERT = "model.vlm_with_expert.vlm.model.", "model.vlm_with_expert.lm_expert.layers."
WORDS = VLM + "text_model.embed_tokens.weight"
EYES = tuple(VLM + part for part in ("vision_model.", "keypoint_model.", "connector."))


@dataclass(frozen=True)
class Fault:
    """One fault: what it does to a checkpoint's folder, and the code of the check that finds it."""

    about: str
    code: str
    do: Callable[[Path], None]
    needs_data: bool = False


def plant(fault: str, healthy: str | Path, folder: str | Path) -> Path:
    """Copies a checkpoint and makes the copy sick."""
    if fault not in FAULTS:
        raise SmolkitError("SK585", f"a fault out of {', '.join(FAULTS)}", repr(fault), "a typing mistake",
                           "choose one of them")
    folder = Path(folder)
    shutil.copytree(healthy, folder)
    FAULTS[fault].do(folder)
    return folder


# --- statistics -----------------------------------------------------------------------------------------------


def _statistics(folder: Path, change: Callable[[str, Tensor], Tensor], where: str = "*") -> None:
    """Every state's and action's statistic becomes change(its name, its value)."""
    for path in folder.glob(f"policy_{where}processor_step_*.safetensors"):
        stats = load_file(path)
        save_file({name: change(name, value) if name.startswith(("observation.state", "action")) else value
                   for name, value in stats.items()}, path)


def _dead(folder: Path) -> None:
    _statistics(folder, lambda name, value: torch.ones_like(value) if name.endswith("std") else
                torch.zeros_like(value) if name.endswith("mean") else value)


def _lost(where: str) -> Callable[[Path], None]:
    return lambda folder: [save_file({"nothing": torch.zeros(1)}, path)
                           for path in folder.glob(f"policy_{where}processor_step_*.safetensors")]


def _another_robot(folder: Path) -> None:
    """State statistics of an arm with joints that stand elsewhere."""
    _statistics(folder, lambda name, value: value.flip(0) * 3 + 40 if name == "observation.state.mean" else value)


def _another_pipeline(folder: Path) -> None:
    _statistics(folder, lambda name, value: value * 1.7 + 5 if name.startswith("action") else value, where="post")


def _radians(folder: Path) -> None:
    _statistics(folder, lambda name, value: value.deg2rad())


def _percent(folder: Path) -> None:
    """As LeRobot records by default: laid down on its stops, an arm leaves exactly 100 at both ends."""
    for path in folder.glob("policy_*processor_step_*.safetensors"):
        stats = load_file(path)
        ends = {f"{name}.{end}": torch.full((6,), value) for name in ("observation.state", "action")
                for end, value in (("min", -100.0), ("max", 100.0))}
        save_file({**stats, **ends}, path)


def _still_joint(folder: Path) -> None:
    def still(name: str, value: Tensor) -> Tensor:
        return torch.where(torch.arange(len(value)) == 4, 0.0, value) if name.endswith("std") else value
    _statistics(folder, still)


# --- weights --------------------------------------------------------------------------------------------------


def _weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    save_file({name: value.contiguous() for name, value in change(tensors).items()}, path, metadata={"format": "pt"})


def _drawn(*parts: str, bell: bool = False) -> Callable[[Path], None]:
    """Every matrix of some parts as PyTorch draws a new one, or in transformers' bell curve."""
    def draw(name: str, value: Tensor, rng: torch.Generator) -> Tensor:
        if value.ndim < 2 or not name.startswith(parts):
            return value
        if bell:
            return (0.02 * torch.randn(value.shape, generator=rng)).to(value.dtype)
        end = value.flatten(1).shape[1] ** -0.5
        return (end * (2 * torch.rand(value.shape, generator=rng) - 1)).to(value.dtype)

    def do(folder: Path) -> None:
        rng = torch.Generator().manual_seed(0)
        _weights(folder, lambda tensors: {name: draw(name, value, rng) for name, value in tensors.items()})
    return do


def _set(ending: str, change: Callable[[Tensor], Tensor], most: int | None = None) -> Callable[[Path], None]:
    """Changes the weights whose names end so: all, or the first few."""
    def change_all(tensors: Tensors) -> Tensors:
        names = [name for name in sorted(tensors) if name.endswith(ending)][:most]
        return {**tensors, **{name: change(tensors[name]) for name in names}}
    return lambda folder: _weights(folder, change_all)


def _blind(folder: Path) -> None:
    """Nothing of a picture reaches the language model: its tokens are always the same."""
    eyes = ("modality_projection.proj.weight", "to_tokens.weight")
    _weights(folder, lambda tensors: {name: torch.zeros_like(value) if name.endswith(eyes) else value
                                      for name, value in tensors.items()})


def _deaf(folder: Path) -> None:
    """All words sound alike."""
    _weights(folder, lambda tensors: {**tensors, WORDS: tensors[WORDS].mean(0, keepdim=True).expand_as(tensors[WORDS])})


def _lost_tensor(folder: Path) -> None:
    _weights(folder, lambda tensors: {name: value for name, value in tensors.items()
                                      if not name.endswith("action_out_proj.bias")})


def _surplus_tensor(folder: Path) -> None:
    _weights(folder, lambda tensors: {**tensors, f"{EXPERT}99.mlp.up_proj.weight": torch.ones(8, 8)})


def _cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


# --- settings -------------------------------------------------------------------------------------------------


def _json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _short_sighted(folder: Path) -> None:
    """Five tokens of every instruction are read."""
    _json(folder / "config.json", lambda config: config.update(tokenizer_max_length=5))
    _steps(lambda step: step["config"].update(max_length=5), "pre", "tokenizer")(folder)


def _exchanged(folder: Path) -> None:
    """The first two cameras have each other's names."""
    def exchange(config: dict[str, Any]) -> None:
        features = config["input_features"]
        one, other = [name for name, feature in features.items() if feature["type"] == "VISUAL"][:2]
        turned = {one: other, other: one}
        config["input_features"] = {turned.get(name, name): features[turned.get(name, name)] for name in features}
    _json(folder / "config.json", exchange)


def _steps(change: Callable[[dict[str, Any]], Any], where: str = "*", what: str = "normalizer") -> Callable:
    """Some steps of some pipelines are changed; change(step) -> True: the step is left out."""
    def rewrite(content: dict[str, Any]) -> None:
        content.update(steps=[step for step in content["steps"]
                              if what not in step["registry_name"] or change(step) is not True])
    return lambda folder: [_json(path, rewrite) for path in folder.glob(f"policy_{where}processor.json")]


def _identity(step: dict[str, Any]) -> None:
    step["config"]["norm_map"].update(STATE="IDENTITY", ACTION="IDENTITY")


def _foreign_tokenizer(folder: Path) -> None:
    """A tokenizer with a word that the language model has no vector for."""
    _json(folder / "vlm" / "tokenizer.json", lambda content: content["added_tokens"].append(
        {**content["added_tokens"][-1], "id": 100_000, "content": "<foreign>"}))


def _other_words(folder: Path) -> None:
    """Left and right, red and blue have each other's numbers."""
    def exchange(content: dict[str, Any]) -> None:
        words = content["model"]["vocab"]
        for one, other in (("\u0120left", "\u0120right"), ("\u0120red", "\u0120blue")):
            words[one], words[other] = words[other], words[one]
    _json(folder / "vlm" / "tokenizer.json", exchange)


FAULTS = {
    "dead normaliser": Fault("means 0 and spreads 1: states and actions pass as they are", "SK574", _dead),
    "identity": Fault("the pipelines say IDENTITY for state and action", "SK574", _steps(_identity)),
    "still joint": Fault("one joint's spread is 0", "SK574", _still_joint),
    "lost statistics": Fault("the statistics files are empty", "SK508", _lost("*")),
    "another robot": Fault("the state's means are another robot's", "SK575", _another_robot),
    "another pipeline": Fault("the postprocessor is another checkpoint's", "SK575", _another_pipeline),
    "identity after": Fault("the postprocessor says IDENTITY", "SK575", _steps(_identity, "post")),
    "lost after": Fault("the postprocessor's statistics file is empty", "SK575", _lost("post")),
    "unnamed after": Fault("no statistics named", "SK575", _steps(lambda step: step.pop("state_file"), "post")),
    "no way back": Fault("the postprocessor has no unnormalizer", "SK575", _steps(lambda step: True, "post")),
    "huge eps": Fault("all states become 0", "SK575", _steps(lambda step: step["config"].update(eps=1e6), "pre")),
    "no newline": Fault("no newline ends an instruction", "SK575", _steps(lambda step: True, "pre", "new_line")),
    "radians": Fault("statistics in radians", "SK703", _radians),
    "percent": Fault("statistics in percent of the joints' ranges", "SK703", _percent),
    "random backbone": Fault("eyes and language model as PyTorch draws them", "SK572", _drawn(VLM)),
    "random bell": Fault("eyes and language model as transformers draws them", "SK572", _drawn(VLM, bell=True)),
    "random eyes": Fault("the eyes alone", "SK572", _drawn(*EYES)),
    "random expert": Fault("the expert's layers as PyTorch draws them", "SK572", _drawn(EXPERT)),
    "not a number": Fault("one NaN in one bias", "SK513", _set("action_out_proj.bias", lambda bias: torch.where(
        torch.arange(len(bias)) == 1, float("nan"), bias))),
    "lost tensor": Fault("one bias is missing", "SK511", _lost_tensor),
    "surplus tensor": Fault("a weight that nothing reads", "SK512", _surplus_tensor),
    "cut off": Fault("the last kilobyte of the weights is missing", "SK510", _cut_off),
    "half converted": Fault("some matrices in float16, the others not", "SK573", _set(
        "mlp.up_proj.weight", lambda value: value.half(), most=2)),
    "blind": Fault("no picture reaches the language model", "SK577", _blind),
    "deaf": Fault("all words sound alike", "SK578", _deaf),
    "short sighted": Fault("an instruction's first tokens are cut off", "SK579", _short_sighted),
    "foreign tokenizer": Fault("a tokenizer with more tokens than vectors", "SK582", _foreign_tokenizer),
    "other words": Fault("a tokenizer that gives some words each other's numbers", "SK520", _other_words),
    "exchanged cameras": Fault("front and wrist have each other's names", "SK584", _exchanged, needs_data=True),
}
