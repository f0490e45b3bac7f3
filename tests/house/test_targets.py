"""scripts/run.py: Ctrl-C leaves time to save, a red tour is no success, and possessions stay."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import notebooks, run
from tests.paths import REPO

# Stands for the tour: on Ctrl-C it finishes its step, which takes longer than anybody's patience, and saves.
SLOW_TO_STOP = """
import signal, sys, time
from pathlib import Path

def save(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(1.5)
    Path("{folder}", "saved").write_text("all of it")
    sys.exit(130)

signal.signal(signal.SIGINT, save)
Path("{folder}", "started").touch()
time.sleep(60)
"""
TARGET = "import sys; from scripts.run import step; step(sys.executable, 'slow_to_stop')"


def wait_for(path: Path, patience_s: float = 30.0) -> None:
    begin_s = time.monotonic()
    while not path.exists():
        assert time.monotonic() - begin_s < patience_s, f"no {path.name}"
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to send Ctrl-C to")
@pytest.mark.parametrize("front", ["make", "python"])
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_waits_until_the_work_is_saved(tmp_path: Path, front: str, presses: int) -> None:
    if front == "make" and not shutil.which("make"):
        pytest.skip("no make here")
    (tmp_path / "slow_to_stop.py").write_text(SLOW_TO_STOP.format(folder=tmp_path))
    (tmp_path / "Makefile").write_text(f"tour:\n\t@{sys.executable} -c \"{TARGET}\"\n")
    command = ["make", "-f", str(tmp_path / "Makefile")] if front == "make" else [sys.executable, "-c", TARGET]
    paths = os.pathsep.join([str(tmp_path), str(REPO)])
    # A group of its own: a terminal sends Ctrl-C to all processes of the group in front.
    with subprocess.Popen(command, cwd=REPO, env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
                          stderr=subprocess.DEVNULL) as target:
        wait_for(tmp_path / "started")
        for _ in range(presses):
            os.killpg(target.pid, signal.SIGINT)
            time.sleep(0.3)
        status = target.wait()
    if front == "make" and presses == 2:        # make itself goes at once, what it started goes on saving
        wait_for(tmp_path / "saved")
    else:
        assert status == {"make": -signal.SIGINT, "python": 130}[front]
    assert (tmp_path / "saved").read_text() == "all of it"


STAGES = [{"name": "record", "seconds": 1.0, "ok": True}, {"name": "train", "seconds": 1.0, "ok": True}]


@pytest.mark.parametrize(("content", "quick", "fault"), [
    ({"ok": True, "stages": STAGES}, False, ""),
    ({"ok": False, "stages": STAGES}, False, "report is red"),
    ({"ok": False, "stages": STAGES}, True, ""),
    ({"ok": True, "stages": [*STAGES, {"name": "look", "seconds": 1.0, "ok": False}]}, True, "red: look"),
    ({"ok": True, "stages": []}, True, "none at all"),
    (None, True, "tour-quick/report.json"),
])
def test_a_tour_that_did_not_work_is_a_fault(tmp_path: Path, content: dict | None, quick: bool, fault: str) -> None:
    folder = tmp_path / ("tour-quick" if quick else "tour")
    folder.mkdir()
    if content is not None:
        (folder / "report.json").write_text(json.dumps(content))
    found = notebooks.tour_faults(tmp_path, quick)
    assert (fault in found) if fault else not found


def test_clean_keeps_what_was_recorded_and_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REPO", tmp_path)
    for name in (".venv/lib", "outputs/tour", "smolkit/__pycache__", ".ruff_cache"):
        (tmp_path / name).mkdir(parents=True)
    run.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "smolkit"]
    assert (tmp_path / "outputs" / "tour").is_dir() and not (tmp_path / "smolkit" / "__pycache__").exists()
