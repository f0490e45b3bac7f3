"""The backbone's sizes: what a config.json says, what it leaves out, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LlamaConfig
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMConfig, SmolVLMVisionConfig

from smolkit.report import SmolkitError
from smolkit.smolvla.backbone import BACKBONES, TEXT_NAMES, VISION_NAMES, read_backbone
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.tokenizer import ASSETS


def written(folder: Path, **raw) -> Path:
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


def test_a_silent_config_means_what_transformers_says(tmp_path):
    backbone = read_backbone(written(tmp_path, text_config={}, vision_config={}))
    llama, eyes = LlamaConfig(), SmolVLMVisionConfig()
    assert {ours: getattr(backbone.text, ours) for ours in TEXT_NAMES} == \
        {ours: getattr(llama, name) for ours, name in TEXT_NAMES.items()}
    assert {ours: getattr(backbone.vision, ours) for ours in VISION_NAMES} == \
        {ours: getattr(eyes, name) for ours, name in VISION_NAMES.items()}
    assert backbone.vision.shuffle == SmolVLMConfig().scale_factor


def test_the_published_file_leaves_out_two_sizes_of_the_tower(tmp_path):
    text = {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
            "num_key_value_heads": 5, "head_dim": 64, "vocab_size": 49280, "rms_norm_eps": 1e-5}
    vision = {"hidden_size": 768, "num_attention_heads": 12, "image_size": 512, "patch_size": 16}
    folder = written(tmp_path, scale_factor=4, text_config=text, vision_config=vision)
    assert read_backbone(folder) == BACKBONES["HuggingFaceTB/SmolVLM2-500M-Video-Instruct"]


@pytest.mark.parametrize("width", ["48", 48.0, 0, None, [48], True])
def test_a_width_that_is_no_size_is_named(tmp_path, width):
    folder = written(tmp_path, text_config={}, vision_config={"hidden_size": width})
    with pytest.raises(SmolkitError, match="SK502") as error:
        read_backbone(folder)
    assert f"width {width!r}" in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("text", [{"num_attention_heads": 0}, {"num_attention_heads": "3"}, {"hidden_size": None},
                                  None, {"rms_norm_eps": "small"}])
def test_a_language_model_of_no_size_is_an_error(tmp_path, text):
    with pytest.raises(SmolkitError, match="SK502"):
        read_backbone(written(tmp_path, text_config=text, vision_config={}))


def with_tokenizer(checkpoint: Path, fake_id: int) -> None:
    """A `tokenizer/` folder as LeRobot's newest version saves it, whose image token has that id."""
    raw = json.loads((ASSETS / "tokenizer.json").read_text())
    raw["added_tokens"] = [token for token in raw["added_tokens"]
                           if token["content"] != "<fake_token_around_image>"]
    token = {"id": fake_id, "content": "<fake_token_around_image>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
    raw["added_tokens"] = sorted([*raw["added_tokens"], token], key=lambda each: each["id"])
    (checkpoint / "tokenizer").mkdir()
    (checkpoint / "tokenizer" / "tokenizer.json").write_text(json.dumps(raw))


def special(checkpoint: Path) -> Path:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "add_image_special_tokens": True}))
    return checkpoint


def test_image_tokens_are_those_of_the_tokenizer_in_use(tmp_path):
    saved = special(save_checkpoint(tmp_path / "policy", tiny_policy()))
    with_tokenizer(saved, 511)
    assert load_checkpoint(saved).model.backbone.fake_image_id == 511


def test_an_image_token_beyond_the_vocabulary_is_an_error(tmp_path):
    saved = special(save_checkpoint(tmp_path / "policy", tiny_policy()))
    with_tokenizer(saved, 512)
    with pytest.raises(SmolkitError, match="SK507"):
        load_checkpoint(saved)
