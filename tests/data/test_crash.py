"""Whatever ends a recording, every saved episode is whole, and the recording goes on from there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smolkit.cameras.camera import CameraRole
from smolkit.data.checks.structure import check_dataset
from smolkit.data.files import JOURNAL, PENDING, Transaction
from smolkit.data.reader import Dataset
from smolkit.data.video import available_codecs
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, frame, new, picture, record
from tests.data.test_round_trip import check_content
from tests.paths import REPO

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")


def start_recording(root: Path) -> subprocess.Popen:
    """A process that saves episodes of 6 frames for ever and prints how many are saved."""
    command = [sys.executable, "-m", "tests.data.recording", str(root)]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen, episodes: int) -> None:
    for line in process.stdout:
        if int(line) >= episodes:
            return
    raise AssertionError(process.stderr.read())


def check_goes_on(root: Path, at_least: int) -> None:
    """All saved episodes are there; two more can be recorded; nothing half-written is left."""
    saved = Dataset(root).info.total_episodes
    assert saved >= at_least
    check_content(root, [6] * saved)
    with DatasetWriter.resume(root) as writer:
        record(writer, [4, 5])
    check_content(root, [6] * saved + [4, 5])
    assert sorted(path.name for path in root.iterdir()) == ["data", "meta", "videos"]
    assert len(list(root.rglob("*.mp4"))) == len(ROLES) and len(list(root.glob("data/*/*"))) == 1
    check_statistics(root)


def check_statistics(root: Path) -> None:
    """What stats.json says of the numbers is what their rows say."""
    dataset = Dataset(root)
    for key in ("action", "index", "captured_s"):
        rows = np.asarray(dataset.columns[key], float).reshape(len(dataset), -1)
        found = dataset.stats()[key]
        assert np.allclose(found["q10"], np.quantile(rows, 0.1, axis=0)), key
        assert np.allclose(found["std"], rows.std(0)) and found["count"].tolist() == [len(rows)], key
    for role in ROLES:
        assert dataset.stats()[role.feature]["count"].tolist() == [len(dataset)]


@POSIX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_recording_goes_on(tmp_path, how):
    process = start_recording(tmp_path / "set")
    wait_for(process, 3)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (how == signal.SIGINT)
    if how == signal.SIGKILL:
        with pytest.warns(RuntimeWarning, match=f"process {process.pid} was killed here"):
            check_goes_on(tmp_path / "set", 3)
    else:
        check_goes_on(tmp_path / "set", 3)


def killed_while_saving(folder: Path, decided: bool, renamed: int) -> Path:
    """A dataset of one episode whose second one was put in place as far as `renamed` files."""
    with DatasetWriter.create(folder / "after", FPS, ROLES) as writer:
        record(writer, [6])
        before = shutil.copytree(folder / "after", folder / "before")
        record(writer, [6])
        change = Transaction(before, "episode 1 was saved")
        for path in sorted(path for path in (folder / "after").rglob("*") if path.is_file()):
            name = path.relative_to(folder / "after").as_posix()
            if path.name != ".recording.lock" and content(before / name) != path.read_bytes():
                change.write(name, path.read_bytes())
    if decided:
        change.decide()
        journal = json.loads((before / PENDING / JOURNAL).read_text())
        assert len(journal["places"]) == 8
        for number, name in enumerate(journal["places"][:renamed]):
            (before / name).parent.mkdir(parents=True, exist_ok=True)
            (before / PENDING / str(number)).rename(before / name)
    return before


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize("renamed", [0, 5, 8])
def test_a_kill_between_two_renames_is_completed_by_who_reads_next(tmp_path, renamed):
    before = killed_while_saving(tmp_path, True, renamed)
    with pytest.warns(RuntimeWarning, match="completed: episode 1 was saved"):
        check_content(before, [6, 6])
    check_goes_on(before, 2)


def test_a_kill_before_the_decision_leaves_what_was(tmp_path):
    before = killed_while_saving(tmp_path, False, 0)
    check_content(before, [6])
    with pytest.warns(RuntimeWarning, match="removed 8 files of a change that had not been decided on"):
        check_goes_on(before, 1)


@pytest.mark.parametrize("places", [["../outside"], ["data/link/outside"], [7]])
def test_a_journal_of_a_stranger_reaches_nothing_outside(tmp_path, places):
    root, outside = new(tmp_path / "set", [6]), tmp_path / "outside"
    (root / "data/link").symlink_to(tmp_path)
    outside.write_text("mine")
    (root / PENDING).mkdir()
    (root / PENDING / "0").write_text("theirs")
    (root / PENDING / JOURNAL).write_text(json.dumps({"what": "", "places": places, "remove": places}))
    with pytest.raises(SmolkitError, match="SK437"):
        Dataset(root)
    assert outside.read_text() == "mine"


def content_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def counted(root: Path, episodes: int, frames: int) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"total_episodes": episodes, "total_frames": frames}))


@pytest.mark.parametrize("kept", [0, 2])
def test_an_old_info_does_not_cost_whole_episodes(tmp_path, kept):
    root = new(tmp_path / "set", [6, 6, 6])
    counted(root, kept, 6 * kept)
    before = content_of(root)
    with pytest.raises(SmolkitError, match="SK416") as caught:
        DatasetWriter.resume(root)
    assert content_of(root) == before
    assert "total_episodes to 3 and total_frames to 18" in caught.value.next_step
    counted(root, 3, 18)
    check_goes_on(root, 3)


def test_a_video_that_no_episode_shows_is_left_alone(tmp_path):
    root = new(tmp_path / "set", [6])
    video = root / "videos/observation.images.front/chunk-000/file-000.mp4"
    stray = shutil.copy(video, video.with_name("file-001.mp4"))
    with DatasetWriter.resume(root) as writer:
        record(writer, [6])
    check_content(root, [6, 6])
    assert stray.exists()


@pytest.mark.parametrize("strange", [7, [1], {"observation.images.front": {"frames": 1, "counts": [2]}}])
def test_facts_that_a_stranger_wrote_do_not_stop_a_recording(tmp_path, strange):
    root = new(tmp_path / "set", [4])
    path = root / "meta/smolkit.json"
    extra = json.loads(path.read_text())
    path.write_text(json.dumps(extra | dict.fromkeys(("sessions", "episode_facts", "camera_histograms"), strange)))
    with DatasetWriter.resume(root) as writer:
        record(writer, [4])
    extra = Dataset(root).extra()
    assert [facts.get("session") for facts in extra["episode_facts"]] == [None, 0] and len(extra["sessions"]) == 1
    assert Dataset(root).stats()["observation.images.front"]["count"].tolist() == [8]


DISK_FULL = """
import resource, sys
from pathlib import Path
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, frame, record
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
writer = DatasetWriter.create(sys.argv[1], FPS, ROLES)
record(writer, [6, 6])
largest = max(path.stat().st_size for path in Path(sys.argv[1]).rglob("*") if path.is_file())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(0.9 * largest), hard))
try:
    record(writer, [6])
except SmolkitError as error:
    print(error.code, writer.episodes, writer.pending_frames)
if sys.argv[2] == "space again":
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(writer.save_episode())
if sys.argv[2] == "full at the end":
    writer.finalize()
"""


@POSIX
@pytest.mark.parametrize("then", ["space again", "full at the end"])
def test_a_full_disk_loses_nothing(tmp_path, then):
    run = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path / "set"), then], cwd=REPO,
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    code, saved, pending = run.stdout.splitlines()[0].split()
    assert (code, pending) == ("SK407", "6") and int(saved) >= 2
    assert not (tmp_path / "set" / PENDING).exists()
    assert ("is whole, but lies in many files: SK407" in run.stderr) == (then == "full at the end")
    check_goes_on(tmp_path / "set", int(saved) + (then == "space again"))


def broken(root: Path, spoil) -> DatasetWriter:
    """A writer whose third episode met `spoil` after 20 rows."""
    writer = DatasetWriter.create(root, FPS, ROLES)
    record(writer, [6, 6])
    for row in range(20):
        writer.add_frame(frame(2, row), "push")
    spoil(writer)
    with pytest.raises(SmolkitError, match="SK434"):
        for row in range(21, 90):
            writer.add_frame(frame(2, row), "push")
    return writer


def no_picture(writer: DatasetWriter) -> None:
    """A row whose wrist picture FFmpeg refuses."""
    spoiled = {role.feature: picture(role, 2, 20) for role in ROLES} | {"observation.images.wrist": np.zeros((3, 3))}
    writer._encoder.add(spoiled, 20)
    writer._rows.append(writer._rows[-1])
    writer._tasks.append("push")


def interrupted(writer: DatasetWriter) -> None:
    """Ctrl-C between two cameras of one row."""
    writer._encoder._cameras["observation.images.front"].put(picture(ROLES[0], 2, 20))


@pytest.mark.parametrize("spoil, lost", [(no_picture, 1), (interrupted, 0)])
def test_what_was_encoded_before_a_failure_is_kept(tmp_path, spoil, lost):
    writer = broken(tmp_path / "set", spoil)
    with pytest.warns(RuntimeWarning, match="SK433 episode 2 is saved, but without its last .* rows: SK434"):
        writer.save_episode()
    assert writer.facts.get("lost_rows", 0) >= lost
    writer.finalize()
    check_content(tmp_path / "set", [6, 6, 20])


def test_a_failed_episode_can_be_dropped(tmp_path):
    writer = broken(tmp_path / "set", no_picture)
    writer.discard_episode()
    record(writer, [5])
    writer.finalize()
    check_content(tmp_path / "set", [6, 6, 5])


@pytest.mark.parametrize("codec", available_codecs())
def test_a_codec_that_refuses_the_size_costs_its_episode_alone(tmp_path, codec):
    film = CameraRole("front", 16, 20_000, FPS)
    with DatasetWriter.create(tmp_path / "set", FPS, [film], codec=codec) as writer:
        with pytest.raises(SmolkitError, match="SK434(.|\n)*the encoder refuses this size"):
            for row in range(90):
                writer.add_frame(frame(0, row, [film]), "push")
        with pytest.raises(SmolkitError, match="SK434"):
            writer.save_episode()
        writer.discard_episode()
        assert writer.pending_frames == writer.episodes == 0


def test_ctrl_c_while_recording_drops_the_running_episode_alone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with DatasetWriter.create(tmp_path / "set", FPS, ROLES) as writer:
            record(writer, [6, 6])
            writer.add_frame(frame(2, 0), "push")
            raise KeyboardInterrupt
    check_goes_on(tmp_path / "set", 2)


def test_killed_before_the_first_episode(tmp_path):
    DatasetWriter.create(tmp_path / "set", FPS, ROLES).add_frame(frame(0, 0), "push")
    with pytest.raises(SmolkitError, match="SK408"):
        Dataset(tmp_path / "set")
    with DatasetWriter.resume(tmp_path / "set") as writer:
        record(writer, [6])
    check_content(tmp_path / "set", [6])


def test_a_writer_does_not_overwrite_and_does_not_write_after_its_end(tmp_path):
    root = new(tmp_path / "set", [6])
    with pytest.raises(SmolkitError, match="SK410"):
        DatasetWriter.create(root, FPS, ROLES)
    writer = DatasetWriter.resume(root)
    with pytest.raises(SmolkitError, match="SK412"):
        writer.save_episode()
    writer.finalize()
    with pytest.raises(SmolkitError, match="SK413"):
        writer.add_frame(frame(0, 0), "push")


def killed_at(root: Path, **journal) -> Path:
    """A dataset with the journal of a change, decided on elsewhere unless `journal` says otherwise."""
    (root / PENDING).mkdir(parents=True)
    (root / PENDING / "0").write_text("theirs")
    (root / PENDING / JOURNAL).write_text(json.dumps({"what": "gone", "places": [], "remove": []} | journal))
    return root


def test_a_journal_that_came_with_the_folder_is_not_carried_out_by_readers(tmp_path):
    root = killed_at(new(tmp_path / "set", [6]), remove=["meta/stats.json", "data/chunk-000/file-000.parquet"])
    before = content_of(root)
    for reads in (Dataset, check_dataset):
        with pytest.raises(SmolkitError, match="SK437"):
            reads(root)
        assert content_of(root) == before


def test_a_copy_of_a_half_made_change_is_completed_by_its_next_writer_alone(tmp_path):
    copy = shutil.copytree(killed_while_saving(tmp_path, True, 5), tmp_path / "copy")
    with pytest.raises(SmolkitError, match="SK437"):
        Dataset(copy)
    with pytest.warns(RuntimeWarning, match="completed: episode 1 was saved"):
        DatasetWriter.resume(copy).finalize()
    check_content(copy, [6, 6])


def test_a_check_writes_nothing_even_where_a_reader_would_complete_a_change(tmp_path):
    root = killed_while_saving(tmp_path, True, 5)
    before = content_of(root)
    with pytest.raises(SmolkitError, match="SK437"):
        check_dataset(root)
    assert content_of(root) == before


@pytest.mark.parametrize("journal", [
    {"remove": ["data"]}, {"places": ["meta"]}, {"places": ["aa/bb"]}, {"remove": [f"{PENDING}/{JOURNAL}"]},
    {"places": ["a" * 5000]}, {"remove": ["meta/info.json/x"]}, {"places": [""]},
    {"places": 7}, {"what": ["x"] * 9999, "places": ["/"]}])
def test_a_journal_that_no_writer_of_ours_made_is_refused(tmp_path, journal):
    root = killed_at(tmp_path / "set", **journal)
    for name in ("data", "meta"):
        (root / name).mkdir()
    (root / "meta/info.json").write_text("{}")
    before = content_of(root)
    with pytest.raises(SmolkitError, match="SK437") as caught:
        DatasetWriter.resume(root)
    assert content_of(root) == before and len(str(caught.value)) < 1000


@pytest.mark.parametrize("feature", [
    {"dtype": "image", "shape": [32, 32, 3], "names": ["height", "width", "channels"]},
    {"dtype": "float32", "shape": [4, 4], "names": None}])
def test_a_dataset_with_columns_that_are_not_written_is_not_continued(tmp_path, feature):
    root = new(tmp_path / "set", [])
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.more"] = feature
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(SmolkitError, match="SK436(.|\n)*observation.more"):
        DatasetWriter.resume(root)
    assert not list(root.glob(".*"))
