"""Mistakes worth showing: the expert acts on a cube that lies elsewhere, and must find its way back.

    >>> from smolkit.sim.tasks import TASKS
    >>> from smolkit.sim.truth import truth_of
    >>> from smolkit.sim.world import World
    >>> truth = truth_of(World(TASKS["tour"].sample(np.random.default_rng(0))))
    >>> seen = Misjudgement(np.random.default_rng(0), chance=1.0).of(truth)
    >>> bool(0.008 < np.linalg.norm(seen.cube_m - truth.cube_m) < 0.035)
    True

A small policy's typical failure is to close the fingers beside the cube and to carry air to the box, where
it then waits for ever: no clean demonstration shows a cube on the table below an arm over the box. Noise in
the joints does not lead there; a wrong idea of where the cube is does. What is executed follows the wrong
idea, the label stays the expert's for the truth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smolkit.sim.intents import HELD_M, is_held
from smolkit.sim.motion import jaw_for
from smolkit.sim.truth import Truth

ON_TABLE_M = 0.03                              # a cube whose centre is lower was not lifted yet


class Misjudgement:
    """Now and then, for some steps, the cube seems to lie `offset_m` (least, most) beside its place."""

    def __init__(self, rng: np.random.Generator, chance: float = 0.035, offset_m: tuple[float, float] = (0.01, 0.032),
                 steps: tuple[int, int] = (6, 30)):
        self._rng, self._chance, self._offset_m, self._steps = rng, chance, offset_m, steps
        self._left, self._offset, self._carries_air = 0, np.zeros(3), False

    def of(self, truth: Truth) -> Truth:
        """What the expert believes at this step; the truth itself outside of a mistake."""
        if truth.cube is None or is_held(truth) or truth.cube_m[2] > ON_TABLE_M:
            self._left = 0
            return truth
        if self._left == 0:
            if self._rng.random() >= self._chance:
                return truth
            self._begin()
        self._left -= 1
        return self._believed(truth)

    def _begin(self) -> None:
        heading, far_m = self._rng.uniform(-np.pi, np.pi), self._rng.uniform(*self._offset_m)
        self._left = int(self._rng.integers(self._steps[0], self._steps[1] + 1))
        self._offset = far_m * np.array([np.cos(heading), np.sin(heading), 0.0])
        self._carries_air = False

    def _believed(self, truth: Truth) -> Truth:
        """The cube beside its place, or between fingers that closed on nothing."""
        cube = truth.cube.copy()
        cube[:3, 3] += self._offset
        closed = truth.jaw_rad < jaw_for(truth.cube_edge_m)
        there = np.linalg.norm(truth.centre_m - cube[:3, 3]) < HELD_M
        self._carries_air = closed and (there or self._carries_air)
        if self._carries_air:
            cube[:3, 3] = truth.centre_m
        return replace(truth, cube=cube)
