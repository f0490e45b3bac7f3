"""Pipelines that do one thing before the network and another after it, or reach for files that are not theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from smolkit.report import Check, SmolkitError
from smolkit.smolvla.backbone import read_backbone
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.processor_files import TASKS, inside, pipelines
from smolkit.smolvla.sick import FAULTS, plant
from smolkit.smolvla.statistics_checks import check_files

HALVES = {"before": "policy_preprocessor", "after": "policy_postprocessor"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "policy", tiny_policy(seed=1))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def files(folder: Path) -> Check:
    return check_files(*pipelines(folder))


def scaling(pipeline: dict) -> dict:
    return next(step for step in pipeline["steps"] if step["registry_name"].endswith("normalizer_processor"))


def test_two_halves_that_belong_together_are_green(saved):
    assert files(saved).ok, files(saved).line()


@pytest.mark.parametrize("fault", ["identity after", "lost after", "unnamed after", "no way back", "huge eps",
                                   "no newline", "another pipeline"])
def test_a_fault_of_one_half_loads_and_is_red(saved, fault, tmp_path):
    sick = plant(fault, saved, tmp_path / "sick")
    load_checkpoint(sick)                              # without a word: only the check tells
    assert FAULTS[fault].code == files(sick).code == "SK575" and not files(sick).ok


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("change", [
    lambda step: step["config"].update(eps=-1.0), lambda step: step["config"].update(eps=1e-3),
    lambda step: step["config"].update(eps=2e-8), lambda step: step["config"].pop("norm_map"),
    lambda step: step["config"]["norm_map"].pop("ACTION"), lambda step: step["config"]["norm_map"].update(ACTION="NO"),
    lambda step: step["config"]["norm_map"].update(ACTION="MIN_MAX"), lambda step: step.pop("state_file"),
    lambda step: step.update(registry_name="to_batch_processor")],
    ids=["negative eps", "large eps", "another eps", "no modes", "no mode", "unknown mode", "another mode", "no file",
         "no step"])
def test_what_one_half_alone_does_is_red(saved, half, change):
    edit(saved / f"{HALVES[half]}.json", lambda pipeline: change(scaling(pipeline)))
    assert not files(saved).ok


@pytest.mark.parametrize("half", HALVES)
def test_a_half_that_is_missing_is_red_and_none_is_an_old_checkpoint(saved, half):
    (saved / f"{HALVES[half]}.json").unlink()
    assert "has no file" in files(saved).found
    for name in HALVES.values():
        (saved / f"{name}.json").unlink(missing_ok=True)
    assert files(saved).ok and "weights" in files(saved).found


# --- a downloaded file does not choose what is opened -------------------------------------------------------------


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("relative", [True, False])
def test_statistics_outside_of_the_folder_are_not_read(saved, half, relative):
    other = saved.parent / "other.safetensors"
    save_file({"action.mean": torch.zeros(6)}, other)
    edit(saved / f"{HALVES[half]}.json",
         lambda pipeline: scaling(pipeline).update(state_file="../other.safetensors" if relative else str(other)))
    with pytest.raises(SmolkitError, match="SK509 expected files inside"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["{0}", "..", "../vlm", "vlm/../../other", "a\0b"])
def test_a_tokenizer_outside_of_the_folder_is_not_read(saved, name):
    edit(saved / "policy_preprocessor.json", lambda pipeline: [
        step.update(artifacts={"tokenizer_name": name.format(saved.parent / "other")}) for step in pipeline["steps"]])
    with pytest.raises(SmolkitError, match="SK509 expected files inside"):
        load_checkpoint(saved)


def test_inside_follows_the_links_that_the_hubs_cache_is_made_of(tmp_path):
    (tmp_path / "blob").write_text("content")
    (tmp_path / "snapshot").mkdir()
    try:
        (tmp_path / "snapshot" / "file").symlink_to(tmp_path / "blob")
    except OSError:
        pytest.skip("no right to make links on this computer")
    assert inside(tmp_path / "snapshot", "file").read_text() == "content"
    assert inside(tmp_path / "snapshot", "sub/../file") == tmp_path / "snapshot" / "file"


# --- settings that take all memory, or no end ---------------------------------------------------------------------


def shape(sizes: list[int]) -> Callable[[dict], object]:
    return lambda config: [feature.update(shape=sizes) for feature in config["input_features"].values()
                           if feature["type"] == "VISUAL"]


@pytest.mark.parametrize("change", [
    shape([3]), shape([480, 640]), shape([1, 3, 64, 64]),
    lambda config: config.update(input_features={"observation.state": {"type": "STATE", "shape": [6]}}),
    lambda config: config.update(empty_cameras=1, input_features={
        "observation.state": {"type": "STATE", "shape": [6]},
        "observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 480, 640]}}),
    lambda config: config.update(tokenizer_max_length=10**13), lambda config: config.update(chunk_size=10**13),
    lambda config: config.update(empty_cameras=10**9), lambda config: config.update(prefix_length=10**13)],
    ids=["one size", "two sizes", "four sizes", "no camera", "empty cameras alone", "endless sentences",
         "endless chunks", "cameras without number", "endless prefix"])
def test_a_config_that_cannot_be_run_is_refused(saved, change):
    edit(saved / "config.json", change)
    with pytest.raises(SmolkitError, match="SK501"):
        load_checkpoint(saved)


def test_a_preprocessor_with_endless_sentences_is_refused(saved):
    edit(saved / "policy_preprocessor.json", lambda pipeline: [
        step["config"].update(max_length=10**13, padding="max_length") for step in pipeline["steps"]
        if "max_length" in step["config"]])
    with pytest.raises(SmolkitError, match="SK509(.|\n)*max_length"):
        load_checkpoint(saved)


@pytest.mark.parametrize(("name", "code"), [("config.json", "SK501"), (TASKS, "SK509"), ("vlm/config.json", "SK502"),
                                            ("policy_preprocessor.json", "SK509"), ("vlm/tokenizer.json", "SK507"),
                                            ("vlm/tokenizer_config.json", "SK507"), ("adapter_config.json", "SK517")])
def test_brackets_without_end_are_a_broken_file(saved, name, code):
    (saved / name).write_text("[" * 200_000)
    with pytest.raises(SmolkitError, match=code):
        load_checkpoint(saved)


@pytest.mark.parametrize("part", ["vision", "text"])
def test_a_tower_without_end_is_refused(saved, part):
    edit(saved / "vlm" / "config.json", lambda config: config["smolkit"][part].update(layers=10**6))
    with pytest.raises(SmolkitError, match="SK502(.|\n)*layers 1000000"):
        read_backbone(saved / "vlm")
