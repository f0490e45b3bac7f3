"""`policy_preprocessor.json`, `policy_postprocessor.json` and their statistics, in LeRobot's layout.

    >>> from smolkit.smolvla.fake import tiny_policy
    >>> policy = tiny_policy()
    >>> steps = before_steps(policy.model.config, policy.processors)
    >>> [step["registry_name"] for step in steps][:3]
    ['rename_observations_processor', 'to_batch_processor', 'smolvla_new_line_processor']

Every step's place is part of the layout: the statistics' file is called after it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from smolkit.report import SmolkitError
from smolkit.smolvla.config import LONGEST, SmolVLAConfig
from smolkit.smolvla.fields import fits
from smolkit.smolvla.processors import EPS, Normalizer, Processors, Stats
from smolkit.smolvla.tokenizer import TaskTokenizer

BEFORE, AFTER, TASKS = "policy_preprocessor", "policy_postprocessor", "tasks.json"
KNOWN = {"rename_observations_processor", "to_batch_processor", "smolvla_new_line_processor",
         "tokenizer_processor",
         "device_processor", "normalizer_processor", "unnormalizer_processor"}


@dataclass(frozen=True)
class Pipeline:
    """One of a checkpoint's two pipelines, as its own file has it."""

    steps: frozenset[str]
    stats: Stats
    modes: dict[str, str]                      # feature type -> mode
    eps: float


def before_steps(config: SmolVLAConfig, processors: Processors) -> list[dict[str, Any]]:
    """What happens to a batch before the network sees it."""
    tokenizer = processors.tokenizer
    return [_step("rename_observations_processor", rename_map=processors.rename_map),
            _step("to_batch_processor"),
            _step("smolvla_new_line_processor"),
            _step("tokenizer_processor", max_length=tokenizer.max_length, task_key="task",
                  padding_side="right",
                  padding=tokenizer.pad_to, truncation=True, tokenizer_name=config.vlm_model_name),
            _step("device_processor", device=config.device or "cpu", float_dtype=None),
            _statistics_step("normalizer_processor", processors.normalizer,
                             {**config.input_features, **config.output_features}, BEFORE, 5)]


def after_steps(config: SmolVLAConfig, processors: Processors) -> list[dict[str, Any]]:
    """What happens to the network's actions."""
    return [_statistics_step("unnormalizer_processor", processors.normalizer, config.output_features, AFTER, 0),
            _step("device_processor", device="cpu", float_dtype=None)]


def write(folder: Path, config: SmolVLAConfig, processors: Processors) -> None:
    """Both pipelines and their statistics."""
    flat = {f"{feature}.{name}": value.float().contiguous().clone()
            for feature, values in processors.normalizer.stats.items() for name, value in values.items()}
    for name, steps in ((BEFORE, before_steps(config, processors)), (AFTER, after_steps(config, processors))):
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "steps": steps}, indent=2),
                                             encoding="utf-8")
        for step in steps:
            if "state_file" in step:
                save_file(flat, folder / step["state_file"])
    if processors.tasks:                               # a file of ours, which LeRobot does not read
        (folder / TASKS).write_text(json.dumps(list(processors.tasks)), encoding="utf-8")


def read(folder: Path, config: SmolVLAConfig, stats: Stats, tokenizer_folder: Path) -> Processors:
    """The processors of a checkpoint; without files (old style) from its config and the statistics given."""
    steps = _read_steps(folder, BEFORE)
    words, scale = steps.get("tokenizer_processor", {}), steps.get("normalizer_processor", {})
    merged = {**stats, **_read_statistics(folder, scale),
              **_read_statistics(folder, _after(folder), only="action")}
    features = {**config.input_features, **config.output_features}
    modes = scale.get("config", {}).get("norm_map", config.normalization_mapping)
    normalizer = Normalizer(merged, modes, {name: f.type for name, f in features.items()},
                            scale.get("config", {}).get("eps", EPS))
    for name in ("observation.state", "action"):
        if name in features:
            normalizer.apply(name, torch.zeros(features[name].shape))  # red now, not at the arm's first step
    settings = words.get("config", {})
    tokenizer = TaskTokenizer(_tokenizer_folder(folder, words, tokenizer_folder),
                              settings.get("max_length", config.tokenizer_max_length),
                              settings.get("padding", config.pad_language_to))
    renames = steps.get("rename_observations_processor", {}).get("config", {}).get("rename_map", {})
    return Processors(normalizer, tokenizer, dict(renames), _read_tasks(folder / TASKS))


def _read_tasks(path: Path) -> tuple[str, ...]:
    """The instructions that the policy learned; none where nobody noted them."""
    if not path.exists():
        return ()
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_pipeline(path, f"{type(error).__name__}: {error}") from error
    if not fits(tasks, list[str]):
        raise _no_pipeline(path, f"no list of sentences: {str(tasks)[:80]}")
    return tuple(tasks)


def pipelines(folder: Path) -> tuple[Pipeline | None, Pipeline | None]:
    """A checkpoint's two pipelines, each by itself: before the network and after it; None where it has no file."""
    return (_pipeline(folder, BEFORE, "normalizer_processor"), _pipeline(folder, AFTER, "unnormalizer_processor"))


def _pipeline(folder: Path, name: str, scaling: str) -> Pipeline | None:
    if not (folder / f"{name}.json").exists():
        return None
    steps = _read_steps(folder, name)
    scale = steps.get(scaling, {})
    config = scale.get("config", {})
    return Pipeline(frozenset(steps), _read_statistics(folder, scale), config.get("norm_map", {}),
                    config.get("eps", EPS))


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, where that stays in the folder: a downloaded file does not choose what is opened here.

    Compared as written, without following links: the Hub's own cache is made of links that lead out. Errors: SK509.
    """
    path, home = (Path(os.path.abspath(place)) for place in (folder / name, folder))
    if "\0" in name or not path.is_relative_to(home):
        raise SmolkitError("SK509", "files inside the checkpoint's folder", repr(name),
                           "the file was edited by hand, or means to read what is not its own",
                           "do not use this checkpoint, or copy the file it needs into its folder")
    return path


def _after(folder: Path) -> dict[str, Any]:
    return _read_steps(folder, AFTER).get("unnormalizer_processor", {})


def _read_steps(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """A pipeline's steps by their names; {} where the checkpoint has no such file."""
    path = folder / f"{name}.json"
    if not path.exists():
        return {}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["steps"]
        steps = {step["registry_name"]: step for step in listed}
        wrong = [flaw for step in listed for flaw in _flaws(step)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _no_pipeline(path, f"{type(error).__name__}: {error}") from error
    if wrong:
        raise _no_pipeline(path, "; ".join(wrong))
    if unknown := sorted(set(steps) - KNOWN):
        raise SmolkitError("SK509", f"steps out of {', '.join(sorted(KNOWN))}", ", ".join(unknown),
                           "the checkpoint's processors do something that SmolVLA's do not",
                           "save it again with the usual pipeline, or apply that step to the data set")
    return steps


def _no_pipeline(path: Path, found: str) -> SmolkitError:
    return SmolkitError("SK509", "a processor pipeline", f"{path}: {found}",
                        "the file is cut off or was edited by hand",
                        "copy it from the original checkpoint again")


SETTINGS = {"rename_map": dict[str, str], "max_length": int, "padding": str | bool, "eps": float,
            "norm_map": dict[str, str]}                    # those we read, and their types


def _flaws(step: dict[str, Any]) -> list[str]:
    """What is wrong with one step's entries."""
    name, config = step["registry_name"], step.get("config", {})
    parts = {"config": (config, dict), "state_file": (step.get("state_file", ""), str),
             "artifacts": (step.get("artifacts", {}), dict[str, str])}
    flaws = [f"{key} of {name} is {value!r}" for key, (value, kind) in parts.items() if not fits(value, kind)]
    if flaws:
        return flaws
    return [f"{key} of {name} is {config[key]!r}" for key, kind in SETTINGS.items()
            if key in config and not (fits(config[key], kind)
                                      and (key != "max_length" or 1 <= config[key] <= LONGEST))]


def _read_statistics(folder: Path, step: dict[str, Any], only: str | None = None) -> Stats:
    if "state_file" not in step:
        return {}
    path = inside(folder, step["state_file"])
    try:
        flat = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SmolkitError("SK508", "the statistics that normalise states and actions", f"{path}: {error}",
                           "the file was not copied with the others, or was cut off",
                           "copy the whole checkpoint folder again") from error
    stats: Stats = {}
    for key, value in flat.items():
        feature, _, name = key.rpartition(".")
        if only in (None, feature):
            stats.setdefault(feature, {})[name] = value
    return stats


def _tokenizer_folder(folder: Path, step: dict[str, Any], fallback: Path) -> Path:
    """The tokenizer inside the checkpoint if it has one, else the backbone's."""
    own = inside(folder, step.get("artifacts", {}).get("tokenizer_name", "tokenizer"))
    return own if (own / "tokenizer.json").exists() else fallback


def _step(name: str, **config: Any) -> dict[str, Any]:
    return {"registry_name": name, "config": config}


def _statistics_step(name: str, normalizer: Normalizer, features: dict[str, Any], pipeline: str,
                     place: int) -> dict[str, Any]:
    described = {key: {"type": f.type, "shape": list(f.shape)} for key, f in features.items()}
    return {**_step(name, eps=normalizer.eps, features=described,
                    norm_map=dict(normalizer.modes)),          # what is done, whatever the config says
            "state_file": f"{pipeline}_step_{place}_{name}.safetensors"}
