"""What is known of an episode besides its rows: who recorded it, and how evenly time passed.

    >>> moments_s = np.array([[0.0, 0.0], [0.1, 0.1], [0.2, 0.1], [0.4, 0.4]])           # (T, sources)
    >>> timing = timing_of(moments_s, ("state", "front"), fps=10)
    >>> timing.repeated, timing.missing                      # the third row shows the second's picture again
    ({'front': 1}, {'state': 1, 'front': 2})
    >>> timing_of(moments_s, ("state", "front"), fps=10, pauses=[3]).missing
    {}

meta/smolkit.json holds them, since LeRobot reads no such file: "sessions", one entry for each time a recording was
opened, and "episode_facts", one entry an episode, which names its session and whatever was not as it should be.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from smolkit.cameras.opencv import DROPPED_FROM

WRONG_RATE = 0.1                 # from here on a policy learns visibly other speeds
MANY = 0.05                      # of an episode's rows


@dataclass(frozen=True)
class Timing:
    """How the rows of an episode followed each other, by the moments that were captured."""

    fps: float                     # rows a second, gaps and pauses left out; 0 where the clock stands still
    jitter_ms: float               # standard deviation of the time between two rows
    repeated: Mapping[str, int]    # source -> rows that show the moment of the row before again
    missing: Mapping[str, int]     # source -> moments that no row shows: longer gaps than 1.5 periods
    backwards: int                 # rows that lie before the row before

    def problems(self, fps: int, rows: int) -> list[str]:
        """What a person should hear before recording on."""
        said = []
        if rows > 1 and abs(self.fps / fps - 1) > WRONG_RATE:
            said.append(f"the loop ran at {self.fps:.1f} Hz, the dataset says {fps}: motions would be learned "
                        f"{fps / self.fps:.2f} times as fast" if self.fps else "the clock of its rows stands still")
        if self.backwards:
            said.append(f"the clock ran backwards {self.backwards} times")
        for what, found in (("shown again", self.repeated), ("missed", self.missing)):
            said += [f"{source}: {count} moments {what} in {rows} rows" for source, count in found.items()
                     if count > MANY * rows and self.fps]
        return said


def timing_of(moments_s: np.ndarray, sources: Sequence[str], fps: float, pauses: Sequence[int] = ()) -> Timing:
    """From the column `captured_s` (T, sources) of an episode; `pauses`: rows that were recorded after a pause."""
    moments_s = np.asarray(moments_s, float).reshape(len(moments_s), -1)
    gaps_s = np.delete(np.diff(moments_s, axis=0), [row - 1 for row in pauses], axis=0)
    periods = gaps_s * fps                                                                   # (T - 1, sources)
    late = np.where(periods > DROPPED_FROM, np.maximum(1, np.round(periods) - 1), 0).sum(0)
    again = (gaps_s == 0).sum(0)
    even_s = gaps_s[:, 0][(gaps_s[:, 0] > 0) & (periods[:, 0] < 10)]
    counted = [{source: int(n) for source, n in zip(sources, column, strict=True) if n} for column in (again, late)]
    return Timing(round(1 / float(even_s.mean()), 2) if len(even_s) else 0.0,
                  round(1000 * float(even_s.std()), 2) if len(even_s) else 0.0, *counted, int((gaps_s[:, 0] < 0).sum()))


def session(first_episode: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """One opening of a recording: when, with what, and what the caller knows of kit, cameras and calibration."""
    return {"first_episode": first_episode, "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "smolkit": version("smolkit"), "python": platform.python_version(), "av": version("av"),
            "system": f"{platform.system()} {platform.machine()}", **provenance}
