"""From a camera's picture to what the vision tower expects: scaled into a square, padded, in [-1, 1].

    >>> import torch
    >>> picture = torch.full((1, 3, 480, 640), 0.5)              # grey, (B, 3, height, width) in [0, 1]
    >>> small = prepare_image(picture, (512, 512))
    >>> small.shape, small[0, 0, 127, 0].item(), small[0, 0, 128, 0].item()   # 128 black rows on top
    (torch.Size([1, 3, 512, 512]), -1.0, 0.0)

Source: LeRobot's SmolVLA: bilinear without antialiasing, padding on the left and on the top.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_with_padding(image: Tensor, width_px: int, height_px: int) -> Tensor:
    """Keeps the aspect ratio; what is left over becomes 0 on the left and on the top. (B, 3, H, W)."""
    height, width = image.shape[-2:]
    if (height, width) == (height_px, width_px):
        return image
    size = fitted(height, width, width_px, height_px)
    small = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
    return F.pad(small, (width_px - size[1], 0, height_px - size[0], 0))


def fitted(height: int, width: int, width_px: int, height_px: int) -> tuple[int, int]:
    """The largest (height, width) of the same aspect ratio that fits."""
    ratio = max(width / width_px, height / height_px)
    return int(height / ratio), int(width / ratio)


def prepare_image(image: Tensor, target_px: tuple[int, int] | None) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 3, height, width) in [-1, 1]; of (B, time, 3, H, W) the newest counts."""
    newest = image[:, -1] if image.ndim == 5 else image
    resized = newest if target_px is None else resize_with_padding(newest, *target_px)
    return resized * 2 - 1
