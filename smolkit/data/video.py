"""Camera pictures as mp4: encoded from memory while recording, appended without loss, read frame by frame.

    >>> encoder = VideoEncoder(16, 16, fps=10)
    >>> for level in (0, 120, 240):
    ...     encoder.add(np.full((16, 16, 3), level, np.uint8))
    >>> one = encoder.finish()                     # a whole mp4 in bytes, 3 frames
    >>> both = append(one, one)                    # 6 frames, by copying packets
    >>> frame_count(both)
    6

H.264 is the default: any browser plays it, and a small computer encodes it twice as fast as AV1. No B-frames,
a key frame at least every 15: a random frame costs few decoded ones, and a file can be cut after any frame.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from smolkit.data.files import damaged, missing
from smolkit.report import SmolkitError

TICKS_PER_FRAME = 512                        # time base 1/(512 fps), as LeRobot's files have
ENCODERS = {"h264": ("libx264", {"preset": "veryfast", "crf": "18", "bf": "0"}),
            "av1": ("libsvtav1", {"preset": "12", "crf": "30", "svtav1-params": "lp=1"})}
KEY_FRAME_EVERY = 15
OPEN_FILES = 16


def available_codecs() -> tuple[str, ...]:
    """Which of "h264" and "av1" this PyAV can encode, the default one first."""
    return tuple(name for name, (encoder, _) in ENCODERS.items() if encoder in av.codecs_available)


def choose_codec(wanted: str | None) -> str:
    """The codec to record with; None takes the best that is there."""
    found = available_codecs()
    if not found or (wanted is not None and wanted not in found):
        raise SmolkitError("SK414", f"an encoder for {wanted or 'h264 or av1'}",
                           f"PyAV encodes {found or 'neither'}", "this build of PyAV was made without it",
                           "pip install --force-reinstall av")
    return wanted or found[0]


class VideoEncoder:
    """Encodes one episode of one camera into memory: about 1 to 2 KB a frame instead of 900.

    Frames are (H, W, 3) uint8 RGB with even sides.
    """

    def __init__(self, height_px: int, width_px: int, fps: int, codec: str = "h264"):
        name, options = ENCODERS[codec]
        self.frames = 0
        self._memory = io.BytesIO()
        self._container = av.open(self._memory, "w", format="mp4", options=_muxing(fps))
        options = {**options, "g": str(KEY_FRAME_EVERY)}
        self._stream = self._container.add_stream(name, rate=fps, options=options)
        self._stream.width, self._stream.height = width_px, height_px
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, fps)
        self._stream.codec_context.thread_count = 1          # the same bytes on every machine
        self._reformat = VideoReformatter().reformat         # one converter for all frames, not one each

    def add(self, image: np.ndarray) -> None:
        frame = self._reformat(av.VideoFrame.from_ndarray(image, format="rgb24"), format="yuv420p")
        frame.pts = self.frames
        self.frames += 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> bytes:
        """The mp4."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._memory.getvalue()


def _muxing(fps: int) -> dict[str, str]:
    return {"video_track_timescale": str(fps * TICKS_PER_FRAME)}


def append(first: bytes, second: bytes) -> bytes | None:
    """Both videos in one mp4, by copying packets; None where their encoder settings differ."""
    with _open(first) as a, _open(second) as b:
        if not _same_encoding(a.streams.video[0], b.streams.video[0]):
            return None
        return _remux([a, b])


def cut(video: bytes, frames: int) -> bytes:
    """The first `frames` frames, by copying packets."""
    with _open(video) as container:
        return _remux([container], frames)


def frame_count(video: bytes | Path) -> int:
    """How many frames the mp4 holds, from its index."""
    with _open(video) as container:
        return container.streams.video[0].frames


def _same_encoding(a: av.VideoStream, b: av.VideoStream) -> bool:
    left, right = a.codec_context, b.codec_context
    return ((left.name, left.width, left.height, left.pix_fmt, left.extradata, a.time_base)
            == (right.name, right.width, right.height, right.pix_fmt, right.extradata, b.time_base))


def _remux(sources: list[av.container.InputContainer], limit: int | None = None) -> bytes:
    memory, stream = io.BytesIO(), sources[0].streams.video[0]
    fps = round(stream.average_rate)
    ticks = int(1 / (stream.time_base * fps))
    with av.open(memory, "w", format="mp4", options=_muxing(fps)) as out:
        target, written = out.add_stream_from_template(stream, opaque=True), 0
        for source in sources:
            shift = written * ticks
            for packet in _packets(source):
                if written == limit:
                    break
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = target
                out.mux(packet)
                written += 1
    return memory.getvalue()


def _packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    for packet in container.demux(video=0):
        if packet.size:
            yield packet


def _open(video: bytes | Path) -> av.container.InputContainer:
    if isinstance(video, Path) and not video.is_file():
        raise missing(video)
    name = video if isinstance(video, Path) else Path("(video in memory)")
    try:
        container = av.open(io.BytesIO(video) if isinstance(video, bytes) else str(video))
    except (av.FFmpegError, OSError) as error:
        raise damaged(name, str(error)) from error
    streams = container.streams.video                  # a truncated index can open and know no codec
    if not streams or streams[0].codec_context is None or not streams[0].average_rate:
        container.close()
        raise damaged(name, "no readable video stream in it")
    return container


def probe(video: bytes | Path) -> dict[str, object]:
    """A camera's `info` as LeRobot writes it into info.json."""
    with _open(video) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.codec.canonical_name
        return {"video.height": stream.height, "video.width": stream.width, "video.codec": codec,
                "video.pix_fmt": stream.pix_fmt, "video.is_depth_map": False,
                "video.fps": round(stream.average_rate), "video.channels": 3, "has_audio": False}


class VideoFile:
    """One open mp4 that finds frames by number; reading forward decodes on without seeking."""

    def __init__(self, path: Path, fps: int):
        self.path, self._fps = path, fps
        self._container = _open(path)
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1      # tiny frames: threads cost more than they bring
        self._reformat = VideoReformatter().reformat
        self._decoded: Iterator[av.VideoFrame] = iter(())
        self._next: int | None = None                    # number of the frame that comes next

    def read(self, numbers: Iterable[int], size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """The frames of these ascending numbers, each (H, W, 3) uint8; size (H, W) px resizes."""
        frame = None
        for wanted in numbers:
            if frame is None or self._number(frame) != wanted:
                frame = self._find(wanted)
            yield self._rgb(frame, size)

    def close(self) -> None:
        self._container.close()

    def _find(self, wanted: int) -> av.VideoFrame:
        try:
            if self._next is not None and 0 <= wanted - self._next < KEY_FRAME_EVERY:
                frame = self._forward(wanted)
            else:
                frame = self._from_key_frame(wanted)
        except av.FFmpegError as error:
            raise self._lost(wanted, str(error)) from error
        if self._number(frame) != wanted:
            raise self._lost(wanted, f"it is missing, frame {self._number(frame)} follows")
        return frame

    def _from_key_frame(self, wanted: int) -> av.VideoFrame:
        """With B-frames a seek may land behind the wanted frame: then from further back, at last from 0."""
        for back in (0, 2 * KEY_FRAME_EVERY, wanted):
            self._seek(max(0, wanted - back))
            frame = self._forward(wanted)
            if self._number(frame) == wanted:
                break
        return frame

    def _forward(self, wanted: int) -> av.VideoFrame:
        """Decodes on until the wanted frame, or the first one behind it."""
        for frame in self._decoded:
            self._next = self._number(frame) + 1
            if self._next > wanted:
                return frame
        raise self._lost(wanted, "it ends before")

    def _lost(self, wanted: int, found: str) -> SmolkitError:
        self._next = None
        return damaged(self.path, f"no frame {wanted} ({wanted / self._fps:.3f} s): {found}")

    def _seek(self, number: int) -> None:
        """To the key frame at or before a frame number."""
        ticks = round(number / (self._fps * self._stream.time_base))
        self._container.seek(ticks + (self._stream.start_time or 0), stream=self._stream)
        self._decoded = self._container.decode(self._stream)
        self._next = None

    def _number(self, frame: av.VideoFrame) -> int:
        ticks = frame.pts - (self._stream.start_time or 0)
        return round(ticks * self._stream.time_base * self._fps)

    def _rgb(self, frame: av.VideoFrame, size: tuple[int, int] | None) -> np.ndarray:
        height, width = size or (frame.height, frame.width)
        resize = {"interpolation": "AREA"} if size else {}
        return self._reformat(frame, width=width, height=height, format="rgb24", **resize).to_ndarray()


class VideoPool:
    """Keeps the last used videos open: opening one costs as much as decoding ten frames.

    A forked worker (a DataLoader's) opens its own, because file positions are shared over a fork. It must not
    even close those that it inherited: FFmpeg would wait for threads that did not come along.
    """

    def __init__(self, fps: int):
        self._fps = fps
        self._open: OrderedDict[Path, VideoFile] = OrderedDict()
        self._inherited: list[OrderedDict[Path, VideoFile]] = []
        self._process = os.getpid()

    def get(self, path: Path) -> VideoFile:
        if self._process != os.getpid():
            self._inherited.append(self._open)
            self._open, self._process = OrderedDict(), os.getpid()
        if path not in self._open:
            self._open[path] = VideoFile(path, self._fps)
        self._open.move_to_end(path)
        while len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return self._open[path]

    def __getstate__(self) -> dict:
        return {"_fps": self._fps, "_open": OrderedDict(), "_inherited": [], "_process": -1}

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
