"""A kit in wall time, three real processes: what widgets are driven on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from smolkit.arm.joints import to_radians
from smolkit.kit import Kit
from smolkit.sim.scene import START_DEG


@pytest.fixture(scope="module")
def bench() -> Iterator[Kit]:
    with Kit.sim("reach", seed=1, wall_clock=True, parks=False) as kit:
        yield kit


@pytest.fixture
def kit(bench: Kit) -> Kit:
    """The module's kit, standing in the start pose, whatever the test before did to it.

    An arm that fell lies on the table, and from there the guard lets it go up only.
    """
    bench.arm.release()
    bench.bench.hand_pose(to_radians(np.array(START_DEG)))
    bench.arm.energize(rearm=True)
    return bench


@pytest.fixture
def within() -> Callable[[Callable[[], bool], float], float]:
    """Waits until something is so, and says how long that took (s); fails where it takes longer than allowed."""
    def wait(so: Callable[[], bool], longest_s: float, words: Callable[[], str] = lambda: "it never came") -> float:
        begin_s = time.monotonic()
        while not so():
            assert time.monotonic() - begin_s < longest_s, words()
            time.sleep(0.01)
        return time.monotonic() - begin_s
    return wait
