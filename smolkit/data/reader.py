"""Reading a LeRobot dataset (v3.0, v2.1): rows as arrays, frames decoded exactly, no network, no cache files.

    dataset = Dataset("datasets/red_cube")
    dataset[0]["observation.images.front"]               # (H, W, 3) uint8; as_torch: (3, H, W) float
    dataset.episode(3)["action"]                         # (T, 6) float32
    dataset.frames("observation.images.wrist", [0, 7])   # (2, H, W, 3) uint8
    everything = dataset.to_arrays(size=(64, 64))        # for training: all rows, all frames, in memory
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from smolkit.data.columns import Columns, join, read_columns, take
from smolkit.data.files import damaged, missing
from smolkit.data.layout import Episode, Layout, json_lines, load_layout
from smolkit.data.schema import EXTRA_PATH, STATS_PATH, read_object
from smolkit.data.stats import Stats, from_json, merge_stats
from smolkit.data.video import VideoPool
from smolkit.report import SmolkitError

Size = tuple[int, int]             # (height, width) px


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
    float32 (3, H, W) in 0..1 unless `float_chw=False` keeps them uint8 (H, W, 3).

    Raises SmolkitError: SK401..SK406 for what is missing, damaged or contradictory (the file is named),
    SK408 for an empty dataset, SK409 for an unfit argument.
    """

    def __init__(self, root: str | Path, episodes: Sequence[int] | None = None, *, as_torch: bool = False,
                 delta_timestamps: Mapping[str, Sequence[float]] | None = None,
                 float_chw: bool | None = None, tolerance_s: float = 1e-4):
        self.root = Path(root)
        self.layout = load_layout(self.root)
        self.info = self.layout.info
        self.episodes = _select(self.layout, episodes)
        self.as_torch, self._float_chw = as_torch, as_torch if float_chw is None else float_chw
        self._deltas = _frame_offsets(self.layout, delta_timestamps or {}, tolerance_s)
        self.columns = _load_rows(self.layout, self.episodes)
        self.starts = np.cumsum([0, *(episode.length for episode in self.episodes)])      # (E + 1,)
        self._videos = VideoPool(self.info.fps)
        self._check_videos()

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
        position %= len(self)
        item: dict[str, Any] = {}
        for key, feature in self.info.features.items():
            if feature.is_camera or key in self.columns:
                item.update(self._entry(key, position))
        item["task"] = self.tasks[int(self.columns["task_index"][position])]
        return self._as_tensors(item) if self.as_torch else item

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

    def frames(self, key: str, positions: Sequence[int] | np.ndarray,
               size: Size | None = None) -> np.ndarray:
        """The camera's frames at these rows, in this order; (n, H, W, 3) uint8, `size` (H, W) px resizes."""
        wanted = np.asarray(positions, dtype=int).reshape(-1)
        height, width = size or self.info.features[key].hwc()[:2]
        out = np.empty((len(wanted), height, width, 3), np.uint8)
        if not self.info.features[key].is_video:
            for slot, position in enumerate(wanted):
                out[slot] = _decode_image(self.columns[key][position], size)
            return out
        for file, slots, numbers in self._by_file(key, wanted):
            images = self._videos.get(self.root / file).read(numbers, size)
            for slot, image in zip(slots, images, strict=True):
                if image.shape != out.shape[1:]:
                    raise damaged(self.root / file, f"frames {image.shape}, info.json says {out.shape[1:]}")
                out[slot] = image
        return out

    def to_arrays(self, size: Size | None = None, cameras: Sequence[str] | None = None) -> Arrays:
        """All rows and all frames, every video decoded once from front to back.

        Memory: rows x height x width x 3 bytes per camera; `size` (H, W) px shrinks while decoding.
        """
        keys = self.camera_keys if cameras is None else cameras
        frames = {key: self.frames(key, np.arange(len(self)), size) for key in keys}
        numbers = {key: values for key, values in self.columns.items() if key not in self.camera_keys}
        return Arrays(numbers, frames, self.tasks, self.starts)

    def stats(self) -> dict[str, Stats]:
        """The dataset's statistics: meta/stats.json, or merged from the episodes' in v2.1."""
        return load_stats(self.root, self.info.version)

    def extra(self) -> dict[str, Any]:
        """What smolkit adds (units, calibration); {} for datasets of other recorders."""
        path = self.root / EXTRA_PATH
        return read_object(path) if path.is_file() else {}

    def close(self) -> None:
        self._videos.close()

    def _entry(self, key: str, position: int) -> dict[str, Any]:
        offsets = self._deltas.get(key)
        if offsets is None:
            camera = key in self.camera_keys
            return {key: self.frames(key, [position])[0] if camera else self.columns[key][position]}
        rows, is_pad = self._neighbours(position, offsets)
        if key in self.camera_keys:
            values = self.frames(key, rows)
            values = values[0] if len(rows) == 1 and self.info.features[key].is_video else values
        else:
            column = self.columns[key]
            values = column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        return {key: values, f"{key}_is_pad": is_pad}

    def _neighbours(self, position: int, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows at these offsets, clamped to the episode; (T,) positions and (T,) bool where clamped."""
        place = int(np.searchsorted(self.starts, position, side="right")) - 1
        wanted = position + offsets
        rows = np.clip(wanted, self.starts[place], self.starts[place + 1] - 1)
        return rows, rows != wanted

    def _by_file(self, key: str, wanted: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(mp4, slots in the answer, ascending frame numbers in the mp4) for the wanted positions."""
        places = np.searchsorted(self.starts, wanted, side="right") - 1                   # (n,)
        spans = [episode.videos[key] for episode in self.episodes]
        first = np.array([round(span.from_s * self.fps) for span in spans])
        numbers = first[places] + wanted - self.starts[places]
        files = np.array([span.file for span in spans])[places]
        for file in dict.fromkeys(files.tolist()):
            slots = np.flatnonzero(files == file)
            slots = slots[np.argsort(numbers[slots], kind="stable")]
            yield file, slots, numbers[slots]

    def _check_videos(self) -> None:
        for file in {span.file for episode in self.episodes for span in episode.videos.values()}:
            if not (self.root / file).is_file():
                raise missing(self.root / file)

    def _as_tensors(self, item: dict[str, Any]) -> dict[str, Any]:
        import torch

        def one(key: str, value: Any) -> Any:
            if isinstance(value, str | list):
                return value
            tensor = torch.as_tensor(value)
            if key in self.camera_keys and self._float_chw:
                return tensor.movedim(-1, -3).contiguous().float() / 255          # (..., 3, H, W) in 0..1
            return tensor

        return {key: one(key, value) for key, value in item.items()}


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


def _select(layout: Layout, wanted: Sequence[int] | None) -> tuple[Episode, ...]:
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


def _load_rows(layout: Layout, episodes: tuple[Episode, ...]) -> Columns:
    """The rows of these episodes in order, each file read once, checked against the episodes table."""
    parts = []
    for file in dict.fromkeys(episode.data_file for episode in episodes):
        here = [episode for episode in episodes if episode.data_file == file]
        columns = read_columns(layout.root / file, layout.info.features)
        part = take(columns, np.isin(columns["episode_index"], [episode.index for episode in here]))
        _check_rows(layout.root / file, part, here)
        _check_tasks(layout, layout.root / file, part["task_index"])
        parts.append(part)
    return join(parts)


def _check_tasks(layout: Layout, path: Path, task_index: np.ndarray) -> None:
    """Python would take task -1 for the last one."""
    strange = task_index[(task_index < 0) | (task_index >= len(layout.tasks))]
    if len(strange):
        raise SmolkitError("SK406", f"task_index in 0..{len(layout.tasks) - 1} in {path}", str(strange[0]),
                           "the tasks table belongs to another recording, or was edited",
                           "copy the whole dataset again")


def _check_rows(path: Path, part: Columns, episodes: list[Episode]) -> None:
    wanted = np.concatenate([np.arange(e.from_index, e.to_index) for e in episodes])
    owners = np.repeat([e.index for e in episodes], [e.length for e in episodes])
    if not (np.array_equal(part["index"], wanted) and np.array_equal(part["episode_index"], owners)):
        span = f"{episodes[0].index}..{episodes[-1].index}"
        raise SmolkitError("SK406", f"{len(wanted)} rows of episodes {span} in order in {path}",
                           f"{len(part['index'])} rows, or in another order",
                           "the file belongs to another recording, or an edit broke off",
                           "copy the whole dataset again")


def _decode_image(encoded: bytes, size: Size | None) -> np.ndarray:
    try:
        picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise damaged(Path("(a picture inside a data file)"), str(error)) from error
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BOX) if size else picture)
