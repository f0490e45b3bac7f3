"""Exercises of lesson 02: the notebook's stubs are "not yet", solutions pass, students' mistakes get a hint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("cv2", reason="OpenCV needs libGL and GLib: apt-get install libgl1 libglib2.0-0",
                    exc_type=ImportError)

from smolkit.cameras.passport import Passport, save_passport, take_passport
from smolkit.lessons.camera_checks import (
    check_fit,
    check_hunt,
    check_passports,
    check_pixels,
    check_rate,
    compare_pixels,
    pixels_per_cm,
)
from smolkit.lessons.camera_desk import ROLES, CameraDesk, open_desk
from smolkit.lessons.camera_faults import Case, broken, draw_case
from smolkit.lessons.camera_figures import squared

LESSON = "camera_setup_02"
GUESS = {"front, 64 px": 1, "front, 512 px": 8, "wrist, 64 px": 2.5}


@pytest.fixture(scope="module")
def desk() -> Iterator[CameraDesk]:
    with open_desk("recorded") as desk:
        yield desk


@pytest.fixture(scope="module")
def passports(desk: CameraDesk) -> dict[str, Passport]:
    return desk.take_passports(desk.film())


@pytest.fixture(scope="module")
def cases(desk: CameraDesk) -> dict[str, Case]:
    """One case for each fault."""
    drawn = (draw_case(desk, number) for number in range(12))
    return {case.answer[1]: case for case in drawn}


def test_untouched_stubs_are_not_attempted_yet(stubs: dict, desk: CameraDesk, passports: dict[str, Passport],
                                               cases: dict[str, Case], tmp_path: Path) -> None:
    verdicts = [check_rate(stubs["rate_and_dropped"]), check_pixels(stubs["prediction"]), check_fit(stubs["fit"]),
                check_passports(stubs["make_passports"], desk, tmp_path),
                check_hunt(stubs["diagnosis"], cases["frozen"], passports)]
    assert verdicts == [f"Exercise 2.{n}: not attempted yet" for n in range(1, 6)]


def test_solutions_pass(solutions: ModuleType, desk: CameraDesk, tmp_path: Path) -> None:
    assert "2.1: pass" in check_rate(solutions.rate_and_dropped)
    assert "2.2: pass" in check_pixels(solutions.prediction)
    assert "2.3: pass" in check_fit(solutions.fit)
    assert "2.4: pass" in check_passports(solutions.make_passports, desk, tmp_path)
    assert "not attempted" in check_passports(lambda desk, folder: None, desk, tmp_path)      # an old file


def test_every_case_can_be_solved(solutions: ModuleType, desk: CameraDesk, cases: dict[str, Case],
                                  passports: dict[str, Passport]) -> None:
    assert len(cases) == 7
    assert "2.5: pass" in check_hunt(solutions.diagnosis, draw_case(desk, 3), passports)
    for name, case in cases.items():
        diagnosis = solutions.diagnose(case, passports)
        assert "2.5: pass" in check_hunt(diagnosis, case, passports), (name, diagnosis)


def test_the_solution_of_2_3_is_what_smolvla_does(solutions: ModuleType, desk: CameraDesk) -> None:
    image = desk.film(0.2)["front"][-1].image
    tall, _, top, left = solutions.fit(*image.shape[:2], 64)
    square = squared(image, 64)
    assert square.shape == (64, 64, 3) and left == 0 and not square[:top].any() and square[top:].any(-1).all()
    assert top + tall == 64


# -- 2.1 to 2.3 -------------------------------------------------------------------------------------------------------


def rates(count_gaps: Callable[[list[float]], float], dropped: Callable[[list[float]], int]) -> Callable:
    """Answers with one mistake: of how the rate or the dropped pictures are counted."""
    def answer(captured_s: list[float], fps: float) -> tuple[float, int]:
        gaps = [(b - a) * fps for a, b in zip(captured_s, captured_s[1:], strict=False)]
        return count_gaps(captured_s) / (captured_s[-1] - captured_s[0]), dropped(gaps)
    return answer


def right_rate(captured_s: list[float]) -> float:
    return len(captured_s) - 1


@pytest.mark.parametrize("wrong, hint", [
    (lambda captured_s, fps: (fps, 0), "Believe the moments"),
    (rates(len, lambda gaps: 2), "Between 5 pictures there are 4 gaps"),
    (lambda captured_s, fps: (1.0, 2), "How many gaps"),
    (rates(right_rate, lambda gaps: sum(gap > 1.5 for gap in gaps)), "lacks three"),
    (rates(right_rate, lambda gaps: sum(int(gap) for gap in gaps)), "How many periods"),
    (lambda captured_s, fps: 6.67, "two numbers"),
    (lambda captured_s, fps: ((len(captured_s) - 1) / captured_s[-1], 2 if fps == 10 else 1), "not at 0"),
    (lambda captured_s, fps: ((n := len(captured_s) - 1) / (t := captured_s[-1] - captured_s[0]), round(t * fps) - n),
     "Up to 1.5"),
    (rates(right_rate, lambda gaps: sum(round(gap) - 1 for gap in gaps)), "Up to 1.5"),
    (lambda captured_s, fps: (6.67, None), "two numbers"),
    (lambda captured_s, fps: captured_s[9], "IndexError"),
])
def test_wrong_rates_get_a_hint(wrong: Callable, hint: str) -> None:
    verdict = check_rate(wrong)
    assert "not yet" in verdict and hint in verdict


def test_guesses_in_pixels() -> None:
    assert "pass" in check_pixels(GUESS)
    assert "Between" in check_pixels({**GUESS, "wrist, 64 px": -1}) and "dictionary" in check_pixels({"front": 1})
    assert "you said 8" in compare_pixels(GUESS) and "you said" not in compare_pixels(dict.fromkeys(GUESS))
    assert {name: round(px, 1) for name, px in pixels_per_cm().items()} == {
        "front, 64 px": 0.9, "front, 512 px": 7.5, "wrist, 64 px": 2.4}          # the numbers that the lesson speaks of


@pytest.mark.parametrize("wrong, hint", [
    (lambda h, w, s: (s, s, 0, 0), "oblongs"),
    (lambda h, w, s: (int(h * s / min(h, w)), int(w * s / min(h, w)), 0, 0), "does not fit"),
    (lambda h, w, s: (h, w, s - h, s - w) if max(h, w) <= s else (h // 2, w // 2, 0, 0), "longer side becomes"),
    (lambda h, w, s: ((t := int(h * s / max(h, w))), (u := int(w * s / max(h, w))), (s - t) // 2, (s - u) // 2),
     "In the middle"),
    (lambda h, w, s: (int(h * s / max(h, w)), int(w * s / max(h, w)), 0, 0), "none of it below"),
    (lambda h, w, s: ((t := round(h * s / max(h, w))), (u := round(w * s / max(h, w))), s - t, s - u), "round down"),
    (lambda h, w, s: ((t := int(h * (k := min(1, s / max(h, w))))), (u := int(w * k)), s - t, s - u), "is smaller"),
    (lambda h, w, s: ((u := int(w * s / max(h, w))), (t := int(h * s / max(h, w))), s - u, s - t), "Height comes"),
    (lambda h, w, s: (384, 512), "four numbers"),
    (lambda h, w, s: s / 0, "ZeroDivisionError"),
])
def test_wrong_squares_get_a_hint(wrong: Callable, hint: str) -> None:
    verdict = check_fit(wrong)
    assert "not yet" in verdict and hint in verdict


# -- 2.4 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, hint", [("dark", "is dark"), ("burnt", "overexposed"), ("blurred", "not sharp"),
                                        ("dropping", "times a second"), ("frozen", "move the arm")])
@pytest.mark.parametrize("role", ROLES)
def test_bad_passports_get_a_hint(solutions: ModuleType, desk: CameraDesk, tmp_path: Path, name: str, hint: str,
                                  role: str) -> None:
    with broken(desk, name, role):
        verdict = check_passports(solutions.make_passports, desk, tmp_path)
    assert "not yet" in verdict and hint in verdict and role in verdict


def test_half_a_set_or_one_camera_twice(desk: CameraDesk, tmp_path: Path) -> None:
    def only_front(desk: CameraDesk, folder: Path) -> None:
        save_passport(desk.take_passports(desk.film())["front"], folder)

    def twice(desk: CameraDesk, folder: Path) -> None:
        film = desk.film()["front"]
        for role in ROLES:
            save_passport(take_passport(desk.cameras[role].role, film), folder)

    def loses_the_folder(desk: CameraDesk, folder: Path) -> None:
        raise OSError("disk full")

    def forgets_to_save(desk: CameraDesk, folder: Path) -> dict:
        return desk.take_passports(desk.film())

    assert "Nothing was written" in check_passports(forgets_to_save, desk, tmp_path)
    verdict = check_passports(only_front, desk, tmp_path / "a")
    assert "wrist camera's passport cannot be read" in verdict and str(tmp_path) not in verdict
    assert "open twice" in check_passports(twice, desk, tmp_path / "b")
    assert "disk full" in check_passports(loses_the_folder, desk, tmp_path / "c")


# -- 2.5 -------------------------------------------------------------------------------------------------------------


def test_wrong_diagnoses_get_a_hint(solutions: ModuleType, cases: dict[str, Case], passports: dict) -> None:
    case = cases["dark"]
    right = solutions.diagnose(case, passports)
    other = next(role for role in ROLES if role != right["role"])
    for wrong, hint in [({**right, "role": other}, "is green"), ({**right, "fault": "burnt"}, "is green"),
                        ({**right, "evidence": right["evidence"] + 9}, "Right, but"),
                        ({**right, "evidence": None}, "Right, but"), ({**right, "fault": "ghost"}, "one of swapped"),
                        ({"role": other}, "dictionary"), (None, "dictionary")]:
        verdict = check_hunt(wrong, case, passports)
        assert "not yet" in verdict and hint in verdict, wrong


def test_who_takes_a_symptom_for_the_cause_is_led_on(cases: dict[str, Case], passports: dict) -> None:
    verdict = check_hunt({"role": "front", "fault": "moved", "evidence": 43}, cases["swapped"], passports)
    assert "not yet" in verdict and "several checks red at once" in verdict
