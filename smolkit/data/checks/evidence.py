"""What the sense checks look at: every episode's joints in degrees and a sample of its pictures, whoever recorded it.

    evidence = Evidence.of(Dataset("my_recording"))
    evidence.names, evidence.unit.name             # ('shoulder_pan', ...), 'degrees'
    evidence.state[3], evidence.pictures["front"]  # (T, D) degrees; episode's place -> (n, h, w, 3) uint8

Bounded: at most 200 episodes are looked at in pictures, 1,600 or so frames in all, 160 px wide (under 100 MB).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.data.reader import Dataset
from smolkit.plotting import use_style
from smolkit.report import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX, MOST_EPISODES, MOST_SAMPLES, SAMPLES = 160, 200, 800, 8
MOVED_DEG = 1.5                                    # of a body joint, between two sampled rows: a camera must see it
STATE, ACTION, CAPTURED = "observation.state", "action", "captured_s"


@dataclass(frozen=True)
class Finding:
    """A check with the episodes to look at, worst first, and a picture of it, drawn when asked for.

    remark: no fault, so it is green, and yet somebody should know it.
    """

    check: Check
    episodes: tuple[int, ...] = ()
    remark: bool = False
    draw: Callable[[], Figure] | None = None
    alt: str = ""

    @property
    def level(self) -> str:
        """ "red", "remark" or "green"."""
        return "red" if not self.check.ok else "remark" if self.remark else "green"

    def figure(self) -> Figure | None:
        """Its picture in the kit's style, where it has one."""
        with use_style():
            return self.draw() if self.draw else None


@dataclass(frozen=True)
class Unit:
    """In what the body joints are written, how sure that is, and degrees per unit."""

    name: str                                      # "degrees", "-100..100", "radians", "encoder ticks", or a doubt
    sure: bool
    why: str
    deg: float = 1.0


def guess_unit(body: np.ndarray, told: str = "") -> Unit:
    """Of body joints (N, D), by LeRobot's habits: a dataset does not say it.

    >>> guess_unit(np.array([[-120.0, 4.0]])).name, guess_unit(np.array([[-1.2, 0.4]])).name
    ('degrees', 'radians')
    >>> guess_unit(np.array([[-100.0, 99.0], [100.0, 4.0]])).name, guess_unit(np.array([[-70.0, 60.0]])).sure
    ('-100..100', False)
    """
    most = float(np.abs(body).max(initial=0.0))
    if told in ("deg", "degrees"):
        return Unit("degrees", True, "meta/smolkit.json says so")
    if most <= 2 * np.pi + 0.1:                    # a full turn; an arm in degrees that never leaves 6.4 deg stands
        return Unit("radians", False, f"no body joint goes beyond {most:.2f}", 180 / np.pi)
    if most > 400:
        return Unit("encoder ticks", False, f"a body joint reaches {most:.0f}", 360 / 4096)
    if most > 100.5:
        return Unit("degrees", True, f"a body joint reaches {most:.0f}")
    if (np.abs(body) == 100).any():                # LeRobot clips what is normalised
        return Unit("-100..100", True, "a body joint stops at exactly 100")
    return Unit("degrees or -100..100", False, f"body joints stay within {most:.0f}")


class Evidence:
    """See above. `episodes` are the numbers in the dataset; everything else counts places 0..E-1."""

    def __init__(self, dataset: Dataset):
        self.dataset, self.fps = dataset, dataset.fps
        self.root, self.extra = dataset.root, dataset.extra()
        self.episodes = [episode.index for episode in dataset.episodes]
        tasks = np.asarray(dataset.columns["task_index"])
        self.tasks = [dataset.tasks[int(np.bincount(part).argmax())] for part in self._split(tasks)]
        self.names, self.state, self.action, self.raw_body = self._joints()
        self.captured = self._moments()            # (T,) s per episode, of the joints; [] where nobody noted them
        self.duration_s = np.array([episode.length for episode in dataset.episodes]) / self.fps      # (E,)

    def __len__(self) -> int:
        return len(self.episodes)

    @cached_property
    def grippers(self) -> list[int]:
        """Which columns are grippers: by name, else the last one of six or more."""
        named = [i for i, name in enumerate(self.names) if "grip" in name.lower() or "jaw" in name.lower()]
        return named or ([len(self.names) - 1] if len(self.names) >= 6 and self.names[0].isdigit() else [])

    @cached_property
    def body(self) -> list[int]:
        """The other columns."""
        return [i for i in range(len(self.names)) if i not in self.grippers]

    @property
    def is_so101(self) -> bool:
        return tuple(self.names) == JOINT_NAMES

    @cached_property
    def cameras(self) -> dict[str, str]:
        """Short name -> feature."""
        return {key.removeprefix("observation.images.").removeprefix("observation."): key
                for key in self.dataset.camera_keys}

    @cached_property
    def looked(self) -> list[int]:
        """The places of the episodes whose pictures are looked at."""
        return np.unique(np.linspace(0, len(self) - 1, min(len(self), MOST_EPISODES)).round().astype(int)).tolist()

    @cached_property
    def rows(self) -> dict[int, np.ndarray]:
        """Place -> sampled rows of the episode: pairs of neighbours, evenly spread, the first row among them."""
        share = MOST_SAMPLES // max(1, len(self.looked) * len(self.cameras))
        pairs = int(np.clip(share, 3, SAMPLES))
        lengths = np.diff(self.dataset.starts)
        return {place: _pairs(int(lengths[place]), pairs) for place in self.looked}

    @cached_property
    def pictures(self) -> dict[str, dict[int, np.ndarray]]:
        """Camera -> place -> the sampled pictures (n, h, w, 3) uint8."""
        return {name: self._pictures_of(key) for name, key in self.cameras.items()}

    @cached_property
    def moved(self) -> dict[int, np.ndarray]:
        """Place -> did the arm move from each sampled row to the next? (n - 1,) bool."""
        ways = {place: np.abs(np.diff(self.state[place][rows][:, self.body], axis=0))
                for place, rows in self.rows.items()} if self.state else {}
        return {place: way.max(axis=1, initial=0.0) > MOVED_DEG for place, way in ways.items()}

    def first(self, camera: str) -> np.ndarray:
        """The first picture of each looked episode (E', h, w, 3)."""
        return np.stack([self.pictures[camera][place][0] for place in self.looked])

    def number(self, places: Any) -> tuple[int, ...]:
        """Places -> episode numbers."""
        return tuple(self.episodes[int(place)] for place in places)

    def _split(self, values: np.ndarray) -> list[np.ndarray]:
        return np.split(np.asarray(values), self.dataset.starts[1:-1])

    def _moments(self) -> list[np.ndarray]:
        found = self.dataset.columns.get(CAPTURED)
        known = isinstance(found, np.ndarray) and found.dtype.kind == "f" and np.isfinite(found).all() and found.size
        return self._split(found.reshape(len(found), -1)[:, 0]) if known else []

    def _pictures_of(self, key: str) -> dict[int, np.ndarray]:
        height, width, _ = self.dataset.info.features[key].hwc()
        small = min(WIDTH_PX, width)
        size = (max(2, round(height * small / width)), small)
        return {place: self.dataset.frames(key, self.dataset.starts[place] + rows, size)
                for place, rows in self.rows.items()}

    def _joints(self) -> tuple[list[str], list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Names, state and action of the joints that both have, in degrees; [] for an action that is something else.

        A dataset without a state is judged by its action.
        """
        columns, features = self.dataset.columns, self.dataset.info.features
        have = [key for key in (STATE, ACTION) if key in columns and features[key].is_number
                and np.ndim(columns[key]) == 2 and columns[key].shape[1]]
        self.unit = Unit("no unit", False, "no joints in it")
        every = {key: _names(features[key].names, columns[key].shape[1]) for key in have}
        if not have:
            return [], [], [], np.empty((0, 0))
        names = {key: [name for name in each if not name.endswith(".vel")] for key, each in every.items()}
        common = [name for name in names[have[0]] if name in names[have[-1]]]
        wanted = {key: common or names[have[0]] for key in (have if common else have[:1])}
        values = {key: np.nan_to_num(columns[key].astype(float)[:, [every[key].index(n) for n in wanted[key]]],
                                     posinf=0.0, neginf=0.0) for key in wanted}
        self.names = [name.removesuffix(".pos") for name in wanted[have[0]]]
        body = values[have[0]][:, self.body]
        told = self.extra.get("units")
        self.unit = guess_unit(body, str(next(iter(told.values()), "")) if isinstance(told, dict) else "")
        if not self.names:
            return [], [], [], body
        first, *other = [self._split(part * self.unit.deg) for part in values.values()]
        return self.names, first, other[0] if other else [], body


def _names(names: Any, count: int) -> list[str]:
    """A feature's names, whatever way they were written; numbers where there are none."""
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    fits = isinstance(names, list) and len(names) == count and len(set(map(str, names))) == count
    return [str(name) for name in names] if fits else [str(i) for i in range(count)]


def _pairs(length: int, pairs: int) -> np.ndarray:
    """Rows k and k + 1, evenly spread over the episode."""
    begin = np.linspace(0, max(length - 2, 0), pairs).round().astype(int)
    return np.unique(np.clip(np.concatenate([begin, begin + 1]), 0, length - 1))
