"""A `config.json` whose values cannot be: refused by name, before anything is built from it."""

from __future__ import annotations

import json

import pytest

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.fake import tiny_policy

BROKEN = [("num_steps", 0), ("num_steps", "4"), ("num_steps", True), ("chunk_size", None), ("chunk_size", [64]),
          ("n_action_steps", 0), ("max_state_dim", 32.0), ("max_action_dim", [64]), ("empty_cameras", -1),
          ("resize_imgs_with_padding", [64]), ("resize_imgs_with_padding", [64, 0]),
          ("resize_imgs_with_padding", "64"), ("tokenizer_max_length", 0), ("expert_width_multiplier", 0),
          ("expert_width_multiplier", float("nan")), ("min_period", 0), ("attention_mode", 3),
          ("vlm_model_name", None), ("normalization_mapping", None), ("normalization_mapping", {"STATE": 1}),
          ("optimizer_betas", [0.9]), ("input_features", None), ("input_features", {}), ("output_features", {}),
          ("output_features", {"action": {}}), ("output_features", {"action": {"type": "ACTION", "shape": ["6"]}}),
          ("output_features", {"action": {"type": "ACTION", "shape": []}}),
          ("output_features", {"action": {"type": "ACTION", "shape": 6}}), ("rtc_config", [1])]


@pytest.mark.parametrize("key, value", BROKEN, ids=lambda part: str(part))
def test_a_value_that_cannot_be_is_named(tmp_path, key, value):
    folder = save_checkpoint(tmp_path / "policy", tiny_policy())
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(SmolkitError, match="SK501") as error:
        load_checkpoint(folder)
    assert key in str(error.value) or "action" in str(error.value)


def test_an_int_where_a_float_is_written_is_fine():
    assert SmolVLAConfig.from_dict({"optimizer_grad_clip_norm": 1, "max_period": 4}).max_period == 4
