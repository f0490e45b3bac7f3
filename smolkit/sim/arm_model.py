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
"""

from __future__ import annotations

import mujoco
import numpy as np

from smolkit.arm.joints import JOINTS
from smolkit.arm.kinematics import CHAIN, TOOL_RPY, TOOL_XYZ, rotation
from smolkit.sim.arm_parts import MATERIALS, PARTS, SOLIDS, Part
from smolkit.sim.solids import Mesh, cylinder, merged, moved, rounded_box

STALL_NM = 1.62                    # 16.5 kg cm at 6 V
NO_LOAD_RAD_S = 4.4                # 42 rpm at 6 V
DAMPING = STALL_NM / NO_LOAD_RAD_S # N m s/rad: the motor's torque-speed line
FRICTION_NM = 0.052                # gears; SO-ARM100's identified value, as is the armature
ARMATURE = 0.028                   # kg m2: the rotor seen through 1:345
KP, KV = 200.0, 6.0                # N m/rad, N m s/rad: saturates 0.5 deg from the goal, settles in 30 ms
BEVEL_M = 0.0012                   # cut off every printed edge, so that it catches the light
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


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) -> quaternion (4,) w x y z."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix, dtype=float).ravel())
    return quat


def add_arm(spec: mujoco.MjSpec) -> None:
    """Puts the arm at the origin of `spec`: bodies named as in `LINKS`, joints and servos as in `JOINTS`."""
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
        _draw(spec, body, name)
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


def _draw(spec: mujoco.MjSpec, body: mujoco.MjsBody, link: str) -> None:
    """Adds one mesh per material: what is seen of a link (group 2), never collided with."""
    for material in MATERIALS:
        parts = [part for part in PARTS if part.link == link and part.material == material]
        if parts:
            name = f"{link}.{material}"
            vertices, normals, faces = merged([_mesh(part) for part in parts])
            # Drawn only: a shell's inertia exists for any heap of parts, a volume's does not.
            spec.add_mesh(name=name, uservert=vertices.ravel(), usernormal=normals.ravel(),
                          userface=faces.ravel(), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
            body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material,
                          contype=0, conaffinity=0, group=2, mass=0)


def _mesh(part: Part) -> Mesh:
    if part.shape == "box":
        shape = rounded_box(part.size_m, min(BEVEL_M, 0.4 * part.size_m.min()))
    else:
        shape = cylinder(*part.size_m)
    return moved(shape, part.turn, part.centre_m)


def _collide(body: mujoco.MjsBody, part: Part) -> None:
    """Adds an unseen solid (group 3). Finger tips grip like rubber and resist a twist."""
    near = part.link in ("base", "shoulder")
    # The upper arm is left out of self-collision: folded at rest, its true shell lies against the forearm's.
    meets = OBJECT | (0 if near else FIXTURE) | (0 if near or part.link == "upper_arm" else NEAR_ARM)
    grip = part.material == "grip"
    # MuJoCo's default contact is so soft that 0.8 N m would press the fingers 5 mm into a 12 g cube.
    stiff = {"solref": (0.008, 1.0), "solimp": (0.97, 0.995, 0.0005, 0.5, 2.0), "priority": 1} if grip else {}
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=part.centre_m, size=part.size_m,
                  quat=quaternion(part.turn), group=3, mass=0, rgba=(0.9, 0.3, 0.3, 0.4),
                  contype=NEAR_ARM if near else 0, conaffinity=meets, condim=4 if grip else 3, **stiff,
                  friction=(1.5, 0.02, 0.001) if grip else (0.6, 0.005, 0.0001))
