"""Exercises of lesson 05: the notebook's stubs are "not yet", solutions pass, students' mistakes get a hint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from smolkit.lessons.smolvla_desk import Desk, open_desk
from smolkit.lessons.smolvla_exercises import (
    CHANGES,
    check_effects,
    check_hunt,
    check_passport,
    check_sees,
    check_walk,
    compare_effects,
    right_mask,
)
from smolkit.lessons.smolvla_hunt import FAULTS, SIGNS, Patient, draw_patient, healthy, vital_signs
from tests.paths import REPO

LESSON = "inside_smolvla_05"
GUESS = dict.fromkeys(CHANGES, 2.0)


@pytest.fixture(scope="module")
def desk() -> Desk:
    return open_desk("recorded")


@pytest.fixture(scope="module")
def case() -> int:
    """The patient's number that the notebook comes with."""
    cells = json.loads((REPO / "notebooks" / "05_inside_smolvla.ipynb").read_text(encoding="utf-8"))["cells"]
    return int(re.search(r"^CASE = (\d+)", "\n".join("".join(cell["source"]) for cell in cells), re.MULTILINE)[1])


@pytest.fixture(scope="module")
def patients() -> dict[str, Patient]:
    """One patient for each fault."""
    return {fault: Patient(plant(healthy()), fault) for fault, plant in FAULTS.items()}


def test_untouched_stubs_are_not_attempted_yet(stubs: dict, desk: Desk, patients: dict[str, Patient],
                                               tmp_path: Path) -> None:
    verdicts = [check_sees(stubs["sees"]), check_walk(stubs["walk"]), check_effects(stubs["prediction"]),
                check_hunt(stubs["diagnosis"], patients["deaf"]),
                check_passport(stubs["make_passport"], desk, tmp_path)]
    assert verdicts == [f"Exercise 5.{n}: not attempted yet" for n in range(1, 6)]


def test_solutions_pass(solutions: ModuleType, desk: Desk, case: int, tmp_path: Path) -> None:
    assert "5.1: pass" in check_sees(solutions.sees)
    assert "5.2: pass" in check_walk(solutions.walk)
    assert "5.3: pass" in check_effects(solutions.prediction)
    assert "5.4: pass" in check_hunt(solutions.diagnosis, draw_patient(case))
    assert "5.5: pass" in check_passport(solutions.make_passport, desk, tmp_path)


# -- 5.1: masks --------------------------------------------------------------------------------------------------


def masks(compare: Callable, there: Callable = lambda real: np.outer(real, real)) -> Callable:
    """Answers with one mistake: how stages are compared, or who counts as being there."""
    def answer(real: list[bool], begins: list[bool]) -> np.ndarray:
        stage = np.cumsum(begins)
        return compare(stage[None], stage[:, None]) & there(real)
    return answer


def with_torch(real: list[bool], begins: list[bool]) -> torch.Tensor:
    stage, there = torch.tensor(begins).long().cumsum(0), torch.tensor(real)
    return (stage[None] <= stage[:, None]) & there[None] & there[:, None]


def with_loops(real: list[bool], begins: list[bool]) -> list[list[int]]:
    rows = []
    for i in range(len(real)):
        row = []
        for j in range(len(real)):
            later = any(begins[i + 1:j + 1]) if j > i else False
            row.append(int(real[i] and real[j] and not later))
        rows.append(row)
    return rows


@pytest.mark.parametrize("right", [with_torch, with_loops, right_mask])
def test_right_masks_of_any_kind_pass(right: Callable) -> None:
    assert "pass" in check_sees(right)


@pytest.mark.parametrize("wrong, hint", [
    (lambda real, begins: right_mask(real, begins).T, "wrong way round"),
    (lambda real, begins: np.tri(len(real), dtype=bool) & np.outer(real, real), "Stages count, not places"),
    (lambda real, begins: np.outer(real, real), "All stages see all"),
    (masks(np.less_equal, lambda real: True), "Nobody sees padding"),
    (masks(np.less_equal, lambda real: np.array(real)[None]), "must not look"),
    (masks(np.less_equal, lambda real: np.array(real)[:, None]), "must not be seen"),
    (masks(np.less), "same stage"),
    (masks(np.equal), "Earlier stages"),
    (lambda real, begins: [True] * len(real), "rows of 5"),
    (lambda real, begins: [[True], [True, False]], "one length"),
    (lambda real, begins: real[9], "IndexError"),
])
def test_wrong_masks_get_a_hint(wrong: Callable, hint: str) -> None:
    verdict = check_sees(wrong)
    assert "not yet" in verdict and hint in verdict


# -- 5.2: walks --------------------------------------------------------------------------------------------------


def recursive(noise: np.ndarray, steps: int, velocity: Callable, left: int | None = None) -> np.ndarray:
    left = steps if left is None else left
    return noise if left == 0 else recursive(noise - velocity(noise, left / steps) / steps, steps, velocity, left - 1)


def while_loop(noise: np.ndarray, steps: int, velocity: Callable) -> list:
    x, t = noise.copy(), 1.0
    while t > 1e-9:
        x -= velocity(x, t) / steps
        t -= 1 / steps
    return x.tolist()


@pytest.mark.parametrize("right", [recursive, while_loop])
def test_right_walks_of_any_kind_pass(right: Callable) -> None:
    assert "pass" in check_walk(right)


def walks(times: Callable[[int], np.ndarray], factor: Callable[[int], float] = lambda steps: -1 / steps,
          stays: bool = False) -> Callable:
    """Walks with one mistake: when they ask, how far they go, or where."""
    def answer(noise: np.ndarray, steps: int, velocity: Callable) -> np.ndarray:
        x = noise
        for t in times(steps):
            x = x + factor(steps) * velocity(noise if stays else x, t)
        return x
    return answer


def down(steps: int) -> np.ndarray:
    return 1 - np.arange(steps) / steps


def in_place(noise: np.ndarray, steps: int, velocity: Callable) -> np.ndarray:
    for t in down(steps):
        noise -= velocity(noise, t) / steps
    return noise


@pytest.mark.parametrize("wrong, hint", [
    (walks(down, lambda steps: 1 / steps), "toward noise"),
    (walks(down, lambda steps: -1.0), "1 / steps long"),
    (walks(lambda steps: 1 - down(steps)), "the walk begins there"),
    (walks(lambda steps: down(steps)[::-1]), "the walk begins there"),
    (walks(lambda steps: down(steps) - 1 / steps), "each step's end"),
    (walks(lambda steps: np.linspace(1, 0, steps)), "the last step begins"),
    (walks(lambda steps: np.linspace(1, 0, steps + 1)), "asked 4 times"),
    (walks(lambda steps: [1.0]), "you asked 1 time"),
    (walks(lambda steps: [0.5] * steps), "one step's length less"),
    (walks(down, stays=True), "elsewhere"),
    (in_place, "in place"),
    (lambda noise, steps, velocity: [velocity(noise, t) for t in down(steps)], "noise's shape"),
    (lambda noise, steps, velocity: noise / 0 if steps else noise.missing, "you asked 0 times"),
    (lambda noise, steps, velocity: velocity(noise), "TypeError"),
])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_walks_get_a_hint(wrong: Callable, hint: str) -> None:
    verdict = check_walk(wrong)
    assert "not yet" in verdict and hint in verdict


# -- 5.3: guesses ------------------------------------------------------------------------------------------------


def test_guesses_of_effects() -> None:
    assert "pass" in check_effects(GUESS) and "pass" in check_effects(dict.fromkeys(CHANGES, 0))
    for wrong in ({**GUESS, "no words": -1}, {**GUESS, "no words": "much"}, {**GUESS, "no words": None},
                  {"no words": 1}, None):
        assert "not yet" in check_effects(wrong), wrong
    told = compare_effects({**GUESS, "no words": 40}, dict.fromkeys(CHANGES, 2.0)).splitlines()
    assert told[0] == "no words: 2.0, you said 40" and len(told) == len(CHANGES)
    assert "nothing can surprise" in compare_effects(dict.fromkeys(CHANGES), dict.fromkeys(CHANGES, 2.0))


# -- 5.4: the hunt -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_can_be_found(solutions: ModuleType, patients: dict[str, Patient], fault: str) -> None:
    diagnosis = solutions.diagnose(patients[fault])
    assert "5.4: pass" in check_hunt(diagnosis, patients[fault]), diagnosis


def test_numbers_draw_every_fault() -> None:
    assert {draw_patient(number).fault for number in range(30)} == set(FAULTS)
    assert draw_patient(4).fault == draw_patient(4).fault


def test_wrong_diagnoses_get_a_hint(patients: dict[str, Patient]) -> None:
    patient = patients["wrist blind"]
    shown = vital_signs(patient.policy)[SIGNS["wrist blind"]]
    for wrong, hint in [({"fault": "deaf", "evidence": shown}, "another 'one other word'"),
                        ({"fault": "untrained", "evidence": None}, "another 'noise (deg)'"),
                        ({"fault": "wrist blind", "evidence": shown + 1}, "which sign"),
                        ({"fault": "wrist blind", "evidence": None}, "which sign"),
                        ({"fault": "wrist blind", "evidence": "wrist"}, "which sign"),
                        ({"fault": "tired", "evidence": 1}, "fault is one of"),
                        ({"fault": ["deaf"], "evidence": 1}, "fault is one of"), ({"fault": "deaf"}, "dictionary")]:
        verdict = check_hunt(wrong, patient)
        assert "not yet" in verdict and hint in verdict, wrong


# -- 5.5: passports ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def passport(solutions: ModuleType, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The solution's."""
    return json.loads(solutions.make_passport(desk, tmp_path_factory.mktemp("right")).read_text())


@pytest.mark.parametrize("changed, hint", [
    ({"parameters": 2.53}, "not millions"), ({"parameters": 1}, "count again"), ({"parameters": None}, "count again"),
    ({"prefix_tokens": 160}, "how long one token is"), ({"prefix_tokens": 10}, "the state is one"),
    ({"chunk_steps": 4}, "how many are predicted"), ({"euler_steps": 16}, "not of the walk"),
    ({"word_effect": -1.0}, "measured on the same"), ({"word_effect": "large"}, "is a number"),
    ({"word_effect": ...}, "word_effect"),
])
def test_wrong_passports_get_a_hint(desk: Desk, passport: dict, tmp_path: Path, changed: dict, hint: str) -> None:
    def wrong(desk: Desk, folder: Path) -> Path:
        path, content = folder / "mine.json", {**passport, **changed}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
        return path

    verdict = check_passport(wrong, desk, tmp_path)
    assert "not yet" in verdict and hint in verdict and str(tmp_path) not in verdict


def test_what_is_no_passport(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1, 2]")
    for wrong, hint in [(lambda desk, folder: folder / "none.json", "FileNotFoundError"),
                        (lambda desk, folder: 7, "JSON"), (lambda desk, folder: folder / "list.json", "one object"),
                        (lambda desk, folder: desk.nothing, "AttributeError")]:
        verdict = check_passport(wrong, desk, tmp_path)
        assert "not yet" in verdict and hint in verdict
