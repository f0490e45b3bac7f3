"""The table's wood and the cutting mat, computed: no picture files, the same bytes every time.

    >>> wood(64).shape, mat(64).dtype
    ((64, 64, 3), dtype('uint8'))
"""

from __future__ import annotations

import numpy as np


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int, size: int) -> np.ndarray:
    """Value noise: a coarse random grid, stretched to (size, size) with smooth steps; 0..1."""
    grid = rng.random((rows + 1, columns + 1))
    y, x = np.linspace(0, rows, size, endpoint=False), np.linspace(0, columns, size, endpoint=False)
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = [(f * f * (3 - 2 * f)) for f in (y - iy, x - ix)]
    top = grid[iy][:, ix] * (1 - fx) + grid[iy][:, ix + 1] * fx
    low = grid[iy + 1][:, ix] * (1 - fx) + grid[iy + 1][:, ix + 1] * fx
    return top * (1 - fy)[:, None] + low * fy[:, None]       # (size, size)


def wood(size: int = 512) -> np.ndarray:
    """Light oak planks, grain along x: (size, size, 3) uint8 RGB."""
    rng = np.random.default_rng(7)
    planks = 4
    y = np.linspace(0, planks, size, endpoint=False)
    plank = y.astype(int)
    warp = 0.35 * _smooth_noise(rng, 8, 3, size) + 0.12 * _smooth_noise(rng, 40, 6, size)
    phase = 5.0 * y[:, None] + 6.0 * warp + rng.random(planks)[plank][:, None]
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    fibre = _smooth_noise(rng, size // 2, 10, size)
    shade = 0.93 + 0.05 * rng.random(planks)[plank][:, None] - 0.07 * rings - 0.06 * fibre
    seam = (y - plank < 0.012)[:, None]
    shade = np.where(seam, 0.62, shade)
    color = np.array([222, 184, 138])                         # oak, RGB
    return np.clip(shade[:, :, None] * color, 0, 255).astype(np.uint8)


def mat(size: int = 512) -> np.ndarray:
    """A slate cutting mat with a fine grid and a border: (size, size, 3) uint8 RGB.

    Grey-blue and dark, so that cubes of every colour stand out against it.
    """
    rng = np.random.default_rng(11)
    image = np.full((size, size, 3), (62, 74, 84), dtype=float)
    image += 5.0 * (rng.random((size, size, 1)) - 0.5)
    cell, line = size // 16, max(1, size // 256)
    grid = np.arange(size) % cell < line
    bold = np.arange(size) % (4 * cell) < line
    image[grid] += 12
    image[:, grid] += 12
    image[bold] += 16
    image[:, bold] += 16
    edge = size // 64
    frame = np.ones((size, size), bool)
    frame[edge:-edge, edge:-edge] = False
    image[frame] = (84, 98, 108)
    return np.clip(image, 0, 255).astype(np.uint8)
