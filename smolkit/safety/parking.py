"""The way home: from any pose up, round, and down to the rest pose, where letting go harms nobody.

    >>> way = waypoints(np.array([40, 20, 10, 60, 30, 80.0]))
    >>> [point.round().tolist() for point in way][-1]
    [0.0, -99.0, 96.0, 45.0, 0.0, 80.0]

The gripper stays as it is: what it holds comes along. Every goal goes through the envelope, which leads
the arm past the table; a joint that cannot follow is caught by the time limit.
"""

from __future__ import annotations

import numpy as np

from .geometry import REST_DEG
from .limits import JOINT_DEG

SPEED_DEG_S = 30.0                 # slow enough to step aside
CYCLE_S = 0.1                      # at most this counts between two calls: who was frozen has not driven meanwhile
RAISED_DEG = (-60.0, 60.0, 45.0)   # lift, elbow, wrist_flex: above the table, clear however the wrist is rolled
NEAR_DEG = 6.0                     # reached: sag, play, and a fold that some arms close 4 deg earlier
TIME_LIMIT_S = 20.0
SOFT_S = 1.5                       # an arm that cannot get home sinks: it does not fall


def waypoints(pos_deg: np.ndarray) -> list[np.ndarray]:
    """Poses (6,) to pass: raised where it stands, turned to the middle, folded."""
    raised, turned, folded = (np.array(pos_deg, dtype=float) for _ in range(3))
    raised[1:4] = turned[1:4] = RAISED_DEG
    turned[[0, 4]] = 0.0
    folded[:5] = REST_DEG[:5]
    return [raised, turned, folded]


class Parking:
    """Hands out goals, one per cycle; `arrived` at the last waypoint."""

    def __init__(self, pos_deg: np.ndarray, goal_deg: np.ndarray, now_s: float):
        self._way = waypoints(pos_deg)
        self._goal_deg = np.array(goal_deg, dtype=float)
        self._spent_s, self._last_s, self._judged_s = 0.0, now_s, now_s
        self.arrived = False

    def next_goal(self, pos_deg: np.ndarray, now_s: float) -> np.ndarray:
        """The next goal (6,) toward the waypoint that is due."""
        reach_deg = SPEED_DEG_S * min(now_s - self._last_s, CYCLE_S) / JOINT_DEG
        self._last_s = now_s
        if np.abs(pos_deg - self._way[0])[:5].max() < NEAR_DEG:
            self.arrived = len(self._way) == 1
            self._way = self._way[1:] or self._way
        self._goal_deg = self._goal_deg + np.clip(self._way[0] - self._goal_deg, -reach_deg, reach_deg)
        return self._goal_deg.copy()

    def strength(self, now_s: float) -> float:
        """Share of its torque that the arm may keep: 1 in time, then less, 0 when it must let go. Once per cycle."""
        self._spent_s += min(now_s - self._judged_s, CYCLE_S)
        self._judged_s = now_s
        return float(np.clip(1.0 - (self._spent_s - TIME_LIMIT_S) / SOFT_S, 0.0, 1.0))
