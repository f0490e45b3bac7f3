"""Solutions of `notebooks/00_tour.ipynb`. For teachers; a test runs them against the checks."""

from __future__ import annotations

from dataclasses import replace

from smolkit.cameras.camera import Observation

# 0.2: any honest guess passes, as this one. Measured: a policy with a broken part succeeds in no trial.
prediction = {"policy": 0.9, "untrained": 0.0, "dead_normaliser": 0.5, "blank_cameras": 0.3}


def ticks_to_deg(ticks: float, range_min: int, range_max: int) -> float:
    """0.1: zero is the middle of the calibrated range; LeRobot counts 4095 ticks a turn."""
    return (ticks - (range_min + range_max) / 2) * 360 / 4095


def swap_cameras(observation: Observation) -> Observation:
    """0.3: a new observation; the old one stays as it was."""
    images = observation.images
    return replace(observation, images={"front": images["wrist"], "wrist": images["front"]})
