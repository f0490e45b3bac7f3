"""Schedule, average, augmentation, sampler, statistics, settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from smolkit.report import SmolkitError
from smolkit.training.augment import colour_jitter, random_shift, state_noise
from smolkit.training.config import TrainConfig
from smolkit.training.ema import Ema
from smolkit.training.recipes import tour_recipe
from smolkit.training.sampler import Sampler, generator
from smolkit.training.schedule import learning_rate
from smolkit.training.statistics import statistics_of


def test_the_default_schedule_is_the_published_one():
    config = TrainConfig(steps=30_000)
    assert learning_rate(0, 30_000, config) == pytest.approx(1e-4 / 1001)
    assert learning_rate(1000, 30_000, config) == pytest.approx(9.973e-5, rel=1e-4)
    assert learning_rate(30_000, 30_000, config) == pytest.approx(2.5e-6)


def published(step: int, total_steps: int) -> float:
    """The preset's own words, as arithmetic."""
    scale = min(1.0, total_steps / 30_000)
    warmup, decay = int(1000 * scale), min(total_steps, 30_000)
    if step < warmup:
        return 1e-4 * (1 / (warmup + 1) + (1 - 1 / (warmup + 1)) * step / warmup)
    return 2.5e-6 + (1e-4 - 2.5e-6) * (1 + math.cos(math.pi * min(step, decay) / decay)) / 2


@pytest.mark.parametrize("total_steps", [10, 3000, 20_000, 29_999, 30_000, 50_000])
def test_fine_tuning_follows_the_published_schedule_at_every_length(total_steps):
    config = TrainConfig(steps=total_steps)
    for step in {0, 1, 665, 666, 999, 1000, total_steps // 2, total_steps - 1, total_steps}:
        assert learning_rate(step, total_steps, config) == pytest.approx(published(step, total_steps), rel=1e-12)
    if total_steps == 50_000:
        assert learning_rate(40_000, total_steps, config) == 2.5e-6


@pytest.mark.parametrize("total_steps", [20, 80, 499, 1200, 2400])
def test_the_tours_schedule_is_the_one_that_was_measured(total_steps):
    config = tour_recipe()
    warmup = min(50, max(1, total_steps // 10))
    start = 1e-3 / (warmup + 1)
    for step in range(total_steps + 1):
        turn = math.cos(math.pi * min(step, total_steps) / total_steps)
        measured = start + (1e-3 - start) * step / warmup if step < warmup else 1e-5 + (1e-3 - 1e-5) * (1 + turn) / 2
        assert learning_rate(step, total_steps, config) == measured
    assert (config.steps, config.warmup_steps) == (2400, 50)


@given(st.integers(1, 5000), st.integers(0, 300))
def test_the_rate_rises_once_and_falls_once(total_steps, warmup_steps):
    config = TrainConfig(warmup_steps=warmup_steps)
    rates = [learning_rate(step, total_steps, config) for step in range(0, total_steps + 1, 7)]
    rising = np.sign(np.diff(rates))
    assert np.all(np.diff(rising) <= 0) and max(rates) <= config.learning_rate


def test_the_average_follows_and_replaces():
    model = nn.Linear(2, 1, bias=False)
    ema, start = Ema(model, decay=0.75), model.weight.detach().clone()
    model.weight.data += 1.0
    ema.update(model, step=10_000)
    ema.update(model, step=10_001)
    ema.copy_to(model)
    assert torch.allclose(model.weight - start, torch.full((1, 2), 1 - 0.75**2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 99))
def test_a_shift_moves_pictures_and_repeats_edges(shift_px, seed):
    pictures = torch.randint(0, 255, (3, 12, 10, 3), dtype=torch.uint8)
    moved = random_shift(pictures, shift_px, torch.Generator().manual_seed(seed))
    assert moved.shape == pictures.shape and moved.dtype == torch.uint8
    padded = np.pad(pictures.numpy(), ((0, 0), (shift_px,) * 2, (shift_px,) * 2, (0, 0)), mode="edge")
    for before, after in zip(padded, moved.numpy()):
        windows = [before[y:y + 12, x:x + 10] for y in range(2 * shift_px + 1)
                   for x in range(2 * shift_px + 1)]
        assert any(np.array_equal(window, after) for window in windows)


def test_jitter_and_noise_are_bounded_and_repeatable():
    pictures = torch.rand(4, 3, 8, 8)
    once, again = (colour_jitter(pictures, 0.2, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(once, again) and not torch.equal(once, pictures)
    assert once.min() >= 0 and once.max() <= 1 and (once - pictures).abs().max() < 0.35
    state = torch.zeros(500, 6)
    assert state_noise(state, 0.02, torch.Generator()).std() == pytest.approx(0.02, rel=0.1)
    assert random_shift(pictures, 0, torch.Generator()) is pictures


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 9))
def test_every_epoch_shows_every_frame_once(count, batch_size, seed):
    sampler = Sampler(count, batch_size, seed)
    seen = torch.cat([sampler.indices(step) for step in range(2 * count // batch_size + 1)])
    epochs = len(seen) // count
    assert torch.equal(seen[:epochs * count].reshape(epochs, count).sort(1).values,
                       torch.arange(count).expand(epochs, count))


def test_generators_of_neighbouring_steps_differ():
    draws = {round(torch.rand(1, generator=generator(seed, step, stream)).item(), 6)
             for seed in range(5) for step in range(40) for stream in range(2)}
    assert len(draws) > 395


def test_a_dead_joint_is_loud():
    values = np.random.default_rng(0).normal(size=(100, 3))
    values[:, 1] = 7.0
    with pytest.raises(SmolkitError, match="SK604") as error:
        statistics_of(values, names=("pan", "lift", "elbow"))
    assert "lift" in error.value.found and "pan" not in error.value.found


@pytest.mark.parametrize("change", [{"steps": 0}, {"ema": 1.0}, {"learning_rate": -1.0},
                                    {"max_minutes": 0.0}, {"decay_steps": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(SmolkitError, match="SK601"):
        TrainConfig(**change)


def test_a_settings_file_with_an_unknown_key_is_refused():
    with pytest.raises(SmolkitError, match="learnign_rate"):
        TrainConfig.from_json('{"learnign_rate": 0.1}')
