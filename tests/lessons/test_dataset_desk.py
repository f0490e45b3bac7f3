"""Lesson 04's desk and its three sets: recorded by recipes, small, and as their cards say."""

from __future__ import annotations

import importlib.util
from contextlib import closing

import numpy as np
import pytest

from smolkit.data.checks.sense import sense_findings
from smolkit.data.checks.structure import check_dataset
from smolkit.data.reader import Dataset
from smolkit.lessons.dataset_desk import Desk, attempt, open_desk
from smolkit.lessons.lane import dataset
from smolkit.report import SmolkitError
from tests.paths import REPO

SETS = ("reach", "pick_place", "sick")


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("recipe", REPO / "datasets" / "make_demonstrations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_episode_recorded_again_is_the_same_in_every_number():
    """All episodes: `python datasets/make_demonstrations.py --compare`. Pictures are tiny here, and not compared."""
    steps = attempt(0, image_px=16)
    with closing(Dataset(dataset("reach"), episodes=[0])) as shipped:
        rows = shipped.episode(0)
    assert np.array_equal(rows["observation.state"], np.float32([step.observation.state_deg for step in steps]))
    assert np.array_equal(rows["action"], np.float32([step.action_deg for step in steps]))
    assert np.array_equal(rows["captured_s"][:, 0], [step.observation.captured_s for step in steps])


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_its_card_says(name):
    root = dataset(name)
    with closing(Dataset(root)) as one:
        assert len(one.episodes) == 20 and one.fps == 10 and len(one.tasks) == (1 if name == "reach" else 2)
        assert all(one.info.features[key].hwc() == (128, 128, 3) for key in one.camera_keys)
        assert one.extra()["calibration"]
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    card = (root / "README.md").read_text(encoding="utf-8")
    assert size < 5e6 and all(word in card for word in ("Licence", "make_demonstrations.py", "No person"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reach", "pick_place"])
def test_healthy_sets_are_green(name):
    report = check_dataset(dataset(name))
    assert report.ok, report.text()


def test_each_planted_fault_turns_a_line_red_and_names_its_episodes(recipe):
    codes = {recipe.thought: "SK426", recipe.exchanged: "SK473", recipe.slipped: "SK475", recipe.frozen: "SK424",
             recipe.followed: "SK427", recipe.copied: "SK479"}
    with closing(Dataset(dataset("sick"))) as sick:
        red = [finding for finding in sense_findings(sick, codes.values()) if not finding.check.ok]
    for episode, fault in recipe.FAULTS.items():
        assert any(finding.check.code == codes[fault] and episode in finding.episodes for finding in red), episode
    assert {episode for finding in red for episode in finding.episodes} <= {2, *recipe.FAULTS}, "and blames no other"


def test_both_sentences_of_a_scene_begin_alike_and_end_apart():
    with closing(Dataset(dataset("pick_place"))) as one:
        for scene in range(10):
            red, green = one.episode(scene), one.episode(scene + 10)
            assert {red["task"][0], green["task"][0]} == set(one.tasks)
            assert np.abs(red["observation.state"][0] - green["observation.state"][0]).max() < 0.01
            assert np.abs(red["action"][10] - green["action"][10]).max() > 1


def test_what_differs_is_named(recipe, tmp_path):
    assert recipe.different(dataset("pick_place"), dataset("pick_place")) == []
    assert recipe.different(dataset("pick_place"), dataset("sick")) == ["tasks or lengths"]


def test_each_lane_has_its_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLKIT_OUTPUTS", str(tmp_path))
    assert open_desk("recorded").root == dataset("pick_place") and open_desk("real", "mine").root.name == "mine"
    with pytest.raises(SmolkitError, match="SK445"):
        open_desk("real")


def test_an_earlier_runs_folder_makes_room(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLKIT_OUTPUTS", str(tmp_path))
    desk = Desk(tmp_path)
    (desk.folder("cured") / "old").mkdir(parents=True)
    assert not desk.folder("cured").exists()


def test_a_demonstrator_that_cannot_says_so(monkeypatch):
    monkeypatch.setattr("smolkit.lessons.dataset_desk.LONGEST_S", 0.2)
    with pytest.raises(SmolkitError, match="SK446"):
        attempt(0, "red", image_px=16)
