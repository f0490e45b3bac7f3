"""Datasets recorded by LeRobot, read exactly: rows, frames, neighbours, episode filter, tables."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from smolkit.data.reader import Dataset
from tests.paths import extra_golden_of, shared

# (dataset, where its rows and frames are told): the converted set shows what its origin shows.
OURS = [("lerobot_v3", "lerobot_v3"), ("lerobot_v21", "lerobot_v21"),
        ("lerobot_v21_converted_v30", "lerobot_v21")]
CONVERTED = "_converted_v30"
LARGE_BYTES = 300e6                 # of a larger set only its first episodes are decoded as a whole
TELLS = {"episodes", "tasks", "rows", "frames", "delta_queries", "episodes_filter"}


def origin_of(root: Path) -> Path:
    """The folder that tells rows and frames: a converted set's origin, where it lies beside it."""
    origin = root.with_name(root.name.removesuffix(CONVERTED))
    return origin if (origin / "expected.json").is_file() else root


CASES = [*OURS, *((str(path), str(origin_of(path))) for path in extra_golden_of("dataset"))]


def located(name: str) -> Path:
    return Path(name) if Path(name).is_absolute() or Path(name).exists() else shared("golden", name)


@pytest.fixture(scope="module", params=CASES, ids=[Path(case[0]).name for case in CASES])
def case(request) -> tuple[Path, dict, dict]:
    """(root, its own expected.json, the one that tells rows and frames)."""
    root, told = (located(name) for name in request.param)
    expected = [json.loads((at / "expected.json").read_text()) for at in (root, told)]
    assert TELLS & expected[0].keys(), f"{root}/expected.json tells nothing of {sorted(TELLS)}"
    return root, *expected


def need(told: dict, *names: str) -> None:
    """Skips, with the reason, what a golden set doesn't tell."""
    absent = [name for name in names if name not in told]
    if absent:
        pytest.skip(f"its expected.json doesn't tell {', '.join(absent)}")


def few_episodes(root: Path) -> Dataset:
    """The dataset's first episodes, as many as fit the memory; at least one."""
    dataset = Dataset(root)
    frame_bytes = 3 * sum(np.prod(dataset.info.features[key].hwc()[:2]) for key in dataset.camera_keys)
    fitting = [e.index for e in dataset.episodes if e.to_index * frame_bytes < LARGE_BYTES or e.index == 0]
    return Dataset(root, episodes=fitting)


def same(found, expected) -> bool:
    return found == expected if isinstance(expected, str) else np.array_equal(np.asarray(found), expected)


def test_counters_and_tables(case):
    root, own, told = case
    need(own, "episodes", "tasks")
    dataset = Dataset(root)
    info = dataset.info
    found = {"fps": info.fps, "total_episodes": info.total_episodes, "total_frames": len(dataset),
             "total_tasks": len(dataset.tasks), "camera_keys": dataset.camera_keys, "video_keys": info.video_keys}
    assert found == {**found, **{name: told[name] for name in found if name in told}}
    assert len(dataset) == own["episodes"][-1]["dataset_to_index"]
    assert {str(i): task for i, task in enumerate(dataset.tasks)} == own["tasks"]
    for episode, row in zip(dataset.episodes, own["episodes"], strict=True):
        assert (episode.index, episode.from_index, episode.to_index) == (
            row["episode_index"], row["dataset_from_index"], row["dataset_to_index"])
        assert sorted(episode.tasks) == sorted(row["tasks"])
        for key, span in episode.videos.items():
            if f"videos/{key}/from_timestamp" in row:
                assert (span.from_s, span.to_s) == (row[f"videos/{key}/from_timestamp"],
                                                    row[f"videos/{key}/to_timestamp"])


def test_rows_are_exact(case):
    root, _, told = case
    need(told, "rows")
    dataset = Dataset(root)
    assert told["rows"]
    for row in told["rows"]:
        item = dataset[row["index"]]
        assert all(same(item[key], value) for key, value in row.items()), row["index"]


def test_frames_are_exact(case):
    root, _, told = case
    need(told, "frames", "camera_keys")
    dataset = Dataset(root)
    assert told["frames"] or not told["camera_keys"]
    for frame in reversed(told["frames"]):                       # backwards: every one needs a seek
        image = dataset[frame["index"]][frame["key"]]
        assert list(image.transpose(2, 0, 1).shape) == frame["shape_chw"]
        assert np.abs(image.mean((0, 1)) - frame["pyav"]["mean_rgb"]).max() < 1e-3
        assert hashlib.sha256(image.tobytes()).hexdigest() == frame["pyav"]["sha256_rgb_u8_hwc"]


def test_torch_items_have_lerobots_shapes(case):
    root, _, told = case
    need(told, "delta_timestamps", "delta_queries", "camera_keys")
    dataset = Dataset(root, as_torch=True, delta_timestamps=told["delta_timestamps"])
    for query in told["delta_queries"]:
        item = dataset[query["index"]]
        shapes = {key: list(value.shape) for key, value in item.items() if not isinstance(value, str)}
        assert shapes == query["shapes"]
        for key in ("action", "observation.state", *(key for key in query if key.endswith("_is_pad"))):
            if key in query:
                assert np.array_equal(item[key].numpy(), np.asarray(query[key], item[key].numpy().dtype)), key
        for key in told["camera_keys"]:
            assert float(item[key].min()) >= 0 and float(item[key].max()) <= 1


def test_episode_filter(case):
    root, _, told = case
    need(told, "episodes_filter")
    wanted = told["episodes_filter"]
    dataset = Dataset(root, episodes=wanted["episodes"])
    assert len(dataset) == wanted["len"]
    items = {int(key.removeprefix("item_")): row for key, row in wanted.items() if key.startswith("item_")}
    assert items
    for position, row in items.items():
        assert all(same(dataset[position][key], value) for key, value in row.items())


def test_arrays_are_the_items(case):
    dataset = few_episodes(case[0])
    everything = dataset.to_arrays()
    for position in (0, len(dataset) // 2, len(dataset) - 1):
        item = dataset[position]
        for key in dataset.camera_keys:
            assert np.array_equal(everything.frames[key][position], item[key])
        assert np.array_equal(everything.columns["action"][position], item["action"])
