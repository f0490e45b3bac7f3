"""A finished stage as a figure: what the report and the notebook show; each title is the finding.

    from smolkit.tour import gallery
    gallery.learning(tour)              # the loss curve of the tour's training
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.data.figures import contact_sheet
from smolkit.data.reader import Dataset
from smolkit.plotting import JOINT_COLORS, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from smolkit.tour.run import Tour

GOOD, BAD, QUIET = "#0a7d5a", "#c2410c", "#94a3b8"


def calibration(tour: Tour) -> Figure:
    """Each servo's swept range in ticks of 4096."""
    joints = tour.journal.result("calibrate")["joints"]
    fig, ax = figure(width=7.0, height=2.6)
    for row, (joint, color) in enumerate(zip(joints, JOINT_COLORS, strict=True)):
        ax.barh(-row, joint["range_max"] - joint["range_min"], left=joint["range_min"], height=0.62,
                **({"color": "none", "edgecolor": color, "hatch": "///"} if _given(joint) else {"color": color}))
    ax.axvline(2047, color="#1e293b", linewidth=1)
    ax.set_yticks(range(0, -len(joints), -1), [joint["name"] for joint in joints])
    ax.set(xlim=(0, 4095), xlabel="encoder ticks (one turn = 4096); line: the middle pose; hatched: given, not swept",
           title=_seam_verdict(joints))
    return fig


def _given(joint: dict) -> bool:
    """LeRobot gives wrist_roll the whole turn, because it turns too far for a sweep."""
    return joint["name"] == "wrist_roll"


def _seam_verdict(joints: list[dict], clear_ticks: int = 100) -> str:
    near = [joint["name"] for joint in joints if not _given(joint)
            and (joint["range_min"] < clear_ticks or joint["range_max"] > 4095 - clear_ticks)]
    if near:
        return f"Too near the seam at 0/4095: {', '.join(near)}"
    return "All swept ranges lie clear of the seam at 0/4095"


def first_pictures(tour: Tour, most: int = 12) -> Figure:
    """The first front-camera picture of up to `most` episodes, spread over the recording."""
    with closing(Dataset(tour.dataset_dir)) as dataset:
        starts = np.asarray(dataset.starts[:-1])
        chosen = starts[np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int)]
        return contact_sheet(list(dataset.frames("observation.images.front", chosen)))


def strip(tour: Tour, episode: int = 0, most: int = 6) -> Figure:
    """One episode as a row of moments: front camera above, wrist camera below."""
    with closing(Dataset(tour.dataset_dir)) as dataset:
        rows = dataset.positions(episode)
        chosen = np.linspace(rows.start, rows.stop - 1, most).astype(int)
        pictures = [*dataset.frames("observation.images.front", chosen),
                    *dataset.frames("observation.images.wrist", chosen)]
        return contact_sheet(pictures, columns=most)


def traces(tour: Tour, episode: int = 0) -> Figure:
    """Six joints of one episode: measured (solid), and what to do next (dotted)."""
    with closing(Dataset(tour.dataset_dir)) as dataset:
        rows = dataset.episode(episode)
    state_deg, action_deg = rows["observation.state"], rows["action"]                        # (N, 6), (N, 6)
    time_s = np.arange(len(action_deg)) / dataset.fps
    fig, ax = figure(width=7.0, height=3.2)
    for joint, (name, color) in enumerate(zip(JOINT_NAMES, JOINT_COLORS, strict=True)):
        ax.plot(time_s, state_deg[:, joint], color=color, label=name)
        ax.plot(time_s, action_deg[:, joint], color=color, linestyle=":", linewidth=1)
    ahead = np.abs(action_deg - state_deg)[:, :5].mean()
    ax.set(xlabel="time (s)", ylabel="position (deg; gripper %)",
           title=f"What it should do next lies {ahead:.1f} deg ahead of where it is, on average")
    ax.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    return fig


def learning(tour: Tour) -> Figure:
    """Training loss over steps, raw and smoothed; log scale."""
    curve = np.genfromtxt(tour.folder / tour.journal.result("train")["curve"], delimiter=",", names=True)
    step, loss = np.atleast_1d(curve["step"]), np.atleast_1d(curve["loss"])
    fig, ax = figure(width=7.0, height=2.8)
    window = max(1, len(loss) // 60)
    smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
    ax.plot(step, loss, color=QUIET, linewidth=0.6)
    ax.plot(step[window - 1:], smooth, color=JOINT_COLORS[0], linewidth=2)
    ax.set(xlabel="training step", ylabel="flow-matching loss", yscale="log",
           title=f"The loss went from {smooth[0]:.2f} to {smooth[-1]:.3f}: necessary, not sufficient")
    return fig


def coverage(tour: Tour) -> Figure:
    """Where the cube lay, in demonstrations and in trials that worked or failed."""
    trials = tour.trials()
    demo_xy_m = np.array([trial.cube_xy_m for trial in tour.attempts() if trial.success])       # (N, 2)
    trial_xy_m, success = np.array([trial.cube_xy_m for trial in trials]), np.array([trial.success for trial in trials])
    fig, ax = figure(width=5.6, height=4.6)
    ax.scatter(*demo_xy_m.T[::-1], s=14, color=QUIET, label=f"{len(demo_xy_m)} demonstrations")
    for verdict, color, marker, word in ((True, GOOD, "o", "worked"), (False, BAD, "X", "failed")):
        if (chosen := trial_xy_m[success == verdict]).size:
            ax.scatter(*chosen.T[::-1], s=46, color=color, marker=marker, edgecolor="white",
                       label=f"{len(chosen)} trials {word}")
    ax.invert_xaxis()                                     # y points left, as the arm sees it
    ax.set(xlabel="y, left of the arm (m)", ylabel="x, ahead of the arm (m)", aspect="equal",
           title=f"{success.sum()} of {len(success)} trials worked, wherever the cube lay" if success.all() else
                 f"{success.sum()} of {len(success)} trials worked; look where the others lay")
    ax.locator_params(axis="x", nbins=4)
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False)
    return fig


def controls(tour: Tour) -> Figure:
    """Success of the policy and of its controls, with Wilson intervals."""
    rows = rates(tour)
    fig, ax = figure(width=7.0, height=0.9 + 0.5 * len(rows))
    places = np.arange(len(rows))[::-1]
    rate, low, high = np.array([[row[key] for key in ("success_rate", "wilson_low", "wilson_high")] for row in rows]).T
    ends = np.clip([rate - low, high - rate], 0, None)
    ax.barh(places, rate, color=[GOOD] + [QUIET] * (len(rows) - 1), height=0.6)
    ax.errorbar(rate, places, xerr=ends, fmt="none", ecolor="#1e293b", capsize=3, linewidth=1.2)
    ax.set_yticks(places, [f"{row['name'].replace('_', ' ')} (n={row['trials']})" for row in rows])
    ax.set(xlim=(0, 1.02), xlabel="success rate, with 95 % interval", title=_verdict(rows))
    return fig


def _verdict(rows: list[dict]) -> str:
    best = max((row["success_rate"] for row in rows[1:]), default=0.0)
    if rows[0]["success_rate"] - best >= 0.3:
        return "What was learned is gone when any one part is missing"
    return f"A control reaches {best:.0%}: the trained policy is not much better"


def rates(tour: Tour) -> list[dict]:
    """The policy's summary and its controls', each with its name."""
    rows = tour.journal.result("controls")["rows"]
    return [{"name": "trained policy", **tour.journal.result("evaluate")},
            *({"name": name, **row} for name, row in rows.items())]
