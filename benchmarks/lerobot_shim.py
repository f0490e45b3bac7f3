"""What lets the real LeRobot's SmolVLA be imported without cameras, servos and the Hub.

    from benchmarks.lerobot_shim import import_policy, local_backbone           # inside LeRobot's own environment
    policy_class = import_policy()
    with local_backbone(Path("policy/vlm")):
        policy = policy_class(config)

LeRobot 0.4.4 imports a dozen libraries that its policy never uses. A finder answers those names with hollow modules,
but tells libraries that merely probe whether something is installed that it is not. Runs in the foreign Python only.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ABSENT = {"torchvision", "serial", "pynput", "rerun", "wandb", "torchcodec", "scservo_sdk", "dynamixel_sdk",
          "pyrealsense2", "can", "placo"}          # LeRobot imports them and needs none of them here
PROBING = {"transformers", "accelerate", "peft", "datasets", "diffusers"}      # they ask whether a library is there


class Hollow(types.ModuleType):
    """A module whose every attribute is an empty class."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class HollowFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers LeRobot with hollow modules, and a library that only probes with nothing."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object | None:
        if name.partition(".")[0] not in ABSENT or _importer() in PROBING:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Hollow:
        return Hollow(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: it is hollow."""


def _importer() -> str:
    """The package whose code asks for the import, past the import system's own frames."""
    frame = sys._getframe(2)
    while frame and frame.f_globals.get("__name__", "").startswith(("importlib", "_frozen")):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "").partition(".")[0] if frame else ""


def import_policy() -> Any:
    """LeRobot's SmolVLAPolicy. The libraries that probe come first, before the hollow ones exist."""
    import peft  # noqa: F401
    import transformers.image_utils
    import transformers.processing_utils  # noqa: F401
    from transformers import AutoModelForImageTextToText, SmolVLMForConditionalGeneration  # noqa: F401
    if not any(isinstance(finder, HollowFinder) for finder in sys.meta_path):
        sys.meta_path.append(HollowFinder())
        _order_positions()
    from lerobot.policies.smolvla import modeling_smolvla
    return modeling_smolvla.SmolVLAPolicy


def _order_positions() -> None:
    """transformers 4.55-4.57 shift SigLIP's positions by one in float32; before and since, patch k of n is at k / n."""
    import torch
    from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionEmbeddings as Embeddings

    def forward(self: Any, pixel_values: Any, patch_attention_mask: Any) -> Any:
        grid = self.patch_embedding(pixel_values)
        rows, columns = (torch.arange(count) * self.num_patches_per_side // count for count in grid.shape[-2:])
        places = (rows[:, None] * self.num_patches_per_side + columns).flatten().to(grid.device)
        return grid.flatten(2).transpose(1, 2) + self.position_embedding(places)

    Embeddings.forward = forward


@contextmanager
def local_backbone(vlm: Path) -> Iterator[None]:
    """Whatever name LeRobot asks the Hub for, it gets that folder's config, tokenizer and weights."""
    from lerobot.policies.smolvla import smolvlm_with_expert as module
    real = module.AutoConfig, module.AutoProcessor, module.AutoModelForImageTextToText
    load_model = real[2].from_pretrained
    there = partial(real[0].from_pretrained, str(vlm))
    module.AutoConfig = types.SimpleNamespace(from_pretrained=lambda name, **options: there(**options))
    module.AutoProcessor = types.SimpleNamespace(from_pretrained=lambda name, **options: _processor(vlm))
    module.AutoModelForImageTextToText = types.SimpleNamespace(
        from_pretrained=lambda name, **options: load_model(str(vlm), **options))
    try:
        yield
    finally:
        module.AutoConfig, module.AutoProcessor, module.AutoModelForImageTextToText = real


def _processor(vlm: Path) -> Any:
    """All that the policy takes from SmolVLM's processor: the ids of two image tokens."""
    path, ids = vlm / "tokenizer.json", {}
    if path.exists():
        ids = {token["content"]: token["id"] for token in json.loads(path.read_text())["added_tokens"]}
    tokenizer = types.SimpleNamespace(fake_image_token_id=ids.get("<fake_token_around_image>", 49189),
                                      global_image_token_id=ids.get("<global-img>", 49152))
    return types.SimpleNamespace(tokenizer=tokenizer)
