"""A SmolVLM2 backbone as transformers saves it, inside a policy of ours: the same numbers, and no silent gaps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smolkit.report import SmolkitError
from smolkit.smolvla.backbone import read_backbone
from smolkit.smolvla.checkpoint import save_checkpoint
from smolkit.smolvla.fake import tiny_stats
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.names import theirs
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.prefix import Prefix
from smolkit.smolvla.presets import build_preset
from smolkit.smolvla.pretrained import INDEX, load_backbone
from smolkit.smolvla.processors import make_processors
from smolkit.smolvla.tokenizer import ASSETS

TINY = Path(__file__).parent / "smolvlm_tiny"


def new_model(layers: int = 3, lm_head: bool = False) -> SmolVLA:
    config = replace(build_preset("tiny").config, num_vlm_layers=layers, resize_imgs_with_padding=(32, 32))
    return SmolVLA(config, replace(read_backbone(TINY), lm_head=lm_head))


@pytest.fixture
def expected() -> dict[str, torch.Tensor]:
    return load_file(TINY / "expected.safetensors")


def all_weights(folder: Path = TINY) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("model-*.safetensors") for name, value in load_file(path).items()}


@torch.no_grad()
def test_eyes_and_language_model_compute_what_transformers_does(expected):
    model = new_model()
    assert load_backbone(model, TINY).random == ("expert",)
    torch.testing.assert_close(model.vision(expected["pictures"]), expected["image_tokens"], atol=2e-5, rtol=1e-5)
    real = torch.ones(2, 9, dtype=torch.bool)
    notes = model.language(Prefix(expected["vectors"], real, real))        # each its own stage: a causal mask
    for layer in range(3):
        for kind in ("keys", "values"):
            torch.testing.assert_close(getattr(notes, kind)[layer], expected[f"{kind}.{layer}"], atol=2e-5, rtol=1e-5)


def test_layers_that_the_policy_does_not_keep_are_no_complaint():
    found = load_backbone(new_model(layers=2), TINY)
    assert found.unexpected == () and all("layers.2." not in name for name in found.loaded)


LAYOUTS = {"in one file": str, "below the word predictor": lambda name: name.removeprefix("model."),
           "with an older prefix": lambda name: name.replace("model.text_model.", "model.text_model.model.")}


@pytest.mark.parametrize("rename", LAYOUTS.values(), ids=LAYOUTS)
def test_names_as_transformers_has_written_them_over_the_years(tmp_path, rename):
    save_file({rename(name): value for name, value in all_weights().items()}, tmp_path / "model.safetensors")
    model, usual = new_model(), new_model()
    assert load_backbone(model, tmp_path).loaded == load_backbone(usual, TINY).loaded
    wanted = usual.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items()
               if name.startswith(("vision.", "language.")))


def test_what_was_frozen_stays_frozen():
    model = new_model()
    before = [weight.requires_grad for weight in model.parameters()]
    load_backbone(model, TINY)
    assert [weight.requires_grad for weight in model.parameters()] == before


def test_a_new_policy_says_which_of_its_parts_are_random():
    model = new_model()
    policy = SmolVLAPolicy(model, make_processors(model.config, tiny_stats(), ASSETS))
    assert policy.weights.random == ("backbone", "expert")
    assert "random: backbone" in policy.weights.report().text()
    policy.weights = load_backbone(model, TINY)
    assert "random: expert" in policy.weights.report().text() and "new" in policy.weights.report().text()


@pytest.mark.parametrize("lm_head", [True, False])
def test_the_word_predictor_is_saved_where_the_policy_has_one(tmp_path, lm_head):
    model, name = new_model(lm_head=lm_head), theirs("language.head.weight")
    processors = make_processors(model.config, tiny_stats(), ASSETS)
    policy = SmolVLAPolicy(model, processors, weights=load_backbone(model, TINY))
    saved = load_file(save_checkpoint(tmp_path / "policy", policy) / "model.safetensors")
    assert (name in saved) == lm_head
    assert not lm_head or torch.equal(saved[name], all_weights()["lm_head.weight"].float())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "backbone"))


def test_a_file_of_several_that_is_missing_is_named(copy):
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(SmolkitError, match="SK510") as error:
        load_backbone(new_model(), copy)
    assert "model-00002-of-00002.safetensors" in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_named(copy, text):
    (copy / INDEX).write_text(text)
    with pytest.raises(SmolkitError, match=INDEX):
        load_backbone(new_model(), copy)


def test_an_index_reaches_no_file_elsewhere(copy):
    raw = json.loads((copy / INDEX).read_text())
    (copy / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(raw["weight_map"], "../elsewhere.safetensors")}))
    save_file(all_weights(), copy.parent / "elsewhere.safetensors")
    with pytest.raises(SmolkitError, match="SK510"):
        load_backbone(new_model(), copy)


def test_a_weight_that_is_missing_foreign_or_no_number_is_seen(tmp_path):
    weights, lost = all_weights(), "model.vision_model.post_layernorm.bias"
    save_file({name: value for name, value in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(SmolkitError, match=r"SK511[^$]*vision\.norm\.bias"):
        load_backbone(new_model(), tmp_path)
    broken = {lost: torch.full_like(weights[lost], float("nan")), "model.audio.weight": torch.zeros(1)}
    save_file(weights | broken, tmp_path / "model.safetensors")
    found = load_backbone(new_model(), tmp_path)
    assert found.unexpected == ("model.audio.weight",) and found.not_finite == ("vision.norm.bias",)


def test_a_backbone_of_another_size_is_refused(tmp_path):
    weights = all_weights()
    weights["model.vision_model.post_layernorm.bias"] = torch.zeros(25)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(SmolkitError, match="SK511"):
        load_backbone(new_model(), tmp_path)
