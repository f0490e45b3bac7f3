"""SmolVLA as a learner: it overfits what a policy must, its statistics travel, its head stays behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.smolvla.presets import build_preset
from smolkit.training.learner import SmolVLALearner, fresh_policy
from smolkit.training.loop import train
from smolkit.training.recipes import tour_recipe
from smolkit.training.sampler import generator
from smolkit.training.samples import Samples

TASK = "put the cube in the box"


def spots(count: int = 8, privileged: bool = True) -> Samples:
    """Pictures with one bright spot; where it is says where to go. The state says nothing."""
    rng = np.random.default_rng(0)
    place = rng.integers(8, 56, (count, 2))                                    # px, row and column
    front = np.full((count, 64, 64, 3), 40, np.uint8)
    for picture, (row, column) in zip(front, place):
        picture[row - 3:row + 3, column - 3:column + 3] = 250
    action_deg = np.tile(place, 3) + rng.normal(0, 0.01, (count, 6))
    return Samples({"front": front, "wrist": front[:, ::-1].copy()},
                   rng.normal(0, 5, (count, 6)).astype(np.float32), action_deg.astype(np.float32),
                   np.arange(count), np.zeros(count, int), (TASK,),
                   (place / 100).astype(np.float32) if privileged else None)


def make(samples: Samples, **changes: object) -> SmolVLALearner:
    config = tour_recipe(threads=1, **{"image_shift_px": 0, "batch_size": 8, "max_minutes": None, **changes})
    return SmolVLALearner(fresh_policy(build_preset("classroom", samples.cameras), samples), samples, config)


def test_it_overfits_one_batch_and_the_saved_policy_acts_on_it(tmp_path):
    samples = spots()
    learner = make(samples, steps=80, auxiliary_weight=0.5)
    first = learner.losses(torch.arange(8), generator(0, 0))
    result = train(learner, learner.config, tmp_path)
    last = learner.losses(torch.arange(8), generator(0, 0))
    assert last["flow"] < 0.6 * first["flow"] and last["positions"] < 0.6 * first["positions"]
    seen = Observation(samples.state_deg[3], {role: x[3] for role, x in samples.images.items()}, TASK, 1.0)
    chunk = load_checkpoint(result.policy_dir).predict(seen)
    assert chunk.actions_deg.shape == (16, 6) and np.isfinite(chunk.actions_deg).all()
    assert np.abs(chunk.actions_deg - samples.action_deg.mean(0)).max() < 5 * samples.action_deg.std(0).max()
    assert not [name for name in load_file(result.policy_dir / "model.safetensors") if "probe" in name]


def test_a_run_repeats_and_resumes_to_the_last_bit(tmp_path):
    for name, sittings in (("whole", (4,)), ("halved", (2, 4))):
        for steps in sittings:
            learner = make(spots(), steps=4, batch_size=8)
            done = iter(range(steps))
            stop = type("Stop", (), {"is_set": lambda self, left=done: next(left, None) is None})()
            train(learner, learner.config, tmp_path / name, stop=stop)
    whole, halved = (load_file(tmp_path / name / "policy" / "model.safetensors")
                     for name in ("whole", "halved"))
    assert all(torch.equal(whole[name], halved[name]) for name in whole)


def test_a_run_does_not_go_on_with_other_demonstrations(tmp_path):
    learner = make(spots(), steps=1)
    train(learner, learner.config, tmp_path)
    assert make(spots(), steps=1).fingerprint == learner.fingerprint
    other = spots()
    other.action_deg[0, 0] += 1.0
    with pytest.raises(SmolkitError, match="SK606"):
        train(make(other, steps=1), learner.config, tmp_path)
    assert make(spots(), steps=1, auxiliary_weight=0.5).fingerprint != learner.fingerprint


@pytest.mark.parametrize("change", ["precision", "flip", "negate"])
def test_a_run_does_not_go_on_from_another_base_or_in_another_precision(change):
    learner, other = make(spots()), make(spots())
    frozen = next(p for p in other.module.parameters() if p.ndim > 1)
    learner.module.requires_grad_(False), other.module.requires_grad_(False)
    assert other.fingerprint == learner.fingerprint
    if change == "precision":
        other.module.bfloat16()
    else:
        frozen.data = frozen.data.flip(0) if change == "flip" else -frozen.data
    assert other.fingerprint != learner.fingerprint


def test_the_same_step_draws_the_same_augmentation():
    learner = make(spots(), image_shift_px=3)
    one, again, other = (learner.batch(torch.arange(4), generator(0, step)) for step in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["observation.images.front"], other["observation.images.front"])
    assert one["observation.images.front"].shape == (4, 3, 64, 64)
    assert one["action"].shape == (4, 16, 6) and one["action_is_pad"][:, 1:].all()


def test_an_auxiliary_loss_without_true_positions_is_refused():
    with pytest.raises(SmolkitError, match="SK608"):
        make(spots(privileged=False), auxiliary_weight=0.5)


def test_a_joint_that_never_moved_is_refused():
    samples = spots()
    samples.state_deg[:, 2] = 12.0
    with pytest.raises(SmolkitError, match="elbow_flex"):
        fresh_policy(build_preset("classroom"), samples)
