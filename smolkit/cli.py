"""The command line: `smolkit tour | doctor | find-port | setup-motors | calibrate | mirror | teleop | check | ...`.

Exit codes: 0 green, 1 red, 2 an error that says what to do, 130 Ctrl-C (run the same command again to go on).
"""

from __future__ import annotations

import errno
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

from smolkit import cli_check, cli_edit, cli_grade, cli_share, cli_teleop, workshop
from smolkit.report import Report, SmolkitError

if TYPE_CHECKING:
    from smolkit.arm.arm_type import ArmType
    from smolkit.arm.calibrate import Bar
    from smolkit.arm.calibration import Calibration


class Teaching(TyperGroup):
    """Commands whose errors teach: four lines instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
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


app = typer.Typer(cls=Teaching, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="From a box of servos to an SO-101 arm that obeys a sentence.")
app.add_typer(workshop.app, name="bench")
app.add_typer(cli_check.app, name="check")
app.add_typer(cli_edit.app, name="edit")
STAGES = {"check": "check the arm", "calibrate": "calibrate it", "record": "record demonstrations",
          "look": "look at the data", "train": "train SmolVLA", "evaluate": "try unseen scenes",
          "controls": "try it with a part missing", "report": "write the report"}
SAID_S = 20.0                                      # between two lines of a log


def say(text: str, style: str = "", to_stderr: bool = False) -> None:
    """Prints plain text: no markup in it, no line broken in the middle of a path."""
    Console(stderr=to_stderr).print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


class Bars(Progress):
    """Shows each stage of a tour as one line that fills up."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description:27}"), BarColumn(28), TimeElapsedColumn(),
                         TextColumn("[dim]{task.fields[note]}"))
        self._bars: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        if stage not in self._bars:
            self._bars[stage] = self.add_task(STAGES[stage], total=None, note="")
        self.update(self._bars[stage], completed=done, total=total or None,
                    note={"done": "✓", "red": "✗ red, see the report"}.get(text, text))
        if text in ("done", "red"):
            self.stop_task(self._bars[stage])


class Lines:
    """The same for a log, where nothing can fill up: a line when a stage ends, or takes long."""

    def __init__(self) -> None:
        self._said_s = self._began_s = 0.0

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        now_s = time.monotonic()
        if text == "begins":
            self._began_s = now_s
        elif text in ("done", "red") or now_s - self._said_s > SAID_S:
            self._said_s = now_s
            note = text if text in ("done", "red") else f"{done} of {total}, {text}"
            say(f"{now_s - self._began_s:6.0f} s  {STAGES[stage]}: {note}")


@app.command()
def tour(out: Annotated[Path, typer.Option(help="an empty folder, or one with an earlier tour")] = Path("outputs/tour"),
         quick: Annotated[bool, typer.Option(help="seconds of learning: proves the stages, not the policy")] = False,
         wall_clock: Annotated[bool, typer.Option(help="the trials in wall time, with a guardian (10 minutes more)")
                               ] = False) -> None:
    """The whole story with no robot: calibrate, record, train, deploy, evaluate, report."""
    from smolkit.tour.report import summarize_tour
    from smolkit.tour.run import run_tour
    from smolkit.tour.settings import TourSettings
    from smolkit.tour.settings import quick as quick_settings
    with Bars() if Console().is_terminal else nullcontext(Lines()) as progress:
        settings = replace(quick_settings() if quick else TourSettings(), wall_clock=wall_clock)
        finished = run_tour(out, settings, progress)
    content = summarize_tour(finished)
    say(f"\nworked in {content['success_rate']:.0%} of {content['trials']} unseen scenes (95 % interval "
        f"{content['wilson_low']:.0%} to {content['wilson_high']:.0%}), {content['total_seconds'] / 60:.1f} minutes"
        f"\nreport: {finished.folder / 'report.html'}")
    if not content["ok"]:
        red = ", ".join(stage["name"] for stage in content["stages"] if not stage["ok"])
        say(f"not good enough: {red}; the report says why", style="red")
        raise typer.Exit(1)


@app.command()
def stop() -> None:
    """Every arm of yours holds where it is, and goes home after a minute; a second stop lets go: they fall."""
    from smolkit.safety.client import stop_all
    stopped = stop_all()
    for arm in stopped:
        say(arm)
    if not stopped:
        say("no arm is guarded for you on this computer; the power switch stops any", to_stderr=True)
    raise typer.Exit(0 if stopped else 1)


PortName = Annotated[str, typer.Argument(help="/dev/ttyACM0, COM3, usb:SERIAL or socket://127.0.0.1:7777")]
TypeName = Annotated[str | None, typer.Option("--type", help="7.4V or 12V: what the labels on the servos say")]


@app.command()
def doctor(port: PortName, calibration: Annotated[Path | None, typer.Option(help="the arm's calibration file")] = None,
           arm_type: TypeName = None,
           repair: Annotated[bool, typer.Option(help="write protections and settings where they differ")] = False,
           arm: Annotated[bool, typer.Option(help="the sheet for a first real arm: ten checks")] = False,
           move: Annotated[bool, typer.Option(help="with --arm: it may move, slowly and by a few degrees")] = False,
           sheet: Annotated[Path, typer.Option(help="with --arm: where the sheet is saved")] = Path("arm-sheet.json"),
           ) -> None:
    """Asks every servo how it is; moves and writes nothing unless told."""
    from smolkit.arm.arm_type import arm_type as typed
    from smolkit.arm.calibration import Calibration
    from smolkit.arm.doctor import check_arm
    from smolkit.arm.find import port_named
    from smolkit.arm.history import check_file
    port, kind = port_named(port), typed(arm_type) if arm_type else None
    taught = Calibration.load(calibration) if calibration else None
    if repair:
        _repair(port, kind)
    report = check_arm(port, taught, kind)
    if calibration:
        report = replace(report, checks=(*report.checks, check_file(calibration)))
    say(report.text())
    if arm:
        report = _acceptance(port, report, calibration, kind, move, sheet)
    raise typer.Exit(0 if report.ok else 1)


def _repair(port: str, kind: ArmType | None) -> None:
    from smolkit.arm.bus import Bus
    from smolkit.arm.configure import check_supply, repair, require_servos
    from smolkit.arm.doctor import type_of
    from smolkit.arm.joints import IDS, servo_name
    with Bus(port) as bus:
        require_servos(bus, IDS)
        if kind:                                   # a wrong one would be written into the servos as their limit
            check_supply(bus, IDS, kind)
        written = repair(bus, IDS, type_of(bus, kind))
    for servo_id, changed in written.items():
        say(f"servo {servo_name(servo_id)}: {', '.join(r.name for r in changed) or 'nothing to write'}")


def _acceptance(port: str, bring_up: Report, calibration: Path | None, kind: ArmType | None, move: bool, sheet: Path,
                ) -> Report:
    """Ten checks on a healthy, calibrated arm: four by hand, six with torque, which the guardian watches."""
    from smolkit.arm import acceptance
    from smolkit.arm.bus import Bus
    from smolkit.arm.calibration import Calibration
    from smolkit.clock import WallClock
    from smolkit.safety.client import GuardedArm
    if not bring_up.ok or calibration is None:
        raise SmolkitError("SK149", "a green bring-up and --calibration FILE before the sheet",
                           "red checks above" if calibration else "no calibration", "the sheet comes last",
                           "mend what is red, smolkit calibrate PORT --out FILE, then run this again")
    taught = Calibration.load(calibration)
    with Bus(port) as bus:
        checks = acceptance.without_torque(bus, taught, WallClock(), say)
    say(Report("without torque", checks).text())
    if move:
        with GuardedArm.start(port, calibration, arm_type=kind.name if kind else "") as guarded:
            checks += acceptance.with_torque(guarded, say)
    else:
        checks += acceptance.not_tried()
    report = Report("first real arm", checks)
    say(report.text())
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "port": port,
             "calibration": taught.fingerprint, "bring_up": bring_up.text()}
    say(f"saved in {acceptance.save_sheet(sheet, about, report)}")
    return report


@app.command()
def find_port(watch: Annotated[bool, typer.Option(help="pull the arm's cable and plug it in again: that one")] = False,
              ) -> None:
    """Lists the serial ports; the ones that look like an arm's adapter are marked."""
    from smolkit.arm.find import ports, replugged
    found = (replugged(tell=say),) if watch else ports()
    for port in found:
        serial = f"  usb:{port.serial}" if port.serial else ""
        say(f"{'→' if port.like_an_arm else ' '} {port.name}  {port.description}{serial}")
    if not found:
        say("no serial port: is the adapter plugged in, with a cable that carries data?")
    raise typer.Exit(0 if watch or any(port.like_an_arm for port in found) else 1)


@app.command()
def setup_motors(port: PortName, arm_type: Annotated[str, typer.Option("--type", help="7.4V or 12V: see the labels")],
                 only: Annotated[list[int] | None, typer.Option(help="give this id alone; may be repeated")] = None,
                 patience_s: Annotated[float, typer.Option(help="seconds without any change until it ends")] = 300.0,
                 ) -> None:
    """Gives new servos their ids, one at a time, from the gripper (6) to the shoulder_pan (1)."""
    from smolkit.arm.arm_type import arm_type as typed
    from smolkit.arm.bus import Bus
    from smolkit.arm.find import port_named
    from smolkit.arm.joints import IDS
    from smolkit.arm.setup_motors import setup_motors as steps
    from smolkit.clock import WallClock
    clock, text = WallClock(), ""
    with Bus(port_named(port)) as bus:
        for step in steps(bus, typed(arm_type), tuple(only or reversed(IDS))):
            if step.text != text:
                say(step.text, style="green" if step.state == "given" else "")
                text, changed_s = step.text, clock.now_s()
            elif clock.now_s() - changed_s > patience_s:
                raise SmolkitError("SK142", f"the next servo within {patience_s:g} s", "no change on the wire",
                                   "nobody is there, or the cable is loose", "run it again; what was given stays")


@app.command()
def calibrate(port: PortName,
              out: Annotated[Path | None, typer.Option(help="the calibration file to write")] = None,
              name: Annotated[str | None, typer.Option(help="instead: the arm's name in LeRobot's folders")] = None,
              role: Annotated[str, typer.Option(help="follower or leader")] = "follower",
              hold_s: Annotated[float, typer.Option(help="seconds to bring the arm into its middle pose")] = 10.0,
              sweep_s: Annotated[float, typer.Option(help="seconds to sweep a joint, at most")] = 60.0,
              release: Annotated[bool, typer.Option(help="cut the torque first: somebody holds the arm")] = False,
              ) -> None:
    """Calibrates a limp arm by hand: hold its middle pose, then move each joint from stop to stop."""
    from smolkit.arm.bus import Bus
    from smolkit.arm.calibrate import CalibrationSession, guided
    from smolkit.arm.find import port_named
    from smolkit.clock import WallClock
    files = _calibration_files(out, name, role)
    with Bus(port_named(port)) as bus:
        session = CalibrationSession(bus, release=release, role=role)
        say("torque is off: the arm is limp")
        with Sweeps() as show:
            say(guided(session, WallClock(), say, show, hold_s=hold_s, patience_s=sweep_s).text())
        calibration = session.accept()
    _keep(calibration, files, role)
    say(f"the servos keep it, too. Next: smolkit doctor {port} --calibration {files[0]}")


def _calibration_files(out: Path | None, name: str | None, role: str) -> tuple[Path, ...]:
    """One file, or both of LeRobot's places, today's and the older versions'."""
    from smolkit.arm.calibration import default_paths
    if (out is None) == (name is None) or role not in ("follower", "leader"):
        raise SmolkitError("SK805", "either --out FILE or --name NAME, and --role follower or leader",
                           f"out {out}, name {name}, role {role}", "an option is missing or misspelled",
                           "smolkit calibrate PORT --out arm.json")
    return (out,) if out else default_paths(name, role)


def _keep(calibration: Calibration, files: tuple[Path, ...], role: str) -> None:
    """Saves the calibration, and says what changed since the one before."""
    from smolkit.arm.calibration import Calibration
    from smolkit.arm.history import diff, keep, kept
    for path in files:
        say(f"saved in {keep(calibration, path)}, fingerprint {calibration.fingerprint}")
        *_, older, newest = (None, None, *kept(path))
        if older:
            say(f"since {older.stem[:17]}: {diff(*(Calibration.load(file, role) for file in (older, newest))).text()}")


class Sweeps(Progress):
    """Six bars on a terminal, (least, present, greatest) tick; where there is none, warnings alone."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description:14}"), BarColumn(28), TextColumn("{task.fields[note]}"),
                         disable=not Console().is_terminal)
        self._bars: dict[str, TaskID] = {}
        self._said = ""

    def __call__(self, bars: tuple[Bar, ...]) -> None:
        for bar in bars:
            if bar.joint not in self._bars:
                self._bars[bar.joint] = self.add_task(bar.joint, total=1.0, note="")
            self.update(self._bars[bar.joint], completed=min(bar.share, 1.0),
                        note=f"{bar.low:5} {bar.present:5} {bar.high:5}  {bar.warning}")
            if self.disable and bar.warning and f"{bar.joint}: {bar.warning}" != self._said:
                self._said = f"{bar.joint}: {bar.warning}"
                say(self._said, style="yellow")


app.command()(cli_teleop.teleop)
app.command()(cli_teleop.mirror)
app.command()(cli_grade.grade)
for share in (cli_share.push, cli_share.pull, cli_share.pack, cli_share.unpack, cli_share.verify):
    app.command()(share)


def main() -> None:
    """Runs the command line."""
    app()
