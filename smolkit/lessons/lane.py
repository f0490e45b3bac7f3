"""The lane of a lesson: which world is at the far end of the wire.

    >>> lane("sim")
    'sim'
    >>> lane("simulation")
    Traceback (most recent call last):
    ...
    smolkit.report.SmolkitError: SK820 expected one of the lanes sim, recorded, real
      found: 'simulation'
      likely cause: the lane is misspelled
      next: set LANE = "sim" in the lesson's first cell

`sim`: emulated servos, a simulated bench. `recorded`: shipped data, nothing moves. `real`: the arm on the desk.
`SMOLKIT_OUTPUTS` and `SMOLKIT_QUICK` are how tests run lessons: in a folder of their own, in seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

from smolkit.report import SmolkitError

LANES = ("sim", "recorded", "real")
COURSE = Path(__file__).parents[2]                 # notebooks/, datasets/ and outputs/ of the clone


def lane(name: str) -> str:
    """The lane, checked; `SMOLKIT_LANE` overrides the notebook's choice, for tests of all three."""
    name = os.environ.get("SMOLKIT_LANE") or name
    if name not in LANES:
        raise SmolkitError("SK820", f"one of the lanes {', '.join(LANES)}", repr(name), "the lane is misspelled",
                           'set LANE = "sim" in the lesson\'s first cell')
    return name


def quick() -> bool:
    """Is this a test's run, which wants seconds and no polish?"""
    return os.environ.get("SMOLKIT_QUICK") == "1"


def outputs(lesson: str) -> Path:
    """The lesson's own folder under outputs/, made; what a learner hands in lies there."""
    folder = Path(os.environ.get("SMOLKIT_OUTPUTS") or COURSE / "outputs") / lesson
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def dataset(name: str) -> Path:
    """A shipped folder of `datasets/`; raises SK821 where the course was not cloned with it."""
    folder = COURSE / "datasets" / name
    if not folder.is_dir():
        raise SmolkitError("SK821", f"recorded data in datasets/{name}", "no such folder",
                           "the package was installed without the course", "clone the course and open its notebooks")
    return folder
