"""Recording as a person does it: keep, throw away, show again, go on tomorrow with the same arm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from smolkit.arm import fake
from smolkit.cameras.camera import CameraRole, Frame, Observation
from smolkit.cameras.passport import take_passport
from smolkit.data.claim import claim_new
from smolkit.data.files import PENDING
from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder, recorded_calibration
from smolkit.report import SmolkitError
from smolkit.teleop.loop import Step

FRONT = CameraRole("front", 32, 32, fps=10)
MINE = fake.calibrated(fake.servos(seed=3))


def step(index: int) -> Step:
    picture = np.full((32, 32, 3), 8 * index, np.uint8)
    now_s = index / 10
    seen = Observation(np.full(6, index), {"front": picture}, "what the kit says", now_s, {"front": now_s - 0.02})
    return Step(index, seen, np.full(6, index + 1.0))


def recorder(root, **more) -> Recorder:
    return Recorder(root, **{"cameras": [FRONT], "task": "wave", "calibration": MINE} | more)


def show(one: Recorder, steps: int) -> None:
    one.begin()
    for index in range(steps):
        one.add(step(index))


def test_saved_episodes_stay_discarded_ones_leave_nothing_and_tomorrow_goes_on(tmp_path):
    with recorder(tmp_path / "set") as one:
        one.add(step(0))                                               # nobody has begun
        assert one.frames == 0
        show(one, 4)
        assert one.recording and one.frames == 4 and one.save() == 0
        show(one, 9)
        assert one.discard() == 9 and not one.recording
        show(one, 3)                                                   # still running when the day ends
    with recorder(tmp_path / "set", task="wave again") as one:
        show(one, 5)
        assert one.save() == 1 and one.episodes == 2
    dataset = Dataset(tmp_path / "set")
    assert [episode.length for episode in dataset.episodes] == [4, 5]
    assert dataset.episode(1)["task"] == ["wave again"] * 5, "the recorder's instruction, not the kit's"
    assert dataset.episode(0)["captured_s"][2].tolist() == [0.2, pytest.approx(0.18)]
    assert recorded_calibration(tmp_path / "set").fingerprint == MINE.fingerprint


def test_an_arm_that_was_calibrated_anew_does_not_go_on_in_the_old_dataset(tmp_path):
    recorder(tmp_path / "set").close()
    other = replace(MINE, motors=(replace(MINE.motors[0], homing_offset=9), *MINE.motors[1:]))
    with pytest.raises(SmolkitError, match="SK431"):
        recorder(tmp_path / "set", calibration=other)
    recorder(tmp_path / "set").close()


@pytest.mark.parametrize("other, words", [
    ({"fps": 30}, "fps 10.*\n.*fps 30"), ({"cameras": []}, "images.front.*\n.*: no "),
    ({"cameras": [replace(FRONT, width_px=64)]}, "(32, 32, 3).*\n.*(32, 64, 3)")])
def test_another_rate_or_other_cameras_do_not_go_on_in_the_old_dataset(tmp_path, other, words):
    recorder(tmp_path / "set").close()
    with pytest.raises(SmolkitError, match="SK438") as caught:
        recorder(tmp_path / "set", **other)
    assert re.search(words.replace("(", r"\(").replace(")", r"\)"), str(caught.value))
    assert not list((tmp_path / "set").glob(".*"))


def test_nothing_begins_after_the_end(tmp_path):
    one = recorder(tmp_path / "set")
    one.close()
    with pytest.raises(SmolkitError, match="SK413"):
        one.begin()
    assert not one.recording


@pytest.mark.parametrize("task", ["", "  "])
def test_an_episode_has_an_instruction_and_begins_once(tmp_path, task):
    with recorder(tmp_path / "set") as one:
        one.begin()
        with pytest.raises(SmolkitError, match="SK430"):
            one.begin()
        one.discard()
        with pytest.raises(SmolkitError, match="SK430"):
            one.begin(task)
        assert not one.recording


def content_of(root) -> dict:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_second_recorder_of_a_folder_is_refused_and_touches_nothing(tmp_path):
    """A cell that is run again while the old panel still holds an episode."""
    with recorder(tmp_path / "set") as one:
        show(one, 4)
        one.save()
        (tmp_path / "set" / PENDING).mkdir()
        (tmp_path / "set" / PENDING / "0").write_bytes(b"what the first one is just writing")
        show(one, 3)
        before = content_of(tmp_path / "set")
        with pytest.raises(SmolkitError, match=f"SK417(.|\n)*recorded by process {os.getpid()}: this one"):
            recorder(tmp_path / "set")
        assert content_of(tmp_path / "set") == before
        assert one.save() == 1
    with recorder(tmp_path / "set") as two:
        assert two.episodes == 2
    assert not list((tmp_path / "set").rglob("*.lock")), "a finished dataset holds LeRobot's files alone"


def test_two_recorders_cannot_begin_one_new_dataset(tmp_path):
    with claim_new(tmp_path / "set"):                                        # the first one is not that far yet
        (tmp_path / "set" / PENDING).mkdir()
        with pytest.raises(SmolkitError, match="SK417"):
            recorder(tmp_path / "set")
        assert (tmp_path / "set" / PENDING).exists()
    with recorder(tmp_path / "set") as one:
        assert one.episodes == 0


RECORDS = """
import sys, time
from smolkit.data.recorder import Recorder
with Recorder(sys.argv[1], task="wave"):
    print("recording", flush=True)
    time.sleep(60)
"""


def test_the_folder_is_free_when_its_process_was_killed(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", RECORDS, str(tmp_path / "set")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "recording\n"
        with pytest.raises(SmolkitError, match=f"SK417(.|\n)*by process {other.pid}\n"):
            Recorder(tmp_path / "set", task="wave")
    finally:
        other.kill()
        other.wait()
    Recorder(tmp_path / "set", task="wave").close()


def test_a_recorder_that_does_not_open_leaves_the_folder_free(tmp_path):
    with pytest.raises(SmolkitError, match="SK402"):
        recorder(_of_an_older_version(tmp_path / "old"))
    assert not list(tmp_path.rglob("*.lock"))


def _of_an_older_version(root):
    recorder(root).close()
    info = root / "meta/info.json"
    info.write_text(info.read_text().replace("v3.0", "v2.1"))
    return root


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SmolkitError, match="SK410"):
        recorder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_the_last_episode_is_taken_back_and_shown_again(tmp_path):
    with recorder(tmp_path / "set") as one:
        for length in (4, 6):
            show(one, length)
            one.save()
        one.redo()
        with pytest.raises(SmolkitError, match="SK430"):
            one.redo()
        for index in range(3):
            one.add(step(index))
        assert (one.task, one.save(), one.episodes) == ("wave", 1, 2)
        one.redo()
        one.discard()
        with pytest.raises(SmolkitError, match="SK435"):
            one.redo()
        assert one.episodes == 1 and not one.recording
        show(one, 2)
        one.save()
    with recorder(tmp_path / "lone") as one:
        for length in (4, 2):
            show(one, length)
            one.save()
    dataset, lone = Dataset(tmp_path / "set"), Dataset(tmp_path / "lone")
    assert [episode.length for episode in dataset.episodes] == [4, 2]
    assert str(dataset.stats()) == str(lone.stats()) and len(dataset.extra()["episode_facts"]) == 2
    with recorder(tmp_path / "set") as one, pytest.raises(SmolkitError, match="SK435"):
        one.redo()                                                     # yesterday's work is not a slip of today


def test_an_empty_dataset_is_left_where_the_only_episode_was_taken_back(tmp_path):
    with recorder(tmp_path / "set") as one:
        show(one, 4)
        one.save()
        one.redo()
    with recorder(tmp_path / "set") as one:
        assert one.episodes == 0
        show(one, 3)
        one.save()
    assert [episode.length for episode in Dataset(tmp_path / "set").episodes] == [3]


def test_a_pause_leaves_no_rows_and_is_noted(tmp_path):
    with recorder(tmp_path / "set") as one:
        one.pause()                                                    # of nothing
        one.begin()
        for index in range(30):
            if index in (10, 25):
                one.pause()
            if index == 20:
                one.go_on()
            one.add(step(index))
        assert one.paused and one.frames == 15
        one.save()
        assert not one.paused and one.facts["pauses"] == [[10, 1.1]]
    facts = Dataset(tmp_path / "set").extra()["episode_facts"][0]
    assert facts["timing"] == {"fps": 10.0, "jitter_ms": 0.0, "repeated": {}, "missing": {}, "backwards": 0}


def moments(one: Recorder, state_s: list[float], front_s: list[float]) -> None:
    one.begin()
    for index, (now_s, picture_s) in enumerate(zip(state_s, front_s, strict=True)):
        seen = replace(step(index).observation, captured_s=now_s, pictures_captured_s={"front": picture_s})
        one.add(Step(index, seen, np.zeros(6)))


def test_what_the_clock_did_is_known_and_told(tmp_path):
    even = [index / 10 for index in range(20)]
    with recorder(tmp_path / "set") as one:
        moments(one, even, [*even[:5], even[4], *even[6:]])             # one old picture in 20 rows: known
        one.save()
        assert (one.facts["timing"]["repeated"], one.facts["timing"]["missing"]) == ({"front": 1}, {"front": 1})
        told = {"the loop ran at 5.0 Hz, the dataset says 10: motions would be learned 2.00 times as fast":
                ([2 * s for s in even], [2 * s for s in even]),
                "front: 19 moments shown again in 20 rows": (even, [0.0] * 20),
                "the clock ran backwards 1 times": ([*even[:9], *even[7:18]], even),
                "the clock of its rows stands still": ([7.0] * 20, [7.0] * 20)}
        for words, clocks in told.items():
            moments(one, *clocks)
            with pytest.warns(RuntimeWarning, match=f"SK433 episode . is saved, but .*{words}"):
                one.save()


def test_whose_recording_it_was(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    passport = take_passport(FRONT, [Frame(noise, i / 10, i + 1) for i in range(8)], "pci-0:2", "2026-09-01")
    with recorder(tmp_path / "set", passports=[passport], provenance={"kit": "kit.toml"}) as one:
        one.begin(policy={"name": "tiny", "sha256": "ab12"})
        one.add(step(0))
        one.save()
        show(one, 2)
        one.save()
    with recorder(tmp_path / "set", calibration=None) as one:
        show(one, 2)
        one.save()
    with recorder(tmp_path / "set"):
        pass                                                           # nothing was recorded: no session
    extra = Dataset(tmp_path / "set").extra()
    first, second = extra["sessions"]
    assert (first["kit"], first["calibration"], first["first_episode"]) == ("kit.toml", MINE.fingerprint, 0)
    assert first["cameras"]["front"]["identity"] == "pci-0:2" and first["smolkit"] and second["first_episode"] == 2
    assert [facts.get("policy", {}).get("name") for facts in extra["episode_facts"]] == ["tiny", None, None]
    assert [facts["session"] for facts in extra["episode_facts"]] == [0, 0, 1] and "calibration" not in second


def test_a_camera_that_changes_its_size_does_not_end_the_episode(tmp_path):
    with recorder(tmp_path / "set") as one:
        show(one, 4)
        wide = replace(step(4).observation, images={"front": np.zeros((32, 64, 3), np.uint8)})
        with pytest.raises(SmolkitError, match="SK411(.|\n)*the camera changed its size"):
            one.add(Step(4, wide, np.zeros(6)))
        one.save()
    assert Dataset(tmp_path / "set").episodes[0].length == 4
