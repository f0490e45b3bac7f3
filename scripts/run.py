"""The targets of the Makefile, for every system: `python3 -m scripts.run tour` is `make tour`.

Each target makes `.venv` first when it is not there (scripts/bootstrap.py), then runs its steps and
ends with the first failing step's exit status. Ctrl-C ends with 130.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scripts.bootstrap import REPO, VENV, ensure, say, stop

# Loadfile keeps a file's tests, and a notebook's cells, in one process: they share what they built.
PARALLEL = ["-n", "2", "--dist", "loadfile"]
QUICK_NOTEBOOKS = ()                            # names of those under 60 s: `make test` runs them too
SECONDS_PER_CELL = "1200"                       # the tour's longest stage, on a slow laptop


def step(python: Path, *arguments: str) -> None:
    """One command in the environment; a failure ends the target with the same status."""
    threads = {"OMP_NUM_THREADS": "1"} if "-n" in arguments else {}    # two processes already fill two cores
    done = subprocess.run([str(python), "-m", *arguments], cwd=REPO, env={**os.environ, **threads})
    if done.returncode:
        raise SystemExit(done.returncode)


def notebooks(pattern: str = "*.ipynb") -> list:
    return sorted(str(path.relative_to(REPO)) for path in REPO.glob(f"notebooks/{pattern}"))


def run_notebooks(python: Path, paths: list) -> None:
    """Every cell top to bottom; outputs are compared where a cell asks for it (nbval-lax)."""
    if paths:
        step(python, "pytest", "-q", "--nbval-lax", "--nbval-cell-timeout", SECONDS_PER_CELL, *PARALLEL,
             *paths)


def install(python: Path) -> None:
    say("ready: `make tour` is the whole story, `make lab` opens the lessons")


def tour(python: Path) -> None:
    step(python, "smolkit", "tour")


def test(python: Path) -> None:
    step(python, "ruff", "check", "--quiet", ".")
    step(python, "pytest", "-q", *PARALLEL, "-m", "not slow")
    run_notebooks(python, [f"notebooks/{name}" for name in QUICK_NOTEBOOKS])


def check(python: Path) -> None:
    test(python)
    if any("mark.slow" in path.read_text(encoding="utf-8") for path in REPO.glob("tests/*/test_*.py")):
        step(python, "pytest", "-q", *PARALLEL, "-m", "slow", "tests")
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
    """Removes what was made: `.venv`, caches and `outputs/`."""
    for name in (".venv", "outputs", "build", ".pytest_cache", ".ruff_cache", ".hypothesis"):
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
