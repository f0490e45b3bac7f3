"""Policies by name: one piece of code at every size.

    >>> preset = build_preset("classroom", cameras=("front", "wrist"))
    >>> preset.config.chunk_size, preset.backbone.vision.kind
    (16, 'keypoints')

`classroom` learns from scratch on a laptop in minutes; `base` is the published lerobot/smolvla_base
(450,046,176 parameters); `tiny` is for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smolkit.report import SmolkitError
from smolkit.smolvla.backbone import BACKBONES, Backbone, TextConfig, VisionConfig
from smolkit.smolvla.config import Feature, SmolVLAConfig


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
    """SmolVLM2-256M's eyes and 8 layers: 197,428,832 parameters, with the lm_head that LeRobot expects."""
    name = "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
    config = SmolVLAConfig(**features(cameras, image_px or (256, 256), joints), load_vlm_weights=True,
                           num_vlm_layers=8, pad_language_to="max_length", prefix_length=0,
                           num_expert_layers=0, vlm_model_name=name)
    return Preset(config, BACKBONES[name])


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
