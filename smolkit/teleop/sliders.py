"""Six sliders at the wheel: they set a pose, the arm walks there. A class can record without a leader arm.

    >>> arm = np.array([0, 0, 0, 0, 0, 50.0])                       # deg, gripper %
    >>> pilot = SliderPilot("standard")
    >>> goal = pilot(Observation(arm, captured_s=0.0))              # first look: the sliders stand where the arm is
    >>> pilot.set(wrist_roll=20.0, gripper=40.0)
    >>> pilot(Observation(arm, captured_s=0.1)).goal_deg.round(2) + 0.0       # 45 deg/s; all arrive together
    array([ 0.  ,  0.  ,  0.  ,  0.  ,  4.5 , 47.75])

The widget is elsewhere; this is the model behind it: `target_deg` and `limits_deg` are what it shows.
"""

from __future__ import annotations

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.safety.limits import FULL_RANGE_DEG, JOINT_DEG
from smolkit.safety.profiles import Profile
from smolkit.teleop.cartesian import within_tip_speed
from smolkit.teleop.held import HeldGoal
from smolkit.teleop.loop import Decision

SHARE = 0.5                                # of the profile's joint speed, where none is given


class SliderPilot:
    """Walks from where the arm stands to `target_deg`, straight in joint space, at `speed_deg_s` or less.

    A target that was left over when the arm paused is forgotten: the next episode starts with the sliders
    where the arm stands, unless somebody set them in between.
    """

    def __init__(self, profile: Profile | str = "standard", range_deg: np.ndarray = FULL_RANGE_DEG,
                 speed_deg_s: float | None = None):
        self._held = HeldGoal(profile, range_deg)
        fastest_deg_s = self._held.profile.joint_speed_deg_s
        self.speed_deg_s = SHARE * fastest_deg_s if speed_deg_s is None else min(speed_deg_s, fastest_deg_s)
        self.limits_deg = self._held.limits_deg                                  # (2, 6)
        self._target_deg = np.full(6, np.nan)                                    # nan: where the arm stands
        self._set_since = False

    @property
    def target_deg(self) -> np.ndarray:
        """Where the sliders stand (6,); nan for those not set before the arm was first seen."""
        return self._target_deg.copy()

    @property
    def arrived(self) -> bool:
        """Has the goal reached the sliders? The arm follows within its lag."""
        return bool(np.allclose(self._held.goal_deg, self._target_deg))

    def set(self, **position_deg: float) -> None:
        """Moves sliders by joint name, deg or gripper %. Raises SK354; then none has moved."""
        target = self._target_deg.copy()
        for name, value in position_deg.items():
            target[_index(name)] = self._checked(name, value)
        self._target_deg, self._set_since = target, True

    def stop(self) -> None:
        """The sliders go where the goal is: the arm stops."""
        self._target_deg = self._held.goal_deg.copy()

    def __call__(self, seen: Observation) -> Decision:
        held, dt_s = self._held, self._held.begin(seen)
        if held.started_anew and not self._set_since:
            self._target_deg = np.full(6, np.nan)
        self._set_since = False
        self._target_deg = np.where(np.isnan(self._target_deg), held.goal_deg, self._target_deg)
        return Decision(held.move(self._step(dt_s), seen.state_deg))

    def _step(self, dt_s: float) -> np.ndarray:
        way = self._target_deg - self._held.goal_deg
        furthest_deg = float(np.abs(way * JOINT_DEG).max())
        step = way * min(1.0, self.speed_deg_s * dt_s / max(furthest_deg, 1e-9))
        return within_tip_speed(self._held.goal_deg, step, self._held.tip_speed_m_s * dt_s)

    def _checked(self, name: str, value: float) -> float:
        low, high = self.limits_deg[:, _index(name)]
        if not low - 1e-6 <= value <= high + 1e-6:                               # not a number is outside, too
            raise SmolkitError("SK354", f"{name} in {low:.1f} to {high:.1f}", str(value),
                               "beyond this arm's calibrated range, or radians", "look at pilot.limits_deg")
        return float(value)


def _index(name: str) -> int:
    if name not in JOINT_NAMES:
        raise SmolkitError("SK354", f"a joint: {', '.join(JOINT_NAMES)}", repr(name), "the name is misspelled",
                           "pilot.set(shoulder_pan=10.0)")
    return JOINT_NAMES.index(name)
