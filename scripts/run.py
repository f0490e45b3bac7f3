"""The targets of the Makefile, for every system: `python3 -m scripts.run tour` is `make tour`.

Each target makes `.venv` first when it is not there (scripts/bootstrap.py), then runs its steps and
ends with the first failing step's exit status. Ctrl-C ends with 130, after the step has saved its work.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.bootstrap import REPO, VENV, ensure, say, stop

# Loadfile keeps a file's tests in one process: they share what they built.
PARALLEL = ["-n", "2", "--dist", "loadfile"]
TOUR_NOTEBOOK = "notebooks/00_tour.ipynb"
QUICK_NOTEBOOKS = (TOUR_NOTEBOOK,)              # SMOLKIT_QUICK brings these to a minute or two: `make test` runs them
SECONDS_PER_CELL = "1200"                       # the tour's longest stage, on a slow laptop


def step(python: Path, *arguments: str, **environment: str) -> None:
    """One command in the environment; a failure ends the target with the same status."""
    threads = {"OMP_NUM_THREADS": "1"} if "-n" in arguments else {}    # two processes already fill two cores
    variables = {**os.environ, **threads, **environment}
    status = wait_through_ctrl_c(subprocess.Popen([str(python), "-m", *arguments], cwd=REPO, env=variables))
    if status:
        raise SystemExit(status)


def wait_through_ctrl_c(child: subprocess.Popen) -> int:
    """The child's exit status. Ctrl-C reaches the child by itself: it saves and ends, however long that takes."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def notebooks(pattern: str = "*.ipynb") -> list:
    return sorted(path.relative_to(REPO).as_posix() for path in REPO.glob(f"notebooks/{pattern}"))


def run_notebooks(python: Path, paths: list, quick: bool = False) -> None:
    """Every cell top to bottom; outputs are compared where a cell asks for it (nbval-lax).

    What they make goes to a fresh folder, so that nothing is taken from earlier runs. One after the other:
    a lesson keeps both cores busy by itself.
    """
    if not paths:
        return
    folder = Path(tempfile.mkdtemp(prefix="smolkit-notebooks-"))
    try:
        step(python, "pytest", "-q", "--nbval-lax", "--nbval-cell-timeout", SECONDS_PER_CELL, *paths,
             SMOLKIT_OUTPUTS=str(folder), SMOLKIT_QUICK="1" if quick else "")
        wrong = tour_faults(folder, quick) if TOUR_NOTEBOOK in paths else ""
        if wrong:
            stop(f"{TOUR_NOTEBOOK} ran, but {wrong}")
    except SystemExit:
        say(f"what the notebooks made is in {folder}")
        raise
    shutil.rmtree(folder, ignore_errors=True)


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


def install(python: Path) -> None:
    say("ready: `make tour` is the whole story, `make lab` opens the lessons")


def tour(python: Path) -> None:
    step(python, "smolkit", "tour")


def test(python: Path) -> None:
    step(python, "ruff", "check", "--quiet", ".")
    step(python, "pytest", "-q", *PARALLEL)
    run_notebooks(python, [name for name in notebooks() if name in QUICK_NOTEBOOKS], quick=True)


def check(python: Path) -> None:
    test(python)
    run_notebooks(python, notebooks())


def lab(python: Path) -> None:
    folder = "notebooks" if (REPO / "notebooks").is_dir() else "."
    step(python, "jupyterlab", "--notebook-dir", folder)


def notebook(python: Path) -> None:
    """One lesson, run from top to bottom into a page: `make notebook N=00`, or `scripts.run notebook 00`."""
    number = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("N", "")
    found = notebooks(f"{number}_*.ipynb") if number else []
    if len(found) != 1:
        stop(f"which notebook? N={number or '(nothing)'} names {len(found)} of them: make notebook N=00")
    step(python, "nbconvert", "--execute", "--to", "html", "--output-dir", "outputs/notebooks", found[0])


def clean() -> None:
    """Removes `.venv` and caches. Datasets and policies under `outputs/` are possessions: they stay."""
    for name in (".venv", "build", ".pytest_cache", ".ruff_cache", ".hypothesis"):
        shutil.rmtree(REPO / name, ignore_errors=True)
    for path in (*REPO.glob("*.egg-info"), *REPO.glob("[!.]*/**/__pycache__")):
        shutil.rmtree(path, ignore_errors=True)


TARGETS = {run.__name__: run for run in (install, tour, test, check, lab, notebook)}


def main(name: str) -> None:
    if name == "clean":
        return clean()
    if name not in TARGETS:
        stop(f"no target {name!r}; there are: {', '.join([*TARGETS, 'clean'])}")
    had_environment, started_s = VENV.is_dir(), time.monotonic()
    TARGETS[name](ensure())
    if name in ("test", "check"):
        since = "with the installation" if not had_environment else "in all"
        say(f"`{name}` passed, {time.monotonic() - started_s:.0f} s {since}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "install")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
