"""The small files around the weights: cut off, or edited by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_policy


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "policy", tiny_policy(seed=1))


@pytest.mark.parametrize("content", ['{"truncation_side": "le', '{"pad_token": null}', '{"pad_token": {}}', "[]",
                                     '{"truncation_side": "middle"}', '{"pad_token": "<|of another model|>"}'])
def test_a_broken_tokenizer_config_is_named(saved, content):
    (saved / "vlm" / "tokenizer_config.json").write_text(content)
    with pytest.raises(SmolkitError, match="SK507") as error:
        load_checkpoint(saved)
    assert "vlm" in str(error.value)


def edit(path: Path, step: str, change: Callable[[dict], object]) -> None:
    raw = json.loads(path.read_text())
    change(next(each for each in raw["steps"] if each["registry_name"] == step))
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize("step, key, value", [
    ("tokenizer_processor", "max_length", "16"), ("tokenizer_processor", "max_length", 0),
    ("tokenizer_processor", "padding", 3), ("normalizer_processor", "eps", None),
    ("normalizer_processor", "norm_map", ["MEAN_STD"]), ("rename_observations_processor", "rename_map", [])])
def test_a_broken_setting_of_a_step_is_named(saved, step, key, value):
    edit(saved / "policy_preprocessor.json", step, lambda found: found["config"].update({key: value}))
    with pytest.raises(SmolkitError, match="SK509") as error:
        load_checkpoint(saved)
    assert f"{key} of {step}" in str(error.value)


@pytest.mark.parametrize("key, value", [("config", []), ("config", None), ("state_file", 5), ("artifacts", [])])
def test_a_broken_step_is_named(saved, key, value):
    edit(saved / "policy_preprocessor.json", "normalizer_processor", lambda found: found.update({key: value}))
    with pytest.raises(SmolkitError, match=f"SK509.*\n.*{key} of normalizer_processor"):
        load_checkpoint(saved)


@pytest.mark.parametrize("content", ["[]", '{"steps": {}, "x": 1', '{"steps": [1]}', '{"steps": null}'])
def test_a_pipeline_that_is_none_is_named(saved, content):
    (saved / "policy_preprocessor.json").write_text(content)
    with pytest.raises(SmolkitError, match="SK509"):
        load_checkpoint(saved)
