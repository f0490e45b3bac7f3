"""Trials on scenes that training never saw, kept one line each, summed up with an interval.

    summary = summarize(trials)
    print(f"{summary.success_rate:.0%} of {summary.trials}")

A trials file (JSON lines) is written trial by trial: an interrupted evaluation goes on where it
stopped, and a finished one can be read again by anybody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from smolkit.evaluation.parallel import ordered_map
from smolkit.evaluation.statistics import wilson_interval
from smolkit.report import SmolkitError


@dataclass(frozen=True)
class Trial:
    """One attempt at one scene."""

    seed: int
    success: bool
    seconds: float                       # how long the arm took, on the rig's clock
    cube_xy_m: tuple[float, float]       # where the cube lay at the start
    limited: float                       # share of commands that the safety envelope changed


@dataclass(frozen=True)
class Summary:
    """A success rate that says how sure it is."""

    success_rate: float
    trials: int
    successes: int
    wilson_low: float
    wilson_high: float


def summarize(trials: list[Trial]) -> Summary:
    """Success rate and its 95 % Wilson interval."""
    successes = sum(trial.success for trial in trials)
    low, high = wilson_interval(successes, len(trials))
    return Summary(successes / max(1, len(trials)), len(trials), successes, low, high)


def read_trials(path: Path) -> list[Trial]:
    """The trials of a file, in order; a file that does not exist yet holds none.

    A last line without an end was being written when the program was killed: that trial does not count.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [_parse(path, number, line) for number, line in enumerate(lines, start=1)]


def run_trials(work: Callable[[int], Trial], seeds: list[int], path: Path,
               workers: int) -> Iterator[Trial]:
    """Runs the seeds that the file does not hold yet; yields every trial, old ones first."""
    known = {trial.seed: trial for trial in read_trials(path)}
    yield from (known[seed] for seed in seeds if seed in known)
    for _, trial in ordered_map(work, [s for s in seeds if s not in known], workers):
        append_trial(path, trial)
        yield trial


def append_trial(path: Path, trial: Trial) -> None:
    """Adds one line; makes the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_half_line(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial)) + "\n")


def _drop_half_line(path: Path) -> None:
    """Cuts a line without an end, so that the next one begins on a line of its own."""
    if path.exists() and not (data := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _parse(path: Path, number: int, line: str) -> Trial:
    try:
        fields = json.loads(line)
        return Trial(**{**fields, "cube_xy_m": tuple(fields["cube_xy_m"])})
    except (ValueError, TypeError, KeyError) as error:
        raise SmolkitError("SK702", "one trial as JSON on each line", f"{path.name}, line {number}: {error}",
                           "the file was edited by hand or cut off by a full disk",
                           f"delete {path.name} and run the evaluation again") from error
