"""A camera's pictures by episode and frame: which file, which frame of it, which shape; and pictures out of PNGs.

    shots = Shots(root, "observation.images.front", layout.episodes, layout.info)
    shots.read(places, steps, hwc=(480, 640, 3), size=None, out=out)        # frame steps[i] of episode places[i]

>>> frame_shape(Feature("video", (3, 480, 640)), size=(64, 64))             # stored channels first, given last
(64, 64, 3)
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from smolkit.data.decoding import OFF_GRID, Size, VideoPool
from smolkit.data.files import damaged
from smolkit.data.layout import Episode, inside
from smolkit.data.schema import Feature, Info
from smolkit.report import SmolkitError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")              # what recorders write; Pillow knows a hundred more
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, OverflowError, MemoryError,
               Image.DecompressionBombError)


def frame_shape(feature: Feature, size: Size | None = None) -> tuple[int, int, int]:
    """(H, W, channels) of a picture as it is read: one channel stays one, anything else is RGB."""
    height, width, channels = feature.hwc()
    return (*(size or (height, width)), 1 if channels == 1 else 3)


class Shots:
    """One camera of some episodes: their places in its mp4 files, and the files, open while they are used."""

    def __init__(self, root: Path, key: str, episodes: Sequence[Episode], info: Info):
        spans = [episode.videos[key] for episode in episodes]
        files = list(dict.fromkeys(span.file for span in spans))
        self.key, self._paths = key, [inside(root, file) for file in files]
        number = {file: place for place, file in enumerate(files)}
        self._file = np.array([number[span.file] for span in spans], np.int32)                   # (E,)
        exact = np.array([span.from_s for span in spans]) * info.fps
        self._first = np.round(exact).astype(np.int64)                                           # (E,)
        self._length = np.array([episode.length for episode in episodes])
        self._shown = np.array([(span.to_s - span.from_s) * info.fps for span in spans])
        self._fits = (np.abs(exact - self._first) <= OFF_GRID) & (np.abs(self._shown - self._length) < 0.5)
        self._index = [episode.index for episode in episodes]
        self._pool = VideoPool(info.fps)

    def read(self, places: np.ndarray, steps: np.ndarray, hwc: tuple[int, int, int], size: Size | None,
             out: np.ndarray) -> None:
        """Frame steps[i] of the places[i]-th episode into out[i]; each file is decoded once, front to back."""
        self._check(places)
        numbers, files = self._first[places] + steps, self._file[places]
        for file in dict.fromkeys(files.tolist()):
            slots = np.flatnonzero(files == file)
            slots = slots[np.argsort(numbers[slots], kind="stable")]
            self._pool.read(self._paths[file], numbers[slots].tolist(), hwc, size, out, slots.tolist())

    def close(self) -> None:
        self._pool.close()

    def _check(self, places: np.ndarray) -> None:
        """A camera that dropped frames but kept its rows would show the wrong picture, and nobody would see it."""
        strange = places[~self._fits[places]]
        if len(strange):
            place = int(strange[0])
            path = self._paths[self._file[place]]
            raise SmolkitError(
                "SK406", f"{self._length[place]} frames of {self.key} in episode {self._index[place]}, one a row",
                f"{self._shown[place]:.2f} frames from frame {self._first[place]} on in {path}",
                "the encoder lagged and dropped frames, but the rows were kept",
                "leave the episode out: no picture of it is surely the one of its row")


def decode_image(encoded: bytes, feature: Feature, size: Size | None = None) -> np.ndarray:
    """A PNG out of a table as (H, W, 3) uint8, or (H, W, 1); its size is looked at before it is unpacked."""
    height, width, channels = feature.hwc()
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            if picture.size != (width, height):
                raise ValueError(f"{picture.height} x {picture.width} px, info.json says {height} x {width}")
            if channels == 1 and picture.mode.startswith("I"):
                image = np.asarray(picture)
            else:
                image = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except _UNREADABLE as error:
        raise damaged(Path("(a picture inside a data file)"), str(error)) from error
    return _fitted(image.reshape(height, width, -1), feature, size)


def _fitted(image: np.ndarray, feature: Feature, size: Size | None) -> np.ndarray:
    highest = np.iinfo(feature.pixel_dtype).max
    if image.dtype != np.uint8 and (image.min() < 0 or image.max() > highest):
        raise damaged(Path("(a picture inside a data file)"), f"levels up to {image.max()}, at most {highest} expected")
    image = image.astype(feature.pixel_dtype, copy=False)
    if size is None:
        return image
    if image.shape[2] == 1:
        scaled = Image.fromarray(image[..., 0]).resize(size[::-1], Image.Resampling.NEAREST)
        return np.asarray(scaled)[..., None]
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))
