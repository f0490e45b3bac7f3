"""Policies by name: one piece of code at every size.

    >>> preset = build_preset("classroom", cameras=("front", "wrist"))
    >>> preset.config.chunk_size, preset.backbone.vision.kind
    (16, 'keypoints')

`classroom` learns from scratch on a laptop in minutes; `base` is the published lerobot/smolvla_base
(450,046,176 parameters); `under200m` has its shape on the smaller backbone; `tiny` is for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smolkit.report import SmolkitError
from smolkit.smolvla.backbone import BACKBONES, Backbone, TextConfig, VisionConfig
from smolkit.smolvla.config import Feature, SmolVLAConfig

if TYPE_CHECKING:
    from smolkit.smolvla.model import SmolVLA


@dataclass(frozen=True)
class Preset:
    """What `SmolVLA(preset.config, preset.backbone)` is built from."""

    config: SmolVLAConfig
    backbone: Backbone


def build_preset(name: str, cameras: Sequence[str] = ("front", "wrist"),
                 image_px: tuple[int, int] | None = None,
                 joints: int = 6) -> Preset:
    """The named preset for a robot with these cameras (role names), pictures (height, width) and joints."""
    if name not in PRESETS:
        raise SmolkitError("SK501", f"a preset out of {', '.join(PRESETS)}", repr(name), "a typing mistake",
                           "choose one of them")
    return PRESETS[name](cameras, image_px, joints)


def features(cameras: Sequence[str], image_px: tuple[int, int], joints: int) -> dict[str, dict[str, Feature]]:
    """LeRobot's description of what goes in and out."""
    pictures = {f"observation.images.{name}": Feature("VISUAL", (3, *image_px)) for name in cameras}
    return {"input_features": {"observation.state": Feature("STATE", (joints,)), **pictures},
            "output_features": {"action": Feature("ACTION", (joints,))}}


def classroom(cameras: Sequence[str], image_px: tuple[int, int] | None, joints: int) -> Preset:
    """2.5 million parameters, everything learned from scratch, 64-pixel pictures, two tokens for each.

    Four layers: self and cross attention take turns, as in the published model.
    """
    config = SmolVLAConfig(
        **features(cameras, image_px or (64, 64), joints), chunk_size=16, n_action_steps=4,
        resize_imgs_with_padding=(64, 64), tokenizer_max_length=16,
        vlm_model_name="smolkit/classroom", num_vlm_layers=4,
        train_expert_only=False, freeze_vision_encoder=False)
    text = TextConfig(width=160, ffn=448, layers=4, heads=4, kv_heads=2, head_dim=40, vocabulary=512)
    vision = VisionConfig(kind="keypoints", image_px=64)
    return Preset(config, Backbone(vision, text, fake_image_id=509, global_image_id=508, lm_head=False,
                                   from_scratch=True))


def base(cameras: Sequence[str], image_px: tuple[int, int] | None, joints: int) -> Preset:
    """The published 450M policy's configuration."""
    name = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    config = SmolVLAConfig(**features(cameras, image_px or (256, 256), joints), load_vlm_weights=True,
                           pad_language_to="max_length", prefix_length=0, num_expert_layers=0,
                           vlm_model_name=name)
    return Preset(config, BACKBONES[name])


def under200m(cameras: Sequence[str], image_px: tuple[int, int] | None, joints: int) -> Preset:
    """SmolVLM2-256M's eyes, 12 of its 30 layers and an expert of 12: 192,312,800 parameters.

    It leaves out the word predictor of 28,385,280 numbers that a policy never asks. With it only 8 layers fit below
    200 million (197,428,832). LeRobot 0.4.4 loads and runs a file without it: benchmarks/same_as_lerobot.py.
    """
    name = "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
    config = SmolVLAConfig(**features(cameras, image_px or (256, 256), joints), load_vlm_weights=True,
                           num_vlm_layers=12, pad_language_to="max_length", prefix_length=0,
                           num_expert_layers=0, vlm_model_name=name)
    return Preset(config, replace(BACKBONES[name], lm_head=False))


def tiny(cameras: Sequence[str], image_px: tuple[int, int] | None, joints: int) -> Preset:
    """The published shape at a thousandth of its size, patch tower and all: for tests."""
    config = SmolVLAConfig(
        **features(cameras, image_px or (48, 64), joints), chunk_size=10, n_action_steps=5,
        resize_imgs_with_padding=(64, 64), tokenizer_max_length=16, pad_language_to="max_length",
        vlm_model_name="smolkit/tiny", num_vlm_layers=4)
    text = TextConfig(width=48, ffn=96, layers=4, heads=3, kv_heads=1, head_dim=16, vocabulary=512)
    vision = VisionConfig(width=32, ffn=64, layers=2, heads=2, image_px=64, patch_px=8)
    return Preset(config, Backbone(vision, text, fake_image_id=509, global_image_id=508))


PRESETS: dict[str, Callable[[Sequence[str], tuple[int, int] | None, int], Preset]] = {
    "classroom": classroom, "under200m": under200m, "base": base, "tiny": tiny}


def as_published(model: SmolVLA) -> SmolVLA:
    """The dtypes of lerobot/smolvla_base, in place: bfloat16, and float32 where LeRobot adds matrices of its own."""
    model.bfloat16()
    expert = model.expert
    cross = [layer.self_attn for layer, planned in zip(expert.layers, expert.plan, strict=True)
             if planned.kind == "cross"]
    for part in (model.state_proj, expert.action_in, expert.action_out, expert.action_time_in, expert.action_time_out,
                 *(attention.k_proj for attention in cross), *(attention.v_proj for attention in cross)):
        part.float()
    return model
