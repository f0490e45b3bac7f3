"""The network's rules: who sees whom, what learns, and what the rarer settings change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.report import SmolkitError
from smolkit.smolvla.attention import attend, block_mask, readable
from smolkit.smolvla.backbone import TextConfig, VisionConfig
from smolkit.smolvla.config import Feature
from smolkit.smolvla.expert import expert_plan
from smolkit.smolvla.fake import tiny_batch, tiny_model
from smolkit.smolvla.flow import reduce_loss, sample_time
from smolkit.smolvla.keypoints import KeypointTower
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.presets import build_preset


def variant(seed: int = 0, **changes) -> SmolVLA:
    """The tiny model under other settings."""
    preset = build_preset("tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmolVLA(replace(preset.config, **changes), preset.backbone)


def sample(model: SmolVLA, batch: dict, seed: int = 0) -> torch.Tensor:
    return model.sample_actions(batch, generator=torch.Generator().manual_seed(seed))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_mask_is_the_rule_said_in_words(tokens):
    pad = torch.tensor([[real for real, _ in tokens]])
    block = torch.tensor([[new for _, new in tokens]])
    mask = block_mask(pad, block)[0]
    stages = [sum(new for _, new in tokens[:i + 1]) for i in range(len(tokens))]
    for i, (query_real, _) in enumerate(tokens):
        for j, (key_real, _) in enumerate(tokens):
            assert mask[i, j].item() == (query_real and key_real and stages[j] <= stages[i])


def test_a_masked_row_stays_finite_and_teaches_nothing():
    query, key = torch.randn(1, 3, 2, 4), torch.randn(1, 3, 2, 4, requires_grad=True)
    mask = block_mask(torch.tensor([[True, False, True]]), torch.zeros(1, 3, dtype=torch.bool))
    out = attend(query, key, key, readable(mask))
    out[:, [0, 2]].sum().backward()
    assert out.isfinite().all() and key.grad.isfinite().all() and key.grad[0, 1].abs().max() == 0


def test_padding_words_and_masked_cameras_change_nothing():
    model, batch = tiny_model(), tiny_batch()
    actions = sample(model, batch)
    other = dict(batch)
    other["observation.language.tokens"] = batch["observation.language.tokens"].clone()
    other["observation.language.tokens"][:, 5:] = 7                    # only the first five are real
    torch.testing.assert_close(sample(model, other), actions, atol=1e-6, rtol=0)
    blind = {**batch, "observation.images.wrist_padding_mask": torch.zeros(2, dtype=torch.bool)}
    seen = sample(model, blind)
    blind["observation.images.wrist"] = torch.zeros(2, 3, 48, 64)
    torch.testing.assert_close(sample(model, blind), seen, atol=1e-6, rtol=0)
    assert (seen - actions).abs().max() > 1e-3


def test_shorter_padding_is_the_same_computation():
    model, batch = tiny_model(), tiny_batch()
    short = {name: value[:, :5] if "language" in name else value for name, value in batch.items()}
    torch.testing.assert_close(sample(model, short), sample(model, batch), atol=1e-5, rtol=0)
    longer = variant(prefix_length=40)
    assert longer.encode(batch, trim=False).pad.shape[1] == 40
    torch.testing.assert_close(sample(longer, batch), sample(model, batch), atol=1e-5, rtol=0)


def test_an_absent_camera_becomes_black_and_masked_and_comes_last():
    pictures = {f"observation.images.{name}": Feature("VISUAL", (3, 48, 64)) for name in ("front", "wrist")}
    state = {"observation.state": Feature("STATE", (6,))}
    model = variant(empty_cameras=1, input_features={**state, **pictures})
    batch = tiny_batch()
    pictures = model.pictures(batch)
    assert len(pictures) == 3 and (pictures[2].image == -1).all() and not pictures[2].mask.any()
    torch.testing.assert_close(sample(model, batch), sample(tiny_model(), batch), atol=1e-5, rtol=0)
    nothing = {name: value for name, value in batch.items() if "images" not in name}
    with pytest.raises(SmolkitError, match="SK505"):
        model.pictures(nothing)


def test_special_tokens_stay_visible_around_a_masked_picture():
    model, batch = variant(add_image_special_tokens=True), tiny_batch()
    batch["observation.images.wrist_padding_mask"] = torch.zeros(2, dtype=torch.bool)
    pad = model.encode(batch, trim=False).pad
    assert pad.shape[1] == 2 * (2 + 4 + 1) + 16 + 1
    assert pad[0, :14].tolist() == [True] * 7 + [True] * 2 + [False] * 4 + [True]
    assert model.encode(batch).pad.shape[1] == 7 + 3 + 5 + 1           # trimmed: the special ones stay, too
    whole = model.denoise(model.remember(model.encode(batch, trim=False)), noise := torch.randn(2, 10, 32))
    torch.testing.assert_close(model.denoise(model.remember(model.encode(batch)), noise), whole, atol=1e-5, rtol=0)


def test_a_picture_that_nobody_has_is_never_looked_at():
    model, batch = tiny_model(), tiny_batch()
    batch["observation.images.wrist_padding_mask"] = torch.zeros(2, dtype=torch.bool)
    assert [seen.tokens.shape[1] for seen in model.look(batch)] == [4, 0]
    batch["observation.images.wrist_padding_mask"][1] = True           # one sample has it: all are looked at
    assert [seen.tokens.shape[1] for seen in model.look(batch)] == [4, 4]


def test_the_scene_read_first_and_the_state_on_top_are_the_same_notes():
    model, batch = tiny_model(), tiny_batch()
    once = model.remember(model.encode(batch))
    apart = model.language(model.state(batch), model.read_scene(batch, model.look(batch)))
    assert torch.equal(once.pad, apart.pad) and torch.equal(once.block, apart.block)
    for a, b in zip(once.keys + once.values, apart.keys + apart.values, strict=True):
        torch.testing.assert_close(a[once.pad], b[once.pad], atol=1e-6, rtol=1e-5)


def test_gradients_do_not_depend_on_how_the_scene_was_read():
    model, batch = tiny_model(), tiny_batch()
    noise, time = torch.randn(2, 10, 32), torch.tensor([0.2, 0.9])
    wanted = {}
    model.language.embed.weight.requires_grad_(True)                   # then all is read with gradient
    for learns in (True, False):
        model.language.embed.weight.requires_grad_(learns)
        assert model.reads_with_gradient is learns
        model.zero_grad()
        model(batch, noise=noise, time=time)["loss"].backward()
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        wanted = wanted or grads
    assert "state_proj.weight" in grads and set(wanted) - set(grads) == {"language.embed.weight"}
    for name, grad in grads.items():
        torch.testing.assert_close(grad, wanted[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("changes", [
    {"attention_mode": "self_attn"}, {"self_attn_every_n_layers": 0}, {"self_attn_every_n_layers": 3},
    {"num_expert_layers": 2, "self_attn_every_n_layers": 0},
    {"num_expert_layers": 2, "self_attn_every_n_layers": 4},
    {"num_expert_layers": 2, "attention_mode": "self_attn"}])
def test_other_shapes_of_the_expert_run_and_learn(changes):
    model = variant(**changes)
    loss = model(tiny_batch(), generator=torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    assert loss.isfinite() and model.expert.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0
    assert sample(model, tiny_batch()).isfinite().all()


def test_a_depth_that_lerobot_cannot_run_is_refused():
    config = replace(build_preset("tiny").config, num_expert_layers=2)
    with pytest.raises(SmolkitError, match="SK501"):
        expert_plan(config, 4)
    with pytest.raises(SmolkitError, match="divides"):
        expert_plan(replace(config, num_expert_layers=3), 4)


def test_action_tokens_look_back_but_never_ahead():
    model, batch = tiny_model(), tiny_batch()
    memory = model.remember(model.encode(batch))
    context = model.expert.read(memory, 10)
    x = torch.randn(2, 10, 32)
    later = x.clone()
    later[:, 6:] += 1
    before, after = (model.expert(points, torch.full((2,), 0.5), context) for points in (x, later))
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert (before[:, 6:] - after[:, 6:]).abs().max() > 1e-3


def test_the_language_model_never_sees_state_or_noise():
    model, batch = tiny_model(), tiny_batch()
    one = model.remember(model.encode(batch))
    two = model.remember(model.encode({**batch, "observation.state": batch["observation.state"] + 1}))
    others = one.pad.clone()
    others[:, -1] = False                                              # every real token but the state itself
    for a, b in zip(one.keys + one.values, two.keys + two.values, strict=True):
        torch.testing.assert_close(a[others], b[others])
    assert (one.keys[1][:, -1] - two.keys[1][:, -1]).abs().max() > 1e-4


def test_several_draws_on_one_prefix_are_several_batches():
    model, batch = tiny_model(), tiny_batch()
    noise, time = torch.randn(4, 10, 32), torch.rand(4)
    both = model(batch, noise=noise, time=time, draws=2)["loss_per_element"]
    each = [model(batch, noise=noise[k:k + 2], time=time[k:k + 2])["loss_per_element"] for k in (0, 2)]
    torch.testing.assert_close(both, torch.cat(each), atol=1e-5, rtol=1e-5)


def test_a_seed_gives_the_same_actions_and_another_seed_others():
    model, batch = tiny_model(), tiny_batch()
    assert torch.equal(sample(model, batch, seed=4), sample(model, batch, seed=4))
    assert not torch.equal(sample(model, batch, seed=4), sample(model, batch, seed=5))


def test_time_leans_to_noise_as_beta_does():
    time = sample_time(20_000, torch.Generator().manual_seed(0))
    assert time.min() >= 0.001 and time.max() <= 1
    assert abs(time.mean().item() - (0.999 * 0.6 + 0.001)) < 0.006     # Beta(1.5, 1) has mean 0.6
    assert abs(time.var().item() - 0.999 ** 2 * 1.5 / (2.5 ** 2 * 3.5)) < 0.003


def test_padded_steps_and_joints_do_not_count():
    error, is_pad = torch.ones(1, 4, 32), torch.tensor([[False, False, True, True]])
    error[:, 2:], error[:, :, 6:] = 100, 100
    assert reduce_loss(error, is_pad, 6).item() == 1 and reduce_loss(error, is_pad, 6, "0.4.4").item() > 80
    assert reduce_loss(error, torch.ones_like(is_pad), 6).item() == 0  # nothing valid: no division by zero
    with pytest.raises(SmolkitError, match="SK504"):
        reduce_loss(error, is_pad, 6, "0.4")


@pytest.mark.parametrize("changes, learns, rests", [
    ({}, ["state_proj.weight", "expert.norm.weight"], ["language.layers.0.mlp.up_proj.weight",
                                                       "vision.connector.weight"]),
    ({"train_state_proj": False}, ["expert.norm.weight"], ["state_proj.weight"]),
    ({"train_expert_only": False}, ["vision.connector.weight", "language.layers.2.mlp.up_proj.weight"],
     ["vision.norm.weight", "language.layers.3.mlp.up_proj.weight", "language.norm.weight",
      "language.head.weight"]),
    ({"train_expert_only": False, "freeze_vision_encoder": False}, ["vision.norm.weight"], [])])
def test_freezing(changes, learns, rests):
    on = {name for name, weight in variant(**changes).named_parameters() if weight.requires_grad}
    assert on.issuperset(learns) and on.isdisjoint(rests)


def test_the_classroom_learns_all_that_it_uses():
    model, batch = tiny_model(preset="classroom"), tiny_batch(chunk=16)
    model(batch)["loss"].backward()
    assert all((weight.grad is not None) == weight.requires_grad for weight in model.parameters())
    assert 2_000_000 < sum(weight.numel() for weight in model.parameters()) < 5_000_000


def test_a_keypoint_follows_a_moving_spot():
    config = VisionConfig(kind="keypoints", keypoints=1, keypoint_features=1, channels=8)
    torch.manual_seed(0)
    tower = KeypointTower(config, width_out=16, cameras=1)
    spots = torch.zeros(2, 3, 64, 64)
    spots[0, :, 10:14, 10:14], spots[1, :, 50:54, 50:54] = 1, 1
    assert (tower(spots)[0] - tower(spots)[1]).abs().max() > 0
    assert tower(spots).shape == (2, 2, 16)


@pytest.mark.parametrize("size", [(40, 40), (64, 32), (128, 32), (16, 16)])
def test_pictures_of_a_wrong_size_are_refused(size):
    with pytest.raises(SmolkitError, match="SK503"):
        variant(resize_imgs_with_padding=size).encode(tiny_batch())


@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_other_sizes_take_their_positions_from_the_same_places(size):
    model, side = variant(resize_imgs_with_padding=(size, size)), size // 8
    seen = model.look(tiny_batch())
    assert {one.tokens.shape[1] for one in seen} == {(side // 4) ** 2}
    place = [k * 8 // side for k in range(side)]                   # out of 8 a side
    wanted = model.vision.position_embedding.weight[[8 * row + column for row in place for column in place]]
    assert torch.equal(model.vision._positions(side), wanted)
    assert model.sample_actions(tiny_batch()).isfinite().all()


def test_a_head_count_can_be_anything_that_divides():
    preset = build_preset("tiny")
    text = TextConfig(width=40, ffn=64, layers=2, heads=4, kv_heads=2, head_dim=12, vocabulary=512)
    model = SmolVLA(replace(preset.config, num_vlm_layers=0), replace(preset.backbone, text=text))
    assert sample(model, tiny_batch()).shape == (2, 10, 6)
