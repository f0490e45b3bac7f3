"""A renderer in numpy, for machines without any OpenGL: flat shading, no shadows, but the right picture.

    >>> from smolkit.sim.scene import Cube, Scene
    >>> from smolkit.sim.world import World
    >>> world = World(Scene(cubes=(Cube("red cube", "red", (0.25, 0.0, 0.0125)),)))
    >>> draw_software(world.model, world.data, "front", 48, 64).shape
    (48, 64, 3)

Everything becomes a box or a ball; the arm is drawn from `arm_parts`, its cylinders as boxes. For each one,
rays are cast only through the pixels that its bounding box covers, and the nearest hit keeps the pixel: a
z-buffer with exact depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from smolkit.sim.arm_parts import MATERIALS, PARTS, Part

BALL = mujoco.mjtGeom.mjGEOM_SPHERE
ROUND = (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE)
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)   # (8, 3)
NEAR_M = 0.01
SKY_RGB = (176, 182, 190)
WOOD_RGB, MAT_RGB = np.array([0.78, 0.64, 0.48]), np.array([0.26, 0.31, 0.35])   # means of the textures


@dataclass(frozen=True)
class Primitive:
    """One box or ball where it now stands."""

    centre_m: np.ndarray           # (3,)
    turn: np.ndarray               # (3, 3) from its axes to the world's
    half_m: np.ndarray             # (3,) half sizes; a ball has its radius three times
    rgb: np.ndarray                # (3,) 0..1
    ball: bool = False


@dataclass(frozen=True)
class View:
    """A camera: where it is, its axes (right, up, back) as columns, its focal length."""

    eye_m: np.ndarray              # (3,)
    axes: np.ndarray               # (3, 3)
    focal_px: float


def draw_software(model: mujoco.MjModel, data: mujoco.MjData, camera: str, height_px: int,
                  width_px: int) -> np.ndarray:
    """The picture of that camera: (H, W, 3) uint8 RGB. Needs `mj_forward` to have run."""
    index = model.camera(camera).id
    focal_px = height_px / 2 / np.tan(np.deg2rad(model.cam_fovy[index]) / 2)
    view = View(data.cam_xpos[index], data.cam_xmat[index].reshape(3, 3), focal_px)
    v, u = np.mgrid[0:height_px, 0:width_px] + 0.5
    rays = np.stack([u - width_px / 2, height_px / 2 - v, np.full_like(u, -focal_px)], -1) / focal_px
    rays = (rays @ view.axes.T).astype(np.float32)           # (H, W, 3), depth 1 along the view
    depth = np.full((height_px, width_px), np.inf, np.float32)
    image = np.empty((height_px, width_px, 3), np.uint8)
    image[:] = SKY_RGB
    for shape in (*_things(model, data), *_arm(model, data)):
        _draw(model, shape, view, rays, depth, image)
    return image


def _things(model: mujoco.MjModel, data: mujoco.MjData) -> list[Primitive]:
    """The table and what lies on it: geoms of group 1 that are not fully transparent."""
    geoms = np.flatnonzero((model.geom_group == 1) & (model.geom_rgba[:, 3] > 0))
    return [Primitive(data.geom_xpos[i], data.geom_xmat[i].reshape(3, 3), _half_sizes(model, i),
                      _color(model, i), model.geom_type[i] == BALL) for i in geoms]


def _arm(model: mujoco.MjModel, data: mujoco.MjData) -> list[Primitive]:
    """The arm's parts at its links' present poses."""
    links = {link: model.body(link).id for link in {part.link for part in PARTS}}
    frames = {link: (data.xpos[body], data.xmat[body].reshape(3, 3)) for link, body in links.items()}
    return [_part(part, *frames[part.link]) for part in PARTS]


def _part(part: Part, origin_m: np.ndarray, axes: np.ndarray) -> Primitive:
    size = part.size_m if part.shape == "box" else part.size_m[[0, 0, 1]] * (0.9, 0.9, 1.0)
    return Primitive(origin_m + axes @ part.centre_m, axes @ part.turn, size,
                     np.array(MATERIALS[part.material][0][:3]))


def _draw(model: mujoco.MjModel, shape: Primitive, view: View, rays: np.ndarray, depth: np.ndarray,
          image: np.ndarray) -> None:
    window = _window(shape, view, depth.shape)
    if window is None:
        return
    start = (view.eye_m - shape.centre_m) @ shape.turn
    direction = rays[window] @ shape.turn.astype(np.float32)
    distance = (_ball_distance if shape.ball else _box_distance)(start, direction, shape.half_m)   # (h, w)
    nearer = distance < depth[window]
    if nearer.any():
        reach = distance[nearer]
        normal = _normal((start + reach[:, None] * direction[nearer]) / shape.half_m, shape.ball)  # (n, 3)
        depth[window][nearer] = reach
        color = shape.rgb * _shade(model, normal @ shape.turn.T)[:, None]
        image[window][nearer] = np.minimum(255 * color, 255)


def _half_sizes(model: mujoco.MjModel, geom: int) -> np.ndarray:
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == BALL:
        return np.full(3, size[0])
    return np.array([0.9 * size[0], 0.9 * size[0], size[1]]) if kind in ROUND else size


def _window(shape: Primitive, view: View, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """The rows and columns of the picture that a shape can touch; None when it is out of sight."""
    corners = (shape.centre_m + (CORNERS * shape.half_m) @ shape.turn.T - view.eye_m) @ view.axes   # (8, 3)
    if (corners[:, 2] > -NEAR_M).all():
        return None
    if (corners[:, 2] > -NEAR_M).any():
        return slice(0, size[0]), slice(0, size[1])
    u = size[1] / 2 - view.focal_px * corners[:, 0] / corners[:, 2]
    v = size[0] / 2 + view.focal_px * corners[:, 1] / corners[:, 2]
    rows = slice(max(0, int(v.min())), min(size[0], int(v.max()) + 2))
    columns = slice(max(0, int(u.min())), min(size[1], int(u.max()) + 2))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _box_distance(start: np.ndarray, direction: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Slab test: the distance along each ray at which it enters the box; inf where it misses."""
    inverse = 1 / np.where(direction == 0, np.float32(1e-9), direction)
    middle = -inverse * start.astype(np.float32)
    spread = np.abs(inverse) * half.astype(np.float32)       # half the way through each pair of faces
    first, last = middle - spread, middle + spread
    enter = np.maximum(np.maximum(first[..., 0], first[..., 1]), first[..., 2])
    leave = np.minimum(np.minimum(last[..., 0], last[..., 1]), last[..., 2])
    return np.where((enter <= leave) & (enter > NEAR_M), enter, np.inf)


def _ball_distance(start: np.ndarray, direction: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The nearer root of |start + t direction| = radius; inf where there is none ahead."""
    a, b = (direction ** 2).sum(-1), direction @ start
    inside = b ** 2 - a * (start @ start - half[0] ** 2)
    distance = (-b - np.sqrt(np.maximum(inside, 0))) / a
    return np.where((inside > 0) & (distance > NEAR_M), distance, np.inf)


def _normal(point: np.ndarray, ball: bool) -> np.ndarray:
    """Outward normals (n, 3) at points on the surface, given in units of the half sizes."""
    if ball:
        return point
    axis = np.abs(point).argmax(-1)
    return np.eye(3)[axis] * np.sign(point)


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
