"""Triangle meshes of rounded boxes and cylinders: what the arm's printed parts are drawn with.

    >>> vertices, normals, faces = rounded_box((0.02, 0.01, 0.005), 0.001)
    >>> vertices.shape, normals.shape, faces.shape
    ((24, 3), (24, 3), (44, 3))

A mesh is (vertices (N, 3) m, normals (N, 3), faces (F, 3) vertex indices, counter-clockwise from outside).
Many primitives in one mesh are one draw call: merging the arm's 63 parts into 23 meshes brought a
96-pixel picture from 2.3 to 1.3 ms (one CPU core, Mesa).
"""

from __future__ import annotations

from itertools import product

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]


def rounded_box(half_m: tuple[float, ...], bevel_m: float) -> Mesh:
    """A box whose edges are cut at 45 degrees; the cut's normals run from face to face, so it looks round."""
    half, corners, index = np.asarray(half_m, dtype=float), [], {}
    for axis, signs in product(range(3), product((-1, 1), repeat=3)):
        inset = np.full(3, bevel_m)
        inset[axis] = 0.0                                    # this corner's copy that lies in face `axis`
        index[axis, signs] = len(corners)
        corners.append((np.array(signs) * (half - inset), np.eye(3)[axis] * signs[axis]))
    vertices, normals = (np.array(column) for column in zip(*corners, strict=True))
    polygons = [[index[axis, s] for s in product((-1, 1), repeat=3) if s[axis] == side]
                for axis in range(3) for side in (-1, 1)]
    for first, second in ((0, 1), (1, 2), (0, 2)):           # 12 edges: two copies of two corners
        for side in product((-1, 1), repeat=2):
            ends = [s for s in product((-1, 1), repeat=3) if (s[first], s[second]) == side]
            polygons.append([index[axis, s] for s in ends for axis in (first, second)])
    polygons += [[index[axis, s] for axis in range(3)] for s in product((-1, 1), repeat=3)]
    faces = [face for polygon in polygons for face in _fan(vertices, polygon)]
    return vertices, normals, np.array(faces)


def _fan(vertices: np.ndarray, polygon: list[int]) -> list[list[int]]:
    """Triangles of a convex polygon around the origin's outside, in counter-clockwise order."""
    points = vertices[polygon]
    centre = points.mean(0)
    plane = np.linalg.svd(points - centre)[2][2]             # the direction in which the points do not spread
    out = plane if plane @ centre > 0 else -plane
    right = (points[0] - centre) / np.linalg.norm(points[0] - centre)
    angle = np.arctan2((points - centre) @ np.cross(out, right), (points - centre) @ right)
    order = [polygon[i] for i in np.argsort(angle)]
    return [[order[0], order[i], order[i + 1]] for i in range(1, len(order) - 1)]


def cylinder(radius_m: float, half_m: float, slices: int = 20) -> Mesh:
    """A cylinder along z."""
    turn = 2 * np.pi * np.arange(slices) / slices
    ring = np.stack([np.cos(turn), np.sin(turn), np.zeros(slices)], axis=1)        # (slices, 3)
    up = np.array([0.0, 0.0, 1.0])
    rims = [radius_m * ring + sign * half_m * up for sign in (-1, 1)]
    vertices = np.concatenate([*rims, *rims])
    normals = np.concatenate([ring, ring, np.tile(-up, (slices, 1)), np.tile(up, (slices, 1))])
    i, j = np.arange(slices), (np.arange(slices) + 1) % slices
    side = [np.stack([i, j, j + slices], 1), np.stack([i, j + slices, i + slices], 1)]
    k = np.arange(1, slices - 1)
    caps = [np.stack([0 * k, k + 1, k], 1) + 2 * slices, np.stack([0 * k, k, k + 1], 1) + 3 * slices]
    return vertices, normals, np.concatenate([*side, *caps])


def moved(mesh: Mesh, turn: np.ndarray, xyz_m: np.ndarray) -> Mesh:
    """The mesh turned by a rotation (3, 3) and shifted."""
    vertices, normals, faces = mesh
    return vertices @ turn.T + xyz_m, normals @ turn.T, faces


def merged(meshes: list[Mesh]) -> Mesh:
    """All meshes as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in meshes)])
    faces = [faces + start for (_, _, faces), start in zip(meshes, starts, strict=False)]
    vertices, normals = (np.concatenate([mesh[k] for mesh in meshes]) for k in (0, 1))
    return vertices, normals, np.concatenate(faces)
