"""Frames out of mp4 files by their number, exactly; files stay open, reading forward goes on decoding.

    video = VideoFile(Path("file-000.mp4"), fps=30)
    images = list(video.read([0, 1, 7]))                         # each (H, W, 3) uint8

A camera of one channel gives (H, W, 1): uint8, or uint16 where its pixels have more than 8 bits (depth as LeRobot
0.6 stores it, gray12). Those are the levels of the file and no metres: going through RGB would lose four of
their bits, and how levels become distances is the recorder's own formula, which stands in the feature's `info`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from smolkit.data.files import damaged
from smolkit.data.video import KEY_FRAME_EVERY, _open
from smolkit.report import SmolkitError

OPEN_FILES = 32                    # per camera, about 1.3 MB each
OFF_GRID = 0.1                     # of a frame's duration: what lies farther off is another frame
Size = tuple[int, int]             # (height, width) px


class VideoFile:
    """One open mp4 that finds frames by number; a seek happens only where it saves decoding."""

    def __init__(self, path: Path, fps: int):
        self.path, self._fps = path, fps
        self._container = _open(path)
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1      # tiny frames: threads cost more than they bring
        self.size = (self._stream.height, self._stream.width)
        self._index = self._stream.index_entries         # decoding times; B-frames put them before the shown ones
        self._start = self._stream.start_time or 0
        self._ticks_per_frame = float(1 / (self._fps * self._stream.time_base))
        self._delay = max(0, self._start - self._index[0].timestamp) if len(self._index) else 0
        self._reformat = VideoReformatter().reformat
        self._decoded: Iterator[av.VideoFrame] = iter(())
        self._next: float | None = None                  # number of the frame that comes next

    def read(self, numbers: Iterable[int], size: Size | None = None, channels: int = 3) -> Iterator[np.ndarray]:
        """The frames of these ascending numbers, each (H, W, channels); size (H, W) px resizes."""
        frame = image = None
        for wanted in numbers:
            if frame is None or not self._is(frame, wanted):
                frame = self._find(wanted)
                image = self._image(frame, wanted, size, channels)
            yield image

    def close(self) -> None:
        self._container.close()

    def _find(self, wanted: int) -> av.VideoFrame:
        try:
            if self._next is not None and self._key_before(wanted) <= self._next <= wanted + OFF_GRID:
                frame = self._forward(wanted)
            else:
                frame = self._from_key_frame(wanted)
        except av.FFmpegError as error:
            raise self._lost(wanted, str(error)) from error
        if not self._is(frame, wanted):
            raise self._lost(wanted, f"it is missing, frame {self._number(frame):g} follows")
        return frame

    def _key_before(self, wanted: int) -> float:
        """Number of the last key frame at or before the wanted one, as the index tells it."""
        place = self._index.search_timestamp(self._ticks(wanted) - self._delay) if len(self._index) else -1
        if place < 0:
            return wanted - KEY_FRAME_EVERY
        return self._as_number(self._index[place].timestamp + self._delay)

    def _from_key_frame(self, wanted: int) -> av.VideoFrame:
        """Where the index was wrong a seek lands behind the wanted frame: then from further back, at last from 0."""
        for back in (0, 2 * KEY_FRAME_EVERY, wanted):
            self._seek(max(0, wanted - back))
            frame = self._forward(wanted)
            if self._is(frame, wanted):
                break
        return frame

    def _forward(self, wanted: int) -> av.VideoFrame:
        """Decodes on until the wanted frame, or the first one behind it."""
        for frame in self._decoded:
            if frame.pts is None:
                raise self._lost(wanted, "a frame without a time")
            self._next = self._number(frame) + 1
            if self._next > wanted + 1 - OFF_GRID:
                return frame
        raise self._lost(wanted, "it ends before")

    def _lost(self, wanted: int, found: str) -> SmolkitError:
        self._next = None
        return damaged(self.path, f"no frame {wanted} ({wanted / self._fps:.3f} s): {found}")

    def _seek(self, number: int) -> None:
        """To the key frame at or before a frame number."""
        self._container.seek(self._ticks(number) - self._delay, stream=self._stream)
        self._decoded = self._container.decode(self._stream)
        self._next = None

    def _ticks(self, number: int) -> int:
        return round(number * self._ticks_per_frame) + self._start

    def _as_number(self, ticks: int) -> float:
        return (ticks - self._start) / self._ticks_per_frame

    def _number(self, frame: av.VideoFrame) -> float:
        """Not rounded: of a 30 fps video in a 10 fps dataset two of three frames have no number."""
        return self._as_number(frame.pts)

    def _is(self, frame: av.VideoFrame, wanted: int) -> bool:
        return abs(self._number(frame) - wanted) <= OFF_GRID

    def _image(self, frame: av.VideoFrame, wanted: int, size: Size | None, channels: int) -> np.ndarray:
        if (frame.height, frame.width) != self.size:
            raise self._lost(wanted, f"{frame.height} x {frame.width} px, the others have {self.size}")
        height, width = size or self.size
        resize = {"interpolation": "AREA"} if size else {}
        deep = frame.format.components[0].bits > 8
        if deep and (channels == 1) != frame.format.name.startswith("gray"):
            raise self._lost(wanted, f"pixels as {frame.format.name}, info.json says {channels} channels")
        kept = "rgb24" if channels != 1 else frame.format.name if deep else "gray"
        # One thread: by default each conversion starts some and waits for them, three times as long as it works.
        image = self._reformat(frame, width=width, height=height, format=kept, threads=1, **resize).to_ndarray()
        return image[..., None] if channels == 1 else image                      # (H, W, channels)


class VideoPool:
    """One camera's files; the last used ones stay open. Several threads may read, one after another.

    A forked worker (a DataLoader's) opens its own, because file positions are shared over a fork. It must not
    even close those that it inherited: FFmpeg would wait for threads that did not come along.
    """

    def __init__(self, fps: int):
        self._fps = fps
        self._open: OrderedDict[Path, VideoFile] = OrderedDict()
        self._inherited: list[OrderedDict[Path, VideoFile]] = []
        self._process, self._lock = os.getpid(), threading.Lock()

    def read(self, path: Path, numbers: Sequence[int], hwc: tuple[int, int, int], size: Size | None,
             out: np.ndarray, slots: Sequence[int]) -> None:
        """The frames of ascending numbers into out[slots]; SK404 where the file's pictures have another shape."""
        self._leave_parents_files()
        with self._lock:
            video = self._get(path)
            if video.size != hwc[:2]:
                raise damaged(path, f"frames of {video.size} px, info.json says {hwc[:2]}")
            for slot, image in zip(slots, video.read(numbers, size, hwc[2]), strict=True):
                if not np.can_cast(image.dtype, out.dtype):
                    raise damaged(path, f"{image.dtype} pixels in a camera that info.json does not mark as depth")
                out[slot] = image

    def _leave_parents_files(self) -> None:
        if self._process != os.getpid():
            self._inherited.append(self._open)
            self._open, self._process, self._lock = OrderedDict(), os.getpid(), threading.Lock()

    def _get(self, path: Path) -> VideoFile:
        if path not in self._open:
            self._open[path] = VideoFile(path, self._fps)
        self._open.move_to_end(path)
        while len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return self._open[path]

    def __getstate__(self) -> dict:
        return {"_fps": self._fps, "_open": OrderedDict(), "_inherited": [], "_process": -1, "_lock": None}

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
