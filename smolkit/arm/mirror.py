"""Leader beside follower in the same pose: do both calibrations mean the same degrees?

    >>> leader = np.array([[0, -40, 60, 20, 0, 10.0], [30, 10, -20, -30, 45, 80]])
    >>> follower = leader + np.array([1, -2, 17, 0, 1, 3])             # an elbow calibrated 17 deg off
    >>> print(mirror_report(leader, follower).red()[0].line())
    ✗ SK126 elbow_flex: found follower 17.0 deg more than the leader, expected within 8 deg

Such an offset crashes nothing: the demonstrations look right to the camera, the loss falls, and the policy that
was trained on the leader's degrees reaches 6 cm beside the cube.
"""

from __future__ import annotations

import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES
from smolkit.report import Check, Report, SmolkitError

SAME_DEG = 8.0                                     # two poses alike by eye differ by 3 to 5; play adds 1
SAME_PERCENT = 12.0
CLEAR_TRAVEL = 20.0                                # deg between poses that tells a turned joint from an offset


def mirror_report(leader_pose_deg: np.ndarray, follower_pose_deg: np.ndarray) -> Report:
    """Compares poses (6,), or several (N, 6), of arms that were put into the same pose by hand.

    deg, gripper %. SK126 for a joint with a constant offset, or one that moves the other way; to tell these
    apart it needs two poses that are at least 20 deg different.
    """
    leader, follower = (np.atleast_2d(np.asarray(pose, float)) for pose in (leader_pose_deg, follower_pose_deg))
    if leader.shape != follower.shape or leader.shape[1:] != (6,) or not np.isfinite(leader - follower).all():
        raise SmolkitError("SK127", "poses (6,) or (N, 6) of finite numbers, as many of one arm as of the other",
                           f"{leader.shape} and {follower.shape}", "one arm was read more often, or not at all",
                           "read both arms in the same poses")
    return Report("mirror", tuple(_joint(i, leader[:, i], follower[:, i]) for i in range(6)))


def _joint(index: int, leader: np.ndarray, follower: np.ndarray) -> Check:
    unit, limit = ("%", SAME_PERCENT) if index == GRIPPER else ("deg", SAME_DEG)
    gap = follower - leader                                                    # (N,)
    worst = float(gap[np.argmax(np.abs(gap))])
    opposite = np.ptp(leader) > CLEAR_TRAVEL and np.polyfit(leader, follower, 1)[0] < 0
    return Check("SK126", JOINT_NAMES[index], abs(worst) <= limit and not opposite, f"within {limit:g} {unit}",
                 f"follower {abs(worst):.1f} {unit} {'more' if worst > 0 else 'less'} than the leader",
                 "the joint turns the other way in one of the arms: its horn or its servo was built in reversed"
                 if opposite else "one of the arms was calibrated with this joint swept half, or not near its middle",
                 f"look which arm shows {JOINT_NAMES[index]} wrongly at 0, then: smolkit calibrate PORT --out FILE")
