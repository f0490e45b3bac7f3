"""The table, the light, the cameras and a pool of things: everything of the world but the arm.

    >>> model = compile_model(cubes=1)
    >>> model.nu, model.body("cube0").id > 0
    (6, True)

One model serves every scene with the same number of cubes: `smolkit.sim.world.World` moves, resizes and
colours the pool's bodies in place, which costs no compilation.
"""

from __future__ import annotations

import functools

import mujoco
import numpy as np

from smolkit.arm.kinematics import rotation
from smolkit.sim.arm_model import FIXTURE, NEAR_ARM, OBJECT, add_arm, quaternion
from smolkit.sim.textures import mat, wood

STEP_S = 0.004
BOXES, STANDS, ZONES = 2, 2, 1
CUBE_KG = 0.012
WALL_M = 0.003                                               # thickness of a box's walls
MAT_CENTRE_M, MAT_HALF_M = (0.245, 0.0), (0.15, 0.22)
FRONT_EYE_M, FRONT_LOOK_M, FRONT_FOVY_DEG = (0.61, 0.35, 0.42), (0.18, 0.0, 0.065), 43.0
# On the gripper's side, as the printed mounts hold it: looks along the fingers at what lies between.
WRIST_EYE_M, WRIST_LOOK_M, WRIST_FOVY_DEG = (0.004, 0.066, -0.004), (0.004, 0.008, -0.120), 70.0


@functools.lru_cache(maxsize=8)
def compile_model(cubes: int) -> mujoco.MjModel:
    """The compiled model with that many cubes. It is shared: copy it before changing a field."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False                             # or joint limits in rad would be read as degrees
    _set_options(spec)
    _add_textures(spec)
    add_arm(spec)
    _add_table(spec)
    _add_cameras(spec)
    for i in range(cubes):
        _add_cube(spec, i)
    for i in range(BOXES):
        _add_box(spec, i)
    for i in range(STANDS):
        _add_stand(spec, i)
    for i in range(ZONES):
        _add_zone(spec, i)
    _add_target(spec)
    return spec.compile()


def _set_options(spec: mujoco.MjSpec) -> None:
    option, visual = spec.option, spec.visual
    option.timestep, option.impratio = STEP_S, 10.0
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC             # with impratio 10 a held cube does not creep
    option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE         # MuJoCo 4.0.0's sparse factor has a known bug
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.iterations = 30
    spec.stat.extent, spec.stat.center = 1.0, (0.2, 0.0, 0.1)
    visual.map.znear, visual.map.zfar, visual.map.shadowclip = 0.01, 3.5, 1.5
    visual.quality.shadowsize, visual.quality.offsamples = 2048, 4
    visual.quality.numslices, visual.quality.numstacks = 20, 8
    visual.global_.offwidth, visual.global_.offheight = 640, 480
    visual.headlight.ambient, visual.headlight.diffuse = (0.42, 0.42, 0.43), (0.14, 0.14, 0.14)
    visual.headlight.specular = (0.05, 0.05, 0.05)


def _add_textures(spec: mujoco.MjSpec) -> None:
    spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384,
                     builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, rgb1=(0.86, 0.88, 0.90),
                     rgb2=(0.50, 0.54, 0.60))
    for name, image in (("wood", wood()), ("mat", mat())):
        height, width = image.shape[:2]
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height,
                                   nchannel=3)
        texture.data = image.tobytes()
    _textured(spec, "wood", repeat=(1.5, 1.5), specular=0.12)
    _textured(spec, "mat", repeat=(1.0, 1.0), specular=0.03)


def _textured(spec: mujoco.MjSpec, name: str, repeat: tuple[float, float], specular: float) -> None:
    material = spec.add_material(name=name, specular=specular, shininess=0.2, texrepeat=repeat)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_table(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    world.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(1, 1, 0.05), group=3,
                   contype=FIXTURE, conaffinity=OBJECT, friction=(0.8, 0.005, 0.0001))
    # What is seen is a slab: a plane, having no back, would cast specks of shadow on itself.
    world.add_geom(name="slab", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.72, 0.62, 0.02), pos=(0.1, 0, -0.02),
                   material="wood", contype=0, conaffinity=0, group=1)
    world.add_geom(name="mat", type=mujoco.mjtGeom.mjGEOM_BOX, size=(*MAT_HALF_M, 0.0005),
                   pos=(*MAT_CENTRE_M, 0.0003), material="mat", contype=0, conaffinity=0, group=1)
    world.add_light(name="lamp", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=(0.5, -0.4, 1.4),
                    dir=(-0.35, 0.3, -1.0), castshadow=True)


def _add_cameras(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_camera(name="front", pos=FRONT_EYE_M, fovy=FRONT_FOVY_DEG,
                              quat=look_at(FRONT_EYE_M, FRONT_LOOK_M, (0, 0, 1)))
    gripper = spec.body("gripper")
    quat = look_at(WRIST_EYE_M, WRIST_LOOK_M, (0, 1, 0))
    gripper.add_camera(name="wrist", pos=WRIST_EYE_M, fovy=WRIST_FOVY_DEG, quat=quat)


def look_at(eye_m: tuple, look_m: tuple, up: tuple) -> np.ndarray:
    """Quaternion (4,) of a camera at `eye_m` that looks at `look_m` (MuJoCo's cameras look along -z)."""
    back = np.subtract(eye_m, look_m) / np.linalg.norm(np.subtract(eye_m, look_m))
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    return quaternion(np.stack([right, np.cross(back, right), back], axis=1))


def turned(quat: np.ndarray, turn_deg: tuple[float, float, float]) -> np.ndarray:
    """The quaternion turned by roll, pitch, yaw (deg) about its own axes."""
    result, extra = np.zeros(4), quaternion(rotation(tuple(np.deg2rad(turn_deg))))
    mujoco.mju_mulQuat(result, np.asarray(quat, dtype=float), extra)
    return result


def _add_cube(spec: mujoco.MjSpec, index: int) -> None:
    body = spec.worldbody.add_body(name=f"cube{index}", pos=(0.3, 0.05 * index, 0.0125))
    body.add_freejoint(name=f"cube{index}")
    body.add_geom(name=f"cube{index}", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.0125] * 3, mass=CUBE_KG,
                  contype=OBJECT, conaffinity=OBJECT | FIXTURE | NEAR_ARM, condim=4,
                  friction=(1.0, 0.01, 0.0001), group=1)


def _add_box(spec: mujoco.MjSpec, index: int) -> None:
    body = spec.worldbody.add_body(name=f"box{index}", pos=(0, 0, -1))
    for k in range(5):                                       # floor, then four walls; sized by the scene
        body.add_geom(name=f"box{index}.{k}", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.01] * 3,
                      contype=FIXTURE, conaffinity=OBJECT, group=1)


def _add_stand(spec: mujoco.MjSpec, index: int) -> None:
    body = spec.worldbody.add_body(name=f"stand{index}", pos=(0, 0, -1))
    body.add_geom(name=f"stand{index}", type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(0.025, 0.025, 0),
                  contype=FIXTURE, conaffinity=OBJECT, group=1, rgba=(0.72, 0.70, 0.66, 1))


def _add_zone(spec: mujoco.MjSpec, index: int) -> None:
    body = spec.worldbody.add_body(name=f"zone{index}", pos=(0, 0, -1))
    body.add_geom(name=f"zone{index}", type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(0.035, 0.0004, 0),
                  contype=0, conaffinity=0, group=1)


def _add_target(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="target", pos=(0, 0, -1))
    body.add_geom(name="target", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.012, 0, 0), contype=0,
                  conaffinity=0, group=1, rgba=(0.95, 0.25, 0.55, 1))
