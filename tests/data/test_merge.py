"""Several recordings become one; frames stay the very same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.cameras.camera import CameraRole
from smolkit.data.edit import Plan
from smolkit.data.reader import Dataset
from smolkit.data.schema import EXTRA_PATH
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, new, record
from tests.paths import shared


def merge(roots, out):
    return Plan.of(*roots).write(out).info


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    with DatasetWriter.create(folder / "b", FPS, ROLES) as writer:
        record(writer, [3, 8], tasks=("pick", "wave"))
    return [new(folder / "a", [5, 4, 7]), folder / "b"]


def test_merged_content_is_that_of_the_parts(shards, tmp_path):
    merge(shards, tmp_path / "all")
    parts, whole = [Dataset(shard) for shard in shards], Dataset(tmp_path / "all")
    assert [e.length for e in whole.episodes] == [5, 4, 7, 3, 8]
    assert whole.tasks == ("push", "pick", "wave")
    assert np.array_equal(whole.columns["index"], np.arange(27))
    position, arrays = 0, whole.to_arrays()
    for part in parts:
        there = part.to_arrays()
        here = slice(position, position + len(part))
        for key in part.camera_keys:
            assert np.array_equal(arrays.frames[key][here], there.frames[key])
        for key in ("action", "observation.state", "captured_s", "timestamp", "frame_index"):
            assert np.array_equal(whole.columns[key][here], part.columns[key])
        assert [whole[position + i]["task"] for i in range(len(part))] == [row["task"] for row in part]
        position += len(part)


def test_merged_statistics_are_those_of_one_recording(shards, tmp_path):
    merge(shards, tmp_path / "all")
    whole = Dataset(tmp_path / "all")
    for key in ("action", "index", "task_index"):
        rows = whole.columns[key].reshape(27, -1)
        for name, value in (("mean", rows.mean(0)), ("std", rows.std(0)), ("q90", np.quantile(rows, 0.9, 0))):
            assert np.allclose(whole.stats()[key][name], value), (key, name)
    front = whole.stats()["observation.images.front"]
    parts = [Dataset(shard).stats()["observation.images.front"] for shard in shards]
    assert np.allclose(front["mean"], (16 * parts[0]["mean"] + 11 * parts[1]["mean"]) / 27)
    assert front["count"].tolist() == [27]


def test_a_merged_set_can_be_resumed_and_merged_again(shards, tmp_path):
    merge(shards, tmp_path / "all")
    with DatasetWriter.resume(tmp_path / "all") as writer:
        record(writer, [6])
    info = merge([tmp_path / "all", shards[0]], tmp_path / "more")
    assert (info.total_episodes, info.total_frames, info.total_tasks) == (9, 49, 3)
    assert len(Dataset(tmp_path / "more").to_arrays()) == 49


def test_recordings_that_do_not_fit_are_refused(shards, tmp_path):
    other = (CameraRole("front", 32, 32, FPS), ROLES[1])
    with DatasetWriter.create(tmp_path / "small", FPS, other) as writer:
        record(writer, [3], other)
    extra = new(tmp_path / "normalised", [3]) / EXTRA_PATH
    extra.write_text(extra.read_text().replace('"deg"', '"percent"'))
    for misfit in ("small", "normalised"):
        with pytest.raises(SmolkitError, match="SK415"):
            merge([shards[0], tmp_path / misfit], tmp_path / "all")
    with pytest.raises(SmolkitError, match="SK410"):
        merge(shards, tmp_path / "small")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["normalised", "small"]


def test_lerobots_own_recordings_merge_too(tmp_path):
    root = shared("golden", "lerobot_v3")
    merge([root, root], tmp_path / "twice")
    once, twice = Dataset(root), Dataset(tmp_path / "twice")
    key = once.camera_keys[0]
    assert np.array_equal(twice.frames(key, [235, 300, 469]), once.frames(key, [0, 65, 234]))
    assert np.allclose(twice.stats()["action"]["std"], once.stats()["action"]["std"])
