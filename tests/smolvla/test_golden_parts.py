"""References that leave something out: everything else is still compared, and what is broken still fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from smolkit.report import SmolkitError
from tests.paths import shared
from tests.smolvla.golden import Golden

WORDS = ["observation.language.tokens", "observation.language.attention_mask"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny reference that may be damaged."""
    source, copy = shared("golden", "smolvla_tiny"), tmp_path / "reference"
    for path in source.rglob("*"):
        if path.is_file() and "oldstyle" not in str(path):
            (copy / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / path.relative_to(source))
    return copy


def actions_agree(golden: Golden) -> bool:
    policy = golden.policy()
    noise = golden.inputs["noise_sampling"]
    golden.agree("sampling.actions", policy.model.sample_actions(golden.batch(policy), noise=noise))
    return golden.compared == {"sampling.actions"}


def test_without_a_tokenizer_only_the_words_are_not_compared(folder):
    (folder / "vlm" / "tokenizer.json").unlink()
    golden = Golden(folder)
    assert golden.preprocessed == ["observation.state", "action"] and actions_agree(golden)


def test_without_statistics_only_the_scaling_is_not_compared(folder):
    for path in (folder / "checkpoint").glob("policy_*"):
        path.unlink()
    golden = Golden(folder)
    assert golden.preprocessed == WORDS and actions_agree(golden)


def test_the_backbone_beside_the_checkpoint_is_found_under_any_name(folder):
    path = folder / "checkpoint" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vlm_model_name": "/somewhere/else/backbone"}))
    assert actions_agree(Golden(folder))


def test_a_tokenizer_of_the_checkpoints_own_is_used(folder):
    (folder / "checkpoint" / "tokenizer").mkdir()
    for path in list((folder / "vlm").glob("tok*")):
        path.rename(folder / "checkpoint" / "tokenizer" / path.name)
    golden = Golden(folder)
    assert golden.preprocessed == ["observation.state", "action", *WORDS] and actions_agree(golden)


@pytest.mark.parametrize("name", ["vlm/tokenizer.json", "checkpoint/policy_preprocessor.json",
                                  "checkpoint/policy_preprocessor_step_5_normalizer_processor.safetensors"])
def test_what_is_there_and_broken_fails(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    with pytest.raises(SmolkitError, match=Path(name).name):
        Golden(folder).policy()


def test_a_wrong_optimiser_step_is_seen(folder):
    golden = Golden(folder)
    named = dict(golden.policy().model.named_parameters())
    for name, weight in named.items():                 # a step of nothing at all
        if f"after_step.model.{name}" in golden.expected:
            with pytest.raises(AssertionError, match="after_step"):
                golden.agree_step(f"after_step.model.{name}", weight.detach(), weight)
    assert any(name.startswith("after_step.") for name in golden.compared)
