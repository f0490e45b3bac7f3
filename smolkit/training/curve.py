"""The loss curve of a run, kept in memory and written to a CSV file that any program opens.

    >>> import tempfile
    >>> curve = LossCurve(Path(tempfile.mkdtemp()) / "loss.csv")
    >>> curve.add(0, {"loss": 2.0}, elapsed_s=0.1)
    >>> curve.add(1, {"loss": 1.0}, elapsed_s=0.2)
    >>> curve.write()
    >>> print(curve.path.read_text())
    step,elapsed_s,loss
    0,0.100,2
    1,0.200,1
    <BLANKLINE>
    >>> curve.mean_of_last(2)
    1.5
"""

from __future__ import annotations

import csv
from pathlib import Path

from smolkit.training.checkpoint import write_atomically


class LossCurve:
    """One row per step: step, seconds, losses by name."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, float]] = []

    def add(self, step: int, losses: dict[str, float], elapsed_s: float) -> None:
        self.rows.append({"step": step, "elapsed_s": elapsed_s, **losses})

    def cut(self, step: int) -> None:
        """Reads the rows before `step` of an earlier sitting: what came after it is trained again."""
        if self.path.exists():
            self.rows = [row for row in read_curve(self.path) if row["step"] < step]

    def write(self) -> None:
        names = list(self.rows[0]) if self.rows else ["step", "elapsed_s", "loss"]
        lines = [",".join(_text(name, row[name]) for name in names) for row in self.rows]
        write_atomically(self.path, "\n".join([",".join(names), *lines]) + "\n")

    def mean_of_last(self, count: int) -> float:
        """The mean loss of the last `count` steps; nan before the first."""
        last = [row["loss"] for row in self.rows[-count:]]
        return sum(last) / len(last) if last else float("nan")


def read_curve(path: Path) -> list[dict[str, float]]:
    """All rows of a loss curve, oldest first."""
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _text(name: str, value: float) -> str:
    return f"{value:.0f}" if name == "step" else f"{value:.3f}" if name == "elapsed_s" else f"{value:.6g}"
