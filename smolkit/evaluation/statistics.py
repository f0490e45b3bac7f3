"""What a success rate is worth: Wilson's interval, and the difference to a control.

    >>> low, high = wilson_interval(successes=45, trials=50)
    >>> print(f"{low:.3f} {high:.3f}")
    0.786 0.957
"""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959964            # two-sided 95 % of the normal distribution


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """95 % interval of a success rate; unlike the textbook one it stays inside 0..1 and is honest near 1.

    Args:
        successes: number of successful trials, 0..trials.
        trials: number of trials; 0 gives (0, 1), that is: nothing is known.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be within 0..{trials}, found {successes}")
    if trials == 0:
        return 0.0, 1.0
    rate, spread = successes / trials, z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z * sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
