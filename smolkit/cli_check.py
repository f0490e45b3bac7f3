"""The checks from a terminal: `smolkit check policy FOLDER`. Exit codes: 0 green, 1 red, 2 unreadable.

    smolkit check policy outputs/tour/policy
    smolkit check policy lerobot/smolvla_base --json report.json     # by its name on the Hub, once it is in the cache
    smolkit check policy my_policy --dataset my_recording            # with its data, more can be told
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smolkit.report import Report

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
    finish(check_policy(path, dataset), json_file)


def finish(report: Report, json_file: Path | None = None) -> None:
    """Prints a report, writes it for programs if asked, and ends with its exit code."""
    show(report)
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_dict(), indent=2), encoding="utf-8")
    raise typer.Exit(0 if report.ok else 1)


def show(report: Report) -> None:
    """A line for each check, green or red; under a red one its likely cause and the next step."""
    console, red = Console(soft_wrap=True), len(report.red())
    console.print(report.title, style="bold", markup=False, highlight=False)
    for check in report.checks:
        console.print(check.text(), style="green" if check.ok else "red", markup=False, highlight=False)
    console.print("all green" if report.ok else f"{red} of {len(report.checks)} red", style="bold", highlight=False)
