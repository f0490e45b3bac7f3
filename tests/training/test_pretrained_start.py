"""A policy that asks for a pretrained backbone starts on one, or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from smolkit.report import SmolkitError
from smolkit.smolvla.backbone import read_backbone
from smolkit.smolvla.presets import Preset, build_preset
from smolkit.smolvla.tokenizer import ASSETS
from smolkit.training.learner import fresh_policy
from tests.training.test_learner import spots

TINY = Path(__file__).parents[1] / "smolvla" / "smolvlm_tiny"


def preset(name: str) -> Preset:
    config = replace(build_preset("tiny").config, load_vlm_weights=True, vlm_model_name=name, num_vlm_layers=3)
    return Preset(config, replace(read_backbone(TINY), lm_head=False))


def test_the_backbone_and_its_tokenizer_are_the_named_ones(tmp_path):
    home = Path(shutil.copytree(TINY, tmp_path / "backbone"))
    for path in ASSETS.glob("token*.json"):
        shutil.copyfile(path, home / path.name)
    policy = fresh_policy(preset(str(home)), spots())
    assert policy.weights.random == ("expert",) and policy.processors.tokenizer.folder == home


def test_a_backbone_that_is_nowhere_stops_the_training_before_it_begins(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SmolkitError, match="SK516[^$]*nobody/has-this"):
        fresh_policy(preset("nobody/has-this"), spots())
