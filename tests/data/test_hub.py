"""Datasets pulled from and pushed to a Hub of our own over HTTP, in good and bad weather."""

from __future__ import annotations

import io
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import constants
from PIL import Image

from smolkit.data.claim import Claim
from smolkit.data.hub import dataset_folder, hub_dataset, on_hub
from smolkit.data.push import GIF_PX, push_dataset
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


def test_a_repository_without_one_of_its_files_is_told(hub, made):
    there = hub.add(NAME, made, tag="v3.0")
    gone = next(path for path in there.files() if path.endswith("wrist/chunk-000/file-002.mp4"))
    del there.files()[gone]
    with pytest.raises(SmolkitError, match=rf"SK497 expected {gone}(.|\n)*pushed only in part"):
        hub_dataset(NAME)
    assert same(rows(hub_dataset(NAME, episodes=[0]), episodes=[0]), rows(made, episodes=[0]))


@pytest.mark.parametrize("evil", ["meta/../../../../evil.json", "/evil.json"])
def test_a_file_name_that_leads_out_stays_in(hub, made, tmp_path, evil):
    hub.add(NAME, made, tag="v3.0", **{evil: b"{}"})
    with suppress(SmolkitError):
        hub_dataset(NAME)
    assert not list(tmp_path.rglob("evil.json")) and not Path("/evil.json").exists()


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


def push(root: Path, name: str = NAME, **options) -> str:
    options = {"sheet": root.parent / "look.jpg", "licence": "cc-by-4.0", "looked": True, **options}
    return push_dataset(root, name, **options)


def test_a_pushed_dataset_reads_the_same_and_brings_no_scratch(hub, made, tmp_path):
    root = shutil.copytree(made, tmp_path / "cube")
    for scratch in ("images/observation.images.front/frame.png", "meta/info.json.part", "notes.txt"):
        (root / scratch).parent.mkdir(parents=True, exist_ok=True)
        (root / scratch).write_text("x")
    address = push(root)
    there = hub.repositories[NAME]
    assert there.private and address.endswith(there.find("main")) and there.tags == {"v3.0": there.find("main")}
    ours = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert set(there.files()) == {*ours, "README.md", "preview.gif", ".gitattributes"}
    assert same(rows(hub_dataset(NAME)), rows(made))
    assert not (root / "README.md").exists() and not (root / ".recording.lock").exists()
    check_card(there.files())


def check_card(files: dict[str, bytes]) -> None:
    """What LeRobot and the Hub's visualiser look for."""
    text = files["README.md"].decode()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "cc-by-4.0" and "LeRobot" in front["tags"] and front["task_categories"] == ["robotics"]
    assert front["configs"] == [{"config_name": "default", "data_files": "data/*/*.parquet"}]
    assert "path=robots/cube" in text and "- push\n- pick\n" in text and " SK4" in text.split("## Quality")[1]
    picture = Image.open(io.BytesIO(files["preview.gif"]))
    assert picture.n_frames == 3 and picture.info["duration"] == 100 and max(picture.size) <= GIF_PX


def test_a_second_push_needs_a_word_and_takes_away_what_is_gone(hub, made, tmp_path):
    hub.add(NAME, made, tag="v3.0", private=True)
    with pytest.raises(SmolkitError, match=r"SK496(.|\n)*the name is taken(.|\n)*--update"):
        push(made)
    there, smaller = hub.repositories[NAME], new(tmp_path / "smaller", [2])
    push(smaller, update=True)
    assert there.tags["v3.0"] == there.find("main") and "data/chunk-000/file-001.parquet" not in there.files()
    assert same(rows(hub_dataset(NAME)), rows(smaller))


def test_a_pull_that_broke_off_goes_on_and_leaves_nothing_that_looks_whole(hub, made):
    hub.add(NAME, made, tag="v3.0")
    hub.fail = [("GET .*/resolve/.*mp4", 500)]
    with pytest.raises(SmolkitError, match=r"SK497(.|\n)*what arrived is kept"):
        hub_dataset(NAME)
    constants.HF_HUB_OFFLINE = True                            # the fixture sets it back
    with pytest.raises(SmolkitError, match=r"SK497(.|\n)*HF_HUB_OFFLINE"):
        hub_dataset(NAME)
    constants.HF_HUB_OFFLINE = False
    assert same(rows(hub_dataset(NAME)), rows(made))


def test_nothing_leaves_before_a_person_looked_and_chose(hub, made):
    for missing in ({"licence": None}, {"looked": False, "tell": lambda report: None}):
        with pytest.raises(SmolkitError, match="SK495"):
            push(made, **missing)
    assert not hub.requests and (made.parent / "look.jpg").stat().st_size > 1000


def test_a_dataset_that_is_being_recorded_stays(hub, made):
    with Claim(made), pytest.raises(SmolkitError, match="SK417"):
        push(made)
    assert not hub.requests
