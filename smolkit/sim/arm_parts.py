"""What the SO-101 is drawn and collided with: primitives in each link's own frame, as tables.

    >>> sum(part.link == "jaw" for part in PARTS), sum(part.link == "jaw" for part in SOLIDS)
    (4, 2)

Positions and half sizes in millimetres. The servos' boxes and the printed bodies' extents were read off
SO-ARM100's meshes; the shapes between them are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """One primitive of a link: what is seen (`print`, `servo`, ...) or what collides."""

    link: str
    shape: str                     # box | cylinder
    xyz_mm: tuple[float, ...]
    size_mm: tuple[float, ...]     # box: half sizes; cylinder: radius, half length
    material: str = "print"
    axis: str = "z"                # a cylinder's axis, z or y
    turn_deg: float = 0.0          # about the link's z

    @property
    def centre_m(self) -> np.ndarray:
        return np.array(self.xyz_mm) / 1000

    @property
    def size_m(self) -> np.ndarray:
        return np.array(self.size_mm) / 1000

    @property
    def turn(self) -> np.ndarray:
        """Rotation (3, 3) from the part's axes to the link's."""
        if self.axis == "y":
            return np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        c, s = np.cos(np.deg2rad(self.turn_deg)), np.sin(np.deg2rad(self.turn_deg))
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


PARTS = (
    # base: a foot, the motor housing with its servo, the bearing ring, the bus board at the back
    Part("base", "box", (20, 0, 4), (42, 30, 5)),
    Part("base", "box", (4, 0, 4), (16, 54, 4)),
    Part("base", "box", (24, -15.6, 34), (27, 3, 27)),
    Part("base", "box", (24, 15.6, 34), (27, 3, 27)),
    Part("base", "box", (-0.5, 0, 32), (3, 18, 25)),
    Part("base", "box", (26.3, 0, 40), (22.7, 12.4, 22), "servo"),
    Part("base", "cylinder", (38.8, 0, 60.5), (21, 2.5), "print"),
    Part("base", "box", (-17, 0, 22), (2, 22, 14), "board"),
    Part("base", "box", (-20.5, -8, 16), (3, 5, 4), "metal"),
    # shoulder: a turntable and two cheeks that hold the lift servo upright
    Part("shoulder", "cylinder", (0, 0, -3), (23, 3)),
    Part("shoulder", "box", (-24, 0, -9), (28, 21, 6)),
    Part("shoulder", "box", (-30.4, 0, -41.7), (12.4, 19.8, 22.7), "servo"),
    Part("shoulder", "box", (-15.5, 0, -36), (3, 20, 24)),
    Part("shoulder", "box", (-46, 0, -26), (3, 20, 14)),
    Part("shoulder", "cylinder", (-30.4, 20.5, -54.2), (10, 1.6), "metal", axis="y"),
    Part("shoulder", "cylinder", (-30.4, -20.5, -54.2), (10, 1.6), "metal", axis="y"),
    # upper arm: a fork around the lift servo, a beam, the elbow servo
    Part("upper_arm", "cylinder", (0, 0, -5.5), (14, 2.2)),
    Part("upper_arm", "cylinder", (0, 0, 42.1), (14, 2.2)),
    Part("upper_arm", "box", (-27, -1, -5.5), (28, 12, 2.2)),
    Part("upper_arm", "box", (-27, -1, 42.1), (28, 12, 2.2)),
    Part("upper_arm", "box", (-56, -2, 18.3), (4, 13, 26)),
    Part("upper_arm", "box", (-78, -4, 18.3), (24, 9, 15)),
    Part("upper_arm", "box", (-98, -14, 18.3), (3, 23, 19)),
    Part("upper_arm", "box", (-127, -8, 18.3), (3, 15, 17)),
    Part("upper_arm", "box", (-112.6, -15.5, 18.3), (12.4, 22.7, 19.8), "servo"),
    Part("upper_arm", "cylinder", (-112.6, -28, 38.8), (10, 1.6), "metal"),
    Part("upper_arm", "cylinder", (-112.6, -28, -2.2), (10, 1.6), "metal"),
    # lower arm: the same once more
    Part("lower_arm", "cylinder", (0, 0, -5.5), (14, 2.2)),
    Part("lower_arm", "cylinder", (0, 0, 42.1), (14, 2.2)),
    Part("lower_arm", "box", (-25, 1, -5.5), (26, 12, 2.2)),
    Part("lower_arm", "box", (-25, 1, 42.1), (26, 12, 2.2)),
    Part("lower_arm", "box", (-52, 2, 18.3), (4, 13, 26)),
    Part("lower_arm", "box", (-76, 3, 18.3), (24, 9, 15)),
    Part("lower_arm", "box", (-118, -9, 18.3), (24, 3, 17)),
    Part("lower_arm", "box", (-98, 4, 18.3), (3, 13, 18)),
    Part("lower_arm", "box", (-122.4, 5.2, 18.3), (22.7, 12.4, 19.8), "servo"),
    Part("lower_arm", "cylinder", (-134.9, 5.2, 38.8), (9.5, 1.6), "metal"),
    Part("lower_arm", "cylinder", (-134.9, 5.2, -2.2), (9.5, 1.6), "metal"),
    # wrist: a fork around the flex servo, the roll servo in its cage
    Part("wrist", "cylinder", (0, 0, -5.5), (13, 2.2)),
    Part("wrist", "cylinder", (0, 0, 42.1), (13, 2.2)),
    Part("wrist", "box", (0, -11, -5.5), (12, 12, 2.2)),
    Part("wrist", "box", (0, -11, 42.1), (12, 12, 2.2)),
    Part("wrist", "box", (0, -22, 20), (14, 3.5, 28)),
    Part("wrist", "box", (0, -42.8, 30.6), (12.4, 17, 22.7), "servo"),
    Part("wrist", "box", (-14.5, -40, 25), (2.5, 18, 20)),
    Part("wrist", "box", (14.5, -40, 25), (2.5, 18, 20)),
    Part("wrist", "cylinder", (0, -60, 18.1), (10, 1.8), "metal", axis="y"),
    # gripper: the roll flange, the jaw servo, the fixed finger in three steps to a thin tip
    Part("gripper", "cylinder", (0, 0, -3), (20, 3)),
    Part("gripper", "box", (7.7, 0.5, -23.4), (22.7, 18.5, 12.4), "servo"),
    Part("gripper", "box", (-17.5, 0, -20), (4, 20, 19)),
    Part("gripper", "box", (6, 0, -8.5), (24, 19, 2.5)),
    Part("gripper", "box", (-17.5, 0, -45), (4, 16, 10)),
    Part("gripper", "box", (-16.5, 0, -66), (3.6, 12, 16)),
    Part("gripper", "box", (-15.0, 0, -92), (4.0, 8.5, 12)),
    Part("gripper", "box", (-9.9, 0, -87), (1.9, 7.5, 17), "pad"),
    Part("gripper", "box", (0, 40, -4), (9, 22, 2)),
    Part("gripper", "box", (2, 68, 4), (15, 2, 15), "board"),
    Part("gripper", "box", (2, 65, 3), (5, 5, 5), "servo"),
    Part("gripper", "cylinder", (20.2, 20.2, -23.4), (10, 1.6), "metal", axis="y"),
    # jaw: hub, lever and finger; its face is turned so that it meets a 25 mm cube flat
    Part("jaw", "cylinder", (0, 0, 18.5), (11, 23)),
    Part("jaw", "box", (0.5, -24, 18.5), (6, 20, 14)),
    Part("jaw", "box", (-3.1, -60, 18.5), (3.2, 23, 9.5), turn_deg=-7),
    Part("jaw", "box", (-8.4, -65, 18.5), (1.5, 17, 7.5), "pad", turn_deg=-7),
)

SOLIDS = (                         # what collides; fewer and simpler than what is seen
    Part("base", "box", (20, 0, 31), (42, 27, 31)),
    Part("shoulder", "box", (-24, 0, -34), (26, 22, 31)),
    Part("upper_arm", "box", (-66, -6, 18.3), (58, 16, 26)),
    Part("lower_arm", "box", (-70, 3, 18.3), (70, 14, 26)),
    Part("wrist", "box", (0, -30, 20), (17, 30, 27)),
    Part("gripper", "box", (5, 0, -22), (26, 20, 20)),
    Part("gripper", "box", (-16.5, 0, -60), (4, 13, 18)),
    Part("gripper", "box", (-13.5, 0, -91), (5.5, 8.5, 13), "grip"),
    Part("jaw", "box", (0, -22, 18.5), (6, 22, 14)),
    Part("jaw", "box", (-4.3, -63, 18.5), (5.5, 20, 8.5), "grip", turn_deg=-7),
)
MATERIALS = {                      # rgba, specular, shininess
    "print": ((0.90, 0.885, 0.84, 1), 0.25, 0.3),
    "servo": ((0.11, 0.115, 0.13, 1), 0.5, 0.5),
    "metal": ((0.62, 0.63, 0.66, 1), 0.8, 0.7),
    "pad": ((0.22, 0.23, 0.26, 1), 0.05, 0.05),
    "board": ((0.05, 0.32, 0.22, 1), 0.4, 0.5),
}
