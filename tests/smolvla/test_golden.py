"""Every tensor that LeRobot's own SmolVLA computed, computed again by ours."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import pytest
import torch

from smolkit.smolvla.aloha import actions_in
from smolkit.smolvla.attention import block_mask, positions
from smolkit.smolvla.flow import interpolate
from smolkit.smolvla.freezing import freeze
from smolkit.smolvla.names import theirs
from smolkit.smolvla.rtc import RealTimeChunking, chunk_weights
from tests.paths import extra_golden_of, shared
from tests.smolvla.golden import Golden

OURS = ("tiny", "tiny, old style")
NAMES = [*OURS, *map(str, extra_golden_of("smolvla"))]


@cache
def open_golden(name: str) -> Golden:
    if name not in OURS:
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")            # one task is too long on purpose
        ours = policy.processors.before(golden.raw())
    names = [name for name in golden.preprocessed if name in golden.inputs and name in ours]
    for name in names:
        torch.testing.assert_close(ours[name], golden.inputs[name], atol=1e-6, rtol=1e-6)
    if not names:
        pytest.skip("this reference keeps nothing that our preprocessor could make again")


def test_every_weight_is_found_and_used(policy):
    assert policy.weights.report().ok, policy.weights.report().text()


def pictures_and_prefix(golden, policy):
    batch = golden.batch(policy)
    for index, picture in enumerate(policy.model.pictures(batch)):
        golden.agree(f"images.{index}", picture.image)
        golden.agree(f"image_masks.{index}", picture.mask)
    for index, seen in enumerate(policy.model.look(batch, trim=False)):
        golden.agree(f"image_tokens.{index}", seen.tokens)
    prefix = policy.model.encode(batch, trim=False)
    golden.agree("prefix.embs", prefix.tokens, rows=prefix.pad)
    golden.agree("prefix.pad_masks", prefix.pad)
    golden.agree("prefix.att_masks", prefix.block)
    golden.agree("prefix.att_2d_masks", block_mask(prefix.pad, prefix.block))
    golden.agree("prefix.position_ids", positions(prefix.pad))


def keys_and_values_of_every_layer(golden, policy):
    memory = policy.model.remember(policy.model.encode(golden.batch(policy), trim=False))
    for layer, (keys, values) in enumerate(zip(memory.keys, memory.values, strict=True)):
        golden.agree(f"kv.{layer}.keys", keys, rows=memory.pad)
        golden.agree(f"kv.{layer}.values", values, rows=memory.pad)


def the_suffix_and_the_whole_mask(golden, policy):
    batch, model, given = golden.batch(policy), policy.model, golden.inputs
    if "time" not in given:
        return
    targets = actions_in(batch["action"]) if model.config.adapt_to_pi_aloha else batch["action"]
    wide = torch.nn.functional.pad(targets, (0, model.config.max_action_dim - targets.shape[-1]))
    x_t, _ = interpolate(wide, given["noise"], given["time"])
    golden.agree("suffix.x_t", x_t)
    golden.agree("suffix.embs", model.expert.embed(x_t, given["time"]))
    prefix = model.encode(batch, trim=False)
    ones = torch.ones(wide.shape[:2], dtype=torch.bool)
    mask = block_mask(torch.cat([prefix.pad, ones], 1), torch.cat([prefix.block, ones], 1))
    golden.agree("train.att_2d_masks", mask)


def both_generations_of_the_loss(golden, policy):
    if "time" not in golden.inputs:
        return
    batch, drawn = golden.batch(policy), {"noise": golden.inputs["noise"], "time": golden.inputs["time"]}
    out = policy.model(batch, **drawn)
    before = policy.model(batch, **drawn, generation="0.4.4")["loss"]
    golden.agree("train.loss_per_element", out["loss_per_element"])
    golden.agree("train.loss_main", out["loss"])
    golden.agree("train.loss_044", before)
    if (wanted := golden.expected.get("train.loss_this_version")) is not None:    # of either generation
        golden.agree("train.loss_this_version", min(out["loss"], before, key=lambda loss: abs(loss - wanted)))


def gradients_and_one_step_of_adamw(golden, policy):
    if "time" not in golden.inputs:
        return
    model, config = policy.model, policy.model.config
    named = {theirs(name): weight for name, weight in model.named_parameters()}
    taught = [name.removeprefix("grad.") for name in golden.expected if name.startswith("grad.")]
    if not all(named[name].requires_grad for name in taught):
        freeze(model, generation="0.4.4")          # which left the last language layer trainable
    model(golden.batch(policy), noise=golden.inputs["noise"], time=golden.inputs["time"])["loss"].backward()
    for name in taught:
        found = named[name].grad                   # None: this weight had no part in the loss
        golden.agree(f"grad.{name}", torch.zeros_like(named[name]) if found is None else found)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    golden.agree("train.grad_norm", torch.nn.utils.clip_grad_norm_(learning, config.optimizer_grad_clip_norm))
    before = {name: weight.detach().clone() for name, weight in named.items()}
    torch.optim.AdamW(learning, lr=config.optimizer_lr, betas=config.optimizer_betas,
                      eps=config.optimizer_eps, weight_decay=config.optimizer_weight_decay).step()
    for name in before:
        if f"after_step.{name}" in golden.expected:
            golden.agree_step(f"after_step.{name}", before[name], named[name])


def sampled_actions(golden, policy):
    if "noise_sampling" not in golden.inputs:
        return
    model, batch, noise = policy.model, golden.batch(policy), golden.inputs["noise_sampling"]
    with torch.no_grad():
        memory = model.remember(model.encode(batch))
        first = model.expert(noise, torch.ones(len(noise)), model.expert.read(memory, noise.shape[1]))
        golden.agree("sampling.v_t.step0", first)
        golden.agree("sampling.actions_padded", model.denoise(memory, noise))
    actions = model.sample_actions(batch, noise=noise)
    golden.agree("sampling.actions", actions)
    second = 1 % model.config.n_action_steps               # of a fresh chunk, from the same noise, if that is 1
    golden.agree("sampling.select_action_first2", actions[:, [0, second]].transpose(0, 1))       # (2 steps, B, 6)


def real_time_chunking(golden, policy):
    chunk, previous = policy.model.config.chunk_size, golden.inputs.get("rtc.prev_chunk_left_over")
    for schedule in ("ZEROS", "ONES", "LINEAR", "EXP"):
        horizon = 5 if previous is None else min(5, previous.shape[-2])
        golden.agree(f"rtc.weights.{schedule}", chunk_weights(schedule, chunk, delay=2, horizon=horizon))
        if f"rtc.actions.{schedule}" in golden.expected:
            rtc = RealTimeChunking(previous, inference_delay=2, execution_horizon=5, schedule=schedule)
            noise = golden.inputs["noise_sampling"]
            actions = policy.model.sample_actions(golden.batch(policy), noise=noise, rtc=rtc)
            golden.agree(f"rtc.actions.{schedule}", actions)


COMPARISONS = [pictures_and_prefix, keys_and_values_of_every_layer, the_suffix_and_the_whole_mask,
               both_generations_of_the_loss, gradients_and_one_step_of_adamw, sampled_actions, real_time_chunking]


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda compare: compare.__name__)
def test_lerobots_numbers_come_out(golden, policy, compare):
    others = set(golden.compared)
    golden.compared.clear()
    compare(golden, policy)
    nothing = not golden.compared
    golden.compared.update(others)
    if nothing:
        pytest.skip("this reference has no such tensors")


def test_every_tensor_of_the_reference_was_compared(golden):
    for compare in COMPARISONS:
        if golden.compared != golden.expected.keys():      # this test alone, or in another order
            compare(golden, golden.policy())
    assert golden.expected and golden.compared == golden.expected.keys()
