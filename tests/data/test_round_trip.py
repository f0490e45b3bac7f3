"""What the writer writes, the reader reads: rows exactly, frames in their places, statistics true."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.cameras.camera import Observation
from smolkit.data.reader import Dataset
from smolkit.data.schema import Feature
from smolkit.data.store import Limits
from smolkit.data.video import available_codecs
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, frame, new, picture, record


def check_content(root: Path, lengths: list[int]) -> None:
    """Every row and every frame of `record(writer, lengths)`."""
    dataset = Dataset(root)
    assert [episode.length for episode in dataset.episodes] == lengths
    everything = dataset.to_arrays()
    for episode, length in enumerate(lengths):
        rows = dataset.positions(episode)
        part = dataset.episode(episode)
        wanted = [frame(episode, step) for step in range(length)]
        assert np.array_equal(part["action"], np.array([w["action"] for w in wanted], np.float32))
        assert np.array_equal(part["captured_s"][:, 0], [w["captured_s"] for w in wanted])   # float64: exact
        assert np.array_equal(part["timestamp"], (np.arange(length) / FPS).astype(np.float32))
        assert set(part["task"]) == {("push", "pick")[episode % 2]}
        for role in ROLES:
            shown = everything.frames[role.feature][rows.start:rows.stop].astype(float)
            drawn = np.array([picture(role, episode, step) for step in range(length)], float)
            assert np.abs(shown - drawn).mean((1, 2, 3)).max() < 4                # a shift by one frame: 11


@settings(max_examples=4)
@given(lengths=st.lists(st.integers(1, 23), min_size=1, max_size=5), per_file=st.integers(1, 3))
def test_what_is_written_is_read(lengths, per_file):
    with tempfile.TemporaryDirectory() as folder:
        root = new(Path(folder, "set"), lengths, limits=Limits(episodes=per_file))
        check_content(root, lengths)


@pytest.mark.parametrize("codec", available_codecs())
def test_every_codec(tmp_path, codec):
    root = new(tmp_path / "set", [5, 20], codec=codec)
    check_content(root, [5, 20])
    info = Dataset(root).info.features["observation.images.front"].extra["info"]
    assert info["video.codec"] == codec and info["video.fps"] == FPS


def test_resume_continues(tmp_path):
    root = new(tmp_path / "set", [4, 6], calibration={"gripper": 3})
    with DatasetWriter.resume(root) as writer:
        record(writer, [5, 3])
    check_content(root, [4, 6, 5, 3])
    assert Dataset(root).extra()["calibration"] == {"gripper": 3}


def test_discarded_episode_leaves_nothing(tmp_path):
    with DatasetWriter.create(tmp_path / "set", FPS, ROLES) as writer:
        record(writer, [4])
        writer.add_frame(frame(9, 0), "wrong")
        assert (writer.discard_episode(), writer.pending_frames) == (1, 0)
        record(writer, [6])
        writer.add_frame(frame(9, 0), "unsaved")
    check_content(tmp_path / "set", [4, 6])
    assert Dataset(tmp_path / "set").tasks == ("push", "pick")


def test_statistics_are_those_of_all_rows(tmp_path):
    root = new(tmp_path / "set", [30, 4, 17])
    with DatasetWriter.resume(root) as writer:
        record(writer, [9])
    dataset = Dataset(root)
    stats, columns = dataset.stats(), dataset.columns
    for key in ("action", "observation.state", "timestamp", "index"):
        rows = columns[key].reshape(len(dataset), -1).astype(float)
        assert np.allclose(stats[key]["mean"], rows.mean(0)) and np.allclose(stats[key]["std"], rows.std(0))
        assert np.allclose(stats[key]["q10"], np.quantile(rows, 0.1, axis=0))
        assert stats[key]["count"].tolist() == [60]


def test_picture_statistics_are_those_of_the_pixels_before_compression(tmp_path):
    root = new(tmp_path / "set", [8, 12])
    pixels = np.concatenate([[picture(ROLES[0], e, s) for s in range(n)] for e, n in ((0, 8), (1, 12))]) / 255
    found = Dataset(root).stats()["observation.images.front"]
    for name, value in (("mean", pixels.mean((0, 1, 2))), ("std", pixels.std((0, 1, 2))),
                        ("min", pixels.min((0, 1, 2))), ("q90", np.quantile(pixels, 0.9, axis=(0, 1, 2)))):
        assert found[name].shape == (3, 1, 1) and np.allclose(found[name].ravel(), value), name
    assert found["count"].tolist() == [20]


def test_observations_and_further_columns(tmp_path):
    more = {"next.success": Feature("bool", (1,)), "note": Feature("string", (1,))}
    with DatasetWriter.create(tmp_path / "set", FPS, ROLES[:1], features=more) as writer:
        row = frame(0, 0, ROLES[:1]) | {"next.success": True, "note": "first"}
        writer.add_frame(row | {"captured_s": {"state": 1.0, "front": 1.25}}, "push")
        writer.save_episode()
    item = Dataset(tmp_path / "set")[0]
    assert (item["next.success"], item["note"], item["captured_s"].tolist()) == (True, "first", [1.0, 1.25])
    with DatasetWriter.create(tmp_path / "plain", FPS, ROLES[:1]) as writer:
        image = picture(ROLES[0], 0, 0)
        writer.add(Observation(np.ones(6), {"front": image}, "wave", 7.0), np.zeros(6))
        writer.save_episode()
    item = Dataset(tmp_path / "plain", as_torch=True)[0]
    assert item["task"] == "wave" and item["captured_s"].tolist() == [7.0, 7.0]


@pytest.mark.parametrize("change", [
    {"action": np.zeros(5)}, {"observation.state": np.full(6, np.nan)}, {"captured_s": np.inf},
    {"observation.images.front": np.zeros((32, 48, 3))},
    {"observation.images.wrist": np.zeros((16, 16, 3), np.uint8)},
    {"surprise": 1}], ids=["shape", "nan", "inf", "float picture", "size", "unknown"])
def test_unfit_frames_are_refused_and_not_added(tmp_path, change):
    with DatasetWriter.create(tmp_path / "set", FPS, ROLES) as writer:
        with pytest.raises(SmolkitError, match="SK411"):
            writer.add_frame(frame(0, 0) | change, "push")
        record(writer, [3])
    check_content(tmp_path / "set", [3])


def test_files_rotate_as_the_limits_say(tmp_path):
    root = new(tmp_path / "set", [4] * 5, limits=Limits(episodes=2))
    assert len(list(root.glob("data/*/*.parquet"))) == 3
    assert len(list(root.glob("videos/observation.images.front/*/*.mp4"))) == 3
    assert pq.ParquetFile(root / "data/chunk-000/file-000.parquet").num_row_groups == 2


def pictures(root: Path) -> dict[str, np.ndarray]:
    return {role.feature: Dataset(root).to_arrays().frames[role.feature] for role in ROLES}


def test_joining_changes_no_pixel_and_no_number(tmp_path):
    writer = DatasetWriter.create(tmp_path / "set", FPS, ROLES)
    record(writer, [17, 4, 30])
    scattered, rows = pictures(writer.root), Dataset(writer.root).columns
    assert len(list(writer.root.rglob("*.mp4"))) == 6
    writer.finalize()
    joined = Dataset(writer.root)
    assert len(list(writer.root.rglob("*.mp4"))) == 2 and len(list(writer.root.rglob("file-*.parquet"))) == 2
    assert all(np.array_equal(shown, scattered[key]) for key, shown in pictures(writer.root).items())
    assert all(np.array_equal(rows[key], joined.columns[key]) for key in rows)
    spans = [episode.videos[ROLES[0].feature] for episode in joined.episodes]
    assert [(span.from_s, span.to_s) for span in spans] == [(0, 1.7), (1.7, 2.1), (2.1, 5.1)]
    before = {path: path.stat().st_mtime_ns for path in writer.root.rglob("*") if path.is_file()}
    DatasetWriter.resume(writer.root).finalize()
    assert before == {path: path.stat().st_mtime_ns for path in writer.root.rglob("*") if path.is_file()}


def test_delta_timestamps_off_the_grid_are_refused(tmp_path):
    root = new(tmp_path / "set", [4])
    for deltas in ({"action": [0.033]}, {"acton": [0.0]}, {"action": []}):
        with pytest.raises(SmolkitError, match="SK409"):
            Dataset(root, delta_timestamps=deltas)


def test_neighbours_stay_in_their_episode(tmp_path):
    root = new(tmp_path / "set", [4, 5])
    dataset = Dataset(root, delta_timestamps={"action": [-0.2, 0.0, 0.3], "observation.images.front": [0.1]})
    item = dataset[3]
    assert item["action_is_pad"].tolist() == [False, False, True]
    assert np.array_equal(item["action"], dataset.columns["action"][[1, 3, 3]])
    assert item["observation.images.front_is_pad"].tolist() == [True]
    assert item["observation.images.front"].shape == (32, 48, 3)          # one time: no axis for videos


def test_workers_of_a_data_loader_open_their_own_videos(tmp_path):
    from torch.utils.data import DataLoader

    root = new(tmp_path / "set", [30, 30])
    dataset = Dataset(root, as_torch=True)
    here = [dataset[i]["observation.images.front"] for i in range(len(dataset))]
    batches = DataLoader(dataset, batch_size=10, num_workers=2)
    there = [image for batch in batches for image in batch["observation.images.front"]]
    assert all(a.equal(b) for a, b in zip(here, there, strict=True))
