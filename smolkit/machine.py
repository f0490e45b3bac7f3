"""What the computer offers to this process.

    >>> free_cores() >= 1
    True
"""

from __future__ import annotations

import os


def free_cores() -> int:
    """Cores this process may use; containers often grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
