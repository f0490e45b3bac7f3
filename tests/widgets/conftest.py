"""A kit in wall time, three real processes: what widgets are driven on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from smolkit.kit import Kit


@pytest.fixture(scope="module")
def bench() -> Iterator[Kit]:
    with Kit.sim("reach", seed=1, wall_clock=True, parks=False) as kit:
        yield kit


@pytest.fixture
def kit(bench: Kit) -> Kit:
    """The module's kit, limp and without a stop: the arm of the test before was let go."""
    bench.arm.energize(rearm=True)
    bench.arm.release()
    return bench


@pytest.fixture
def within() -> Callable[[Callable[[], bool], float], float]:
    """Waits until something is so, and says how long that took (s); fails where it takes longer than allowed."""
    def wait(so: Callable[[], bool], longest_s: float) -> float:
        begin_s = time.monotonic()
        while not so():
            assert time.monotonic() - begin_s < longest_s, "it never came"
            time.sleep(0.01)
        return time.monotonic() - begin_s
    return wait
