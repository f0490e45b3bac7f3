"""Gradient checkpointing: forget what is inside a layer on the way forward, compute it again on the way back.

    >>> from smolkit.smolvla.fake import tiny_batch, tiny_model
    >>> import torch
    >>> model, noise, time = tiny_model(), torch.zeros(2, 10, 32), torch.tensor([0.2, 0.9])
    >>> plain = model(tiny_batch(), noise=noise, time=time)["loss"]
    >>> recompute(model)
    >>> torch.equal(model(tiny_batch(), noise=noise, time=time)["loss"], plain)
    True

A layer's thinking (`Block.finish`) makes several numbers for each one that it passes on: kept for the backward pass,
they are most of what training a large batch needs besides the weights. Source: Chen et al. (arXiv 1604.06174).
"""

from __future__ import annotations

from functools import partial

from torch.utils.checkpoint import checkpoint

from smolkit.smolvla.attention import Block
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.vision import VisionLayer


def recompute(model: SmolVLA) -> None:
    """From now on what is inside the layers of eyes, language model and expert is computed twice a step."""
    for block in [*model.language.layers, *model.expert.layers]:
        block.finish = partial(checkpoint, partial(Block.finish, block), use_reentrant=False)
    for layer in model.vision.modules():
        if isinstance(layer, VisionLayer):
            layer.forward = partial(checkpoint, partial(VisionLayer.forward, layer), use_reentrant=False)
