"""The cameras of one running episode: each is encoded on a thread of its own while the robot moves.

    >>> cameras = EpisodeEncoder({"front": (16, 16)}, fps=10)
    >>> cameras.add({"front": np.zeros((16, 16, 3), np.uint8)}, row=0)
    >>> cameras.finish()["front"].frames
    1

The queues are bounded and never drop: where an encoder can't keep up, `add` waits. Dropping frames but
keeping their rows is the fault that nobody sees until a policy has learned from shifted pictures.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from smolkit.data.stats import frame_histogram, thinning
from smolkit.data.video import VideoEncoder, cut, frame_count
from smolkit.report import SmolkitError

QUEUED_FRAMES = 30               # one second at 30 Hz: 28 MB for a camera of 480x640


@dataclass(frozen=True)
class Encoded:
    """One camera's episode: the mp4 and what the statistics need."""

    video: bytes
    frames: int
    histogram: np.ndarray        # (3, 256) counts over all frames, thinned
    identical: int = 0           # pictures with the pixels of the one before: a frozen camera, or a scene at rest

    def first(self, frames: int) -> Encoded:
        """Without what came after."""
        return self if frames == self.frames else replace(self, video=cut(self.video, frames), frames=frames)


class EpisodeEncoder:
    """Takes one picture per camera and row; `finish` returns the encoded episode.

    `sizes`: camera -> (height, width) px, even. Errors: SK434 where an encoder fails, or rows and pictures no
    longer agree; raised by the next `add`. What was encoded before is still to be had from `finish`.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], fps: int, codec: str = "h264"):
        self._cameras = {key: _CameraThread(key, size, fps, codec) for key, size in sizes.items()}
        self._torn: SmolkitError | None = None     # rows and pictures no longer agree

    @property
    def problem(self) -> SmolkitError | None:
        """What ended the encoding of this episode."""
        return self._torn or next((camera.problem for camera in self._cameras.values() if camera.problem), None)

    def add(self, images: Mapping[str, np.ndarray], row: int) -> None:
        """One picture per camera, copied: the caller may reuse its buffers."""
        for key, camera in self._cameras.items():
            if camera.queued != row:               # a Ctrl-C came between two cameras: the next picture would be late
                self._torn = _failed(key, f"picture {camera.queued} for row {row}", "add_frame() was interrupted")
        if self.problem:
            raise self.problem
        for key, camera in self._cameras.items():
            camera.put(images[key])

    def finish(self) -> dict[str, Encoded]:
        """Every camera's mp4; after a problem as much of it as there is."""
        self.discard()
        return {key: camera.result() for key, camera in self._cameras.items()}

    def discard(self) -> None:
        """Ends the threads."""
        for camera in self._cameras.values():
            camera.end()


class _CameraThread:
    """One encoder, and the thread that feeds it."""

    def __init__(self, key: str, size: tuple[int, int], fps: int, codec: str):
        self._key, self._size, self._fps, self._codec = key, size, fps, codec
        self.problem: SmolkitError | None = None
        self.queued, self._identical, self._last, self._step = 0, 0, None, thinning(*size)
        self._histogram = np.zeros((3, 256), np.int64)
        self._result: Encoded | None = None
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(QUEUED_FRAMES)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, image: np.ndarray) -> None:
        self._queue.put(np.array(image))
        self.queued += 1

    def end(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def result(self) -> Encoded:
        return self._result or Encoded(b"", 0, self._histogram)

    def _work(self) -> None:
        """All that touches the encoder happens here; a failure travels to the recording thread."""
        encoder = None
        with self._watched():
            encoder = VideoEncoder(*self._size, self._fps, self._codec)
        while (image := self._queue.get()) is not None:        # after a failure too, or put() would wait for ever
            with self._watched():
                if self.problem is None:
                    self._encode(encoder, image)
        with self._watched():
            if encoder is not None:
                video = encoder.finish()
                self._result = Encoded(video, frame_count(video), self._histogram, self._identical)

    def _encode(self, encoder: VideoEncoder, image: np.ndarray) -> None:
        encoder.add(image)
        few = image[::self._step, ::self._step]
        self._histogram += frame_histogram(image)
        self._identical += self._last is not None and np.array_equal(few, self._last)
        self._last = few

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.problem = self.problem or _failed(self._key, f"{type(error).__name__}: {error}",
                                                   "the encoder refuses this size or ran out of memory")


def _failed(camera: str, found: str, cause: str) -> SmolkitError:
    return SmolkitError("SK434", f"every picture of {camera} encoded, one a row", found, cause,
                        "save_episode() keeps the rows before it, discard_episode() drops them; earlier ones are safe")
