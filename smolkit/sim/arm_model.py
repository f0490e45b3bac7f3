"""The SO-101 out of primitive shapes: links, joints, servos and fingers as a MuJoCo body tree.

    >>> import mujoco
    >>> spec = mujoco.MjSpec()
    >>> add_arm(spec)
    >>> spec.compile().nu
    6

Frames and axes come from `smolkit.arm.kinematics.CHAIN`, so forward kinematics agree to rounding.
Masses, centres, inertias and box sizes: SO-ARM100's URDF and meshes. The servo: an STS3215 C001 at
6 V stalls at 16.5 kg cm (1.62 N m) and turns at 42 rpm (4.4 rad/s) without load (Feetech's sheet).
A DC motor's torque falls in a line from stall to no-load speed; that line is the joint's damping, and
the position loop's torque is clamped at stall times the torque limit. Unpowered, the same damping and
the gears' friction remain, so the arm sinks instead of dropping.
Sizes below are half sizes in millimetres in the link's own frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from smolkit.arm.joints import JOINTS
from smolkit.arm.kinematics import CHAIN, TOOL_RPY, TOOL_XYZ, rotation

STALL_NM = 1.62                    # 16.5 kg cm at 6 V
NO_LOAD_RAD_S = 4.4                # 42 rpm at 6 V
DAMPING = STALL_NM / NO_LOAD_RAD_S # N m s/rad: the motor's torque-speed line
FRICTION_NM = 0.052                # gears; SO-ARM100's identified value, as is the armature
ARMATURE = 0.028                   # kg m2: the rotor seen through 1:345
KP, KV = 200.0, 6.0                # N m/rad, N m s/rad: saturates 0.5 deg from the goal, settles in 30 ms
# Contact groups: an object meets everything; the arm's far half also meets its near half.
OBJECT, FIXTURE, NEAR_ARM = 1, 2, 4

# link: mass kg, centre of mass m, diagonal inertia about it in 1e-5 kg m2
MASSES = {
    "base": (0.147, (0.0137, 0.0, 0.0335), (11.5, 13.6, 13.0)),
    "shoulder": (0.100, (-0.0308, 0.0, -0.0253), (8.4, 8.1, 2.4)),
    "upper_arm": (0.103, (-0.0898, -0.0084, 0.0184), (4.1, 14.7, 14.2)),
    "lower_arm": (0.104, (-0.0981, 0.0032, 0.0183), (2.9, 16.0, 14.5)),
    "wrist": (0.079, (-0.0001, -0.0386, 0.0281), (3.7, 2.5, 2.1)),
    "gripper": (0.087, (0.0002, 0.0002, -0.0252), (2.8, 4.3, 3.5)),
    "jaw": (0.012, (-0.0016, -0.0300, 0.0193), (0.66, 0.19, 0.53)),
}


@dataclass(frozen=True)
class Part:
    """One primitive of a link: what is seen (`print`, `servo`, ...) or what collides."""

    link: str
    shape: str                     # box | cylinder | capsule | sphere
    xyz_mm: tuple[float, ...]
    size_mm: tuple[float, ...]     # box: half sizes; cylinder, capsule: radius, half length
    material: str = "print"
    axis: str = "z"                # a cylinder's axis
    turn_deg: float = 0.0          # about the link's z (jaw) or y (gripper), see `_orient`


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
SHAPES = {"box": mujoco.mjtGeom.mjGEOM_BOX, "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
          "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE, "sphere": mujoco.mjtGeom.mjGEOM_SPHERE}
MATERIALS = {                      # rgba, specular, shininess
    "print": ((0.93, 0.91, 0.86, 1), 0.25, 0.3),
    "servo": ((0.11, 0.115, 0.13, 1), 0.5, 0.5),
    "metal": ((0.62, 0.63, 0.66, 1), 0.8, 0.7),
    "pad": ((0.22, 0.23, 0.26, 1), 0.05, 0.05),
    "board": ((0.05, 0.32, 0.22, 1), 0.4, 0.5),
}


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) -> quaternion (4,) w x y z."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix, dtype=float).ravel())
    return quat


def add_arm(spec: mujoco.MjSpec) -> None:
    """Puts the arm at the origin of `spec`: bodies named as `kinematics.LINKS`, joints and actuators as `JOINTS`."""
    for name, (rgba, specular, shininess) in MATERIALS.items():
        spec.add_material(name=name, rgba=rgba, specular=specular, shininess=shininess)
    bodies = {"base": spec.worldbody.add_body(name="base")}
    for (child, parent, xyz, rpy), joint in zip(CHAIN, JOINTS, strict=True):
        body = bodies[parent].add_body(name=child, pos=xyz, quat=quaternion(rotation(rpy)))
        body.add_joint(name=joint.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 0, 1),
                       range=(joint.lower_rad, joint.upper_rad), limited=True, damping=DAMPING,
                       armature=ARMATURE, frictionloss=FRICTION_NM, solref_limit=(0.01, 1.0))
        bodies[child] = body
    bodies["gripper"].add_site(name="tool", pos=TOOL_XYZ, quat=quaternion(rotation(TOOL_RPY)), group=4)
    for name, body in bodies.items():
        _weigh(body, *MASSES[name])
    for part in PARTS:
        _draw(bodies[part.link], part)
    for part in SOLIDS:
        _collide(bodies[part.link], part)
    _add_servos(spec)


def _weigh(body: mujoco.MjsBody, mass_kg: float, com_m: tuple, inertia: tuple) -> None:
    body.explicitinertial = True
    body.mass, body.ipos, body.inertia = mass_kg, com_m, np.array(inertia) * 1e-5


def _add_servos(spec: mujoco.MjSpec) -> None:
    for joint in JOINTS:
        spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
                          gaintype=mujoco.mjtGain.mjGAIN_FIXED, biastype=mujoco.mjtBias.mjBIAS_AFFINE,
                          gainprm=[KP] + [0] * 9, biasprm=[0, -KP, -KV] + [0] * 7,
                          forcelimited=True, forcerange=(-STALL_NM, STALL_NM))


def _shape(part: Part) -> dict:
    size = np.zeros(3)
    size[:len(part.size_mm)] = np.array(part.size_mm) / 1000
    return {"type": SHAPES[part.shape], "pos": np.array(part.xyz_mm) / 1000, "size": size,
            "quat": _orient(part)}


def _orient(part: Part) -> tuple[float, ...]:
    half = np.deg2rad(part.turn_deg) / 2
    if part.axis == "y":
        return (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)
    if part.axis == "x":
        return (np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0)
    return (np.cos(half), 0.0, 0.0, np.sin(half))


def _draw(body: mujoco.MjsBody, part: Part) -> None:
    body.add_geom(**_shape(part), material=part.material, contype=0, conaffinity=0, group=2, mass=0)


def _collide(body: mujoco.MjsBody, part: Part) -> None:
    """Adds an unseen solid (group 3). Finger tips grip like rubber and resist a twist."""
    near = part.link in ("base", "shoulder")
    # The upper arm is left out of self-collision: folded at rest, its true shell lies against the forearm's.
    meets = OBJECT | (0 if near else FIXTURE) | (0 if near or part.link == "upper_arm" else NEAR_ARM)
    grip = part.material == "grip"
    body.add_geom(**_shape(part), group=3, mass=0, rgba=(0.9, 0.3, 0.3, 0.4),
                  contype=NEAR_ARM if near else 0, conaffinity=meets, condim=4 if grip else 3,
                  friction=(1.5, 0.02, 0.001) if grip else (0.6, 0.005, 0.0001))
