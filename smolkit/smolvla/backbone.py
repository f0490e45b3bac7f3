"""The sizes of the eyes and of the language model: what a SmolVLM2 `config.json` says, as frozen dataclasses.

    >>> BACKBONES["HuggingFaceTB/SmolVLM2-500M-Video-Instruct"].text.width
    960
    >>> VisionConfig(image_px=512, patch_px=16, shuffle=4).tokens_per_image()
    64

Source of the numbers: the published config files of SmolVLM2-500M and SmolVLM2-256M.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smolkit.report import SmolkitError
from smolkit.smolvla.fields import misfits


@dataclass(frozen=True)
class VisionConfig:
    """How a picture becomes a few tokens.

    kind "siglip": a tower of patches, as published. kind "keypoints": a small convolutional stem for each
    camera whose answer is where things are; it learns from scratch on a laptop, which a patch tower does
    not.
    """

    kind: str = "siglip"
    width: int = 768
    ffn: int = 3072
    layers: int = 12
    heads: int = 12
    image_px: int = 512
    patch_px: int = 16
    eps: float = 1e-6
    shuffle: int = 4               # the connector joins 4 x 4 patches into one token
    keypoints: int = 32            # kind "keypoints" from here on
    keypoint_features: int = 8     # what each keypoint tells besides its place
    channels: int = 32             # of the convolutional stem
    stride: int = 4                # picture pixels per heat map pixel
    tokens: int = 2                # per camera

    def tokens_per_image(self, image_px: int | None = None) -> int:
        """Of a square picture; without a size, of one as the tower was trained with."""
        side = (image_px or self.image_px) // self.patch_px // self.shuffle
        return self.tokens if self.kind == "keypoints" else side ** 2


@dataclass(frozen=True)
class TextConfig:
    """The language model's sizes; `layers` is how many the backbone has, the policy may keep fewer."""

    width: int = 960
    ffn: int = 2560
    layers: int = 32
    heads: int = 15
    kv_heads: int = 5
    head_dim: int = 64
    vocabulary: int = 49280
    eps: float = 1e-5


@dataclass(frozen=True)
class Backbone:
    """Eyes and language model together, as SmolVLM2 has them."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    fake_image_id: int = 49189     # <fake_token_around_image>, before and after each picture if asked for
    global_image_id: int = 49152   # <global-img>
    lm_head: bool = True           # the unused word predictor: LeRobot stores it, nothing reads it
    from_scratch: bool = False     # no pretrained weights exist: freezing rules do not apply


BACKBONES = {
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": Backbone(),
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": Backbone(
        text=TextConfig(width=576, ffn=1536, layers=30, heads=9, kv_heads=3)),
}


def read_backbone(folder: Path) -> Backbone:
    """The backbone described by `folder/config.json`, in transformers' SmolVLM layout or our own."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        backbone = _from_smolkit(raw) if "smolkit" in raw else _from_smolvlm(raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError,
            RecursionError) as error:
        raise SmolkitError("SK502", "a SmolVLM config.json with text_config and vision_config",
                           f"{path}: {type(error).__name__}: {error}",
                           "the file is missing, cut off or of another model",
                           "download the backbone's config.json again, or give backbone=...") from error
    return with_special_ids(backbone, folder)


def with_special_ids(backbone: Backbone, tokenizer: Path) -> Backbone:
    """The ids of the image tokens as the tokenizer in that folder has them; unchanged if it lacks them."""
    return replace(backbone, **_special_ids(tokenizer))


def check_special_ids(backbone: Backbone) -> None:
    """Refuses image tokens for which the language model has no vector."""
    largest = max(backbone.fake_image_id, backbone.global_image_id)
    if largest >= backbone.text.vocabulary:
        raise SmolkitError("SK507", f"image tokens with ids below {backbone.text.vocabulary}, the vocabulary",
                           str(largest), "the tokenizer belongs to another backbone, or none was found",
                           "put the backbone's own tokenizer.json beside its config.json, "
                           "or set add_image_special_tokens to false")


def backbone_to_dict(backbone: Backbone) -> dict[str, Any]:
    """The inverse of `read_backbone`; a patch tower is written so that transformers reads it too."""
    raw: dict[str, Any] = {"model_type": "smolvlm", "smolkit": asdict(backbone)}
    if backbone.vision.kind != "siglip":
        return raw
    text, vision = backbone.text, backbone.vision
    return {"architectures": ["SmolVLMForConditionalGeneration"], **raw, "scale_factor": vision.shuffle,
            "tie_word_embeddings": False, "vocab_size": text.vocabulary,
            "text_config": {"model_type": "llama",
                            **{theirs: getattr(text, ours) for ours, theirs in TEXT_NAMES.items()}},
            "vision_config": {theirs: getattr(vision, ours) for ours, theirs in VISION_NAMES.items()}}


TEXT_NAMES = {"width": "hidden_size", "ffn": "intermediate_size", "layers": "num_hidden_layers",
              "heads": "num_attention_heads", "kv_heads": "num_key_value_heads", "head_dim": "head_dim",
              "vocabulary": "vocab_size", "eps": "rms_norm_eps"}
VISION_NAMES = {"width": "hidden_size", "ffn": "intermediate_size", "layers": "num_hidden_layers",
                "heads": "num_attention_heads", "image_px": "image_size", "patch_px": "patch_size",
                "eps": "layer_norm_eps"}


# What transformers assumes where a SmolVLM config.json is silent (Llama's and SmolVLM's configuration classes).
TEXT_DEFAULTS = {"width": 4096, "ffn": 11008, "layers": 32, "heads": 32, "vocabulary": 32000, "eps": 1e-6}
VISION_DEFAULTS = {"width": 1152, "ffn": 3072, "layers": 12, "heads": 16, "image_px": 224, "patch_px": 32,
                   "eps": 1e-6}
SHUFFLE_DEFAULT = 2
MOST_LAYERS = 1000                                         # thirty times SmolVLM2's
DERIVED = (("kv_heads", None), ("head_dim", None))         # null there means: from the width and the heads


def _from_smolkit(raw: dict[str, Any]) -> Backbone:
    parts = dict(raw["smolkit"])
    vision, text = VisionConfig(**parts.pop("vision")), TextConfig(**parts.pop("text"))
    return _checked(Backbone(vision, text, **parts))


def _from_smolvlm(raw: dict[str, Any]) -> Backbone:
    text, vision = raw["text_config"], raw["vision_config"]
    sizes = TEXT_DEFAULTS | {ours: text[theirs] for ours, theirs in TEXT_NAMES.items()
                             if theirs in text and (ours, text[theirs]) not in DERIVED}
    eyes = VISION_DEFAULTS | {ours: vision[theirs] for ours, theirs in VISION_NAMES.items() if theirs in vision}
    sizes.setdefault("kv_heads", sizes["heads"])
    sizes.setdefault("head_dim", sizes["width"] // sizes["heads"])
    shuffle = raw.get("scale_factor", SHUFFLE_DEFAULT)
    return _checked(Backbone(VisionConfig(shuffle=shuffle, **eyes), TextConfig(**sizes)))


def _checked(backbone: Backbone) -> Backbone:
    """Refuses sizes that are no numbers, or no sizes, or towers that no memory holds."""
    wrong = [f"{name} {value!r}, expected {wanted}" for part in (backbone.vision, backbone.text, backbone)
             for name, wanted, value in misfits(part) if name not in ("vision", "text")]
    small = [f"{name} {value!r}, expected more than 0" for part in (backbone.vision, backbone.text)
             for name, value in vars(part).items() if isinstance(value, (int, float)) and value <= 0]
    tall = [f"layers {part.layers}, expected at most {MOST_LAYERS}" for part in (backbone.vision, backbone.text)
            if not wrong and part.layers > MOST_LAYERS]
    if wrong or small or tall:
        raise ValueError("; ".join(wrong or small or tall))
    return backbone


def _special_ids(folder: Path) -> dict[str, int]:
    """The ids of the image tokens, where the folder has the tokenizer that knows them."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return {}
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
        added = {token["content"]: token["id"] for token in tokens}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SmolkitError("SK507", "a tokenizer.json", f"{path}: {type(error).__name__}: {error}",
                           "the file was cut off", "download the backbone's tokenizer again") from error
    names = {"fake_image_id": "<fake_token_around_image>", "global_image_id": "<global-img>"}
    return {field: added[token] for field, token in names.items() if token in added}
