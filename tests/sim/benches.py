"""The scene that the world's tests look at: one red cube, one blue box, the arm above them."""

from __future__ import annotations

import numpy as np

from smolkit.sim.scene import Box, Cube, Scene

CANON = Scene(cubes=(Cube("red cube", "red", (0.26, 0.03, 0.0125), 0.4),
                     Cube("green cube", "green", (0.30, -0.06, 0.0125), 0.1)),
              boxes=(Box("blue box", "blue", (0.22, -0.16)),), instruction="put the red cube in the blue box")
ON, FULL = np.ones(6, bool), np.ones(6)


def red_pixels(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: where a picture is clearly red."""
    r, g, b = (image[..., k].astype(int) for k in range(3))
    return (r > 90) & (r > 2 * g) & (r > 2 * b)
