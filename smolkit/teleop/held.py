"""The goal that a pilot moves by hand: where it is, how fast it may go, and how it stops.

    >>> import numpy as np
    >>> held, arm = HeldGoal("standard"), np.array([0, 0, 0, 0, 0, 50.0])
    >>> held.begin(Observation(arm, captured_s=0.0))               # first look: the goal is where the arm stands
    0.0
    >>> round(held.begin(Observation(arm, captured_s=0.1)), 3)     # seconds that a velocity may use
    0.1
    >>> held.move(np.full(6, 2.0), arm)
    array([ 2.,  2.,  2.,  2.,  2., 52.])
"""

from __future__ import annotations

import numpy as np

from smolkit.arm.joints import GRIPPER
from smolkit.cameras.camera import Observation
from smolkit.safety.limits import FULL_RANGE_DEG, JOINT_DEG, inner_range
from smolkit.safety.profiles import Profile
from smolkit.safety.profiles import profile as named

SHARE = 0.8                                # of the guard's speeds: below them it has nothing to hold back
LONGEST_S = 0.2                            # a late decision earns no larger step than this
STOP_LEAD_DEG = 5.0                        # a moving arm trails its goal; on a stop the goal comes back to it


class HeldGoal:
    """A goal (6,) that starts where the arm stands, and does so again after every pause.

    `range_deg` (2, 6) is the arm's calibrated range, as an `Envelope` has it.
    """

    def __init__(self, profile: Profile | str, range_deg: np.ndarray = FULL_RANGE_DEG):
        self.profile = profile if isinstance(profile, Profile) else named(profile)
        self.limits_deg = inner_range(range_deg, self.profile)                   # (2, 6)
        self.joint_speed_deg_s = SHARE * self.profile.joint_speed_deg_s
        self.tip_speed_m_s = SHARE * self.profile.tip_speed_m_s
        self.goal_deg = np.full(6, np.nan)                                       # until the first look
        self.started_anew = True                                                 # at the last look
        self._seen_s, self._moving = -np.inf, False

    def begin(self, seen: Observation) -> float:
        """Seconds since the last decision; 0.0 at the first one and after a pause, which start anew."""
        dt_s, self._seen_s = seen.captured_s - self._seen_s, seen.captured_s
        self.started_anew = not 0.0 <= dt_s <= self.profile.pause_s
        if not self.started_anew:
            return min(dt_s, LONGEST_S)
        self.goal_deg, self._moving = np.array(seen.state_deg, float), False
        return 0.0

    def move(self, step_deg: np.ndarray, state_deg: np.ndarray) -> np.ndarray:
        """The goal (6,) after a step (6,): inside the range and never far ahead of the measured arm (6,).

        A goal that ran ahead of an arm which the guard holds back would go on after the key is released.
        So the first step of zero takes it back to the arm; the next ones leave it, or it would sink with
        the arm's sag. The gripper stays ahead: that is how it squeezes.
        """
        lead_deg = np.full(6, self.profile.max_lead_deg)
        if self._moving and not np.any(step_deg):
            lead_deg[:GRIPPER] = STOP_LEAD_DEG
        self._moving = bool(np.any(step_deg))
        lead = lead_deg / JOINT_DEG
        self.goal_deg = self.inside(np.clip(self.goal_deg + step_deg, state_deg - lead, state_deg + lead))
        return self.goal_deg.copy()

    def inside(self, goal_deg: np.ndarray) -> np.ndarray:
        """A goal (6,) in the range; one that is outside already may come back in its own time."""
        low, high = np.minimum(self.limits_deg[0], self.goal_deg), np.maximum(self.limits_deg[1], self.goal_deg)
        return np.clip(goal_deg, low, high)
