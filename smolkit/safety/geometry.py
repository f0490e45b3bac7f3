"""How near the arm's links come to the table and to each other: boxes, exact where it is cheap.

    >>> import numpy as np
    >>> table_m, apart_m = clearances(np.zeros((1, 6)))      # the zero pose: arm out in front, level
    >>> bool(table_m.min() > 0.10), bool(apart_m.min() > 0.005)
    (True, True)

Every moving link is one to three boxes in its own frame. A box against the table z = 0 is exact
(centre height minus the half sizes seen from above). Box against box is the separating axis test: its
gap is never larger than the true distance, so a limit on it errs on the safe side. Negative: overlap.
Poses come in batches (K, 6) rad, because the envelope looks at a whole path at once, 30 times a second.

Sizes: the servo and print table of the SO-101 (millimetres, link frames, new calibration). The bounding
box of the fixed jaw is cut into palm, finger root and finger: as one box it would forbid every grasp
that is not exactly vertical. The jaw is cut the same way. Printed parts are hollow: boxes are larger. The
wrist camera with its mount is one box, whether there is one or not: where the simulated arm has it.
"""

from __future__ import annotations

import numpy as np

from smolkit.arm.joints import to_radians
from smolkit.arm.kinematics import CHAIN, LINKS, TOOL_XYZ, transform

# (link, part, centre mm, half size mm)
BOXES = (
    ("base", "body", (21.1, 0, 33.6), (43.5, 55.5, 36)),
    ("shoulder", "body", (-17.7, 0, 4.1), (29.9, 23, 42.1)),
    ("shoulder", "servo", (-30.4, 0, -41.7), (12.4, 19.8, 22.7)),
    ("upper_arm", "body", (-59.1, -0.2, 20.2), (71.1, 12.3, 33.7)),
    ("upper_arm", "servo", (-112.6, -15.5, 18.3), (12.4, 22.7, 19.8)),
    ("lower_arm", "body", (-53.3, 0, 20.2), (65.3, 12, 32.2)),
    ("lower_arm", "servo", (-122.4, 5.2, 18.3), (22.7, 12.4, 19.8)),
    ("wrist", "body", (-2.2, -26.9, 22.2), (17.8, 38.9, 31.2)),
    ("gripper", "palm", (-2.6, -2.0, -22.0), (32.6, 26, 23.0)),
    ("gripper", "finger root", (-17.0, -0.5, -63.0), (13.0, 14.0, 20.0)),
    ("gripper", "finger tip", (-14.0, 0, -94.0), (6.0, 8.5, 10.2)),
    ("gripper", "camera", (1.0, 48.0, 4.0), (17.0, 26.0, 17.0)),
    ("jaw", "root", (-1.2, -12.0, 18.9), (11.1, 22.0, 24.0)),
    ("jaw", "finger root", (-3.0, -50.5, 18.5), (9.3, 16.5, 10.0)),
    ("jaw", "finger tip", (-4.2, -75.0, 18.5), (8.2, 8.8, 8.5)),
)
# Points whose speed is limited (m, link frames): the tool frame, and the far ends of both fingers.
TIPS = (("gripper", TOOL_XYZ), ("gripper", (-0.015, 0.0, -0.1045)), ("jaw", (-0.004, -0.0838, 0.0185)))
# Who may meet whom. Neighbours touch at their joint by construction, and so do a link and the next but
# one where the stops between them keep them apart (upper arm and base, wrist and jaw, shoulder and forearm).
MEETINGS = (("lower_arm", ("base", "shoulder")), ("wrist", ("base", "shoulder", "upper_arm")),
            ("gripper", ("base", "shoulder", "upper_arm")),
            ("jaw", ("base", "shoulder", "upper_arm", "lower_arm")))

_LINK = np.array([LINKS.index(link) for link, *_ in BOXES])                    # (B,)
_CENTRE = np.array([centre for *_, centre, _ in BOXES]) / 1000                 # (B, 3) m
_HALF = np.array([half for *_, half in BOXES]) / 1000                          # (B, 3) m
_MOVING = np.array([i for i, box in enumerate(BOXES) if box[0] not in ("base", "shoulder")])
FINGERS = np.array([BOXES[i][0] in ("gripper", "jaw") and "finger" in BOXES[i][1] for i in _MOVING])
PAIRS = np.array([(i, j) for i, first in enumerate(BOXES) for j, second in enumerate(BOXES)
                   for link, others in MEETINGS if first[0] == link and second[0] in others])   # (P, 2)
_REACH = np.linalg.norm(_HALF, axis=1)                                         # (B,) m, circumscribed
_FIXED = np.array([transform(xyz, rpy) for _, _, xyz, rpy in CHAIN])           # (6, 4, 4)
_TIP_LINK = np.array([LINKS.index(link) for link, _ in TIPS])
_TIP_XYZ = np.array([xyz for _, xyz in TIPS])                                  # (3, 3) m
_FAR_M = 0.02            # pairs certainly further apart than this are not measured more closely
# Folded on its stops the arm is known to fit; where the boxes overlap there by some millimetres, that pair
# is measured from there, as if it were REST_GAP_M apart.
REST_DEG, REST_GAP_M = (0.0, -99.0, 96.0, 45.0, 0.0, 5.0), 0.006
_FOLDED = np.zeros(len(PAIRS))
_NEXT, _AFTER = np.array([1, 2, 0]), np.array([2, 0, 1])


def frames(angle_rad: np.ndarray) -> np.ndarray:
    """Poses (K, 6) rad -> frames (K, 7, 4, 4) of all links in the base, in the order of `LINKS`.

    The same numbers as `kinematics.link_frames`, for many poses in one go.
    """
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    local = np.empty((*angle_rad.shape, 4, 4))
    # FIXED @ turn about z, written out: columns 0 and 1 mix, columns 2 and 3 stay.
    local[..., 0] = _FIXED[:, :, 0] * cos[..., None] + _FIXED[:, :, 1] * sin[..., None]
    local[..., 1] = _FIXED[:, :, 1] * cos[..., None] - _FIXED[:, :, 0] * sin[..., None]
    local[..., 2:] = _FIXED[:, :, 2:]
    out = np.empty((len(angle_rad), 7, 4, 4))
    out[:, 0] = np.eye(4)
    for i, (_, parent, *_) in enumerate(CHAIN):
        np.matmul(out[:, LINKS.index(parent)], local[:, i], out=out[:, i + 1])
    return out


def tips(link_frames: np.ndarray) -> np.ndarray:
    """Frames (K, 7, 4, 4) -> positions (K, 3, 3) m of the tool, the fixed finger's and the jaw's end."""
    at = link_frames[:, _TIP_LINK]
    return (at[..., :3, :3] @ _TIP_XYZ[..., None])[..., 0] + at[..., :3, 3]


def table_heights(link_frames: np.ndarray) -> np.ndarray:
    """Frames (K, 7, 4, 4) -> height (K, M) m of the lowest point of each moving box over the table."""
    up = link_frames[:, _LINK[_MOVING], 2]                                     # (K, M, 4) row of z
    centre = (up[..., :3] * _CENTRE[_MOVING]).sum(-1) + up[..., 3]
    return centre - (np.abs(up[..., :3]) * _HALF[_MOVING]).sum(-1)


def gaps(link_frames: np.ndarray) -> np.ndarray:
    """Frames (K, 7, 4, 4) -> lower bound (K, P) m of the distance of every pair that may meet.

    Pairs whose circumscribed spheres are more than 2 cm apart in all K poses get that bound at once.
    """
    at = link_frames[:, _LINK]                                                 # (K, B, 4, 4)
    turn = at[..., :3, :3]
    centre = (turn @ _CENTRE[..., None])[..., 0] + at[..., :3, 3]
    apart = centre[:, PAIRS[:, 1]] - centre[:, PAIRS[:, 0]]                  # (K, P, 3)
    bound = np.linalg.norm(apart, axis=-1) - _REACH[PAIRS].sum(1)           # (K, P)
    near = np.flatnonzero(bound.min(0) < _FAR_M)
    if len(near):
        first, second = PAIRS[near].T
        bound[:, near] = _separation(turn[:, first], turn[:, second], apart[:, near],
                                     _HALF[first], _HALF[second])
    return bound - _FOLDED


def _separation(turn_a: np.ndarray, turn_b: np.ndarray, apart: np.ndarray,
                half_a: np.ndarray, half_b: np.ndarray) -> np.ndarray:
    """Separating axis test of boxes: turns (K, P, 3, 3), offset (K, P, 3), halves (P, 3) -> gap (K, P) m."""
    flip_a = np.swapaxes(turn_a, -1, -2)
    turn = flip_a @ turn_b                                                     # (K, P, 3, 3) B in A's frame
    shift = (flip_a @ apart[..., None])[..., 0]                                # (K, P, 3) in A's frame
    size = np.abs(turn)
    faces_a = np.abs(shift) - half_a - (size * half_b[:, None, :]).sum(-1)
    faces_b = np.abs((shift[..., None] * turn).sum(-2)) - half_b - (size * half_a[:, :, None]).sum(-2)
    # Edge a_i x edge b_j; its length is the sine of their angle, and parallel edges need no axis.
    across = np.abs(shift[..., _AFTER, None] * turn[..., _NEXT, :]
                    - shift[..., _NEXT, None] * turn[..., _AFTER, :])
    radius = (half_a[:, _NEXT, None] * size[..., _AFTER, :] + half_a[:, _AFTER, None] * size[..., _NEXT, :]
              + half_b[:, None, _NEXT] * size[..., _AFTER] + half_b[:, None, _AFTER] * size[..., _NEXT])
    sine = np.sqrt(np.maximum(1.0 - size * size, 0.0))
    edges = np.where(sine > 1e-3, (across - radius) / np.maximum(sine, 1e-3), -np.inf)
    faces = np.maximum(faces_a.max(-1), faces_b.max(-1))
    return np.maximum(faces, edges.max((-1, -2)))


def clearances(angle_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses (K, 6) rad -> (heights over the table (K, M) m, gaps between links (K, P) m)."""
    at = frames(np.atleast_2d(angle_rad))
    return table_heights(at), gaps(at)


def _overlap_when_folded() -> np.ndarray:
    """How much of each pair's gap (P,) m, 0 or negative, is owed to boxes being larger than the parts."""
    return np.minimum(gaps(frames(to_radians(np.array([REST_DEG])))).min(0) - REST_GAP_M, 0.0)


_FOLDED = _overlap_when_folded()
