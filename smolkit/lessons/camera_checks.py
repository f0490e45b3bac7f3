"""Checks for the exercises of `notebooks/02_camera_setup.ipynb`: one line of text each, never an exception.

    >>> print(check_rate(lambda captured_s, fps: None))
    Exercise 2.1: not attempted yet
    >>> print(check_rate(lambda captured_s, fps: (fps, 0)))
    Exercise 2.1: not yet. For 5 pictures in 0.6 s you give a rate of 10.00. Believe the moments, not the promise
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.cameras.camera import Frame
from smolkit.cameras.checks import BURNT_SHARE, DARK, SLOW, check_cameras
from smolkit.cameras.health import health_of
from smolkit.cameras.passport import Passport, load_passport
from smolkit.cameras.registration import register
from smolkit.lessons.camera_desk import ROLES, CameraDesk
from smolkit.lessons.camera_faults import CHECKS, Case
from smolkit.lessons.camera_view import front_view, wrist_view
from smolkit.lessons.grammar import Exercise, check_prediction, is_number
from smolkit.report import Check, SmolkitError

RATE, PIXELS, FIT, PASSPORTS, HUNT = (Exercise(f"2.{n}") for n in (1, 2, 3, 4, 5))
HAND_M, CUBE_M = 0.05, 0.0125                  # tip over the table; the middle of a cube on it
UNSHARP = 0.65                                 # sharpness; simulated cameras have 0.89 and more, blurred by 1 px 0.45
STILL = {"front": (0.2, 0.985), "wrist": (0.01, 0.9)}        # share of a passport's picture that holds still
TOO_ALIKE = 0.6                                # of a match between two passports; front and wrist have 0.1 to 0.4

# -- 2.1: rate and dropped frames --------------------------------------------------------------------------------

FILMS = (([0.0, 0.1, 0.2, 0.5, 0.6], 10.0), ([7.0, 7.04, 7.12, 7.16], 25.0), ([3.0, 3.034, 3.066, 3.1, 3.233], 30.0),
         ([2.0, 2.12, 2.24, 2.36, 2.48, 2.6], 10.0), ([5.0, 5.1, 5.14, 5.24, 5.34], 10.0))    # slow; one comes early


def check_rate(rate_and_dropped: Callable[[list[float], float], tuple[float, int] | None]) -> str:
    """Exercise 2.1: capture times and the promised rate -> (rate measured, pictures dropped)."""
    return RATE.judge(rate_and_dropped, FILMS, _wrong_rate,
                      "A rate without the number of dropped pictures hides half of the truth")


def _numbers(given: Any, count: int) -> bool:
    return isinstance(given, tuple | list | np.ndarray) and len(given) == count and all(map(is_number, given))


def _wrong_rate(given: Any, captured_s: list[float], fps: float) -> str:
    if not _numbers(given, 2):
        return "Return two numbers: (rate, dropped)"
    span_s = captured_s[-1] - captured_s[0]
    hint = _rate_hint(*given, captured_s, span_s, fps)
    return hint and f"For {len(captured_s)} pictures in {span_s:.1f} s you give {hint}"


def _rate_hint(rate: float, dropped: float, captured_s: list[float], span_s: float, fps: float) -> str:
    right = health_of([Frame(np.zeros((4, 4, 3), np.uint8), moment, k + 1) for k, moment in enumerate(captured_s)], fps)
    if abs(rate - right.fps) > 0.02:
        why = {fps: "Believe the moments, not the promise",
               (len(captured_s) - 1) / (captured_s[-1] or 1): "The clock was not at 0 when the film began",
               len(captured_s) / span_s: f"Between {len(captured_s)} pictures there are {len(captured_s) - 1} gaps"}
        near = min(why, key=lambda value: abs(value - rate))
        return f"a rate of {rate:.2f}. {why[near] if abs(near - rate) < 0.02 else 'How many gaps in how long?'}"
    if dropped == right.dropped:
        return ""
    wide = sum((b - a) * fps > 1.5 for a, b in zip(captured_s, captured_s[1:], strict=False))
    why = ("A gap of four periods lacks three pictures, not one" if wide == dropped != 0 else
           "How many periods fit into each gap? Up to 1.5 of them, none is lost")
    return f"{dropped:g} dropped. {why}"


# -- 2.2: pixels ---------------------------------------------------------------------------------------------------


def pixels_per_cm() -> dict[str, float]:
    """How many pixels 1 cm covers, for what exercise 2.2 asks."""
    front, wrist = np.array([0.23, 0.0, CUBE_M]), wrist_view(HAND_M)
    under = np.array([*wrist.look_m[:2], CUBE_M])
    return {"front, 64 px": front_view().resized(64, 64).px_per_cm(front),
            "front, 512 px": front_view().resized(512, 512).px_per_cm(front),
            "wrist, 64 px": wrist.resized(64, 64).px_per_cm(under)}


def check_pixels(prediction: Any) -> str:
    """Exercise 2.2: how many pixels is 1 cm?"""
    return check_prediction(PIXELS, prediction, list(pixels_per_cm()), 0, 512, "px")


def compare_pixels(prediction: Any) -> str:
    """The guesses beside the truth."""
    asked = isinstance(prediction, Mapping) and check_pixels(prediction).startswith(PIXELS.passed())
    return "\n".join(f"{name:14} 1 cm is {right:4.1f} px" + (f", you said {prediction[name]:g}" if asked else "")
                     for name, right in pixels_per_cm().items())


# -- 2.3: into a square --------------------------------------------------------------------------------------------

SHAPES = ((480, 640, 512), (240, 320, 64), (640, 480, 512), (96, 96, 96), (720, 1280, 256), (426, 640, 512),
          (48, 64, 96))                        # 340.8 rows; smaller than the square


def check_fit(fit: Callable[[int, int, int], tuple[int, int, int, int] | None]) -> str:
    """Exercise 2.3: (height, width) into a square: (new height, new width, black rows on top, black columns left)."""
    return FIT.judge(fit, SHAPES, _wrong_fit, "It is what SmolVLA's own code does")


def _wrong_fit(given: Any, height: int, width: int, side: int) -> str:
    if not _numbers(given, 4):
        return "Return four numbers: (new height, new width, rows on top, columns on the left)"
    hint = _fit_hint(tuple(given), height, width, side)
    return hint and f"For {height} x {width} px into {side} you give {tuple(given)}. {hint}"


def _fit_hint(given: tuple[float, ...], height: int, width: int, side: int) -> str:
    ratio = max(height, width) / side
    tall, wide = int(height / ratio), int(width / ratio)
    if given == (tall, wide, side - tall, side - wide):
        return ""
    if given[:2] == (side, side):
        return "Squares become oblongs: the aspect ratio must stay"
    if given == (wide, tall, side - wide, side - tall):
        return "Height comes before width, rows before columns"
    if max(given[:2]) > side:
        return "It does not fit: the longer side decides"
    if max(given[:2]) < side:
        return f"The longer side becomes {side}, also where the picture is smaller"
    if given[:2] != (tall, wide):
        return "Divide both sides by the same ratio, and round down"
    if given[2:] == ((side - tall) // 2, (side - wide) // 2):
        return "In the middle would do as well, but SmolVLA learned with all of the black on top and on the left"
    return "What is left over goes on top and to the left, none of it below or to the right"


# -- 2.4: the learner's own passports ----------------------------------------------------------------------------


def check_passports(make: Callable[[CameraDesk, Path], Any], desk: CameraDesk, folder: Path) -> str:
    """Exercise 2.4: two saved passports, sharp, lit, of two cameras, taken while the arm moved."""
    before = _written(folder)
    given, wrong = PASSPORTS.call(make, desk, folder)
    if wrong:
        return wrong
    if _written(folder) == before:                 # what lies there is an earlier attempt's
        return PASSPORTS.not_attempted if given is None else PASSPORTS.not_yet(
            "Nothing was written: save_passport(passport, folder), once for each role")
    fault = passport_fault(folder)
    return PASSPORTS.not_yet(fault) if fault else PASSPORTS.passed("From now on a wrong camera has a name")


def passport_fault(folder: Path) -> str:
    """What is wrong with the two passports in a folder; "" where nothing is."""
    passports = {}
    for role in ROLES:
        try:
            passports[role] = load_passport(folder, role)
        except SmolkitError as error:              # without its words: they name the learner's folders
            return f"The {role} camera's passport cannot be read ({error.code}). Next: {error.next_step}"
    hints = [hint for role, passport in passports.items() if (hint := _passport_hint(role, passport))]
    alike = register(passports["front"].picture, passports["wrist"].picture[..., :3]).score
    if not hints and alike > TOO_ALIKE:
        hints = [f"Front and wrist show the same ({alike:.2f} of 1 alike): is one camera open twice?"]
    return hints[0] if hints else ""


def _written(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*.json")}


def _passport_hint(role: str, passport: Passport) -> str:
    look, size, still = passport.look, passport.role, float((passport.picture[..., 3] > 127).mean())
    least, most = STILL[role]
    hints = [(look.brightness < DARK, f"is dark: brightness {look.brightness:.0f} of 255, {DARK:.0f} is the least"),
             (look.burnt > BURNT_SHARE, f"is overexposed: {look.burnt:.0%} of it is white"),
             (look.sharpness < UNSHARP, f"is not sharp: {look.sharpness:.2f}, {UNSHARP} is the least. Turn its ring"),
             (passport.fps < SLOW * size.fps, f"came {passport.fps:.1f} times a second, not {size.fps}"),
             (still > most, f"holds still nearly everywhere ({still:.0%}): move the arm while you film"),
             (still < least, f"holds still nowhere ({still:.0%}): the camera itself moved, or the light flickers")]
    return next((f"The {role} camera's picture {words}" for wrong, words in hints if wrong), "")


# -- 2.5: the hunt -------------------------------------------------------------------------------------------------


def check_hunt(diagnosis: Any, case: Case, passports: Mapping[str, Passport]) -> str:
    """Exercise 2.5: which camera, what is wrong with it, and the number that shows it."""
    if unfilled := HUNT.unfilled(diagnosis, ("role", "fault", "evidence")):
        return unfilled
    role, name, evidence = (diagnosis[key] for key in ("role", "fault", "evidence"))
    if role not in ROLES or name not in list(CHECKS):          # a list: what a learner wrote may have no hash
        return HUNT.not_yet(f"role is one of {', '.join(ROLES)}; fault is one of {', '.join(CHECKS)}")
    claim = claimed(case, passports, role, name)
    right_role, right_name = case.answer
    if name != right_name or (role != right_role and name != "swapped"):
        return HUNT.not_yet(_hunt_hint(claim, role, name))
    shown = first_number(claim.found)
    if not is_number(evidence) or abs(evidence - shown) > max(0.05 * abs(shown), 0.011):
        return HUNT.not_yet(f"Right, but what shows it? evidence is the first number that {claim.code} found")
    return HUNT.passed(f"{claim.line()}. {claim.cause[0].upper()}{claim.cause[1:]}")


def claimed(case: Case, passports: Mapping[str, Passport], role: str, name: str) -> Check:
    """The check of a camera that is there for this fault."""
    report = check_cameras(case.films, passports)
    return next(check for check in report.checks if check.code == CHECKS[name] and check.name.startswith(role))


def _hunt_hint(claim: Check, role: str, name: str) -> str:
    if claim.ok:
        return f"{claim.code} looks for that, found {claim.found} for the {role} camera, and is green"
    return (f"{claim.code} of {role} is red, but something else explains it and more: which fault makes several "
            "checks red at once?")


def first_number(found: str) -> float:
    """
    >>> first_number("24%"), first_number("6.7 fps, 6 dropped"), first_number("most like that of wrist (0.91, ...)")
    (24.0, 6.7, 0.91)
    """
    return float(re.search(r"\d+(?:\.\d+)?", found)[0])
