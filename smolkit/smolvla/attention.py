"""The four ideas every layer of the policy is made of: who may see whom, where a token stands, how it
looks around, and the block that ties these together.

    >>> import torch
    >>> pad = torch.tensor([[True, True, False, True, True]])      # the third token is padding
    >>> block = torch.tensor([[False, False, False, True, True]])  # 3: state, 4: first action
    >>> block_mask(pad, block)[0].int()
    tensor([[1, 1, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [0, 0, 0, 0, 0],
            [1, 1, 0, 1, 0],
            [1, 1, 0, 1, 1]], dtype=torch.int32)
    >>> positions(pad)
    tensor([[0, 1, 1, 2, 3]])

Shapes: B batch, S tokens, h query heads, g key/value heads (h is a multiple of g), d numbers per head.
Sources: Llama (blocks, rotary positions), pi0 (the block mask), SmolVLA (causal action tokens).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_BASE = 10_000.0       # SmolVLA's, whatever base the language backbone was trained with


Watch = Callable[[int, Tensor, Tensor, Tensor], None]     # sees each layer's (number, query, key, mask)


def block_mask(pad: Tensor, block: Tensor) -> Tensor:
    """Query i may see key j iff j's stage is not later than i's and both tokens are real.

    pad (B, S): True where a token is real. block (B, S): True where a new stage begins; images and
    language are stage 0, the state stage 1, every action token its own. Returns (B, S, S), True = may see.
    """
    stage = block.long().cumsum(dim=1)                          # integers: bf16 counts only to 256
    earlier = stage[:, None, :] <= stage[:, :, None]            # (B, query, key)
    return earlier & pad[:, None, :] & pad[:, :, None]


def readable(mask: Tensor) -> Tensor:
    """Lets a query that sees nothing see everything: nobody reads its row, but a row of NaN would spread."""
    return mask | ~mask.any(dim=-1, keepdim=True)


def positions(pad: Tensor) -> Tensor:
    """(B, S) real tokens counted from 0; padding does not advance the count."""
    return pad.long().cumsum(dim=1) - 1


Rotation = tuple[Tensor, Tensor]          # cosines and sines (B, S, 1, d/2) of the tokens' angles


def rotation(position: Tensor, head_dim: int) -> Rotation:
    """By how much a token at each position (B, S) is turned: the same in every layer, so computed once."""
    half = head_dim // 2
    fraction = torch.arange(half, device=position.device, dtype=torch.float32) / half
    rate = ROPE_BASE ** -fraction    # (d/2,) rad per token
    angle_rad = position[:, :, None, None].float() * rate                                     # (B, S, 1, d/2)
    return angle_rad.cos(), angle_rad.sin()


def rope(x: Tensor, turn: Rotation) -> Tensor:
    """Turns each pair (x1, x2) of x (B, S, h, d) by an angle that grows with the token's position."""
    cos, sin = turn
    x1, x2 = x.float().chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1).to(x.dtype)          # (B, S, h, d)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention with h query heads that share g key/value heads.

    query (B, T, h, d), key and value (B, S, g, d), mask (B, T, S) or None -> (B, T, h * d).
    """
    heads_first = [x.to(value.dtype).transpose(1, 2) for x in (query, key, value)]
    seen = None if mask is None else mask[:, None]                                            # (B, 1, T, S)
    out = F.scaled_dot_product_attention(*heads_first, attn_mask=seen, enable_gqa=True)       # (B, h, T, d)
    return out.transpose(1, 2).flatten(2)


class Linear(nn.Linear):
    """A matrix; tokens of another precision than its weights' are rounded to that first."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class RMSNorm(nn.Module):
    """Scales every token to length one (root mean square), then each number by a learned weight."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        exact = x.float()
        scaled = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * scaled.to(x.dtype)


class Projections(nn.Module):
    """The four matrices of an attention: what I ask, what I offer, what I tell, and how I use the answer."""

    def __init__(self, width: int, heads: int, kv_heads: int, head_dim: int, kv_width: int):
        super().__init__()
        self.q_proj = Linear(width, heads * head_dim, bias=False)
        self.k_proj = Linear(kv_width, kv_heads * head_dim, bias=False)
        self.v_proj = Linear(kv_width, kv_heads * head_dim, bias=False)
        self.o_proj = Linear(heads * head_dim, width, bias=False)


class GatedMLP(nn.Module):
    """Each token thinks alone: down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, ffn: int):
        super().__init__()
        self.gate_proj = Linear(width, ffn, bias=False)
        self.up_proj = Linear(width, ffn, bias=False)
        self.down_proj = Linear(ffn, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """A Llama block, open in the middle so that two streams can meet there.

    First `query` and `key_value`, then the caller attends as it likes, then `finish`.
    `kv_width` differs from `width` only in the expert's cross layers, whose keys are made of the language
    model's keys.
    """

    def __init__(self, width: int, ffn: int, heads: int, kv_heads: int, head_dim: int, eps: float,
                 kv_width: int | None = None):
        super().__init__()
        self.head_dim = head_dim
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Projections(width, heads, kv_heads, head_dim, kv_width or width)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.mlp = GatedMLP(width, ffn)

    def query(self, normed: Tensor, turn: Rotation) -> Tensor:
        query = self.self_attn.q_proj(normed).unflatten(-1, (-1, self.head_dim))     # (B, S, h, d)
        return rope(query, turn)

    def key_value(self, normed: Tensor, turn: Rotation) -> tuple[Tensor, Tensor]:
        key = self.self_attn.k_proj(normed).unflatten(-1, (-1, self.head_dim))       # (B, S, g, d)
        value = self.self_attn.v_proj(normed).unflatten(-1, (-1, self.head_dim))     # (B, S, g, d)
        return rope(key, turn), value

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Adds the answer to the stream, then the token's own thinking. (B, S, h * d) -> (B, S, width)."""
        answer = self.self_attn.o_proj(attended)
        x = (x + answer).to(answer.dtype)          # from here on the stream has the weights' dtype
        return x + self.mlp(self.post_attention_layernorm(x))
