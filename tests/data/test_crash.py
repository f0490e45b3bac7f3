"""Whatever ends a recording, every saved episode is whole, and the recording goes on from there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smolkit.data.files import STAGED_SUFFIX
from smolkit.data.reader import Dataset
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, frame, new, record
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
    assert not list(root.rglob(f"*{STAGED_SUFFIX}"))


@POSIX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_recording_goes_on(tmp_path, how):
    process = start_recording(tmp_path / "set")
    wait_for(process, 3)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (how == signal.SIGINT)
    check_goes_on(tmp_path / "set", 3)


ORDER = ["videos", "meta/tasks", "meta/episodes", "data", "meta/smolkit", "meta/stats", "meta/info"]


def changed_files(before: Path, after: Path) -> list[str]:
    """What a save changed, in the order in which it is renamed into place."""
    files = [path.relative_to(after).as_posix() for path in after.rglob("*") if path.is_file()]
    changed = [name for name in files if not (before / name).is_file()
               or (before / name).read_bytes() != (after / name).read_bytes()]
    return sorted(changed, key=lambda name: [name.startswith(start) for start in ORDER].index(True))


@pytest.mark.parametrize("renamed", range(8))
def test_a_power_cut_between_any_two_renames_loses_only_that_episode(tmp_path, renamed):
    with DatasetWriter.create(tmp_path / "after", FPS, ROLES) as writer:
        record(writer, [6])
        before = shutil.copytree(tmp_path / "after", tmp_path / "before")
        record(writer, [6])
    names = changed_files(before, tmp_path / "after")
    assert len(names) == 8 and names[-1] == "meta/info.json"
    for name in names[:renamed]:
        shutil.copy(tmp_path / "after" / name, before / name)
    (before / "data" / f"junk{STAGED_SUFFIX}").write_bytes(b"half")
    check_content(before, [6])
    with pytest.warns(RuntimeWarning, match="taken back: removed data/junk"):
        check_goes_on(before, 1)
    dataset = Dataset(before)
    assert dataset.stats()["action"]["count"].tolist() == [15]
    assert dataset.stats()["observation.images.front"]["count"].tolist() == [15]


def test_a_cut_tail_leaves_true_statistics(tmp_path):
    with DatasetWriter.create(tmp_path / "after", FPS, ROLES) as writer:
        record(writer, [6])
        before = shutil.copytree(tmp_path / "after", tmp_path / "before")
        record(writer, [6])
    for name in changed_files(before, tmp_path / "after")[:-1]:
        shutil.copy(tmp_path / "after" / name, before / name)
    with pytest.warns(RuntimeWarning, match="taken back: .*data/chunk-000/file-000.parquet.*file-000.mp4"):
        DatasetWriter.resume(before).finalize()
    lone = Dataset(new(tmp_path / "lone", [6])).stats()
    for key, stats in Dataset(before).stats().items():
        for name in ("mean", "std", "min", "count"):
            assert stats[name] == pytest.approx(lone[key][name]), (key, name)


def content_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def counted(root: Path, episodes: int, frames: int) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"total_episodes": episodes, "total_frames": frames}))


@pytest.mark.parametrize("kept", [0, 1])
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


def test_videos_that_no_episode_shows_are_not_deleted_by_the_dozen(tmp_path):
    root = new(tmp_path / "set", [6])
    video = root / "videos/observation.images.front/chunk-000/file-000.mp4"
    shutil.copy(video, video.with_name("file-001.mp4"))
    shutil.copy(video, video.with_name("file-002.mp4"))
    with pytest.raises(SmolkitError, match="SK416") as caught:
        DatasetWriter.resume(root)
    assert "front/chunk-000/file-002.mp4" in caught.value.found
    video.with_name("file-002.mp4").unlink()
    with pytest.warns(RuntimeWarning, match="removed videos/observation.images.front/chunk-000/file-001.mp4"):
        DatasetWriter.resume(root).finalize()
    check_content(root, [6])


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
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
try:
    record(writer, [6] * 50)
except SmolkitError as error:
    print(error.code, writer.episodes, writer.pending_frames)
if sys.argv[2] == "space again":
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(writer.save_episode())
"""


@POSIX
@pytest.mark.parametrize("then", ["space again", "gave up"])
def test_a_full_disk_loses_nothing(tmp_path, then):
    run = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path / "set"), then], cwd=REPO,
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    code, saved, pending = run.stdout.splitlines()[0].split()
    assert (code, pending) == ("SK407", "6") and int(saved) >= 2
    assert not list((tmp_path / "set").rglob(f"*{STAGED_SUFFIX}"))
    check_goes_on(tmp_path / "set", int(saved) + (then == "space again"))


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
