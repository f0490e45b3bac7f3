"""Lays a scene out in a compiled model: moves, resizes and colours the pool's bodies, light and cameras.

    >>> import mujoco
    >>> from smolkit.sim.room_model import compile_model
    >>> from smolkit.sim.scene import Box, Scene
    >>> import copy
    >>> model = copy.copy(compile_model(0))
    >>> sorted(furnish(model, mujoco.MjData(model), Scene(boxes=(Box("blue box", "blue", (0.2, 0.1)),))))
    ['blue box']

Nothing is compiled, so a new scene costs well under a millisecond. The caller runs `mj_forward` afterwards.
"""

from __future__ import annotations

import mujoco
import numpy as np

from smolkit.report import SmolkitError
from smolkit.sim.room_model import BOXES, STANDS, WALL_M, ZONES, compile_model, turned
from smolkit.sim.scene import COLORS, Box, CameraShift, Cube, Light, Scene, Stand, Zone

AWAY_M = (0.0, 0.0, -1.0)                                    # unused things rest below the table, unseen


def furnish(model: mujoco.MjModel, data: mujoco.MjData, scene: Scene) -> dict[str, int]:
    """Lays `scene` out and returns the body id of each of its things by name."""
    _check(scene)
    ids = {}
    for i, cube in enumerate(scene.cubes):
        ids[cube.name] = _lay_cube(model, data, f"cube{i}", cube)
    for i in range(BOXES):
        ids.update(_lay_box(model, f"box{i}", scene.boxes[i] if i < len(scene.boxes) else None))
    for i in range(STANDS):
        ids.update(_lay_stand(model, f"stand{i}", scene.stands[i] if i < len(scene.stands) else None))
    for i in range(ZONES):
        ids.update(_lay_zone(model, f"zone{i}", scene.zones[i] if i < len(scene.zones) else None))
    model.body("target").pos[:] = AWAY_M if scene.target_m is None else scene.target_m
    _show(model, [*ids.values(), *([] if scene.target_m is None else [model.body("target").id])])
    _set_light(model, scene.light)
    model.mat("wood").rgba[:3], model.mat("mat").rgba[:3] = scene.table_tint, scene.mat_tint
    for name, shift in (("front", scene.front_shift), ("wrist", scene.wrist_shift)):
        _shift_camera(model, name, shift)
    return ids


def _check(scene: Scene) -> None:
    things = (*scene.cubes, *scene.boxes, *scene.stands, *scene.zones)
    names = [thing.name for thing in things]
    crowded = len(scene.boxes) > BOXES or len(scene.stands) > STANDS or len(scene.zones) > ZONES
    if crowded or len(set(names)) < len(names):
        raise SmolkitError("SK213", f"{BOXES} boxes, {STANDS} stands, {ZONES} zone at most; no name twice",
                           ", ".join(names), "the task sampled more than the world holds", "reduce the scene")
    for thing in (*scene.cubes, *scene.boxes, *scene.zones):
        if thing.color not in COLORS:
            raise SmolkitError("SK214", f"a colour of {', '.join(COLORS)}", repr(thing.color),
                               f"{thing.name} has a colour without an RGB value", "add it to scene.COLORS")


def _show(model: mujoco.MjModel, bodies: list[int]) -> None:
    """Makes the unused part of the pool fully transparent: such geoms cost the renderer nothing."""
    pool = (model.geom_group == 1) & (model.geom_bodyid > 0)
    model.geom_rgba[pool, 3] = np.isin(model.geom_bodyid[pool], bodies)


def _set_size(model: mujoco.MjModel, geom: str, size_m: tuple[float, float, float]) -> None:
    """Resizes a box, and with it the bounds that collision detection looks at first."""
    index = model.geom(geom).id
    model.geom_size[index] = size_m
    model.geom_rbound[index] = np.linalg.norm(size_m)
    model.geom_aabb[index] = (0, 0, 0, *size_m)


def _lay_cube(model: mujoco.MjModel, data: mujoco.MjData, name: str, cube: Cube) -> int:
    _set_size(model, name, (cube.edge_m / 2,) * 3)
    model.geom(name).rgba[:] = (*COLORS[cube.color], 1.0)
    half_yaw = cube.yaw_rad / 2
    data.joint(name).qpos[:] = (*cube.xyz_m, np.cos(half_yaw), 0, 0, np.sin(half_yaw))
    return model.body(name).id


def _lay_box(model: mujoco.MjModel, name: str, box: Box | None) -> dict[str, int]:
    body = model.body(name)
    body.pos[:] = AWAY_M if box is None else (*box.xy_m, 0.0)
    if box is None:
        return {}
    body.quat[:] = (np.cos(box.yaw_rad / 2), 0, 0, np.sin(box.yaw_rad / 2))
    x, y, z = np.array(box.size_m) / 2
    t = WALL_M / 2
    floor = ((0, 0, t), (x, y, t))
    walls = [((sign * (x - t), 0, z), (t, y, z)) for sign in (-1, 1)]
    walls += [((0, sign * (y - t), z), (x, t, z)) for sign in (-1, 1)]
    for k, (position, size) in enumerate([floor, *walls]):
        _set_size(model, f"{name}.{k}", size)
        geom = model.geom(f"{name}.{k}")
        geom.pos[:], geom.rgba[:] = position, (*COLORS[box.color], 1.0)
        model.geom_sameframe[geom.id] = 0                    # compiled at the body's centre; no longer there
    return {box.name: body.id}


def _lay_stand(model: mujoco.MjModel, name: str, stand: Stand | None) -> dict[str, int]:
    body = model.body(name)
    body.pos[:] = AWAY_M if stand is None else (*stand.xy_m, stand.height_m / 2)
    if stand is None:
        return {}
    index = model.geom(name).id
    radius, half = stand.radius_m, stand.height_m / 2
    model.geom_size[index] = (radius, half, 0)
    model.geom_rbound[index] = np.hypot(radius, half)
    model.geom_aabb[index] = (0, 0, 0, radius, radius, half)
    return {stand.name: body.id}


def _lay_zone(model: mujoco.MjModel, name: str, zone: Zone | None) -> dict[str, int]:
    body, geom = model.body(name), model.geom(name)
    body.pos[:] = AWAY_M if zone is None else (*zone.xy_m, 0.001)
    if zone is None:
        return {}
    geom.size[0], geom.rgba[:] = zone.radius_m, (*COLORS[zone.color], 1.0)
    return {zone.name: body.id}


def _set_light(model: mujoco.MjModel, light: Light) -> None:
    direction = np.array(light.direction) / np.linalg.norm(light.direction)
    model.light_dir[0] = direction
    model.light_pos[0] = np.array([0.15, 0.0, 0.0]) - 1.4 * direction
    warm = np.array([1.0, 0.97 - 0.05 * light.warmth, 0.93 - 0.13 * light.warmth])
    model.light_diffuse[0] = 0.56 * light.intensity * warm
    model.light_ambient[0] = 0.04 * light.intensity
    model.light_specular[0] = 0.25 * light.intensity


def _shift_camera(model: mujoco.MjModel, name: str, shift: CameraShift) -> None:
    """Moves and turns a camera in its own axes, always from the place it was compiled at."""
    drawn = compile_model(model.njnt - 6).cam(name)
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, drawn.quat)
    camera = model.cam(name)
    camera.pos[:] = drawn.pos + axes.reshape(3, 3) @ np.array(shift.offset_mm) / 1000
    camera.quat[:] = turned(drawn.quat, shift.turn_deg)
