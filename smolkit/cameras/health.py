"""How well a camera delivers: its rate, how evenly, what is missing, what is repeated.

    >>> import numpy as np
    >>> from smolkit.cameras.camera import Frame
    >>> black = np.zeros((48, 64, 3), np.uint8)
    >>> frames = [Frame(black, i / 10, i + 1, digest=str(i)) for i in (0, 1, 2, 5, 6)]
    >>> health_of(frames, fps=10)
    CameraHealth(fps=10.0, jitter_ms=0.0, frames=5, dropped=0, repeated=0)

Frames 3 and 4 were delivered, but nobody took them: they are not missing. A frame is missing where time passed and
the camera's own count did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from smolkit.cameras.camera import Camera, Frame, digest_of
from smolkit.cameras.opencv import missing_between
from smolkit.clock import Clock


@dataclass(frozen=True)
class CameraHealth:
    """What a camera did while it was watched."""

    fps: float                     # delivered per second; 0 where fewer than two came
    jitter_ms: float               # standard deviation of the time between two
    frames: int                    # looked at
    dropped: int
    repeated: int                  # bit for bit like the one before


def watch(camera: Camera, seconds: float, clock: Clock) -> CameraHealth:
    """Looks at a camera for a while."""
    return health_of(collect(camera, seconds, clock), camera.role.fps)


def collect(camera: Camera, seconds: float, clock: Clock) -> tuple[Frame, ...]:
    """The frames of some seconds, each once, taken at the role's rate."""
    begin_s, frames = clock.now_s(), []
    for step in range(max(1, round(seconds * camera.role.fps))):
        clock.sleep_until(begin_s + step / camera.role.fps)
        frames.append(camera.read())
    return distinct(frames)


def distinct(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Without those that were read twice: a moment has one frame."""
    return tuple({frame.captured_s: frame for frame in frames}.values())


def health_of(frames: Sequence[Frame], fps: float) -> CameraHealth:
    """Of frames in the order they were caught; `fps` is the promised rate."""
    frames = distinct(frames)
    steps = [max(1, b.index - a.index) for a, b in pairwise(frames)]                 # by the camera's count
    gaps_s = np.array([b.captured_s - a.captured_s for a, b in pairwise(frames)])
    dropped = sum(missing_between(gap_s / step, fps) * step for gap_s, step in zip(gaps_s, steps, strict=True))
    repeated = sum(print_of(a) == print_of(b) for a, b in pairwise(frames))
    rate = sum(steps) / gaps_s.sum() if len(gaps_s) else 0.0
    jitter_ms = 1000 * float((gaps_s / steps).std()) if len(gaps_s) else 0.0
    return CameraHealth(round(float(rate), 2), round(jitter_ms, 3), len(frames), dropped, repeated)


def print_of(frame: Frame) -> str:
    """The frame's digest, made now if nobody did."""
    return frame.digest or digest_of(frame.image)
