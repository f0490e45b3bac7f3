"""The action expert: a small transformer that turns noise into motion, reading the language model's notes.

Its layers come in two kinds. A *self* layer lets the action tokens look at the notes and at earlier action
tokens; a *cross* layer lets them look at the notes only, through keys and values of its own making. Both
kinds share the language model's head sizes, which is what makes the notes readable.

    >>> from smolkit.smolvla.config import SmolVLAConfig
    >>> [layer.kind for layer in expert_plan(SmolVLAConfig(num_vlm_layers=4), 32)]
    ['self', 'cross', 'self', 'cross']
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smolkit.report import SmolkitError
from smolkit.smolvla.attention import (
    Block,
    Linear,
    RMSNorm,
    Rotation,
    Watch,
    attend,
    block_mask,
    positions,
    readable,
    rotation,
)
from smolkit.smolvla.backbone import TextConfig
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.flow import time_embedding
from smolkit.smolvla.language import Memory


@dataclass(frozen=True)
class PlannedLayer:
    """One expert layer: the language layer whose notes it reads, and how."""

    vlm_layer: int
    kind: str                      # "self" or "cross"


@dataclass(frozen=True)
class Context:
    """The notes made ready for one chunk: computed once, used at every Euler step."""

    keys: tuple[Tensor, ...]       # per expert layer (B, P, g, d)
    values: tuple[Tensor, ...]
    self_mask: Tensor              # (B, T, P + T)
    cross_mask: Tensor             # (B, T, P)
    running: Rotation              # of positions that continue the prefix's
    restarted: Rotation            # of positions from 0


def vlm_depth(config: SmolVLAConfig, available: int) -> int:
    """How many of the backbone's layers the policy keeps."""
    return min(config.num_vlm_layers, available) if config.num_vlm_layers > 0 else available


def expert_plan(config: SmolVLAConfig, available: int) -> tuple[PlannedLayer, ...]:
    """Which language layer each expert layer sits on, and whether it is a self or a cross layer."""
    depth = vlm_depth(config, available)
    count = config.num_expert_layers if config.num_expert_layers > 0 else depth
    if depth % count:
        raise SmolkitError("SK501", f"num_expert_layers that divides {depth}", str(count),
                           "expert layers sit on every n-th language layer", "choose a divisor")
    step = depth // count
    plan = tuple(PlannedLayer(j * step, _kind(config, j * step)) for j in range(count))
    # LeRobot picks the weights by the expert's index but the path by the language model's: they must agree.
    if any(layer.kind != _kind(config, j) for j, layer in enumerate(plan)):
        raise SmolkitError("SK501", "self_attn_every_n_layers that fits num_expert_layers",
                           f"every {config.self_attn_every_n_layers} of {depth}, {count} in the expert",
                           "no SmolVLA was ever trained so: LeRobot fails on it too",
                           "set num_expert_layers to 0 or self_attn_every_n_layers to 0")
    return plan


def _kind(config: SmolVLAConfig, index: int) -> str:
    every = config.self_attn_every_n_layers
    if "cross" not in config.attention_mode or (every > 0 and index % every == 0):
        return "self"
    return "cross"


def expert_width(config: SmolVLAConfig, text: TextConfig) -> int:
    """Numbers per action token: a share of the language model's, and even, half of the time being sines."""
    width = int(text.width * config.expert_width_multiplier)
    if width < 2 or width % 2:
        raise SmolkitError("SK501", "an expert_width_multiplier that gives an even width", f"{width} of {text.width}",
                           "the config was edited by hand", "set expert_width_multiplier to 0.75, as published")
    return width


def expert_ffn(width: int) -> int:
    """Llama's rule: two thirds of four times the width, rounded up to 256."""
    return 256 * math.ceil(4 * int(2 * width / 3) / 256)


class ActionExpert(nn.Module):
    """x_t and t in, velocity out."""

    def __init__(self, config: SmolVLAConfig, text: TextConfig):
        super().__init__()
        width = expert_width(config, text)
        self.periods = (config.min_period, config.max_period)
        self.plan = expert_plan(config, text.layers)
        self.layers = nn.ModuleList(_expert_block(width, text, layer.kind) for layer in self.plan)
        self.norm = RMSNorm(width, text.eps)
        self.action_in = Linear(config.max_action_dim, width)
        self.action_out = Linear(width, config.max_action_dim)
        self.action_time_in = Linear(2 * width, width)
        self.action_time_out = Linear(width, width)

    def read(self, memory: Memory, chunk: int) -> Context:
        """Prepares the notes for `chunk` action tokens; cross layers translate them here, once."""
        layers = zip(self.layers, self.plan, strict=True)
        pairs = [self._translate(layer, planned, memory) for layer, planned in layers]
        ones = memory.pad.new_ones(memory.pad.shape[0], chunk)                       # (B, T)
        pad, block = torch.cat([memory.pad, ones], 1), torch.cat([memory.block, ones], 1)
        prefix = memory.pad.shape[1]
        mask = readable(block_mask(pad, block)[:, prefix:])                          # (B, T, P + T)
        turns = (rotation(place, self.layers[0].head_dim) for place in (positions(pad)[:, prefix:], positions(ones)))
        return Context(tuple(key for key, _ in pairs), tuple(value for _, value in pairs),
                       mask, readable(mask[:, :, :prefix]), *turns)

    def _translate(self, layer: Block, planned: PlannedLayer, memory: Memory) -> tuple[Tensor, Tensor]:
        key, value = memory.keys[planned.vlm_layer], memory.values[planned.vlm_layer]
        if planned.kind == "self":
            return key, value
        project = layer.self_attn.k_proj, layer.self_attn.v_proj
        return tuple(matrix(x.flatten(2)).unflatten(-1, x.shape[2:])    # (B, P, g, d)
                     for matrix, x in zip(project, (key, value), strict=True))

    def embed(self, x_t: Tensor, time: Tensor) -> Tensor:
        """Noisy actions (B, T, A) and their time (B,) -> action tokens (B, T, E)."""
        action = self.action_in(x_t)                 # (B, T, E)
        when = time_embedding(time, action.shape[-1], *self.periods).to(action.dtype)
        both = torch.cat([action, when[:, None].expand_as(action)], dim=2)           # (B, T, 2E)
        return self.action_time_out(F.silu(self.action_time_in(both)))

    def forward(self, x_t: Tensor, time: Tensor, context: Context, watch: Watch | None = None) -> Tensor:
        """The velocity at (x_t, t): (B, T, A), float32."""
        x = self.embed(x_t, time)                                                    # (B, T, E)
        for index, layer in enumerate(self.layers):
            query, key, value, mask = self._look(index, layer.input_layernorm(x), context)
            if watch is not None:
                watch(index, query, key, mask)
            x = layer.finish(x, attend(query, key, value, mask))
        return self.action_out(self.norm(x)).float()

    def _look(self, index: int, normed: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query, keys, values and mask of a layer: the notes alone, or the notes and the earlier actions."""
        layer, key, value = self.layers[index], context.keys[index], context.values[index]
        if self.plan[index].kind == "cross":
            return layer.query(normed, context.restarted), key, value, context.cross_mask
        own_key, own_value = layer.key_value(normed, context.running)                # (B, T, g, d)
        keys, values = torch.cat([key, own_key], dim=1), torch.cat([value, own_value], dim=1)
        return layer.query(normed, context.running), keys, values, context.self_mask


def _expert_block(width: int, text: TextConfig, kind: str) -> Block:
    """A block of the expert's width; in a cross layer keys and values start from the language model's."""
    kv_width = text.kv_heads * text.head_dim if kind == "cross" else width
    return Block(width, expert_ffn(width), text.heads, text.kv_heads, text.head_dim, text.eps, kv_width)
