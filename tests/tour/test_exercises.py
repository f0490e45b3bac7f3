from dataclasses import replace

import numpy as np
import pytest

from smolkit.cameras.camera import Observation
from smolkit.tour.exercises import check_prediction, check_swap, check_ticks, compare_prediction, compare_swap

LESSON = "tour_00"


@pytest.fixture
def observation():
    images = {"front": np.zeros((4, 4, 3), np.uint8), "wrist": np.full((4, 4, 3), 9, np.uint8)}
    return Observation(np.arange(6.0), images, "put the cube in the box")


def test_untouched_stubs_are_not_attempted_yet(stubs, observation):
    assert check_prediction(stubs["prediction"]).endswith("not attempted yet")
    assert check_ticks(stubs["ticks_to_deg"]).endswith("not attempted yet")
    assert check_swap(stubs["swap_cameras"], observation).endswith("not attempted yet")


def test_solutions_pass(solutions, observation):
    assert "pass" in check_prediction(solutions.prediction)
    assert check_ticks(solutions.ticks_to_deg).endswith("pass")
    assert check_swap(solutions.swap_cameras, observation).endswith("pass")


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda t, a, b: (t - (a + b) / 2) * 360 / 4096, "4095"),
    (lambda t, a, b: np.deg2rad((t - (a + b) / 2) * 360 / 4095).item(), "radians"),
    (lambda t, a, b: -(t - (a + b) / 2) * 360 / 4095, "sign"),
    (lambda t, a, b: (t - a) * 360 / 4095, "zero"),
    (lambda t, a, b: "4.1", "number"),
    (lambda t, a, b: t / 0, "ZeroDivisionError"),
])
def test_wrong_conversions_are_named(wrong, hint):
    verdict = check_ticks(wrong)
    assert "not yet" in verdict and hint in verdict


def test_wrong_swaps_are_named(observation):
    def in_place(seen):
        seen.images["front"][:] = 9
        return seen

    assert "belongs under" in check_swap(lambda seen: seen, observation)
    assert "same two cameras" in check_swap(lambda seen: replace(seen, images={}), observation)
    swapped = {"front": observation.images["wrist"], "wrist": observation.images["front"]}
    assert "must stay" in check_swap(lambda seen: Observation(np.zeros(6), swapped, seen.task), observation)
    assert "has changed" in check_swap(in_place, observation)


def test_predictions_are_compared_in_points():
    guess = {"policy": 0.9, "untrained": 0.0, "dead_normaliser": 0.5, "blank_cameras": 0.5}
    rates = {"policy": 0.8, "untrained": 0.0, "dead_normaliser": 0.0, "blank_cameras": 0.1}
    assert compare_prediction(guess, rates) == "Off by 25 points on average, most for dead normaliser: 50."
    assert "not yet" in check_prediction({**guess, "policy": 90})
    assert "No prediction" in compare_prediction({}, rates)
    assert "dictionary" in check_prediction(None) and "dictionary" in check_prediction([0.5])
    assert "pass" in check_prediction({name: np.float32(0.5) for name in guess})


def test_a_policy_is_shown_exchanged_pictures_only_when_the_exercise_is_solved(solutions, observation):
    def predict(seen):
        return np.full((16, 6), float(seen.images["front"].mean()))

    assert "Solve exercise 0.3" in compare_swap(lambda seen: None, observation, predict)
    assert "9 deg apart" in compare_swap(solutions.swap_cameras, observation, predict)


def test_a_learner_may_break_the_pictures_without_breaking_the_notebook(observation):
    def adds_a_camera(seen):
        seen.images["top"] = seen.images["front"]
        return seen

    assert "has changed" in check_swap(adds_a_camera, observation)
    assert set(observation.images) == {"front", "wrist"}
