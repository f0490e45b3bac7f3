"""The ghost picture: the passport laid over the live picture, and which way to turn the camera back.

    >>> from smolkit.cameras.camera import CameraRole, Frame
    >>> from smolkit.cameras.passport import take_passport
    >>> noise = np.random.default_rng(0).integers(60, 200, (15, 20, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    >>> passport = take_passport(CameraRole("front", 240, 320, fps=10), [Frame(noise, 0.0)])
    >>> ghost(passport, np.roll(noise, 16, axis=1)).text
    'turn the camera right by about 3 deg'
    >>> ghost(passport, noise).text
    'it stands as in its passport of front (0 px off)'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolkit.cameras.checks import ALIKE, stands
from smolkit.cameras.opencv import load_opencv
from smolkit.cameras.passport import THUMBNAIL_PX, Passport
from smolkit.cameras.registration import Match, register

EDGE_RGB = (255, 140, 0)           # orange: neither wood, mat nor printed parts
VIEW_DEG = 60.0                    # the usual width of a webcam's view; only the advice in degrees hangs on it


@dataclass(frozen=True)
class Ghost:
    """An overlay (H, W, 3) uint8 RGB, the measured shift, and one line of advice."""

    image: np.ndarray
    match: Match                   # right_px, down_px and shift_px, of 320 px width
    text: str


def ghost(passport: Passport, image: np.ndarray, view_deg: float = VIEW_DEG) -> Ghost:
    """Half live picture (H, W, 3), half passport, with the passport's edges in orange.

    `view_deg` is the angle of view across the picture's width.
    """
    cv2, size = load_opencv(), (image.shape[1], image.shape[0])
    before = cv2.resize(passport.picture, size, interpolation=cv2.INTER_LINEAR)
    edges = cv2.Canny(cv2.cvtColor(before[..., :3], cv2.COLOR_RGB2GRAY), 60, 150) > 0
    overlay = cv2.addWeighted(image, 0.5, before[..., :3], 0.5, 0.0)
    overlay[edges & (before[..., 3] > 127)] = EDGE_RGB         # only of what should hold still
    match = register(passport.picture, image)
    return Ghost(overlay, match, advice(match, passport.role.name, view_deg))


def advice(match: Match, role: str, view_deg: float = VIEW_DEG) -> str:
    """One line: what to do with the camera. What lies too far right in the picture needs a turn to the right."""
    if match.score < ALIKE:
        return f"this does not look like the passport of {role}: is it this camera, is it lit and uncovered?"
    if stands(match):
        return f"it stands as in its passport of {role} ({match.shift_px:.0f} px off)"
    per_px = view_deg / THUMBNAIL_PX
    turns = [(match.right_px * per_px, "turn the camera right by about", "turn the camera left by about"),
             (match.down_px * per_px, "tilt it down by about", "tilt it up by about"),
             (match.roll_deg, "roll it clockwise by about", "roll it counter-clockwise by about")]
    return ", ".join(f"{plus if angle_deg > 0 else minus} {abs(angle_deg):.0f} deg"
                     for angle_deg, plus, minus in turns if abs(angle_deg) >= 0.5)
