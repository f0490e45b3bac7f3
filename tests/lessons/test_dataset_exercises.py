"""Exercises of lesson 04: stubs are "not attempted yet", solutions pass, wrong answers get a hint that leads on."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.grade import check_hand_in
from smolkit.lessons import dataset_exercises as exercises
from smolkit.lessons.dataset_hunt import SUSPECTS, check_hunt, measured
from smolkit.lessons.lane import dataset

LESSON = "dataset_inspection_04"
SICK = dataset("sick")


def test_untouched_stubs_are_not_attempted_yet(stubs):
    said = [exercises.check_place(stubs["place_of"]), exercises.check_trim(stubs["trim"]),
            exercises.check_spread(stubs["prediction"]), check_hunt(stubs["found"], SICK),
            check_hand_in("04", stubs["my_dataset"])]
    assert said == [f"Exercise 4.{number}: not attempted yet" for number in range(1, 6)]


def test_solutions_pass(solutions):
    assert "4.1: pass" in exercises.check_place(solutions.place_of)
    assert "4.2: pass" in exercises.check_trim(solutions.trim)
    assert "4.3: pass" in exercises.check_spread(solutions.prediction)
    assert "4.4: pass" in check_hunt(solutions.found, SICK)


def holder(index, episodes):
    return next(e for e in episodes if e["dataset_from_index"] <= index < e["dataset_to_index"])


def place(time_s):
    return lambda i, episodes, f: (holder(i, episodes)["file"], time_s(i, holder(i, episodes), f))


@pytest.mark.parametrize(("wrong", "hint"), [
    (place(lambda i, e, f: i / f), "several episodes"),
    (place(lambda i, e, f: (i - e["dataset_from_index"]) / f), "add from_timestamp"),
    (place(lambda i, e, f: e["from_timestamp"] + i / f), "from where the episode begins"),
    (place(lambda i, e, f: e["from_timestamp"] + i - e["dataset_from_index"]), "how many seconds is one"),
    (place(lambda i, e, f: e["from_timestamp"] * f + i - e["dataset_from_index"]), "the mp4 wants seconds"),
    (lambda i, e, f: (e[0]["file"], e[0]["from_timestamp"] + i / f), "several episodes each|Which episode|belongs to"),
    (lambda i, e, f: next((one["file"], one["from_timestamp"] + (i - one["dataset_from_index"]) / f) for one in e
                          if i <= one["dataset_to_index"]), "belongs to the next episode"),
    (lambda i, e, f: 3.5, "Two things"), (lambda i, e, f: e[i], "IndexError")])
def test_wrong_places_get_a_hint(wrong, hint):
    said = exercises.check_place(wrong)
    assert said.startswith("Exercise 4.1: not yet") and any(one in said for one in hint.split("|")), said


def moving(state, fps, slow=5.0):
    return np.flatnonzero(np.abs(np.diff(state, axis=0)).max(axis=1) * fps >= slow)


def rows(w):
    return (int(w[0]), int(w[-1]) + 2) if len(w) else (0, 0)


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda s, f: rows(moving(s[:, :5], f)), "gripper moves"),
    (lambda s, f: rows(moving(s, 1.0)), "multiply by fps"),
    (lambda s, f: rows(moving(s, 10.0)), "Not every dataset"),
    (lambda s, f: rows(np.flatnonzero(np.diff(s, axis=0).max(axis=1) * f >= 5)), "absolute value"),
    (lambda s, f: rows(moving(s, f, 1e-6)), "counts as rest"),
    (lambda s, f: (int(moving(s, f)[0]), int(moving(s, f)[-1]) + 1), "half-open"),
    (lambda s, f: (int(moving(s, f)[0]) + 1, int(moving(s, f)[-1]) + 2), "sets off"),
    (lambda s, f: (int(moving(s, f)[0]), int(moving(s, f)[-1]) + 2), "IndexError"),
    (lambda s, f: rows(moving(s, f)) if len(moving(s, f)) else (0, len(s)), "leaves nothing to keep"),
    (lambda s, f: np.flatnonzero(np.abs(np.diff(s, axis=0)).max(axis=1) * f >= 5), "Two whole numbers"),
    (lambda s, f: (0, len(s)), "where the first fast step begins")])
def test_wrong_trims_get_a_hint(wrong, hint):
    said = exercises.check_trim(wrong)
    assert said.startswith("Exercise 4.2: not yet") and hint in said, said


@pytest.mark.parametrize(("guess", "hint"), [
    ({"gripper": 1}, "Keep the dictionary"), ("much", "Keep the dictionary"),
    ({"gripper, 1 % further": -1, "still joint, 1 deg further": 1}, "Between 0 and"),
    ({"gripper, 1 % further": "small", "still joint, 1 deg further": 1}, "Between 0 and"),
    ({"gripper, 1 % further": 0.1, "still joint, 1 deg further": float("inf")}, "Between 0 and")])
def test_a_prediction_is_two_numbers(guess, hint):
    assert hint in exercises.check_spread(guess)


def test_a_prediction_is_compared(solutions):
    said = exercises.compare_spread(solutions.prediction, (0.06, 1e8))
    assert "0.06, you said 0.10" in said and "100,000,000.00, you said 1.00" in said
    assert "No prediction" in exercises.compare_spread(dict.fromkeys(solutions.prediction), (1, 2))


@pytest.mark.parametrize(("change", "hint"), [
    ({"the arm waits": 0}, "not episode 0: 0 % of its steps stand still"),
    ({"cameras exchanged": [6]}, "5 of 6 are right. cameras exchanged: right, and 1 more"),
    ({"slipped joint": [9, 10, 11]}, "not episode 11: no body joint stays further than"),
    ({"frozen camera": 4}, "not episode 4: while the arm moves, 0 %"),
    ({"followed": 9}, "not episode 9: in 0 % of its numbers"), ({"copied": 12}, "0 other episodes are the same"),
    ({"the arm waits": None}, "still open"), ({"copied": "17"}, "an episode's number"),
    ({"copied": 20}, "there is no episode 20"), ({"copied": []}, "an episode's number"),
    ({"copied": True}, "an episode's number"), ({"ghost": 1}, "Keep the dictionary")])
def test_wrong_answers_of_the_hunt_meet_a_number(change, hint, solutions):
    said = check_hunt(solutions.found | change, SICK)
    assert said.startswith("Exercise 4.4: not yet") and hint in said, said


def test_either_twin_may_be_named(solutions):
    assert all("pass" in check_hunt(solutions.found | {"copied": one}, SICK) for one in (2, 17, [17]))


def test_healthy_episodes_have_no_sign_of_any_fault():
    for name, sign in measured(dataset("pick_place")).items():
        assert (sign < SUSPECTS[name].guilty).all(), name


def test_every_fault_stands_far_from_the_rest():
    """A number that convicts must not be a close call: twice the limit, or half of it."""
    for name, sign in measured(SICK).items():
        guilty = sign >= SUSPECTS[name].guilty
        assert guilty.any() and (SUSPECTS[name].guilty == 0 or sign[guilty].min() > 1.3 * sign[~guilty].max()), name
