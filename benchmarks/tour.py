"""Keeps the numbers of a finished tour: `python -m benchmarks.tour outputs/tour/report.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.measured import Row, keep


def rows(report: dict) -> list[Row]:
    """Success of the policy and its controls, and the seconds of every stage."""
    found = [Row("success on unseen scenes", report["success_rate"], "share", report["trials"])]
    found += [Row(f"success of the control {name}", row["success_rate"], "share", row["trials"])
              for name, row in report["controls"].items()]
    found += [Row(f"stage {stage['name']}", stage["seconds"], "s", 1) for stage in report["stages"]]
    return [*found, Row("all stages", report["total_seconds"], "s", 1)]


if __name__ == "__main__":
    kept = rows(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    keep("tour", kept)
    print("\n".join(f"{row.what:40} {row.value:8.4g} {row.unit}" for row in kept))
