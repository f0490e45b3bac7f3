"""Grading from a terminal: `smolkit grade PATH`. Exit codes: 0 all points, 1 some are missing, 2 no answer.

    smolkit grade outputs/my_dataset                       # the lesson is told by what is in it
    smolkit grade mine.json --lesson 01 --json grade.json
    smolkit grade hand_ins --all --csv marks.csv           # a folder with one hand-in for each learner
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smolkit.cli_check import JsonFile, write
from smolkit.report import SmolkitError

CsvFile = Annotated[Path | None, typer.Option("--csv", help="with --all: a line for each hand-in, for a spreadsheet")]


def grade(path: Annotated[Path, typer.Argument(help="a hand-in, or with --all a folder of them")],
          lesson: Annotated[str, typer.Option(help="01, 02, ...; else its content tells")] = "",
          class_: Annotated[bool, typer.Option("--all", help="each file or folder in PATH is a hand-in")] = False,
          json_file: JsonFile = None, csv_file: CsvFile = None) -> None:
    """What a hand-in is worth: points by a rubric in plain words, and what to do for the missing ones."""
    from smolkit.grade import RUBRICS, grade_class, grade_hand_in, to_csv
    if lesson and lesson not in RUBRICS:
        raise SmolkitError("SK448", f"a lesson with a rubric: {', '.join(RUBRICS)}", lesson, "not every lesson has one",
                           "smolkit grade PATH --lesson 04")
    if csv_file and not class_:
        raise SmolkitError("SK448", "--all beside --csv", "--csv alone", "a table is for a folder of hand-ins",
                           "smolkit grade FOLDER --all --csv marks.csv")
    console = Console(soft_wrap=True)
    if not class_:
        found = grade_hand_in(path, lesson)
        console.print(found.text(), markup=False, highlight=False)
        write(json_file, found.as_dict())
        raise typer.Exit(0 if found.ok else 1)
    grades = grade_class(path, lesson)
    for name, found in grades.items():
        console.print(f"{found.points:3} of {found.most}  {name}  {found.error.splitlines()[0] if found.error else ''}",
                      markup=False, highlight=False)
    write(json_file, {name: found.as_dict() for name, found in grades.items()})
    if csv_file:
        csv_file.write_text(to_csv(grades), encoding="utf-8", newline="")
    raise typer.Exit(0 if grades and all(found.ok for found in grades.values()) else 1)
