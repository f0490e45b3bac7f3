"""A look at the recording before anything learns from it: counts, ranges, frozen pictures, lag.

    result = inspect(Path("outputs/tour/dataset"), settings)
    result["checks"]["ok"]
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from smolkit.data.inspection import checks, count
from smolkit.data.reader import Dataset
from smolkit.report import Report
from smolkit.tour.settings import TourSettings


def inspect(root: Path, settings: TourSettings) -> dict:
    """Checks a recording; the result holds the report and what the figures need."""
    with closing(Dataset(root)) as dataset:
        arrays = dataset.to_arrays()
    episodes = len(arrays.starts) - 1
    report = Report("the recording", (count(episodes, settings.demonstrations), *checks(arrays)))
    return {"ok": report.ok, "checks": report.as_dict(), "episodes": episodes, "frames": len(arrays),
            "tasks": list(arrays.tasks)}
