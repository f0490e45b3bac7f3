"""AdamW: as torch's own in float32, and in half precision as if it were float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_batch, tiny_model, tiny_policy
from smolkit.smolvla.lora import adapters, add_lora
from smolkit.training.checkpoint import RANDOM, TrainState
from smolkit.training.checkpoint import load_checkpoint as resume
from smolkit.training.checkpoint import save_checkpoint as keep
from smolkit.training.config import TrainConfig
from smolkit.training.ema import Ema
from smolkit.training.learner import SmolVLALearner
from smolkit.training.loop import train
from smolkit.training.optimizer import Optimizer
from smolkit.training.recompute import recompute
from tests.training.test_feature_cache import demonstrations

CONFIG = TrainConfig(weight_decay=0.01)


def small(dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def descend(model: nn.Module, optimizer: Optimizer, steps: int, limit: float = 0.5, rate: float = 1e-2) -> None:
    x = torch.linspace(-1, 1, 12).reshape(4, 3).to(model[0].weight.dtype)
    for _ in range(steps):
        optimizer.forget_gradients()
        (model(x) - 3).square().mean().backward()
        optimizer.clip(limit)
        optimizer.step(rate)


def test_in_float32_it_is_torchs_adamw_to_the_last_bit():
    ours, theirs = small(), small()
    descend(ours, Optimizer(ours, CONFIG), steps=5)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=CONFIG.betas, eps=CONFIG.eps, weight_decay=0.01,
                              fused=True)
    for _ in range(5):
        adamw.zero_grad()
        (theirs(torch.linspace(-1, 1, 12).reshape(4, 3)) - 3).square().mean().backward()
        assert nn.utils.clip_grad_norm_(theirs.parameters(), 0.5) > 0.5        # it does clip
        adamw.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_short_gradient_is_left_alone_and_its_length_told():
    model = small()
    model(torch.ones(1, 3)).sum().backward()
    before = [p.grad.clone() for p in model.parameters()]
    norm = Optimizer(model, CONFIG).clip(limit=1e6)
    assert norm == pytest.approx(torch.cat([g.flatten() for g in before]).norm().item())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))


def test_bfloat16_weights_stand_still_where_masters_move():
    """lr 1e-4, weights around 1: the update is a fortieth of the distance to the next bfloat16 number."""
    masters, plain, exact = (nn.Linear(64, 64, bias=False) for _ in range(3))
    for model in (masters, plain, exact):
        nn.init.ones_(model.weight)
    masters.bfloat16(), plain.bfloat16()
    ours, theirs = Optimizer(masters, TrainConfig()), torch.optim.AdamW(plain.parameters(), lr=1e-4, betas=(0.9, 0.95))
    wanted = Optimizer(exact, TrainConfig())
    for _ in range(100):
        for model in (masters, plain, exact):
            model.weight.grad = torch.ones_like(model.weight)
        ours.step(1e-4), theirs.step(), wanted.step(1e-4)
    assert (plain.weight == 1).all()
    assert torch.equal(ours.masters["weight"], exact.weight)
    assert torch.equal(masters.weight, exact.weight.bfloat16()) and (masters.weight < 0.995).all()


def test_masters_resume_to_the_last_bit(tmp_path):
    whole, halved, again = (small(torch.bfloat16, seed) for seed in (0, 0, 1))
    first, second, third = (Optimizer(model, CONFIG) for model in (whole, halved, again))
    descend(whole, first, steps=6)
    descend(halved, second, steps=3)
    folder = keep(tmp_path, TrainState(3, 6, 0.0, 1), halved, None, second, keep=1)
    resume(folder, again, None, third)
    descend(again, third, steps=3)
    assert all(torch.equal(first.masters[name], third.masters[name]) for name in first.masters)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_run_in_float32_goes_on_in_bfloat16_from_what_it_learned(tmp_path):
    whole, half = small(), small(torch.bfloat16)
    first, second = Optimizer(whole, CONFIG), Optimizer(half, CONFIG)
    descend(whole, first, steps=20)
    resume(keep(tmp_path, TrainState(20, 40, 0.0, 1), whole, None, first, keep=1), half, None, second)
    learned = {name: p.detach().bfloat16() for name, p in whole.named_parameters()}
    assert all(torch.equal(second.masters[name], value.float()) for name, value in learned.items())
    descend(half, second, steps=1, rate=0.0)                       # a step of no length moves nothing
    assert all(torch.equal(p, learned[name]) for name, p in half.named_parameters())


@pytest.mark.parametrize("damage", ["2.bias/exp_avg", "0.weight/step", "shape", "foreign", "random", "average"])
def test_a_checkpoint_that_does_not_fit_touches_nothing(tmp_path, damage):
    model, other = small(seed=0), small(seed=1)
    optimizer, ema = Optimizer(model, CONFIG), Ema(model, decay=0.9)
    descend(model, optimizer, steps=2)
    folder = keep(tmp_path, TrainState(2, 4, 0.0, 1), model, ema, optimizer, keep=1)
    hurt(folder, damage)
    fresh, average = Optimizer(other, CONFIG), Ema(other, decay=0.9)
    before = {name: p.detach().clone() for name, p in other.named_parameters()}
    chance = torch.get_rng_state()
    with pytest.raises(SmolkitError, match="SK60[23]"):
        resume(folder, other, average, fresh)
    assert not fresh.tensors() and torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(p, before[name]) for name, p in other.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in average.weights.items())


def hurt(folder: Path, damage: str) -> None:
    """Spoils one thing in a checkpoint, and notes the new sizes as if it were whole."""
    path = folder / ("ema.safetensors" if damage == "average" else "optimizer.safetensors")
    tensors = load_file(path)
    if damage in tensors:
        del tensors[damage]
    else:
        name = {"shape": "2.bias/exp_avg", "foreign": "9.weight/step", "random": RANDOM, "average": "2.bias"}[damage]
        tensors[name] = torch.zeros(1)
    save_file(tensors, path)
    state = json.loads((folder / "state.json").read_text())
    state["bytes"][path.name] = path.stat().st_size
    (folder / "state.json").write_text(json.dumps(state))


def test_the_average_of_half_precision_weights_moves_too():
    model = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(model.weight)
    ema = Ema(model, decay=0.999)
    nn.init.constant_(model.weight, 1.0078125)                     # the next bfloat16 number
    ema.update(model, step=100_000)
    assert 1 < ema.weights["weight"].item() < 1.0001


def test_recomputing_keeps_less_and_changes_nothing():
    def kept_bytes_and_gradients(less: bool) -> tuple[int, dict]:
        model, kept = tiny_model(), []
        if less:
            recompute(model)
            recompute(model)                                       # once more is the same as once
        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(0 if isinstance(tensor, nn.Parameter) else tensor.nbytes)
            return tensor
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(tiny_batch(), noise=torch.ones(2, 10, 32), time=torch.tensor([0.2, 0.9]))["loss"]
        forward_bytes = sum(kept)
        loss.backward()
        return forward_bytes, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    (plain_bytes, plain), (less_bytes, less) = (kept_bytes_and_gradients(on) for on in (False, True))
    assert less_bytes < 0.6 * plain_bytes
    assert plain.keys() == less.keys() and all(torch.equal(plain[name], less[name]) for name in plain)


def test_with_lora_only_adapters_learn_and_only_they_are_saved(tmp_path):
    save_checkpoint(tmp_path / "base", tiny_policy(seed=0))
    policy, samples = load_checkpoint(tmp_path / "base"), demonstrations()
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    config = TrainConfig(threads=1, batch_size=4, steps=3, lora_rank=4, learning_rate=1e-2, warmup_steps=0)
    learner = SmolVLALearner(policy, samples, config)
    result = train(learner, config, tmp_path / "run")
    assert learner.trainable == 3600 and learner.cache.shelf.count == 12
    after = policy.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(value.abs().max() > 0 for name, value in after.items() if "lora_B" in name)
    assert (result.policy_dir / "adapter_model.safetensors").exists() and not size_of(result.policy_dir, "model")
    again = load_checkpoint(result.policy_dir, base=tmp_path / "base")
    noise = torch.zeros(2, 10, 32)
    torch.testing.assert_close(again.model.sample_actions(tiny_batch(), noise=noise),
                               policy.model.sample_actions(tiny_batch(), noise=noise))


def test_adapters_on_weights_that_are_in_no_file_are_refused_before_the_first_step():
    policy = tiny_policy()
    with pytest.raises(SmolkitError, match="SK518"):
        SmolVLALearner(policy, demonstrations(), TrainConfig(threads=1, lora_rank=4))
    assert not adapters(policy.model)                              # nothing was touched
    add_lora(policy.model, 4)                                      # by hand it is no better
    with pytest.raises(SmolkitError, match="SK518"):
        SmolVLALearner(policy, demonstrations(), TrainConfig(threads=1))


def size_of(folder: Path, name: str) -> int:
    path = folder / f"{name}.safetensors"
    return path.stat().st_size if path.exists() else 0
