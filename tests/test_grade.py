"""Hand-ins: points by a rubric, the same sheet for learner and teacher, and no harm from a hostile one."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smolkit import grade as grading
from smolkit.cli import app
from smolkit.data.edit import Plan
from smolkit.grade import RUBRICS, check_hand_in, grade_class, grade_hand_in, to_csv
from smolkit.lessons.lane import dataset
from smolkit.report import SmolkitError
from smolkit.sim.bench import measured_calibration

PICK_PLACE, SICK = dataset("pick_place"), dataset("sick")


def points(grade) -> dict[str, int]:
    return {mark.criterion.words: mark.points for mark in grade.marks}


def small(root: Path, source: Path, episodes: tuple[int, ...]) -> Path:
    return Plan.of(source).keep(episodes).write(root).root


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return small(tmp_path_factory.mktemp("hand_ins") / "good", PICK_PLACE, (0, 1, 2, 3))


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """A grade: one waits, one follows."""
    return grade_hand_in(small(tmp_path_factory.mktemp("hand_ins") / "sick", SICK, (0, 1, 4, 15)), "04")


def test_a_good_dataset_has_all_points_and_nothing_is_written_into_it(good):
    before = {path: path.stat().st_mtime_ns for path in good.rglob("*")}
    grade = grade_hand_in(good)
    assert (grade.lesson, grade.ok, grade.points) == ("04", True, 20), grade.text()
    assert before == {path: path.stat().st_mtime_ns for path in good.rglob("*")}


def test_a_sick_one_loses_the_points_of_its_faults_alone_and_says_why(sick):
    lost = [words for words, won in points(sick).items() if not won]
    assert not sick.ok and [word in " ".join(lost) for word in ("thought", "ahead", "cameras")] == [True, True, False]
    kept = points(sick)
    assert kept["it opens, and its files keep every rule of the format"] == 4
    assert kept["everybody can know whose degrees these are"] == 2
    assert "SK426" in sick.text() and "SK427" in sick.text() and "next:" in sick.text()


def test_the_sheet_survives_the_way_through_a_process(sick):
    assert grading._from_dict(json.loads(json.dumps(sick.as_dict()))) == sick


def test_too_few_episodes_cost_two_points(tmp_path):
    grade = grade_hand_in(small(tmp_path / "few", PICK_PLACE, (0,)), "03")
    assert points(grade)["four episodes or more, each with a sentence"] == 0 and "SK420" in grade.text()


def test_a_calibration_is_graded(tmp_path):
    file = measured_calibration().save(tmp_path / "ada" / "mine.json")
    assert (grade_hand_in(tmp_path / "ada").lesson, grade_hand_in(file).points) == ("01", 10)
    assert grade_hand_in(tmp_path).ok, "a folder with the hand-in's folder in it"
    table = json.loads(file.read_text())
    table["elbow_flex"]["range_max"] = table["elbow_flex"]["range_min"] + 700
    file.write_text(json.dumps(table))
    assert grade_hand_in(file).points == 0 and "SK122" in grade_hand_in(file).text()


def test_passports_are_graded(tmp_path):
    (tmp_path / "front.json").write_text("{}")
    grade = grade_hand_in(tmp_path)
    assert (grade.lesson, grade.points) == ("02", 0) and "cannot be read" in grade.text()


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of Unix")
@pytest.mark.parametrize("make", [
    lambda path: (path / "meta").symlink_to(path.parent), lambda path: (path / "info.json").symlink_to("/etc/passwd"),
    lambda path: os.mkfifo(path / "pipe")])
def test_a_way_out_of_a_hand_in_is_not_followed(make, tmp_path):
    (hand_in := tmp_path / "ada").mkdir()
    make(hand_in)
    with pytest.raises(SmolkitError) as caught:
        grade_hand_in(hand_in, "04")
    assert caught.value.code == "SK447"


def test_a_link_instead_of_a_hand_in_is_not_followed(tmp_path):
    (tmp_path / "ada").symlink_to(PICK_PLACE)
    with pytest.raises(SmolkitError, match="SK447"):
        grade_hand_in(tmp_path / "ada")


@pytest.mark.parametrize(("name", "content"), [
    ("mine.json", b"[" * (11 * 2**20)), ("front.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(
        ">IIBBBBBI", 30_000, 30_000, 8, 2, 0, 0, 0, 0)), ("front.png", b"no picture")])
def test_files_that_unfold_to_gigabytes_are_not_opened(name, content, tmp_path):
    (tmp_path / "front.json").write_text("{}")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SmolkitError, match="SK447"):
        grade_hand_in(tmp_path)


def test_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "MOST_FILES", 3)
    with pytest.raises(SmolkitError, match="more than 3 files"):
        grade_hand_in(PICK_PLACE)


@pytest.mark.parametrize("name", ["nothing", ""])
def test_what_is_no_hand_in_says_what_would_be(name, tmp_path):
    with pytest.raises(SmolkitError, match=r"SK44[78]"):
        grade_hand_in(tmp_path / name)


def test_the_exercise_never_raises(tmp_path):
    assert check_hand_in("04", None) == "Exercise 4.5: not attempted yet"
    for wrong in (tmp_path, tmp_path / "nowhere", 42, "\0"):
        assert check_hand_in("04", wrong).startswith("Exercise 4.5: not yet. It does not open")


def test_a_class_is_graded_apart_and_a_broken_hand_in_takes_nobody_down(tmp_path, monkeypatch):
    """A process each: this one is about a hand-in that hangs its grader."""
    measured_calibration().save(tmp_path / "room" / "ada" / "mine.json")
    (tmp_path / "room" / "--json=x\x1b[2J").mkdir()
    grades = grade_class(tmp_path / "room", "01")
    assert grades["ada"].ok and "SK" in grades["--json=x?[2J"].error
    monkeypatch.setattr(grading, "TIMEOUT_S", 0.01)
    assert "not graded within" in grading._grade_apart(tmp_path / "room" / "ada", "01").error
    _, hostile, ada = csv.reader(io.StringIO(to_csv(grades)))
    assert hostile[0] == "'--json=x?[2J" and ada[:6] == ["ada", "01", "10", "10", "4", "6"]


@pytest.mark.parametrize(("code", "stderr", "told"), [
    (1, b"Traceback:\n  a line\nMemoryError: \x1b[2J\n", "MemoryError: ?[2J"),
    (2, b"SK1 a\n  next: b", "SK1 a\n  next: b"),
    (-9, b"", "it ended with code -9")])
def test_a_crash_is_told_by_its_last_line_and_an_error_that_teaches_whole(code, stderr, told):
    assert grading._why(subprocess.CompletedProcess([], code, None, stderr)) == told


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text):
    assert grading._cell(text)[0] in "'?"


def test_exit_codes_of_the_command(tmp_path):
    run = CliRunner().invoke
    file = measured_calibration().save(tmp_path / "mine.json")
    good = run(app, ["grade", str(file), "--json", str(tmp_path / "grade.json")])
    assert good.exit_code == 0 and "10 of 10 points" in good.output
    assert json.loads((tmp_path / "grade.json").read_text())["points"] == 10
    table = json.loads(file.read_text())
    table["gripper"]["range_max"] = table["gripper"]["range_min"] + 5
    file.write_text(json.dumps(table))
    assert run(app, ["grade", str(file)]).exit_code == 1
    assert run(app, ["grade", str(tmp_path / "nowhere")]).exit_code == 2
    assert run(app, ["grade", str(file), "--lesson", "99"]).exit_code == 2
    assert run(app, ["grade", str(file), "--csv", "x.csv"]).exit_code == 2


def test_every_rubric_says_what_to_hand_in_and_asks_in_words():
    for lesson, rubric in RUBRICS.items():
        assert len(lesson) == 2 and rubric.hand_in and sum(criterion.points for criterion in rubric.criteria) >= 10
        codes = [code for criterion in rubric.criteria for code in criterion.codes]
        assert len(codes) == len(set(codes)), "no check decides twice"
