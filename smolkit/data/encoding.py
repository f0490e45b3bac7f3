"""The cameras of one running episode: encoded on a background thread while the robot moves.

    >>> camera = EpisodeEncoder({"front": (16, 16)}, fps=10)
    >>> camera.add({"front": np.zeros((16, 16, 3), np.uint8)})
    >>> camera.finish()["front"].frames
    1

The queue is bounded and never drops: where the encoder can't keep up, `add` waits. Dropping frames but
keeping their rows is the fault that nobody sees until a policy has learned from shifted pictures.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from smolkit.data.stats import frame_histogram, sampled_frames
from smolkit.data.video import VideoEncoder

QUEUED_ROWS = 30                 # one second at 30 Hz: two cameras of 480x640 take 55 MB


@dataclass(frozen=True)
class Encoded:
    """One camera's episode: the mp4 and what the statistics need."""

    video: bytes
    frames: int
    histogram: np.ndarray        # (3, 256) counts over the sampled frames
    sampled: int                 # how many frames were sampled


class EpisodeEncoder:
    """Takes one picture per camera and row; `finish` returns the encoded episode.

    `sizes`: camera -> (height, width) px, even. An error of the encoder is raised by the next call.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], fps: int, codec: str = "h264"):
        self._encoders = {key: VideoEncoder(*size, fps, codec) for key, size in sizes.items()}
        self._histograms: dict[str, list[np.ndarray]] = {key: [] for key in sizes}
        self._error: BaseException | None = None
        self._queue: queue.Queue[dict[str, np.ndarray] | None] = queue.Queue(QUEUED_ROWS)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, images: Mapping[str, np.ndarray]) -> None:
        """One picture per camera, copied: the caller may reuse its buffers."""
        self._raise_error()
        self._queue.put({key: np.array(image) for key, image in images.items()})

    def finish(self) -> dict[str, Encoded]:
        self.discard()
        self._raise_error()
        return {key: self._result(key) for key in self._encoders}

    def discard(self) -> None:
        """Ends the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (images := self._queue.get()) is not None:
            if self._error is not None:
                continue                     # keep emptying the queue, or add() would wait for ever
            try:
                self._encode(images)
            except BaseException as error:   # travels to the recording thread
                self._error = error

    def _encode(self, images: Mapping[str, np.ndarray]) -> None:
        for key, image in images.items():
            self._encoders[key].add(image)
            self._histograms[key].append(frame_histogram(image).astype(np.uint32))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _result(self, key: str) -> Encoded:
        encoder, histograms = self._encoders[key], self._histograms[key]
        chosen = sampled_frames(len(histograms))
        total = np.sum([histograms[i] for i in chosen], axis=0, dtype=np.int64)
        return Encoded(encoder.finish(), encoder.frames, total, len(chosen))
