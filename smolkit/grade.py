"""What a hand-in is worth, by a rubric in plain words; one hand-in, or a class's whole folder.

    grade = grade_hand_in("hand_ins/ada", lesson="04")
    print(grade.text())                            # a line for each criterion: points, and what decided
    grades = grade_class("hand_ins")               # {"ada": Grade, "bob": Grade, ...}, each in a process of its own
    to_csv(grades)                                 # for the teacher's spreadsheet

A lesson's rubric is one entry of `RUBRICS`: what to hand in, who looks at it, and which checks decide about which
points. A hand-in is read, never run: no link in it is followed, nothing is written into it, what it says is printed
without control characters, and in a class's folder one that crashes, hangs or eats memory takes only itself down.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from smolkit.report import Check, Report, SmolkitError

MOST_FILES, MOST_BYTES = 20_000, 20 * 2**30        # of one hand-in
MOST_JSON, MOST_PX = 10 * 2**20, 10_000_000        # bytes of a JSON file; pixels of a passport's picture
TIMEOUT_S, MEMORY_BYTES = 300.0, 12 * 2**30        # for grading it in a class; memory counts what is mapped, too
REST = ("*",)                                      # of a criterion: every check that no other criterion names


@dataclass(frozen=True)
class Criterion:
    """What is asked, in plain words, the points for it, and the codes of the checks that must be green for them."""

    words: str
    points: int
    codes: tuple[str, ...] = REST


@dataclass(frozen=True)
class Rubric:
    """How a lesson's hand-in is graded."""

    hand_in: str                                   # what to hand in, in words
    fits: Callable[[Path], bool]                   # is this folder or file such a hand-in?
    look: Callable[[Path], Report]
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class Mark:
    """A criterion and the checks that decided about it; without a single check there are no points."""

    criterion: Criterion
    checks: tuple[Check, ...]

    @property
    def points(self) -> int:
        return self.criterion.points if self.checks and all(check.ok for check in self.checks) else 0

    def text(self) -> str:
        """A line, and under it what cost the points."""
        red = [check.text() for check in self.checks if not check.ok] or ([] if self.points else ["nothing to look at"])
        return "\n".join([f"{self.points:2} of {self.criterion.points:2}  {self.criterion.words}",
                          *(f"          {line}" for check in red for line in check.splitlines())])


@dataclass(frozen=True)
class Grade:
    """Points of one hand-in; `error` says why it could not be looked at."""

    lesson: str
    marks: tuple[Mark, ...]
    error: str = ""

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.marks)

    @property
    def most(self) -> int:
        return sum(criterion.points for criterion in RUBRICS[self.lesson].criteria)

    @property
    def ok(self) -> bool:
        return not self.error and self.points == self.most

    def text(self) -> str:
        """The whole sheet."""
        head = f"lesson {self.lesson}: {self.points} of {self.most} points"
        return plain("\n".join([head, *(mark.text() for mark in self.marks), *filter(None, [self.error])]))

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        marks = [{"criterion": mark.criterion.words, "points": mark.points, "of": mark.criterion.points,
                  "checks": Report("", mark.checks).as_dict()["checks"]} for mark in self.marks]
        return {"lesson": self.lesson, "ok": self.ok, "points": self.points, "of": self.most, "error": self.error,
                "marks": marks}


def grade_hand_in(path: Path | str, lesson: str = "") -> Grade:
    """Looks at one hand-in; the lesson is told by its content where it is not named.

    Raises SmolkitError: SK447 for what nobody should open (links, devices, too much), SK448 where no rubric fits;
    and what the reader says of a file that cannot be read.
    """
    path = Path(path)
    check_safe(path)
    lesson, path = _recognised(path, [lesson] if lesson else list(reversed(RUBRICS)))
    rubric = RUBRICS[lesson]
    named = {code for criterion in rubric.criteria for code in criterion.codes}
    try:
        checks = rubric.look(path).checks
    except SmolkitError as error:
        if error.code not in named:                # it cannot be opened at all
            raise
        checks = (Check(error.code, "opened", False, error.expected, error.found, error.cause, error.next_step),)
    return Grade(lesson, tuple(
        Mark(criterion, tuple(check for check in checks if check.code in criterion.codes or
                              criterion.codes == REST and check.code not in named)) for criterion in rubric.criteria))


def _recognised(path: Path, lessons: list[str]) -> tuple[str, Path]:
    """The first of these lessons that knows such a hand-in, and the hand-in itself or the folder in it that is one."""
    inside = [path, *sorted(part for part in path.iterdir() if part.is_dir())] if path.is_dir() else [path]
    for lesson, part in product(lessons, inside):
        if RUBRICS[lesson].fits(part):
            return lesson, part
    wanted = "; ".join(f"{lesson}: {RUBRICS[lesson].hand_in}" for lesson in lessons)
    raise SmolkitError("SK448", f"a hand-in ({wanted})", f"nothing of the kind in {plain(path.name)}",
                       "another folder was meant, or the archive is not unpacked yet", "smolkit grade FOLDER")


def check_safe(path: Path) -> None:
    """SK447: a hand-in holds plain files and folders, not too many, and no way out of itself."""
    size = 0
    for count, entry in enumerate(_entries(path)):
        try:
            found = entry.lstat()
        except OSError as error:
            raise _unsafe(f"{plain(entry.name)}: {error.strerror}") from error
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise _unsafe(f"{plain(entry.name)} is a link or a device")
        size += found.st_size
        if count > MOST_FILES or size > MOST_BYTES or entry.suffix == ".json" and found.st_size > MOST_JSON:
            raise _unsafe(f"more than {MOST_FILES} files, {MOST_BYTES / 2**30:.0f} GiB or a JSON file of more than "
                          f"{MOST_JSON / 2**20:.0f} MiB: {plain(entry.name)}")


def _entries(path: Path) -> Iterator[Path]:
    """The hand-in and all that is in it; what a link leads to is not."""
    yield path
    for folder, folders, names in os.walk(path):
        yield from (Path(folder, name) for name in (*folders, *names))


def _unsafe(found: str) -> SmolkitError:
    return SmolkitError("SK447", "a hand-in of plain files and folders", found,
                        "a link points outside of the hand-in, or it is no hand-in", "hand in a copy of the files")


def plain(text: str) -> str:
    """Without what would steer a terminal or hide text: a stranger chose the names."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def check_hand_in(lesson: str, path: Path | str | None) -> str:
    """For a lesson's last exercise: the sheet as text, never an exception."""
    from smolkit.lessons.grammar import Exercise
    exercise = Exercise(f"{int(lesson)}.5")
    if path is None:
        return exercise.not_attempted
    try:
        grade = grade_hand_in(path, lesson)
    except (SmolkitError, TypeError, ValueError) as error:
        return exercise.not_yet(f"It does not open. {error}")
    return exercise.passed(f"Hand it in: {grade.text()}") if grade.ok else exercise.not_yet(grade.text())


# -- a class -----------------------------------------------------------------------------------------------------


def grade_class(folder: Path | str, lesson: str = "") -> dict[str, Grade]:
    """Every hand-in of a folder by name, each in a process of its own; one that cannot be graded has an error."""
    hand_ins = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    return {plain(path.name): _grade_apart(path, lesson) for path in hand_ins}


def _grade_apart(path: Path, lesson: str) -> Grade:
    name = lesson or next(reversed(RUBRICS))
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "grade.json"
        command = [sys.executable, "-m", "smolkit", "grade", "--json", str(answer),
                   *(["--lesson", lesson] if lesson else []), "--", str(path.absolute())]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  timeout=TIMEOUT_S, preexec_fn=_limited if os.name == "posix" else None, check=False)
            return _from_dict(json.loads(answer.read_text(encoding="utf-8")))
        except subprocess.TimeoutExpired:
            return Grade(name, (), f"not graded within {TIMEOUT_S:.0f} s")
        except (OSError, ValueError, KeyError):
            return Grade(name, (), _why(done))


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a grader said before it ended: 2 is an error that teaches; of a crash only the last line matters."""
    said = plain(done.stderr.decode("utf-8", "replace").strip())
    return (said if done.returncode == 2 else said.split("\n")[-1])[-500:] or f"it ended with code {done.returncode}"


def _limited() -> None:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _from_dict(content: Mapping[str, Any]) -> Grade:
    marks = zip(RUBRICS[content["lesson"]].criteria, content["marks"], strict=True)
    return Grade(content["lesson"], tuple(Mark(criterion, tuple(Check(**check) for check in mark["checks"]))
                                          for criterion, mark in marks), content["error"])


def to_csv(grades: Mapping[str, Grade]) -> str:
    """A line for each hand-in: points in all, by criterion, and what to do first.

    >>> print(to_csv({"=1+1": Grade("01", (), "it does not open")}).splitlines()[1])
    '=1+1,01,0,10,,,it does not open
    """
    longest = max((len(RUBRICS[grade.lesson].criteria) for grade in grades.values()), default=0)
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["hand-in", "lesson", "points", "of", *(f"criterion {k + 1}" for k in range(longest)), "first"])
    for name, grade in grades.items():
        points = [mark.points for mark in grade.marks]
        first = grade.error or next((f"{check.line()}. Next: {check.next_step}" for mark in grade.marks
                                     for check in mark.checks if not check.ok), "")
        table.writerow([_cell(name), grade.lesson, grade.points, grade.most, *points, *[""] * (longest - len(points)),
                        _cell(first)])
    return out.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet runs what begins like a formula; a quote before it makes it text."""
    text = plain(text).replace("\n", " ")
    return f"'{text}" if text[:1] in tuple("=+-@") else text


# -- the lessons' rubrics ----------------------------------------------------------------------------------------


def _calibration(path: Path) -> Report:
    from smolkit.arm.calibration import Calibration, sweep_report
    from smolkit.arm.history import check_file
    file = path / "mine.json" if path.is_dir() else path
    mine = Calibration.load(file)
    return Report("a calibration", (check_file(file), *sweep_report(mine.range_max - mine.range_min).checks))


def _passports(path: Path) -> Report:
    from PIL import Image

    from smolkit.lessons.camera_checks import passport_fault
    for file in path.glob("*.png"):                # a small file may unfold to gigabytes
        try:
            with Image.open(file) as picture:
                width, height = picture.size
        except (OSError, ValueError, Image.DecompressionBombError):
            width = height = MOST_PX
        if width * height > MOST_PX:
            raise _unsafe(f"{plain(file.name)} is no picture of at most {MOST_PX:,} pixels")
    fault = passport_fault(path)
    return Report("passports", (Check("SK449", "passports", not fault, "two cameras, sharp and lit, an arm that moved",
                                      fault or "as it should be", "see lesson 02", "take both again"),))


def _demonstrations(path: Path) -> Report:
    from smolkit.data.checks.sense import demonstrations
    return demonstrations(path)


def _dataset(path: Path) -> Report:
    from smolkit.data.checks.structure import check_dataset
    enough = (check for check in _demonstrations(path).checks if check.code in ("SK420", "SK425"))
    checks = check_dataset(path).checks
    return Report("a dataset", (*enough, *(check for check in checks if check.code != "SK425")))


def _has(name: str) -> Callable[[Path], bool]:
    return lambda path: (path / name).is_file() or path.name == name


RUBRICS: dict[str, Rubric] = {
    "01": Rubric("mine.json, a calibration file", _has("mine.json"), _calibration, (
        Criterion("it opens, and is the file that the calibration saved", 4, ("SK128",)),
        Criterion("every joint was swept from stop to stop", 6, ("SK122",)))),
    "02": Rubric("the folder passports", _has("front.json"), _passports, (
        Criterion("two passports, sharp, lit, of two cameras, taken while the arm moved", 10),)),
    "03": Rubric("a dataset of four episodes or more", _has("meta/info.json"), _demonstrations, (
        Criterion("four episodes or more, each with a sentence", 2, ("SK420", "SK425")),
        Criterion("nobody stood and thought", 2, ("SK426",)),
        Criterion("the action is what was asked, ahead of where the arm was", 2, ("SK427",)),
        Criterion("scenes that differ", 2, ("SK428",)),
        Criterion("calibration, limits, pace and cameras as they should be", 2))),
    "04": Rubric("a dataset of four episodes or more", _has("meta/info.json"), _dataset, (
        Criterion("it opens, and its files keep every rule of the format", 4,
                  tuple(f"SK{number}" for number in range(450, 470))),
        Criterion("four episodes or more, each with a sentence", 2, ("SK420", "SK425")),
        Criterion("nobody stood and thought while it was recorded", 2, ("SK426",)),
        Criterion("the action is what was asked, ahead of where the arm was, and no joint is offset", 3,
                  ("SK427", "SK475")),
        Criterion("everybody can know whose degrees these are", 2, ("SK429", "SK478", "SK421")),
        Criterion("the cameras are alive, lit, in their places, and not exchanged", 3,
                  ("SK424", *(f"SK47{digit}" for digit in range(5)))),
        Criterion("scenes differ, and no episode is there twice", 2, ("SK428", "SK479")),
        Criterion("nothing else that the checks look for is red", 2)))}
