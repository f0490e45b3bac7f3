"""A short soak: random faults, users and policies. `python -m benchmarks.soak` is the long one."""

from __future__ import annotations

import os

import pytest

from benchmarks.soak import soak

LONGER = int(os.environ.get("SMOLKIT_LONGER", "1"))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4 * LONGER))])
def test_bad_luck_violates_no_invariant(seed: int):
    goals, seen = soak(hours=0.02, seed=1000 * seed)
    assert goals > 100 and any(name.startswith("fault") for name in seen)
