"""Exercises of lesson 01: the notebook's stubs are "not yet", solutions pass, students' mistakes get a hint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smolkit.arm import fake, history, registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import CalibrationSession
from smolkit.arm.configure import write_calibration
from smolkit.arm.joints import JOINT_NAMES
from smolkit.lessons.servo_desk import Desk, open_desk
from smolkit.lessons.servo_exercises import (
    check_checksum,
    check_guesses,
    check_hands,
    check_percent,
    check_turned,
    compare_guesses,
    over_seam,
)
from smolkit.lessons.servo_hunt import CLUES, Hunt

LESSON = "servo_calibration_01"


@pytest.fixture(scope="module")
def desk():
    with open_desk("recorded") as desk:
        yield desk


def calibrated(desk: Desk, file: Path, *, begin: str = "middle", leave_out: float = 0.0) -> Path:
    """A calibration on the tape, kept; `leave_out`: the share of each joint's sweep that the hand leaves out."""
    session = CalibrationSession(desk.bus)
    desk.servos.seek(desk.servos.span("middle")[0] + (0.0 if begin == "middle" else 1.0))
    session.hold_middle()
    for joint in JOINT_NAMES:
        begin_s, end_s = desk.servos.span(joint)
        for moment_s in np.arange(begin_s, end_s, 0.04):
            part = (moment_s - begin_s) / (end_s - begin_s)
            if not 0.75 - leave_out < part < 0.75 + leave_out:          # there it would be at its upper stop
                desk.servos.seek(float(moment_s))
                session.look()
    return history.keep(session.accept(), file)


def test_untouched_stubs_are_not_attempted_yet(stubs, desk, tmp_path):
    said = [check_checksum(stubs["checksum"]), check_guesses(stubs["prediction"]), check_turned(stubs["turned"]),
            check_hands(stubs["my_file"], tmp_path / "first.json", desk.bus), check_percent(stubs["to_percent"]),
            Hunt(1).check(stubs["found"])]
    assert [line.removesuffix(": not attempted yet") for line in said] == [f"Exercise 1.{n}" for n in range(1, 7)]


def test_solutions_pass(solutions, desk, tmp_path):
    first = calibrated(desk, tmp_path / "first.json")
    mine = calibrated(desk, tmp_path / Path(solutions.my_file).name, begin="a moment later")
    said = [check_checksum(solutions.checksum), check_guesses(solutions.prediction), check_turned(solutions.turned),
            check_hands(mine, first, desk.bus), check_percent(solutions.to_percent), Hunt(1).check(solutions.found)]
    assert all(line.startswith(f"Exercise 1.{n}: pass") for n, line in enumerate(said, 1)), said


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda body: sum(body) & 255, "Turn every bit round"),
    (lambda body: ~sum(body), "lowest eight bits"),
    (lambda body: -sum(body) & 255, "minus the sum"),
    (lambda body: ~sum(b"\xff\xff" + body) & 255, "header do not count"),
    (lambda body: 0, "Add all bytes"),
    (lambda body: "FB", "whole number"),
    (lambda body: True, "whole number"),
    (lambda body: 255 - sum(body), "lowest eight bits"),
    (lambda body: 1 / 0, "ZeroDivisionError"),
])
def test_wrong_checksums(wrong, hint):
    assert "not yet" in check_checksum(wrong) and hint in check_checksum(wrong)


@pytest.mark.parametrize(("wrong", "hint"), [
    ({"one_tooth_deg": 14.4}, "Keep the dictionary"),
    ({"one_tooth_deg": 14.4, "joints_over_seam": "three"}, "joints_over_seam"),
    ({"one_tooth_deg": -14.4, "joints_over_seam": None}, "one_tooth_deg, joints_over_seam"),
    (None, "Keep the dictionary"),
    ({"one_tooth_deg": 14.4, "joints_over_seam": 30}, "six joints"),
])
def test_wrong_guesses(wrong, hint):
    assert "not yet" in check_guesses(wrong) and hint in check_guesses(wrong)


def test_guesses_are_compared_with_what_was_measured(solutions, desk, tmp_path):
    from smolkit.arm.calibration import Calibration
    calibration = Calibration.load(calibrated(desk, tmp_path / "arm.json"))
    assert over_seam(calibration) == ("shoulder_pan", "shoulder_lift", "wrist_roll")       # as the recording shows
    assert "14.4 deg (164 ticks)" in compare_guesses({}, calibration)
    assert "No prediction" in compare_guesses({}, calibration)
    assert "You said 14.4 deg and 3 joints" in compare_guesses(solutions.prediction, calibration)


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda before, now: now - before, "shorter way"),
    (lambda before, now: before - now, "sign"),
    (lambda before, now: (now - before) % 4096, "shorter way"),
    (lambda before, now: (now - before + 2047) % 4095 - 2047, "4096"),
    (lambda before, now: abs((now - before + 2048) % 4096 - 2048), "sign"),
    (lambda before, now: (now - before + 3000) % 4096 - 3000 if now > before else now - before, "shorter way"),
    (lambda before, now: 7, "between -2048 and 2047"),
    (lambda before, now: "far", "whole number"),
    (lambda before, now: [][0], "IndexError"),
])
def test_wrong_turns(wrong, hint):
    assert "not yet" in check_turned(wrong) and hint in check_turned(wrong)


@pytest.mark.parametrize(("wrong", "hint"), [
    (lambda t, a, b, d: 100 * (t - a) / (b - a), "clip first"),
    (lambda t, a, b, d: (t - a) / (b - a), "0 to 1"),
    (lambda t, a, b, d: 100 * (min(max(t, a), b) - a) / (b - a), "other end"),
    (lambda t, a, b, d: 100 * (b - t) / (b - a) if d else 100 * (min(max(t, a), b) - a) / (b - a), "clip first"),
    (lambda t, a, b, d: 200 * (t - a) / (b - a) - 100, "low is 0"),
    (lambda t, a, b, d: "half", "Return a number"),
    (lambda t, a, b, d: t / 0, "ZeroDivisionError"),
])
def test_wrong_percents(wrong, hint):
    assert "not yet" in check_percent(wrong) and hint in check_percent(wrong)


def test_other_right_answers():
    """Numbers of NumPy's are numbers, and there is more than one way."""
    assert "pass" in check_checksum(lambda body: np.uint8(255 - sum(body) % 256))
    assert "pass" in check_turned(lambda a, b: min((b - a, b - a + 4096, b - a - 4096), key=abs))
    assert "pass" in check_percent(lambda t, a, b, d: np.clip(100 * ((b - t if d else t - a) / (b - a)), 0, 100))


# -- their own calibration --------------------------------------------------------------------------------


def test_a_copy_of_the_first_calibration_is_not_ones_own(desk, tmp_path):
    first = calibrated(desk, tmp_path / "first.json")
    copy = history.keep(history.Calibration.load(first), tmp_path / "mine.json")
    assert "number for number" in check_hands(copy, first, desk.bus)


def test_a_short_sweep_is_named(desk, tmp_path):
    first = calibrated(desk, tmp_path / "first.json")
    mine = calibrated(desk, tmp_path / "mine.json", leave_out=0.08)
    assert "did not reach a stop" in check_hands(mine, first, desk.bus)


def test_the_wrist_roll_is_zero_where_it_was_held(desk, tmp_path):
    first = calibrated(desk, tmp_path / "first.json")
    motors = list(history.Calibration.load(first).motors)
    motors[4] = replace(motors[4], homing_offset=motors[4].homing_offset + 150)                # 13 deg
    mine = history.Calibration(tuple(motors))
    write_calibration(desk.bus, mine)
    assert "Level the gripper" in check_hands(history.keep(mine, tmp_path / "mine.json"), first, desk.bus)


def test_another_arms_servos_are_noticed(desk, tmp_path):
    first = calibrated(desk, tmp_path / "first.json")
    mine = calibrated(desk, tmp_path / "mine.json", begin="later")
    other = fake.servos(4)
    fake.calibrated(other)
    assert "the servos hold" in check_hands(mine, first, Bus(fake.connect(other))).lower()


@pytest.mark.parametrize(("spoil", "hint"), [
    (lambda file: file.unlink(), "SK120"),
    (lambda file: file.write_text("{}"), "SK121"),
    (lambda file: file.write_text(file.read_text().replace('"range_max": 3', '"range_max": 2', 1)), "SK"),
    (lambda file: [copy.unlink() for copy in history.kept(file)], "dated copy"),
])
def test_a_spoiled_file_says_how(desk, tmp_path, spoil, hint):
    first = calibrated(desk, tmp_path / "first.json")
    mine = calibrated(desk, tmp_path / "mine.json", begin="later")
    spoil(mine)
    assert "not yet" in check_hands(mine, first, desk.bus) and hint in check_hands(mine, first, desk.bus)


def test_something_that_is_no_file(desk, tmp_path):
    assert "not yet" in check_hands(3, tmp_path, desk.bus)


# -- the hunt ---------------------------------------------------------------------------------------------


def truth(hunt: Hunt) -> dict:
    """What a good hunter finds, by registers alone: what differs from the file, or from the neighbours."""
    bus, motors = hunt.bus, hunt.calibration.motors
    read = {r: bus.sync_read(r, range(1, 7)) for r in
            (registers.PRESENT_TEMPERATURE, registers.STATUS, registers.UNLOADING_CONDITION, registers.HOMING_OFFSET,
             registers.PRESENT_POSITION, registers.GOAL_POSITION)}
    for register, name, usual in ((registers.PRESENT_TEMPERATURE, "hot_servo", lambda i: 25),
                                  (registers.STATUS, "error_flag", lambda i: 0),
                                  (registers.UNLOADING_CONDITION, "protections_off", lambda i: 44),
                                  (registers.HOMING_OFFSET, "odd_calibration", lambda i: motors[i - 1].homing_offset),
                                  (registers.PRESENT_POSITION, "slipped_horn", lambda i: 2047),
                                  (registers.GOAL_POSITION, "stale_goal", lambda i: 2047)):
        for servo, value in read[register].items():
            if abs(value - usual(servo)) > 2:
                return {"joint": JOINT_NAMES[servo - 1], "fault": name, "register": register.name, "value": value}
    raise AssertionError("nothing to be found")


def test_every_seed_hides_one_fault_that_registers_give_away():
    names = set()
    for seed in range(30):
        hunt = Hunt(seed)
        answer = truth(hunt)
        names.add(answer["fault"])
        assert hunt.check(answer).startswith("Exercise 1.6: pass"), (seed, answer)
    assert names == set(CLUES)


def test_whatever_the_fault_changed_is_evidence():
    hunt = Hunt(1)                                             # protections_off in the wrist_flex
    found = {"joint": "wrist_flex", "fault": "protections_off", "register": "Max_Torque_Limit", "value": 1000}
    assert "pass" in hunt.check(found)


def test_a_register_may_be_named_or_given():
    hunt = Hunt(4)
    answer = truth(hunt)
    assert "pass" in hunt.check(answer | {"register": getattr(registers, answer["register"].upper())})


@pytest.mark.parametrize(("change", "hint"), [
    ({"joint": "elbow"}, "A joint is one of"),
    ({"fault": "broken"}, "A fault is one of"),
    ({"fault": "hot_servo"}, "The joint is right"),
    ({"register": "Heat"}, "Evidence"),
    ({"value": None}, "Evidence"),
    ({"value": 17}, "reads 0, not 17"),
    ({"register": "Present_Voltage", "value": 50}, "no evidence"),
    ({"joint": "gripper", "value": 44}, "as it should be"),
])
def test_wrong_findings(solutions, change, hint):
    said = Hunt(1).check(solutions.found | change)
    assert "not yet" in said and hint in said


def test_other_keys():
    assert "Keep the dictionary" in Hunt(1).check({"joint": "gripper"})
    assert "Keep the dictionary" in Hunt(1).check(None)
