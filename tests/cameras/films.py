"""Short films that stand in for a USB camera, and pictures with enough edges to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smolkit.data.video import VideoEncoder

SHAPE = (48, 64, 3)


def colors(count: int) -> list[np.ndarray]:
    """Red, green, blue, and again, a little brighter each time round."""
    pictures = [np.zeros(SHAPE, np.uint8) for _ in range(count)]
    for k, picture in enumerate(pictures):
        picture[..., k % 3] = 150 + 5 * (k // 3)
    return pictures


def film(path: Path, pictures: list[np.ndarray], fps: int) -> str:
    """Writes an mp4 and returns its path."""
    encoder = VideoEncoder(*pictures[0].shape[:2], fps=fps)
    for picture in pictures:
        encoder.add(picture)
    path.write_bytes(encoder.finish())
    return str(path)


def mosaic(seed: int = 0, edge_px: int = 16) -> np.ndarray:
    """A picture (240, 320, 3) of random tiles."""
    tiles = np.random.default_rng(seed).integers(60, 200, (240 // edge_px, 320 // edge_px, 3)).astype(np.uint8)
    return tiles.repeat(edge_px, axis=0).repeat(edge_px, axis=1)
