"""The eyes: a picture becomes patches, patches look at each other, sixteen of them become one token.

    >>> import torch
    >>> sizes = VisionConfig(width=32, ffn=64, layers=1, heads=2, image_px=64, patch_px=8)
    >>> tower = SiglipTower(sizes, width_out=48)
    >>> tower(torch.zeros(2, 3, 64, 64)).shape                   # 8 x 8 patches, 4 x 4 joined: 4 tokens
    torch.Size([2, 4, 48])

Source: SigLIP base (arXiv 2303.15343) with SmolVLM's pixel shuffle; positions are 0, 1, 2 ... in order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smolkit.report import SmolkitError
from smolkit.smolvla.attention import Linear, attend
from smolkit.smolvla.backbone import VisionConfig


class VisionAttention(nn.Module):
    """Every patch sees every patch."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = Linear(width, width), Linear(width, width)
        self.v_proj, self.out_proj = Linear(width, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (project(x).unflatten(-1, (self.heads, -1))          # (B, P, heads, d)
                             for project in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attend(query, key, value, mask=None))


class VisionMLP(nn.Module):
    """Two matrices with a GELU between them (the tanh form, which the weights were trained with)."""

    def __init__(self, width: int, ffn: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(width, ffn), Linear(ffn, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VisionLayer(nn.Module):
    """Look around, add; think alone, add."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.self_attn = VisionAttention(config.width, config.heads)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = VisionMLP(config.width, config.ffn)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


def pixel_shuffle(patches: Tensor, factor: int) -> Tensor:
    """Joins blocks of factor x factor neighbours into one long vector, row by row inside the block.

        >>> import torch
        >>> grid = torch.arange(16).reshape(1, 16, 1)            # a 4 x 4 grid of patches, one number each
        >>> pixel_shuffle(grid, 2)[0]
        tensor([[ 0,  1,  4,  5],
                [ 2,  3,  6,  7],
                [ 8,  9, 12, 13],
                [10, 11, 14, 15]])
    """
    batch, count, width = patches.shape
    side = int(count ** 0.5)
    grid = patches.view(batch, side // factor, factor, side // factor, factor, width)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(batch, count // factor ** 2, factor ** 2 * width)


class SiglipTower(nn.Module):
    """Patches -> layers -> norm -> pixel shuffle -> one matrix into the language model's width."""

    shared = True                  # by all cameras

    def __init__(self, config: VisionConfig, width_out: int):
        super().__init__()
        self.shuffle = config.shuffle
        self.patch_embedding = nn.Conv2d(3, config.width, kernel_size=config.patch_px, stride=config.patch_px)
        self.position_embedding = nn.Embedding((config.image_px // config.patch_px) ** 2, config.width)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self.connector = Linear(config.width * config.shuffle ** 2, width_out, bias=False)

    def forward(self, image: Tensor, camera: int = 0) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, tokens, width_out). All cameras share these eyes."""
        image = image.to(self.patch_embedding.weight.dtype)
        grid = self.patch_embedding(image)                                       # (B, 768, 32, 32)
        self._check_grid(grid, image)
        patches = grid.flatten(2).transpose(1, 2)                                # (B, 1024, 768)
        x = (patches + self._positions(grid.shape[-1])).contiguous()     # a row a patch: every layer walks along rows
        for layer in self.layers:
            x = layer(x)
        return self.connector(pixel_shuffle(self.norm(x), self.shuffle))         # (B, 64, 960)

    def _positions(self, count: int) -> Tensor:
        """Of count x count patches (count ** 2, width); half as many a side as in training take every second."""
        trained = math.isqrt(self.position_embedding.num_embeddings)
        if count == trained:
            return self.position_embedding.weight
        place = torch.arange(count, device=self.position_embedding.weight.device) * trained // count
        return self.position_embedding((place[:, None] * trained + place).flatten())

    def _check_grid(self, grid: Tensor, image: Tensor) -> None:
        rows, columns = grid.shape[-2:]
        if rows != columns or rows % self.shuffle:
            raise SmolkitError("SK503", f"a square picture of a multiple of {self.shuffle} patches a side",
                               f"{rows} x {columns} patches from {tuple(image.shape)}",
                               "resize_imgs_with_padding is not a size that the vision tower can look at",
                               "set resize_imgs_with_padding to the backbone's image size")


def build_vision(config: VisionConfig, width_out: int, cameras: int) -> nn.Module:
    """The vision tower that the configuration names."""
    if config.kind == "siglip":
        return SiglipTower(config, width_out)
    if config.kind == "keypoints":
        from smolkit.smolvla.keypoints import KeypointTower
        return KeypointTower(config, width_out, cameras)
    raise SmolkitError("SK502", "vision kind 'siglip' or 'keypoints'", repr(config.kind),
                       "a typing mistake in the backbone's vision configuration", "correct the word `kind`")
