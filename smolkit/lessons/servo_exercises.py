"""Checks for the exercises of `notebooks/01_servo_calibration.ipynb`: one line of text each, never an exception.

    >>> print(check_checksum(lambda body: None))
    Exercise 1.1: not attempted yet
    >>> print(check_checksum(lambda body: 255))
    Exercise 1.1: not yet. For 03 05 03 2A 00 08 (servo 3, to 2048) you give FF, it expects C2. Add all bytes of body, \
turn the bits round, keep the lowest eight
    >>> print(check_turned(lambda before, now: now - before))
    Exercise 1.3: not yet. From 4090 to 5 you say -4085, the shaft turned +11. It went over the seam: go the shorter way
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm import history, packets
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration, percent
from smolkit.arm.configure import servo_fingerprint
from smolkit.arm.joints import JOINT_NAMES
from smolkit.arm.registers import TICKS_PER_TURN
from smolkit.lessons.grammar import Exercise, check_prediction, is_number, shown
from smolkit.report import SmolkitError

TOOTH_DEG = 360 / 25                               # Feetech's data sheet: horn spline 25T, 5.9 mm
HELD_DEG = 10.0                                    # how well one holds a joint level by eye
CHECKSUM, PREDICTION, TURNED, HANDS, PERCENT = (Exercise(f"1.{n}") for n in range(1, 6))
BODIES = {"03 05 03 2A 00 08": "servo 3, to 2048", "01 02 01": "ping servo 1",
          "FE 0A 82 38 02 01 02 03 04 05 06": "all six, where are you"}
TURNS = ((100, 110), (4090, 5), (5, 4090), (2047, 0), (0, 0), (3000, 1100), (3300, 1100), (1100, 3300))
JAW_CASES = tuple((ticks, 1500, 3010, mode) for mode in (0, 1) for ticks in (2047, 1500, 3010, 1400, 3500))
GUESSES = ("one_tooth_deg", "joints_over_seam")


def check_checksum(checksum: Callable[[bytes], int | None]) -> str:
    """Exercise 1.1: the last byte of a packet."""
    return CHECKSUM.judge(checksum, [(bytes.fromhex(text),) for text in BODIES], _wrong_checksum,
                          "A wire that flips one bit cannot get past it")


def _wrong_checksum(given: Any, body: bytes) -> str:
    right, text = packets.checksum(body), body.hex(" ").upper()
    whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool)
    if whole and given == right:
        return ""
    said = f"{int(given):02X}" if whole else repr(given)
    hint = _checksum_hint(int(given), body) if whole else "Return one whole number, 0 to 255"
    return f"For {text} ({BODIES[text]}) you give {said}, it expects {right:02X}. {hint}"


def _checksum_hint(given: int, body: bytes) -> str:
    if given == sum(body) & 255:
        return "Turn every bit round: ~"
    if given in (~sum(body), sum(body), 255 - sum(body)):
        return "Keep the lowest eight bits only: & 255"
    if given == packets.checksum(packets.HEADER + body):
        return "The two FF of the header do not count"
    if given == -sum(body) & 255:
        return "That is minus the sum; turning the bits round gives one less"
    return "Add all bytes of body, turn the bits round, keep the lowest eight"


def check_guesses(prediction: Mapping[str, float | None]) -> str:
    """Exercise 1.2: an angle and a count, guessed before they are measured."""
    said = check_prediction(PREDICTION, prediction, GUESSES, 0, 360)
    if "pass" in said and prediction["joints_over_seam"] > len(JOINT_NAMES):
        return PREDICTION.not_yet("An arm has six joints: 0 to 6, please, for joints_over_seam")
    return said


def compare_guesses(prediction: Mapping[str, float | None], calibration: Calibration) -> str:
    """What exercise 1.2 asked for, measured on this arm."""
    over = over_seam(calibration)
    found = f"One tooth is {TOOTH_DEG:.1f} deg ({TOOTH_DEG * TICKS_PER_TURN / 360:.0f} ticks). Over the seam on this " \
            f"arm, by its horns: {len(over)} of 6 ({', '.join(over) or 'none'})."
    if "pass" not in check_guesses(prediction):
        return f"{found} No prediction was made, so nothing can surprise you."
    return f"{found} You said {prediction['one_tooth_deg']:g} deg and {prediction['joints_over_seam']:g} joints."


def over_seam(calibration: Calibration) -> tuple[str, ...]:
    """The joints whose travel would meet 4095 and 0 if no offset were set; wrist_roll's stops count, 320 deg apart."""
    def crosses(index: int) -> bool:
        motor = calibration.motors[index]
        low, high = (258, 3899) if JOINT_NAMES[index] == "wrist_roll" else (motor.range_min, motor.range_max)
        return (low + motor.homing_offset) // TICKS_PER_TURN != (high + motor.homing_offset) // TICKS_PER_TURN
    return tuple(name for index, name in enumerate(JOINT_NAMES) if crosses(index))


def check_turned(turned: Callable[[int, int], int | None]) -> str:
    """Exercise 1.3: how far a shaft turned between two looks, the short way."""
    return TURNED.judge(turned, TURNS, _wrong_turn,
                        "So a calibration can count on through the seam, if it looks often enough")


def _wrong_turn(given: Any, before: int, now: int) -> str:
    right = (now - before + 2048) % TICKS_PER_TURN - 2048
    if is_number(given) and given == right:
        return ""
    said = f"{given:+g}" if is_number(given) else repr(given)
    return f"From {before} to {now} you say {said}, the shaft turned {right:+d}. {_turned_hint(given, right)}"


def _turned_hint(given: Any, right: int) -> str:
    if not is_number(given):
        return "Return a whole number of ticks"
    if given == -right and right:
        return "The sign is turned round: later minus earlier"
    if abs(given - right) in (1, 4095):
        return "From 4095 to 0 is one tick, so a turn has 4096"
    if (given - right) % TICKS_PER_TURN == 0:
        return "It went over the seam: go the shorter way"
    return "Take the difference, then bring it between -2048 and 2047"


def check_hands(my_file: str | Path | None, first: Path, bus: Bus) -> str:
    """Exercise 1.4: the learner's own calibration, saved, in the servos, and the same zero as the first one's."""
    if my_file is None:
        return HANDS.not_attempted
    try:
        mine, before = Calibration.load(my_file), Calibration.load(first)
        kept = history.check_file(Path(my_file))
        in_servos = servo_fingerprint(bus, mine.ids)
    except (SmolkitError, TypeError, OSError) as error:
        return HANDS.not_yet(str(error).replace("\n ", ";"))
    if not kept.ok:
        return HANDS.not_yet(f"{kept.code}: {kept.cause}. Next: {kept.next_step}")
    if not history.kept(Path(my_file)):
        return HANDS.not_yet("It has no dated copy beside it. Save it with the panel's button, or with history.keep")
    if mine == before:
        return HANDS.not_yet("This is the first calibration, number for number. Hold and sweep once more, by hand")
    if in_servos != mine.fingerprint:
        return HANDS.not_yet(f"The servos hold {in_servos}, your file {mine.fingerprint}: another was accepted since")
    moved = {joint.joint: abs(joint.zero_deg) for joint in history.diff(before, mine).joints}
    held = moved.pop("wrist_roll")
    worst = max(moved, key=moved.__getitem__)
    if moved[worst] >= history.NOTABLE_DEG:
        return HANDS.not_yet(f"Zero of {worst} moved by {moved[worst]:.1f} deg between your two calibrations. One "
                             "of the two sweeps did not reach a stop: sweep that joint again")
    if held >= HELD_DEG:
        return HANDS.not_yet(f"Zero of wrist_roll moved by {held:.0f} deg. No sweep corrects that joint: its zero is "
                             "where you hold it. Level the gripper, and begin with the middle again")
    mean = float(np.mean(list(moved.values())))
    return HANDS.passed(f"Fingerprint {mine.fingerprint} in file and servos; your zeros repeat within {mean:.1f} deg, "
                        f"wrist_roll, which no sweep corrects, within {held:.1f}")


def check_percent(to_percent: Callable[[float, int, int, int], float | None]) -> str:
    """Exercise 1.5: the gripper's number, 0 closed and 100 open."""
    return PERCENT.judge(to_percent, JAW_CASES, _wrong_percent)


def _wrong_percent(given: Any, ticks: int, low: int, high: int, drive_mode: int) -> str:
    right = float(percent(ticks, low, high, bool(drive_mode)))
    if is_number(given) and abs(given - right) <= 0.01:
        return ""
    return (f"For tick {ticks} in {low}..{high}, drive_mode {drive_mode}, you give {shown(given)}, LeRobot "
            f"{right:.2f}. {_percent_hint(given, ticks, low, high, drive_mode)}")


def _percent_hint(given: Any, ticks: int, low: int, high: int, drive_mode: int) -> str:
    if not is_number(given):
        return "Return a number"
    straight = 100 * (ticks - low) / (high - low)
    if not low <= ticks <= high and min(abs(given - straight), abs(given - 100 + straight)) < 0.01:
        return "A jaw pressed past its range is still 0 or 100: clip first"
    if abs(given - straight / 100) < 0.001:
        return "That is a share, 0 to 1"
    if drive_mode and abs(given - straight) < 0.01:
        return "drive_mode 1 counts from the other end"
    return "low is 0, high is 100, straight in between"
