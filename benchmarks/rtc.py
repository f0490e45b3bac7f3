"""Real-time chunking: how much smoother is the seam between two chunks, and what does it cost?

    python -m benchmarks.rtc                                # the shipped classroom policy, ten scenes: two minutes
    python -m benchmarks.rtc --checkpoint FOLDER --scenes 3

A demonstrator works in a scene; the policy plans at one step and, four steps later, plans again, while the arm
goes on with the old chunk for three steps more. Compared on the same noise: no chunking, LeRobot's way (the
Jacobian counts as the identity) and the paper's (the product with the network's Jacobian).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from benchmarks.measured import Row, keep
from smolkit.cameras.camera import Observation
from smolkit.lessons.smolvla_desk import CLASSROOM, attempt
from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.rtc import JACOBIANS, RealTimeChunking

EXECUTED, DELAY, HORIZON = 4, 3, 10            # steps
FIRST_SCENE = 2_100_000                        # no policy learned from these
WAYS = ("none", *JACOBIANS)


@dataclass(frozen=True)
class Seam:
    """One way of carrying a chunk on, at one moment; body joints only."""

    jump_deg: float                # largest joint's step where the arm changes from the old chunk to the new
    apart_deg: float               # mean distance to the old chunk over the steps executed meanwhile
    off_deg: float                 # mean distance to what the demonstrator did, over the rest of the new chunk
    took_ms: float


def seams(policy: SmolVLAPolicy, moments: Sequence[tuple[Observation, Observation, np.ndarray]],
          seed: int, schedule: str) -> dict[str, list[Seam]]:
    """Every way, at every moment: (when the old chunk was planned, now, what the demonstrator did from now on)."""
    found: dict[str, list[Seam]] = {way: [] for way in WAYS}
    for before, now, shown_deg in moments:
        policy.reset(seed)
        rest = policy.rest_of(policy.predict(before), EXECUTED)
        old_deg = policy.processors.after(rest).numpy()[:, :5]                               # (T - 4, 5)
        for way in WAYS:
            rtc = None if way == "none" else RealTimeChunking(rest, DELAY, HORIZON, schedule, jacobian=way)
            policy.reset(seed + 1)
            began = time.perf_counter()
            new_deg = policy.predict(now, rtc).actions_deg[:, :5]                            # (T, 5)
            took_ms = 1000 * (time.perf_counter() - began)
            found[way].append(_seam(old_deg, new_deg, shown_deg[:, :5], took_ms))
    return found


def _seam(old_deg: np.ndarray, new_deg: np.ndarray, shown_deg: np.ndarray, took_ms: float) -> Seam:
    later = slice(DELAY, min(len(shown_deg), len(new_deg)))
    return Seam(float(np.abs(new_deg[DELAY] - old_deg[DELAY - 1]).max()),
                float(np.abs(new_deg[:DELAY] - old_deg[:DELAY]).mean()),
                float(np.abs(new_deg[later] - shown_deg[later]).mean()), took_ms)


def moments_of(scene: int) -> list[tuple[Observation, Observation, np.ndarray]]:
    """Pairs of looks, four steps apart, and what the demonstrator did from the second on."""
    steps, _ = attempt(scene)
    actions_deg = np.array([step.action_deg for step in steps])
    return [(steps[at].observation, steps[at + EXECUTED].observation, actions_deg[at + EXECUTED:])
            for at in range(0, len(steps) - EXECUTED - DELAY - 1, 3)]


def rows_of(found: dict[str, list[Seam]], schedule: str) -> list[Row]:
    """Prints the table and returns its numbers: medians over moments, the jump's 90th percentile too."""
    print(f"{schedule:8} {'jump':>8} {'p90':>8} {'old chunk':>10} {'demonstrator':>13} {'a chunk':>9}")
    rows = []
    for way, several in found.items():
        jump, apart, off, took = (np.array([getattr(seam, field.name) for seam in several]) for field in fields(Seam))
        numbers = {"jump where the chunks meet, median": np.median(jump),
                   "jump where the chunks meet, p90": np.quantile(jump, 0.9),
                   "distance to the old chunk": np.median(apart),
                   "distance to the demonstrator": np.median(off), "a chunk": np.median(took)}
        print("{:8} {:6.2f} ° {:6.1f} ° {:8.2f} ° {:11.2f} ° {:6.1f} ms".format(way, *numbers.values()),
              flush=True)
        rows += [Row(f"{way} ({schedule}): {name}", float(value), "ms" if name == "a chunk" else "deg", len(several))
                 for name, value in numbers.items()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=CLASSROOM)
    parser.add_argument("--scenes", type=int, default=10)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    policy = load_checkpoint(wanted.checkpoint)
    moments = [moment for scene in range(wanted.scenes) for moment in moments_of(FIRST_SCENE + scene)]
    keep("rtc", [row for schedule in ("LINEAR", "EXP")
                 for row in rows_of(seams(policy, moments, 0, schedule), schedule)])


if __name__ == "__main__":
    main()
