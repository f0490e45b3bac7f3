"""Solutions of `notebooks/05_inside_smolvla.ipynb`. For teachers; a test runs them against the checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.lessons.smolvla_desk import Desk, changes
from smolkit.lessons.smolvla_hunt import EFFECTS, SIGNS, Patient, healthy, vital_signs
from smolkit.smolvla.ablations import ablate
from smolkit.smolvla.inside import token_budget

# 5.3: any honest guess passes.
prediction = {"one other word": 2, "no words": 2, "front covered": 3, "wrist covered": 1, "cameras exchanged": 4,
              "joints unknown": 2}
# 5.4 for the case that the lesson comes with. `diagnose` solves any case.
diagnosis = {"fault": "wrist blind", "evidence": 0.0}


def sees(real: list[bool], begins: list[bool]) -> list[list[bool]]:
    """5.1: count the stages, then compare."""
    stage = list(accumulate(map(int, begins)))
    return [[real[i] and real[j] and stage[j] <= stage[i] for j in range(len(real))] for i in range(len(real))]


def walk(noise: np.ndarray, steps: int, velocity: Callable) -> np.ndarray:
    """5.2: as `smolkit.smolvla.flow.euler`."""
    x = noise
    for step in range(steps):
        x = x - velocity(x, 1 - step / steps) / steps
    return x


def diagnose(patient: Patient) -> dict[str, Any]:
    """5.4: the first fault, from the gross to the fine, whose sign is far from a healthy policy's."""
    sick, well = vital_signs(patient.policy), vital_signs(healthy())
    dullest = min(EFFECTS, key=lambda name: sick[name] / well[name])
    if sick["noise (deg)"] > 3 * well["noise (deg)"]:
        fault = "untrained"
    elif sick["moves (deg)"] < 0.3 * well["moves (deg)"]:
        fault = "lost statistics"
    elif sick["misses, exchanged (deg)"] < sick["misses (deg)"] - 1:
        fault = "cameras exchanged"
    elif sick[dullest] < 0.2 * well[dullest]:
        fault = next(name for name, sign in SIGNS.items() if sign == dullest)
    else:
        fault = "foreign statistics"
    return {"fault": fault, "evidence": sick[SIGNS[fault]]}


def make_passport(desk: Desk, folder: Path) -> Path:
    """5.5: counted, measured, written."""
    config, seen = desk.policy.model.config, desk.observations[0]
    effect, = ablate(desk.policy, desk.observations[:3],
                     {"one other word": changes(desk.policy, seen)["one other word"]})
    passport = {"parameters": sum(weight.numel() for weight in desk.policy.model.parameters()),
                "prefix_tokens": sum(part.real for part in token_budget(desk.policy, seen)),
                "chunk_steps": config.chunk_size, "euler_steps": config.num_steps,
                "word_effect": round(effect.size, 2)}
    path = folder / "passport.json"
    path.write_text(json.dumps(passport, indent=2), encoding="utf-8")
    return path
