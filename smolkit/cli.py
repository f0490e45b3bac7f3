"""The command line: `smolkit tour`, `smolkit doctor`, `smolkit find-port`, `smolkit calibrate`.

Exit codes: 0 green, 1 red, 2 an error that says what to do, 130 Ctrl-C (run the same command again to go on).
"""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from smolkit import workshop
from smolkit.report import SmolkitError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="From a box of servos to an SO-101 arm that obeys a sentence.")
app.add_typer(workshop.app, name="bench")
STAGES = {"check": "check the arm", "calibrate": "calibrate it", "record": "record demonstrations",
          "look": "look at the data", "train": "train SmolVLA", "evaluate": "try unseen scenes",
          "controls": "try it with a part missing", "report": "write the report"}


def command(work: Callable[..., Any]) -> Callable[..., Any]:
    """Registers a command whose errors teach: four lines instead of a traceback."""
    @functools.wraps(work)
    def taught(*args: Any, **kwargs: Any) -> Any:
        try:
            return work(*args, **kwargs)
        except SmolkitError as error:
            say(str(error), style="red", to_stderr=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            say("\ninterrupted: what was finished is kept; run the same command again to go on", to_stderr=True)
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            say("the disk is full: what was finished is kept; free some space and run the same command again",
                style="red", to_stderr=True)
            raise typer.Exit(2) from None
    return app.command(name=work.__name__.replace("_", "-"))(taught)


def say(text: str, style: str = "", to_stderr: bool = False) -> None:
    """Prints plain text: no markup in it, no line broken in the middle of a path."""
    Console(stderr=to_stderr).print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """Shows each stage of a tour as one line that fills up."""

    def __init__(self) -> None:
        self._bars = Progress(TextColumn("{task.description:27}"), BarColumn(28), TimeElapsedColumn(),
                              TextColumn("[dim]{task.fields[note]}"))
        self._lines: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        if stage not in self._lines:
            self._lines[stage] = self._bars.add_task(STAGES[stage], total=None, note="")
        self._bars.update(self._lines[stage], completed=done, total=total or None,
                          note={"done": "✓", "red": "✗ red, see the report"}.get(text, text))
        if text in ("done", "red"):
            self._bars.stop_task(self._lines[stage])

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


class Lines:
    """The same for a log, where nothing can fill up: a line when a stage begins, ends, or takes long."""

    def __init__(self, every_s: float = 20.0):
        self._every_s, self._said_s, self._began_s = every_s, 0.0, 0.0

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        now_s = time.monotonic()
        if text == "begins":
            self._began_s = now_s
            return
        finished = text in ("done", "red")
        if finished or now_s - self._said_s > self._every_s:
            self._said_s = now_s
            note = text if finished else f"{done} of {total}, {text}"
            say(f"{now_s - self._began_s:6.0f} s  {STAGES[stage]}: {note}")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to stop."""


@command
def tour(out: Annotated[Path, typer.Option(help="an empty folder, or one with an earlier tour")] = Path("outputs/tour"),
         quick: Annotated[bool, typer.Option(help="seconds of learning: proves the stages, not the policy")] = False,
         ) -> None:
    """The whole story with no robot: calibrate, record, train, deploy, evaluate, report."""
    from smolkit.tour.run import run_tour
    from smolkit.tour.settings import TourSettings
    from smolkit.tour.settings import quick as quick_settings
    with (Bars() if Console().is_terminal else Lines()) as progress:
        finished = run_tour(out, quick_settings() if quick else TourSettings(), progress)
    content = finished.summary()
    say(f"\nworked in {content['success_rate']:.0%} of {content['trials']} unseen scenes (95 % interval "
        f"{content['wilson_low']:.0%} to {content['wilson_high']:.0%}), {content['total_seconds'] / 60:.1f} minutes"
        f"\nreport: {finished.folder / 'report.html'}")
    if not content["ok"]:
        red = ", ".join(stage["name"] for stage in content["stages"] if not stage["ok"])
        say(f"not good enough: {red}; the report says why", style="red")
        raise typer.Exit(1)


@command
def doctor(port: Annotated[str, typer.Argument(help="/dev/ttyACM0, COM3, socket://127.0.0.1:7777")],
           calibration: Annotated[Path | None, typer.Option(help="the arm's calibration file")] = None) -> None:
    """Asks every servo how it is; moves and writes nothing."""
    from smolkit.arm.calibration import Calibration
    from smolkit.arm.find import check_arm
    report = check_arm(port, Calibration.load(calibration) if calibration else None)
    say(report.text())
    raise typer.Exit(0 if report.ok else 1)


@command
def find_port() -> None:
    """Lists the serial ports; the ones that look like an arm's adapter are marked."""
    from smolkit.arm.find import ports
    found = ports()
    for port in found:
        say(f"{'→' if port.like_an_arm else ' '} {port.name}  {port.description}")
    if not found:
        say("no serial port: is the adapter plugged in, with a cable that carries data?")
    raise typer.Exit(0 if any(port.like_an_arm for port in found) else 1)


@command
def calibrate(port: Annotated[str, typer.Argument(help="the arm's port; `smolkit find-port` lists them")],
              out: Annotated[Path, typer.Option(help="the calibration file to write")],
              hold_s: Annotated[float, typer.Option(help="seconds to bring the arm into its middle pose")] = 10.0,
              sweep_s: Annotated[float, typer.Option(help="seconds to sweep every joint")] = 60.0) -> None:
    """Calibrates a limp arm by hand: hold its middle pose, then move every joint from stop to stop."""
    from smolkit.arm.bus import Bus
    from smolkit.arm.calibrate import calibrate as run
    from smolkit.clock import WallClock
    clock = WallClock()

    def hold() -> None:
        say(f"torque is off. Bring every joint to the middle of its range and hold it there: {hold_s:g} s")
        clock.sleep_until(clock.now_s() + hold_s)
        say(f"measured. Now move every joint slowly from stop to stop: {sweep_s:g} s")
        nonlocal end_s
        end_s = clock.now_s() + sweep_s

    end_s = clock.now_s()
    with Bus(port) as bus:
        saved = run(bus, hold, lambda: clock.now_s() < end_s, clock=clock).save(out)
    say(f"saved in {saved}; the servos keep it, too. Next: smolkit doctor {port} --calibration {saved}")


def main() -> None:
    """Runs the command line."""
    app()
