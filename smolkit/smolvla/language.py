"""The language model as the policy uses it: it reads pictures, words and state once, and leaves notes.

The notes are each layer's keys and values: the action expert reads nothing else. So the policy never asks for
the last layer's output, only for its keys and values.

    >>> import torch
    >>> from smolkit.smolvla.prefix import stretch
    >>> sizes = TextConfig(width=48, ffn=96, heads=3, kv_heads=1, head_dim=16, vocabulary=320)
    >>> model = LanguageModel(sizes, layers=2)
    >>> notes = model(stretch(torch.zeros(1, 5, 48), torch.ones(1, 5, dtype=torch.bool)))
    >>> len(notes.keys), notes.keys[0].shape
    (2, torch.Size([1, 5, 1, 16]))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smolkit.smolvla.attention import Block, RMSNorm, Watch, attend, block_mask, positions, readable, rotation
from smolkit.smolvla.backbone import TextConfig
from smolkit.smolvla.prefix import Prefix


@dataclass(frozen=True)
class Memory:
    """What the language model noted about one prefix of P tokens: read by the expert, at every Euler step."""

    keys: tuple[Tensor, ...]       # per layer (B, P, g, d), already turned by their positions
    values: tuple[Tensor, ...]     # per layer (B, P, g, d)
    pad: Tensor                    # (B, P) True = real
    block: Tensor                  # (B, P) True = a new stage begins

    def repeat(self, draws: int) -> Memory:
        """The same notes for several draws of noise: (B, ...) -> (draws * B, ...), whole batches in a row."""
        if draws == 1:
            return self

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

    def forward(self, prefix: Prefix, memory: Memory | None = None, watch: Watch | None = None) -> Memory:
        """Reads a prefix once: nothing in it sees an action, so the notes never change.

        With `memory` the prefix is read on top of older notes. Exact as long as nothing older may see what is
        new: so it is with the state, which pictures and words never see. Those can be read once, without
        gradient, and then only the state's row again.
        """
        known = 0 if memory is None else memory.pad.shape[1]
        pad = prefix.pad if memory is None else torch.cat([memory.pad, prefix.pad], 1)           # (B, P)
        block = prefix.block if memory is None else torch.cat([memory.block, prefix.block], 1)
        mask = readable(block_mask(pad, block)[:, known:])                                       # (B, n, P)
        turn = rotation(positions(pad)[:, known:], self.layers[0].head_dim)
        keys, values, x = [], [], prefix.tokens
        for index, layer in enumerate(self.layers):
            normed = layer.input_layernorm(x)
            key, value = layer.key_value(normed, turn)                                           # (B, n, g, d)
            if memory is not None:
                key, value = torch.cat([memory.keys[index], key], 1), torch.cat([memory.values[index], value], 1)
            keys.append(key)
            values.append(value)
            if layer is self.layers[-1]:                         # the last layer is only asked for its notes
                break
            query = layer.query(normed, turn)
            if watch is not None:
                watch(index, query, key, mask)
            x = layer.finish(x, attend(query, key, value, mask))
        return Memory(tuple(keys), tuple(values), pad, block)


def lookup(embedding: nn.Embedding, ids: list[int], batch: int) -> Tensor:
    """The vectors of fixed token ids, NOT scaled, once per sample: (B, len(ids), H)."""
    index = torch.tensor(ids, device=embedding.weight.device)
    return embedding(index).expand(batch, -1, -1)
