"""In which units do these joints speak? From the least and the largest value of each body joint.

    >>> real_so101 = np.array([-22.8, -100, -97.2, 16.9, -45.7]), np.array([24.4, 54.3, 100, 100, 5.3])
    >>> spoken(*real_so101), spoken(*map(np.deg2rad, real_so101)), spoken(np.full(5, -40), np.full(5, 60))
    ('percent', 'rad', '')

LeRobot's default for body joints is -100..100 of the calibrated range, clipped: an arm that was laid down on its stops,
as all are, leaves exactly 100 in its statistics, which no measured angle does. On an SO-101 the values themselves
hardly differ: most joints reach about 100 of either, so a wrong unit moves the arm nearly, not wildly, wrong.
"""

from __future__ import annotations

import numpy as np

CLIPPED = 2                                        # joints' ends at exactly 100: one may be chance


def spoken(least: np.ndarray, largest: np.ndarray) -> str:
    """"rad", "percent", "deg", or "" where nobody can tell, from the ends (5,) of the body joints' values."""
    ends = np.abs(np.concatenate([least, largest]))                            # (10,)
    if ends.max() <= 1.01 * np.pi:
        return "rad"
    if ends.max() > 100.01:
        return "deg"
    return "percent" if (np.abs(ends - 100) < 1e-3).sum() >= CLIPPED else ""
