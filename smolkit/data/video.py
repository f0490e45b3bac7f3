"""Camera pictures as mp4, encoded from memory while recording.

    >>> encoder = VideoEncoder(16, 16, fps=10)
    >>> for level in (0, 120, 240):
    ...     encoder.add(np.full((16, 16, 3), level, np.uint8))
    >>> video = encoder.finish()                   # a whole mp4 in bytes, 3 frames
    >>> frame_count(cut(video, 2))                 # by copying packets
    2

H.264 is the default: any browser plays it, and a small computer encodes it four times as fast as AV1. No B-frames,
a key frame at least every 15: a random frame costs few decoded ones, and a file can be cut after any frame.
"""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from smolkit.data.boxes import check_index
from smolkit.data.files import damaged, missing
from smolkit.report import SmolkitError

TICKS_PER_FRAME = 512                        # time base 1/(512 fps), as LeRobot's files have
# ultrafast: a third of veryfast's time, as sharp as LeRobot's AV1 (35 dB), and decoded in half the time.
ENCODERS = {"h264": ("libx264", {"preset": "ultrafast", "crf": "21", "bf": "0"}),
            "av1": ("libsvtav1", {"preset": "12", "crf": "30", "svtav1-params": "lp=1"})}
KEY_FRAME_EVERY = 15
MOST_PIXELS = 2**26                          # 8192 x 8192: what claims to be larger is not decoded
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"


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
    """Encodes one episode of one camera into memory: 10 to 60 KB a frame instead of 900.

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


def cut(video: bytes, frames: int) -> bytes:
    """The first `frames` frames, by copying packets."""
    memory = io.BytesIO()
    with _open(video) as source:
        stream = source.streams.video[0]
        with av.open(memory, "w", format="mp4", options=_muxing(round(stream.average_rate))) as out:
            target = out.add_stream_from_template(stream, opaque=True)
            for packet in islice((packet for packet in source.demux(stream) if packet.size), frames):
                packet.stream = target
                out.mux(packet)
    return memory.getvalue()


def frame_count(video: bytes | Path) -> int:
    """How many frames the mp4 holds, from its index."""
    with _open(video) as container:
        return container.streams.video[0].frames


def encoding_of(path: Path) -> tuple[Any, ...]:
    """What must be equal in two mp4s whose packets are to stand in one."""
    with _open(path) as container:
        codec = container.streams.video[0].codec_context
        return codec.name, codec.width, codec.height, codec.pix_fmt, codec.extradata


def _open(video: bytes | Path) -> av.container.InputContainer:
    if isinstance(video, Path) and not video.is_file():
        raise missing(video)
    name = video if isinstance(video, Path) else Path("(video in memory)")
    try:
        with io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb") as file:
            check_index(file)
        limit = [{"max_pixels": str(MOST_PIXELS)}]     # while the streams are probed, and below when they are decoded
        container = av.open(io.BytesIO(video) if isinstance(video, bytes) else str(video), stream_options=limit,
                            options={"format_whitelist": FORMATS})      # a playlist could name any file or address
    except (av.FFmpegError, OSError, ValueError) as error:
        raise damaged(name, str(error)) from error
    streams = container.streams.video                  # a truncated index can open and know no codec
    if not streams or streams[0].codec_context is None or not streams[0].average_rate:
        container.close()
        raise damaged(name, "no readable video stream in it")
    streams[0].codec_context.options = limit[0] | {"err_detect": "explode"}      # else lost bytes are painted over
    return container


def probe(video: bytes | Path) -> dict[str, object]:
    """A camera's `info` as LeRobot writes it into info.json."""
    with _open(video) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.codec.canonical_name
        return {"video.height": stream.height, "video.width": stream.width, "video.codec": codec,
                "video.pix_fmt": stream.pix_fmt, "video.is_depth_map": False,
                "video.fps": round(stream.average_rate), "video.channels": 3, "has_audio": False}
