"""Which frames make up the batch of step k: a pure function of seed and step, so resuming is free.

    >>> sampler = Sampler(count=10, batch_size=4, seed=0)
    >>> sorted(torch.cat([sampler.indices(0), sampler.indices(1)[:4]]).tolist()) != list(range(8))
    True
    >>> torch.equal(sampler.indices(7), Sampler(10, 4, seed=0).indices(7))
    True
"""

from __future__ import annotations

import torch
from torch import Tensor


class Sampler:
    """Goes through a fresh permutation of all frames per epoch; epochs flow into one another."""

    def __init__(self, count: int, batch_size: int, seed: int):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> Tensor:
        """Frame numbers (B,) of step `step`."""
        places = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return torch.cat([self._epoch_order(int(epoch))[places[places // self.count == epoch] % self.count]
                          for epoch in (places // self.count).unique()])

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(self.count, generator=generator(self.seed, epoch, stream=1))
        return self._order


def generator(seed: int, number: int, stream: int = 0) -> torch.Generator:
    """A generator of its own for each (seed, number, stream): nothing to save, nothing to restore.

    >>> torch.rand(1, generator=generator(0, 5)) == torch.rand(1, generator=generator(0, 5))
    tensor([True])
    """
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB) % 2**63
    mixed = ((mixed ^ (mixed >> 31)) * 0xD6E8FEB86659FD93) % 2**63      # neighbours must not look alike
    return torch.Generator().manual_seed(mixed ^ (mixed >> 32))
