"""A renderer in numpy, for machines without any OpenGL: flat shading, no shadows, but the right picture.

    >>> from smolkit.sim.scene import Cube, Scene
    >>> from smolkit.sim.world import World
    >>> world = World(Scene(cubes=(Cube("red cube", "red", (0.25, 0.0, 0.0125)),)))
    >>> draw_software(world.model, world.data, "front", 48, 64).shape
    (48, 64, 3)

Every geom becomes a box, a ball or the table's plane. For each one, rays are cast only through the pixels
that its bounding box covers, and the nearest hit keeps the pixel: a z-buffer with exact depth.
"""

from __future__ import annotations

import mujoco
import numpy as np

BOX, BALL, PLANE = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_PLANE
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)   # (8, 3)
NEAR_M = 0.01
SKY_RGB = (176, 182, 190)
WOOD_RGB, MAT_RGB = np.array([0.78, 0.64, 0.48]), np.array([0.26, 0.31, 0.35])   # means of the textures


def draw_software(model: mujoco.MjModel, data: mujoco.MjData, camera: str, height_px: int,
                  width_px: int) -> np.ndarray:
    """The picture of that camera: (H, W, 3) uint8 RGB. Needs `mj_forward` to have run."""
    index = model.camera(camera).id
    eye, axes = data.cam_xpos[index], data.cam_xmat[index].reshape(3, 3)
    focal_px = height_px / 2 / np.tan(np.deg2rad(model.cam_fovy[index]) / 2)
    v, u = np.mgrid[0:height_px, 0:width_px] + 0.5
    rays = np.stack([u - width_px / 2, height_px / 2 - v, np.full_like(u, -focal_px)], -1) / focal_px
    rays = rays @ axes.T                                     # (H, W, 3), depth 1 along the view
    depth = np.full((height_px, width_px), np.inf)
    image = np.empty((height_px, width_px, 3), np.uint8)
    image[:] = SKY_RGB
    for geom in _visible(model):
        _draw_geom(model, data, geom, (eye, axes, focal_px), rays, depth, image)
    return image


def _visible(model: mujoco.MjModel) -> np.ndarray:
    """Ids of the geoms to draw: groups 0 to 2 that are not fully transparent."""
    return np.flatnonzero((model.geom_group <= 2) & (model.geom_rgba[:, 3] > 0))


def _draw_geom(model: mujoco.MjModel, data: mujoco.MjData, geom: int, view: tuple, rays: np.ndarray,
               depth: np.ndarray, image: np.ndarray) -> None:
    half = _half_sizes(model, geom)
    position, turn = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    window = _window(position, turn, half, view, depth.shape)
    if window is None:
        return
    start, direction = (view[0] - position) @ turn, rays[window] @ turn
    hit = _hit_ball if model.geom_type[geom] == BALL else _hit_box
    distance, normal = hit(start, direction, half)           # (h, w), (h, w, 3) in the geom's axes
    nearer = distance < depth[window]
    if nearer.any():
        color = _color(model, geom) * _shade(model, normal[nearer] @ turn.T)[:, None]
        depth[window][nearer] = distance[nearer]
        image[window][nearer] = np.clip(255 * color, 0, 255)


def _half_sizes(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Half sizes (3,) of the box around a geom; a capsule or cylinder stands along its own z."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == BALL:
        return np.full(3, size[0])
    if kind == PLANE:
        return np.array([size[0], size[1], 1e-6])
    return size if kind == BOX else np.array([0.9 * size[0], 0.9 * size[0], size[1]])


def _window(position: np.ndarray, turn: np.ndarray, half: np.ndarray, view: tuple, shape: tuple[int, int]):
    """The slices of the picture that a box can touch; None when it is out of sight."""
    eye, axes, focal_px = view
    corners = (position + (CORNERS * half) @ turn.T - eye) @ axes                  # (8, 3) camera axes
    if (corners[:, 2] > -NEAR_M).all():
        return None
    if (corners[:, 2] > -NEAR_M).any():
        return slice(0, shape[0]), slice(0, shape[1])
    u = shape[1] / 2 - focal_px * corners[:, 0] / corners[:, 2]
    v = shape[0] / 2 + focal_px * corners[:, 1] / corners[:, 2]
    rows = slice(max(0, int(v.min())), min(shape[0], int(v.max()) + 2))
    columns = slice(max(0, int(u.min())), min(shape[1], int(u.max()) + 2))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _hit_box(start: np.ndarray, direction: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slab test: distance along each ray (inf: missed) and the outward normal of the face that was hit."""
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    first = (-np.sign(direction) * half - start) / direction  # where each ray enters each pair of faces
    last = (np.sign(direction) * half - start) / direction
    axis = first.argmax(-1)
    enter = np.take_along_axis(first, axis[..., None], -1)[..., 0]
    hit = (enter <= last.min(-1)) & (enter > NEAR_M)
    normal = np.where(np.arange(3) == axis[..., None], -np.sign(direction), 0.0)
    return np.where(hit, enter, np.inf), normal


def _hit_ball(start: np.ndarray, direction: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearer root of |start + t direction| = radius, and the normal there."""
    a, b = (direction ** 2).sum(-1), direction @ start
    inside = b ** 2 - a * (start @ start - half[0] ** 2)
    distance = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    near = np.where(np.isfinite(distance), distance, 0.0)[..., None]
    return np.where(distance > NEAR_M, distance, np.inf), (start + near * direction) / half[0]


def _color(model: mujoco.MjModel, geom: int) -> np.ndarray:
    material = model.geom_matid[geom]
    if material < 0:
        return model.geom_rgba[geom, :3]
    base = {"wood": WOOD_RGB, "mat": MAT_RGB}.get(model.mat(material).name, 1.0)
    return base * model.mat_rgba[material, :3]


def _shade(model: mujoco.MjModel, normal: np.ndarray) -> np.ndarray:
    """Brightness (n,) of surfaces with these normals under the lamp and the head light."""
    lamp = np.maximum(0.0, -normal @ model.light_dir[0]) * model.light_diffuse[0].mean()
    return model.vis.headlight.ambient[0] + 0.6 * model.vis.headlight.diffuse[0] + lamp
