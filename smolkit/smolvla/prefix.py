"""The prefix: everything the policy is told, as one row of tokens: pictures, then words, then the state.

    >>> tokens = torch.zeros(1, 3, 8)
    >>> words = Prefix(tokens, torch.tensor([[True, True, False]]), torch.zeros(1, 3, dtype=torch.bool))
    >>> words.tokens.shape, words.trimmed().tokens.shape         # nobody sees the third token: leave it out
    (torch.Size([1, 3, 8]), torch.Size([1, 2, 8]))

Padding is masked and does not advance positions, so a token that is padding in every sample may be left out
and no number changes. Shapes: B batch, P tokens, H the language model's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Picture:
    """One camera's pictures on their way to the eyes."""

    camera: int                    # which of the policy's cameras
    image: Tensor                  # (B, 3, height, width) in [-1, 1]
    mask: Tensor                   # (B,) False where the sample has no such picture


@dataclass(frozen=True)
class Seen:
    """What the eyes made of one camera's pictures."""

    tokens: Tensor                 # (B, n, H), before the factor sqrt(H)
    mask: Tensor                   # (B,)


@dataclass(frozen=True)
class Prefix:
    """Tokens, which of them are real, and where a new stage of looking begins (only at the state)."""

    tokens: Tensor                 # (B, P, H)
    pad: Tensor                    # (B, P) True = real
    block: Tensor                  # (B, P) True = a new stage begins

    def trimmed(self) -> Prefix:
        """Without the tokens that are padding in every sample."""
        kept = self.pad.any(dim=0)                                             # (P,)
        return Prefix(self.tokens[:, kept], self.pad[:, kept], self.block[:, kept])

    def lengthened(self, length: int) -> Prefix:
        """With padding at the end, up to `length` tokens."""
        missing = max(0, length - self.pad.shape[1])
        return Prefix(F.pad(self.tokens, (0, 0, 0, missing)), F.pad(self.pad, (0, missing)),
                      F.pad(self.block, (0, missing)))


def joined(parts: Sequence[Prefix]) -> Prefix:
    """Several stretches of tokens in a row."""
    return Prefix(torch.cat([part.tokens for part in parts], 1), torch.cat([part.pad for part in parts], 1),
                  torch.cat([part.block for part in parts], 1))


def stretch(tokens: Tensor, pad: Tensor, begins_stage: bool = False) -> Prefix:
    """Tokens (B, n, H) with their mask: (B, n), or (B,) for all of a sample's tokens at once."""
    pad = pad if pad.ndim == 2 else pad[:, None].expand(-1, tokens.shape[1])
    block = torch.zeros_like(pad)
    block[:, :1] = begins_stage
    return Prefix(tokens, pad, block)


def picture_mask(batch: dict[str, Tensor], name: str) -> Tensor:
    """(B,) which samples truly have this picture; all of them, unless the batch says otherwise."""
    given = batch.get(f"{name}_padding_mask")
    everyone = torch.ones(len(batch[name]), dtype=torch.bool, device=batch[name].device)
    return everyone if given is None else given.bool()


def widen(x: Tensor, width: int) -> Tensor:
    """Zeros on the right, up to the width that every robot shares."""
    return F.pad(x, (0, width - x.shape[-1]))
