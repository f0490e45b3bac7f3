"""What a recording of people looks like, in the numbers that lesson 04 quotes: rests, lag, clipped actions.

    python -m benchmarks.real_traces ../shared/real/so101_pick_place_tape/lerobot_v3 [--keep]

Reads rows only. With --keep the numbers go to measured.csv.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.measured import Row, keep
from smolkit.data.checks.motion import STILL_DEG_S, idle_share, lag_ms
from smolkit.data.reader import Dataset


def rows_of(root: Path) -> list[Row]:
    """One row a number, over all episodes of a dataset."""
    with closing(Dataset(root)) as dataset:
        episodes, fps = [dataset.episode(episode.index) for episode in dataset.episodes], dataset.fps
    pairs = [(one["observation.state"].astype(float), one["action"].astype(float)) for one in episodes]
    n = len(pairs)
    idle = np.array([100 * idle_share(state, fps) for state, _ in pairs])
    lag = np.array([lag_ms(action, state, 1000 / fps) for state, action in pairs])
    still = [np.abs(np.diff(state, axis=0)).max(axis=1) * fps < STILL_DEG_S for state, _ in pairs]
    begins = np.array([int((~one).argmax()) for one in still])
    ends = np.array([int((~one)[::-1].argmax()) for one in still])
    clipped = [(np.abs(action[:, :5]) == 100).any(axis=1) for _, action in pairs]
    at_ends = 100 * (begins + ends).sum() / max(1, sum(one.sum() for one in still))
    return [Row("idle steps, least", idle.min(), "%", n), Row("idle steps, median", np.median(idle), "%", n),
            Row("idle steps, most", idle.max(), "%", n), Row("of them before and after the task", at_ends, "%", n),
            Row("rest before the first move, median", np.median(begins) / fps, "s", n),
            Row("rest before the first move, longest", begins.max() / fps, "s", n),
            Row("lag, least", lag.min(), "ms", n), Row("lag, most", lag.max(), "ms", n),
            Row("rows with a body action at exactly 100", 100 * np.concatenate(clipped).mean(), "%", n),
            Row("episodes with such a row", sum(one.any() for one in clipped), "episodes", n)]


if __name__ == "__main__":
    found = rows_of(Path(sys.argv[1]))
    for row in found:
        print(f"{row.what:40} {row.value:8.1f} {row.unit}")
    if "--keep" in sys.argv:
        keep("real_traces", [Row(f"SO-101, led by hand: {row.what}", row.value, row.unit, row.n) for row in found])
