"""Datasets pulled from and pushed to a Hub of our own over HTTP, in good and bad weather."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from smolkit.data.hub import dataset_folder, hub_dataset, on_hub
from smolkit.data.reader import Dataset
from smolkit.data.store import Limits
from smolkit.report import SmolkitError
from tests.data.recording import new
from tests.paths import shared

NAME = "robots/cube"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three episodes, each in a file of its own."""
    return new(tmp_path_factory.mktemp("made") / "cube", [3, 4, 2], limits=Limits(episodes=1))


def rows(root: Path, **options) -> dict:
    dataset = Dataset(root, **options)
    frames = {key: dataset.frames(key, range(len(dataset))) for key in dataset.camera_keys}
    return {**dataset.columns, **frames, "task": [item["task"] for item in dataset]}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_a_dataset_comes_by_its_name_and_stays_for_times_without_a_network(hub, made, monkeypatch):
    hub.add(NAME, made, tag="v3.0", **{"videos/unused.mp4": b"x", "run.py": b"x"})
    root = hub_dataset(NAME)
    assert same(rows(root), rows(made))
    assert {name.removeprefix(f"{NAME}/") for name in hub.asked} == {
        path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    hub.asked.clear()
    assert hub_dataset(NAME) == root and not hub.asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_dataset(NAME) == root and dataset_folder(NAME, "v3.0") == root


def test_only_the_files_of_the_wanted_episodes_come(hub, made):
    hub.add(NAME, made, tag="v3.0")
    root = hub_dataset(NAME, episodes=[1])
    assert same(rows(root, episodes=[1]), rows(made, episodes=[1]))
    brought = {name.removeprefix(f"{NAME}/") for name in hub.asked}
    assert {name for name in brought if name.startswith(("data", "videos"))} == {
        "data/chunk-000/file-001.parquet", "videos/observation.images.front/chunk-000/file-001.mp4",
        "videos/observation.images.wrist/chunk-000/file-001.mp4"}
    with pytest.raises(SmolkitError, match="SK409"):
        hub_dataset(NAME, episodes=[7])


def test_the_highest_version_that_can_be_read_is_taken(hub, made):
    there = hub.add(NAME, made, tag="v3.0")
    there.commit({"meta/info.json": b"{}"})                    # newer, and nobody tagged it
    assert Dataset(hub_dataset(NAME)).info.total_episodes == 3
    there.tags |= {"v9.0": there.find("main"), "v2.1": there.find("main"), "first": there.find("main")}
    assert on_hub(NAME).revision == there.find("v3.0")
    assert on_hub(NAME, "v2.1").revision == there.find("v2.1")
    del there.tags["v3.0"]
    assert on_hub(NAME).revision == there.find("v2.1")
    with pytest.raises(SmolkitError, match=r"SK497(.|\n)*no revision v7"):
        hub_dataset(NAME, "v7")


def test_older_versions_come_too(hub):
    golden = shared("golden", "lerobot_v21")
    hub.add(NAME, golden, tag="v2.1")
    assert len(Dataset(hub_dataset(NAME))) == len(Dataset(golden))


def test_one_file_for_streaming(hub, made):
    hub.add(NAME, made, tag="v3.0")
    there = on_hub(NAME)
    assert there.fetch("meta/stats.json").read_bytes() == (made / "meta/stats.json").read_bytes()
    hub.requests.clear()
    there.fetch("meta/stats.json")
    assert not hub.requests                                    # a commit in the cache never changes
    with pytest.raises(SmolkitError, match=r"SK497(.|\n)*no such file"):
        there.fetch("data/nothing.parquet")


def test_a_folder_goes_before_a_name(hub, made, monkeypatch):
    monkeypatch.chdir(made.parent.parent)
    assert dataset_folder(f"{made.parent.name}/{made.name}") == Path(made.parent.name, made.name)
    assert dataset_folder("nowhere") == Path("nowhere") and not hub.requests
