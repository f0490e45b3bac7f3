"""Does any broken or hostile dataset hang, crash or exhaust the memory? Mutants by seed, each read and checked.

    python -m benchmarks.fuzz_datasets [--mutants 10000] [--first 0] [--store]
    python -m benchmarks.fuzz_datasets --replay 4711                   # one mutant: what was done to it, what is said

Four tiny datasets (v3.0, v3.0 with pictures in its rows, v2.1, v2.0) get one to three mutations: fields of JSON, cells
and columns of parquet, boxes of mp4, headers of PNG, bytes, truncations, files removed, swapped, linked. Every mutant
is read whole and checked in a forked process of bounded memory and time. Its outcome is fine, red or refused (a
SmolkitError); anything else is a failure, told with its seed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.dataset_mutants import make_seeds, mutate
from benchmarks.measured import Row, keep
from smolkit.data.checks.structure import RULES as STRUCTURE
from smolkit.data.checks.structure import check_dataset
from smolkit.data.reader import Dataset
from smolkit.report import SmolkitError

TIMERS = {signal.ITIMER_PROF: 10, signal.ITIMER_REAL: 120}     # seconds of the processor, and on the wall
MEMORY_MB, BATCH = 1500, 50
SLACK_MB = 600                     # more resident memory than this, above the fresh process, is a failure, too
MISSED = "fine, other data"


def content(root: Path) -> dict[str, np.ndarray]:
    """All that a learner gets: rows, pictures, texts."""
    with closing(Dataset(root)) as dataset:
        arrays = dataset.to_arrays()
        dataset.stats(), dataset.extra()
        texts = [dataset.tasks[index] for index in arrays.columns["task_index"]]
        return {**{key: np.asarray(values) for key, values in arrays.columns.items()}, **arrays.frames,
                "tasks": np.array(texts), "fps": np.array(dataset.fps)}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """What differs."""
    return [key for key in sorted({*one, *other}) if key not in one or key not in other
            or not np.array_equal(one[key], other[key])]


def ask(root: Path, healthy: dict[str, np.ndarray], usual: set[str]) -> str:
    """The outcome; whatever else is raised is a failure. `usual`: what is red already of so tiny a recording."""
    try:
        found = content(root)
    except SmolkitError as error:
        found, told = None, f"reader {error.code}"
    try:
        report = check_dataset(root)
    except SmolkitError as error:
        return f"refused: {error.code}" if found is None else f"FAILED: read, but its check refuses: {error.code}"
    red = [check.code for check in report.red() if check.code not in usual]
    if red:
        return f"red: {red[0]}"
    if found is None:
        return f"FAILED: green, but {told}"
    differs = same(found, healthy)
    return f"{MISSED}: {','.join(differs)}" if differs else "fine"


def make(seeds: dict[str, Path], number: int, scratch: Path) -> tuple[str, str]:
    """One mutant in scratch/set: of which dataset, and what was done to it."""
    rng = np.random.default_rng([20, number])
    name = list(seeds)[rng.integers(len(seeds))]
    root = scratch / "set"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(seeds[name], root, symlinks=True)
    return name, "; ".join(mutate(root, rng))


def known(seeds: dict[str, Path]) -> dict[str, tuple[dict[str, np.ndarray], set[str]]]:
    """What the healthy ones hold, and which sense checks so tiny a recording fails."""
    healthy = {name: (content(root), {check.code for check in check_dataset(root).red()})
               for name, root in seeds.items()}
    assert not any(code in STRUCTURE for _, usual in healthy.values() for code in usual), healthy
    return healthy


def child(seeds: dict, healthy: dict, numbers: range, results: Path) -> None:
    """Runs a batch; each mutant's line is on the disk before the next begins."""
    memory = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (memory + MEMORY_MB * 10**6,) * 2)
    with results.open("a", buffering=1) as file, tempfile.TemporaryDirectory(dir=results.parent) as scratch:
        for number in numbers:
            name, done = make(seeds, number, Path(scratch))
            before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            file.write(f"{number}\t{name}: {done!a}\n")
            for timer, limit_s in TIMERS.items():                      # nobody catches it: the process ends
                signal.setitimer(timer, limit_s)
            try:
                outcome = ask(Path(scratch, "set"), *healthy[name])
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"FAILED: {type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"
            now_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            if now_mb > before_mb + SLACK_MB:
                outcome = f"FAILED: {now_mb - before_mb:.0f} MB"
            file.write(f"{number}\t{name}: {done!a}\t{ascii(outcome[:300])[1:-1]}\n")
            for timer in TIMERS:
                signal.setitimer(timer, 0)
    os._exit(0)


def fuzz(first: int, mutants: int, scratch: Path) -> dict[int, tuple[str, str]]:
    """Number -> (outcome, what was done). A process that died is replaced; the mutant that it died of failed."""
    seeds = make_seeds(scratch / "seeds")
    healthy = known(seeds)
    found: dict[int, tuple[str, str]] = {}
    results, todo = scratch / "results", list(range(first, first + mutants))
    while todo:
        results.write_text("")
        pid = os.fork()
        if not pid:
            child(seeds, healthy, todo[:BATCH], results)
        _, status = os.waitpid(pid, 0)
        lines = [line.split("\t") for line in results.read_text().splitlines()]
        found |= {int(line[0]): (line[2], line[1]) for line in lines if len(line) == 3}
        if status:
            died = int(lines[-1][0])
            ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
            found[died] = (f"FAILED: {'hang' if ended in ('SIGALRM', 'SIGPROF') else 'crash'} ({ended})", lines[-1][1])
        todo = [number for number in todo if number not in found]
        if sys.stderr.isatty():
            print(f"\r{len(found)} of {mutants}", end="", file=sys.stderr)
    return found


def tell(found: dict[int, tuple[str, str]], seconds: float, store: bool, listed: str) -> int:
    kinds = Counter(outcome.split(":")[0] for outcome, _ in found.values())
    print(f"\n{len(found)} mutants in {seconds:.0f} s: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    for outcome, count in Counter(outcome for outcome, _ in found.values()).most_common():
        print(f"  {count:6d} {outcome}")
    for kind in ("fine", MISSED):
        print(f"\n{kind}, after:")
        whys = Counter("several" if "; " in done else done.split(": ")[1].strip("'") for outcome, done in found.values()
                       if outcome.split(":")[0] == kind)
        for why, count in whys.most_common(25):
            print(f"  {count:6d} {why}")
    failures = [what for what in found.values() if what[0].startswith("FAILED")]
    for number, (outcome, done) in sorted(found.items()):
        if outcome.startswith(("FAILED", listed)):
            print(f"seed {number}: {outcome} | {done}")
    if store:
        keep("fuzz_datasets", [Row(f"mutated datasets: {kind}", kinds[kind], "datasets", len(found))
                               for kind in ("red", "refused", "fine", MISSED, "FAILED")])
    return 1 if failures else 0


def replay(number: int, scratch: Path) -> None:
    """One mutant in this process, with everything that is said."""
    seeds = make_seeds(scratch / "seeds")
    name, done = make(seeds, number, scratch)
    print(name, done, ask(scratch / "set", *known(seeds)[name]), sep="\n")
    print("\n".join(check.line() for check in check_dataset(scratch / "set").red()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--replay", type=int)
    parser.add_argument("--list", default="FAILED", help="print every mutant whose outcome begins so, too")
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        if given.replay is not None:
            replay(given.replay, Path(folder))
        else:
            begun = time.monotonic()
            answers = fuzz(given.first, given.mutants, Path(folder))
            sys.exit(tell(answers, time.monotonic() - begun, given.store, given.list))
