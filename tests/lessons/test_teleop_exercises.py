"""Exercises of lesson 03: stubs are "not attempted yet", solutions pass, wrong answers get a hint that leads on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder
from smolkit.lessons import teleop_exercises as exercises
from smolkit.lessons.lane import dataset
from smolkit.lessons.teleop_desk import RecordedDesk, recorded_steps
from smolkit.lessons.teleop_hunt import SUSPECTS, check_hunt, drawn
from smolkit.sim.bench import measured_calibration
from smolkit.teleop.loop import Step

LESSON = "teleop_recording_03"
DEMOS = dataset("teleop_recording") / "demos"


@pytest.fixture(scope="module")
def desk():
    with RecordedDesk() as one:
        yield one


def test_untouched_stubs_are_not_attempted_yet(stubs, desk):
    said = [exercises.check_prediction(stubs["prediction"]), exercises.check_lag(stubs["lag_ms"]),
            exercises.check_idle(stubs["idle"]), check_hunt(stubs["found"], desk.hunt(0), desk.healthy),
            exercises.check_dataset(stubs["my_dataset"])]
    assert said == [f"Exercise 3.{number}: not attempted yet" for number in range(1, 6)]


def test_solutions_pass(solutions, desk):
    assert "3.4: pass" in check_hunt(solutions.found, desk.hunt(2), desk.healthy)
    assert "3.1: pass" in exercises.check_prediction(solutions.prediction)
    assert "3.2: pass" in exercises.check_lag(solutions.lag_ms)
    assert "3.3: pass" in exercises.check_idle(solutions.idle)


@pytest.mark.parametrize(("guess", "hint"), [
    ({"the arm": "falls"}, "Keep the dictionary"),
    ({"the arm": "flies", "stands after (s)": 1, "limp after (s)": 2}, "one of: goes on"),
    ({"the arm": "falls at once", "stands after (s)": None, "limp after (s)": 2}, "Two times"),
    ({"the arm": "falls at once", "stands after (s)": -1, "limp after (s)": 2}, "Two times"),
    ("falls at once", "Keep the dictionary")])
def test_a_prediction_is_a_fate_and_two_times(guess, hint):
    assert hint in exercises.check_prediction(guess)


def test_a_prediction_is_compared_with_the_measurement(desk, solutions):
    death = desk.kill_a_kernel()
    said = exercises.compare_prediction(solutions.prediction, death)
    assert "you said: it falls at once" in said and f"{death.stands_after_s:.2f} s, you said 0" in said
    assert "as you said" in exercises.compare_prediction(solutions.prediction | {"the arm": exercises.FATES[2]}, death)
    assert "No prediction" in exercises.compare_prediction(dict.fromkeys(solutions.prediction), death)


def correlation(action, state, longest=10):
    return [np.corrcoef(action[:len(action) - k], state[k:])[0, 1] for k in range(longest)]


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda a, s, p: -float(np.argmax(correlation(a, s))) * p, "sign"),
    (lambda a, s, p: int(np.argmax(correlation(a, s))), "how many ms is one"),
    (lambda a, s, p: float(np.argmax(correlation(a, s))) * p / 1000, "seconds"),
    (lambda a, s, p: p * np.argmin([np.abs(a[:len(a) - k] - s[k:]).mean() for k in range(10)]), "its own mean"),
    (lambda a, s, p: p * np.argmax([np.corrcoef(a[:-k], s[k:])[0, 1] for k in range(10)]), "where shift is 0"),
    (lambda a, s, p: 0.0, "its own mean"), (lambda a, s, p: 1 / 0, "ZeroDivisionError"),
    (lambda a, s, p: correlation(a, s), "One number"), (lambda a, s, p: float("nan"), "One number")])
def test_wrong_lags_get_a_hint(wrong, hint):
    said = exercises.check_lag(wrong)
    assert said.startswith("Exercise 3.2: not yet") and hint in said


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda s, f: 100 * (np.abs(np.diff(s, axis=0)).max(axis=1) * f < 5).mean(), "Divide by 100"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).max(axis=1) * f >= 5).mean(), "in which something moved"),
    (lambda s, f: (np.diff(s, axis=0).max(axis=1) * f < 5).mean(), "absolute"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)) * f < 5).mean(), "count joints"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).max(axis=1) < 5).mean(), "multiply by fps"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).max(axis=1) * 10 < 5).mean(), "multiply by fps"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).max(axis=1) * f < 5).sum() / len(s), "101 frames are 100 steps"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).sum(axis=1) * f < 5).mean(), "do not add"),
    (lambda s, f: (np.linalg.norm(np.diff(s, axis=0), axis=1) * f < 5).mean(), "do not add"),
    (lambda s, f: (np.abs(np.diff(s[:, :5], axis=0)).max(axis=1) * f < 5).mean(), "gripper counts"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).max(axis=1) * f <= 5).mean(), "exactly 5"),
    (lambda s, f: (np.abs(np.diff(s, axis=0)).min(axis=1) * f < 5).mean(), "all six joints?"),
    (lambda s, f: 0.25, "At 10 frames a second"),
    (lambda s, f: "half", "One number"), (lambda s, f: s[1000], "IndexError")])
def test_wrong_idle_shares_get_a_hint(wrong, hint):
    said = exercises.check_idle(wrong)
    assert said.startswith("Exercise 3.3: not yet") and hint in said


@pytest.mark.parametrize("seed", range(6))
def test_every_fault_of_the_hunt_is_found_by_its_number_and_nothing_else_passes(seed, desk, solutions):
    session = desk.hunt(seed)
    right = solutions.convict(session, desk.healthy)
    assert "3.4: pass" in check_hunt(right, session, desk.healthy), (drawn(seed), right)
    assert "As evidence give" in check_hunt(right | {"evidence": 2 * right["evidence"]}, session, desk.healthy)
    assert "As evidence give" in check_hunt(right | {"evidence": None}, session, desk.healthy)
    assert "Where" in check_hunt(right | {"where": "gripper"}, session, desk.healthy)
    for other in set(SUSPECTS) - {right["fault"]}:
        said = check_hunt(right | {"fault": other}, session, desk.healthy)
        assert said.startswith("Exercise 3.4: not yet") and any(letter.isdigit() for letter in said[20:])
    assert "one of" in check_hunt(right | {"fault": "gremlins"}, session, desk.healthy)


def copy(root, episodes, change=lambda step: step, task="put the cube into the box", **header):
    header = {"cameras": [camera.role for camera in RecordedDesk().kit.cameras.values()],
              "calibration": measured_calibration()} | header
    with Recorder(root, task=task, **header) as recorder:
        for episode in episodes:
            recorder.begin()
            for step in recorded_steps(DEMOS, episode):
                recorder.add(change(step))
            recorder.save()
    return root


def test_a_good_dataset_passes(tmp_path):
    assert "3.5: pass. 4 episodes" in exercises.check_dataset(copy(tmp_path / "good", range(4)))


def test_the_shipped_one_has_an_episode_to_throw_away():
    assert "SK426" in exercises.check_dataset(DEMOS) and "episode 4" in exercises.check_dataset(DEMOS)


def as_action(step: Step) -> Step:
    return replace(step, action_deg=step.observation.state_deg)


@pytest.mark.parametrize(("episodes", "how", "code"), [
    (range(3), {}, "SK420"), (range(4), {"task": "cube"}, "SK425"), (range(4), {"change": as_action}, "SK427"),
    ((0, 0, 1, 2), {}, "SK428"), (range(4), {"calibration": None}, "SK429")])
def test_a_dataset_that_would_teach_wrongly_says_what_to_do(tmp_path, episodes, how, code):
    said = exercises.check_dataset(copy(tmp_path / "bad", episodes, **how))
    assert said.startswith("Exercise 3.5: not yet") and code in said and "next:" in said
    assert said.count("✗") == 1, "and nothing else is blamed"


def test_what_is_no_dataset_says_so(tmp_path):
    assert "SK401" in exercises.check_dataset(tmp_path)


def test_the_shipped_recording_is_what_its_card_says():
    with closing(Dataset(DEMOS)) as demos:
        assert len(demos.episodes) == 5 and demos.fps == 10 and demos.tasks == ("put the red cube into the blue box",)
    size = sum(path.stat().st_size for path in DEMOS.parent.rglob("*") if path.is_file())
    assert size < 1.5e6
