"""A look at the recording before anything learns from it: counts, ranges, frozen pictures, lag.

    result = inspect(Path("outputs/tour/dataset"), settings)
    result["checks"]["ok"]
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from smolkit.arm.joints import JOINT_NAMES, LOWER_DEG, UPPER_DEG
from smolkit.data.reader import Arrays, Dataset
from smolkit.report import Check, Report
from smolkit.tour.settings import TourSettings

SAME_PICTURE = 0.5                # mean difference of two pictures, of 255: below it nothing moved


def inspect(root: Path, settings: TourSettings) -> dict:
    """Checks a recording; the result holds the report and what the figures need."""
    with closing(Dataset(root)) as dataset:
        arrays = dataset.to_arrays()
    episodes = len(arrays.starts) - 1
    state, action = arrays.columns["observation.state"], arrays.columns["action"]        # (N, 6), (N, 6)
    report = Report("the recording", (
        _count(episodes, settings.demonstrations), _range(action), _moving(state), _pace(arrays),
        *(_alive(name, frames) for name, frames in arrays.frames.items())))
    return {"ok": report.ok, "checks": report.as_dict(), "episodes": episodes, "frames": len(state),
            "tasks": list(arrays.tasks)}


def _count(episodes: int, wanted: int) -> Check:
    return Check("SK420", "demonstrations", episodes == wanted, f"{wanted} episodes", f"{episodes} episodes",
                 "the recording was interrupted", "run the tour again: it goes on where it stopped")


def _range(action_deg: np.ndarray) -> Check:
    outside = ((action_deg < LOWER_DEG - 1) | (action_deg > UPPER_DEG + 1)).any(axis=1).mean()
    return Check("SK421", "actions within the joints' limits", bool(outside == 0), "0 % outside",
                 f"{outside:.0%} outside", "degrees and radians, or two calibrations, were mixed",
                 "look at the units in meta/smolkit.json")


def _moving(state_deg: np.ndarray) -> Check:
    still = [name for name, std in zip(JOINT_NAMES, state_deg.std(axis=0), strict=True) if std < 0.5]
    return Check("SK422", "every joint moves", not still, "a spread of 0.5 deg or more",
                 f"still: {', '.join(still)}" if still else "all move",
                 "a loose cable, or a task that does not need the joint", "look at the joint's trace")


def _pace(arrays: Arrays) -> Check:
    same_episode = np.diff(arrays.columns["episode_index"].ravel()) == 0
    period_s = np.diff(arrays.columns["captured_s"][:, 0])[same_episode]             # the joints' moments
    worst_ms = float(np.abs(period_s - np.median(period_s)).max() * 1000)
    return Check("SK423", "steady pace", worst_ms < 20, "periods within 20 ms of each other",
                 f"worst {worst_ms:.1f} ms off", "the loop was slower than its clock", "lower the rate")


def _alive(name: str, frames: np.ndarray) -> Check:
    change = np.abs(np.diff(frames[:200].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    frozen = float((change < SAME_PICTURE).mean())
    return Check("SK424", f"{name.rsplit('.', 1)[-1]} camera alive", bool(frozen < 0.5 and frames.std() > 5),
                 "pictures that change, and not black", f"{frozen:.0%} of pictures repeat the one before",
                 "a covered lens, or a driver that repeats its last frame", "look at the contact sheet")
