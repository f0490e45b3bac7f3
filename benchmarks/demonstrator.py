"""How often does the scripted demonstrator succeed, and how long does it take?

    python -m benchmarks.demonstrator                       # 200 seeds a task, clean and noisy
    python -m benchmarks.demonstrator --seeds 50 --tasks place push

Plain physics: no driver, no envelope, no pictures. Exit code 1 where a task stays at 95 % or below.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial

from benchmarks.measured import Row, keep
from smolkit.evaluation.parallel import ordered_map
from smolkit.evaluation.statistics import wilson_interval
from smolkit.sim.demonstrator import demonstrate
from smolkit.sim.tasks import TASKS

LEAST = 0.95                                    # of seeds, for every task


@dataclass(frozen=True)
class Outcome:
    success: bool
    seconds: float


def attempt(seed: int, task: str, noise: bool) -> Outcome:
    """One seed; in a process of its own kind, so only what is small comes back."""
    result = demonstrate(task, seed, noise=noise)
    return Outcome(result.success, result.seconds)


def measure(task: str, noise: bool, seeds: range, workers: int) -> list[Row]:
    """Prints one line of the table and returns its numbers."""
    found = dict(ordered_map(partial(attempt, task=task, noise=noise), seeds, workers))
    seconds = sorted(outcome.seconds for outcome in found.values() if outcome.success)
    failed = [seed for seed, outcome in found.items() if not outcome.success]
    low, high = wilson_interval(len(seconds), len(found))
    kind, rate = "noisy" if noise else "clean", len(seconds) / len(found)
    median_s = seconds[len(seconds) // 2] if seconds else float("nan")
    print(f"{task:8} {kind:6} {rate:7.1%}   {low:6.1%} to {high:6.1%}   {median_s:5.1f} s   {failed or '-'}",
          flush=True)
    return [Row(f"{task}, {kind}: success", rate, "share", len(found)),
            Row(f"{task}, {kind}: median time to success", median_s, "s", len(seconds))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--workers", type=int, default=1)
    wanted = parser.parse_args()
    print("task     kind   success  95 % interval      median    seeds that failed")
    rows = [row for task in wanted.tasks for noise in (False, True)
            for row in measure(task, noise, range(wanted.seeds), wanted.workers)]
    keep("demonstrator", rows)
    return 0 if all(row.value > LEAST for row in rows if row.unit == "share") else 1


if __name__ == "__main__":
    sys.exit(main())
