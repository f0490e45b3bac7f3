"""What is missing, truncated, foreign or hostile gets an error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from smolkit.data.reader import Dataset
from smolkit.data.schema import fill
from smolkit.report import SmolkitError
from tests.data.recording import new

FILES = ["data/chunk-000/file-000.parquet", "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet",
         "videos/observation.images.front/chunk-000/file-000.mp4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return new(tmp_path_factory.mktemp("whole") / "set", [5, 7])


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "set")


def edit(root: Path, **changes) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(SmolkitError, match="SK403") as caught:
        Dataset(root).to_arrays()
    assert name in str(caught.value)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("name", [*FILES, "meta/info.json"])
def test_a_truncated_file_is_named(root, name, part):
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(SmolkitError, match="SK404") as caught:
        Dataset(root).to_arrays()
    assert name in str(caught.value)


def test_a_truncated_video_shows_the_right_frames_or_none(root):
    path, key = root / FILES[-1], "observation.images.front"
    content, frames = path.read_bytes(), Dataset(root).to_arrays().frames[key]
    refused = 0
    for part in np.linspace(0, 1, 40):
        path.write_bytes(content[: int(part * len(content))])
        try:
            assert np.array_equal(Dataset(root).to_arrays(cameras=[key]).frames[key], frames)
        except SmolkitError as error:
            assert error.code == "SK404" and FILES[-1] in str(error)
            refused += 1
    assert 25 < refused < 40


def test_flipped_bytes_in_a_video_never_pass_unnoticed_as_other_frames(root):
    path = root / FILES[-1]
    content = bytearray(path.read_bytes())
    place = content.find(b"mdat") + 4
    content[place:place + 600] = bytes(600)
    path.write_bytes(content)
    with pytest.raises(SmolkitError, match="SK404") as caught:
        Dataset(root).to_arrays()
    assert FILES[-1] in str(caught.value)


@pytest.mark.parametrize("version", ["v1.6", "v4.0", "3", "", None])
def test_other_versions_are_refused(root, version):
    edit(root, codebase_version=version)
    with pytest.raises(SmolkitError, match="SK402"):
        Dataset(root)


@pytest.mark.parametrize("changes", [{"fps": 0}, {"fps": "ten"}, {"features": []}, {"chunks_size": -1}])
def test_nonsense_in_info_is_refused(root, changes):
    edit(root, **changes)
    with pytest.raises(SmolkitError, match="SK404"):
        Dataset(root)


def test_no_dataset_and_an_empty_one(root, tmp_path):
    with pytest.raises(SmolkitError, match="SK401"):
        Dataset(tmp_path / "nowhere")
    edit(root, total_episodes=0, total_frames=0)
    with pytest.raises(SmolkitError, match="SK408"):
        Dataset(root)


def test_counters_that_contradict_the_tables(root):
    edit(root, total_frames=99)
    with pytest.raises(SmolkitError, match="SK406"):
        Dataset(root)


def test_rows_of_another_recording(root, tmp_path):
    other = new(tmp_path / "other", [7, 5])
    shutil.copy(other / FILES[0], root / FILES[0])
    with pytest.raises(SmolkitError, match="SK406"):
        Dataset(root)


@pytest.mark.parametrize("template", [
    "../../{chunk_index}/{file_index}", "/etc/{chunk_index}", "C:\\{chunk_index}",
    "data/{chunk_index.__class__}", "data/{secret}", "data\\..\\{file_index}", "{",
    "data/{chunk_index:0999999d}"])
def test_hostile_templates_stay_in_the_folder(root, template):
    edit(root, data_path=template)
    with pytest.raises(SmolkitError, match="SK405"):
        Dataset(root)


@pytest.mark.parametrize("key", ["../up", "a/b", "..", "a\\b", ""])
def test_hostile_feature_names(root, key):
    with pytest.raises(SmolkitError, match="SK405"):
        fill("videos/{video_key}/x.mp4", key, 0, 0)
    edit(root, features={key: {"dtype": "video", "shape": [2, 2, 3], "names": None}})
    with pytest.raises(SmolkitError, match="SK405"):
        Dataset(root)


def test_unknown_fields_are_kept(root):
    edit(root, tools=["x"])
    info = Dataset(root).info
    assert info.extra == {"tools": ["x"]} and json.loads(info.as_bytes())["tools"] == ["x"]
