"""A SmolVLA policy's `config.json`: every field LeRobot writes, in LeRobot's names.

    >>> config = SmolVLAConfig.from_dict({"type": "smolvla", "chunk_size": 16, "n_action_steps": 4})
    >>> config.chunk_size, config.num_steps
    (16, 10)
    >>> list(config.to_dict())[:3]                               # the order of the file is kept
    ['type', 'chunk_size', 'n_action_steps']

Unknown keys are kept (in `extra`) and written back, with a warning: a newer program may know them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from smolkit.report import SmolkitError
from smolkit.smolvla.fields import misfits

LEAST = {"n_obs_steps": 1, "chunk_size": 1, "n_action_steps": 1, "max_state_dim": 1, "max_action_dim": 1,
         "empty_cameras": 0, "tokenizer_max_length": 1, "num_steps": 1, "optimizer_lr": 0, "optimizer_eps": 0,
         "optimizer_weight_decay": 0, "optimizer_grad_clip_norm": 0, "scheduler_warmup_steps": 0,
         "scheduler_decay_steps": 0, "scheduler_decay_lr": 0}
LONGEST = 100_000                          # of a sentence or a chunk: a hundred times what anybody has used
MOST = {"tokenizer_max_length": LONGEST, "chunk_size": LONGEST, "prefix_length": LONGEST, "empty_cameras": 100}
POSITIVE = ("expert_width_multiplier", "min_period", "max_period")
LATER_KEYS = {"pretrained_revision"}     # LeRobot 0.6 writes it, 0.4 refuses it: keep it, never add it


@dataclass(frozen=True)
class Feature:
    """One input or output: VISUAL, STATE or ACTION, and its shape (pictures: channels, height, width)."""

    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SmolVLAConfig:
    """All that shapes a policy, apart from its backbone's sizes (`smolkit.smolvla.backbone`)."""

    n_obs_steps: int = 1
    input_features: dict[str, Feature] = field(default_factory=dict)     # pictures in the prefix's order
    output_features: dict[str, Feature] = field(default_factory=dict)
    device: str | None = None
    use_amp: bool = False
    use_peft: bool = False
    push_to_hub: bool = False
    repo_id: str | None = None
    private: bool | None = None
    tags: list[str] | None = None
    license: str | None = None
    pretrained_path: str | None = None
    chunk_size: int = 50                 # actions predicted at once
    n_action_steps: int = 50             # of which so many are executed before looking again
    normalization_mapping: dict[str, str] = field(
        default_factory=lambda: {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"})
    max_state_dim: int = 32              # zero-padded to this, so that all robots fit
    max_action_dim: int = 32
    resize_imgs_with_padding: tuple[int, int] | None = (512, 512)        # px, (width, height)
    empty_cameras: int = 0
    adapt_to_pi_aloha: bool = False
    use_delta_joint_actions_aloha: bool = False
    tokenizer_max_length: int = 48
    num_steps: int = 10                  # Euler steps from noise to actions
    use_cache: bool = True
    freeze_vision_encoder: bool = True
    train_expert_only: bool = True
    train_state_proj: bool = True
    optimizer_lr: float = 1e-4
    optimizer_betas: tuple[float, float] = (0.9, 0.95)
    optimizer_eps: float = 1e-8
    optimizer_weight_decay: float = 1e-10
    optimizer_grad_clip_norm: float = 10
    scheduler_warmup_steps: int = 1_000
    scheduler_decay_steps: int = 30_000
    scheduler_decay_lr: float = 2.5e-6
    vlm_model_name: str = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    load_vlm_weights: bool = False
    add_image_special_tokens: bool = False
    attention_mode: str = "cross_attn"
    prefix_length: int = -1
    pad_language_to: str = "longest"
    num_expert_layers: int = -1
    num_vlm_layers: int = 16
    self_attn_every_n_layers: int = 2
    expert_width_multiplier: float = 0.75
    min_period: float = 4e-3             # of the time embedding, in units of the flow's time 0..1
    max_period: float = 4.0
    rtc_config: dict[str, Any] | None = None
    compile_model: bool = False
    compile_mode: str = "max-autotune"
    extra: dict[str, Any] = field(default_factory=dict)                  # unknown keys, kept
    key_order: tuple[str, ...] = ()                                      # of the file this came from

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The pictures the policy knows, in the prefix's order; promised empty ones come last."""
        listed = [name for name, feature in self.input_features.items() if feature.type == "VISUAL"]
        promised = [f"observation.images.empty_camera_{i}" for i in range(self.empty_cameras)]
        return tuple(listed + [name for name in promised if name not in listed])

    @property
    def state_dim(self) -> int:
        return self.input_features["observation.state"].shape[0]

    @property
    def action_dim(self) -> int:
        return self.output_features["action"].shape[0]

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SmolVLAConfig:
        """Reads LeRobot's flat object; lists become tuples, unknown keys go to `extra` with a warning."""
        if raw.get("type", "smolvla") != "smolvla":
            raise SmolkitError("SK501", "a policy of type smolvla", repr(raw["type"]),
                               "the folder holds another kind of policy", "choose a SmolVLA checkpoint")
        known = {f.name for f in fields(cls)} - {"extra", "key_order"}
        extra = {key: value for key, value in raw.items() if key not in known | {"type"}}
        if foreign := sorted(set(extra) - LATER_KEYS):
            warnings.warn(f"SK501 unknown keys in the config are kept, not used: {', '.join(foreign)}",
                          stacklevel=2)
        values = {key: _tidy(key, value) for key, value in raw.items() if key in known}
        return cls(**values, extra=extra, key_order=tuple(raw))

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`: keys of the file first, in their order, then what the file left out."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("extra", "key_order")}
        flat = {"type": "smolvla", **{key: _plain(value) for key, value in own.items()}, **self.extra}
        order = dict.fromkeys([*self.key_order, *flat])
        return {key: flat[key] for key in order}

    @classmethod
    def from_json(cls, path: str | Path) -> SmolVLAConfig:
        """Reads a trained policy's `config.json`: an object that tells the state's and the action's size."""
        try:
            config = cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
            _check_features(config, path)
            return config
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SmolkitError("SK501", "a SmolVLA config.json", f"{path}: {type(error).__name__}: {error}",
                               "the file is missing, cut off, or was edited by hand",
                               "copy config.json from the original checkpoint again") from error

    def to_json(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(self.to_dict(), indent=4), encoding="utf-8")


def check_config(config: SmolVLAConfig) -> None:
    """Refuses settings that cannot work, before a model is built from them."""
    for key, wanted, value in misfits(config):
        raise _refused(key, wanted, value)
    for key, least in LEAST.items():
        if getattr(config, key) < least:
            raise _refused(key, f"at least {least}", getattr(config, key))
    for key, most in MOST.items():
        if getattr(config, key) > most:
            raise _refused(key, f"at most {most}", getattr(config, key))
    for key in POSITIVE:
        if getattr(config, key) <= 0:
            raise _refused(key, "more than 0", getattr(config, key))
    if config.resize_imgs_with_padding and min(config.resize_imgs_with_padding) < 1:
        raise _refused("resize_imgs_with_padding", "a width and a height of at least 1 px",
                       config.resize_imgs_with_padding)
    for name, feature in {**config.input_features, **config.output_features}.items():
        if not feature.shape or min(feature.shape) < 1:
            raise _refused(f"the shape of {name}", "sizes of at least 1", feature.shape)
        if feature.type == "VISUAL" and len(feature.shape) != 3:
            raise _refused(f"the shape of {name}", "channels, height and width", feature.shape)
    _check_together(config)


def _check_together(config: SmolVLAConfig) -> None:
    """Settings that are fine alone and not with each other."""
    if not 1 <= config.n_action_steps <= config.chunk_size:
        raise SmolkitError("SK501", f"n_action_steps from 1 to chunk_size ({config.chunk_size})",
                           str(config.n_action_steps),
                           "a chunk cannot be executed further than it was predicted",
                           "lower n_action_steps or raise chunk_size")
    if config.use_delta_joint_actions_aloha:
        raise SmolkitError("SK501", "absolute joint actions", "use_delta_joint_actions_aloha: true",
                           "no version of SmolVLA has ever supported delta actions", "set it to false")
    for name, largest in (("observation.state", config.max_state_dim), ("action", config.max_action_dim)):
        feature = {**config.input_features, **config.output_features}.get(name)
        if feature and feature.shape[0] > largest:
            raise SmolkitError("SK501", f"{name} of at most {largest} numbers", str(feature.shape[0]),
                               "the robot has more joints than the policy has room for",
                               f"raise max_{name}_dim")


def _refused(key: str, wanted: str, value: Any) -> SmolkitError:
    return SmolkitError("SK501", f"{key}: {wanted}", repr(value), "the config was edited by hand, or cut off",
                        f"correct {key}, or copy config.json from the original checkpoint again")


def _check_features(config: SmolVLAConfig, path: str | Path) -> None:
    """A policy that was trained knows how many numbers its state and its action have, and has an eye that is open."""
    for key, name in (("input_features", "observation.state"), ("output_features", "action")):
        if name not in getattr(config, key):
            raise _refused(f"{key} in {path}", f"an entry {name}", sorted(getattr(config, key)))
    if not set(config.cameras) - {f"observation.images.empty_camera_{i}" for i in range(config.empty_cameras)}:
        raise _refused(f"input_features in {path}", "at least one camera (type VISUAL)", sorted(config.input_features))


def _tidy(key: str, value: Any) -> Any:
    """JSON to Python: features become `Feature`s, fixed-length lists become tuples."""
    if key in ("input_features", "output_features"):
        return {name: _feature(name, raw) for name, raw in value.items()} if isinstance(value, dict) else value
    if key in ("optimizer_betas", "resize_imgs_with_padding") and isinstance(value, list):
        return tuple(value)
    return value


def _feature(name: str, raw: Any) -> Feature:
    if not isinstance(raw, dict) or not isinstance(raw.get("shape"), list) or "type" not in raw:
        raise _refused(f"the feature {name}", "{'type': ..., 'shape': [...]}", raw)
    return Feature(raw["type"], tuple(raw["shape"]))


def _plain(value: Any) -> Any:
    """Python to JSON, the inverse of `_tidy`."""
    if isinstance(value, Feature):
        return {"type": value.type, "shape": list(value.shape)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
