"""Names instead of folders: a Hub of our own over HTTP, with good and bad repositories. No real network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.hub import download, is_hub_id
from smolkit.smolvla.lora import add_lora


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "policy", tiny_policy(seed=1))


def test_a_policy_comes_by_its_name_and_only_what_is_needed(hub, saved, monkeypatch):
    hub.add("robots/cube", saved, **{"README.md": b"#", "training_state/optimizer.safetensors": b"huge", "x.py": b""})
    policy = load_checkpoint("robots/cube")
    assert policy.weights.report().ok and policy.weights.base == "robots/cube"
    assert {Path(name).suffix for name in hub.asked} == {".json", ".safetensors"}
    assert not any("training_state" in name for name in hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)     # from here on out of the cache
    again = load_checkpoint("robots/cube")
    assert torch.equal(again.model.state_proj.weight, policy.model.state_proj.weight)


def test_the_backbones_tokenizer_comes_by_its_name_but_not_its_weights(hub, saved):
    (saved / "vlm").rename(saved.parent / "elsewhere")
    hub.add("owner/tiny", saved.parent / "elsewhere", **{"model.safetensors": b"two gigabytes"})
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "vlm_model_name": "owner/tiny"}))
    assert load_checkpoint(saved).weights.report().ok
    assert set(hub.asked) == {f"owner/tiny/{path.name}" for path in (saved.parent / "elsewhere").iterdir()}


def test_an_adapters_base_comes_by_its_name(hub, saved):
    commit = hub.add("robots/cube", saved).find("main")
    policy = load_checkpoint("robots/cube", revision=commit)
    add_lora(policy.model, rank=2)
    light = save_checkpoint(saved.parent / "light", policy)
    written = json.loads((light / "adapter_config.json").read_text())
    assert (written["base_model_name_or_path"], written["revision"]) == ("robots/cube", commit)
    hub.add("robots/light", light)
    again = load_checkpoint("robots/light")
    assert (again.weights.base, again.weights.revision) == ("robots/cube", commit)
    assert torch.equal(again.model.state_proj.lora_A.weight, policy.model.state_proj.lora_A.weight)


@pytest.mark.parametrize("evil", ["vlm/../../../../evil.json", "policy_preprocessor/../../../../../evil.json"])
def test_a_file_name_that_leads_out_stays_in(hub, saved, evil):
    hub.add("robots/evil", saved, **{evil: b"{}"})
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*leads out"):
        load_checkpoint("robots/evil")
    assert not list(saved.parent.rglob("evil.json"))


def test_a_name_that_is_nowhere_is_told_with_the_ways_out(hub, saved):
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*typing mistake(.|\n)*path of a folder"):
        load_checkpoint("robots/nobody")
    hub.add("robots/cube", saved)
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*no revision v9"):
        load_checkpoint("robots/cube", revision="v9")
    with pytest.raises(SmolkitError, match="SK501"):
        load_checkpoint(Path("robots/cube"))       # a Path is a folder


def test_without_a_network_the_ways_out_are_named(hub, saved, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*HF_HUB_OFFLINE(.|\n)*path of a folder"):
        load_checkpoint("robots/cube")
    (saved / "vlm" / "tokenizer.json").unlink()
    (saved / "vlm" / "config.json").unlink()
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "vlm_model_name": "owner/tiny"}))
    with pytest.raises(SmolkitError, match=r"SK507(.|\n)*backbone=FOLDER"):
        load_checkpoint(saved)
    assert not hub.asked


def test_a_hub_that_is_down_is_told(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SmolkitError, match=r"SK516(.|\n)*no network, or the Hub is down"):
        download("robots/cube")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "a", "a/b/c", "a/..", "~/x", "", "a b/c", "c:/x"])
def test_what_is_no_name_on_the_hub(name):
    assert not is_hub_id(name)
