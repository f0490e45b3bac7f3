"""scripts/notebooks.py: each lesson in each lane, apart from the others, and a broken one is named."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

from scripts.notebooks import TOUR, run_all, runs

TELL = """
import os
from pathlib import Path
own = Path(os.environ["SMOLKIT_OUTPUTS"])
assert Path(os.environ["SMOLKIT_SESSIONS"]).parent == own and not (own / "made").exists()
(own / "made").touch()
assert os.environ["SMOLKIT_QUICK"] == "1"
"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write(path: Path, *cells: str) -> str:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                            metadata=KERNEL), path)
    return str(path)


def test_the_tour_has_one_lane_and_comes_first() -> None:
    names = [run.name for run in runs(["notebooks/00_a.ipynb", TOUR, "notebooks/01_b.ipynb"])]
    assert names == ["00_tour [sim]", "00_a [sim]", "00_a [recorded]", "01_b [sim]", "01_b [recorded]"]


def test_a_lesson_that_fails_in_one_lane_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = write(tmp_path / "06_bad.ipynb", TELL, "assert os.environ['SMOLKIT_LANE'] != 'recorded', 'no film'")
    failed = run_all(Path(sys.executable), runs([bad]), quick=True)
    told = capfd.readouterr().out
    assert failed == ["06_bad [recorded]"]
    assert "no film" in told and "smolkit: 06_bad [sim], quick: 2 passed" in told


@pytest.mark.slow
def test_a_tour_without_a_report_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tour = write(tmp_path / "00_tour.ipynb", "1 + 1")
    monkeypatch.setattr("scripts.notebooks.TOUR", tour)
    assert run_all(Path(sys.executable), runs([tour]), quick=True) == ["00_tour [sim]"]
