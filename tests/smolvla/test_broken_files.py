"""Files that are cut off, edited by hand, or meant to do harm: the weights, and the small files around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

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


# --- the weights -----------------------------------------------------------------------------------------------------

def header(entries: object, content: bytes = b"", claimed: int | None = None) -> bytes:
    """A safetensors file with that header."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if claimed is None else claimed).to_bytes(8, "little") + text + content


def entry(shape: list[int], end: int, dtype: str = "F32") -> dict:
    return {"model.state_proj.bias": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 7, header({}, claimed=2 ** 63), header({}, claimed=10 ** 8), header(b"{"), header([]),
    header(entry([2 ** 62], 2 ** 64 - 4)), header(entry([48], 192)), header(entry([2 ** 40], 8), b"12345678"),
    header(entry([-1], 4), b"1234"), header(entry([1], 4, "F999"), b"1234"), b"PK\x03\x04" + b"\x00" * 100,
    header({"model.state_proj.bias": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234")])
def test_a_weights_file_that_is_none_is_named(saved, content):
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(SmolkitError, match=r"SK510(.|\n)*policy/model\.safetensors"):
        load_checkpoint(saved)


def change(saved: Path, **tensors: Tensor | None) -> None:
    """Other tensors under these names (dots written as __); None takes one away."""
    path = saved / "model.safetensors"
    changed = {**load_file(path), **{name.replace("__", "."): value for name, value in tensors.items()}}
    save_file({name: value for name, value in changed.items() if value is not None}, path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_that_is_no_number_is_a_red_check(saved, number, dtype):
    bias = torch.zeros(48)
    bias[17] = number
    change(saved, model__state_proj__bias=bias)
    report = load_checkpoint(saved, dtype=dtype).weights.report()
    assert [check.code for check in report.red()] == ["SK513"] and "model.state_proj.bias" in report.text()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.uint8])
def test_weights_in_another_format_are_refused(saved, dtype):
    change(saved, model__state_proj__bias=torch.ones(48).to(dtype))
    with pytest.raises(SmolkitError, match=r"SK510.*model\.state_proj\.bias(.|\n)*quantised"):
        load_checkpoint(saved)


def test_a_weight_of_another_shape_is_refused_before_it_is_read(saved):
    change(saved, model__state_proj__bias=torch.ones(49))
    with pytest.raises(SmolkitError, match=r"SK511.*model\.state_proj\.bias.*\(48,\)\n.*\(49,\)"):
        load_checkpoint(saved)


def test_a_weight_that_is_there_twice_is_refused(saved):
    """Which of the two would be the policy's? A compiled model's name and the plain one mean the same weight."""
    change(saved, model___orig_mod__state_proj__bias=torch.ones(48))
    with pytest.raises(SmolkitError, match=r"SK510 expected every weight once\n.*state_proj\.bias"):
        load_checkpoint(saved)


def test_a_folder_in_the_weights_place_is_named(saved):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors").mkdir()
    with pytest.raises(SmolkitError, match="SK510"):
        load_checkpoint(saved)
