"""Learning rate as a function of the step, and how many steps fit a time budget.

    >>> config = TrainConfig(steps=100, warmup_steps=10, decay_steps=None,
    ...                      learning_rate=1e-3, final_learning_rate=0.0)
    >>> [round(learning_rate(step, 100, config) * 1e3, 2) for step in (0, 10, 50, 100)]
    [0.09, 0.98, 0.5, 0.0]

The rate follows only the step and the planned number of steps, never the clock: so a resumed run repeats
an uninterrupted one to the last bit. The clock enters in one place, `steps_that_fit`, whose answer is
written into every checkpoint. Shape as in LeRobot's SmolVLA preset: the cosine counts from step 0 and ends
after `decay_steps`; a run that is shorter shortens cosine and warmup in proportion.
"""

from __future__ import annotations

import math

from smolkit.training.config import TrainConfig


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Linear warmup, then a cosine from `learning_rate` to `final_learning_rate`, which stays."""
    warmup, decay = phases(total_steps, config)
    if step < warmup:
        start = config.learning_rate / (warmup + 1)
        return start + (config.learning_rate - start) * step / warmup
    turn = math.cos(math.pi * min(step, decay) / decay)
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * (1 + turn) / 2


def phases(total_steps: int, config: TrainConfig) -> tuple[int, int]:
    """(steps of warmup, steps of the cosine, counted from 0) of a run of this length.

    >>> phases(20_000, TrainConfig()), phases(40_000, TrainConfig())
    ((666, 20000), (1000, 30000))

    Without `decay_steps` the cosine is as long as the run, and the warmup a tenth of it at most.
    """
    if config.decay_steps is None:
        return min(config.warmup_steps, max(1, total_steps // 10)) if config.warmup_steps else 0, total_steps
    if total_steps < config.decay_steps:
        return int(config.warmup_steps * (total_steps / config.decay_steps)), total_steps
    return config.warmup_steps, config.decay_steps


def steps_that_fit(done_steps: int, elapsed_s: float, step_s: float, planned_steps: int,
                   max_minutes: float | None) -> int:
    """The number of steps to plan for, so that the run ends inside its budget; never more than planned.

    >>> steps_that_fit(20, 10.0, 0.5, planned_steps=1000, max_minutes=1.0)    # 20 + 50 s / 0.5 s
    120
    >>> steps_that_fit(20, 10.0, 0.5, planned_steps=1000, max_minutes=None)
    1000
    """
    if max_minutes is None:
        return planned_steps
    left_s = max(0.0, 60 * max_minutes - elapsed_s)
    return max(done_steps + 1, min(planned_steps, done_steps + int(left_s / max(step_s, 1e-9))))
