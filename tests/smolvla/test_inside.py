"""What is shown of a policy's inside is what it truly computes, and lies where it truly looked."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.smolvla import inside_figures as figures
from smolkit.smolvla.ablations import Effect, ablate, change_of, cover_map, everything, plans
from smolkit.smolvla.attention import attend, block_mask, readable
from smolkit.smolvla.fake import fake_observation, tiny_policy
from smolkit.smolvla.images import prepare_image
from smolkit.smolvla.inside import (
    Attention,
    attention_maps,
    attention_weights,
    denoising,
    prefix_mask,
    prepared,
    reading_maps,
    token_budget,
    with_actions,
)
from smolkit.smolvla.inside_pictures import Square, keypoint_maps, over_picture, padding_share, picture_attention
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy


def variant(**changes) -> SmolVLAPolicy:
    """The tiny policy under other settings."""
    policy = tiny_policy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmolVLA(replace(policy.model.config, **changes), policy.model.backbone)
    return SmolVLAPolicy(model, policy.processors)


SHORT = fake_observation(task="stop")                  # one word and a newline: fourteen of sixteen are padding


@pytest.mark.parametrize("changes", [{}, {"add_image_special_tokens": True, "prefix_length": 40},
                                     {"empty_cameras": 1, "prefix_length": 9}])
def test_the_budget_and_the_mask_are_those_of_the_prefix(changes):
    policy = variant(**changes)
    parts, prefix = token_budget(policy, SHORT), policy.model.encode(prepared(policy, SHORT), trim=False)
    assert [part.start for part in parts] == [0, *np.cumsum([part.count for part in parts])[:-1]]
    real = np.concatenate([np.arange(part.count) < part.real for part in parts])
    assert np.array_equal(real, prefix.pad[0].numpy())
    chunk = policy.model.config.chunk_size
    ones = torch.ones(1, chunk, dtype=torch.bool)
    whole = block_mask(torch.cat([prefix.pad, ones], 1), torch.cat([prefix.block, ones], 1))
    assert np.array_equal(prefix_mask(policy, SHORT), whole[0].numpy())


def test_cameras_have_the_robots_names():
    policy = tiny_policy()
    theirs = {f"observation.images.{mine}": f"observation.images.{name}"
              for mine, name in (("top", "front"), ("hand", "wrist"))}
    renamed = SmolVLAPolicy(policy.model, replace(policy.processors, rename_map=theirs))
    images = dict(zip(("hand", "top"), fake_observation().images.values(), strict=True))
    parts = token_budget(renamed, replace(fake_observation(), images=images))
    assert [part.name for part in parts] == ["top", "hand", "words", "state"]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_the_weights_are_those_that_attention_uses(queries, groups, keys, seed):
    rng = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, queries, 2 * groups, 4, generator=rng), torch.randn(2, keys, groups, 4, generator=rng)
    value = torch.randn(2, keys, groups, 4, generator=rng)
    mask = readable(torch.rand(2, queries, keys, generator=rng) < 0.6)
    weights = attention_weights(query, key, mask)
    assert weights.masked_select(~mask[:, None].expand_as(weights)).abs().sum() == 0
    by_hand = torch.einsum("bhts,bshd->bthd", weights, value.repeat_interleave(2, dim=2)).flatten(2)
    torch.testing.assert_close(by_hand, attend(query, key, value, mask), atol=1e-5, rtol=1e-5)


def test_attention_goes_only_where_the_mask_allows():
    policy = tiny_policy()
    attention, allowed = attention_maps(policy, SHORT, seed=3), prefix_mask(policy, SHORT)[-10:]
    assert attention.kinds == ("self", "cross", "self", "cross") and attention.times[0] == 1
    np.testing.assert_allclose(attention.weights.sum(axis=-1), 1, atol=1e-5)
    assert (attention.weights[:, ::2] > 0).all(axis=(0, 1, 2))[allowed].all()    # nothing real is skipped, and
    assert not attention.weights[:, :, :, ~allowed].any()                        # nothing else is seen
    assert not attention.weights[:, 1::2, :, :, -10:].any()                      # a cross layer: the prefix alone
    np.testing.assert_allclose(sum(attention.shares().values()), 1, atol=1e-5)
    assert attention.shares()["words"].shape == (10, 4)
    reading = reading_maps(policy, SHORT)
    assert reading.shape == (3, 3, 25, 25)
    np.testing.assert_allclose(reading[..., -1, :].sum(axis=-1), 1, atol=1e-5)
    assert not reading[..., :8, -1].any()                                        # pictures never see the state


@pytest.mark.parametrize("preset", ["tiny", "classroom"])
def test_the_walk_ends_at_the_chunk_that_the_policy_predicts(preset):
    policy = tiny_policy(preset=preset)
    policy.reset(4)
    walk = denoising(policy, SHORT, seed=4)            # which leaves the policy's own noise alone
    np.testing.assert_allclose(walk.chunks_deg[-1], policy.predict(SHORT).actions_deg, atol=1e-3)
    again = denoising(policy, SHORT, seed=4)
    assert np.array_equal(again.chunks_deg, walk.chunks_deg) and np.array_equal(again.velocities, walk.velocities)
    assert (denoising(policy, SHORT, seed=5).chunks_deg != walk.chunks_deg).any()
    std = policy.processors.normalizer.stats["action"]["std"].numpy()
    np.testing.assert_allclose(np.diff(walk.chunks_deg, axis=0), -walk.velocities * std / 10, atol=1e-3)
    np.testing.assert_allclose(walk.guesses_deg[-1], walk.chunks_deg[-1], atol=1e-3)     # the last step is the guess


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (64, 64), (30, 40), (480, 640), (37, 90)])
@pytest.mark.parametrize("square", [(64, 64), None])
def test_every_pixel_gets_the_cell_of_the_square_that_it_was_put_into(shape, square):
    ramps = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij"))         # rows, columns
    picture = torch.from_numpy(np.stack([*ramps, np.ones(shape)]).astype(np.float32))[None]
    seen = prepare_image(picture, square)[0].numpy()                                             # (3, h, w)
    inside = np.argwhere(seen[2] > 0)                            # the rest is padding
    assert tuple(inside[0]) == Square.of(shape, square).padding
    back = over_picture(seen, shape, square)                     # at each pixel, the ramp's value at its place
    assert np.abs((back[:2] + 1) / 2 - ramps).max() < 1.1 / min(seen.shape[1:]) * max(shape) / min(shape)
    if shape == (48, 64) and square:
        assert padding_share(np.ones((4, 4)), shape, square) == 0.25


def test_attention_lies_on_the_picture_where_its_token_looked():
    policy, seen = tiny_policy(), fake_observation()
    attention = attention_maps(policy, seen)
    looked = picture_attention(attention, "wrist")
    assert looked.shape == (10, 4, 10, 2, 2)
    np.testing.assert_allclose(looked.sum(axis=(-2, -1)).mean(axis=2), attention.shares()["wrist"], atol=1e-5)
    np.testing.assert_allclose(looked[0, 1, 2, 1, 0], attention.weights[0, 1, :, 2, 4 + 2].mean(), atol=1e-6)
    with pytest.raises(SmolkitError, match="SK540"):
        keypoint_maps(policy, seen)
    with pytest.raises(SmolkitError, match="SK540"):
        picture_attention(attention_maps(tiny_policy(preset="classroom"), seen), "front")


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (128, 96)])
def test_keypoints_lie_on_what_they_found(shape):
    policy = tiny_policy(preset="classroom")
    image = np.zeros((*shape, 3), np.uint8)
    y, x = shape[0] // 2, 3 * shape[1] // 4
    image[y - 3:y + 4, x - 3:x + 4] = 255
    stem = policy.model.vision.stems[0]
    with torch.no_grad():                              # convolutions that pass brightness on, and a heat map of it
        for layer in (layer for layer in stem.convolutions if hasattr(layer, "weight")):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, :, layer.weight.shape[2] // 2, layer.weight.shape[3] // 2] = 1
        stem.heat.weight.zero_()
        stem.heat.weight[0, 0] = 60
    blank = np.zeros_like(image)
    found = keypoint_maps(policy, Observation(np.zeros(6), {"front": image, "wrist": blank}, "stop"))["front"]
    assert found.heat.shape == (32, 16, 16) and found.heat[0].sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(found.centres_px[0] - (x, y)).max() < 2.5 * max(shape) / 64
    assert found.spread_px[0] < 0.2 * found.spread_px[1]         # the others see one grey everywhere


def test_effects_are_measured_in_units_of_the_noise():
    policy, seen = tiny_policy(), [SHORT, fake_observation(seed=1)]
    changes = {"nothing": lambda one: one, "state": lambda one: replace(one, state_deg=one.state_deg + 40)}
    nothing, state = ablate(policy, seen, changes, draws=4)
    assert nothing.size == 0 and state.size > 0.02 and len(state.sizes) == 2
    one, other = (plans(policy, observation, 4) for observation in (SHORT, changes["state"](SHORT)))
    apart = np.median([(one[i] - other[i]).norm() for i in range(4)])
    noise = np.median([(one[i] - one[j]).norm() for i in range(4) for j in range(i)])
    assert state.sizes[0] == pytest.approx(apart / noise, rel=0.25)        # medians of an even number differ
    assert ablate(policy, seen, changes, draws=4) == (nothing, state)


def test_sentences_change_what_they_say():
    policy = tiny_policy()

    def changed(sentence: str) -> Observation:
        return change_of(policy, sentence, ["front", "wrist"])(SHORT)

    blank = changed("blank wrist").images
    assert (blank["wrist"] == 128).all() and blank["front"] is SHORT.images["front"]
    swap = changed("swap front and wrist").images
    assert swap["front"] is SHORT.images["wrist"] and swap["wrist"] is SHORT.images["front"]
    assert changed("task:  put it down ").task == "put it down" and changed("drop words").task == ""
    assert prepared(policy, changed("drop state"))["observation.state"].abs().max() < 1e-5
    for sentence in everything(SHORT):
        changed(sentence)
    for wrong in ("blank top", "swap front", "drop it", ""):
        with pytest.raises(SmolkitError, match="SK541"):
            changed(wrong)
    with pytest.raises(SmolkitError, match="SK541"):
        ablate(policy, SHORT, ["drop words"], draws=1)


def test_titles_say_what_is_drawn():
    policy, seen = tiny_policy(), SHORT
    parts = token_budget(policy, seen)
    drawn = figures.budget(parts)
    title = "8 of 25 tokens are pictures, 2 are words, 1 is the arm itself; 14 are padding"
    assert drawn.figure.get_suptitle().replace("\n", " ") == title and "words 16" in drawn.alt
    allowed = prefix_mask(policy, seen)
    assert "no token sees an action after it" in figures.mask(allowed, with_actions(policy, parts)).alt
    everyone = figures.mask(np.ones_like(allowed), with_actions(policy, parts)).figure.get_suptitle()
    assert "100% of" in everyone and "see each other" in everyone
    weights = np.zeros((10, 4, 3, 10, 35), np.float32)
    weights[..., 0], weights[7, 2, ..., 0], weights[7, 2, ..., 3] = 1, 0, 1      # one place: on the top, then below
    attention = Attention(weights, 1 - np.arange(10) / 10, ("self",) * 4, with_actions(policy, parts))
    title = figures.overlay(attention, seen, "front", (64, 64)).figure.get_suptitle().replace("\n", " ")
    assert "front gets 100% of the attention" in title and "4.0 times" in title
    assert "padding" not in title                      # a quarter is black, but each of the four places shows something


def test_a_walk_says_when_it_settled_and_a_film_has_a_frame_for_each_step():
    walk = denoising(tiny_policy(), SHORT)
    off_deg = np.array([9, 2, .5, 3, .4, .3, .2, .1, .1, 0])
    wished = replace(walk, guesses_deg=walk.chunks_deg[-1] + off_deg[:, None, None])
    assert "9.0 deg off" in figures.denoised(wished).alt and "from t = 0.6 on" in figures.denoised(wished).alt
    short = replace(walk, times=walk.times[[0, 10]], chunks_deg=walk.chunks_deg[[0, 10]])
    page = figures.film_html(replace(short, guesses_deg=walk.guesses_deg[:1]))
    assert page.startswith('<img alt="A film of 2 pictures')
    with Image.open(io.BytesIO(base64.b64decode(page.split("base64,")[1][:-2]))) as film:
        assert film.n_frames == 2 and film.width < 700


def test_bars_and_keypoints_say_the_finding():
    policy = tiny_policy(preset="classroom")
    effects = [Effect("drop state", 2.5, (2.4, 2.6), 1, 1), Effect("drop words", 0.1, (0.1, 0.1), 1, 1)]
    title = figures.effects(effects).figure.get_suptitle().replace("\n", " ")
    assert title == 'The plan moves most with "drop state" (2.5 times the noise), least with "drop words" (0.1)'
    found = keypoint_maps(policy, SHORT)
    for maps in found.values():
        maps.heat[:] = 1 / 256                         # 16 x 16 places, all alike
    found["wrist"].heat[3, 5:7, 8] = .3, .1
    alt = figures.keypoints(SHORT, found, (64, 64)).alt
    assert "front: every map is even" in alt and "wrist: a place gets up to 76.8 times" in alt


def test_covering_tells_which_cell_the_policy_acts_on():
    policy, seen = tiny_policy(preset="classroom"), fake_observation()
    grey = np.full((48, 64, 3), 128, np.uint8)
    grey[30:36, 34:44] = 255                           # all there is to see
    sizes = cover_map(policy, replace(seen, images={"front": grey, "wrist": grey}), "front", cells=4, draws=2)
    assert sizes.shape == (4, 4) and sizes[2, 2] > 0 and np.count_nonzero(sizes) == 1
    assert "comes from 1 of its 16 cells" in figures.covered(seen, "front", sizes / sizes.max()).alt
    assert "the plan stays" in figures.covered(seen, "front", 0 * sizes).alt
