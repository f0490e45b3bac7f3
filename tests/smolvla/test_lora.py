"""Low-rank adapters: what they compute, what learns, and what PEFT's files of them may say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smolkit.report import SmolkitError
from smolkit.smolvla import adapter_files
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import fake_observation, tiny_batch, tiny_model, tiny_policy
from smolkit.smolvla.freezing import learn, trainable_count
from smolkit.smolvla.lora import adapters, add_lora, learn_adapters, merge
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.presets import build_preset
from smolkit.smolvla.weights import empty_model
from tests.paths import REPO, shared

PEFT = REPO / "tests" / "smolvla" / "peft"
EVERYTHING = r"(expert|language)\.layers\..*|state_proj|expert\.action_.*|vision\.layers\..*|vision\.connector"


def shaken(model: SmolVLA) -> SmolVLA:
    """B is zero in a new adapter: give it numbers, so that it does something."""
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for adapter in adapters(model).values():
            adapter.lora_B.weight.copy_(0.2 * torch.randn(adapter.lora_B.weight.shape, generator=rng))
    return model


def adapted(seed: int = 1, **options: object) -> SmolVLA:
    model = tiny_model(seed)
    torch.manual_seed(seed)
    add_lora(model, **options)
    return shaken(model)


def actions(model: SmolVLA) -> torch.Tensor:
    return model.sample_actions(tiny_batch(), noise=torch.zeros(2, 10, 32))


def test_lerobots_choice_has_the_published_number_of_parameters():
    preset = build_preset("base")
    model = empty_model(preset.config, preset.backbone)
    add_lora(model, rank=16)
    assert trainable_count(model) == 742_656 and len(adapters(model)) == 37


def test_a_merged_adapter_acts_as_before():
    """Also that every matrix is used by calling it: a short cut past `forward` would leave the adapter out."""
    model = adapted(rank=3, targets=EVERYTHING)
    before, plain = actions(model), actions(tiny_model(1))
    assert (before - plain).abs().max() > 0.1
    merge(model)
    torch.testing.assert_close(actions(model), before, atol=1e-5, rtol=1e-5)
    assert model.state_dict().keys() == tiny_model().state_dict().keys()
    learning = [name for name, weight in tiny_model().named_parameters() if weight.requires_grad]
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == learning


@pytest.mark.parametrize("name", ["state_proj", "expert.action_time_in", "expert.layers.0.self_attn.v_proj",
                                  "expert.layers.1.self_attn.q_proj", "language.layers.1.self_attn.k_proj"])
def test_an_adapter_of_one_matrix_matters_alone(name):
    assert not torch.equal(actions(adapted(targets=[name])), actions(tiny_model(1)))


def test_only_adapters_learn():
    model = adapted(rank=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model(tiny_batch(), generator=torch.Generator().manual_seed(0))["loss"].backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".lora_" in name}


def test_a_half_precision_base_keeps_fine_adapters():
    model = tiny_model().bfloat16()
    add_lora(model, rank=2)
    assert model.state_proj.lora_A.weight.dtype == torch.float32 and model.state_proj.weight.dtype == torch.bfloat16
    assert model.state_proj(torch.zeros(1, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("options", [{"targets": ["expert.layers.99.q_proj"]}, {"targets": "nothing"}, {"rank": 0},
                                     {"targets": ["language.embed"]}, {"alpha": 0}])
def test_a_wrong_target_is_refused(options):
    with pytest.raises(SmolkitError, match="SK517"):
        add_lora(tiny_model(), **options)


# --- files -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and an adapter beside it."""
    folder = tmp_path_factory.mktemp("made")
    policy = load_checkpoint(save_checkpoint(folder / "base", tiny_policy(seed=1)))
    torch.manual_seed(0)
    add_lora(policy.model, rank=2, targets=r"state_proj|expert\.layers\..*\.q_proj")
    shaken(policy.model)
    save_checkpoint(folder / "light", policy)
    return folder


@pytest.fixture
def light(made: Path, tmp_path: Path) -> Path:
    """The adapter's folder, to be changed."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made" / "light"


@pytest.fixture
def base(light: Path) -> Path:
    return light.parent / "base"


@pytest.mark.parametrize("kind", ["plain", "patterns"])
def test_an_adapter_that_peft_wrote_acts_as_in_lerobot(kind, tmp_path):
    golden = shared("golden", "smolvla_tiny")
    folder = tmp_path / kind
    shutil.copytree(PEFT / kind, folder)
    shutil.copytree(golden / "vlm", tmp_path / "vlm")
    shutil.copytree(golden / "checkpoint", tmp_path / "checkpoint")      # base_model_name_or_path
    for path in (golden / "checkpoint").glob("policy_*"):
        shutil.copyfile(path, folder / path.name)
    policy = load_checkpoint(folder)
    inputs, expected = load_file(golden / "inputs.safetensors"), load_file(folder / "expected.safetensors")["actions"]
    batch = {name.removeprefix("raw."): value for name, value in inputs.items()
             if name.startswith(("observation.", "raw.observation.images"))}
    found = policy.model.sample_actions(batch, noise=inputs["noise_sampling"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    copy = save_checkpoint(tmp_path / "copy", policy)
    mine, theirs = (load_file(place / "adapter_model.safetensors") for place in (copy, folder))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    again = load_checkpoint(copy).model.sample_actions(batch, noise=inputs["noise_sampling"])
    assert torch.equal(again, found)


def test_an_adapter_comes_back_as_it_was(light):
    assert not (light / "model.safetensors").exists() and json.loads((light / "config.json").read_text())["use_peft"]
    policy = load_checkpoint(light)
    assert policy.weights.report().ok and len(adapters(policy.model)) == 5
    assert {name.rpartition(".lora_")[1] for name, weight in policy.model.named_parameters()
            if weight.requires_grad} == {".lora_"}
    again = load_checkpoint(save_checkpoint(light.parent / "again", policy))
    np.testing.assert_array_equal(policy.predict(fake_observation()).actions_deg,
                                  again.predict(fake_observation()).actions_deg)
    merge(policy.model)
    whole = load_checkpoint(save_checkpoint(light.parent / "whole", policy))
    assert not adapters(whole.model) and not whole.model.config.use_peft


def test_what_learns_beside_the_adapters_is_saved_whole(base):
    policy = load_checkpoint(base)
    add_lora(policy.model, targets=["state_proj"])
    policy.model.expert.action_out.weight.requires_grad_(True)
    with torch.no_grad():
        policy.model.expert.action_out.weight.add_(1)
    folder = save_checkpoint(base.parent / "light", policy)
    assert json.loads((folder / "adapter_config.json").read_text())["modules_to_save"] == ["model.action_out_proj"]
    again = load_checkpoint(folder)
    assert torch.equal(again.model.expert.action_out.weight, policy.model.expert.action_out.weight)
    assert again.model.expert.action_out.weight.requires_grad
    policy.model.state_proj.bias.requires_grad_(True)
    with pytest.raises(SmolkitError, match="SK517.*\n.*state_proj"):
        save_checkpoint(folder, policy)
    assert adapter_files.read(folder).modules_to_save == ["model.action_out_proj"]         # the old one is whole


def edit(folder: Path, **entries: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize("entries", [
    {"use_dora": True}, {"bias": "all"}, {"peft_type": "LOHA"}, {"init_lora_weights": "pissa"}, {"r": 0}, {"r": "4"},
    {"fan_in_fan_out": True}, {"layers_to_transform": [1]}, {"target_parameters": ["x"]}, {"unheard_of": 1},
    {"trainable_token_indices": [3]}, {"lora_bias": True}, {"exclude_modules": ["q_proj"]}, {"r": True},
    {"target_modules": "("}, {"target_modules": None}, {"target_modules": "all-linear"},
    {"rank_pattern": {"state_proj": -1}}, {"modules_to_save": ["action_in_proj"]}, {"base_model_name_or_path": 3}])
def test_what_is_not_plain_lora_is_refused(light, entries):
    edit(light, **entries)
    with pytest.raises(SmolkitError, match="SK517"):
        load_checkpoint(light)


@pytest.mark.parametrize("entries", [
    {"target_modules": "(.+)+b"}, {"target_modules": "m?o?d?e?l?"}, {"target_modules": "(.|m)" * 30 + "b"},
    {"target_modules": r"(.)\1"}, {"alpha_pattern": {"(x*)*": 3}}, {"rank_pattern": {".*.*.*.*b": 2}}])
def test_a_pattern_that_could_run_for_hours_is_refused(light, entries):
    edit(light, **entries)
    with pytest.raises(SmolkitError, match="SK517 expected simple regular expressions"):
        load_checkpoint(light)


def test_rank_stabilised_adapters_weigh_alpha_over_the_root_of_their_rank(light):
    edit(light, use_rslora=True, lora_alpha=3)
    policy = load_checkpoint(light)
    assert policy.model.state_proj.scale == pytest.approx(3 / 2 ** 0.5)
    again = load_checkpoint(save_checkpoint(light.parent / "again", policy))
    assert again.model.state_proj.scale == pytest.approx(3 / 2 ** 0.5, rel=1e-12)


@pytest.mark.parametrize("entries", [{"lora_alpha": 0}, {"alpha_pattern": {"state_proj": 0}}])
def test_adapters_that_are_switched_off_are_told(light, entries):
    edit(light, **entries)
    with pytest.warns(UserWarning, match="SK517.*lora_alpha 0"):
        load_checkpoint(light)


def test_loading_an_adapter_draws_nothing(light):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    load_checkpoint(light)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [".", "../base"])
def test_a_relative_base_is_called_by_its_folder_wherever_we_stand(light, base, name, tmp_path, monkeypatch):
    for path in light.glob("adapter_*"):
        shutil.copy(path, base / path.name)
    edit(base, base_model_name_or_path=name)
    monkeypatch.chdir(tmp_path)
    policy = load_checkpoint(base)
    assert policy.weights.base == "base"
    assert adapters(load_checkpoint(save_checkpoint(base.parent / "again", policy)).model)


def trained(policy: SmolVLAPolicy) -> None:
    with torch.no_grad():
        policy.model.expert.action_out.weight.mul_(1.01)
    add_lora(policy.model)


def folded(policy: SmolVLAPolicy) -> None:
    merge(policy.model)
    add_lora(policy.model)


@pytest.mark.parametrize("name, change", [("base", trained), ("light", folded)])
def test_adapters_on_a_base_that_is_in_no_file_are_refused(base, name, change):
    """They would be loaded onto the file's weights: another policy. Merged, everything is saved."""
    policy = load_checkpoint(base.parent / name)
    change(policy)
    with pytest.raises(SmolkitError, match=r"SK518(.|\n)*is another(.|\n)*save the whole policy(.|\n)*merge"):
        save_checkpoint(base.parent / "new", policy)
    assert not (base.parent / "new").exists()
    merge(policy.model)
    again = load_checkpoint(save_checkpoint(base.parent / "new", policy))
    assert torch.equal(again.model.expert.action_out.weight, policy.model.expert.action_out.weight)


def test_a_base_that_was_saved_anew_is_refused_and_a_rounded_one_is_not(base):
    policy = load_checkpoint(base, dtype=torch.bfloat16)
    policy.model.float()
    add_lora(policy.model)
    save_checkpoint(base.parent / "new", policy)
    save_checkpoint(base, tiny_policy(seed=9))
    with pytest.raises(SmolkitError, match="SK518"):
        save_checkpoint(base.parent / "new", policy)
    shutil.rmtree(base)
    with pytest.warns(UserWarning, match="SK518.*base is gone"):
        save_checkpoint(base.parent / "new", policy)


def test_an_adapter_does_not_replace_its_own_base(light, base):
    policy = load_checkpoint(base)
    add_lora(policy.model)
    with pytest.raises(SmolkitError, match="SK518(.|\n)*its base lies"):
        save_checkpoint(base, policy)
    base.rename(light / "base")                                # inside the adapter's folder it stays
    again = load_checkpoint(save_checkpoint(light, load_checkpoint(light)))
    assert again.weights.report().ok and again.weights.base == "base"


def test_dropout_is_named(light):
    edit(light, lora_dropout=0.1)
    with pytest.warns(UserWarning, match=r"SK517.*lora_dropout 0\.1"):
        load_checkpoint(light)


@pytest.mark.parametrize("change", [
    lambda tensors: tensors.pop(next(iter(tensors))),
    lambda tensors: tensors.update({"base_model.model.model.state_proj.lora_magnitude_vector": torch.ones(48)}),
    lambda tensors: tensors.update({"base_model.model.model.flux.lora_A.weight": torch.ones(2, 2)}),
    lambda tensors: tensors.clear()])
def test_adapters_that_their_config_does_not_name_are_refused(light, change: Callable[[dict], object]):
    tensors = load_file(light / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, light / "adapter_model.safetensors")
    with pytest.raises(SmolkitError, match="SK517"):
        load_checkpoint(light)


@pytest.mark.parametrize("rank", [3, 10 ** 12])
def test_an_adapter_of_another_rank_is_refused(light, rank):
    edit(light, r=rank)
    with pytest.raises(SmolkitError, match=rf"SK511.*\({rank}, "):
        load_checkpoint(light)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"r": 4, "lora_al'])
def test_a_broken_adapter_config_is_named(light, content):
    (light / "adapter_config.json").write_text(content)
    with pytest.raises(SmolkitError, match=r"SK517(.|\n)*adapter_config"):
        load_checkpoint(light)


@pytest.mark.parametrize("name", ["", None, "link", "../{0.name}/base", "base/../../{0.name}/base", "{0}/base"])
def test_a_base_that_lies_elsewhere_is_not_opened(light, name):
    elsewhere = light.parent.with_name(f"{light.parent.name}-elsewhere")
    shutil.copytree(light.parent / "base", elsewhere / "base")
    shutil.rmtree(light.parent / "base")
    (light.parent / "link").symlink_to(elsewhere / "base")
    edit(light, base_model_name_or_path=name and name.format(elsewhere))
    with pytest.raises(SmolkitError, match="SK518"):
        load_checkpoint(light)
    assert load_checkpoint(light, base=elsewhere / "base").weights.report().ok


def test_a_base_without_a_file_is_refused(tmp_path):
    policy = tiny_policy()
    add_lora(policy.model)
    with pytest.raises(SmolkitError, match=r"SK518.*\n.*never loaded"):
        save_checkpoint(tmp_path / "light", policy)
    assert not list(tmp_path.iterdir())


def test_what_was_unfrozen_by_mistake_is_frozen_again():
    model = adapted(rank=2)
    learning = trainable_count(model)
    learn(model, True)
    assert trainable_count(model) > learning
    learn_adapters(model)
    assert trainable_count(model) == learning
