"""Faults that looked green: parts redrawn or dead in the middle, weights that broke in memory, errors on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.checks import check_policy
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.lora import add_lora
from smolkit.smolvla.moments import simulated
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.sick import plant
from smolkit.smolvla.speed import quantise
from smolkit.smolvla.weight_checks import check_learned
from tests.paths import REPO
from tests.smolvla.make_listener import LISTENER

CLASSROOM = REPO / "smolkit/smolvla/assets/classroom"


def red(policy: SmolVLAPolicy | Path) -> dict[str, str]:
    return {check.code: check.found for check in check_policy(policy).red()}


def redraw(policy: SmolVLAPolicy, names: str, every: int = 1) -> SmolVLAPolicy:
    """Draws every n-th matrix that is called so anew, as PyTorch does."""
    rng = torch.Generator().manual_seed(0)
    chosen = [weight for name, weight in policy.model.named_parameters() if re.match(names, name) and weight.ndim > 1]
    for weight in chosen[::every]:
        drawn = (2 * torch.rand(weight.shape, generator=rng) - 1) * weight.shape[1] ** -0.5
        weight.data.copy_(drawn)
    return policy


def test_the_shipped_policy_is_green_in_every_part():
    report = check_policy(CLASSROOM)
    found = {check.code: check.found for check in report.checks}
    assert report.ok, report.text()
    assert "state and actions" in found["SK572"] and found["SK572"].endswith("not judged: words")    # from scratch


def test_a_dead_state_is_found_and_blamed_on_nothing_else():
    policy = load_checkpoint(CLASSROOM, dtype=None)
    for weight in policy.model.state_proj.parameters():
        weight.data.zero_()
    found = red(policy)
    assert "SK587" in found and "state and actions (1 of 5)" in found["SK572"] and set(found) <= {"SK572", "SK587"}


@pytest.mark.parametrize("name", ["state_proj", "expert.action_in", "expert.action_out", "expert.action_time_in",
                                  "expert.action_time_out"])
def test_one_matrix_of_state_or_actions_redrawn_is_found(name):
    policy = redraw(load_checkpoint(CLASSROOM, dtype=None), name + r"\.")
    assert "state and actions (1 of 5)" in check_learned(policy.model).found


@pytest.mark.parametrize(("part", "every"), [("expert", 2), ("expert", 4), ("language", 2), ("language", 4)])
def test_half_a_part_redrawn_and_a_quarter_are_found(part, every):
    policy = redraw(load_checkpoint(CLASSROOM, dtype=None), rf"{part}\.layers\.", every)
    check = check_learned(policy.model)
    assert not check.ok and {"expert": "expert", "language": "language model"}[part] in check.found


def test_adapters_are_new_and_what_they_sit_on_is_not():
    policy = load_checkpoint(CLASSROOM)
    add_lora(policy.model, rank=4)
    assert re.fullmatch(r"untouched: adapters \(\d+ of \d+\).*", check_learned(policy.model).found)


def test_int8_says_what_it_could_not_judge():
    found = check_learned(quantise(load_checkpoint(CLASSROOM)).model).found
    assert "not judged: " in found and "language model" in found.partition("not judged")[2] and "expert" in found


# --- weights that broke in memory, errors on the way --------------------------------------------------------------


def test_a_weight_that_is_no_number_is_all_there_is_to_say():
    policy = load_checkpoint(LISTENER, dtype=None)
    next(policy.model.expert.parameters()).data[0] = float("nan")
    found = red(policy)
    assert list(found) == ["SK513"] and "lm_expert" in found["SK513"]
    assert check_policy(policy).checks[-1].code == "SK513"


def test_the_numbers_are_todays_not_those_of_the_file(tmp_path):
    policy = load_checkpoint(plant("not a number", LISTENER, tmp_path / "sick"), dtype=None)
    assert list(red(policy)) == ["SK513"]
    policy.model.expert.action_out.bias.data.nan_to_num_(0)
    assert "SK513" not in red(policy)


def test_a_refusal_while_asking_is_red_and_keeps_what_was_found_before(tmp_path):
    folder = save_checkpoint(tmp_path / "policy", tiny_policy())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "resize_imgs_with_padding": [40, 40]}))
    report = check_policy(folder)
    assert report.red()[-1].code == "SK503" and {"SK510", "SK572", "SK582"} <= {check.code for check in report.checks}


def test_nobody_can_write_into_the_pictures_that_all_share():
    moment = simulated(("observation.images.front", "observation.images.wrist", "third"), 16, 16)[0]
    for picture in moment.observation.images.values():
        with pytest.raises(ValueError, match="read-only"):
            picture[:] = 0
    assert not np.shares_memory(*list(moment.observation.images.values())[:2])


def test_an_untrained_state_moves_nothing_to_speak_of():
    assert "SK587" in red(tiny_policy())


