"""A room with many arms: which one is whose, on which board, with which calibration, and what happened to it.

    >>> import tempfile
    >>> room, monday = Path(tempfile.mkdtemp()), datetime(2026, 3, 2, 9, 30)
    >>> arm = add("blue", "7.4V", usb_serial="5A46083062", folder=room, when=monday)
    >>> lend("blue", "team 3", folder=room, when=monday).holder
    'team 3'
    >>> arm = incident("blue", "gripper at 62 deg C after the grasp lab", folder=room, when=monday)
    >>> print(history("blue", folder=room))
    2026-03-02 09:30  added
    2026-03-02 09:30  lent to team 3
    2026-03-02 09:30  incident: gripper at 62 deg C after the grasp lab

One JSON file per arm: a person can read it, a backup is a copy of the folder, a damaged file costs one arm,
not the list. A file is replaced as a whole, under a lock. The functions are the commands of `smolkit bench`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from smolkit.arm.arm_type import TYPES, arm_type
from smolkit.arm.calibration import Calibration
from smolkit.data.files import Transaction, write_failure
from smolkit.lock import locked
from smolkit.report import SmolkitError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")  # also a file name on every system
HOME = Path("~/.smolkit/bench")
Folder = Annotated[Path, typer.Option(help="where the list is kept")]
When = Annotated[datetime | None, typer.Option(help="when it happened, if not now")]


@dataclass(frozen=True)
class Arm:
    """What the workshop knows of one arm; `holder` is "" while it stands on the shelf."""

    name: str
    kind: str                                  # of its servos, "7.4V" or "12V"
    usb_serial: str                            # of the servo board; CH340 boards have none
    kit: str                                   # path of its kit file
    calibration: str                           # path of its calibration file
    fingerprint: str                           # of that calibration when the arm was added or last came back
    holder: str = ""
    history: tuple[str, ...] = ()              # "2026-03-02 09:30  lent to team 3", local time

    def calibration_state(self) -> str:
        """As registered, CHANGED, or UNREADABLE; none where no file was named."""
        states = {self.fingerprint: "as registered", "": "UNREADABLE"} if self.calibration else {"": "none"}
        return states.get(_fingerprint(self.calibration), "CHANGED")


def _told(answer: Arm | str) -> None:
    typer.echo(answer.history[-1] if isinstance(answer, Arm) else answer)


app = typer.Typer(result_callback=_told, no_args_is_help=True, help="Who has which arm, and what happened to it.")


@app.command()
def add(name: str, kind: Annotated[str, typer.Option("--type", help=" or ".join(TYPES))],
        usb_serial: Annotated[str, typer.Option(help="of its board: smolkit find-port")] = "",
        kit: Annotated[str, typer.Option(help="its kit file")] = "",
        calibration: Annotated[str, typer.Option(help="its calibration file")] = "",
        folder: Folder = HOME, when: When = None) -> Arm:
    """Registers an arm under the name on its label; SK118, SK120, SK822 if a value cannot be."""
    with _locked(folder) as room:
        if _path(room, name).exists():
            raise _refused("a new name", f"there is an arm called {name!r}", "choose another name")
        if same := [other for other in _names(room) if usb_serial and arm(other, room).usb_serial == usb_serial]:
            raise _refused("a board of its own", f"{usb_serial} is the board of {same[0]!r}", "smolkit find-port")
        kit, calibration = (str(Path(path).expanduser().resolve()) if path else "" for path in (kit, calibration))
        known = Calibration.load(calibration).fingerprint if calibration else ""
        return _note(room, Arm(name, arm_type(kind).name, usb_serial, kit, calibration, known), when, "added")


@app.command()
def lend(name: str, to: str, folder: Folder = HOME, when: When = None) -> Arm:
    """Gives an arm to a person or a team; SK822 while somebody has it."""
    with _locked(folder) as room:
        lent, to = arm(name, room), _one_line(to)
        if lent.holder:
            raise _refused(f"{name!r} on the shelf", f"it is with {lent.holder}", f"smolkit bench return {name}")
        return _note(room, replace(lent, holder=to), when, f"lent to {to}")


@app.command(name="return")
def take_back(name: str, note: str = "", folder: Folder = HOME, when: When = None) -> Arm:
    """Takes an arm back; if its calibration file has changed, that is noted, and it is the known one from now."""
    with _locked(folder) as room:
        back = arm(name, room)
        if not back.holder:
            raise _refused(f"{name!r} lent to somebody", "it is on the shelf", "smolkit bench list")
        changed = {"CHANGED": ", calibration changed", "UNREADABLE": ", calibration unreadable"}
        what = f"returned by {back.holder}{changed.get(back.calibration_state(), '')}"
        back = replace(back, holder="", fingerprint=_fingerprint(back.calibration))
        return _note(room, back, when, f"{what}: {_one_line(note)}" if note.strip() else what)


@app.command()
def incident(name: str, what: str, folder: Folder = HOME, when: When = None) -> Arm:
    """Writes down what happened to an arm, lent or not."""
    with _locked(folder) as room:
        return _note(room, arm(name, room), when, f"incident: {_one_line(what)}")


@app.command()
def history(name: str, folder: Folder = HOME) -> str:
    """Everything that happened to an arm, oldest first."""
    return "\n".join(arm(name, folder.expanduser()).history)


@app.command(name="list")
def table(folder: Folder = HOME) -> str:
    """All arms, a line each: voltage, board, holder, calibration; a damaged record hides no other."""
    room, lines = folder.expanduser(), []
    for name in _names(room):
        try:
            one = arm(name, room)
            lines.append(f"{name:16} {one.kind:6} {one.usb_serial or '-':14} {one.holder or 'on the shelf':20} "
                         f"calibration {one.calibration_state()}")
        except SmolkitError as error:
            lines.append(f"{name:16} {error.code} {error.found}")
    return "\n".join(lines) or f"no arm yet in {room}: smolkit bench add NAME --type 7.4V"


def arm(name: str, folder: Path) -> Arm:
    """The record of an arm; SK820 if there is none, SK821 if it is damaged (it is left as it is)."""
    path = _path(folder, name)
    if not path.exists():
        raise SmolkitError("SK820", f"an arm called {name!r} in {folder}", ", ".join(_names(folder)) or "none",
                           "the name is misspelled, or another --folder was meant", "smolkit bench list")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        past = found.pop("history")
        "".join([*found.values(), *past]).encode()     # all of them are texts
        if {*found, "history"} != {field.name for field in fields(Arm)} or found["name"] != name or type(past) is str:
            raise ValueError(f"keys {sorted(found)}, name {found.get('name')!r}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SmolkitError("SK821", f"the record of an arm in {path}", f"{type(error).__name__}: {error}",
                           "the file was edited by hand or damaged; it is left as it is",
                           "repair it with a text editor or put back a copy; the other arms work on") from error
    return Arm(**found, history=tuple(past))


def _note(room: Path, changed: Arm, when: datetime | None, what: str) -> Arm:
    """Saves the arm with one more line in its history."""
    after = replace(changed, history=(*changed.history, f"{when or datetime.now():%Y-%m-%d %H:%M}  {what}"))
    with Transaction(room) as change:
        change.write(f"{after.name}.json", json.dumps(asdict(after), indent=2, ensure_ascii=False).encode())
    return after


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """One writer at a time: the second one waits."""
    room = folder.expanduser()
    try:
        room.mkdir(parents=True, exist_ok=True)
        while (file := locked(room / ".lock")) is None:
            time.sleep(0.02)
    except OSError as error:
        raise write_failure(room, error) from error
    with file:
        yield room


def _names(room: Path) -> list[str]:
    return sorted(path.stem for path in room.glob("*.json"))


def _path(room: Path, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise _refused("a name of small letters, digits and dashes", repr(name), "call it like its label: blue-2")
    return room / f"{name}.json"


def _fingerprint(path: str) -> str:
    """The one that `smolkit doctor` shows; empty where there is no calibration to read."""
    try:
        return Calibration.load(path).fingerprint if path else ""
    except SmolkitError:
        return ""


def _one_line(text: str) -> str:
    words = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if not words:
        raise _refused("a few words", "none", "say who, or what a stranger would have seen")
    return words


def _refused(expected: str, found: str, next_step: str) -> SmolkitError:
    return SmolkitError("SK822", expected, found, "the list and the shelf do not agree, or a typing error", next_step)
