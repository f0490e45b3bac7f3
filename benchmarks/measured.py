"""Where measurements go: one row a number in measured.csv, with the date, the machine and the versions.

    keep("loop", [Row("physics, place", 41.0, "x real time", n=3)])
"""

from __future__ import annotations

import csv
import platform
import subprocess
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from smolkit.machine import free_cores

FILE = Path(__file__).with_name("measured.csv")
COLUMNS = ("date", "benchmark", "what", "value", "unit", "n", "machine", "versions", "commit")
LIBRARIES = ("numpy", "mujoco", "torch")


@dataclass(frozen=True)
class Row:
    """One measured number; `n` is how many runs, scenes or pictures it was taken from."""

    what: str
    value: float
    unit: str
    n: int


def keep(benchmark: str, rows: list[Row]) -> None:
    """Appends the rows to measured.csv, which begins with the names of its columns."""
    here = (machine(), versions(), commit())
    with FILE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerows((date.today(), benchmark, row.what, f"{row.value:.4g}", row.unit, row.n, *here)
                         for row in rows)


def machine() -> str:
    """Cores that we may use, and the processor's name as the system tells it."""
    return f"{free_cores()} cores, {_processor()}"


def versions() -> str:
    return "; ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)])


def commit() -> str:
    """The commit that was measured; `-dirty` where files differed from it, `unknown` outside of git."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True,
                          cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
