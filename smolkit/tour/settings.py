"""How big a tour is: how many demonstrations, trials and training steps.

    >>> TourSettings().trials >= 50
    True
    >>> quick().demonstrations < TourSettings().demonstrations
    True
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from smolkit.machine import free_cores


@dataclass(frozen=True)
class TourSettings:
    """The full tour; every number is kept in the run's journal and shown in its report."""

    task: str = "tour"
    profile: str = "standard"              # limits for demonstrations and policy alike
    image_px: int = 64                     # square pictures for policy and dataset
    demonstrations: int = 200
    trials: int = 50                       # unseen scenes for the trained policy
    control_trials: int = 20               # the first of the same scenes, for each control
    execute: int = 4                       # steps of each chunk before looking again
    trial_seconds: float = 14.0            # a demonstration takes about 4
    wall_clock: bool = False               # the policy's trials as on the desk: guardian and servos are processes
    workers: int = field(default_factory=lambda: min(free_cores(), 8))    # processes that record and evaluate
    train_steps: int | None = None         # None: the recipe's own number
    first_demo_seed: int = 0
    first_trial_seed: int = 100_000        # far from every training seed
    min_success: float = 0.8               # below this the tour says that it failed
    min_gap: float = 0.3                   # by how much every control must do worse

    def folder(self, outputs: Path) -> Path:
        """Where such a tour keeps its things; SMOLKIT_OUTPUTS names another folder than `outputs`."""
        root = Path(os.environ.get("SMOLKIT_OUTPUTS", outputs))
        return root / ("tour" if self.train_steps is None else "tour-quick")

    @staticmethod
    def from_environment() -> TourSettings:
        """The full tour, or the quick one where SMOLKIT_QUICK is set, as tests do."""
        return quick() if os.environ.get("SMOLKIT_QUICK") else TourSettings()


def quick() -> TourSettings:
    """A tour that only proves that every stage runs: minutes of learning are cut to seconds."""
    return TourSettings(demonstrations=4, trials=2, control_trials=1, train_steps=20,
                        trial_seconds=3.0, min_success=0.0, min_gap=-1.0)
