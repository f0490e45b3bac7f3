"""Progress of a tour in a notebook or a log: one bar a stage.

    tour = Tour(Path("outputs/tour"), tell=notebook_bars())
"""

from __future__ import annotations

from collections.abc import Callable

from tqdm.auto import tqdm


def notebook_bars() -> Callable[[str, int, int, str], None]:
    """A listener for `Tour` that shows a bar for each stage that takes several steps."""
    bars: dict[str, tqdm] = {}

    def show(stage: str, done: int, total: int, text: str) -> None:
        if total > 1 and stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, unit="")
        if stage in bars and total > 1:
            bars[stage].n, bars[stage].total = done, total
            bars[stage].set_postfix_str(text)
        elif stage in bars and text in ("done", "red"):
            bars.pop(stage).close()

    return show
