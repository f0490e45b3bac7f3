"""What is missing, truncated, foreign or hostile gets an error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolkit.data.reader import Dataset, load_stats
from smolkit.data.schema import Feature, fill
from smolkit.data.writer import DatasetWriter
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


@pytest.mark.parametrize("changes", [{"fps": 0}, {"fps": "ten"}, {"fps": 10.7}, {"fps": True}, {"fps": 1e999},
                                     {"features": []}, {"features": {}}, {"chunks_size": -1}, {"total_frames": 2.5}])
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


def edit_features(root: Path, **changes) -> None:
    """Changes entries of `features`; None removes one."""
    features = json.loads((root / "meta/info.json").read_text())["features"]
    merged = {key: {**features.get(key, {}), **(changes.get(key) or {})} for key in [*features, *changes]
              if changes.get(key, {}) is not None}
    edit(root, features=dict(merged))


def edit_column(path: Path, name: str, values) -> None:
    """Replaces a column of a parquet file by `values(old list)`; None removes it."""
    table = pq.ParquetFile(path).read()
    place = table.column_names.index(name)
    if values is None:
        table = table.remove_column(place)
    else:
        table = table.set_column(place, name, pa.array(values(table.column(name).to_pylist())))
    pq.write_table(table, path)


FRONT = "observation.images.front"


@pytest.mark.parametrize("changes", [
    {"index": None}, {"task_index": None}, {"episode_index": None}, {"index": {"dtype": "string"}},
    {FRONT: {"shape": [32, 48]}}, {FRONT: {"shape": [0, 48, 3]}}, {FRONT: {"shape": [32.5, 48, 3]}},
    {"action": {"dtype": "float33"}}, {"action": {"shape": None}}])
def test_features_that_can_not_be_are_refused(root, changes):
    edit_features(root, **changes)
    with pytest.raises(SmolkitError, match="SK404") as caught:
        Dataset(root)
    assert "info.json" in str(caught.value)


VIDEO = f"videos/{FRONT}/"


@pytest.mark.parametrize("column,values", [
    ("episode_index", None), ("episode_index", lambda old: [None for _ in old]), ("length", None),
    ("data/file_index", lambda old: [float(n) for n in old]), ("data/file_index", lambda old: [-1 for _ in old]),
    (VIDEO + "file_index", lambda old: [n + 0.5 for n in old]),
    (VIDEO + "from_timestamp", lambda old: [float("nan") for _ in old]),
    (VIDEO + "from_timestamp", lambda old: [-0.1 for _ in old]),
    (VIDEO + "to_timestamp", lambda old: [float("inf") for _ in old])])
def test_an_episodes_table_that_can_not_be_is_refused(root, column, values):
    edit_column(root / FILES[2], column, values)
    with pytest.raises(SmolkitError, match="SK404") as caught:
        Dataset(root)
    assert FILES[2] in str(caught.value)


@pytest.mark.parametrize("task", [2, -1])
def test_a_task_that_nobody_named_is_refused(root, task):
    edit_column(root / FILES[0], "task_index", lambda old: [task, *old[1:]])
    with pytest.raises(SmolkitError, match="SK406") as caught:
        Dataset(root)
    assert FILES[0] in str(caught.value) and str(task) in caught.value.found


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"action": 3}', '{"action": []}'])
def test_statistics_of_another_form_are_refused(root, content):
    (root / "meta/stats.json").write_text(content)
    with pytest.raises(SmolkitError, match="SK404") as caught:
        Dataset(root).stats()
    assert "meta/stats.json" in str(caught.value)


def test_smolkits_own_file_of_another_form_is_refused(root):
    (root / "meta/smolkit.json").write_text("[]")
    for use in (lambda: Dataset(root).extra(), lambda: DatasetWriter.resume(root)):
        with pytest.raises(SmolkitError, match="SK404") as caught:
            use()
        assert "meta/smolkit.json" in str(caught.value)


@pytest.mark.parametrize("lines", ["", "{", "[]", "{}", '{"stats": 3}', '{"stats": {"action": {"mean": [1]}}}',
                                   '{"stats": {}}\n{"stats": {"action": {}}}'])
def test_broken_statistics_of_v21_are_refused(root, lines):
    (root / "meta/episodes_stats.jsonl").write_text(lines)
    with pytest.raises(SmolkitError, match="SK404") as caught:
        load_stats(root, (2, 1))
    assert "episodes_stats.jsonl" in str(caught.value)


def test_channels_first_without_names_are_understood(root):
    frames = Dataset(root).to_arrays().frames[FRONT]
    edit_features(root, **{FRONT: {"shape": [3, 32, 48], "names": None}})
    assert np.array_equal(Dataset(root).to_arrays().frames[FRONT], frames)


@pytest.mark.parametrize("shape,names,hwc", [
    ((3, 32, 48), None, (32, 48, 3)), ((1, 32, 48), None, (32, 48, 1)), ((32, 48, 3), None, (32, 48, 3)),
    ((3, 48, 3), None, (3, 48, 3)), ((3, 32, 48), ["channels", "height", "width"], (32, 48, 3)),
    ((3, 48, 640), ["height", "width", "channels"], (3, 48, 640))])
def test_height_width_and_channels(shape, names, hwc):
    assert Feature("video", shape, names).hwc() == hwc
