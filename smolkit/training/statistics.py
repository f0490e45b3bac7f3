"""Mean and standard deviation of states and actions, and a guard against dead ones.

    >>> import numpy as np
    >>> stats = statistics_of(np.array([[0.0, 10.0], [2.0, 30.0]]), names=("pan", "lift"))
    >>> stats.mean, stats.std
    (array([ 1., 20.], dtype=float32), array([ 1., 10.], dtype=float32))

A joint that never moves has std 0: dividing by it makes either infinities or, with a small epsilon, a network
input that explodes at the first degree of motion. LeRobot passes such features on in silence; here it stops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolkit.report import Check


@dataclass(frozen=True)
class Statistics:
    """Per dimension, in the units of the data (deg, gripper %)."""

    mean: np.ndarray               # (D,)
    std: np.ndarray                # (D,)


def statistics_of(values: np.ndarray, names: tuple[str, ...], least_std: float = 0.05) -> Statistics:
    """Statistics of (N, D) values; SK604 where a dimension hardly moves (`least_std`, deg or %)."""
    mean, std = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    check_alive(std, names, least_std).raise_if_red()
    return Statistics(mean.astype(np.float32), std.astype(np.float32))


def check_alive(std: np.ndarray, names: tuple[str, ...], least_std: float = 0.05) -> Check:
    """Red if any standard deviation is not finite or below `least_std`."""
    dead = [f"{name} (std {value:.3g})" for name, value in zip(names, std, strict=True)
            if not np.isfinite(value) or value < least_std]
    return Check("SK604", "statistics are alive", not dead, f"std of at least {least_std} everywhere",
                 "dead: " + ", ".join(dead) if dead else "all joints move",
                 "the joint was locked, its cable is loose, or the recording is one still pose",
                 "look at the joint in the dataset, record demonstrations that use it, or pass least_std=0")
