"""Every lesson keeps the course's grammar; and each rule is seen failing on a small bad lesson."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from tests.house.lesson_rules import RULES, Lesson, Rule, has_solutions, words
from tests.house.repository import at, with_suffix
from tests.paths import REPO

NOTEBOOKS = [path for path in with_suffix(".ipynb") if path.parent.name == "notebooks"]
NAMES = {rule.__name__: rule for rule in RULES}

FRAME = """# 07 · Gears

**Goal.** Know why a gripper turns further than its finger.

| | |
|---|---|
| **Time** | 20 minutes |
| **You need** | no arm, no camera, no GPU, no network |
| **Lane** | `sim`, `recorded` or `real` |"""
EXERCISE = """### Exercise 7.{number} (5 min): the ratio

Two gears of {number}0 and 20 teeth mesh. Turn the first once: how often does the second turn, and which way round
does it go? Write the function."""
STUB = '''def ratio_{number}(teeth: int, other: int) -> float | None:
    """Example: ratio_{number}(10, 20) should be -0.5."""
    return None'''
END = """## What you can do now

You can say which gear turns faster.

**Three questions**

1. Why?
2. What for?
3. What if?

**Hand in** one drawing."""


def lesson_cells() -> list[tuple[str, str]]:
    """A small lesson that keeps every rule."""
    cells = [("markdown", FRAME), ("code", 'LANE = lane("sim")\nprint(smolkit.__version__)'),
             ("markdown", "The big gear is slow, the small one fast."), ("code", 'draw = 1\nshow(draw, "two gears")')]
    for number in (1, 2, 3, 4):
        cells += [("markdown", EXERCISE.format(number=number)), ("code", STUB.format(number=number)),
                  ("code", f"print(exercises.check_ratio(ratio_{number}))")]
    return [*cells, ("markdown", END)]


def write(folder: Path, cells: list[tuple[str, str]]) -> Lesson:
    new = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    made = [new[kind](source, id=f"cell-{number:02}") for number, (kind, source) in enumerate(cells)]
    path = folder / "07_gears.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return Lesson.load(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=at)
@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_lessons_keep_the_grammar(path: Path, rule: Rule) -> None:
    complaints = list(rule(Lesson.load(path)))
    assert not complaints, f"{at(path)}\n" + "\n".join(complaints)


@pytest.mark.parametrize("path", sorted((REPO / "course" / "solutions").glob("*.py")), ids=at)
def test_every_solution_has_its_lesson(path: Path) -> None:
    number = path.stem.rpartition("_")[2]
    assert list(REPO.glob(f"notebooks/{number}_*.ipynb")), f"{at(path)}: there is no lesson {number}"


def test_a_good_lesson_is_not_complained_about(tmp_path: Path) -> None:
    lesson = write(tmp_path, lesson_cells())
    assert [text for rule in RULES if rule is not has_solutions for text in rule(lesson)] == []


# rule, what to replace, by what, and what the complaint must say
BAD = [
    ("is_framed", "# 07 ·", "# Lesson 7:", "cell 0 (cell-00): begin with the title"),
    ("is_framed", "finger.", "finger. And draw it.", "one sentence"),
    ("is_framed", "20 minutes", "not long", "**Time**"),
    ("is_framed", "20 minutes", "MINUTES; 90 minutes with reading", "measured"),
    ("is_framed", "no GPU, ", "", "GPU"),
    ("is_framed", ", `recorded` or `real`", "", "`recorded`"),
    ("is_framed", 'lane("sim")', 'lane("real")', "lane switch"),
    ("is_framed", "smolkit.__version__", "1", "versions"),
    ("has_small_cells", "draw = 1", "\n".join(["draw = 1"] * 26), "27 lines of code; at most 25"),
    ("has_small_cells", 'LANE = lane("sim")\n', "", "the median code cell has 1.5 lines"),
    ("explains_more_than_it_codes", "draw = 1", "\n".join(["draw = 1"] * 90), "words a line"),
    ("has_short_texts", "The big gear", "The big gear " * 40, "cell 2 (cell-02): 126 words; at most 90"),
    ("has_short_texts", "Write the function.", "Think first. " * 30, "the median text has"),
    ("numbers_exercises", "7.3 (", "7.5 (", "they should be 7.1, 7.2, 7.3, 7.4"),
    ("numbers_exercises", "Exercise 7.4 (5 min): the ratio", "The ratio", "3 exercises; at least 4"),
    ("numbers_exercises", "7.2 (5 min)", "7.2", "cell 7 (cell-07): head an exercise so"),
    ("has_stubs_and_checks", "return None", "return 0.5", "no stub"),
    ("has_stubs_and_checks", "teeth: int", "teeth", "needs types"),
    ("has_stubs_and_checks", "Example: ratio_2(10, 20)", "It", "exercise 7.2: `ratio_2` needs"),
    ("has_stubs_and_checks", "print(exercises.check_ratio(ratio_2))", "ratio_2(1, 2)", "exercise 7.2 has no check"),
    ("describes_pictures", ', "two gears"', "", "the words are missing"),
    ("describes_pictures", "draw = 1", "draw = plt.plot(1)", "`plt.plot` shows a picture without words"),
    ("ends_well", "## What you can do now", "## The end", "What you can do now"),
    ("ends_well", "3. What if?", "", "Three questions"),
    ("ends_well", "**Hand in**", "Draw", "Hand in"),
    ("needs_no_terminal", "draw = 1", "!pip install gears", "`!pip` needs a person or a shell"),
    ("needs_no_terminal", "draw = 1", "draw = input('?')", "`input(`"),
]


@pytest.mark.parametrize(("rule", "old", "new", "complaint"), BAD)
def test_each_rule_can_fail(tmp_path: Path, rule: str, old: str, new: str, complaint: str) -> None:
    cells = [(kind, source.replace(old, new)) for kind, source in lesson_cells()]
    assert cells != lesson_cells(), "the lesson does not hold what should be replaced"
    assert complaint in "\n".join(NAMES[rule](write(tmp_path, cells)))


def test_code_cells_in_a_row_are_seen(tmp_path: Path) -> None:
    lesson = write(tmp_path, [*lesson_cells(), *[("code", "1")] * 4])
    assert "4 code cells in a row" in next(NAMES["alternates"](lesson))


def test_outputs_and_equal_ids_are_seen(tmp_path: Path) -> None:
    lesson = write(tmp_path, lesson_cells())
    notebook = json.loads(lesson.text)
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    notebook["cells"][2]["id"] = "cell-01"
    found = "\n".join(NAMES["is_stripped"](Lesson(lesson.path, json.dumps(notebook, indent=2))))
    assert "not written as nbformat writes it" in found and "holds outputs" in found
    assert "cell 2: needs an id that no other cell has, not 'cell-01'" in found


def test_missing_solutions_are_seen(tmp_path: Path) -> None:
    lesson = write(tmp_path, lesson_cells())
    assert "0 solutions" in next(has_solutions(lesson, tmp_path))
    (tmp_path / "gears_07.py").write_text("def ratio_1(): return 1\nratio_2 = ratio_3 = 1\n")
    assert list(has_solutions(lesson, tmp_path)) == [
        "cell 13 (cell-13): gears_07.py does not define ratio_4 of exercise 7.4"]


def test_words_are_those_that_a_person_reads() -> None:
    assert words("# A title\n\nTwo words.\n\n| a | table |\n\n    a drawing ─► here\n\n```\ncode\n```\n") == 2
