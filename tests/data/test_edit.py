"""What is kept of a dataset is what it was: rows by numpy, frames by decoding; sources stay, kills leave no half."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from smolkit.cli_edit import app
from smolkit.data.edit import Plan
from smolkit.data.reader import Dataset
from smolkit.data.rewrite import EDITS_PATH, fingerprint
from smolkit.data.schema import Feature
from smolkit.data.swap import undo
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, new
from tests.paths import shared

FRONT, WRIST = (role.feature for role in ROLES)
LENGTHS = ([7, 12, 5], [9, 4])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two recordings; the front camera has B-frames and a key frame every 4, so cuts fall between them."""
    folder = tmp_path_factory.mktemp("sources")
    roots = [new(folder / name, lengths) for name, lengths in zip("ab", LENGTHS, strict=True)]
    starts = defaultdict(set)
    for root in roots:
        for episode in Dataset(root).episodes:
            span = episode.videos[FRONT]
            starts[root / span.file].add(round(span.from_s * FPS))
    for file, keys in starts.items():
        _with_b_frames(file, keys)
    return roots


@pytest.fixture(scope="module")
def decoded(sources):
    return [Dataset(root).to_arrays() for root in sources]


def _with_b_frames(file, keys) -> None:
    with av.open(str(file)) as old:
        frames = [frame.to_ndarray(format="rgb24") for frame in old.decode(video=0)]
    options = {"video_track_timescale": str(FPS * 512)}
    with av.open(str(file), "w", format="mp4", options=options) as out:
        stream = out.add_stream("libx264", rate=FPS, options={"bf": "2", "g": "4", "crf": "20", "forced-idr": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.pict_type = number, int(number in keys)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@st.composite
def pieces(draw):
    """Which episodes stay, in which order, and how many frames each loses at its ends."""
    total = sum(map(len, LENGTHS))
    kept = draw(st.permutations(range(total)))[:draw(st.integers(1, total))]
    lengths = [length for one in LENGTHS for length in one]
    cuts = [(first := draw(st.integers(0, lengths[i] - 1)), draw(st.integers(0, lengths[i] - 1 - first))) for i in kept]
    return list(kept), cuts


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces())
def test_any_plan_keeps_what_numpy_would(sources, decoded, tmp_path, chosen):
    kept, cuts = chosen
    plan = Plan.of(*sources).keep(kept)
    for place, (first, last) in enumerate(cuts):
        plan = plan.trim([place], first=first, last=last)
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    edited = plan.write(out)
    result, wanted = Dataset(out), _selected(decoded, kept, cuts)
    assert [episode.length for episode in result.episodes] == [len(rows) for _, rows in wanted]
    for key in ("action", "observation.state", "captured_s"):
        rows = np.concatenate([decoded[source].columns[key][rows] for source, rows in wanted])
        assert np.array_equal(result.columns[key], rows)
        assert np.allclose(result.stats()[key]["q90"], np.quantile(rows, 0.9, axis=0), rtol=1e-6)
    counts = [np.arange(len(rows)) for _, rows in wanted]
    assert np.array_equal(result.columns["frame_index"], np.concatenate(counts))
    assert np.allclose(result.columns["timestamp"], np.concatenate(counts) / FPS)
    assert np.array_equal(result.columns["index"], np.arange(len(result)))
    differing = 0
    for key in (FRONT, WRIST):
        frames = np.concatenate([decoded[source].frames[key][rows] for source, rows in wanted]).astype(int)
        off = np.abs(result.frames(key, np.arange(len(result))) - frames).max(axis=(1, 2, 3))
        differing += int((off > 0).sum())
        assert off.max() <= 8
        assert np.allclose(result.stats()[key]["mean"].ravel(), frames.mean((0, 1, 2)) / 255, atol=0.02)
    assert differing <= edited.encoded
    _tile(result)


def _selected(decoded, kept, cuts):
    """(source, rows) of each piece."""
    starts = [(source, arrays.starts[i], arrays.starts[i + 1]) for source, arrays in enumerate(decoded)
              for i in range(len(arrays.starts) - 1)]
    return [(starts[i][0], np.arange(starts[i][1] + first, starts[i][2] - last))
            for i, (first, last) in zip(kept, cuts, strict=True)]


def _tile(dataset):
    """Ranges in a file follow each other, begin with a key frame, and leave no frame over."""
    for key in dataset.camera_keys:
        ends: dict[str, int] = {}
        for episode in dataset.episodes:
            span = episode.videos[key]
            assert round(span.from_s * dataset.fps) == ends.get(span.file, 0)
            ends[span.file] = round(span.to_s * dataset.fps)
            with av.open(str(dataset.root / span.file)) as video:
                keys = [round(packet.pts * packet.time_base * dataset.fps) for packet in video.demux(video=0)
                        if packet.size and packet.is_keyframe]
                assert round(span.from_s * dataset.fps) in keys
                frames = video.streams.video[0].frames
        assert frames == ends[span.file]


def test_dropping_copies_every_packet_and_leaves_the_source(sources, decoded, tmp_path):
    before = fingerprint(sources[0])
    edited = Plan.of(sources[0]).drop([1]).write(tmp_path / "out")
    assert (edited.copied, edited.encoded, edited.notes) == (24, 0, ())
    assert np.array_equal(Dataset(tmp_path / "out").to_arrays().frames[FRONT],
                          np.delete(decoded[0].frames[FRONT], np.arange(7, 19), axis=0))
    edit = json.loads((tmp_path / "out" / EDITS_PATH).read_text())["edits"][0]
    assert edit["sources"][0]["tables_sha256"] == before == fingerprint(sources[0])
    assert edit["operations"] == [{"name": "drop", "episodes": [1]}]


def test_names_columns_and_words_change(sources, tmp_path):
    top, reward = "observation.images.top", Feature("float32", (1,))
    plan = Plan.of(sources[0]).rename({FRONT: top}).remove(WRIST).rename_tasks({"push": "push the cube"})
    plan = plan.add("next.reward", reward, np.arange(24))
    plan.add("far", Feature("bool", (1,)), lambda rows: rows["action"][:, 0] > 9).write(tmp_path / "out")
    old, new_one = Dataset(sources[0]), Dataset(tmp_path / "out")
    assert new_one.camera_keys == [top] and new_one.tasks == ("push the cube", "pick")
    assert new_one.info.features["captured_s"].names == ["state", "top", "wrist"]
    assert np.array_equal(new_one.frames(top, range(24)), old.frames(FRONT, range(24)))
    assert np.array_equal(new_one.columns["next.reward"], np.arange(24))
    assert np.array_equal(new_one.columns["far"], old.columns["action"][:, 0] > 9)
    assert top in new_one.stats() and WRIST not in new_one.stats()


def test_resampled_and_smaller(sources, tmp_path):
    edited = Plan.of(sources[1]).resample(5).reencode("h264", crf=12, size=(16, 24)).write(tmp_path / "out")
    old, half = Dataset(sources[1]), Dataset(tmp_path / "out")
    picks = np.r_[0:9:2, 9:13:2]
    assert (half.fps, edited.encoded, edited.copied) == (5, 2 * len(picks), 0)
    assert np.array_equal(half.columns["action"], old.columns["action"][picks])
    assert np.allclose(half.columns["timestamp"], np.r_[0:5, 0:2] / 5)
    assert half.info.features[FRONT].extra["info"]["video.fps"] == 5
    small = old.frames(FRONT, picks, size=(16, 24)).astype(int)
    assert np.abs(half.frames(FRONT, range(len(picks))) - small).mean() < 6


def test_standing_still_is_cut_off_both_ends(tmp_path):
    from tests.data.recording import frame
    with DatasetWriter.create(tmp_path / "slow", FPS, ROLES) as writer:
        for moment, step in enumerate([0] * 8 + [1, 2, 3] + [3] * 6):
            writer.add_frame({**frame(0, step), "captured_s": 1e5 + moment / FPS}, "push")
        writer.save_episode()
    (piece,) = Plan.of(tmp_path / "slow").trim_idle().pieces
    assert (piece.start, piece.stop) == (5, 13)                        # motion in 7..10, 0.2 s around it


def test_what_makes_no_sense_is_refused(sources, tmp_path):
    plan = Plan.of(sources[0])
    for wrong in (lambda: plan.drop([3]), lambda: plan.drop([1, 1]), lambda: plan.trim([2], first=5),
                  lambda: plan.drop([0, 1, 2]).write(tmp_path / "x"), lambda: plan.rename({"index": "i"}),
                  lambda: plan.rename({FRONT: WRIST}), lambda: plan.remove("timestamp"), lambda: plan.resample(11),
                  lambda: plan.rename_tasks({"pull": "push"}), lambda: plan.trim(first=-1),
                  lambda: plan.add("action", Feature("float32", (1,)), np.zeros(24)),
                  lambda: plan.add("r", Feature("float32", (2,)), np.zeros(24)).write(tmp_path / "x")):
        with pytest.raises(SmolkitError, match="SK490"):
            wrong()
    assert not list(tmp_path.iterdir())


def test_a_replaced_dataset_comes_back(sources, tmp_path):
    root = shutil.copytree(sources[0], tmp_path / "set")
    before = fingerprint(root)
    Plan.of(root).drop([0]).write(root, replaces=True)
    Plan.of(root).drop([0]).write(root, replaces=True)
    assert len(Dataset(root).episodes) == 1 and fingerprint(tmp_path / "set.backup-1") == before
    assert len(json.loads((root / EDITS_PATH).read_text())["edits"]) == 2
    assert undo(root) == tmp_path / "set.undone-1" and undo(root) == tmp_path / "set.undone-2"
    assert fingerprint(root) == before
    with pytest.raises(SmolkitError, match="SK494"):
        undo(root)
    with DatasetWriter.resume(root), pytest.raises(SmolkitError, match="SK417"):
        Plan.of(root).drop([0]).write(root, replaces=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set.undone-1", "set.undone-2"]


def test_a_kill_between_the_two_renames_is_mended(sources, tmp_path):
    root = shutil.copytree(sources[1], tmp_path / "set")
    desk = tmp_path / ".set.editing"
    (desk / "new").mkdir(parents=True)
    (desk / "journal.json").write_text('{"old": "set.backup-1"}')
    root.rename(tmp_path / "set.backup-1")
    assert len(Dataset(root)) == 13                                    # reading is enough
    Plan.of(root).drop([0]).write(root, replaces=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set.backup-1"]


KILLED = """
import os, signal, sys
from smolkit.data.edit import Plan
from smolkit.data.schema import Feature

def kill(rows):
    if rows["episode_index"][0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows["index"]

Plan.of(sys.argv[1]).add("n", Feature("int64", (1,)), kill).write(sys.argv[2])
"""


def test_a_killed_edit_leaves_no_dataset_and_can_be_run_again(sources, tmp_path):
    before = fingerprint(sources[0])
    done = subprocess.run([sys.executable, "-c", KILLED, sources[0], tmp_path / "out"], capture_output=True)
    assert done.returncode == -9 and not (tmp_path / "out").exists() and fingerprint(sources[0]) == before
    Plan.of(sources[0]).drop([0]).write(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["lerobot_v3", "lerobot_v21"])
def test_lerobots_sets_of_either_version_become_v3_with_true_statistics(name, tmp_path):
    root = shared("golden", name)
    edited = Plan.of(root).drop([1]).write(tmp_path / "out")
    old, result = Dataset(root), Dataset(tmp_path / "out")
    rows = np.concatenate([np.arange(e.from_index, e.to_index) for e in old.episodes if e.index != 1])
    assert result.info.version == (3, 0) and edited.encoded == 0
    assert np.array_equal(result.columns["action"], old.columns["action"][rows])
    for key in old.camera_keys:
        frames = old.frames(key, rows)
        assert np.array_equal(result.frames(key, np.arange(len(rows))), frames)
        assert np.allclose(result.stats()[key]["std"].ravel(), frames.std((0, 1, 2)) / 255, atol=0.01)
    assert any("0.4.4" in note for note in edited.notes) == (name == "lerobot_v3")


def test_the_command_line_edits_and_takes_back(sources, tmp_path):
    root, run = str(shutil.copytree(sources[0], tmp_path / "set")), CliRunner().invoke
    dry = run(app, ["drop", root, "--episodes", "0-1", "--dry-run"])
    assert dry.exit_code == 0 and "-> 1 episodes, 5 frames" in dry.output
    assert run(app, ["trim", root, "--first", "0.2", "--replace"]).exit_code == 0
    assert [e.length for e in Dataset(root).episodes] == [5, 10, 3]
    assert run(app, ["undo", root]).exit_code == 0 and len(Dataset(root)) == 24
    assert run(app, ["split", root, str(tmp_path / "parts"), "--part", "a=0.67", "--part", "b=0-1"]).exit_code == 0
    assert [len(Dataset(tmp_path / "parts" / name)) for name in "ab"] == [19, 19]
    assert run(app, ["merge", *(str(tmp_path / "parts" / name) for name in "ab"), str(tmp_path / "m")]).exit_code == 0
    assert len(Dataset(tmp_path / "m")) == 38
