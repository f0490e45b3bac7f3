"""What the simulator knows and a camera must guess.

    >>> import numpy as np
    >>> from smolkit.sim.scene import Scene
    >>> from smolkit.sim.world import World
    >>> truth = truth_of(World(Scene(target_m=(0.2, 0.0, 0.1))))
    >>> truth.place_m, truth.cube
    (array([0.2, 0. , 0.1]), None)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolkit.arm.joints import GRIPPER, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.sim.motion import grip_centre
from smolkit.sim.room_model import WALL_M
from smolkit.sim.scene import Scene
from smolkit.sim.world import World

CLEAR_M = 0.050                            # how much higher than its work the gripper travels
CLEAR_OF_STANDS_M = 0.075


@dataclass(frozen=True)
class Truth:
    """Joints, the cube that the instruction means, and its destination."""

    angle_rad: np.ndarray                  # (6,) measured
    goal_rad: np.ndarray                   # (6,) commanded now
    cube: np.ndarray | None = None         # (4, 4) pose
    cube_edge_m: float = 0.025
    place_m: np.ndarray | None = None      # (3,) marker, zone or box
    place_wall_m: float = 0.0              # height of the box's walls
    place_half_m: float = 0.0              # half the box's inner width
    clear_m: float = CLEAR_M

    @property
    def centre_m(self) -> np.ndarray:
        """The middle between the finger tips (3,) m."""
        return grip_centre(self.angle_rad)

    @property
    def tip_m(self) -> np.ndarray:
        """The tool frame's origin (3,) m, on the fixed finger."""
        return tool_frame(self.angle_rad)[:3, 3]

    @property
    def jaw_rad(self) -> float:
        return float(self.angle_rad[GRIPPER])

    @property
    def cube_m(self) -> np.ndarray:
        return self.cube[:3, 3]


def truth_of(world: World, goal_deg: np.ndarray | None = None) -> Truth:
    """The truth of this moment, about the scene's first cube and its destination.

    `goal_deg` (6,) is what was commanded last, where a driver stands between; else the servos' own goal.
    """
    scene = world.scene
    goal_rad = world.goal_rad() if goal_deg is None else to_radians(goal_deg)
    cube = world.body_frame(scene.cubes[0].name) if scene.cubes else None
    edge_m = scene.cubes[0].edge_m if scene.cubes else 0.025
    place_m, wall_m, half_m = _destination(scene)
    clear_m = CLEAR_OF_STANDS_M if scene.stands else CLEAR_M
    return Truth(world.state().angle_rad, goal_rad, cube, edge_m, place_m, wall_m, half_m, clear_m)


def _destination(scene: Scene) -> tuple[np.ndarray | None, float, float]:
    if scene.target_m is not None:
        return np.array(scene.target_m), 0.0, 0.0
    if scene.zones:
        return np.array([*scene.zones[0].xy_m, 0.0]), 0.0, 0.0
    if scene.boxes:
        box = scene.boxes[0]
        return np.array([*box.xy_m, 0.0]), box.size_m[2], box.size_m[0] / 2 - WALL_M
    return None, 0.0, 0.0
