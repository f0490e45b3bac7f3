"""A camera's passport: how it looked when all was well, to compare with before every session.

    >>> from smolkit.cameras.camera import Frame
    >>> noise = np.random.default_rng(0).integers(60, 200, (48, 64, 3)).astype(np.uint8)
    >>> frames = [Frame(noise, i / 10, i + 1, str(i)) for i in range(5)]
    >>> passport = take_passport(CameraRole("front", 48, 64, fps=10), frames, "pci-0:2", taken_on="2026-09-01")
    >>> passport.fps, passport.picture.shape
    (10.0, (48, 64, 4))

Move the arm through its range, the gripper too, while the frames are taken: what holds still in the picture (the
table for a front camera, the gripper's body for a wrist camera) becomes the opaque part of the thumbnail, and
later pictures are compared there alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from smolkit.cameras.camera import CameraRole, Frame
from smolkit.cameras.health import health_of
from smolkit.cameras.opencv import load_opencv
from smolkit.report import SmolkitError

THUMBNAIL_PX = 320                 # wide
STEADY = 16.0                      # grey levels: pixels that stray less from their median in 9 of 10 frames
BURNT = 250                        # of 255, in all three channels


@dataclass(frozen=True)
class Look:
    """A picture in numbers."""

    brightness: float              # mean grey, 0..255
    burnt: float                   # share of pixels without detail because they are white
    sharpness: float               # how quickly brightness changes at edges
    color_means: tuple[float, float, float]      # R, G, B, 0..255


@dataclass(frozen=True)
class Passport:
    """What one camera delivered on one day, with a thumbnail."""

    role: CameraRole
    identity: str                  # of `smolkit.cameras.devices`; "" for a simulated camera
    taken_on: str                  # ISO date
    fps: float                     # measured
    look: Look
    picture: np.ndarray = field(compare=False, repr=False)     # (h, w, 4) uint8 RGB and steadiness


def look_at(image: np.ndarray) -> Look:
    """The numbers of one picture (H, W, 3) uint8 RGB.

    Sharpness is the energy of second over that of first differences, after a slight smoothing that takes the
    sensor's noise out: neither contrast nor lamp changes it much, but a blur does (numbers in `checks`).
    """
    cv2 = load_opencv()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.8)
    slope = sum((cv2.Sobel(smooth, cv2.CV_32F, *axis, scale=1 / 8) ** 2).mean() for axis in ((1, 0), (0, 1)))
    bend = (cv2.Laplacian(smooth, cv2.CV_32F) ** 2).mean()
    means = tuple(round(float(mean), 2) for mean in image.mean(axis=(0, 1)))
    return Look(round(float(grey.mean()), 2), round(float((image.min(axis=-1) >= BURNT).mean()), 4),
                round(float(bend / max(slope, 1e-6)), 4), means)


def take_passport(role: CameraRole, frames: Sequence[Frame], identity: str = "",
                  taken_on: str | None = None) -> Passport:
    """From frames of the camera as it should stand, best 8 or more while the arm moves; the last is shown."""
    cv2, last = load_opencv(), frames[-1].image
    height_px = round(THUMBNAIL_PX * last.shape[0] / last.shape[1])
    size = (THUMBNAIL_PX, height_px) if last.shape[1] > THUMBNAIL_PX else (last.shape[1], last.shape[0])
    some = [frames[i] for i in np.linspace(0, len(frames) - 1, min(16, len(frames))).round().astype(int)]
    small = np.stack([cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA) for frame in some])
    usual = np.median(small, axis=0)                                                # less noisy than any one
    steady = np.percentile(np.abs(small - usual).mean(axis=-1), 90, axis=0) < STEADY
    picture = np.where(steady[..., None], usual, small[-1])
    return Passport(role, identity, taken_on or date.today().isoformat(), health_of(frames, role.fps).fps,
                    look_at(last), np.dstack([picture, 255 * steady]).astype(np.uint8))


def differences(old: Passport, new: Passport) -> dict[str, tuple[object, object]]:
    """What two passports disagree about: field -> (old, new); the pictures are compared by `checks`."""
    before, after = (_facts(passport) for passport in (old, new))
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def save_passport(passport: Passport, folder: Path | str) -> Path:
    """Writes ROLE.png and ROLE.json into a folder, and returns the latter's path."""
    path = _path(folder, passport.role.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path.with_suffix(".png"), passport.picture)
    facts = {**_facts(passport), "picture_sha256": _sha256(path.with_suffix(".png"))}
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)
    return path


def load_passport(folder: Path | str, role: str) -> Passport:
    """The passport of that role; SK206 where one of its two files is missing, damaged or not its partner."""
    path, cv2 = _path(folder, role), load_opencv()
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.pop("picture_sha256") != _sha256(path.with_suffix(".png")):
            raise ValueError("the picture is not the one that the file was written with")
        picture = cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        facts["role"], look = CameraRole(**facts["role"]), facts["look"]
        facts["look"] = Look(**{**look, "color_means": tuple(look["color_means"])})
        passport = Passport(**facts, picture=cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA))
        _validate(passport, role)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, cv2.error) as error:
        raise SmolkitError("SK206", f"the passport of the {role} camera, {path} and its .png",
                           f"{type(error).__name__}: {error}", "a file is missing, was cut short or edited",
                           "take the passport again, with the camera where it belongs") from error
    return passport


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes (H, W, 3 or 4) uint8 RGB or RGBA; OSError where the folder cannot be written."""
    cv2 = load_opencv()
    code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, code))[1].tobytes())


def _facts(passport: Passport) -> dict[str, object]:
    return {key: value for key, value in asdict(passport).items() if key != "picture"}


def _validate(passport: Passport, role: str) -> None:
    (name, *sizes), (*looks, means) = astuple(passport.role), astuple(passport.look)
    numbers = [*sizes, passport.fps, *looks, *means]
    if not all(type(n) in (int, float) and 0 <= n < 1e6 for n in numbers) or min(sizes) < 1 or len(means) != 3:
        raise ValueError(f"sizes, rates and looks must be numbers of 0 or more: {numbers}")
    if name != role or not isinstance(passport.identity, str):
        raise ValueError(f"role {name!r}, identity {passport.identity!r}")
    date.fromisoformat(passport.taken_on)


def _path(folder: Path | str, role: str) -> Path:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", role):          # it becomes a file's name: no way out of the folder
        raise SmolkitError("SK206", "a role of small letters, digits and _, like front", repr(role),
                           "a typing error", "name the role front, wrist or top")
    return Path(folder) / f"{role}.json"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
