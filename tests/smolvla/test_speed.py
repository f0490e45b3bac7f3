"""Faster, and still the same plan: int8, half precision, compiled, and the benchmarks that say how much."""

from __future__ import annotations

import os

import pytest
import torch

from benchmarks import inference, sizes
from smolkit.deploy.actor import ChunkActor
from smolkit.machine import free_cores
from smolkit.report import SmolkitError
from smolkit.smolvla import speed
from smolkit.smolvla.attention import Linear
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_batch, tiny_policy
from smolkit.smolvla.lora import adapters, add_lora
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.speed import Int8Linear, WideLinear, action_error, compiled, prepare, quantise, widen

NOISE = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0))
HALVES = {torch.bfloat16: 0.02, torch.float16: 0.003}            # the largest action error that is still rounding


def actions(policy: SmolVLAPolicy) -> torch.Tensor:
    return policy.model.sample_actions(tiny_batch(), noise=NOISE)


@pytest.fixture(scope="module")
def exact() -> torch.Tensor:
    return actions(tiny_policy())


def in_half(dtype: torch.dtype) -> SmolVLAPolicy:
    policy = tiny_policy()
    policy.model.to(dtype)
    return policy


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_int8_moves_the_plan_by_little_and_by_something(exact):
    policy = quantise(tiny_policy())
    error = action_error(exact, actions(policy))
    assert 1e-5 < error.mean < 0.01 and error.mean < error.max < 0.05
    kinds = {name: type(part) for name, part in policy.model.named_modules()}
    assert kinds["vision.layers.0.mlp.fc1"] is Int8Linear and kinds["expert.layers.3.self_attn.q_proj"] is Int8Linear
    assert kinds["vision.connector"] is WideLinear or kinds["vision.connector"] is Linear        # few, and delicate
    assert kinds["state_proj"] is Linear and kinds["expert.action_out"] is Linear


def test_an_int8_matrix_errs_by_its_two_roundings_alone():
    torch.manual_seed(0)
    linear, x = Linear(64, 32), torch.randn(50, 64)
    linear.weight.data[5] *= 1000                                # its own scale: no other output suffers
    policy = quantise(tiny_policy())
    assert not list(policy.model.expert.layers[0].mlp.parameters())
    x[7] *= 1000                                                 # its own scale: no other token suffers
    small = (Int8Linear(linear)(x) - linear(x))[[n for n in range(50) if n != 7]]
    assert small[:, [n for n in range(32) if n != 5]].abs().max() < 0.1 < linear(x)[:, 5].abs().max()


def test_int8_starts_from_half_precision_as_well(exact):
    assert action_error(exact, actions(quantise(in_half(torch.bfloat16)))).mean < 0.02


def test_int8_keeps_what_adapters_learned(exact):
    policy = tiny_policy()
    add_lora(policy.model)
    for adapter in adapters(policy.model).values():
        torch.nn.init.normal_(adapter.lora_B.weight, generator=torch.Generator().manual_seed(0))
    adapted = actions(policy)
    assert action_error(adapted, actions(quantise(policy))).mean < 0.1 * action_error(adapted, exact).mean


def test_int8_is_never_saved_as_if_it_were_whole(tmp_path):
    with pytest.raises(SmolkitError, match="SK550"):
        save_checkpoint(tmp_path / "policy", quantise(tiny_policy()))
    assert not list(tmp_path.iterdir())


def test_a_gpu_or_a_torch_without_int8_is_told(monkeypatch):
    monkeypatch.setattr(speed, "ENGINES", ("an engine of another processor",))
    with pytest.raises(SmolkitError, match="SK550"):
        quantise(tiny_policy())


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_agrees_to_its_digits(exact, dtype):
    found = actions(in_half(dtype))
    assert 1e-5 < action_error(exact, found).max < HALVES[dtype] and found.dtype == torch.float32


@pytest.mark.parametrize("dtype", HALVES)
def test_weights_that_rest_in_half_are_computed_in_float32(exact, dtype):
    policy = widen(in_half(dtype))
    wide = action_error(exact, actions(policy))
    assert 1e-6 < wide.max < HALVES[dtype] / 2                   # only the weights were rounded
    resting = {name for name, weight in policy.model.named_parameters() if weight.dtype == dtype}
    assert "language.layers.0.mlp.up_proj.weight" in resting and "vision.layers.1.mlp.fc1.weight" in resting
    assert not any("norm" in name or name.startswith("expert.action") for name in resting)


def test_sums_of_large_numbers_do_not_overflow_in_half_precision():
    from smolkit.smolvla.attention import RMSNorm, attend
    large = torch.full((1, 4, 2, 16), 3000.0, dtype=torch.float16)           # its square is beyond float16
    assert RMSNorm(16, 1e-5).half()(large).float().sub(1).abs().max() < 1e-2
    assert attend(large, large, large, None).isfinite().all()


def test_patches_lie_in_rows_and_attention_is_fused():
    model, rows = tiny_policy().model, []
    model.vision.layers[0].register_forward_pre_hook(lambda _, x: rows.append(x[0].is_contiguous()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model.sample_actions(tiny_batch(), noise=NOISE)
    ran = {event.key: event.count for event in profile.key_averages()}
    layers = 2 * 2 + 3 + 10 * 4                                  # 2 cameras; the last language layer is only noted
    assert all(rows) and ran["aten::_scaled_dot_product_flash_attention_for_cpu"] == layers == ran[
        "aten::scaled_dot_product_attention"]


def test_prepare_takes_the_arithmetic_that_is_faster_here(monkeypatch, threads):
    torch.set_num_threads(free_cores() + 3)
    for fast in (True, False):
        monkeypatch.setattr(speed, "quick", lambda dtype, fast=fast: fast)
        policy = prepare(in_half(torch.bfloat16))
        assert isinstance(policy.model.language.layers[0].mlp.up_proj, WideLinear) is not fast
    assert torch.get_num_threads() == free_cores()
    resting = sum(weight.nbytes for weight in prepare(policy).model.parameters())        # a second time
    assert resting == sum(weight.nbytes for weight in widen(in_half(torch.bfloat16)).model.parameters())
    torch.set_num_threads(1)                                     # a worker among others
    assert prepare(tiny_policy()).model.expert.action_in.weight.dtype == torch.float32 and torch.get_num_threads() == 1
    assert ChunkActor(in_half(torch.bfloat16))._policy.model.state_proj.weight.dtype == torch.float32


def test_float16_on_a_processor_is_warned_of(tmp_path):
    saved = save_checkpoint(tmp_path / "policy", in_half(torch.float16))
    for dtype in (None, torch.float16):
        with pytest.warns(UserWarning, match="SK580"):
            load_checkpoint(saved, dtype=dtype)
    load_checkpoint(saved)


def test_compiled_is_the_same_function_without_a_break(exact):
    policy = compiled(tiny_policy(), backend="eager", fullgraph=True)
    assert not policy.model.trims
    torch.testing.assert_close(actions(policy), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("what", ["fp32", "bf16", "int8", "parts"])
def test_the_benchmark_runs_without_lerobot(what, threads):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    several = ["--samples", "3"] if what == "bf16" else []
    rows = inference.main(["none", "--tiny", "--dry", "--what", what, "--rounds", "1", "--threads", "1", *several])
    if cores:
        os.sched_setaffinity(0, cores)
    assert rows and all(row.value > 0 for row in rows)


def test_the_table_of_sizes_is_counted_not_written():
    table = sizes.parameter_table()
    assert table in sizes.PAGE.read_text(encoding="utf-8")
    assert sum(sizes.count("base").values()) == 450_046_176 and sum(sizes.count("under200m").values()) < 200_000_000
    assert sizes.file_mb("base") == pytest.approx(906.6, abs=0.1)            # as lerobot/smolvla_base on the Hub
