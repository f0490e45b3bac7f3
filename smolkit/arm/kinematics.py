"""Forward kinematics of the SO-101 follower: where every link and the gripper's tip are.

    >>> import numpy as np
    >>> tool_frame(np.zeros(6))[:3, 3].round(4)              # m: x forward, y left, z up
    array([ 0.3914, -0.    ,  0.2265])

Frames are 4x4 homogeneous transforms from the base (metres). The tool frame is the URDF's
`gripper_frame_link`; the MJCF site of the same name is turned, do not mix them.
Numbers: SO-ARM100's URDF, new calibration.
"""

from __future__ import annotations

import numpy as np

PI, HALF_PI = np.pi, np.pi / 2
# child link: (parent, xyz in m, (roll, pitch, yaw) in rad); joint i turns child i about its own z.
CHAIN = (
    ("shoulder", "base", (0.0388353, 0.0, 0.0624), (PI, 0.0, PI)),
    ("upper_arm", "shoulder", (-0.0303992, -0.0182778, -0.0542), (-HALF_PI, -HALF_PI, 0.0)),
    ("lower_arm", "upper_arm", (-0.11257, -0.028, 0.0), (0.0, 0.0, HALF_PI)),
    ("wrist", "lower_arm", (-0.1349, 0.0052, 0.0), (0.0, 0.0, -HALF_PI)),
    ("gripper", "wrist", (0.0, -0.0611, 0.0181), (HALF_PI, 0.0486795, PI)),
    ("jaw", "gripper", (0.0202, 0.0188, -0.0234), (HALF_PI, 0.0, 0.0)),
)
TOOL_XYZ, TOOL_RPY = (-0.0079, -0.000218121, -0.0981274), (0.0, PI, 0.0)   # gripper -> tool
LINKS = ("base", *(child for child, *_ in CHAIN))


def rotation(rpy: tuple[float, float, float]) -> np.ndarray:
    """URDF's roll, pitch, yaw (rad) -> rotation matrix (3, 3): Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    return np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                     [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                     [-sp, cp * sr, cp * cr]])


def transform(xyz: tuple[float, float, float], rpy: tuple[float, float, float]) -> np.ndarray:
    """Position (m) and roll, pitch, yaw (rad) -> homogeneous transform (4, 4)."""
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = rotation(rpy), xyz
    return frame


_FIXED = tuple(transform(xyz, rpy) for _, _, xyz, rpy in CHAIN)
_TOOL = transform(TOOL_XYZ, TOOL_RPY)


def _turn_z(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def link_frames(angle_rad: np.ndarray) -> dict[str, np.ndarray]:
    """Six joint angles (rad) -> frame (4, 4) of every link in the base, by name."""
    frames = {"base": np.eye(4)}
    for (child, parent, *_), fixed, q in zip(CHAIN, _FIXED, angle_rad, strict=True):
        frames[child] = frames[parent] @ fixed @ _turn_z(q)
    return frames


def tool_frame(angle_rad: np.ndarray) -> np.ndarray:
    """Six joint angles (rad) -> frame (4, 4) of the gripper's tip in the base."""
    return link_frames(angle_rad)["gripper"] @ _TOOL


def tool_jacobian(angle_rad: np.ndarray) -> np.ndarray:
    """Six joint angles (rad) -> geometric Jacobian (6, 5) of the tip for the five body joints.

    Rows 0-2: m/s per rad/s; rows 3-5: rad/s per rad/s. The jaw does not move the tool frame.
    """
    frames = link_frames(angle_rad)
    tip = (frames["gripper"] @ _TOOL)[:3, 3]
    columns = []
    for child, *_ in CHAIN[:5]:
        axis, origin = frames[child][:3, 2], frames[child][:3, 3]
        columns.append(np.concatenate([np.cross(axis, tip - origin), axis]))
    return np.stack(columns, axis=1)                         # (6, 5)
