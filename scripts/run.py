"""The targets of the Makefile, for every system: `python3 -m scripts.run tour` is `make tour`.

Each target makes `.venv` first when it is not there (scripts/bootstrap.py), then runs its steps and
ends with the first failing step's exit status. Ctrl-C ends with 130, after the step has saved its work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scripts.bootstrap import REPO, VENV, ensure, say, stop
from scripts.notebooks import run_all, runs

# Loadfile keeps a file's tests in one process: they share what they built. Unordered, it ends with the files of
# fewest tests, which are the slowest, and one process waits for the other; in order it ends with small doctests.
PARALLEL = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]


def step(python: Path, *arguments: str) -> None:
    """One command in the environment; a failure ends the target with the same status."""
    threads = {"OMP_NUM_THREADS": "1"} if "-n" in arguments else {}    # two processes already fill two cores
    status = wait_through_ctrl_c(subprocess.Popen([str(python), "-m", *arguments], cwd=REPO,
                                                  env={**os.environ, **threads}))
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


def run_notebooks(python: Path, quick: bool = False) -> None:
    """Every lesson, in every lane that needs no arm; all are tried before the first failure ends the target."""
    failed = run_all(python, runs(notebooks()), quick)
    if failed:
        stop(f"not every lesson ran: {', '.join(failed)}")


def install(python: Path) -> None:
    say("ready: `make tour` is the whole story, `make lab` opens the lessons")


def tour(python: Path) -> None:
    step(python, "smolkit", "tour")


def test(python: Path) -> None:
    step(python, "ruff", "check", "--quiet", ".")
    step(python, "pytest", "-q", "-m", "not browser and not slow", *PARALLEL)
    run_notebooks(python, quick=True)


def check(python: Path) -> None:
    test(python)
    step(python, "pytest", "-q", "-m", "slow", *PARALLEL, "tests")
    step(python, "pytest", "-q", "-m", "browser", "tests/browser")
    run_notebooks(python)


def lab(python: Path) -> None:
    folder = "notebooks" if (REPO / "notebooks").is_dir() else "."
    step(python, "jupyterlab", "--notebook-dir", folder)


def notebook(python: Path) -> None:
    """One lesson, run from top to bottom into a page: `make notebook N=00`, or `scripts.run notebook 00`."""
    number = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("N", "")
    found = notebooks(f"{number}_*.ipynb") if number else []
    if len(found) != 1:
        stop(f"which notebook? N={number or '(nothing)'} names {len(found)} of them: make notebook N=00")
    # Without the widgets' state a page shows their pictures; with it, it would ask the network for a program.
    step(python, "nbconvert", "--execute", "--to", "html", "--ExecutePreprocessor.store_widget_state=False",
         "--output-dir", "outputs/notebooks", found[0])


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
