"""Parts of videos joined into new mp4 files without touching a pixel: packets are copied.

    with Splicer(lambda number: out / f"file-{number:03d}.mp4", fps=30, most_bytes=200_000_000) as camera:
        camera.add(Video(source / "file-000.mp4", 30), 300, 600)         # frames 300..599 -> (file 0, its frame 0)

A part that begins at a key frame is copied whole. One that begins elsewhere can't be: its first frames lean on
pictures that are gone. Those alone, up to the next key frame, are encoded again as a *bridge*, with headers of its own
in the stream, and compared: AV1's is lossless, H.264's within 2 of 255 (FFmpeg's decoder can't change to lossless
H.264 within a file). So a file holds its episodes' frames and no other, and each episode begins with a key frame.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from smolkit.data.files import damaged
from smolkit.data.video import ENCODERS, KEY_FRAME_EVERY, TICKS_PER_FRAME, _muxing, _open, choose_codec
from smolkit.report import SmolkitError

# A bridge's headers have a number that no camera uses: the file's own stay valid for the copied packets.
BRIDGES = {"h264": ("libx264", {"qp": "1", "preset": "veryfast", "bf": "0", "g": "9999",
                                "x264-params": "ipratio=1:sps-id=30:annexb=0:repeat-headers=1"}),
           "av1": ("libsvtav1", {"preset": "10", "g": "9999", "svtav1-params": "lossless=1:lp=1:pred-struct=1"})}
os.environ.setdefault("SVT_LOG", "1")        # errors alone: its banner would bury what an edit has to say
FURTHEST = 3                     # of 255, what a bridge's pixels may differ; measured: 2 for H.264, 0 for AV1


class Video:
    """One mp4 to copy from, with an index of its packets (in decoding order)."""

    def __init__(self, path: Path, fps: int):
        self.path, self.fps = path, fps
        self._container = _open(path)
        self.stream = self._container.streams.video[0]
        self.stream.codec_context.thread_count = 1
        found = ((packet.pts, packet.dts, packet.is_keyframe, packet.size) for packet in
                 self._read(self._container.demux) if packet.size and None not in (packet.pts, packet.dts))
        pts, self._dts, key, self.sizes = np.fromiter(found, np.dtype((np.int64, 4))).T
        self.ticks, self.numbers = self._ticks(self._dts), (self._ticks(pts) + TICKS_PER_FRAME // 2) // TICKS_PER_FRAME
        before = np.maximum.accumulate(np.r_[-1, self.numbers])[:-1]
        after = np.minimum.accumulate(self.numbers[::-1])[::-1]
        self.keys = np.flatnonzero((key > 0) & (before < self.numbers) & (after == self.numbers))
        self._next = -1                                          # the packet that demuxing on would give

    def _ticks(self, times: np.ndarray) -> np.ndarray:
        """The stream's times in 1/(512 fps) s from its first picture."""
        scale = float(self.stream.time_base * self.fps * TICKS_PER_FRAME)
        return np.round((times - (self.stream.start_time or 0)) * scale).astype(np.int64)

    @property
    def delay(self) -> int:
        """How far decoding runs ahead of showing, in ticks: 0 without B-frames."""
        return int(self.numbers[0] * TICKS_PER_FRAME - self.ticks[0])

    @property
    def encoding(self) -> tuple:
        """Packets of two videos may follow each other in one file where these are equal."""
        codec = self.stream.codec_context
        return codec.name, codec.width, codec.height, codec.pix_fmt, codec.extradata

    def whole(self, first: int, stop: int) -> tuple[int, int]:
        """Packets i..j-1, which can be copied of frames first..stop-1: (0, 0) where none can. Errors: SK491."""
        inside = (self.numbers >= first) & (self.numbers < stop)
        if len(np.unique(self.numbers[inside])) != stop - first or inside.sum() != stop - first:
            raise SmolkitError("SK491", f"frames {first} to {stop - 1} in {self.path}", f"{inside.sum()} of them",
                               "the camera lost frames, or the video belongs to another recording",
                               "drop this episode, or copy the dataset again; smolkit check dataset tells more")
        keys = self.keys[inside[self.keys]]
        if not len(keys):
            return 0, 0
        last, beyond = np.flatnonzero(self.numbers < stop)[-1], np.flatnonzero(self.numbers >= stop)
        return int(keys[0]), int(last + 1 if not len(beyond) or last < beyond[0] else keys[-1])

    def packets(self, i: int, j: int) -> Iterator[av.Packet]:
        """Packets i..j-1; going on where the last call ended needs no seek."""
        if self._next != i:
            self._container.seek(int(self._dts[i]), stream=self.stream)
        self._next = -1
        for packet in self._read(self._container.demux):
            if packet.size and packet.dts is not None and packet.dts >= self._dts[i]:
                yield packet
                i += 1
                if i == j:
                    self._next = j
                    return

    def frames(self, first: int, stop: int) -> Iterator[av.VideoFrame]:
        """Frames first..stop-1 as the codec has them (yuv420p)."""
        before = self.keys[self.numbers[self.keys] <= first]
        if not len(before):
            raise damaged(self.path, f"no key frame at or before frame {first}")
        key = before[-1]
        self._container.seek(int(self._dts[key]), stream=self.stream)
        self._next = -1
        for frame in self._read(self._container.decode):
            number = (int(self._ticks(np.int64(frame.pts))) + TICKS_PER_FRAME // 2) // TICKS_PER_FRAME
            if first <= number < stop:
                yield frame
            if number >= stop - 1:
                return

    def close(self) -> None:
        self._container.close()

    def _read(self, how: Callable[..., Iterator[Any]]) -> Iterator[Any]:
        try:
            yield from how(self.stream)
        except (av.FFmpegError, OSError) as error:
            raise damaged(self.path, str(error)) from error


class Splicer(AbstractContextManager):
    """One camera's new files; `bridged` counts the frames that could not be copied, `worst` their greatest error.

    `path` names a file by its number; the next one begins where `most_bytes` are reached or the encoding changes.
    """

    def __init__(self, path: Callable[[int], Path], fps: int, most_bytes: int):
        self._path, self._fps, self._most_bytes = path, fps, most_bytes
        self.number, self.bridged, self.worst = -1, 0, 0
        self._out: av.container.OutputContainer | None = None

    def add(self, video: Video, first: int, stop: int) -> tuple[int, int]:
        """Appends frames first..stop-1 of the video; returns the number of the file and their first frame in it."""
        i, j = video.whole(first, stop)
        self._room(video, int(video.sizes[i:j].sum()))
        at, begin = self._frames, int(video.numbers[i]) if j > i else stop
        self._bridge(video, first, begin)
        shift = (at - first) * TICKS_PER_FRAME
        for k, packet in enumerate(video.packets(i, j) if j > i else (), i):
            self._mux(packet, int(video.numbers[k]) * TICKS_PER_FRAME + shift, int(video.ticks[k]) + shift)
        self._bridge(video, begin + j - i, stop)
        return self.number, at

    def _room(self, video: Video, more_bytes: int) -> None:
        if (self._out is None or self._encoding != video.encoding or self._bytes + more_bytes > self._most_bytes
                or self._frames * TICKS_PER_FRAME - video.delay <= self._dts):
            self.close()
            self.number, self._frames, self._bytes, self._dts = self.number + 1, 0, 0, -1 << 62
            path = self._path(self.number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._out = av.open(str(path), "w", format="mp4", options=_muxing(self._fps))
            self._stream = self._out.add_stream_from_template(video.stream, opaque=True)
            self._encoding = video.encoding

    def _bridge(self, video: Video, first: int, stop: int) -> None:
        for packet, worst in bridge(video.frames(first, stop), video) if stop > first else ():
            pts = self._frames * TICKS_PER_FRAME
            self._mux(packet, pts, pts - video.delay)
            self.bridged, self.worst = self.bridged + 1, max(self.worst, worst)

    def _mux(self, packet: av.Packet, pts: int, dts: int) -> None:
        packet.time_base, packet.pts, packet.dts = Fraction(1, self._fps * TICKS_PER_FRAME), pts, dts
        packet.stream, packet.duration, self._dts = self._stream, TICKS_PER_FRAME, dts
        self._frames, self._bytes = self._frames + 1, self._bytes + packet.size
        self._out.mux(packet)

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def __exit__(self, *_: object) -> None:
        self.close()


def bridge(frames: Iterable[av.VideoFrame], video: Video) -> Iterator[tuple[av.Packet, int]]:
    """Packets that decode to these frames, and how far off (of 255) the worst pixel was by then. Errors: SK493."""
    model, waiting, worst = video.stream.codec_context, deque(), 0
    try:
        encoder, decoder = _codecs(model, video.fps)
        for number, frame in enumerate(chain(frames, [None])):
            if frame is not None:
                waiting.append(frame.to_ndarray().astype(np.int16))
                frame.pts, frame.time_base, frame.pict_type = number, encoder.time_base, 0
            for packet in encoder.encode(frame):
                for shown in decoder.decode(packet):
                    worst = max(worst, int(np.abs(shown.to_ndarray() - waiting.popleft()).max()))
                yield packet, worst
        for shown in decoder.decode(None):
            worst = max(worst, int(np.abs(shown.to_ndarray() - waiting.popleft()).max()))
        if waiting or worst > FURTHEST:
            raise ValueError(f"{len(waiting)} frames lost, pixels {worst} of 255 off")
    except (KeyError, ValueError, IndexError, av.FFmpegError) as error:
        raise SmolkitError("SK493", f"a way to encode {model.codec.canonical_name} {model.pix_fmt} without loss",
                           f"{type(error).__name__}: {error}", f"{video.path.name} is cut between two key frames",
                           "cut at a key frame, or reencode the dataset to h264 first") from error


def _codecs(model: av.VideoCodecContext, fps: int) -> tuple[av.VideoCodecContext, av.VideoCodecContext]:
    name, options = BRIDGES[model.codec.canonical_name]
    encoder, decoder = av.CodecContext.create(name, "w"), av.CodecContext.create(model.codec.name, "r")
    encoder.width, encoder.height, encoder.pix_fmt = model.width, model.height, model.pix_fmt
    encoder.framerate, encoder.time_base, encoder.thread_count = fps, Fraction(1, fps), 1
    encoder.options, decoder.extradata = options, model.extradata
    for colour in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(encoder, colour, getattr(model, colour))
    return encoder, decoder


@dataclass(frozen=True)
class Encoding:
    """How videos are to be encoded anew; None keeps what the source has (of its size) or the codec's own default."""

    codec: str = "h264"
    crf: int | None = None
    size: tuple[int, int] | None = None          # (height, width) px, even

    def write(self, video: Video, numbers: list[int], path: Path, fps: int) -> None:
        """The frames of these ascending numbers as an mp4 of their own."""
        name, options = ENCODERS[choose_codec(self.codec)]
        crf = {} if self.crf is None else {"crf": str(self.crf)}
        height, width = self.size or (video.stream.height, video.stream.width)
        wanted, first, reformat = set(numbers), numbers[0], VideoReformatter().reformat
        with av.open(str(path), "w", format="mp4", options=_muxing(fps)) as out:
            stream = out.add_stream(name, rate=fps, options={**options, **crf, "g": str(KEY_FRAME_EVERY)})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base, stream.codec_context.thread_count = Fraction(1, fps), 1
            shown = enumerate(video.frames(first, numbers[-1] + 1), first)
            for number, frame in enumerate(frame for place, frame in shown if place in wanted):
                frame = reformat(frame, width=width, height=height, format="yuv420p", interpolation="AREA")
                frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, fps), 0
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
