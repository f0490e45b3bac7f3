"""A camera with a role: pictures that know when they were taken.

    >>> role = CameraRole("front", height_px=96, width_px=96, fps=10)
    >>> role.feature
    'observation.images.front'
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class CameraRole:
    """What a camera is for ("front", "wrist", "top") and the pictures it delivers."""

    name: str
    height_px: int
    width_px: int
    fps: int

    @property
    def feature(self) -> str:
        """The camera's name in a LeRobot dataset."""
        return f"observation.images.{self.name}"


@dataclass(frozen=True)
class Frame:
    """One picture and the moment its light was caught."""

    image: np.ndarray              # (H, W, 3) uint8 RGB
    captured_s: float              # on the kit's clock
    index: int = 0                 # 1, 2, ...: the camera's own count; 0 where nobody counts
    digest: str = ""               # fingerprint of the picture; "" where nobody looked


def digest_of(image: np.ndarray) -> str:
    """A picture's fingerprint: two equal ones in a row mean that a camera, or its driver, repeats itself.

    >>> digest_of(np.zeros((4, 4, 3), np.uint8)) == digest_of(np.ones((4, 4, 3), np.uint8))
    False

    Every fourth row is enough (0.3 ms for 480 x 640): sensor noise changes every row of every new picture.
    """
    return hashlib.blake2b(np.ascontiguousarray(image[::4]), digest_size=8).hexdigest()


class Camera(Protocol):
    """Anything that delivers frames: a USB camera, a rendered one, a recording.

    `read` returns the newest frame, the same one again if no newer came; it raises SK204 when that is too old.
    """

    role: CameraRole

    def read(self) -> Frame: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Observation:
    """All that a policy may know at one moment: joints, pictures, instruction."""

    state_deg: np.ndarray                                   # (6,) body deg, gripper %
    images: dict[str, np.ndarray] = field(default_factory=dict)   # role name -> (H, W, 3) uint8
    task: str = ""
    captured_s: float = 0.0                                 # of the joints
    pictures_captured_s: dict[str, float] = field(default_factory=dict)   # role name -> moment
    picture_digests: dict[str, str] = field(default_factory=dict)         # role name -> fingerprint
