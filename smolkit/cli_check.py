"""The checks from a terminal: `smolkit check policy FOLDER`, `check dataset FOLDER`. Exit: 0 green, 1 red, 2 no answer.

    smolkit check policy outputs/tour/policy
    smolkit check policy lerobot/smolvla_base --json report.json     # by its name on the Hub, once it is in the cache
    smolkit check policy my_policy --dataset my_recording            # with its data, more can be told
    smolkit check dataset my_recording --card card.html              # or its name on the Hub
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smolkit.report import Report, SmolkitError

app = typer.Typer(help="Is it healthy? Checks with a number, a likely cause and the next command each.",
                  no_args_is_help=True)
JsonFile = Annotated[Path | None, typer.Option("--json", help="write the report for programs into this file, too")]


@app.callback()
def check() -> None:
    """Is it healthy? Checks with a number, a likely cause and the next command each."""


@app.command()
def policy(path: Annotated[str, typer.Argument(help="a checkpoint's folder, or its name on the Hub")],
           json_file: JsonFile = None,
           dataset: Annotated[Path | None, typer.Option(help="the data it learned from, or should know")] = None,
           ) -> None:
    """Asks a policy everything that crashes nothing and costs a day: moves no arm, takes up to a minute."""
    from smolkit.smolvla.checks import check_policy
    answer(f"policy {path}", lambda: check_policy(path, dataset), json_file)


@app.command("dataset")
def dataset_(path: Annotated[str, typer.Argument(help="a LeRobot dataset's folder, or its name on the Hub")],
             json_file: JsonFile = None,
             card: Annotated[Path | None, typer.Option(help="write the quality card, a page with pictures, to this "
                                                            "FILE.html")] = None) -> None:
    """Asks a dataset whether it is whole (files, counters, times, videos, statistics) and makes sense to learn from."""
    from smolkit.data.checks.card import quality_card

    def ask() -> Report:
        found = quality_card(path)
        if card is not None:
            save(card, found.html())
        return found
    answer(f"dataset {path}", ask, json_file)


def answer(title: str, ask: Callable[[], Report], json_file: Path | None) -> None:
    """Asks, tells, and ends with the report's exit code; an error while asking is told and written, too."""
    try:
        report = ask()
    except Exception as error:                      # 1 says red: whatever went wrong in asking must not end with it
        told = error if isinstance(error, SmolkitError) else _unforeseen(title, error)
        about = {"code": told.code, "expected": told.expected, "found": told.found, "cause": told.cause,
                 "next_step": told.next_step}
        write(json_file, {"title": title, "ok": False, "error": about, "checks": []})
        raise told from error
    finish(report, json_file)


def _unforeseen(title: str, error: Exception) -> SmolkitError:
    return SmolkitError("SK588", f"a {title.partition(' ')[0]} that can be asked", f"{type(error).__name__}: {error}",
                        "something that no check knows yet: files that contradict each other, too little memory",
                        f"compare the files of {title} with those of one that works")


def write(json_file: Path | None, content: dict) -> None:
    """Writes a report for programs, if one was asked for; an older one never outlives a new answer."""
    if json_file is not None:
        save(json_file, json.dumps(content, indent=2))


def save(path: Path, text: str) -> None:
    """Writes a file that was asked for; SK589 where it cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SmolkitError("SK589", "a report that can be written", f"{path}: {error.strerror}",
                           "the folder does not exist, is not yours, or its disk is full",
                           "name a file in a folder of your own") from error


def finish(report: Report, json_file: Path | None = None) -> None:
    """Prints a report, writes it for programs if asked, and ends with its exit code."""
    show(report)
    write(json_file, report.as_dict())
    raise typer.Exit(0 if report.ok else 1)


def show(report: Report) -> None:
    """A line for each check, green or red; under a red one its likely cause and the next step."""
    console, red = Console(soft_wrap=True), len(report.red())
    console.print(report.title, style="bold", markup=False, highlight=False)
    for check in report.checks:
        console.print(check.text(), style="green" if check.ok else "red", markup=False, highlight=False)
    console.print("all green" if report.ok else f"{red} of {len(report.checks)} red", style="bold", highlight=False)
