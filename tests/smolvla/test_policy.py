"""Config, presets, processors and the policy as the arm sees it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.report import SmolkitError
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.fake import fake_observation, tiny_model, tiny_policy, tiny_stats
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.presets import PRESETS, build_preset
from smolkit.smolvla.processors import make_processors
from smolkit.smolvla.tokenizer import ASSETS, TaskTokenizer
from tests.paths import shared


@pytest.mark.parametrize("style", ["checkpoint", "checkpoint_oldstyle"])
def test_a_published_config_comes_back_key_by_key(style, tmp_path):
    path = shared("golden", "smolvla_tiny", style, "config.json")
    raw = json.loads(path.read_text())
    SmolVLAConfig.from_json(path).to_json(tmp_path / "config.json")
    again = json.loads((tmp_path / "config.json").read_text())
    assert list(again)[:len(raw)] == list(raw) and {key: again[key] for key in raw} == raw


def test_unknown_keys_are_kept_and_warned_of(tmp_path):
    raw = {"type": "smolvla", "flux": {"a": [1]}, "chunk_size": 8, "n_action_steps": 8,
           "pretrained_revision": None}
    with pytest.warns(UserWarning, match="SK501.*flux"):
        config = SmolVLAConfig.from_dict(raw)
    assert config.extra == {"flux": {"a": [1]}, "pretrained_revision": None}
    assert list(config.to_dict())[:5] == list(raw) and config.to_dict()["flux"] == {"a": [1]}
    assert "pretrained_revision" not in SmolVLAConfig().to_dict()      # LeRobot 0.4 refuses it


@pytest.mark.parametrize("raw", [{"type": "act"}, {"chunk_size": 4}, {"use_delta_joint_actions_aloha": True},
                                 {"output_features": {"action": {"type": "ACTION", "shape": [40]}}}])
def test_configs_that_cannot_work_are_refused(raw):
    with pytest.raises(SmolkitError, match="SK501"):
        SmolVLAConfig.from_dict(raw)


def test_presets_know_their_robot():
    for name in PRESETS:
        config = build_preset(name, cameras=("top",), joints=7).config
        assert config.cameras == ("observation.images.top",) and config.state_dim == config.action_dim == 7
    with pytest.raises(SmolkitError, match="classroom"):
        build_preset("huge")


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_sentence_can_be_said(task):
    tokenizer = TaskTokenizer(ASSETS, max_length=400)
    ids, mask = tokenizer([task])
    kept = [token for token in ids[0].tolist() if token > 2]
    assert mask.all() and ids.max() < tokenizer.vocabulary
    assert tokenizer._tokenizer.decode(kept, skip_special_tokens=False).rstrip("\n") == task.rstrip("\n")


def test_a_long_task_loses_its_beginning_with_a_warning():
    task = "pick up the red cube and put it in the blue box"
    with pytest.warns(UserWarning, match="SK507.*beginning"):
        ids, mask = TaskTokenizer(ASSETS, max_length=5)([task])
    whole, _ = TaskTokenizer(ASSETS, max_length=50)([task])
    assert ids[0].tolist() == whole[0, -5:].tolist() and mask.all()


def test_the_tokenizer_keeps_the_words_of_the_course_whole():
    tasks = ["put the red cube in the blue box", "pick up the green cube", "push the cube to the left"]
    ids, mask = TaskTokenizer(ASSETS, 16)(tasks)
    words = [len(task.split()) + 1 for task in tasks]                  # and the newline
    assert mask.sum(1).tolist() == words


def test_statistics_that_are_missing_or_of_another_robot_are_refused():
    config = build_preset("tiny").config
    with pytest.raises(SmolkitError, match="SK508"):
        make_processors(config, {"observation.state": tiny_stats()["observation.state"]}, ASSETS)
    foreign = {name: {"mean": np.zeros(7), "std": np.ones(7)} for name in ("observation.state", "action")}
    with pytest.raises(SmolkitError, match="another robot"):
        make_processors(config, foreign, ASSETS)


@pytest.mark.parametrize("mode, low, high", [("MEAN_STD", "", ""), ("IDENTITY", "", ""), ("MIN_MAX", "min", "max"),
                                             ("QUANTILES", "q01", "q99"), ("QUANTILE10", "q10", "q90")])
def test_normalising_has_an_inverse(mode, low, high):
    config = replace(build_preset("tiny").config, normalization_mapping={"STATE": mode, "ACTION": mode})
    limits = {low: np.full(6, -90.0), high: np.array([90.0] * 5 + [-90.0])}        # the last never moved
    stats = {name: {**values, **limits} for name, values in tiny_stats().items()}
    processors = make_processors(config, stats, ASSETS)
    actions_deg = torch.randn(4, 6) * 50
    actions_deg[:, 5] = -90
    normal = processors.before({"observation.state": actions_deg, "action": actions_deg})["action"]
    torch.testing.assert_close(processors.after(normal), actions_deg, atol=1e-4, rtol=1e-5)
    for edge, place in ((low, -1), (high, 1)) if low else ():          # LeRobot puts what spans nothing at -1
        assert processors.before({"action": torch.tensor(limits[edge])})["action"].tolist() == [place] * 5 + [-1]


def test_pictures_are_normalised_where_the_mapping_says_so():
    config = replace(build_preset("tiny").config, normalization_mapping={"VISUAL": "MEAN_STD"})
    grey = {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
    processors = make_processors(config, {**tiny_stats(), "observation.images.front": grey}, ASSETS)
    seen = processors.before({"observation.images.front": torch.ones(2, 3, 4, 5)})["observation.images.front"]
    torch.testing.assert_close(seen, torch.full((2, 3, 4, 5), 2.0))
    with pytest.raises(SmolkitError, match="SK508"):
        processors.before({"observation.images.wrist": torch.ones(2, 3, 4, 5)})


def test_cameras_under_other_names_are_renamed():
    config = build_preset("tiny").config
    renames = {"observation.images.laptop": "observation.images.front"}
    policy = SmolVLAPolicy(tiny_model(), make_processors(config, tiny_stats(), ASSETS, renames))
    seen = fake_observation()
    other = replace(seen, images={"laptop": seen.images["front"], "wrist": seen.images["wrist"]})
    np.testing.assert_array_equal(policy.predict(other).actions_deg, tiny_policy().predict(seen).actions_deg)


def test_an_absent_camera_is_refused_by_name():
    seen = fake_observation()
    with pytest.raises(SmolkitError, match=r"SK505.*wrist"):
        tiny_policy().predict(replace(seen, images={"front": seen.images["front"]}))


def test_a_chunk_knows_when_it_looked_and_speaks_degrees():
    chunk = tiny_policy().predict(fake_observation(seed=3))
    assert chunk.actions_deg.shape == (10, 6) and chunk.observed_s == 3.0 and chunk.fps == 10
    stats = tiny_stats()["action"]
    far = np.abs(chunk.actions_deg - stats["mean"].numpy()) / stats["std"].numpy()
    assert 0.1 < far.max() < 20


def test_predicting_a_list_is_predicting_a_batch():
    observations = [fake_observation(seed=k) for k in range(3)]
    together = tiny_policy().predict(observations)
    assert [chunk.observed_s for chunk in together] == [0.0, 1.0, 2.0]
    first = tiny_policy().predict(observations[0])
    np.testing.assert_allclose(together[0].actions_deg, first.actions_deg, atol=1e-3)


def test_a_seed_gives_the_same_run_twice():
    policy = tiny_policy(seed=7)
    one = [policy.predict(fake_observation()).actions_deg for _ in range(2)]
    policy.reset(7)
    two = [policy.predict(fake_observation()).actions_deg for _ in range(2)]
    np.testing.assert_array_equal(one, two)
    assert np.abs(one[0] - one[1]).max() > 0


def test_the_room_is_light_to_open():
    assert (Path(ASSETS).parent / "__init__.py").read_text().strip() == ""


def test_a_task_without_a_state_is_tokenised():
    out = tiny_policy().processors.before({"task": ["stop"]})
    assert out["observation.language.tokens"].shape == out["observation.language.attention_mask"].shape
    assert "observation.state" not in out
