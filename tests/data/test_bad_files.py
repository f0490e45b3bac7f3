"""What is missing, truncated, foreign or hostile gets an error that names the file."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolkit.data import columns
from smolkit.data.checks.structure import structure_checks
from smolkit.data.columns import read_table
from smolkit.data.layout import MOST_TASKS, read_tasks
from smolkit.data.pictures import decode_image
from smolkit.data.reader import Dataset, load_stats
from smolkit.data.schema import Feature, fill
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.damage import DATA, EPISODES, FRONT, TASKS, edit, edit_column, edit_features
from tests.data.recording import new

FILES = [DATA, TASKS, EPISODES, f"videos/{FRONT}/chunk-000/file-000.mp4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return new(tmp_path_factory.mktemp("whole") / "set", [5, 7])


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "set")


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


def test_most_flipped_bits_in_a_video_are_noticed(root):
    """FFmpeg would paint over them, unless it is told not to."""
    path = root / FILES[-1]
    content, frames, noticed = path.read_bytes(), Dataset(root).to_arrays().frames[FRONT], 0
    places = np.linspace(content.find(b"mdat") + 800, len(content) - 50, 16).astype(int)
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1:])
        try:
            noticed += bool(np.array_equal(Dataset(root).to_arrays(cameras=[FRONT]).frames[FRONT], frames))
        except SmolkitError:
            noticed += 1
    assert noticed > 12, noticed


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


# What a fuzz run of mutated datasets found, and what strangers send: an error that names the cause, soon.
def refused(root: Path, code: str) -> SmolkitError:
    with pytest.raises(SmolkitError, match=code) as caught:
        Dataset(root).to_arrays()
    try:
        checks = structure_checks(root)
    except SmolkitError as error:                              # unreadable is an answer as well
        assert re.fullmatch(code, error.code)
    else:
        assert not all(check.ok for check in checks)
    return caught.value


@pytest.mark.parametrize("name", ["meta/info.json", TASKS, EPISODES, DATA, FILES[-1]])
def test_a_pipe_never_ends_and_is_no_file(root, name):
    (root / name).unlink()
    os.mkfifo(root / name)
    refused(root, "SK40[134]")


@pytest.mark.parametrize("target,code", [("/dev/zero", "SK405"), ("file-000.parquet", "SK404"), ("../../x", "SK403")])
def test_links_that_lead_out_or_in_a_circle_or_nowhere(root, target, code):
    (root / EPISODES).unlink()
    (root / EPISODES).symlink_to(target)
    refused(root, code)


@pytest.mark.parametrize("name", [DATA, FILES[-1]])
def test_a_link_to_another_folder_is_refused_and_one_inside_is_fine(root, tmp_path, name):
    (root / name).rename(root / "meta/moved")
    (root / name).symlink_to(root / "meta/moved")
    Dataset(root).to_arrays()
    (root / "meta/moved").rename(tmp_path / "outside")
    (root / name).unlink()
    (root / name).symlink_to(tmp_path / "outside")
    refused(root, "SK405")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000, '{"codebase_version": "v3.0"}'])
def test_json_that_nests_too_deep_or_says_too_little(root, content):
    (root / "meta/info.json").write_text(content)
    refused(root, "SK40[24]")


@pytest.mark.parametrize("changes", [
    {"fps": 10**9}, {"fps": 10**400}, {"fps": float("inf")}, {"total_frames": 10**18}, {"chunks_size": 10**300},
    {"features": {"index": {"dtype": "int64", "shape": [10**6, 10**6]}}}])
def test_absurd_counts_are_refused(root, changes):
    edit(root, **changes)
    refused(root, "SK404")


def test_a_camera_of_a_million_pixels_a_side(root):
    edit_features(root, **{FRONT: {"shape": [10**6, 10**6, 3]}})
    refused(root, "SK404")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "\x1b[31m", "x" * 300, "é" * 150])
def test_names_that_no_disk_or_terminal_takes(root, name):
    edit(root, data_path=f"data/{name}.parquet")
    assert "\x1b" not in str(refused(root, "SK405"))


@pytest.mark.parametrize("rows", [10**7, 10**9])
def test_a_few_bytes_that_promise_a_billion_rows(tmp_path, rows):
    whole = pa.table({"a": pa.array(np.zeros(10**6, np.int64))})
    with pq.ParquetWriter(tmp_path / "bomb.parquet", whole.schema, compression="zstd") as writer:
        for _ in range(min(rows // 10**6, 20)):
            writer.write_table(whole)
    with pytest.raises(SmolkitError, match="SK404") as caught:
        read_table(tmp_path / "bomb.parquet")
    assert "cells" in caught.value.found


def test_a_long_text_that_many_rows_repeat(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "FREE_BYTES", 1_000_000)
    column = pa.DictionaryArray.from_arrays(np.zeros(200, np.int32), pa.array(["x" * 50_000]))
    pq.write_table(pa.table({"a": column}), tmp_path / "few.parquet", compression="zstd", store_schema=False)
    with pytest.raises(SmolkitError, match="SK404"):
        read_table(tmp_path / "few.parquet")


def test_a_table_of_too_many_tasks_is_not_unfolded(root):
    numbers = np.arange(MOST_TASKS + 1)
    texts = pa.DictionaryArray.from_arrays(np.zeros_like(numbers), ["a"]).dictionary_decode()
    pq.write_table(pa.table({"task_index": numbers, "task": texts}), root / TASKS, compression="zstd")
    with pytest.raises(SmolkitError, match=f"SK404.*(?s:.*){len(numbers):,} tasks"):
        read_tasks(root)


def test_a_picture_that_promises_more_than_it_may(root):
    def png(width: int, height: int) -> bytes:
        def chunk(kind: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(bytes(10**6), 9)) + chunk(b"IEND", b""))
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 0), (640, 480)):
        with pytest.raises(SmolkitError, match="SK404"):
            decode_image(png(*size), Feature("image", (32, 48, 3)))


def test_a_video_whose_index_promises_a_billion_frames(root):
    content = bytearray((root / FILES[-1]).read_bytes())
    place = content.find(b"stsz")
    content[place + 8:place + 16] = struct.pack(">II", 1, 2**30)
    (root / FILES[-1]).write_bytes(content)
    assert "1,073,741,824 frames" in refused(root, "SK404").found


@pytest.mark.parametrize("content", [b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile x\n"])
def test_a_playlist_is_no_video(root, content):
    (root / FILES[-1]).write_bytes(content)
    refused(root, "SK404")


@pytest.mark.parametrize("column,value", [("task_index", {"a": 1}), ("task_index", []), ("__index_level_0__", None)])
def test_tasks_of_another_type(root, column, value):
    edit_column(root / TASKS, column, lambda old: [value, *old[1:]] if value is None else [value for _ in old])
    refused(root, "SK404")
