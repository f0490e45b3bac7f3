"""Solutions of `notebooks/02_camera_setup.ipynb`. For teachers; a test runs them against the checks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from smolkit.cameras.checks import check_cameras
from smolkit.cameras.passport import Passport, save_passport
from smolkit.lessons.camera_checks import first_number
from smolkit.lessons.camera_desk import CameraDesk
from smolkit.lessons.camera_faults import CHECKS, Case

# 2.2: any honest guess passes, as this one, five times too large. The lesson then finds 0.9, 7.5 and 2.4 px.
prediction = {"front, 64 px": 5, "front, 512 px": 40, "wrist, 64 px": 10}
# 2.5 for the case that the lesson comes with: 20 of 20 pictures are the same one. `diagnose` solves any case.
diagnosis = {"role": "front", "fault": "frozen", "evidence": 20}


def rate_and_dropped(captured_s: list[float], fps: float) -> tuple[float, int]:
    """2.1: gaps over seconds; what a gap lacks is its periods less one, rounded, if it is longer than 1.5."""
    gaps = [after - before for before, after in pairwise(captured_s)]
    dropped = sum(max(1, round(gap * fps) - 1) for gap in gaps if gap * fps > 1.5)
    return len(gaps) / sum(gaps), dropped


def fit(height: int, width: int, side: int) -> tuple[int, int, int, int]:
    """2.3: one ratio for both sides, and the rest on top and on the left."""
    ratio = max(height, width) / side
    tall, wide = int(height / ratio), int(width / ratio)
    return tall, wide, side - tall, side - wide


def make_passports(desk: CameraDesk, folder: Path) -> list[Path]:
    """2.4: four seconds of a moving arm, then one file each."""
    film = desk.film()
    return [save_passport(passport, folder) for passport in desk.take_passports(film).values()]


def diagnose(case: Case, passports: Mapping[str, Passport]) -> dict[str, Any]:
    """2.5: swapped cameras also stand in the wrong place, so "moved" is the last thing to believe."""
    red = check_cameras(case.films, passports).red()
    for name in sorted(CHECKS, key=lambda name: name == "moved"):
        for check in red:
            if check.code == CHECKS[name]:
                return {"role": check.name.split()[0], "fault": name, "evidence": first_number(check.found)}
    return {"role": None, "fault": None, "evidence": None}
