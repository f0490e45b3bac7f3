"""The command line: `smolkit tour`, `smolkit doctor`, `smolkit find-port`.

Exit codes: 0 green, 1 red, 2 an error that says what to do, 130 Ctrl-C (run the same command again to go on).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from smolkit.report import SmolkitError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="From a box of servos to an SO-101 arm that obeys a sentence.")
STAGES = {"check": "find and check the arm", "calibrate": "calibrate it", "record": "record demonstrations",
          "look": "look at the data", "train": "train SmolVLA", "evaluate": "try unseen scenes",
          "controls": "try it with a part missing", "report": "write the report"}


class Bars:
    """Shows each stage of a tour as one line that fills up."""

    def __init__(self, console: Console):
        self._bars = Progress(TextColumn("{task.description:30}"), BarColumn(28), TimeElapsedColumn(),
                              TextColumn("[dim]{task.fields[note]}"), console=console)
        self._lines: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        if stage not in self._lines:
            self._lines[stage] = self._bars.add_task(STAGES[stage], total=None, note="")
        finished = text in ("done", "red")
        self._bars.update(self._lines[stage], completed=done, total=total or None,
                          note={"done": "✓", "red": "✗ red, see the report"}.get(text, text))
        if finished:
            self._bars.stop_task(self._lines[stage])

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


@app.command()
def tour(out: Annotated[Path, typer.Option(help="where everything goes")] = Path("outputs/tour"),
         quick: Annotated[bool, typer.Option(help="seconds of learning: proves the stages, not the policy")] = False,
         ) -> None:
    """The whole story with no robot: calibrate, record, train, deploy, evaluate, report."""
    from smolkit.tour.run import run_tour
    from smolkit.tour.settings import TourSettings
    from smolkit.tour.settings import quick as quick_settings
    console = Console()
    with Bars(console) as bars:
        finished = run_tour(out, quick_settings() if quick else TourSettings(), bars)
    content = finished.journal.result("report")
    console.print(f"\nworked in {content['success_rate']:.0%} of {content['trials']} unseen scenes (95 % interval "
                  f"{content['wilson_low']:.0%} to {content['wilson_high']:.0%}), "
                  f"{content['total_seconds'] / 60:.1f} minutes\nreport: {finished.folder / 'report.html'}",
                  highlight=False)
    if not content["ok"]:
        red = ", ".join(stage["name"] for stage in content["stages"] if not stage["ok"])
        console.print(f"[red]not good enough: {red}; the report says why")
        raise typer.Exit(1)


@app.command()
def doctor(port: Annotated[str, typer.Argument(help="/dev/ttyACM0, COM3, socket://127.0.0.1:7777")],
           calibration: Annotated[Path | None, typer.Option(help="the arm's calibration file")] = None) -> None:
    """Asks every servo how it is; moves and writes nothing."""
    from smolkit.arm.calibration import Calibration
    from smolkit.arm.find import check_arm
    report = check_arm(port, Calibration.load(calibration) if calibration else None)
    Console().print(report.text(), highlight=False)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def find_port() -> None:
    """Lists the serial ports; the ones that look like an arm's adapter are marked."""
    from smolkit.arm.find import ports
    found = ports()
    for port in found:
        Console().print(f"{'→' if port.like_an_arm else ' '} {port}", highlight=False)
    if not found:
        Console().print("no serial port: is the adapter plugged in, with a cable that carries data?")
    raise typer.Exit(0 if any(port.like_an_arm for port in found) else 1)


def main() -> None:
    """Runs the command line; a teaching error ends it with its four lines and no traceback."""
    try:
        app(standalone_mode=False)
    except SmolkitError as error:
        Console(stderr=True).print(f"[red]{error}", highlight=False)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        Console(stderr=True).print("\ninterrupted: what was finished is kept; run the same command again to go on")
        sys.exit(130)
    except typer.Exit as end:
        sys.exit(end.exit_code)
