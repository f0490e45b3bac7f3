"""Runs the lessons as a learner without a robot would: every cell, top to bottom, in every lane that needs no arm.

    failed = run_all(python, runs(["notebooks/00_tour.ipynb"]), quick=True)

Each run has a folder and sessions of its own: what it makes is made anew, and two lessons at a time do not meet
at one emulated arm. Standard library only, and old syntax, like all of scripts/.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from scripts.bootstrap import REPO, say

TOUR = "notebooks/00_tour.ipynb"
LANES = ("sim", "recorded")                     # `real` needs an arm
AT_A_TIME = 2                                   # a lesson waits for its arm most of the time; the tour never waits
SECONDS_PER_CELL = "1200"                       # the tour's longest stage, on a slow laptop
LOOK_S = 0.2


class Run:
    """One lesson in one lane."""

    def __init__(self, notebook: str, lane: str) -> None:
        self.name, self.tour = f"{Path(notebook).stem} [{lane}]", notebook == TOUR
        self._notebook, self._lane = notebook, lane

    def start(self, python: Path, quick: bool) -> None:
        """nbval-lax: no cell may fail; outputs are compared only where a cell asks for it."""
        self._quick, self.folder = quick, Path(tempfile.mkdtemp(prefix="smolkit-notebook-"))
        sessions = self.folder / "sessions"
        sessions.mkdir(mode=0o700)
        variables = {"SMOLKIT_LANE": self._lane, "SMOLKIT_QUICK": "1" if quick else "",
                     "SMOLKIT_OUTPUTS": str(self.folder), "SMOLKIT_SESSIONS": str(sessions)}
        with open(str(self.folder / "log.txt"), "w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax",
                 "--nbval-cell-timeout", SECONDS_PER_CELL, self._notebook],
                cwd=str(REPO), env={**os.environ, **variables}, stdout=log, stderr=subprocess.STDOUT)

    def over(self) -> bool:
        return self._process.poll() is not None

    def verdict(self) -> bool:
        """Did it pass? Says so; waits for its end."""
        self._process.wait()
        said = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip() or "silence"
        wrong = tour_faults(self.folder, self._quick) if self.tour else ""
        passed = self._process.returncode == 0 and not wrong
        if not passed:
            print(said)
        say(f"{self.name}{', quick' if self._quick else ''}: {wrong or said.splitlines()[-1].strip('= ')}")
        if passed:
            shutil.rmtree(str(self.folder), ignore_errors=True)
        else:
            say(f"{self.name} failed; what it made is in {self.folder}")
        return passed


def runs(notebooks: list) -> list:
    """Every lesson in every lane that it has; the tour first, which has one lane."""
    return [Run(name, lane) for name in sorted(notebooks, key=lambda name: (name != TOUR, name))
            for lane in (LANES[:1] if name == TOUR else LANES)]


def run_all(python: Path, waiting: list, quick: bool = False) -> list:
    """Runs them, two at a time where that is faster; the names of those that failed, whose folders stay."""
    waiting, running, failed = list(waiting), [], []
    try:
        while waiting or running:
            while waiting and _may_begin(waiting[0], running):
                running.append(waiting.pop(0))
                running[-1].start(python, quick)
            time.sleep(LOOK_S)
            for run in [run for run in running if run.over()]:
                running.remove(run)
                if not run.verdict():
                    failed.append(run.name)
    except KeyboardInterrupt:                   # it reached the runs, too: they end their kernels, and arms
        for run in running:
            run.verdict()
        raise
    return failed


def _may_begin(run: Run, running: list) -> bool:
    """The tour keeps both cores busy by itself."""
    return not running or (len(running) < AT_A_TIME and not run.tour and not any(other.tour for other in running))


def tour_faults(folder: Path, quick: bool) -> str:
    """What is wrong with the tour's report, or nothing. A quick tour proves its stages, not its policy."""
    report = folder / ("tour-quick" if quick else "tour") / "report.json"
    if not report.is_file():
        return f"it wrote no {report.relative_to(folder).as_posix()}"
    content = json.loads(report.read_text(encoding="utf-8"))
    red = [stage["name"] for stage in content["stages"] if not stage["ok"]]
    if red or not content["stages"]:
        return f"these stages were red: {', '.join(red) or 'there were none at all'}"
    return "" if quick or content["ok"] is True else "its report is red"
