"""Real-time chunking: how far the old chunk is trusted, and both ways of bending the velocity towards it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smolkit.report import SmolkitError
from smolkit.smolvla.fake import fake_observation, tiny_batch, tiny_model, tiny_policy
from smolkit.smolvla.rtc import FADES, JACOBIANS, RealTimeChunking, chunk_weights, guidance_weight, guided
from smolkit.smolvla.speed import quantise

both = pytest.mark.parametrize("jacobian", JACOBIANS)


@given(st.sampled_from(list(FADES)), st.integers(1, 20), st.integers(0, 25), st.integers(0, 25))
def test_trust_begins_at_one_never_grows_and_ends_at_the_horizon(schedule, chunk, delay, horizon):
    weights = chunk_weights(schedule, chunk, delay, horizon)
    certain = min(delay, horizon)
    assert weights.shape == (chunk,) and (weights >= 0).all() and (weights.diff() <= 0).all()
    assert (weights[:certain] == 1).all() and (weights[horizon:] == 0).all()
    assert (weights[certain:horizon] > 0).all() != (schedule == "ZEROS" and certain < min(horizon, chunk))


def curved(x: Tensor, t: float) -> Tensor:
    """A velocity in which every number answers to every other one."""
    mixing = torch.linspace(-1, 1, x[0].numel() ** 2, dtype=x.dtype).reshape(x[0].numel(), -1).sin()
    return torch.tanh(x.flatten(1) @ mixing + t).view_as(x)


@pytest.mark.parametrize("t", [1.0, 0.6, 0.1])
def test_the_error_is_carried_back_as_an_explicit_jacobian_does(t):
    generator = torch.Generator().manual_seed(0)
    x, old = (torch.randn(1, 4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    rtc = RealTimeChunking(old, inference_delay=1, execution_horizon=3, jacobian="network")
    jacobian = torch.autograd.functional.jacobian(lambda x: (x - t * curved(x, t)).flatten(), x).view(12, 12)
    trust = chunk_weights("LINEAR", 4, 1, 3).double()[:, None]
    error = (old - (x - t * curved(x, t))) * trust
    wanted = curved(x, t) - guidance_weight(t, 10) * (jacobian.T @ error.flatten()).view_as(x)
    found = guided(curved, rtc)(x, t)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    assert not found.requires_grad                     # or a walk would drag all its steps' graphs along
    as_lerobot = curved(x, t) - guidance_weight(t, 10) * error
    torch.testing.assert_close(guided(curved, replace(rtc, jacobian="identity"))(x, t), as_lerobot)
    assert (wanted - as_lerobot).abs().max() > 0.01


def test_so_it_is_through_the_real_network():
    model, batch = tiny_model().eval(), tiny_batch(batch=1)
    x, t = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(1)), 0.7
    with torch.no_grad():
        context = model.expert.read(model.remember(model.encode(batch)), 3)

    def velocity(x: Tensor, t: float) -> Tensor:
        return model.expert(x, torch.full((1,), t), context)

    rtc = RealTimeChunking(torch.ones(3, 6), inference_delay=2, execution_horizon=3, jacobian="network")
    jacobian = torch.autograd.functional.jacobian(lambda x: (x - t * velocity(x, t)).flatten(), x).view(96, 96)
    error = (1 - (x - t * velocity(x, t))) * chunk_weights("LINEAR", 3, 2, 3)[:, None]
    error[:, :, 6:] = 0
    wanted = velocity(x, t) - guidance_weight(t, 10) * (jacobian.T @ error.flatten()).view_as(x)
    with torch.no_grad():                              # as the sampler does
        found = guided(velocity, rtc)(x, t)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not found.requires_grad and all(weight.grad is None for weight in model.parameters())


def test_padding_that_the_old_chunk_says_nothing_of():
    x, nothing = torch.ones(1, 2, 5), torch.zeros(1, 2, 5)
    old = RealTimeChunking(torch.zeros(2, 3), inference_delay=2)
    pulled = guided(lambda x, t: 0 * x, old)(x, 0.5)
    left = guided(lambda x, t: 0 * x, replace(old, jacobian="network"))(x, 0.5)
    assert (pulled > 0).all()                          # LeRobot's way: to zero, as if the old chunk said so
    assert (left[..., :3] > 0).all() and torch.equal(left[..., 3:], nothing[..., 3:])


def sample(jacobian: str, previous: Tensor, batch: int = 1, **settings) -> Tensor:
    rtc = RealTimeChunking(previous, jacobian=jacobian, **{"inference_delay": 3, **settings})
    return tiny_model().sample_actions(tiny_batch(batch=batch), generator=torch.Generator().manual_seed(0), rtc=rtc)


def plain(batch: int = 1) -> Tensor:
    return tiny_model().sample_actions(tiny_batch(batch=batch), generator=torch.Generator().manual_seed(0))


@both
@pytest.mark.parametrize("settings", [{"max_guidance_weight": 0}, {"execution_horizon": 0},
                                      {"schedule": "ZEROS", "inference_delay": 0}])
def test_without_weight_nothing_changes(jacobian, settings):
    torch.testing.assert_close(sample(jacobian, torch.ones(8, 6), **settings), plain(), atol=1e-6, rtol=0)


@both
def test_what_is_trusted_comes_nearer_to_the_old_chunk(jacobian):
    old = torch.randn(10, 6, generator=torch.Generator().manual_seed(5))
    bent = sample(jacobian, old, schedule="ONES", execution_horizon=10)
    assert (bent - old).norm() < 0.7 * (plain() - old).norm()
    start = sample(jacobian, old, schedule="ZEROS")    # three steps are pinned, the others are free
    assert (start - old)[:, :3].norm() < 0.7 * (plain() - old)[:, :3].norm()


@both
def test_old_chunks_of_every_length_and_delays_beyond_them(jacobian):
    old = torch.randn(30, 6, generator=torch.Generator().manual_seed(5))
    assert torch.equal(sample(jacobian, old), sample(jacobian, old[:10]))        # what reaches too far is cut
    assert torch.equal(sample(jacobian, old[:2]), sample(jacobian, old[:2], inference_delay=9, execution_horizon=2))
    assert torch.equal(sample(jacobian, old[:0]), sample(jacobian, old, execution_horizon=0))
    torch.testing.assert_close(sample(jacobian, old[:0]), plain(), atol=1e-6, rtol=0)


@both
def test_every_sample_has_an_old_chunk_of_its_own_or_all_share_one(jacobian):
    olds = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(5))
    own = sample(jacobian, olds, batch=2)
    first, second = (sample(jacobian, old, batch=2) for old in olds)
    torch.testing.assert_close(own[0], first[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(own[1], second[1], atol=1e-5, rtol=0)
    assert (first[1] - own[1]).abs().max() > 0.01


@pytest.mark.parametrize("wrong", [{"schedule": "FAST"}, {"schedule": ["EXP"]}, {"jacobian": "full"},
                                   {"inference_delay": -1}, {"execution_horizon": 2.5},
                                   {"max_guidance_weight": "10"}, {"max_guidance_weight": float("nan")},
                                   {"previous": torch.zeros(6)}])
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(SmolkitError, match="SK506"):
        RealTimeChunking(**{"previous": torch.zeros(8, 6), "inference_delay": 2, **wrong})


@pytest.mark.parametrize("previous", [torch.zeros(3, 8, 6), torch.zeros(8, 33)])
def test_an_old_chunk_of_another_shape_is_refused(previous):
    with pytest.raises(SmolkitError, match="SK506"):
        sample("identity", previous, batch=2)


def test_a_checkpoints_wishes_are_read():
    old, asked = torch.zeros(8, 6), {"enabled": True, "mode": "guided", "prefix_attention_schedule": "EXP",
                                     "max_guidance_weight": 5.0, "execution_horizon": 7, "debug": False}
    rtc = RealTimeChunking.from_config(asked, old, 3, jacobian="network")
    assert rtc == RealTimeChunking(old, 3, 7, "EXP", 5.0, "network")
    assert RealTimeChunking.from_config(None, old, 3) is None
    assert RealTimeChunking.from_config({**asked, "enabled": False}, old, 3) is None
    for key, value in (("mode", "free"), ("prefix_attention_schedule", 3), ("execution_horizon", None)):
        with pytest.raises(SmolkitError, match="SK506"):
            RealTimeChunking.from_config({**asked, key: value}, old, 3)


@both
def test_a_policy_carries_its_own_chunk_on(jacobian):
    policy = tiny_policy()
    first = policy.predict(fake_observation())
    rest = policy.rest_of(first, executed=4)
    np.testing.assert_allclose(policy.processors.after(rest), first.actions_deg[4:], atol=1e-3)
    rtc = RealTimeChunking(rest, inference_delay=3, schedule="ONES", execution_horizon=6, jacobian=jacobian)
    policy.reset(1)
    free = policy.predict(fake_observation(seed=1)).actions_deg[:6] - first.actions_deg[4:]
    policy.reset(1)
    bound = policy.predict(fake_observation(seed=1), rtc).actions_deg[:6] - first.actions_deg[4:]
    assert np.abs(bound).mean() < 0.6 * np.abs(free).mean()


def test_inference_mode_allows_no_gradient_and_says_so():
    with torch.inference_mode():
        assert sample("identity", torch.zeros(5, 6)).isfinite().all()
        with pytest.raises(SmolkitError, match=r"SK506(.|\n)*no_grad"):
            sample("network", torch.zeros(5, 6))


def test_a_network_without_a_gradient_is_not_asked_for_one():
    policy, rtc = quantise(tiny_policy()), RealTimeChunking(torch.zeros(6, 6), inference_delay=3)
    assert np.isfinite(policy.predict(fake_observation(), rtc).actions_deg).all()
    with pytest.raises(SmolkitError, match="SK550"):
        policy.predict(fake_observation(), replace(rtc, jacobian="network"))
