"""Where a camera sees the table, and how finely: pinhole arithmetic for lesson 02.

    >>> front = front_view()
    >>> front.pixel_of(np.array(front.look_m)).round(1)         # what it looks at lies in the picture's middle
    array([160., 120.])
    >>> front.px_per_cm(np.array([0.23, 0.0, 0.0125])).round(2).item()
    4.66
    >>> front.resized(96, 96).px_per_cm(np.array([0.23, 0.0, 0.0125])).round(2).item()
    1.4

Metres in the arm's base frame, table top at z = 0. Lenses distort; these do not, which is good to a few percent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from smolkit.arm.inverse import PAN_AXIS_X_M, approach_pitch, reach
from smolkit.arm.joints import JOINTS

GRASP_M, FLATTEST_DEG = 0.02, 60.0      # tip height over the table, and how a gripper comes down
STEP_M = 0.01


@dataclass(frozen=True)
class View:
    """A camera without distortion: where it is, what it looks at, how wide it sees, how large its pictures are."""

    eye_m: tuple[float, float, float]
    look_m: tuple[float, float, float]
    height_deg: float                          # angle of view from the picture's lower to its upper edge
    height_px: int = 240
    width_px: int = 320

    @property
    def focal_px(self) -> float:
        return float(self.height_px / 2 / np.tan(np.deg2rad(self.height_deg) / 2))

    def axes(self) -> np.ndarray:
        """Rows (3, 3): right, down, ahead."""
        ahead = np.subtract(self.look_m, self.eye_m)
        ahead = ahead / np.linalg.norm(ahead)
        up = np.array([1.0, 0, 0]) if abs(ahead[2]) > 0.999 else np.array([0, 0, 1.0])     # straight down
        right = np.cross(ahead, up)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(ahead, right), ahead])

    def pixel_of(self, point_m: np.ndarray) -> np.ndarray:
        """Points (..., 3) -> (..., 2): columns from the left, rows from the top; NaN behind the camera."""
        right, down, ahead = np.moveaxis((point_m - np.array(self.eye_m)) @ self.axes().T, -1, 0)
        ahead = np.where(ahead > 0, ahead, np.nan)
        return np.stack([self.width_px / 2 + self.focal_px * right / ahead,
                         self.height_px / 2 + self.focal_px * down / ahead], axis=-1)

    def sees(self, point_m: np.ndarray) -> np.ndarray:
        """Which of the points (..., 3) lie in the picture."""
        pixel = self.pixel_of(point_m)
        return ((pixel >= 0) & (pixel <= (self.width_px, self.height_px))).all(-1)

    def px_per_cm(self, point_m: np.ndarray) -> np.ndarray:
        """Pixels that 1 cm covers at points (..., 3), seen square on: focal length over distance along the view."""
        return self.focal_px / ((point_m - np.array(self.eye_m)) @ self.axes()[2]) / 100

    def resized(self, height_px: int, width_px: int) -> View:
        """The same picture, scaled into a frame with its aspect ratio kept; what is left over stays empty."""
        ratio = min(height_px / self.height_px, width_px / self.width_px)
        return replace(self, height_px=round(self.height_px * ratio), width_px=round(self.width_px * ratio))


def front_view() -> View:
    """The simulated bench's front camera."""
    from smolkit.sim.room_model import FRONT_EYE_M, FRONT_FOVY_DEG, FRONT_LOOK_M
    return View(FRONT_EYE_M, FRONT_LOOK_M, FRONT_FOVY_DEG)


def wrist_view(tip_height_m: float) -> View:
    """Its wrist camera while the tip is that high over the table, gripper down: in the gripper's frame, tip down."""
    from smolkit.arm.kinematics import TOOL_XYZ
    from smolkit.sim.room_model import WRIST_EYE_M, WRIST_FOVY_DEG, WRIST_LOOK_M
    lift = (0.0, 0.0, tip_height_m - TOOL_XYZ[2])                    # the tip lies below the gripper's own origin
    eye, look = (tuple(map(float, np.add(point, lift))) for point in (WRIST_EYE_M, WRIST_LOOK_M))
    return View(eye, look, WRIST_FOVY_DEG)


def graspable(step_m: float = STEP_M) -> np.ndarray:
    """Places (rings, 121, 3) m where the tip can be at grasp height, the gripper 60 to 90 deg below the horizon.

    The base joint turns the arm about one axis, so it is enough to ask how near and how far the others reach.
    """
    radii = np.array([r for r in np.arange(0.06, 0.45, step_m) if _comes_down(r)])[:, None]
    pan_rad = np.linspace(JOINTS[0].lower_rad, JOINTS[0].upper_rad, 121)
    x, y = PAN_AXIS_X_M + radii * np.cos(pan_rad), -radii * np.sin(pan_rad)
    return np.stack([x, y, np.full_like(x, GRASP_M)], axis=-1)


def _comes_down(radius_m: float) -> bool:
    found = reach(np.array([PAN_AXIS_X_M + radius_m, 0.0, GRASP_M]), np.deg2rad(FLATTEST_DEG))
    return found.ok and np.rad2deg(approach_pitch(found.angle_rad)) > FLATTEST_DEG - 1


def area_seen(view: View, places_m: np.ndarray) -> float:
    """Share 0..1 of the places, weighed by their area: a ring is longer the further out it lies."""
    weight = np.hypot(places_m[..., 0] - PAN_AXIS_X_M, places_m[..., 1])
    return float((weight * view.sees(places_m)).sum() / weight.sum())
