"""Names of weights, and statistics among them, as programs of several years have written them."""

from __future__ import annotations

import pytest
import torch

from smolkit.smolvla.fake import tiny_model
from smolkit.smolvla.names import ours, split_statistics, theirs

OLD = {"normalize_inputs.buffer_observation_state.mean": ("observation.state", "mean"),
       "normalize_targets.buffer_action.std": ("action", "std"),
       "unnormalize_outputs.so100_buffer_action.mean": ("action", "mean"),
       "model.normalize_inputs.so101-red_buffer_observation_state.std": ("observation.state", "std"),
       "model._orig_mod.normalize_inputs.so100-blue_buffer_observation_state.min": ("observation.state", "min")}


@pytest.mark.parametrize("name, place", OLD.items())
def test_a_statistic_is_found_among_the_weights(name, place):
    weights, statistics = split_statistics({name: torch.ones(6), "model.state_proj.bias": torch.zeros(3)})
    assert list(weights) == ["model.state_proj.bias"]
    assert [(feature, key) for feature, values in statistics.items() for key in values] == [place]


def test_of_several_data_sets_the_first_counts():
    raw = {f"normalize_inputs.so100-{tag}_buffer_observation_state.mean": torch.full((6,), number)
           for tag, number in (("blue", 1.0), ("red", 2.0))}
    assert split_statistics(raw)[1]["observation.state"]["mean"].tolist() == [1.0] * 6


def test_every_weight_has_one_name_of_each_program():
    names = list(tiny_model().state_dict())
    assert [ours(theirs(name)) for name in names] == names
    assert [ours(theirs(name).replace("model.", "model._orig_mod.", 1)) for name in names] == names
    vlm = "model.vlm_with_expert.vlm."
    backbone = [name for name in names if theirs(name).startswith(vlm)]
    assert [ours(theirs(name).removeprefix(vlm)) for name in backbone] == backbone and len(backbone) > 40


@pytest.mark.parametrize("name", ["surprise", "model.audio_model.norm.weight", "text_models.norm.weight"])
def test_a_name_that_is_none_of_ours_stays_as_it_is(name):
    assert ours(name) == name
