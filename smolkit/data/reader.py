"""Reading a LeRobot dataset (v3.0, v2.1, v2.0): rows as arrays, frames decoded exactly, no network.

    dataset = Dataset("datasets/red_cube")
    dataset[0]["observation.images.front"]               # (H, W, 3) uint8; as_torch: (3, H, W) float
    dataset.episode(3)["action"]                         # (T, 6) float32
    dataset.frames("observation.images.wrist", [0, 7])   # (2, H, W, 3) uint8
    dataset.batch([5, 0, 7])["action"]                   # (3, 6); each video decoded once, front to back
    everything = dataset.to_arrays(size=(64, 64))        # for training: all rows, all frames, in memory
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.columns import Columns
from smolkit.data.files import damaged
from smolkit.data.frame_cache import cached_frames
from smolkit.data.layout import Episode, Layout, json_lines, load_layout
from smolkit.data.pictures import Shots, Size, decode_image, frame_shape
from smolkit.data.rows import load_rows
from smolkit.data.schema import EXTRA_PATH, STATS_PATH, read_object
from smolkit.data.stats import Stats, from_json, merge_stats
from smolkit.machine import free_cores
from smolkit.report import SmolkitError

WORTH_THREADS_PX = 100_000         # starting threads takes 0.5 ms, a quarter of decoding one picture of 480x640


@dataclass(frozen=True)
class Arrays:
    """A whole dataset in memory."""

    columns: Columns                               # feature -> (N, ...) array
    frames: Mapping[str, np.ndarray]               # camera -> (N, H, W, 3) uint8
    tasks: tuple[str, ...]                         # by task_index
    starts: np.ndarray                             # (E + 1,) first row of each episode, then N

    def __len__(self) -> int:
        return int(self.starts[-1])


class Dataset:
    """A LeRobot dataset on this disk.

    `episodes` keeps some of them (rows in file order, as LeRobot does). `delta_timestamps`
    ({feature: [seconds]}) stacks neighbouring rows on a new first axis, clamped to the episode, with
    `<feature>_is_pad`. With `as_torch` an item holds tensors of LeRobot's shapes; cameras are then
    float32 (3, H, W) in 0..1 unless `float_chw=False` keeps them uint8 (H, W, 3). Depth stays what its file holds:
    levels (H, W, 1) uint16. Cameras are decoded by `threads` threads at a time (None: one each, while cores last).

    It is what a torch DataLoader takes: items by number, batches by `__getitems__`, workers by fork or spawn.

    Raises SmolkitError: SK401..SK406 for what is missing, damaged or contradictory (the file is named),
    SK408 for an empty dataset, SK409 for an unfit argument, SK440 where the pictures don't fit into memory.
    """

    def __init__(self, root: str | Path, episodes: Sequence[int] | None = None, *, as_torch: bool = False,
                 delta_timestamps: Mapping[str, Sequence[float]] | None = None,
                 float_chw: bool | None = None, tolerance_s: float = 1e-4, threads: int | None = None):
        self.root = Path(root)
        self.layout = load_layout(self.root)
        self.info = self.layout.info
        self.episodes = select(self.layout, episodes)
        self.as_torch, self._float_chw = as_torch, as_torch if float_chw is None else float_chw
        self._threads = threads or free_cores()
        self._deltas = _frame_offsets(self.layout, delta_timestamps or {}, tolerance_s)
        self.columns = load_rows(self.layout, self.episodes)
        self.starts = np.cumsum([0, *(episode.length for episode in self.episodes)])      # (E + 1,)
        self._shots = {key: Shots(self.root, key, self.episodes, self.info) for key in self.info.video_keys}

    @property
    def fps(self) -> int:
        return self.info.fps

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.layout.tasks

    @property
    def camera_keys(self) -> list[str]:
        return self.info.camera_keys

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One row: every feature, `task`, and what `delta_timestamps` asks for."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"row {position} of a dataset with {len(self)} rows")
        return self.__getitems__([position % len(self)])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The items of `batch`, one by one, as a DataLoader asks for them."""
        whole = self.batch(positions)
        return [{key: values[i] for key, values in whole.items()} for i in range(len(positions))]

    def batch(self, positions: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Many rows at once, in this order: feature -> (n, ...), `task` a list of n texts.

        Every video file is decoded once from front to back, whatever the order, and the cameras side by side.
        """
        wanted = self._known(positions)
        rows = {key: self._neighbours(wanted, self._deltas.get(key)) for key in (*self.camera_keys, *self.columns)}
        pictures, whole = self._pictures({key: rows[key] for key in self.camera_keys}), {}
        for key in self.info.features:
            if key in rows:
                whole[key] = self._values(key, rows[key], pictures.get(key))
            if key in rows and key in self._deltas:
                whole[f"{key}_is_pad"] = rows[key] != wanted[:, None] + self._deltas[key]
        whole["task"] = [self.tasks[int(i)] for i in self.columns["task_index"][wanted]]
        return self._as_tensors(whole) if self.as_torch else whole

    def positions(self, episode_index: int) -> range:
        """The rows of an episode, as positions in this dataset."""
        for place, episode in enumerate(self.episodes):
            if episode.index == episode_index:
                return range(int(self.starts[place]), int(self.starts[place + 1]))
        raise SmolkitError("SK409", f"one of the episodes {[e.index for e in self.episodes][:20]}",
                           str(episode_index), "the episode was not loaded, or doesn't exist",
                           "look at dataset.info.total_episodes and the episodes= argument")

    def episode(self, episode_index: int) -> dict[str, Any]:
        """All rows of one episode: feature -> (T, ...), and `task`, a list of T texts."""
        rows = self.positions(episode_index)
        part = {key: values[rows.start:rows.stop] for key, values in self.columns.items()}
        return {**part, "task": [self.tasks[int(i)] for i in part["task_index"]]}

    def frames(self, key: str, positions: Sequence[int] | np.ndarray, size: Size | None = None,
               out: np.ndarray | None = None) -> np.ndarray:
        """The camera's frames at these rows, in this order; (n, H, W, 3) uint8, `size` (H, W) px resizes.

        A camera of one channel gives (n, H, W, 1), depth as uint16 levels. `out` is filled if it is given.
        """
        wanted, feature = self._known(positions), self.info.features[key]
        if out is None:
            out = _room((len(wanted), *frame_shape(feature, size)), feature.pixel_dtype)
        if feature.is_video:
            places = np.searchsorted(self.starts, wanted, side="right") - 1               # (n,)
            self._shots[key].read(places, wanted - self.starts[places], feature.hwc(), size, out)
        else:
            for slot in np.argsort(wanted, kind="stable"):
                out[slot] = decode_image(self.columns[key][wanted[slot]], feature, size)
        return out

    def to_arrays(self, size: Size | None = None, cameras: Sequence[str] | None = None,
                  cache: str | Path | None = None) -> Arrays:
        """All rows and all frames, every video decoded once from front to back.

        Memory: rows x height x width x 3 bytes per camera; `size` (H, W) px shrinks while decoding. With `cache`,
        a folder, the frames are decoded only the first time, and stay on the disk (smolkit.data.frame_cache).
        """
        keys = self.camera_keys if cameras is None else cameras
        if cache is None:
            frames = self._pictures(dict.fromkeys(keys, np.arange(len(self))), size)
        else:
            frames = {key: cached_frames(self, key, size, Path(cache)) for key in keys}
        numbers = {key: values[:] for key, values in self.columns.items() if key not in self.camera_keys}
        return Arrays(numbers, frames, self.tasks, self.starts)

    def stats(self) -> dict[str, Stats]:
        """The dataset's statistics: meta/stats.json, or merged from the episodes' in v2.1."""
        return load_stats(self.root, self.info.version)

    def extra(self) -> dict[str, Any]:
        """What smolkit adds (units, calibration); {} for datasets of other recorders."""
        path = self.root / EXTRA_PATH
        return read_object(path) if path.is_file() else {}

    def close(self) -> None:
        for shots in self._shots.values():
            shots.close()

    def _known(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n,) positions; numpy would take row -1 for the last one."""
        wanted = np.asarray(positions, dtype=int).reshape(-1)
        strange = wanted[(wanted < 0) | (wanted >= len(self))]
        if len(strange):
            raise SmolkitError("SK409", f"rows in 0..{len(self) - 1}", str(strange[0]),
                               "the rows were counted in another dataset, or in all of its episodes",
                               "take them from dataset.positions(episode)")
        return wanted

    def _neighbours(self, wanted: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
        """Rows at these offsets, clamped to the episode: (n, T), or (n,) without offsets."""
        if offsets is None:
            return wanted
        places = np.searchsorted(self.starts, wanted, side="right") - 1
        return np.clip(wanted[:, None] + offsets, self.starts[places, None], self.starts[places + 1, None] - 1)

    def _pictures(self, rows: Mapping[str, np.ndarray], size: Size | None = None) -> dict[str, np.ndarray]:
        """Each of these cameras' frames at its rows; decoding leaves Python to other threads."""
        def one(key: str) -> np.ndarray:
            return self.frames(key, rows[key].reshape(-1), size)

        pixels = sum(rows[key].size * np.prod(self.info.features[key].hwc()[:2]) for key in rows)
        if min(self._threads, len(rows)) < 2 or pixels < WORTH_THREADS_PX:
            return {key: one(key) for key in rows}
        with ThreadPoolExecutor(min(self._threads, len(rows))) as pool:
            return dict(zip(rows, pool.map(one, rows), strict=True))

    def _values(self, key: str, rows: np.ndarray, pictures: np.ndarray | None) -> Any:
        """The feature at rows (n,) or (n, T); a video of one neighbour has no axis for it, as in LeRobot."""
        if pictures is not None:
            squeezed = self.info.features[key].is_video and rows.shape[1:] == (1,)
            return pictures if squeezed else pictures.reshape(*rows.shape, *pictures.shape[1:])
        column = self.columns[key]
        if isinstance(column, np.ndarray):
            return column[rows]
        return [[column[i] for i in row] if rows.ndim > 1 else column[row] for row in rows]

    def _as_tensors(self, whole: dict[str, Any]) -> dict[str, Any]:
        import torch

        def one(key: str, value: Any) -> Any:
            if isinstance(value, list):
                return value
            if key in self.camera_keys and self._float_chw:
                if value.dtype != np.uint8:                                               # depth: levels
                    return torch.from_numpy(value.astype(np.float32)).movedim(-1, -3).contiguous()
                return torch.from_numpy(value).movedim(-1, -3).contiguous().float().div_(255)   # (..., 3, H, W)
            return torch.as_tensor(value)

        return {key: one(key, value) for key, value in whole.items()}


def _room(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise SmolkitError("SK440", f"memory for {shape[0]} pictures of {shape[1]} x {shape[2]} px", str(error),
                           "all pictures of a dataset at once, in full size",
                           "give to_arrays a size=, or a cache= folder; or read them in batches") from error


def load_stats(root: Path, version: tuple[int, int]) -> dict[str, Stats]:
    """meta/stats.json, or in v2.1 the merge of meta/episodes_stats.jsonl."""
    if version != (2, 1):
        return _stats_of(root / STATS_PATH, read_object(root / STATS_PATH))
    path = root / "meta/episodes_stats.jsonl"
    parts = [_stats_of(path, line["stats"]) for line in json_lines(path, "stats")]
    if not parts or any(part.keys() != parts[0].keys() for part in parts):
        raise damaged(path, "no line, or lines with other features than the first")
    try:
        return {key: merge_stats([part[key] for part in parts]) for key in parts[0]}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _stats_of(path: Path, raw: Any) -> dict[str, Stats]:
    try:
        return from_json(raw)
    except (AttributeError, TypeError, ValueError) as error:
        raise damaged(path, f"no statistics by feature and name: {error}") from error


def select(layout: Layout, wanted: Sequence[int] | None) -> tuple[Episode, ...]:
    """The chosen episodes in file order; SK408 where there are none at all, SK409 where one does not exist."""
    if not layout.episodes:
        raise SmolkitError("SK408", f"at least one episode in {layout.root}", "an empty dataset",
                           "nothing was saved: save_episode() was never called", "record an episode first")
    if wanted is None:
        return layout.episodes
    absent = sorted(set(wanted) - {episode.index for episode in layout.episodes})
    if absent or not wanted:
        raise SmolkitError("SK409", f"episodes among 0..{len(layout.episodes) - 1}",
                           str(absent or list(wanted)), "the list was made for another dataset",
                           "look at dataset.info.total_episodes")
    return tuple(episode for episode in layout.episodes if episode.index in set(wanted))


def _frame_offsets(layout: Layout, deltas: Mapping[str, Sequence[float]],
                   tolerance_s: float) -> dict[str, np.ndarray]:
    """Seconds to frames; each must lie on the grid of 1/fps."""
    offsets, fps = {}, layout.info.fps
    for key, seconds in deltas.items():
        if key not in layout.info.features:
            raise SmolkitError("SK409", f"a feature among {sorted(layout.info.features)}", key,
                               "a typing error in delta_timestamps", "correct the name")
        exact = np.asarray(seconds, dtype=float)
        offsets[key] = np.round(exact * fps).astype(int)
        if len(exact) == 0 or np.abs(offsets[key] / fps - exact).max() > tolerance_s:
            raise SmolkitError("SK409", f"times of {key} that are multiples of 1/{fps} s", str(list(seconds)),
                               "the policy was made for another frame rate", "use n / dataset.fps")
    return offsets
