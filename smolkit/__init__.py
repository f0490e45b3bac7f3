"""smolkit: from a box of servos to an SO-101 arm that obeys a sentence with SmolVLA."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Heavy rooms load when they are first touched: `import smolkit` stays light.
_LAZY = {"Kit": "smolkit.kit", "Check": "smolkit.report", "Report": "smolkit.report",
         "SmolkitError": "smolkit.report"}

__all__ = ["Check", "Kit", "Report", "SmolkitError", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'smolkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
