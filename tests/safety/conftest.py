from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from smolkit.report import SmolkitError
from tests.safety.supervised import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Armed, and closed at the end whatever happened to it."""
    made = Desk()
    made.guarded.energize()
    yield made
    with suppress(SmolkitError):                   # a lost arm says so once more
        made.guarded.close(park=False)
    made.bench.close()
