"""Seven things that go wrong with a camera and crash nothing, each to be had for the length of a `with` block.

    >>> from smolkit.lessons.camera_desk import open_desk
    >>> with open_desk("sim", height_px=48, width_px=64) as desk, broken(desk, "dark", "wrist"):
    ...     dark = desk.film(0.3)
    >>> bool(dark["wrist"][-1].image.mean() < 40 < dark["front"][-1].image.mean())
    True

`CHECKS` says which check of `smolkit.cameras.checks` is there for which of them. Swapped, moved and frozen cameras are
those of `smolkit.safety.faults`; light, focus and a weak hub are changes of the pictures on their way.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from smolkit.cameras.camera import Camera, Frame
from smolkit.cameras.opencv import load_opencv
from smolkit.lessons.camera_desk import ROLES, CameraDesk, Spoiled, replaced
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault

CHECKS = {"swapped": "SK246", "moved": "SK248", "dark": "SK243", "burnt": "SK244", "blurred": "SK245",
          "frozen": "SK241", "dropping": "SK242"}
LOSES_EVERY = 3


def broken(desk: CameraDesk, name: str, role: str = "front") -> AbstractContextManager:
    """The fault `name` (of `CHECKS`) in the camera of that role while inside; SK826 for another name."""
    if name not in CHECKS or role not in ROLES:
        raise SmolkitError("SK826", f"one of {', '.join(CHECKS)} for {' or '.join(ROLES)}", f"{name!r}, {role!r}",
                           "a typing error", "see smolkit.lessons.camera_faults.CHECKS")
    if name == "swapped":
        return fault("swapped_cameras", desk)
    if name == "frozen":
        return fault("frozen_camera", desk, role=role)
    if name == "moved":
        return desk.moved(role)
    camera = desk.cameras[role]
    return replaced(desk, {role: Dropping(camera) if name == "dropping" else Spoiled(camera, CHANGES[name])})


def dim(image: np.ndarray) -> np.ndarray:
    """A quarter of the light."""
    return image // 4


def glare(image: np.ndarray) -> np.ndarray:
    """Two and a half times the light: what is bright becomes white, and has no detail any more."""
    return (2.5 * image.astype(np.float32)).clip(0, 255).astype(np.uint8)


def smear(image: np.ndarray) -> np.ndarray:
    """Out of focus by a little: 1 px of a picture 320 px wide."""
    return load_opencv().GaussianBlur(image, (0, 0), image.shape[1] / 320)


CHANGES = {"dark": dim, "burnt": glare, "blurred": smear}


class Dropping:
    """A camera on a hub with too little power: every third picture gets lost."""

    def __init__(self, camera: Camera):
        self.role, self._camera, self._kept = camera.role, camera, None

    def read(self) -> Frame:
        """The newest picture that was not lost; the camera counts those alone."""
        frame = self._camera.read()
        lost = self._kept is not None and frame.index % LOSES_EVERY == 0
        if not lost and (self._kept is None or frame.captured_s != self._kept.captured_s):
            self._kept = replace(frame, index=self._kept.index + 1 if self._kept else 1)
        return self._kept

    def close(self) -> None:
        """The camera below is closed by its owner."""


@dataclass(frozen=True)
class Case:
    """A morning on which one thing is wrong; who looks into `answer` learns nothing."""

    films: Mapping[str, tuple[Frame, ...]]
    answer: tuple[str, str]                        # role, fault


def draw_case(desk: CameraDesk, number: int, seconds: float = 2.0) -> Case:
    """Films of the desk with a fault that the case's number draws."""
    rng = np.random.default_rng([number, 2])
    name, role = str(rng.choice(list(CHECKS))), str(rng.choice(ROLES))
    with broken(desk, name, role):
        return Case(desk.film(seconds), (role, name))
