"""The six joints of an SO-101: names, servo ids, limits, and the two languages their angles speak.

    >>> import numpy as np
    >>> round(float(to_radians(np.zeros(6))[5]), 4)     # gripper 0 % is -10 deg
    -0.1745
    >>> from_radians(to_radians(np.array([10, -20, 30, 5, 0, 50.0]))).round(6)
    array([ 10., -20.,  30.,   5.,   0.,  50.])

At the package's border a pose is six numbers: five body joints in degrees and the gripper in percent
(0 closed, 100 open), as LeRobot records them. Inside physics and kinematics a pose is six radians.
Numbers: SO-ARM100's URDF ("new calibration": zero is the middle of each joint's range).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Joint:
    """One joint: its servo id and its mechanical limits in radians."""

    name: str
    servo_id: int
    lower_rad: float
    upper_rad: float


JOINTS = (
    Joint("shoulder_pan", 1, -1.91986, 1.91986),
    Joint("shoulder_lift", 2, -1.74533, 1.74533),
    Joint("elbow_flex", 3, -1.69, 1.69),
    Joint("wrist_flex", 4, -1.65806, 1.65806),
    Joint("wrist_roll", 5, -2.74385, 2.84121),
    Joint("gripper", 6, -0.174533, 1.74533),
)
JOINT_NAMES = tuple(joint.name for joint in JOINTS)
FEATURE_NAMES = tuple(f"{name}.pos" for name in JOINT_NAMES)   # LeRobot's names in datasets
LOWER_RAD = np.array([joint.lower_rad for joint in JOINTS])    # (6,)
UPPER_RAD = np.array([joint.upper_rad for joint in JOINTS])    # (6,)
IDS = tuple(joint.servo_id for joint in JOINTS)                # along the chain, from the board outward
GRIPPER = 5                                                    # index of the gripper in every pose
GRIPPER_ID = JOINTS[GRIPPER].servo_id
GRIPPER_DEG_PER_PERCENT = 1.1                                  # 0..100 % spans -10..100 deg
GRIPPER_CLOSED_DEG = -10.0


def joint_name(servo_id: int) -> str:
    """The joint that servo `servo_id` turns; "?" for a servo that is none of an arm's."""
    return next((joint.name for joint in JOINTS if joint.servo_id == servo_id), "?")


def servo_name(servo_id: int) -> str:
    """
    >>> servo_name(3), servo_name(9)
    ('3 (elbow_flex)', '9')
    """
    return f"{servo_id} ({joint_name(servo_id)})" if servo_id in IDS else str(servo_id)


def to_radians(pos_deg: np.ndarray) -> np.ndarray:
    """Border pose (..., 6) in deg and gripper % -> joint angles (..., 6) in rad."""
    angle_deg = np.array(pos_deg, dtype=float)
    angle_deg[..., GRIPPER] = GRIPPER_CLOSED_DEG + GRIPPER_DEG_PER_PERCENT * angle_deg[..., GRIPPER]
    return np.deg2rad(angle_deg)


def from_radians(angle_rad: np.ndarray) -> np.ndarray:
    """Joint angles (..., 6) in rad -> border pose (..., 6) in deg and gripper %."""
    pos_deg = np.rad2deg(np.asarray(angle_rad, dtype=float))
    pos_deg[..., GRIPPER] = (pos_deg[..., GRIPPER] - GRIPPER_CLOSED_DEG) / GRIPPER_DEG_PER_PERCENT
    return pos_deg


LOWER_DEG, UPPER_DEG = from_radians(LOWER_RAD), from_radians(UPPER_RAD)   # (6,) deg, gripper %
