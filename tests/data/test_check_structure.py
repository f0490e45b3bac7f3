"""Each planted fault is red under its own code, and what is healthy is green."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from smolkit.cli import app
from smolkit.data.checks.structure import RULES, structure_checks
from smolkit.data.store import Limits
from smolkit.data.video import VideoEncoder
from tests.data.damage import (
    DATA,
    EPISODES,
    FRONT,
    TASKS,
    as_pictures,
    as_v21,
    edit,
    edit_column,
    edit_features,
    edit_json,
    edit_rows,
)
from tests.data.recording import new

VIDEO = f"videos/{FRONT}/chunk-000/file-000.mp4"
SPAN = f"videos/{FRONT}/"
STATS = "meta/stats.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return new(tmp_path_factory.mktemp("whole") / "set", [5, 7])


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    return as_v21(new(folder / "v3", [5, 7], limits=Limits(episodes=1)), folder / "v21")


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "set")


def red(root: Path) -> dict[str, str]:
    return {check.code: check.found for check in structure_checks(root) if not check.ok}


def video(root: Path, frames: int = 12, fps: int = 10, size=(32, 48)) -> None:
    """Another video in the front camera's place, with one key frame: its pictures hardly change."""
    encoder = VideoEncoder(*size, fps)
    for level in range(frames):
        encoder.add(np.full((*size, 3), 100 + level, np.uint8))
    (root / VIDEO).write_bytes(encoder.finish())


def place(column: str, row: int, value):
    """The column with another value in one row."""
    return lambda root: edit_column(root / DATA, column, lambda old: [*old[:row], value, *old[row + 1:]])


def table(column: str, row: int, value):
    return lambda root: edit_column(root / EPISODES, column, lambda old: [*old[:row], value, *old[row + 1:]])


def stat(key: str, name: str, change):
    def plant(root: Path) -> None:
        edit_json(root / STATS, lambda stats: stats[key].update({name: change(np.array(stats[key][name])).tolist()}))
    return plant


def write(name: str, content: bytes = b"x"):
    def plant(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return plant


def shorten(name: str, part: float):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:int(part * (root / name).stat().st_size)])


def flip_video(root: Path) -> None:
    content = bytearray((root / VIDEO).read_bytes())
    start = content.find(b"mdat") + 4
    content[start:start + 600] = bytes(600)
    (root / VIDEO).write_bytes(content)


FAULTS = {
    "two features but for capitals": ("SK450", lambda root: edit_features(
        root, **{"next.Done": {"dtype": "bool", "shape": [1]}, "next.done": {"dtype": "bool", "shape": [1]}})),
    "a field that LeRobot asks for": ("SK450", lambda root: edit_json(root / "meta/info.json",
                                                                      lambda info: info.pop("chunks_size"))),
    "five names for six joints": ("SK450", lambda root: edit_features(root, action={"names": list("abcde")})),
    "joints in another order": ("SK450", lambda root: edit_features(root, action={"names": list("abcdef")}, **{
        "observation.state": {"names": list("abcdfe")}})),
    "time stamps of another type": ("SK450", lambda root: edit_features(root, timestamp={"dtype": "float64"})),
    "no frame_index": ("SK450", lambda root: edit_features(root, frame_index=None)),
    "no video_path": ("SK450", lambda root: edit(root, video_path=None)),
    "a video is missing": ("SK451", lambda root: (root / VIDEO).unlink()),
    "the data are missing": ("SK451", lambda root: (root / DATA).unlink()),
    "the episodes table is missing": ("SK451", lambda root: shutil.rmtree(root / "meta/episodes")),
    "a data file that nobody names": ("SK452", write("data/chunk-000/file-009.parquet")),
    "a video that nobody names": ("SK452", write(VIDEO.replace("file-000", "file-009"))),
    "rows without a footer": ("SK453", shorten(DATA, 0.8)),
    "an empty file": ("SK453", shorten(DATA, 0)),
    "an episodes table without a footer": ("SK453", shorten(EPISODES, 0.8)),
    "an episode twice": ("SK454", table("episode_index", 1, 0)),
    "a hole between episodes": ("SK454", table("dataset_from_index", 1, 6)),
    "an end that is not the beginning plus the length": ("SK454", table("dataset_to_index", 0, 4)),
    "a table elsewhere than it says": ("SK454", table("meta/episodes/file_index", 0, 3)),
    "a negative file number": ("SK454", table("data/file_index", 0, -1)),
    "an episode too few in the table": ("SK454", lambda root: edit_rows(
        root / EPISODES, lambda rows: rows.slice(0, 1))),
    "total_frames": ("SK455", lambda root: edit(root, total_frames=13)),
    "total_episodes": ("SK455", lambda root: edit(root, total_episodes=1)),
    "total_tasks": ("SK455", lambda root: edit(root, total_tasks=1)),
    "a trillion episodes": ("SK455", lambda root: edit(root, total_episodes=10**12, total_frames=10**14)),
    "a frame_index": ("SK456", place("frame_index", 3, 2)),
    "an index": ("SK456", place("index", 8, 80)),
    "an episode_index": ("SK456", place("episode_index", 4, 1)),
    "a row too few": ("SK456", lambda root: edit_rows(root / DATA, lambda rows: rows.slice(0, 11))),
    "rows in another order": ("SK456", lambda root: edit_rows(
        root / DATA, lambda rows: rows.take([1, 0, *range(2, 12)]))),
    "a task that nobody named": ("SK457", place("task_index", 2, 9)),
    "rows of another task": ("SK457", place("task_index", 2, 1)),
    "a task without words": ("SK457", lambda root: edit_column(root / TASKS, "__index_level_0__", lambda _: ["", "b"])),
    "tasks out of order": ("SK457", lambda root: edit_rows(root / TASKS, lambda rows: rows.take([1, 0]))),
    "no tasks table": ("SK451", lambda root: (root / TASKS).unlink()),
    "a time off the grid": ("SK458", place("timestamp", 3, 0.31)),
    "another fps": ("SK458", lambda root: edit(root, fps=20)),
    "a gap of a second": ("SK459", lambda root: edit_column(
        root / DATA, "captured_s", lambda old: [[x + (n > 2) for x in row] for n, row in enumerate(old)])),
    "a loop at half its rate": ("SK459", lambda root: edit_column(
        root / DATA, "captured_s", lambda old: [[n / 5] * len(row) for n, row in enumerate(old)])),
    "a clock that runs back": ("SK459", lambda root: edit_column(root / DATA, "captured_s", lambda old: old[::-1])),
    "a column is missing": ("SK460", lambda root: edit_column(root / DATA, "action", None)),
    "a column too many": ("SK460", lambda root: edit_rows(
        root / DATA, lambda rows: rows.append_column("extra", pa.array(range(12))))),
    "doubles": ("SK460", lambda root: edit_rows(root / DATA, lambda rows: rows.set_column(
        rows.column_names.index("timestamp"), "timestamp", rows["timestamp"].cast(pa.float64())))),
    "ragged rows": ("SK460", lambda root: edit_rows(root / DATA, lambda rows: rows.set_column(0, "action", pa.array(
        [[1.0] * (5 + n % 3) for n in range(12)], pa.list_(pa.float32()))))),
    "seven joints": ("SK460", lambda root: edit_features(root, action={"shape": [7], "names": None})),
    "a NaN": ("SK461", place("observation.state", 3, [0.0, 1.0, float("nan"), 3.0, 4.0, 5.0])),
    "an infinity": ("SK461", place("action", 3, [0.0, 1.0, float("inf"), 3.0, 4.0, 5.0])),
    "a range longer than its rows": ("SK462", table(SPAN + "to_timestamp", 1, 1.4)),
    "ranges that overlap": ("SK462", lambda root: (table(SPAN + "from_timestamp", 1, 0.2)(root),
                                                   table(SPAN + "to_timestamp", 1, 0.9)(root))),
    "frames dropped, rows kept": ("SK463", lambda root: video(root, 9)),
    "frames of nobody": ("SK463", lambda root: video(root, 14)),
    "frames in another rhythm": ("SK463", lambda root: video(root, fps=20)),
    "another size": ("SK464", lambda root: video(root, size=(48, 64))),
    "cameras swapped": ("SK464", lambda root: shutil.copy(root / VIDEO.replace("front", "wrist"), root / VIDEO)),
    "another codec than told": ("SK464", lambda root: edit_features(root, **{FRONT: {"info": {"video.codec": "av1"}}})),
    "no key frame at an episode's start": ("SK465", video),
    "bytes of a video lost": ("SK466", flip_video),
    "a video cut off": ("SK466", shorten(VIDEO, 0.7)),
    "a video that is none": ("SK466", write(VIDEO, b"hello")),
    "statistics from before an edit": ("SK467", stat("action", "mean", lambda old: old + 1)),
    "a wrong std": ("SK467", stat("observation.state", "std", lambda old: old * 1.1)),
    "a wrong count": ("SK467", stat("action", "count", lambda old: old - 1)),
    "quantiles upside down": ("SK467", stat("action", "q01", lambda old: old + 90)),
    "no statistics of the action": ("SK467", lambda root: edit_json(root / STATS, lambda stats: stats.pop("action"))),
    "no statistics": ("SK467", lambda root: (root / STATS).unlink()),
    "an episode's own statistics": ("SK467", lambda root: edit_column(
        root / EPISODES, "stats/action/max", lambda old: [old[0], [99.0] * 6])),
    "statistics of other pictures": ("SK468", stat(FRONT, "mean", lambda old: old + 0.3)),
    "pictures from 0 to 255": ("SK468", stat(FRONT, "max", lambda old: old * 255)),
    "a quantile of pictures that is none": ("SK468", stat(FRONT, "q50", lambda old: old[:1])),
    "a std of pictures too large": ("SK468", stat(FRONT, "std", lambda old: old * 3)),
    "pictures of a killed recording": ("SK469", write(f"images/{FRONT}/episode-000002/frame-000000.png")),
    "a temporary folder": ("SK469", write("tmpabc/x.mp4")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_red_under_its_code(root, name):
    code, plant = FAULTS[name]
    plant(root)
    found = red(root)
    assert code in found, found
    assert found[code] and str(root) not in found[code]


def test_every_rule_was_seen_red():
    assert {code for code, _ in FAULTS.values()} == set(RULES)


def test_healthy_ones_are_green(whole, older, tmp_path):
    assert red(whole) == {}
    assert red(older) == {}
    assert red(as_v21(new(tmp_path / "v3", [4, 6], limits=Limits(episodes=1)), tmp_path / "v20", "v2.0")) == {}


def test_pictures_in_rows_b_frames_and_many_files_are_green(root, tmp_path):
    assert red(as_pictures(root, tmp_path / "pictures")) == {}
    assert red(new(tmp_path / "files", [4, 5, 4], limits=Limits(episodes=1))) == {}
    with_b_frames(root / VIDEO)
    assert red(root) == {}


def with_b_frames(path: Path) -> None:
    """The same pictures, encoded by somebody who looks both ways; a key frame where the second episode begins."""
    with av.open(str(path)) as old:
        pictures = [frame.to_ndarray(format="rgb24") for frame in old.decode(video=0)]
    options = {"bf": "2", "b_adapt": "0", "crf": "10", "x264-params": "bframes=2:b-adapt=0:scenecut=0"}
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=10, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pict_type = 1 if number in (0, 5) else 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(str(path)) as again:
        shown = [packet.pts for packet in again.demux(video=0) if packet.size]
    assert shown != sorted(shown)


def test_faults_of_v21_are_told_too(older, tmp_path):
    for number, (code, plant) in enumerate((
            ("SK451", lambda root: (root / "data/chunk-000/episode_000001.parquet").unlink()),
            ("SK455", lambda root: edit(root, total_videos=3)),
            ("SK454", lambda root: (root / "meta/episodes.jsonl").write_text('{"episode_index": -1, "length": 5}')),
            ("SK453", lambda root: (root / "meta/episodes.jsonl").write_text("[" * 100_000)),
            ("SK457", lambda root: (root / "meta/tasks.jsonl").write_text('{"task_index": 0}')),
            ("SK467", lambda root: (root / "meta/episodes_stats.jsonl").unlink()))):
        root = shutil.copytree(older, tmp_path / str(number))
        plant(root)
        assert code in red(root), code


def test_the_std_of_lerobot_044_is_named_and_no_fault(root):
    stat(FRONT, "std", lambda old: old / 20)(root)
    told = {check.code: check for check in structure_checks(root)}["SK468"]
    assert told.ok and "LeRobot 0.4.4" in told.found


def test_all_faults_are_told_not_the_first(root):
    for name in ("total_tasks", "a time off the grid", "a NaN", "a temporary folder", "a wrong std"):
        FAULTS[name][1](root)
    assert {"SK455", "SK458", "SK461", "SK469", "SK467"} <= set(red(root))


def test_the_command_line_tells_green_red_and_unreadable(root, tmp_path):
    def ask(folder: Path) -> tuple[int, str, dict]:
        done = CliRunner().invoke(app, ["check", "dataset", str(folder), "--json", str(tmp_path / "report.json")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output, json.loads((tmp_path / "report.json").read_text())
    edit(root, total_frames=99)
    status, said, report = ask(root)
    assert status == 1 and "SK455" in said and not report["ok"]
    (root / "meta/info.json").write_text("{")
    status, said, report = ask(root)
    assert status == 2 and report["error"]["code"] == "SK404"
    assert ask(tmp_path / "nowhere")[0] == 2
