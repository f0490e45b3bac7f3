"""What a LeRobot dataset says about itself: features, counters and path templates of meta/info.json.

    >>> info = Info(fps=30, features={"action": Feature("float32", (6,))}, robot_type="so101_follower")
    >>> info.data_file(0, 3)
    'data/chunk-000/file-003.parquet'
    >>> info.version
    (3, 0)

Source: LeRobot's dataset format v3.0 and v2.1. Unknown fields of info.json are kept and written back.
A dataset may come from a stranger, so its templates are parsed by us and can't leave the folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from smolkit.data.files import damaged, read_bytes
from smolkit.report import SmolkitError

VERSION = "v3.0"
READABLE_VERSIONS = {(2, 0), (2, 1), (3, 0)}
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO_PATH, STATS_PATH, TASKS_PATH = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EXTRA_PATH = "meta/smolkit.json"        # units and calibration: LeRobot reads only the files it knows

AUTOMATIC = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64",
             "index": "int64", "task_index": "int64"}
NUMBERS = {"float16", "float32", "float64", "int8", "int16", "int32", "int64",
           "uint8", "uint16", "uint32", "uint64", "bool"}
DTYPES = NUMBERS | {"string", "image", "video", "language"}      # "language": annotations, which are not read
MOST_FPS = 10_000
LONGEST = 200                           # of a name in a path; file systems end at 255 bytes
MOST_NUMBERS = 2**28                    # in one row of one feature: four channels of 8192 x 8192
NEEDED = ("index", "episode_index", "task_index")
_FIELD = re.compile(r"\{(\w+)(?::0?(\d{1,2})d)?\}")
_KNOWN = ("codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks",
          "chunks_size", "data_files_size_in_mb", "video_files_size_in_mb", "fps", "splits", "data_path",
          "video_path", "features")


@dataclass(frozen=True)
class Feature:
    """One column or camera: its dtype, its shape as info.json spells it, and the names of its entries."""

    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)     # "info" of a camera, "fps" of converted sets

    @property
    def is_video(self) -> bool:
        return self.dtype == "video"

    @property
    def is_camera(self) -> bool:
        return self.dtype in ("video", "image")

    @property
    def is_number(self) -> bool:
        return self.dtype in NUMBERS

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row in memory: a feature of shape [1] is a plain number."""
        return () if self.shape == (1,) else self.shape

    @property
    def is_depth(self) -> bool:
        """Distances, not colours. The mark has stood in three places: LeRobot 0.6.2, 0.4.4, and sets of v2.0."""
        infos = [self.extra, *(self.extra.get(name) for name in ("info", "video_info"))]
        return any(info.get(mark) is True for info in infos if isinstance(info, Mapping)
                   for mark in ("is_depth_map", "video.is_depth_map"))

    @property
    def pixel_dtype(self) -> str:
        """Depth of one channel keeps its 12 or 16 bits; everything else is 8-bit."""
        return "uint16" if self.is_depth and self.hwc()[2] == 1 else "uint8"

    def hwc(self) -> tuple[int, int, int]:
        """(height, width, channels) in px: old sets put the channels first, as `names` tells.

        >>> Feature("video", (3, 480, 640)).hwc()             # no names: 640 can't be a number of channels
        (480, 640, 3)
        """
        first, second, third = self.shape
        names = self.names
        if isinstance(names, Mapping):                     # {"axes": ["channels", "height", "width"]}
            names = next((value for value in names.values() if isinstance(value, list)), None)
        if isinstance(names, list) and any(str(name).startswith("channel") for name in names):
            channels_first = str(names[0]).startswith("channel")
        else:
            channels_first = first in (1, 3) and third not in (1, 3)
        return (second, third, first) if channels_first else (first, second, third)

    def as_json(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "shape": list(self.shape), "names": self.names, **self.extra}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Feature:
        """Raises ValueError for a dtype that nobody knows, and for a camera that is no picture."""
        extra = {k: v for k, v in value.items() if k not in ("dtype", "shape", "names")}
        feature = Feature(str(value["dtype"]), tuple(whole("shape", n) for n in value["shape"]), value.get("names"),
                          extra)
        if feature.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {feature.dtype!r}")
        if feature.is_camera and (len(feature.shape) != 3 or 0 in feature.shape):
            raise ValueError(f"a camera of shape {list(feature.shape)}, not height, width and channels")
        if math.prod(feature.shape) > MOST_NUMBERS:
            raise ValueError(f"a feature of shape {list(feature.shape)}: {math.prod(feature.shape):,} numbers a row")
        return feature


@dataclass(frozen=True)
class Info:
    """meta/info.json."""

    fps: int
    features: Mapping[str, Feature]
    robot_type: str | None = None
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    codebase_version: str = VERSION
    chunks_size: int = 1000
    data_files_size_in_mb: int = 100
    video_files_size_in_mb: int = 200
    data_path: str = DATA_PATH
    video_path: str | None = VIDEO_PATH
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> tuple[int, int]:
        return parse_version(self.codebase_version)

    @property
    def video_keys(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature.is_video]

    @property
    def camera_keys(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature.is_camera]

    def data_file(self, chunk: int, file: int, episode: int = 0) -> str:
        return fill(self.data_path, "", chunk, file, episode)

    def video_file(self, key: str, chunk: int, file: int, episode: int = 0) -> str:
        return fill(self.video_path or VIDEO_PATH, key, chunk, file, episode)

    def counted(self, episodes: int, frames: int, tasks: int) -> Info:
        """The same with new totals."""
        return replace(self, total_episodes=episodes, total_frames=frames, total_tasks=tasks)

    def as_bytes(self) -> bytes:
        known = {name: getattr(self, name) for name in _KNOWN if name not in ("features", "splits")}
        known["splits"] = {"train": f"0:{self.total_episodes}"}
        known["features"] = {key: feature.as_json() for key, feature in self.features.items()}
        ordered = {name: known[name] for name in _KNOWN}
        return json.dumps({**ordered, **self.extra}, indent=4, ensure_ascii=False).encode()


def load_info(root: Path) -> Info:
    """Reads and checks `root/meta/info.json`.

    Raises SmolkitError: SK401 no dataset there, SK402 a version that we can't read, SK404 nonsense inside.
    """
    path = root / INFO_PATH
    if not path.is_file():
        raise SmolkitError("SK401", f"a LeRobot dataset in {root}", f"no {INFO_PATH} there",
                           "the path points above or below the dataset, or nothing was recorded yet",
                           "give the folder that holds meta/, data/ and videos/")
    raw = read_json(path)
    _check_version(path, raw)
    try:
        return _parse_info(raw)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _parse_info(raw: dict[str, Any]) -> Info:
    features = {check_name(key): Feature.from_json(value) for key, value in raw["features"].items()}
    absent = [name for name in NEEDED if name not in features or not features[name].is_number]
    if absent:
        raise ValueError(f"no feature {absent[0]!r} of numbers")
    plain = {name: raw[name] for name in _KNOWN if name in raw and name not in ("features", "splits")}
    extra = {key: value for key, value in raw.items() if key not in _KNOWN}
    counts = {name: whole(name, plain[name]) for name in plain
              if name.startswith("total_") or name in ("fps", "chunks_size")}
    for name in plain:
        if name.endswith("_in_mb"):                        # half a megabyte is a size, too
            whole(name, plain[name] and math.ceil(plain[name]))
    info = Info(**{**plain, **counts, "features": features, "extra": extra})
    if not 0 < info.fps <= MOST_FPS or info.chunks_size <= 0:
        raise ValueError(f"fps {info.fps} and chunks_size {info.chunks_size} must be positive, fps at most {MOST_FPS}")
    return info


def whole(name: str, value: Any) -> int:
    """The number as an int; ValueError for 10.7, for -1 and for what is no number.

    >>> whole("fps", 30.0)
    30
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2**53 or int(value) != value:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a whole number")
    return int(value)


def _check_version(path: Path, raw: Any) -> None:
    found = raw.get("codebase_version", "none") if isinstance(raw, dict) else type(raw).__name__
    if parse_version(str(found)) not in READABLE_VERSIONS:
        raise SmolkitError("SK402", "a LeRobot dataset of version v3.0, v2.1 or v2.0", f"{found} in {path}",
                           "the dataset was recorded with a much older or a newer LeRobot",
                           "convert it with LeRobot's own converter, or record it again")


def parse_version(text: str) -> tuple[int, int]:
    """'v3.0' -> (3, 0); anything else -> (0, 0), which nothing accepts."""
    match = re.fullmatch(r"v?(\d{1,4})\.(\d{1,4})(\.\d+)?", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def read_json(path: Path) -> Any:
    """The file's JSON, or SK403/SK404 naming the file."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"no valid JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The file's JSON object, or SK403/SK404 naming the file."""
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise damaged(path, f"a JSON {type(raw).__name__}, not an object")
    return raw


def check_name(name: str) -> str:
    """Feature names become folders and column prefixes: no separators, no dots alone."""
    if not name or "/" in name or "\\" in name or not name.isprintable() or set(name) == {"."}:
        raise _unsafe(name)
    return name


def fill(template: str, key: str, chunk: int, file: int, episode: int = 0) -> str:
    """A path template with its numbers, relative to the root and never above it.

    Example:
        >>> fill("videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4", "cam", 0, 12)
        'videos/cam/chunk-000/file-012.mp4'

    Only plain fields are understood; str.format would let a stranger's template reach into objects.
    """
    values = {"chunk_index": chunk, "file_index": file, "episode_chunk": chunk, "episode_index": episode}

    def one(match: re.Match[str]) -> str:
        name, width = match[1], int(match[2] or 0)
        if name == "video_key":
            return check_name(key)
        if name not in values:
            raise _unsafe(template)
        return f"{values[name]:0{width}d}" if width else str(values[name])

    path = _FIELD.sub(one, template)
    return check_relative(path)


def check_relative(path: str) -> str:
    """Refuses what would leave the dataset's folder: absolute paths, `..`, drives, stray braces."""
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    if (not path or posix.is_absolute() or windows.drive or windows.root or "\\" in path or "\0" in path
            or ".." in posix.parts or "{" in path or "}" in path or not path.isprintable()
            or max(len(part.encode()) for part in posix.parts) > LONGEST):
        raise _unsafe(path)
    return path


def _unsafe(path: str) -> SmolkitError:
    return SmolkitError("SK405", "a path inside the dataset's folder", repr(path[:LONGEST]),
                        "info.json holds a broken or a hostile path template or feature name",
                        "do not use this dataset; get it from a source that you trust")
