"""The same classes at every size, for lesson 05: counted without memory, and tried out where memory allows.

    >>> sum(by_part(skeleton("base")).values())
    450046176

`try_out("base")` fills the published architecture with random numbers and makes one chunk: what it takes is
true, what it says is nonsense.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from smolkit.smolvla.presets import build_preset

if TYPE_CHECKING:
    from smolkit.smolvla.model import Batch, SmolVLA
    from smolkit.smolvla.policy import SmolVLAPolicy

PARTS = {"eyes": "vision.", "words": "language.embed.", "language layers": "language.layers.", "expert": "expert.",
         "unused word predictor": "language.head."}
NEEDED_GB = 3.0                                # the published size in bfloat16, and what it computes with


def skeleton(preset: str) -> SmolVLA:
    """The named preset on torch's meta device: shapes without numbers, in no memory at all."""
    import torch

    from smolkit.smolvla.model import SmolVLA
    chosen = build_preset(preset)
    with torch.device("meta"):
        return SmolVLA(chosen.config, chosen.backbone)


def by_part(model: SmolVLA) -> dict[str, int]:
    """Parameters of the eyes, the words, the language layers, the expert...; "rest" is what joins them."""
    named = [(name, weight.numel()) for name, weight in model.named_parameters()]
    counts = {part: sum(count for name, count in named if name.startswith(begin)) for part, begin in PARTS.items()}
    return {**counts, "rest": sum(count for _, count in named) - sum(counts.values())}


def untrained_patches(seed: int = 0) -> SmolVLAPolicy:
    """A small policy that nobody trained, with a patch tower of 8 x 8 tokens a picture."""
    import torch

    from smolkit.smolvla.fake import tiny_stats
    from smolkit.smolvla.model import SmolVLA
    from smolkit.smolvla.policy import SmolVLAPolicy
    from smolkit.smolvla.processors import make_processors
    from smolkit.smolvla.tokenizer import ASSETS
    preset = build_preset("tiny")
    config = replace(preset.config, resize_imgs_with_padding=(128, 128))
    vision = replace(preset.backbone.vision, image_px=128, patch_px=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmolVLA(config, replace(preset.backbone, vision=vision))
    return SmolVLAPolicy(model, make_processors(config, tiny_stats(seed), ASSETS), seed=seed)


def free_memory_gb() -> float:
    """What the computer could still give away; 0 where it does not say (Windows, macOS)."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, OSError, ValueError):
        return 0.0


def try_out(preset: str) -> dict[str, float] | None:
    """Seconds of one chunk with random weights in bfloat16, by stage; None where memory is short."""
    if free_memory_gb() < NEEDED_GB:
        return None
    return timed(filled(skeleton(preset)))


def filled(model: SmolVLA) -> SmolVLA:
    """A skeleton with random numbers in bfloat16, on the CPU."""
    import torch
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.02, generator=rng) if weight.ndim > 1 else weight.fill_(1)
    return model.eval()


def timed(model: SmolVLA) -> dict[str, float]:
    """Seconds for looking, for reading, and for the walk from noise to one chunk."""
    import torch

    from smolkit.smolvla.prefix import joined
    batch, took_s = _batch(model), {}
    with torch.no_grad():
        begin_s = time.perf_counter()
        seen = model.look(batch)
        took_s["look"] = time.perf_counter() - begin_s
        memory = model.remember(joined([model.scene(batch, seen).trimmed(), model.state(batch)]))
        took_s["read"] = time.perf_counter() - begin_s - took_s["look"]
        model.denoise(memory, torch.randn(1, model.config.chunk_size, model.config.max_action_dim))
        took_s["walk"] = time.perf_counter() - begin_s - took_s["look"] - took_s["read"]
    return took_s


def _batch(model: SmolVLA) -> Batch:
    """Two pictures of 480 x 640 px, eight words, six joints."""
    import torch
    rng = np.random.default_rng(0)
    pictures = {name: torch.from_numpy(rng.random((1, 3, 480, 640), np.float32)) for name in model.config.cameras}
    return {**pictures, "observation.state": torch.zeros(1, 6),
            "observation.language.tokens": torch.arange(48)[None],
            "observation.language.attention_mask": torch.arange(48)[None] < 8}
