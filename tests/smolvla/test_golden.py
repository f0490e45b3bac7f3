"""Every tensor that LeRobot's own SmolVLA computed, computed again by ours."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import pytest
import torch

from smolkit.smolvla.attention import block_mask, positions
from smolkit.smolvla.flow import interpolate
from smolkit.smolvla.freezing import freeze
from smolkit.smolvla.names import theirs
from smolkit.smolvla.rtc import RealTimeChunking, chunk_weights
from tests.paths import extra_golden_of, shared
from tests.smolvla.golden import Golden

NAMES = ["tiny", "tiny, old style", *map(str, extra_golden_of("smolvla"))]


@cache
def open_golden(name: str) -> Golden:
    if not name.startswith("tiny"):
        return Golden(Path(name))
    style = "checkpoint_oldstyle" if name.endswith("old style") else "checkpoint"
    return Golden(shared("golden", "smolvla_tiny"), style)


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return open_golden(request.param)


@pytest.fixture
def policy(golden: Golden):
    return golden.policy()


def test_the_preprocessor_makes_the_same_batch(golden, policy):
    if golden.tasks is None:
        pytest.skip("this reference keeps no tasks in inputs.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")            # one task is too long on purpose
        ours = policy.processors.before(golden.raw())
    for name in ("observation.state", "action", "observation.language.tokens",
                 "observation.language.attention_mask"):
        if name in golden.inputs:
            torch.testing.assert_close(ours[name], golden.inputs[name], atol=1e-6, rtol=1e-6)


def test_every_weight_is_found_and_used(policy):
    assert policy.weights.report().ok, policy.weights.report().text()


def test_pictures_and_prefix(golden, policy):
    batch = golden.batch(policy)
    for index, (_, image, mask) in enumerate(policy.model.images(batch)):
        golden.agree(f"images.{index}", image)
        golden.agree(f"image_masks.{index}", mask)
    prefix = policy.model.encode(batch)
    for index, tokens in enumerate(prefix.image_tokens):
        golden.agree(f"image_tokens.{index}", tokens)
    golden.agree("prefix.embs", prefix.tokens, rows=prefix.pad)
    golden.agree("prefix.pad_masks", prefix.pad)
    golden.agree("prefix.att_masks", prefix.block)
    golden.agree("prefix.att_2d_masks", block_mask(prefix.pad, prefix.block))
    golden.agree("prefix.position_ids", positions(prefix.pad))


def test_keys_and_values_of_every_layer(golden, policy):
    memory = policy.model.remember(policy.model.encode(golden.batch(policy)))
    for layer, (keys, values) in enumerate(zip(memory.keys, memory.values, strict=True)):
        golden.agree(f"kv.{layer}.keys", keys, rows=memory.pad)
        golden.agree(f"kv.{layer}.values", values, rows=memory.pad)


def test_the_suffix_and_the_whole_mask(golden, policy):
    batch, model, given = golden.batch(policy), policy.model, golden.inputs
    if "time" not in given:
        pytest.skip("this reference has no training step")
    missing = model.config.max_action_dim - batch["action"].shape[-1]
    wide = torch.nn.functional.pad(batch["action"], (0, missing))
    if not model.config.adapt_to_pi_aloha:
        x_t, _ = interpolate(wide, given["noise"], given["time"])
        golden.agree("suffix.x_t", x_t)
        golden.agree("suffix.embs", model.expert.embed(x_t, given["time"]))
    prefix = model.encode(batch)
    ones = torch.ones(wide.shape[:2], dtype=torch.bool)
    mask = block_mask(torch.cat([prefix.pad, ones], 1), torch.cat([prefix.block, ones], 1))
    golden.agree("train.att_2d_masks", mask)


def test_both_generations_of_the_loss(golden, policy):
    if "time" not in golden.inputs:
        pytest.skip("this reference has no training step")
    batch, drawn = golden.batch(policy), {"noise": golden.inputs["noise"], "time": golden.inputs["time"]}
    out = policy.model(batch, **drawn)
    golden.agree("train.loss_per_element", out["loss_per_element"])
    golden.agree("train.loss_main", out["loss"])
    golden.agree("train.loss_044", policy.model(batch, **drawn, generation="0.4.4")["loss"])


def test_gradients_and_one_step_of_adamw(golden, policy):
    if "train.loss_main" not in golden.expected:
        pytest.skip("this reference has no training step")
    model, config = policy.model, policy.model.config
    named = {theirs(name): weight for name, weight in model.named_parameters()}
    taught = [name.removeprefix("grad.") for name in golden.expected if name.startswith("grad.")]
    if not all(named[name].requires_grad for name in taught):
        freeze(model, generation="0.4.4")          # which left the last language layer trainable
    model(golden.batch(policy), noise=golden.inputs["noise"], time=golden.inputs["time"])["loss"].backward()
    for name in golden.expected:
        if name.startswith("grad."):
            golden.agree(name, named[name.removeprefix("grad.")].grad)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(learning, config.optimizer_grad_clip_norm)
    golden.agree("train.grad_norm", norm)
    torch.optim.AdamW(learning, lr=config.optimizer_lr, betas=config.optimizer_betas,
                      eps=config.optimizer_eps, weight_decay=config.optimizer_weight_decay).step()
    for name in golden.expected:
        if name.startswith("after_step."):
            golden.agree(name, named[name.removeprefix("after_step.")])


def test_sampled_actions(golden, policy):
    if "noise_sampling" not in golden.inputs:
        pytest.skip("this reference samples no actions")
    model, batch, noise = policy.model, golden.batch(policy), golden.inputs["noise_sampling"]
    with torch.no_grad():
        memory = model.remember(model.encode(batch))
        first = model.expert(noise, torch.ones(len(noise)), model.expert.read(memory, noise.shape[1]))
        golden.agree("sampling.v_t.step0", first)
        golden.agree("sampling.actions_padded", model.denoise(memory, noise))
    actions = model.sample_actions(batch, noise=noise)
    golden.agree("sampling.actions", actions)
    golden.agree("sampling.select_action_first2", actions[:, :2].transpose(0, 1))        # (2 steps, B, 6)


@pytest.mark.parametrize("schedule", ["ZEROS", "ONES", "LINEAR", "EXP"])
def test_real_time_chunking(golden, policy, schedule):
    if f"rtc.actions.{schedule}" not in golden.expected:
        pytest.skip("this reference has no real-time chunking")
    chunk = policy.model.config.chunk_size
    golden.agree(f"rtc.weights.{schedule}", chunk_weights(schedule, chunk, delay=2, horizon=5))
    previous = golden.inputs["rtc.prev_chunk_left_over"]
    rtc = RealTimeChunking(previous, inference_delay=2, execution_horizon=5, schedule=schedule)
    noise = golden.inputs["noise_sampling"]
    actions = policy.model.sample_actions(golden.batch(policy), noise=noise, rtc=rtc)
    golden.agree(f"rtc.actions.{schedule}", actions)


def test_the_reference_holds_what_we_compare(golden):
    known = ("images.", "image_masks.", "image_tokens.", "prefix.", "kv.", "suffix.", "train.", "grad.",
             "after_step.", "sampling.", "rtc.")
    assert golden.expected and all(name.startswith(known) for name in golden.expected)
