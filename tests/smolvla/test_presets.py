"""The sizes: every key, shape and dtype of the published policy, and the numbers of parameters by part."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from smolkit.report import SmolkitError
from smolkit.smolvla.freezing import freeze, trainable_count
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.names import theirs
from smolkit.smolvla.presets import Preset, as_published, build_preset
from tests.paths import shared

BASE = {"vision": 86_433_024, "vision.connector": 11_796_480, "language.embed": 47_308_800,
        "language.layers": 157_317_120, "language.norm": 960, "language.head": 47_308_800,
        "expert.layers": 98_245_120, "expert.norm": 720, "state_proj": 31_680, "expert.action_in": 23_760,
        "expert.action_out": 23_072, "expert.action_time_in": 1_037_520, "expert.action_time_out": 519_120}


def skeleton(preset: Preset, **changes) -> SmolVLA:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return SmolVLA(replace(preset.config, **changes), preset.backbone)


def count(model: SmolVLA, part: str = "") -> int:
    return sum(weight.numel() for name, weight in model.named_parameters() if name.startswith(part))


def test_the_published_policy_has_every_key_shape_and_dtype():
    keys = json.loads(shared("spec", "smolvla_checkpoint_keys.json").read_text())["smolvla_base_500m"]
    model = as_published(skeleton(build_preset("base")))
    weights = {theirs(name): weight for name, weight in model.state_dict().items()}
    assert {name: {"shape": list(weight.shape), "dtype": str(weight.dtype).removeprefix("torch.")}
            for name, weight in weights.items()} == keys
    assert len(keys) == 500 and sum(weight.nbytes for weight in weights.values()) == 906_639_456


def test_the_parts_of_the_published_policy():
    model = skeleton(build_preset("base"))
    found = {part: count(model, f"{part}.") for part in BASE}
    found["vision"] -= found["vision.connector"]
    assert found == BASE and sum(BASE.values()) == count(model) == 450_046_176


@pytest.mark.parametrize("layers, total, head, trainable", [
    (16, 243_967_328, 28_385_280, 37_043_744), (12, 220_698_080, 28_385_280, 27_934_880),
    (8, 197_428_832, 28_385_280, 18_826_016), (12, 192_312_800, 0, 27_934_880)])
def test_the_smaller_backbone_at_several_depths(layers, total, head, trainable):
    preset = build_preset("under200m")
    model = skeleton(replace(preset, backbone=replace(preset.backbone, lm_head=head > 0)), num_vlm_layers=layers)
    assert (count(model), count(model, "language.head."), trainable_count(model)) == (total, head, trainable)


@pytest.mark.parametrize("multiplier", [0.001, 0.7511])                # 0 and 721 numbers
def test_an_expert_without_room_for_sines_and_cosines_is_refused(multiplier):
    with pytest.raises(SmolkitError, match="SK501[^$]*expert_width_multiplier"):
        skeleton(build_preset("base"), expert_width_multiplier=multiplier)


def test_under200m_is_under_200_million_all_included():
    assert count(skeleton(build_preset("under200m"))) == 192_312_800 < 200_000_000


@pytest.mark.parametrize("changes, wanted", [
    ({}, 99_880_992), ({"train_state_proj": False}, 99_849_312), ({"train_expert_only": False}, 306_471_072),
    ({"train_expert_only": False, "freeze_vision_encoder": False}, 392_904_096)])
def test_trainable_parameters_of_the_published_policy(changes, wanted):
    model = skeleton(build_preset("base"), **changes)
    assert trainable_count(model) == wanted
    freeze(model, generation="0.4.4")
    later = 0 if model.config.train_expert_only else 9_832_320 + 960   # the last layer and the final norm
    assert trainable_count(model) == wanted + later
