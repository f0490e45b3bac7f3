"""The space of configurations that `same_as_lerobot` walks through: named corners of it, and random draws.

    >>> case = next(named_cases())
    >>> case.name, case.policy().model.config.chunk_size
    ('as published, tiny', 10)

A case is a configuration, a backbone, statistics and one recording in robot units. Its weights are random but
scaled so that every path matters: matrices 1/sqrt(fan in), norms 1 +- 0.1, biases 0.1.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from smolkit.smolvla.backbone import Backbone, TextConfig, VisionConfig
from smolkit.smolvla.config import Feature, SmolVLAConfig
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.processors import make_processors
from smolkit.smolvla.tokenizer import ASSETS

SIZES = ((48, 64), (40, 30), (64, 64), (70, 130))          # px, (height, width) of the cameras in turn
TASKS = ("put the red cube into the box", "stop\n", "open", "a task with more letters than the policy will ever read")
MIDDLES = {"mean": 0.2, "std": 0.8, "min": -1.2, "max": 1.2, "q01": -1.1, "q99": 1.1, "q10": -0.9, "q90": 0.9}
TEXT = TextConfig(width=48, ffn=96, layers=6, heads=3, kv_heads=1, head_dim=16, vocabulary=512)
VISION = VisionConfig(width=32, ffn=64, layers=2, heads=2, image_px=64, patch_px=8)


@dataclass(frozen=True)
class Case:
    """One policy and one recording; what is not said is as published, at a thousandth of the size."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    text: TextConfig = TEXT
    vision: VisionConfig = VISION
    cameras: int = 2
    absent: tuple[int, ...] = ()               # cameras that the recording lacks
    masked: bool = False                       # pictures of some samples are said to be padding
    state: int = 6
    action: int = 6
    batch: int = 2
    rename: bool = False                       # the recording's cameras have other names than the policy's
    history: bool = False                      # pictures and states with a time axis
    lm_head: bool = True
    mixed: bool = False                        # compared in bfloat16 and float32 too
    seed: int = 0

    def policy(self) -> SmolVLAPolicy:
        """A new policy of ours."""
        given = {"num_vlm_layers": 4, "chunk_size": 10, "n_action_steps": 5, "resize_imgs_with_padding": (64, 64),
                 "tokenizer_max_length": 16, "pad_language_to": "max_length", "prefix_length": 0,
                 "num_expert_layers": 0, "vlm_model_name": "smolkit/tiny", "device": "cpu", **self.config}
        pictures = {f"observation.images.camera{i}": Feature("VISUAL", (3, 64, 64)) for i in range(self.cameras)}
        config = SmolVLAConfig(input_features={"observation.state": Feature("STATE", (self.state,)), **pictures},
                               output_features={"action": Feature("ACTION", (self.action,))}, **given)
        backbone = Backbone(self.vision, self.text, fake_image_id=509, global_image_id=508, lm_head=self.lm_head)
        model = SmolVLA(config, backbone)
        scatter(model, self.seed)
        return SmolVLAPolicy(model, make_processors(config, self.stats, ASSETS, self.renames))

    @property
    def renames(self) -> dict[str, str]:
        return {self._recorded(i): f"observation.images.camera{i}" for i in range(self.cameras)} if self.rename else {}

    def _recorded(self, camera: int) -> str:
        return f"observation.images.{('front', 'wrist', 'side')[camera] if self.rename else f'camera{camera}'}"

    @cached_property
    def stats(self) -> dict[str, dict[str, Tensor]]:
        """Statistics of a robot that never existed, about 1 so that differences keep their meaning."""
        rng = torch.Generator().manual_seed(self.seed + 1)
        shapes = {"observation.state": (self.state,), "action": (self.action,)}
        shapes |= {f"observation.images.camera{i}": (3, 1, 1) for i in range(self.cameras)}
        return {name: {key: middle + 0.3 * torch.rand(shape, generator=rng) for key, middle in MIDDLES.items()}
                for name, shape in shapes.items()}

    @property
    def action_scale(self) -> float:
        return max(value.abs().max().item() for value in self.stats["action"].values())

    @cached_property
    def recording(self) -> dict[str, Tensor]:
        """The batch in robot units, and the noise to sample from."""
        rng = torch.Generator().manual_seed(self.seed + 2)
        out: dict[str, Tensor] = {}
        for i in set(range(self.cameras)) - set(self.absent):
            size = SIZES[i] if self.config.get("resize_imgs_with_padding", True) else (64, 64)
            picture = torch.rand(self.batch, 3, *size, generator=rng)
            out[self._recorded(i)] = picture
            if self.masked:
                real = torch.rand(self.batch, generator=rng) < 0.5
                out[f"observation.images.camera{i}_padding_mask"] = real
        out["observation.state"] = torch.randn(self.batch, self.state, generator=rng)
        if self.history:
            out = {name: torch.stack([value.flip(0), value], 1) if value.ndim > 1 else value
                   for name, value in out.items()}
        chunk = self.config.get("chunk_size", 10)
        out["action"] = torch.randn(self.batch, chunk, self.action, generator=rng)
        real_steps = torch.randint(1, chunk + 1, (self.batch, 1), generator=rng)
        out["action_is_pad"] = torch.arange(chunk) >= real_steps
        out["noise_sampling"] = torch.randn(self.batch, chunk, self.width, generator=rng)
        return out

    @property
    def width(self) -> int:
        return self.config.get("max_action_dim", 32)

    @cached_property
    def draws(self) -> dict[str, Tensor]:
        """Noise and moments of the training step, and the rest of a chunk for real-time chunking."""
        rng = torch.Generator().manual_seed(self.seed + 3)
        previous = torch.randn(self.batch, 8, self.action, generator=rng)
        return {"previous": previous, "noise": torch.randn(self.recording["noise_sampling"].shape, generator=rng),
                "time": 0.001 + 0.998 * torch.rand(self.batch, generator=rng)}

    @property
    def tasks(self) -> list[str]:
        return [TASKS[(self.seed + i) % len(TASKS)] for i in range(self.batch)]


@torch.no_grad()
def scatter(model: torch.nn.Module, seed: int) -> None:
    """Random weights, scaled so that every path matters."""
    rng = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=rng)
        if weight.ndim > 1:
            weight.copy_(noise / weight[0].numel() ** 0.5)
        else:
            weight.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))


def named_cases() -> Iterator[Case]:
    """Corners that a random walk would rarely reach, one setting at a time."""
    yield Case("as published, tiny", mixed=True)
    yield Case("without lm_head", lm_head=False)
    yield Case("one camera", cameras=1)
    yield Case("three cameras", cameras=3)
    yield Case("an absent camera", absent=(0,))
    yield Case("an empty camera", {"empty_cameras": 1})
    yield Case("two empty cameras", {"empty_cameras": 2})
    yield Case("absent camera, 1 empty", {"empty_cameras": 1}, cameras=3, absent=(1,))
    yield Case("absent camera, 2 empty, special", {"empty_cameras": 2, "add_image_special_tokens": True}, absent=(0,))
    yield Case("special image tokens", {"add_image_special_tokens": True}, mixed=True)
    yield Case("pictures masked", masked=True, batch=4)
    yield Case("special tokens, pictures masked", {"add_image_special_tokens": True}, masked=True, batch=4)
    yield Case("prefix of 60", {"prefix_length": 60})
    yield Case("prefix shorter than asked", {"prefix_length": 5})
    yield Case("pad to longest", {"pad_language_to": "longest"}, batch=4)
    yield Case("tasks too long", {"tokenizer_max_length": 5}, batch=4)
    yield Case("no resize", {"resize_imgs_with_padding": None})
    yield Case("resized to another size", {"resize_imgs_with_padding": (64, 32)})
    for side in (32, 96, 128):
        yield Case(f"pictures of {side} for a tower of 64", {"resize_imgs_with_padding": (side, side)}, mixed=True)
    yield Case("pictures of half a token", {"resize_imgs_with_padding": (40, 40)})
    yield Case("history", history=True)
    yield Case("names changed", rename=True, cameras=3)
    for mode in ("MIN_MAX", "QUANTILES", "QUANTILE10", "IDENTITY"):
        yield Case(f"normalised by {mode}", {"normalization_mapping": {"VISUAL": "IDENTITY", "STATE": mode,
                                                                      "ACTION": mode}})
    yield Case("pictures normalised", {"normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD",
                                                                 "ACTION": "MEAN_STD"}})
    yield Case("Aloha", {"adapt_to_pi_aloha": True}, state=14, action=14, mixed=True)
    yield Case("32 joints", state=32, action=32)
    yield Case("room for 7 joints", {"max_state_dim": 7, "max_action_dim": 7})
    yield Case("chunk of 300", {"chunk_size": 300})
    yield Case("chunk of 1", {"chunk_size": 1, "n_action_steps": 1})
    yield Case("3 steps, other periods", {"num_steps": 3, "min_period": 0.01, "max_period": 2.5})
    yield Case("train_state_proj off", {"train_state_proj": False})
    yield Case("training all but the eyes", {"train_expert_only": False})
    yield Case("training all", {"train_expert_only": False, "freeze_vision_encoder": False})
    for schedule in ("ZEROS", "ONES", "LINEAR", "EXP"):
        yield Case(f"real-time chunking, {schedule}", {"rtc_config": {
            "enabled": True, "prefix_attention_schedule": schedule, "max_guidance_weight": 8.0,
            "execution_horizon": 7}})
    yield from depth_cases()


def depth_cases() -> Iterator[Case]:
    """Which layers are self and cross layers, and how many the expert has."""
    for mode in ("cross_attn", "self_attn", "cross", "prefix"):
        for every in (-1, 0, 1, 2, 3, 5):
            yield Case(f"{mode}, self every {every}", {"attention_mode": mode, "self_attn_every_n_layers": every},
                       mixed=every == 0)
    for layers in (0, -1, 1, 6, 9):
        yield Case(f"{layers} language layers", {"num_vlm_layers": layers})
    for experts, every in ((2, 0), (2, 4), (2, 9), (1, 0), (1, 2), (2, 2), (2, 1), (3, 2)):
        yield Case(f"{experts} of 4 experts, self every {every}",
                   {"num_expert_layers": experts, "self_attn_every_n_layers": every})
    deep = replace(TEXT, layers=12)
    for experts in (6, 4, 3, 12):
        for every in (0, 2, 3, 5, 12, 13):
            yield Case(f"{experts} of 12 experts, self every {every}", text=deep, config={
                "num_vlm_layers": 12, "num_expert_layers": experts, "self_attn_every_n_layers": every})
    yield Case("self_attn, 2 of 4 experts", {"attention_mode": "self_attn", "num_expert_layers": 2})
    yield Case("self_attn, 2 of 4, training all", {"attention_mode": "self_attn", "num_expert_layers": 2,
                                                   "train_expert_only": False})
    for multiplier in (0.5, 1.0, 1.5, 0.78):
        yield Case(f"expert of {multiplier}", {"expert_width_multiplier": multiplier})
    yield Case("other heads", text=replace(TEXT, width=64, heads=6, kv_heads=2, head_dim=8))


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """Draws from the whole space."""
    for number in range(seed, seed + count):
        yield random_case(number)


def random_case(seed: int) -> Case:
    """One draw; LeRobot crashes on few of them."""
    rng = random.Random(seed)
    cameras = rng.randint(1, 3)
    absent = tuple(rng.sample(range(cameras), rng.randint(0, cameras - 1)))
    config = {"empty_cameras": rng.randint(0, 2), "add_image_special_tokens": rng.random() < 0.3,
              "prefix_length": rng.choice((-1, 0, 0, 70, 120)),
              "attention_mode": rng.choice(("cross_attn", "self_attn")),
              "self_attn_every_n_layers": rng.randint(0, 5), "num_vlm_layers": rng.choice((0, 1, 2, 3, 4, 6)),
              "expert_width_multiplier": rng.choice((0.5, 0.75, 1.0)), "num_steps": rng.randint(1, 12),
              "chunk_size": rng.choice((5, 10, 20, 50, 300)), "pad_language_to": rng.choice(("longest", "max_length")),
              "tokenizer_max_length": rng.choice((4, 16, 48)), "train_expert_only": rng.random() < 0.7,
              "freeze_vision_encoder": rng.random() < 0.5, "train_state_proj": rng.random() < 0.8,
              "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": rng.choice(("MEAN_STD", "MIN_MAX")),
                                        "ACTION": rng.choice(("MEAN_STD", "MIN_MAX"))}}
    return Case(f"random {seed}", config, cameras=cameras, absent=absent, masked=rng.random() < 0.3,
                state=rng.randint(1, 32), action=rng.randint(1, 32), batch=rng.randint(1, 4),
                rename=rng.random() < 0.3, seed=seed)


def full_cases() -> Iterator[Case]:
    """The published sizes, on both backbones."""
    published = {"num_vlm_layers": 16, "chunk_size": 50, "resize_imgs_with_padding": (512, 512),
                 "tokenizer_max_length": 48}
    yield Case("full size, 450M", published, TextConfig(), VisionConfig(), mixed=True)
    yield Case("under 200M", {**published, "num_vlm_layers": 12}, mixed=True, lm_head=False, vision=VisionConfig(),
               text=TextConfig(width=576, ffn=1536, layers=30, heads=9, kv_heads=3))
