"""The language model as the policy uses it: it reads pictures, words and state once, and leaves notes.

The notes are each layer's keys and values: the action expert reads nothing else. So the policy never asks for
the last layer's output, only for its keys and values.

    >>> import torch
    >>> sizes = TextConfig(width=48, ffn=96, heads=3, kv_heads=1, head_dim=16, vocabulary=320)
    >>> model = LanguageModel(sizes, layers=2)
    >>> pad = torch.ones(1, 5, dtype=torch.bool)
    >>> notes = model(torch.zeros(1, 5, 48), pad, torch.zeros_like(pad))
    >>> len(notes.keys), notes.keys[0].shape
    (2, torch.Size([1, 5, 1, 16]))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smolkit.smolvla.attention import Block, RMSNorm, attend, block_mask, positions, readable
from smolkit.smolvla.backbone import TextConfig


@dataclass(frozen=True)
class Memory:
    """What the language model noted about one prefix of P tokens: read by the expert, at every Euler step."""

    keys: tuple[Tensor, ...]       # per layer (B, P, g, d), already turned by their positions
    values: tuple[Tensor, ...]     # per layer (B, P, g, d)
    pad: Tensor                    # (B, P) True = real
    block: Tensor                  # (B, P) True = a new stage begins

    def repeat(self, draws: int) -> Memory:
        """The same notes for several draws of noise: (B, ...) -> (draws * B, ...), whole batches in a row."""
        def again(x: Tensor) -> Tensor:
            return x.repeat(draws, *[1] * (x.ndim - 1))
        return Memory(tuple(map(again, self.keys)), tuple(map(again, self.values)),
                      again(self.pad), again(self.block))


class LanguageModel(nn.Module):
    """A Llama of which only the first `layers` blocks are kept."""

    def __init__(self, config: TextConfig, layers: int, lm_head: bool = False):
        super().__init__()
        self.embed = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embed.weight, std=1 / math.sqrt(config.width))
        self.layers = nn.ModuleList(
            Block(config.width, config.ffn, config.heads, config.kv_heads, config.head_dim, config.eps)
            for _ in range(layers))
        self.norm = RMSNorm(config.width, config.eps)            # stored in checkpoints, never used
        self.head = nn.Linear(config.width, config.vocabulary, bias=False) if lm_head else None    # likewise

    def words(self, tokens: Tensor) -> Tensor:
        """Token ids (B, S) -> vectors (B, S, H), times sqrt(H) as the policy was trained."""
        return self.embed(tokens) * math.sqrt(self.embed.embedding_dim)

    def forward(self, prefix: Tensor, pad: Tensor, block: Tensor) -> Memory:
        """Reads the prefix (B, P, H) once. Nothing in it sees an action, so its notes never change."""
        mask, place = readable(block_mask(pad, block)), positions(pad)
        keys, values, x = [], [], prefix
        for layer in self.layers:
            normed = layer.normed(x)
            key, value = layer.key_value(normed, place)          # (B, P, g, d)
            keys.append(key)
            values.append(value)
            if layer is not self.layers[-1]:                     # the last layer is only asked for its notes
                x = layer.finish(x, attend(layer.query(normed, place), key, value, mask))
        return Memory(tuple(keys), tuple(values), pad, block)


def lookup(embedding: nn.Embedding, ids: list[int], batch: int) -> Tensor:
    """The vectors of fixed token ids, NOT scaled, once per sample: (B, len(ids), H)."""
    index = torch.tensor(ids, device=embedding.weight.device)
    return embedding(index).expand(batch, -1, -1)
