"""Training in less memory: the same numbers, and everything is there again when it is needed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_batch, tiny_policy
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.speed import WideLinear
from smolkit.training.checkpoint import list_checkpoints
from smolkit.training.config import TrainConfig
from smolkit.training.lean import let_go, rest
from smolkit.training.learner import SmolVLALearner
from smolkit.training.loop import Progress, train
from tests.training.test_feature_cache import demonstrations, loss_and_gradients

SETTINGS = {"threads": 1, "batch_size": 4, "steps": 4, "cache_dtype": "float32", "learning_rate": 1e-3,
            "warmup_steps": 0, "checkpoint_every_s": 600.0, "cache": "notes"}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A policy whose file stores bfloat16, as the published one's does."""
    policy = tiny_policy()
    policy.model.bfloat16()
    return save_checkpoint(tmp_path_factory.mktemp("lean") / "base", policy)


def learner(base: Path, folder: Path | None = None, **changes: object) -> SmolVLALearner:
    return SmolVLALearner(load_checkpoint(base), demonstrations(), TrainConfig(**{**SETTINGS, **changes}), folder)


def run(one: SmolVLALearner, out_dir: Path, progress: Callable[[Progress], None] = lambda _: None,
        steps: int = 99) -> dict[str, Tensor]:
    stop = threading.Event()

    def tell(now: Progress) -> None:
        progress(now)
        if now.step >= steps:
            stop.set()

    return load_file(train(one, one.config, out_dir, progress=tell, stop=stop).policy_dir / "model.safetensors")


def away(policy: SmolVLAPolicy) -> set[str]:
    """The parts whose weights are not in memory."""
    return {name.split(".")[0] for name, weight in policy.model.named_parameters() if weight.is_meta}


def test_matrices_rest_in_half_the_bits_and_gradients_stay(base):
    model = load_checkpoint(base).model
    wanted = loss_and_gradients(model, tiny_batch(), {})
    rest(model)
    kinds = {type(part) for half in (model.vision, model.language.layers) for part in half.modules()
             if hasattr(part, "in_features")}
    assert kinds == {WideLinear} and model.language.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    found = loss_and_gradients(model, tiny_batch(), {})
    assert found.keys() == wanted.keys() and found["loss"] == wanted["loss"]
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-6 * float(value.abs().max()), rtol=0, msg=name)


def test_what_bfloat16_would_round_and_what_learns_rest_as_they_are(base):
    model = tiny_policy().model
    rest(model)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    model = load_checkpoint(base).model
    model.requires_grad_(True)
    rest(model)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_a_matrix_that_learns_keeps_its_gradient_though_it_rests():
    wide = WideLinear(3, 2, bias=False).bfloat16()
    wide(torch.ones(1, 3)).sum().backward()
    assert torch.equal(wide.weight.grad, torch.ones(2, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("kind", ["tokens", "notes"])
def test_a_lean_run_learns_the_same_and_saves_the_whole_policy(base, kind, tmp_path):
    seen: list[tuple[set[str], str]] = []
    one = learner(base, cache=kind)
    lean = run(one, tmp_path / "lean", lambda now: seen.append((away(one.policy), now.note)))
    parts = {"vision", "language"} if kind == "notes" else {"vision"}
    assert seen[:2] == [(set(), "looked at 4 of 6 frames"), (set(), "looked at 6 of 6 frames")]
    assert [gone for gone, _ in seen[2:]] == [parts] * 4 and not away(one.policy)
    whole = run(learner(base, cache=kind, max_minutes=9.0), tmp_path / "whole")        # nobody looks ahead
    assert whole.keys() == lean.keys() and all(torch.equal(whole[name], lean[name]) for name in whole)
    learned = load_file(list_checkpoints(tmp_path / "lean")[-1] / "model.safetensors")
    assert not any("vision" in name or "language" in name for name in learned)


def test_a_stopped_run_goes_on_to_the_last_bit(base, tmp_path):
    whole = run(learner(base), tmp_path / "whole")
    run(learner(base), tmp_path / "halved", steps=2)
    assert list_checkpoints(tmp_path / "halved")[-1].name == "step_0000002"
    halved = run(learner(base), tmp_path / "halved")
    assert all(torch.equal(whole[name], halved[name]) for name in whole)


def test_nothing_leaves_where_it_could_not_come_back(base, tmp_path):
    def gone(one: SmolVLALearner) -> set[str]:
        list(one.look_ahead(one.config.steps))
        one.losses(torch.arange(4), torch.Generator())
        return away(one.policy)

    assert gone(learner(base)) == {"vision", "language"}
    assert not gone(learner(base, cache_gb=1e-5)) and not gone(learner(base, steps=1))          # not all is kept
    other = learner(base)
    other.policy.model.vision.norm.weight.data[0] += 1                                         # not the file's
    assert not gone(other)
    assert not let_go(tiny_policy(), ("vision.",))                                             # in no file


def test_what_was_lost_on_the_disk_is_made_again_and_changes_are_seen(base, tmp_path):
    one = learner(base, tmp_path / "kept")
    list(one.look_ahead(4))
    first = one.losses(torch.arange(4), torch.Generator().manual_seed(0))["loss"]
    shutil.rmtree(tmp_path / "kept")
    assert away(one.policy) and torch.equal(
        one.losses(torch.arange(4), torch.Generator().manual_seed(0))["loss"], first)
    one.policy.model.language.layers[0].mlp.up_proj.weight.data *= -1
    changed = one.losses(torch.arange(4), torch.Generator().manual_seed(0))["loss"]
    assert changed != first and not away(one.policy)               # it read anew, and for that was whole


def test_a_base_that_is_gone_is_told_and_the_run_goes_on_when_it_is_back(base, tmp_path):
    moved = tmp_path / "base"
    shutil.copytree(base, moved)
    one, taken = learner(moved), tmp_path / "taken"

    def take(now: Progress) -> None:
        if now.step == 2 and not taken.exists():
            (moved / "model.safetensors").rename(taken)

    with pytest.raises(SmolkitError, match="SK515"):
        run(one, tmp_path / "run", take)
    assert list_checkpoints(tmp_path / "run")[-1].name == "step_0000004"
    taken.rename(moved / "model.safetensors")
    found = run(learner(moved), tmp_path / "run")
    wanted = run(learner(base), tmp_path / "whole")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
