"""Patients for lesson 05's hunt: the classroom policy with one silent fault, and its vital signs.

    patient = draw_patient(3)                  # a number draws the fault
    signs = vital_signs(patient.policy)        # {"moves (deg)": 41.2, ...}; compare with the healthy policy's

None of the faults raises an error: the policy loads, predicts, and looks well. They are planted in a copy in
memory, and the signs are taken on the recorded moments, so that they are the same in every lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from smolkit.evaluation.controls import dead_normaliser, untrained
from smolkit.lessons.lane import dataset
from smolkit.lessons.smolvla_desk import CLASSROOM, Moment, changes, recorded_moments

if TYPE_CHECKING:
    from smolkit.smolvla.policy import SmolVLAPolicy

DRAWS = 4
EFFECTS = ("one other word", "front covered", "wrist covered")
AHEAD = 8                                      # steps of a plan that are compared with the demonstrator's
SLIPPED_DEG = 17.0                             # a servo's horn, put on one tooth further: 360 / 21


@dataclass(frozen=True)
class Patient:
    """A policy, and what is wrong with it (`fault` is for the check: guess first)."""

    policy: SmolVLAPolicy
    fault: str


@lru_cache(maxsize=1)
def healthy() -> SmolVLAPolicy:
    """The shipped policy."""
    from smolkit.smolvla.checkpoint import load_checkpoint
    return load_checkpoint(CLASSROOM)


def draw_patient(number: int) -> Patient:
    """The same number, the same fault."""
    fault = list(FAULTS)[np.random.default_rng(number).integers(len(FAULTS))]
    return Patient(FAULTS[fault](healthy()), fault)


# -- the faults --------------------------------------------------------------------------------------------------


def slipped(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Statistics of another arm, whose shoulder_lift stands one tooth further on its shaft."""
    normalizer = policy.processors.normalizer
    stats = {name: dict(values) for name, values in normalizer.stats.items()}
    for name in ("action", "observation.state"):
        stats[name]["mean"] = stats[name]["mean"].clone()
        stats[name]["mean"][1] += SLIPPED_DEG
    return _around(policy, normalizer=replace(normalizer, stats=stats))


def exchanged(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Each camera's pictures go to the other one's eye."""
    one, other = policy.model.config.cameras
    return _around(policy, rename_map={one: other, other: one})


def deaf(policy: SmolVLAPolicy) -> SmolVLAPolicy:
    """Every word means the same: the mean of all."""
    sick = deepcopy(policy)
    words = sick.model.language.embed.weight
    words.data[:] = words.data.mean(dim=0)
    return sick


def blind(policy: SmolVLAPolicy, camera: int) -> SmolVLAPolicy:
    """One eye answers the same, whatever it is shown."""
    sick = deepcopy(policy)
    sick.model.vision.stems[camera].to_tokens.weight.data.zero_()
    return sick


def _around(policy: SmolVLAPolicy, **changed: object) -> SmolVLAPolicy:
    from smolkit.smolvla.policy import SmolVLAPolicy
    return SmolVLAPolicy(policy.model, replace(policy.processors, **changed), policy.fps)


FAULTS: dict[str, Callable[[SmolVLAPolicy], SmolVLAPolicy]] = {
    "lost statistics": dead_normaliser, "foreign statistics": slipped, "untrained": untrained, "deaf": deaf,
    "front blind": lambda policy: blind(policy, 0), "wrist blind": lambda policy: blind(policy, 1),
    "cameras exchanged": exchanged}
# The sign that gives each of them away.
SIGNS = {"lost statistics": "moves (deg)", "foreign statistics": "misses (deg)", "untrained": "noise (deg)",
         "deaf": "one other word", "front blind": "front covered", "wrist blind": "wrist covered",
         "cameras exchanged": "misses, exchanged (deg)"}


# -- the signs ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def vital_signs(policy: SmolVLAPolicy) -> Mapping[str, float]:
    """How far plans move the arm, differ by noise alone, miss the demonstrator; and three effect sizes."""
    from smolkit.smolvla.ablations import plans
    from smolkit.smolvla.probes import moved
    moments = recorded_moments(dataset("inside_smolvla"), policy.model.config.chunk_size)[:3]
    named = {"nothing": lambda seen: seen, **changes(policy, moments[0].observation)}
    asked = {name: [plans(policy, named[name](moment.observation), DRAWS) for moment in moments]
             for name in ("nothing", "cameras exchanged", *EFFECTS)}
    plans_deg = [policy.processors.after(plan).numpy() for plan in asked["nothing"]]         # each (draws, T, 6)
    turned_deg = [policy.processors.after(plan).numpy() for plan in asked["cameras exchanged"]]
    signs = {"moves (deg)": np.mean([np.ptp(plan.mean(0)[:, :5], axis=0).max() for plan in plans_deg]),
             "noise (deg)": np.mean([plan[..., :5].std(axis=0).mean() for plan in plans_deg]),
             "misses (deg)": _missed(plans_deg, moments),
             "misses, exchanged (deg)": _missed(turned_deg, moments),
             **{name: np.median([*map(moved, asked["nothing"], asked[name])]) for name in EFFECTS}}
    return {name: round(float(value), 2) for name, value in signs.items()}


def _missed(plans: list[np.ndarray], moments: tuple[Moment, ...]) -> float:
    """Mean distance of the body joints from what the demonstrator did, in deg."""
    apart = [plan.mean(0)[:AHEAD, :5] - moment.shown_deg[:AHEAD, :5]
             for plan, moment in zip(plans, moments, strict=True)]
    return float(np.mean([np.abs(one).mean() for one in apart]))


def sheet(well: Mapping[str, float], sick: Mapping[str, float]) -> str:
    """The two policies' signs as lines of text."""
    rows = [f"{name:24} {well[name]:8.2f} {sick[name]:8.2f}" for name in well]
    return "\n".join([f"{'':24} {'healthy':>8} {'patient':>8}", *rows])
