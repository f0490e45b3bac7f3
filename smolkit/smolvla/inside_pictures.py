"""Where in a camera's picture the policy looked: attention and keypoints, back on the pixels they came from.

    >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
    >>> from smolkit.smolvla.inside import attention_maps
    >>> policy, seen = tiny_policy(), fake_observation()
    >>> looked = picture_attention(attention_maps(policy, seen), "front")
    >>> looked.shape                                             # (steps, layers, T, side, side)
    (10, 4, 10, 2, 2)
    >>> over_picture(looked.mean(axis=(0, 1, 2)), seen.images["front"].shape, (64, 64)).shape
    (48, 64)

A picture was scaled into a square and padded on the left or on the top before the eyes saw it: a token's place
in that square is not its place in the picture. `over_picture` undoes this, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.smolvla.images import fitted
from smolkit.smolvla.inside import Attention, prepared, role_of
from smolkit.smolvla.keypoints import spatial_softmax
from smolkit.smolvla.policy import SmolVLAPolicy


def picture_attention(attention: Attention, camera: str) -> np.ndarray:
    """The share of attention on each place of a camera's square, mean over heads: (steps, layers, T, side, side).

    Shares count all tokens: their sum over the square is what this camera got. Works for a patch tower; the
    tokens of the keypoint tower have no places (`keypoint_maps` tells where its keypoints are).
    """
    part = attention.part(camera)
    if not part.side:
        raise SmolkitError("SK540", "tokens that each stand for a patch of the picture",
                           f"{part.count} tokens of {camera} that stand for the whole picture",
                           "this policy sees with keypoints (`vision.kind` is 'keypoints')",
                           "use keypoint_maps(policy, observation)")
    mean = attention.weights[..., part.columns].mean(axis=2)                                 # (steps, layers, T, n)
    return mean.reshape(*mean.shape[:-1], part.side, part.side)


@dataclass(frozen=True)
class Square:
    """How a picture was fitted into the square that the eyes see. All sizes are (height, width) in px.

    Example:
        >>> Square.of((480, 640, 3), (512, 512)).padding         # rows on the top, columns on the left
        (128, 0)
    """

    picture: tuple[int, int]
    fitted: tuple[int, int]        # the picture within the square
    size: tuple[int, int]          # the square itself

    @classmethod
    def of(cls, picture_shape: Sequence[int], square_px: tuple[int, int] | None) -> Square:
        """picture_shape: (H, W, 3). square_px: the config's resize_imgs_with_padding, (width, height) or None."""
        height, width = picture_shape[:2]
        across, down = square_px or (width, height)
        return cls((height, width), fitted(height, width, across, down), (down, across))

    @property
    def padding(self) -> tuple[int, int]:
        return self.size[0] - self.fitted[0], self.size[1] - self.fitted[1]

    def cells(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a grid over the square: each picture row's cell (H, 1), and each picture column's (W,)."""
        row, column = (
            ((lost + (np.arange(own) + 0.5) * small / own) * count / whole).astype(int)
            for own, small, whole, lost, count in zip(self.picture, self.fitted, self.size, self.padding,
                                                      (rows, columns), strict=True))
        return row[:, None], column

    def to_picture(self, x_px: np.ndarray, y_px: np.ndarray) -> np.ndarray:
        """Pixels of the square -> pixels of the picture (..., 2), x and y; outside of it: in the padding."""
        (top, left), scale = self.padding, self.picture[1] / self.fitted[1]
        return (np.stack([x_px - left, y_px - top], axis=-1) + 0.5) * scale - 0.5


def over_picture(grid: np.ndarray, picture_shape: Sequence[int], square_px: tuple[int, int] | None) -> np.ndarray:
    """A grid over the square (..., n, m) -> its value at every pixel of the picture (..., H, W)."""
    row, column = Square.of(picture_shape, square_px).cells(*grid.shape[-2:])
    return grid[..., row, column]


def padding_share(grid: np.ndarray, picture_shape: Sequence[int], square_px: tuple[int, int] | None) -> np.ndarray:
    """Of what lies on a square (..., n, m), the share on places that show nothing but padding: (...)."""
    row, column = Square.of(picture_shape, square_px).cells(*grid.shape[-2:])
    black = np.ones(grid.shape[-2:], bool)
    black[row, column] = False
    return (grid * black).sum(axis=(-2, -1)) / grid.sum(axis=(-2, -1))


@dataclass(frozen=True)
class Keypoints:
    """What the keypoint tower found in one camera's picture."""

    heat: np.ndarray               # (K, h, w) over the square, each map sums to 1
    centres_px: np.ndarray         # (K, 2) x, y in the picture's own pixels; outside of it: in the padding
    spread_px: np.ndarray          # (K,) how far a map's weight lies from its centre; small: it found one place


@torch.no_grad()
def keypoint_maps(policy: SmolVLAPolicy, observation: Observation) -> dict[str, Keypoints]:
    """Each camera's heat maps and their centres, for a policy that sees with keypoints, by the camera's role."""
    tower, config = policy.model.vision, policy.model.config
    if policy.model.backbone.vision.kind != "keypoints":
        raise SmolkitError("SK540", "a policy that sees with keypoints", "one that sees patches",
                           "the published architecture has a patch tower",
                           "use picture_attention(attention_maps(policy, observation), camera)")
    found = {}
    for picture in policy.model.pictures(prepared(policy, observation)):
        if not picture.mask.any():
            continue
        role, stem = role_of(policy, config.cameras[picture.camera]), tower.stems[picture.camera]
        heat = stem.heat(stem.convolutions(picture.image.to(stem.heat.weight.dtype))).float()    # (1, K, h, w)
        square = Square.of(observation.images[role].shape, config.resize_imgs_with_padding)
        found[role] = _keypoints(heat, square)
    return found


def _keypoints(heat: torch.Tensor, square: Square) -> Keypoints:
    weights, centres = spatial_softmax(heat)
    maps = weights.view(heat.shape)[0].cpu().numpy()                                         # (K, h, w)
    height, width = maps.shape[1:]
    x, y = ((centres[0].cpu().numpy().T + 1) / 2) * [[width - 1], [height - 1]]              # (K,) heat pixels
    stride = square.size[1] / width                              # heat pixel i was made around pixel i * stride
    down, across = np.mgrid[:height, :width]
    away = (across - x[:, None, None]) ** 2 + (down - y[:, None, None]) ** 2                 # (K, h, w)
    spread = np.sqrt((maps * away).sum(axis=(1, 2))) * stride * square.picture[1] / square.fitted[1]
    return Keypoints(maps, square.to_picture(x * stride, y * stride), spread)
