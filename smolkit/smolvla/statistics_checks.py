"""Is the normaliser alive, and does it belong to this arm? What a checkpoint's statistics tell.

    >>> alive = {name: {"mean": torch.full((6,), 8.0), "std": torch.full((6,), 20.0)} for name in FEATURES}
    >>> check_alive(alive, MODES).ok, check_one_robot(alive).ok
    (True, True)
    >>> radians = {name: {key: value.deg2rad() for key, value in one.items()} for name, one in alive.items()}
    >>> check_units(radians).found
    'statistics in rad'

A dead normaliser crashes nothing: the arm moves a degree where it should move fifty. Nor does a foreign one: every
pose is wrong, and nothing says so. Both leave traces in a dozen numbers.

Without a dataset it can be told whether states and actions were recorded together (a follower stands where it was
sent, so their means and spreads agree: within 0.4 spreads and a factor of 1.5 in all recordings we have) and
whether an SO-101 could have made them. Two consistent tables of another SO-101 cannot be told apart without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from smolkit.arm.joints import JOINT_NAMES, LOWER_DEG, UPPER_DEG
from smolkit.arm.units import spoken
from smolkit.report import Check
from smolkit.smolvla.processor_files import Pipeline
from smolkit.smolvla.processors import NEEDED, Stats

FEATURES = {"observation.state": "STATE", "action": "ACTION"}
MODES = {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
STEPS_BEFORE = ("smolvla_new_line_processor", "tokenizer_processor", "normalizer_processor")     # without which
STEPS_AFTER = ("unnormalizer_processor",)               # LeRobot does something else, or nothing
MOST_EPS = 1e-4                    # of the joints' median spread: more bends what goes in
LEAST_STD = 2.5e-3                 # of the joints' median, 0.05 deg of 20: a joint that never moved
APART, TIMES = 1.0, 2.5            # state against action: shift in spreads, ratio of spreads
MARGIN = 0.25                      # of a joint's range: calibrations differ by so much, at most
FAR, MUCH = 1.0, 2.0               # checkpoint against dataset, likewise
RETRAIN = "use statistics and recordings of the same arm; train again where in doubt"


def check_alive(stats: Stats, modes: Mapping[str, str]) -> Check:
    """Do states and actions come in as about one, and go out in the robot's units?"""
    flaws = [flaw for name, kind in FEATURES.items() for flaw in _dead(name, stats.get(name, {}), modes.get(kind, ""))]
    spans = [f"{name} {_spans(stats[name])}" for name in FEATURES if not flaws]
    return Check("SK574", "normaliser alive", not flaws,
                 "finite statistics of state and action that are not 0 and 1, and a spread for every joint",
                 "; ".join(flaws or spans),
                 "the statistics were lost on the way (LeRobot then passes states and actions on as they are, in "
                 "silence), or a joint never moved in the data",
                 "load_checkpoint(FOLDER, stats=...) with the training data's, then save_checkpoint")


def check_units(stats: Stats) -> Check:
    """SK703: degrees? From the least and the largest values, or what mean and spread make likely."""
    low, high = _ends(stats.get("action", {}))
    units = spoken(low[:5], high[:5]) if len(low) == len(JOINT_NAMES) else ""
    return Check("SK703", "units of the joints", units not in ("rad", "percent"),
                 "a policy that learned body joints in degrees", f"statistics in {units}" if units else
                 "nothing that speaks against degrees",
                 "its dataset was recorded in LeRobot's default units, -100..100 of each range"
                 if units == "percent" else "its dataset was recorded by another program",
                 "train on a dataset in degrees: record it with smolkit, or in LeRobot with use_degrees=true")


def check_one_robot(stats: Stats) -> Check:
    """Were states and actions recorded together, on an arm that can stand so?"""
    state, action = (stats.get(name, {}) for name in FEATURES)
    flaws = [*_beside_themselves(stats), *_apart(state, action), *_impossible(state)]
    return Check("SK575", "statistics of one robot", not flaws,
                 "states and actions of one arm: means and spreads that agree, within the joints' range",
                 "; ".join(flaws[:3]) if flaws else "state and action agree",
                 "a statistics file of another robot or dataset lies in the folder", RETRAIN)


def check_dataset(stats: Stats, dataset: Mapping[str, Mapping[str, np.ndarray]]) -> Check:
    """Are the checkpoint's statistics those of this dataset, or at least near them?"""
    flaws, farthest = [], 0.0
    for name in FEATURES:
        ours, theirs = stats.get(name, {}), dataset.get(name, {})
        if not {"mean", "std"} <= ours.keys() & theirs.keys():
            continue
        (mean, std), (wanted, spread) = (_pair(one) for one in (ours, theirs))
        if mean.shape != wanted.shape:
            flaws.append(f"{name} of {len(mean)} numbers, the dataset's has {len(wanted)}")
            continue
        shift, ratio = _compared(mean, std, wanted, spread)
        farthest = max(farthest, float(shift.max()))
        flaws += [f"{name} {joint}: {mean[j]:.1f} ± {std[j]:.1f}, in the dataset {wanted[j]:.1f} ± {spread[j]:.1f}"
                  for j, joint in enumerate(_names(len(mean))) if shift[j] > FAR or ratio[j] > MUCH]
    return Check("SK576", "statistics of this dataset", not flaws,
                 f"means within {FAR:g} spread of the dataset's, spreads within a factor of {MUCH:g}",
                 "; ".join(flaws[:3]) if flaws else f"means at most {farthest:.2f} spreads apart",
                 "the policy was trained on another robot, in other units or with another calibration", RETRAIN)


def check_files(before: Pipeline | None, after: Pipeline | None) -> Check:
    """Do both pipelines of a checkpoint do the same to actions, with the steps that SmolVLA needs?

    Old checkpoints have neither file, which is fine.
    """
    wanted = [("preprocessor", before, STEPS_BEFORE, FEATURES), ("postprocessor", after, STEPS_AFTER, ("action",))]
    flaws = [f"the {name} {flaw}" for name, pipeline, steps, features in wanted
             for flaw in _lacking(pipeline, steps, features)] if before or after else []
    if before and after and not flaws:
        flaws = _different(before, after)
    return Check("SK575", "statistics agree before and after", not flaws,
                 "all steps, and the same action statistics, mode and eps, in the pre- and the postprocessor",
                 "; ".join(flaws[:3]) if flaws else "the same" if before else "none: the weights' own are used",
                 "one of the two files was copied from another checkpoint, or edited: LeRobot then passes states, "
                 "actions or words on as they are, in silence", "copy the whole checkpoint folder again")


def _lacking(pipeline: Pipeline | None, steps: Iterable[str], features: Iterable[str]) -> list[str]:
    """What one pipeline lacks: steps, modes, statistics, or an eps far below the spreads."""
    if pipeline is None:
        return ["has no file"]
    flaws = [f"has no {step}" for step in steps if step not in pipeline.steps]
    for name in features if not flaws else ():
        mode, stats = pipeline.modes.get(FEATURES[name], ""), pipeline.stats.get(name, {})
        missing = [key for key in NEEDED.get(mode, ()) if key not in stats]
        if mode not in NEEDED or missing:
            flaws.append(f"has no {', '.join(missing) or 'mode'} for {name}")
        elif mode != "IDENTITY" and not 0 <= pipeline.eps <= MOST_EPS * float(_width(stats, mode).abs().median()):
            flaws.append(f"has an eps of {pipeline.eps:g}, beside which the spreads of {name} vanish")
    return flaws


def _different(before: Pipeline, after: Pipeline) -> list[str]:
    """Where two pipelines that are whole treat actions differently."""
    flaws = [f"{what}: {ours} before, {theirs} after" for what, ours, theirs in (
        ("mode of action", before.modes["ACTION"], after.modes["ACTION"]), ("eps", before.eps, after.eps))
        if ours != theirs]
    ours, theirs = before.stats.get("action", {}), after.stats.get("action", {})
    differ = [key for key in ours.keys() & theirs.keys() if ours[key].shape != theirs[key].shape
              or not torch.allclose(ours[key].float(), theirs[key].float(), rtol=1e-3, atol=1e-3)]
    return [*flaws, *(f"different {key}" for key in sorted(differ))]


def _width(stats: Mapping[str, Tensor], mode: str) -> Tensor:
    """(n,) each joint's spread, or half of its range, as the mode has it."""
    first, last = (stats[key].double().flatten() for key in NEEDED[mode])
    return last if mode == "MEAN_STD" else (last - first) / 2


def _dead(name: str, stats: Mapping[str, Tensor], mode: str) -> list[str]:
    """What is wrong with one feature's statistics."""
    if mode == "IDENTITY" or mode not in NEEDED:
        return [f"{name} is passed on as it is (mode {mode or 'none'})"]
    missing = [key for key in NEEDED[mode] if key not in stats]
    if missing:
        return [f"{name} has no {', '.join(missing)}"]
    values, width = [stats[key].double().flatten() for key in NEEDED[mode]], _width(stats, mode)
    if not all(torch.isfinite(value).all() for value in values):
        return [f"{name} has statistics that are no numbers"]
    centre = values[0] if mode == "MEAN_STD" else (values[0] + values[1]) / 2
    if bool((centre == 0).all() and (width == 1).all()):
        return [f"{name} has mean 0 and std 1: it changes nothing"]
    still = (width <= LEAST_STD * width.median()) | (width <= 0)
    return [f"{name}: {_names(len(width))[j]} has a spread of {width[j]:.3g}" for j in torch.nonzero(still).flatten()]


def _beside_themselves(stats: Stats) -> list[str]:
    """Statistics that cannot be of one set of numbers: a mean outside of least and largest, too wide a spread."""
    flaws = []
    for name in FEATURES:
        found = stats.get(name, {})
        if not {"mean", "std", "min", "max"} <= found.keys():
            continue
        mean, std, low, high = (found[key].double().flatten() for key in ("mean", "std", "min", "max"))
        room = 0.01 * (high - low).abs() + 1e-3
        odd = (mean < low - room) | (mean > high + room) | (std > (high - low) / 2 + room)
        flaws += [f"{name} {_names(len(mean))[j]}: mean {mean[j]:.1f} and std {std[j]:.1f} do not fit {low[j]:.1f} to "
                  f"{high[j]:.1f}" for j in torch.nonzero(odd).flatten()]
    return flaws


def _apart(state: Mapping[str, Tensor], action: Mapping[str, Tensor]) -> list[str]:
    """Joints whose states and actions were not recorded together."""
    if not {"mean", "std"} <= state.keys() & action.keys():
        return []
    (mean, std), (wanted, spread) = _pair(state), _pair(action)
    if mean.shape != wanted.shape:                     # a robot whose state holds more than its joints
        return []
    shift, ratio = _compared(mean, std, wanted, spread)
    return [f"{joint}: state {mean[j]:.1f} ± {std[j]:.1f}, action {wanted[j]:.1f} ± {spread[j]:.1f}"
            for j, joint in enumerate(_names(len(mean))) if shift[j] > APART or ratio[j] > TIMES]


def _impossible(state: Mapping[str, Tensor]) -> list[str]:
    """Joints of an SO-101 whose mean lies where the joint cannot stand."""
    if "mean" not in state or len(state["mean"]) != len(JOINT_NAMES):
        return []
    mean, room = state["mean"].numpy(), MARGIN * (UPPER_DEG - LOWER_DEG)
    return [f"{joint}: mean {mean[j]:.0f}, an SO-101's goes from {LOWER_DEG[j]:.0f} to {UPPER_DEG[j]:.0f}"
            for j, joint in enumerate(JOINT_NAMES) if not LOWER_DEG[j] - room[j] <= mean[j] <= UPPER_DEG[j] + room[j]]


def _compared(mean: np.ndarray, std: np.ndarray, wanted: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, ...]:
    """How far two joints' means lie apart, in the larger spread, and the ratio of the spreads, at least 1."""
    wide, narrow = np.maximum(std, spread), np.maximum(np.minimum(std, spread), 1e-9)
    return np.abs(mean - wanted) / np.maximum(wide, 1e-9), wide / narrow


def _ends(stats: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) least and largest value: as recorded, or two spreads from the mean."""
    if {"min", "max"} <= stats.keys():
        return tuple(np.asarray(stats[key], float).reshape(-1) for key in ("min", "max"))
    if {"mean", "std"} <= stats.keys():
        mean, std = _pair(stats)
        return mean - 2 * std, mean + 2 * std
    return np.zeros(0), np.zeros(0)


def _pair(stats: Mapping[str, Tensor | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.asarray(stats[key], float).reshape(-1) for key in ("mean", "std"))


def _spans(stats: Mapping[str, Tensor]) -> str:
    low, high = _ends(stats)
    return f"{low.min():.0f} to {high.max():.0f}" if len(low) else "as given"


def _names(count: int) -> tuple[str, ...]:
    return JOINT_NAMES if count == len(JOINT_NAMES) else tuple(f"number {j}" for j in range(count))
