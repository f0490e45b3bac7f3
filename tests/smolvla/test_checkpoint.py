"""Saving, loading, and files that are not what they should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import fake_observation, tiny_policy
from smolkit.smolvla.names import ours, theirs
from smolkit.smolvla.weights import HEAD
from tests.paths import shared

STATISTICS = "policy_preprocessor_step_5_normalizer_processor.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "policy", tiny_policy(seed=1))


@pytest.mark.parametrize("preset", ["tiny", "classroom"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_policy_comes_back_as_it_was_to_the_bit(tmp_path, preset, dtype):
    policy = tiny_policy(seed=2, preset=preset)
    policy.model.to(dtype)
    again = load_checkpoint(save_checkpoint(tmp_path / "p", policy), seed=2, dtype=None)
    assert again.weights.report().ok
    before, after = policy.model.state_dict(), again.model.state_dict()
    assert before.keys() - {HEAD} == after.keys()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == dtype for name in after)
    np.testing.assert_array_equal(policy.predict(fake_observation()).actions_deg,
                                  again.predict(fake_observation()).actions_deg)
    assert again.model.backbone == replace(policy.model.backbone, lm_head=False)
    learning = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert learning == [name for name, weight in again.model.named_parameters() if weight.requires_grad]


def test_the_unused_head_is_never_held_and_yet_written_back(saved):
    """Out of the file it came from, bit for bit, whatever dtype the policy has; also into that file's own place."""
    head = load_file(saved / "model.safetensors")[theirs(HEAD)]
    policy = load_checkpoint(saved, dtype=torch.bfloat16)
    assert HEAD not in policy.model.state_dict() and policy.weights.report().ok
    for place in (saved.parent / "copy", saved, saved):
        written = load_file(save_checkpoint(place, policy) / "model.safetensors")
        assert torch.equal(written[theirs(HEAD)], head)
    assert written["model.state_proj.weight"].dtype == torch.bfloat16


def test_a_head_whose_file_is_gone_is_left_out_with_a_warning(saved):
    policy = load_checkpoint(saved)
    shutil.rmtree(saved)
    with pytest.warns(UserWarning, match="SK515.*lm_head"):
        copy = save_checkpoint(saved.parent / "copy", policy)
    again = load_checkpoint(copy)                  # its tokenizer came from there, too, and is still known
    np.testing.assert_array_equal(again.predict(fake_observation()).actions_deg,
                                  policy.predict(fake_observation()).actions_deg)
    assert again.weights.report().ok and theirs(HEAD) not in load_file(copy / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")             # it never had one: nothing to warn of
        save_checkpoint(copy, again)


@pytest.mark.parametrize("change", [lambda head: head[:-3].clone(), lambda head: head.to(torch.int8), torch.neg])
def test_a_head_of_another_file_is_not_taken(saved, change):
    """Another size, no real numbers, or another policy of the same size: the file is not what it was."""
    policy, path = load_checkpoint(saved), saved / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, theirs(HEAD): change(tensors[theirs(HEAD)]).contiguous()}, path)
    with pytest.warns(UserWarning, match="SK515.*another"):
        copy = save_checkpoint(saved.parent / "copy", policy)
    assert theirs(HEAD) not in load_file(copy / "model.safetensors")


def test_a_new_policy_says_that_it_is_random():
    weights = tiny_policy().weights
    assert weights.random == ("backbone", "expert") and not weights.report().ok
    assert "random: backbone, expert" in weights.report().text()


def test_loading_does_not_wake_torchs_compiler(saved):
    """Importing it takes 3 s, and torch does it as soon as a network without memory draws a random number."""
    code = f"import sys; from smolkit.smolvla.checkpoint import load_checkpoint; load_checkpoint({str(saved)!r}); " \
           "print(*[name for name in ('sympy', 'torch._dynamo', 'huggingface_hub') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_a_loaded_policy_does_not_need_its_file(saved):
    """Nothing stays mapped: the file may be cut off while the policy lives."""
    policy = load_checkpoint(saved)
    before = policy.predict(fake_observation()).actions_deg
    policy.reset()
    (saved / "model.safetensors").write_bytes(b"")
    np.testing.assert_array_equal(policy.predict(fake_observation()).actions_deg, before)


def test_saving_twice_replaces_and_leaves_nothing_behind(saved):
    save_checkpoint(saved, tiny_policy(seed=5))
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]
    weights = load_checkpoint(saved).model.state_dict()
    assert torch.equal(weights["state_proj.weight"], tiny_policy(seed=5).model.state_proj.weight)


def mine(folder: Path) -> list[Path]:
    """Files of the user's own, beside the policy's and among them."""
    (folder / "recordings").mkdir()
    made = [folder / "calibration.json", folder / "recordings" / "0.mp4", folder / "vlm" / "model.safetensors"]
    for path in made:
        path.write_text("mine")
    return made


def test_what_others_put_into_the_folder_stays_there(saved):
    kept = mine(saved)
    (saved / "tokenizer").mkdir()                  # a policy's own, which the new one has not: it would be read
    save_checkpoint(saved, load_checkpoint(saved))
    assert all(path.read_text() == "mine" for path in kept) and not (saved / "tokenizer").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["policy"] and load_checkpoint(saved).weights.report().ok


def test_a_power_cut_before_the_last_deletion_loses_nothing(saved):
    """The new policy is in place, the user's files are still in the old folder: the next save brings them."""
    kept = mine(saved)
    policy = load_checkpoint(saved)
    new = save_checkpoint(saved.parent / "new", policy)
    saved.rename(saved.parent / ".policy.old")
    new.rename(saved)
    save_checkpoint(saved, load_checkpoint(saved))
    assert all(path.read_text() == "mine" for path in kept) and not (saved.parent / ".policy.old").exists()


@pytest.mark.parametrize("config", [None, "", "[]", '{"type": "act"}', '{"model_type": "smolvlm"}'])
def test_a_folder_of_something_else_is_not_touched(tmp_path, config):
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "model.safetensors").write_text("mine")
    if config is not None:
        (tmp_path / "robot" / "config.json").write_text(config)
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SmolkitError, match="SK514(.|\n)*robot/policy"):
        save_checkpoint(tmp_path / "robot", tiny_policy())
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert save_checkpoint(tmp_path / "robot" / "policy", tiny_policy()).exists()


def test_a_link_stays_and_the_folder_that_it_leads_to_is_replaced(saved):
    link = saved.parent / "latest"
    link.symlink_to(saved)
    save_checkpoint(link, tiny_policy(seed=5))
    assert link.is_symlink()
    weights = load_checkpoint(saved).model.state_dict()
    assert torch.equal(weights["state_proj.weight"], tiny_policy(seed=5).model.state_proj.weight)


@pytest.mark.skipif(os.name != "posix", reason="Windows syncs files when they are closed")
def test_everything_is_on_the_disk_before_the_old_policy_goes(saved, monkeypatch):
    """Every new file and folder, and the parent whose entries the swap changes."""
    synced, policy, remove = set(), tiny_policy(seed=5), shutil.rmtree

    def rmtree(path: Path, **options: object) -> None:
        if path.name == ".policy.old" and path.exists():
            assert {each.stat().st_ino for each in (saved.parent, saved, *saved.rglob("*"))} <= synced
        remove(path, **options)

    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(os.fstat(handle).st_ino), sync(handle)))
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    save_checkpoint(saved, policy)
    assert synced


def test_a_power_cut_between_the_two_moves_loses_nothing(saved):
    saved.rename(saved.parent / ".policy.old")
    assert load_checkpoint(saved).weights.report().ok


def test_a_golden_checkpoint_is_written_back_in_the_same_layout(tmp_path):
    source = shared("golden", "smolvla_tiny", "checkpoint")
    copy = save_checkpoint(tmp_path / "copy", load_checkpoint(source))
    theirs_now, theirs_before = load_file(copy / "model.safetensors"), load_file(source / "model.safetensors")
    assert theirs_now.keys() == theirs_before.keys()
    assert all(torch.equal(theirs_now[name], theirs_before[name]) for name in theirs_now)
    for name in ("config.json", "policy_preprocessor.json", "policy_postprocessor.json"):
        assert json.loads((copy / name).read_text()) == json.loads((source / name).read_text()), name
    for path in source.glob("*processor*.safetensors"):
        assert load_file(path).keys() == load_file(copy / path.name).keys()


def test_statistics_with_a_tag_and_a_compiled_model(tmp_path):
    source = shared("golden", "smolvla_tiny", "checkpoint_oldstyle")
    folder = tmp_path / "tagged"
    shutil.copytree(source, folder)
    folder.chmod(0o755)
    tensors = {name.replace(".buffer_", ".so100-blue_buffer_").replace("model.", "model._orig_mod.", 1): value
               for name, value in load_file(source / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors")
    policy = load_checkpoint(folder, backbone=source.parent / "vlm")
    plain = load_checkpoint(source)
    assert policy.weights.report().ok
    for feature, values in plain.processors.normalizer.stats.items():
        for name, value in values.items():
            assert torch.equal(policy.processors.normalizer.stats[feature][name], value)


@pytest.mark.parametrize("name, code", [("model.safetensors", "SK510"), ("config.json", "SK501"),
                                        ("policy_preprocessor.json", "SK509"), ("vlm/config.json", "SK502"),
                                        ("vlm/tokenizer.json", "SK507"), (STATISTICS, "SK508")])
def test_a_truncated_file_is_named(saved, name, code):
    path = saved / name
    path.write_bytes(path.read_bytes()[:-len(path.read_bytes()) // 3])
    with pytest.raises(SmolkitError) as error:
        load_checkpoint(saved)
    assert error.value.code == code and path.parent.name in str(error.value)


def test_a_missing_weight_is_an_error_and_an_extra_one_a_red_check(saved):
    weights = load_file(saved / "model.safetensors")
    save_file({**weights, "model.surprise": torch.zeros(1)}, saved / "model.safetensors")
    assert [check.code for check in load_checkpoint(saved).weights.report().red()] == ["SK512"]
    weights.pop("model.state_proj.bias")
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(SmolkitError, match=r"SK511.*\n.*model\.state_proj\.bias"):
        load_checkpoint(saved)


def test_missing_statistics_are_an_error(saved):
    for path in saved.glob("policy_*processor*"):
        path.unlink()
    with pytest.raises(SmolkitError, match="SK508"):
        load_checkpoint(saved)


def test_saving_writes_the_normalisation_that_was_loaded(tmp_path, saved):
    """The pipeline says MIN_MAX for the state, the config says MEAN_STD: the pipeline is what is done."""
    path = saved / "policy_preprocessor.json"
    raw = json.loads(path.read_text())
    step = next(step for step in raw["steps"] if step["registry_name"] == "normalizer_processor")
    step["config"]["norm_map"]["STATE"] = "MIN_MAX"
    path.write_text(json.dumps(raw))
    stats = load_file(saved / STATISTICS)
    limits = {f"observation.state.{name}": torch.full((6,), number)
              for name, number in (("min", -90.0), ("max", 90.0))}
    save_file({**stats, **limits}, saved / STATISTICS)
    policy = load_checkpoint(saved)
    again = load_checkpoint(save_checkpoint(tmp_path / "copy", policy))
    assert again.processors.normalizer.modes == policy.processors.normalizer.modes
    state_deg = torch.full((1, 6), 45.0)
    assert again.processors.normalizer.apply("observation.state", state_deg)[0].tolist() == [0.5] * 6
    assert again.model.config.normalization_mapping["STATE"] == "MEAN_STD"


def test_mixed_precision_agrees_to_bfloat16s_digits(saved):
    """As published: the language model and the expert in bfloat16, everything else float32."""
    weights = load_file(saved / "model.safetensors")
    mixed = {name: value.bfloat16() if "text_model" in name or "lm_expert" in name else value
             for name, value in weights.items()}
    save_file(mixed, saved / "model.safetensors")
    exact, half = load_checkpoint(saved), load_checkpoint(saved, dtype=None)
    assert half.model.language.embed.weight.dtype == torch.bfloat16
    wanted, found = (policy.predict(fake_observation()).actions_deg for policy in (exact, half))
    assert 0 < np.abs(wanted - found).max() < 0.05 * np.abs(wanted).max()


def test_every_name_of_the_published_layout_has_one_of_ours():
    names = json.loads(shared("spec", "smolvla_checkpoint_keys.json").read_text())["smolvla_base_500m"]
    keys = [entry["key"] if isinstance(entry, dict) else entry for entry in names]
    assert len({ours(key) for key in keys}) == len(keys) == 500
    assert all(theirs(ours(key)) == key for key in keys)


def test_a_config_names_no_backbone_elsewhere_on_this_computer(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    checkpoint = save_checkpoint(tmp_path / "here" / "policy", tiny_policy())
    shutil.move(checkpoint / "vlm", elsewhere)
    raw = json.loads((checkpoint / "config.json").read_text())
    for name in (str(elsewhere), "../../elsewhere"):
        (checkpoint / "config.json").write_text(json.dumps({**raw, "vlm_model_name": name}))
        with pytest.raises(SmolkitError, match="SK50"):
            load_checkpoint(checkpoint)
    assert load_checkpoint(checkpoint, backbone=elsewhere)
