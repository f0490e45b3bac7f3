"""What happened to the arm, in lines that a person can read: every stop, transition and limited command.

    >>> log = IncidentLog()
    >>> log.write(0.5, "stop", "HOLD", "SK313", "front: 10 times the same picture")
    >>> print(log.text())
       0.50 s  stop        HOLD     SK313 front: 10 times the same picture

One JSON object a line, written and flushed at once: what was logged survives the process that logged it. A thread
writes: a home folder on a network that hangs must not keep a stop waiting.
"""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.report import SmolkitError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT = 5000                        # entries in memory; the file keeps all
PATIENCE_S = 0.05                  # for the file: many times what a disk needs


@dataclass(frozen=True)
class Incident:
    """One line of the log; `moment_s` is monotonic, as all times are."""

    moment_s: float
    kind: str                      # "state", "stop", "warning", "limited", "rejected", "note"
    state: str                     # of the arm, afterwards
    code: str
    words: str

    def line(self) -> str:
        """The incident in one line."""
        return f"{self.moment_s:7.2f} s  {self.kind:10s}  {self.state:7s}  {self.code:5s} {self.words}".rstrip()


class IncidentLog:
    """Appends to a file (none: memory only). A disk that is full stops no arm: memory keeps the tail."""

    def __init__(self, path: Path | None = None):
        self.path = path
        self.entries: deque[Incident] = deque(maxlen=KEPT)
        self.lost = 0              # lines that could not be written
        self._limits: tuple[str, ...] = ()
        self._lines: queue.Queue[str] = queue.Queue(KEPT)
        if path is not None:
            threading.Thread(target=self._append, args=(path,), name="incident log", daemon=True).start()

    def write(self, moment_s: float, kind: str, state: str, code: str, words: str) -> None:
        """One incident, to memory and file."""
        incident = Incident(round(moment_s, 4), kind, state, code, words)
        self.entries.append(incident)
        if self.path is not None:
            self._to_file(json.dumps(asdict(incident), ensure_ascii=False) + "\n")

    def _to_file(self, line: str) -> None:
        """Waits until it is there, unless the disk is known to hang."""
        lines, hangs = self._lines, self._lines.unfinished_tasks
        try:
            lines.put_nowait(line)
        except queue.Full:
            self.lost += 1
        with lines.all_tasks_done:
            lines.all_tasks_done.wait_for(lambda: not lines.unfinished_tasks, 0 if hangs else PATIENCE_S)

    def limited(self, moment_s: float, state: str, reasons: tuple[str, ...]) -> None:
        """What the envelope held back: told when the reasons change, not thirty times a second."""
        if reasons != self._limits:
            self._limits = reasons
            self.write(moment_s, "limited", state, "", ", ".join(reasons) or "limits hold nothing back any more")

    def _append(self, path: Path) -> None:
        while True:
            line = self._lines.get()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError:
                self.lost += 1
            self._lines.task_done()

    def text(self, last: int = 50) -> str:
        """The last incidents, one a line."""
        return "\n".join(entry.line() for entry in list(self.entries)[-last:])


def read_incidents(path: Path) -> list[Incident]:
    """A log from its file; a last line that was cut off by a crash is left out.

    Errors: SK323 where the file is missing or another line is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Incident(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number < len(lines):
                raise _damaged(path, f"line {number}: {error}") from error
    return found


def plot_incidents(entries: list[Incident]) -> Figure:
    """States over time, with the stops marked and named."""
    from smolkit.plotting import JOINT_COLORS, figure
    from smolkit.safety.states import State
    levels = {str(state): row for row, state in enumerate(State)}
    drawing, axis = figure(height=2.6)
    times = [entry.moment_s for entry in entries]
    axis.step(times, [levels[entry.state] for entry in entries], where="post", color=JOINT_COLORS[0])
    for entry in entries:
        if entry.kind == "stop":
            axis.plot(entry.moment_s, levels[entry.state], "o", color=JOINT_COLORS[1])
            axis.annotate(entry.code, (entry.moment_s, levels[entry.state]), xytext=(4, 4),
                          textcoords="offset points", fontsize=8)
    axis.set_yticks(list(levels.values()), list(levels))
    stops = sum(entry.kind == "stop" for entry in entries)
    axis.set(xlabel="time (s)", title=f"{stops} stop{'s' * (stops != 1)}, and what the arm did")
    return drawing


def _damaged(path: Path, found: str) -> SmolkitError:
    return SmolkitError("SK323", f"an incident log at {path}", found, "the file was moved or edited by hand",
                        "choose another log; the arm does not need it")
