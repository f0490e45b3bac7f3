"""Recording as a person does it: keep, throw away, show again, go on tomorrow with the same arm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smolkit.arm import fake
from smolkit.cameras.camera import CameraRole, Observation
from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder, recorded_calibration
from smolkit.report import SmolkitError
from smolkit.teleop.loop import Step

FRONT = CameraRole("front", 32, 32, fps=10)
MINE = fake.calibrated(fake.servos(seed=3))


def step(index: int) -> Step:
    picture = np.full((32, 32, 3), 10 * index, np.uint8)
    now_s = index / 10
    seen = Observation(np.full(6, index), {"front": picture}, "what the kit says", now_s, {"front": now_s - 0.02})
    return Step(index, seen, np.full(6, index + 1.0))


def recorder(root, **more) -> Recorder:
    return Recorder(root, cameras=[FRONT], **{"task": "wave", "calibration": MINE} | more)


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


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SmolkitError, match="SK410"):
        recorder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
