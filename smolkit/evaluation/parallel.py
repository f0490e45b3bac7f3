"""Many seeded runs on all cores, in order, stoppable at any moment.

    for seed, trial in ordered_map(run_one_trial, seeds, workers=2): ...

Results come in the order of the items, whatever the processes' speed, so the same seeds give the
same file twice. Processes are spawned, never forked: a forked OpenGL context or thread pool hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import connection
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item],
                workers: int) -> Iterator[tuple[Item, Result]]:
    """Yields (item, work(item)) in order. `work` must be importable (a module's function or a partial).

    With one worker everything runs in this process, which is what a debugger wants. Ctrl-C drops
    what has not started; what was yielded stays with the caller.
    """
    if workers == 1:
        yield from ((item, work(item)) for item in items)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"),
                               initializer=_prepare_worker)
    try:
        yield from _windowed(pool, work, iter(items), ahead=3 * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _windowed(pool: ProcessPoolExecutor, work: Callable[[Item], Result], items: Iterator[Item],
              ahead: int) -> Iterator[tuple[Item, Result]]:
    # A bounded window: a slow caller (a video encoder) must not let finished episodes pile up in memory.
    window = [(item, pool.submit(work, item)) for item in islice(items, ahead)]
    while window:
        item, future = window.pop(0)
        result = future.result()
        window.extend((fresh, pool.submit(work, fresh)) for fresh in islice(items, 1))
        yield item, result


def _prepare_worker() -> None:
    """Ctrl-C is the parent's business; and one thread each, or two workers fight over two cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"      # enough for a torch that is imported later, and cheap without one
    if "torch" in sys.modules:               # a script that imports it above its main guard
        sys.modules["torch"].set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that was killed can't say goodbye: without this its workers would wait for work for ever."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
