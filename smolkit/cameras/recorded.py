"""A camera that plays a recording, in step with the clock: a folder of pictures or a video.

    camera = RecordedCamera("clips/front.mp4", CameraRole("front", 480, 640, fps=30), SteppedClock())
    camera.read().captured_s                 # when this picture was due
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from smolkit.cameras.camera import CameraRole, Frame, digest_of
from smolkit.clock import Clock
from smolkit.report import SmolkitError


class RecordedCamera:
    """PNG files in the order of their names, or one video file; the role's rate is the recording's.

    Errors: SK207 where the recording cannot be read, SK202 where its pictures have another size, SK204 where it
    is over (unless it is to `loop`).
    """

    def __init__(self, source: Path | str, role: CameraRole, clock: Clock, *, loop: bool = False):
        self.role, self._source, self._clock, self._loop = role, Path(source), clock, loop
        self._begin_s, self._pictures = clock.now_s(), _pictures(self._source)
        self._newest = self._next(0)

    def read(self) -> Frame:
        """The picture of this moment; its time is that at which it was due."""
        due = int((self._clock.now_s() - self._begin_s) * self.role.fps + 1e-6)
        while self._newest.index <= due:
            self._newest = self._next(self._newest.index)
        return self._newest

    def close(self) -> None:
        """Lets go of the file."""
        self._pictures.close()

    def _next(self, index: int) -> Frame:
        image = next(self._pictures, None)
        if image is None and index and self._loop:
            self._pictures = _pictures(self._source)
            image = next(self._pictures)
        if image is None and index:
            raise SmolkitError("SK204", f"a picture from the {self.role.name} camera",
                               f"the end, after {index} pictures", "the recording is shorter than the run",
                               "stop earlier, or play it with loop=True")
        if image is None:
            raise _unreadable(self._source, "no picture in it")
        if image.shape != (self.role.height_px, self.role.width_px, 3):
            raise SmolkitError("SK202", f"{self.role.name} pictures of {self.role.height_px} x {self.role.width_px} px",
                               f"{image.shape[0]} x {image.shape[1]} px in {self._source}",
                               "the recording was made at another size", "give the role the recording's size")
        return Frame(image, self._begin_s + index / self.role.fps, index + 1, digest_of(image))


def _pictures(source: Path) -> Iterator[np.ndarray]:
    """The recording's pictures (H, W, 3) uint8 RGB, one after the other."""
    import av
    for file in sorted(source.glob("*.png")) if source.is_dir() else [source]:
        try:
            with av.open(str(file)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError, IndexError) as error:
            raise _unreadable(file, f"{type(error).__name__}: {error}") from error


def _unreadable(path: Path, found: str) -> SmolkitError:
    return SmolkitError("SK207", f"a video or a folder of PNG pictures at {path}", found,
                        "the file is missing, incomplete or of another kind", "fetch or record it again")
