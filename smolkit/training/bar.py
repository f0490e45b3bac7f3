"""A progress bar for terminals and notebooks, and one line of text for logs.

    with progress_bar() as progress:
        train(learner, config, out_dir, progress=progress)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm.auto import tqdm

from smolkit.training.loop import Progress


@contextmanager
def progress_bar(file: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Yields a callback for `train`; the bar follows when the plan is shortened to fit the time budget."""
    with tqdm(unit="step", dynamic_ncols=True, file=file) as bar:
        def show(progress: Progress) -> None:
            bar.total = progress.total_steps
            bar.update(progress.step - bar.n)
            losses = [f"loss {progress.losses['loss']:.3f}"] if progress.losses else []
            bar.set_postfix_str(", ".join(filter(None, [*losses, progress.note])), refresh=False)
        yield show


def progress_line(progress: Progress) -> str:
    """One line for a log.

    >>> progress_line(Progress(400, 1600, {"loss": 0.1234}, 8e-4, elapsed_s=60, left_s=180))
    'step 400 of 1600, loss 0.1234, 1:00 gone, 3:00 left'
    """
    losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
    note = f", {progress.note}" if progress.note else ""
    return (f"step {progress.step} of {progress.total_steps}, {losses}, {_minutes(progress.elapsed_s)} gone, "
            f"{_minutes(progress.left_s)} left{note}")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
