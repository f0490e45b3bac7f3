"""Every planted fault is found by its own check and by few others; policies that are well stay green."""

from __future__ import annotations

import warnings
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.cameras.camera import Observation
from smolkit.data.reader import Dataset
from smolkit.data.stats import column_stats
from smolkit.report import SmolkitError
from smolkit.smolvla.behaviour_checks import check_places
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.checks import check_device, check_policy
from smolkit.smolvla.fake import fake_observation, tiny_policy
from smolkit.smolvla.lora import adapters, add_lora
from smolkit.smolvla.moments import Moment, asked, simulated
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.probes import Probe, moved, unlike
from smolkit.smolvla.sick import FAULTS, plant
from smolkit.smolvla.statistics_checks import check_dataset, check_one_robot, check_units
from smolkit.smolvla.weight_checks import check_learned, untouched
from tests.paths import REPO, shared
from tests.smolvla.make_listener import LISTENER, TASKS, scenes

# What a fault may redden besides its own check: random weights look and listen at random.
ALSO = {"random backbone": {"SK577", "SK578", "SK581"}, "random bell": {"SK577", "SK578", "SK581"},
        "random eyes": {"SK577", "SK578", "SK581"}, "random expert": {"SK577", "SK578", "SK581"},
        "blind": {"SK572"}}                    # its eyes are zeros
UNREADABLE = ("cut off",)
DEMOS = REPO / "datasets/teleop_recording/demos"


def red(report) -> set[str]:
    return {check.code for check in report.red()}


def test_a_healthy_policy_is_green_and_says_what_it_was_shown():
    report = check_policy(LISTENER)
    assert report.ok, report.text()
    found = {check.code: check.found for check in report.checks}
    assert "rendered scenes" in found["SK577"] and "clear" in found["SK578"] and "2 instructions" in found["SK578"]


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items()
                                   if not fault.needs_data and name not in UNREADABLE])
def test_a_fault_is_found_by_its_check_and_blamed_on_nothing_else(fault, tmp_path):
    found = red(check_policy(plant(fault, LISTENER, tmp_path / "sick")))
    assert FAULTS[fault].code in found
    assert found <= {FAULTS[fault].code} | ALSO.get(fault, set())


def test_what_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(SmolkitError, match="SK510"):
        check_policy(plant("cut off", LISTENER, tmp_path / "sick"))
    with pytest.raises(SmolkitError, match="SK501"):
        check_policy(tmp_path / "nothing")


@pytest.mark.parametrize("preset", ["tiny", "classroom"])
def test_an_untrained_policy_is_red_in_weights_and_in_answers(preset):
    assert {"SK572", "SK577", "SK578", "SK581"} <= red(check_policy(tiny_policy(preset=preset)))


def test_the_golden_checkpoint_is_random_and_told_so():
    report = check_policy(shared("golden", "smolvla_tiny", "checkpoint"))
    found = {check.code: check.found for check in report.red()}
    assert all(part in found["SK572"] for part in ("eyes", "language model", "words", "expert"))


# --- cameras and words ----------------------------------------------------------------------------------------


def lessons(policy: SmolVLAPolicy, count: int = 4) -> tuple[Moment, ...]:
    """Moments of the listener's own world, with what was done next."""
    samples, names = scenes(count, seed=99), policy.model.config.cameras
    rows = [8 * episode + 2 for episode in range(count)]
    seen = [Observation(samples.state_deg[row], {f"observation.images.{role}": frames[row] for role, frames
                                                 in samples.images.items()}, TASKS[samples.task[row]]) for row in rows]
    assert set(seen[0].images) == set(names)
    return tuple(Moment(one, (TASKS,), samples.action_deg[row:row + 6]) for one, row in zip(seen, rows, strict=True))


@pytest.mark.parametrize(("fault", "ok"), [("", True), ("exchanged cameras", False)])
def test_exchanged_cameras_explain_a_recording_better(fault, ok, tmp_path):
    policy = load_checkpoint(plant(fault, LISTENER, tmp_path / "sick") if fault else LISTENER, dtype=None)
    probe, moments = Probe(policy), lessons(policy)
    check = check_places(probe, moments, [probe.plans(moment.observation) for moment in moments])
    assert check.ok is ok, check.line()


@pytest.mark.parametrize("preset", ["tiny", "classroom"])
def test_the_probes_short_cuts_are_exact(preset):
    policy = tiny_policy(preset=preset)
    probe, seen = Probe(policy), fake_observation()
    named = replace(seen, images={f"observation.images.{role}": image for role, image in seen.images.items()})
    batch = {name: value.expand(4, *value.shape[1:]) for name, value in probe._batch(named).items()}
    config, rng = policy.model.config, torch.Generator().manual_seed(5)
    noise = torch.randn(4, config.chunk_size, config.max_action_dim, generator=rng)
    probe._noise, probe.horizon = noise[:, :7], 7                              # the chunk's beginning alone
    whole = policy.model.sample_actions(batch, noise=noise, num_steps=4)
    torch.testing.assert_close(probe.plans(named), whole[:, :7], atol=2e-5, rtol=1e-5)


def test_another_roll_of_the_dice_is_the_unit_of_all_effects():
    rng = torch.Generator().manual_seed(0)
    dice = torch.randn(8, 10, 6, generator=rng)
    assert moved(dice, dice) == 0 and unlike(dice, dice) == pytest.approx(1, abs=0.05)
    assert unlike(dice, dice + 5) > 2 and moved(dice, dice + 5) > 2


def test_one_instruction_leaves_nothing_to_tell_apart(tmp_path):
    policy = load_checkpoint(LISTENER)
    deaf = replace(policy.processors, tasks=TASKS[:1])
    folder = save_checkpoint(tmp_path / "one", SmolVLAPolicy(policy.model, deaf))
    assert load_checkpoint(folder).processors.tasks == TASKS[:1]               # the policy notes what it learned
    words = {check.code: check for check in check_policy(folder).checks}["SK578"]
    assert words.ok and "one instruction" in words.found


def test_moments_ask_what_a_policy_has_learned():
    moments = asked(simulated(("front",), 32, 32), TASKS)
    assert [moment.observation.task for moment in moments] == list(TASKS)
    assert all(len(moment.sentences) == 1 and set(moment.sentences[0]) == set(TASKS) for moment in moments)


# --- statistics -----------------------------------------------------------------------------------------------


def test_a_dataset_tells_whose_statistics_these_are():
    policy = load_checkpoint(LISTENER)
    strangers = {check.code: check for check in check_policy(policy, DEMOS).checks}
    assert not strangers["SK576"].ok and strangers["SK583"].ok and "rendered" in strangers["SK577"].found
    with closing(Dataset(DEMOS)) as dataset:
        stats = {name: {key: torch.from_numpy(np.asarray(value)).float() for key, value in values.items()}
                 for name, values in dataset.stats().items() if name in ("observation.state", "action")}
    own = replace(policy.processors, normalizer=replace(policy.processors.normalizer, stats=stats))
    friends = {check.code: check for check in check_policy(SmolVLAPolicy(policy.model, own), DEMOS).checks}
    assert friends["SK576"].ok and "pictures of demos" in friends["SK577"].found and "SK584" in friends


def test_an_absent_camera_is_told():
    policy = load_checkpoint(LISTENER)
    renamed = replace(policy.processors, rename_map={"observation.images.wrist": "observation.images.hand"})
    checks = {check.code: check for check in check_policy(SmolVLAPolicy(policy.model, renamed), DEMOS).checks}
    assert not checks["SK583"].ok and "wrist" in checks["SK583"].found


@pytest.mark.parametrize("root", [DEMOS, REPO / "datasets/teleop_recording/hunt"])
def test_real_recordings_have_statistics_of_one_robot_in_degrees(root):
    with closing(Dataset(root)) as dataset:
        stats = {name: {key: torch.from_numpy(np.asarray(value)) for key, value in values.items()}
                 for name, values in dataset.stats().items()}
    assert check_one_robot(stats).ok and check_units(stats).ok and check_dataset(stats, stats).ok


def test_a_real_arm_recorded_in_percent_is_one_robot_and_no_degrees():
    with closing(Dataset(shared("real", "so101_pick_place_tape", "lerobot_v3"))) as dataset:
        stats = {name: {key: torch.from_numpy(value) for key, value in column_stats(dataset.columns[name]).items()}
                 for name in ("observation.state", "action")}
    assert check_one_robot(stats).ok and not check_units(stats).ok


# --- weights and this computer --------------------------------------------------------------------------------

DRAWS = {"even": lambda shape, rng: 2 * torch.rand(shape, generator=rng) - 1,
         "bell": lambda shape, rng: torch.randn(shape, generator=rng),
         "cut bell": lambda shape, rng: torch.nn.init.trunc_normal_(torch.empty(shape), generator=rng)}


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 300), st.integers(40, 300), st.sampled_from(sorted(DRAWS)), st.floats(1e-3, 10),
       st.sampled_from([torch.float32, torch.bfloat16]), st.integers(0, 10_000))
def test_what_was_drawn_is_untouched_at_every_size_scale_and_format(rows, columns, kind, scale, dtype, seed):
    rng = torch.Generator().manual_seed(seed)
    matrix = DRAWS[kind]((rows, columns), rng) * scale
    assert untouched(matrix.to(dtype))
    learned = torch.outer(*(torch.randn(n, generator=rng) for n in (rows, columns)))      # one direction stands out
    assert not untouched((matrix + 0.5 * scale * learned).to(dtype))


def test_a_few_steps_of_training_leave_the_sharp_end():
    rng = torch.Generator().manual_seed(0)
    even = 0.1 * DRAWS["even"]((160, 160), rng)
    assert untouched(even) and not untouched(even + 0.02 * torch.randn(160, 160, generator=rng))


@pytest.mark.parametrize(("dtype", "capability", "ok"), [
    (torch.bfloat16, (7, 5), False), (torch.bfloat16, (8, 0), True), (torch.float32, (7, 5), True),
    (torch.bfloat16, None, True)])
def test_a_t4_has_no_bfloat16(dtype, capability, ok):
    assert check_device({dtype}, capability, "Tesla T4").ok is ok


def test_a_state_in_other_units_is_told_when_it_is_used():
    policy = load_checkpoint(LISTENER)
    seen = lessons(policy)[0].observation
    roles = {name.removeprefix("observation.images."): image for name, image in seen.images.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.predict(replace(seen, images=roles))
        with pytest.raises(UserWarning, match="SK586 number 3"):
            policy.predict(replace(seen, images=roles, state_deg=seen.state_deg + np.eye(6)[3] * 90))


def test_an_adapter_that_learned_nothing_is_told():
    policy = load_checkpoint(LISTENER)
    add_lora(policy.model, rank=4)
    assert "adapters" in check_learned(policy.model).found
    for adapter in adapters(policy.model).values():
        torch.nn.init.normal_(adapter.lora_B.weight, std=0.01)
    assert check_learned(policy.model).ok
