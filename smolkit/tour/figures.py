"""The tour's pictures: what was recorded, how it learned, where it worked and where not.

Each function takes plain arrays and returns a matplotlib figure; its title is the finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smolkit.plotting import JOINT_COLORS, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOOD, BAD, QUIET = "#0a7d5a", "#c2410c", "#94a3b8"


def coverage(demo_xy_m: np.ndarray, trial_xy_m: np.ndarray, success: np.ndarray) -> Figure:
    """Where the cube lay: demonstrations (N, 2), trials (M, 2) with success (M,) bool. Metres."""
    fig, ax = figure(width=5.6, height=4.6)
    ax.scatter(*demo_xy_m.T[::-1], s=14, color=QUIET, label=f"{len(demo_xy_m)} demonstrations")
    for verdict, color, marker, word in ((True, GOOD, "o", "worked"), (False, BAD, "X", "failed")):
        chosen = trial_xy_m[success == verdict]
        if len(chosen) == 0:
            continue
        ax.scatter(*chosen.T[::-1], s=46, color=color, marker=marker, edgecolor="white",
                   label=f"{len(chosen)} trials {word}")
    ax.invert_xaxis()                                     # y points left, as the arm sees it
    ax.set(xlabel="y, left of the arm (m)", ylabel="x, ahead of the arm (m)", aspect="equal",
           title=f"{success.sum()} of {len(success)} trials worked, wherever the cube lay" if success.all() else
                 f"{success.sum()} of {len(success)} trials worked; look where the others lay")
    ax.locator_params(axis="x", nbins=4)
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False)
    return fig


def loss_curve(step: np.ndarray, loss: np.ndarray) -> Figure:
    """Training loss over steps, raw and smoothed; log scale."""
    fig, ax = figure(width=7.0, height=2.8)
    window = max(1, len(loss) // 60)
    smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
    ax.plot(step, loss, color=QUIET, linewidth=0.6)
    ax.plot(step[window - 1:], smooth, color=JOINT_COLORS[0], linewidth=2)
    ax.set(xlabel="training step", ylabel="flow-matching loss", yscale="log",
           title=f"The loss went from {smooth[0]:.2f} to {smooth[-1]:.3f}: necessary, not sufficient")
    return fig


def success_bars(rows: list[dict]) -> Figure:
    """Success rates with Wilson intervals. Each row: name, success_rate, wilson_low, wilson_high, trials."""
    fig, ax = figure(width=7.0, height=0.9 + 0.5 * len(rows))
    places = np.arange(len(rows))[::-1]
    rates = np.array([row["success_rate"] for row in rows])
    ends = np.array([[row["success_rate"] - row["wilson_low"], row["wilson_high"] - row["success_rate"]]
                     for row in rows]).T.clip(0)          # (2, rows)
    ax.barh(places, rates, color=[GOOD] + [QUIET] * (len(rows) - 1), height=0.6)
    ax.errorbar(rates, places, xerr=ends, fmt="none", ecolor="#1e293b", capsize=3, linewidth=1.2)
    ax.set_yticks(places, [f"{row['name'].replace('_', ' ')} (n={row['trials']})" for row in rows])
    ax.set(xlim=(0, 1.02), xlabel="success rate, with 95 % interval",
           title=_verdict(rows))
    return fig


def _verdict(rows: list[dict]) -> str:
    best = max((row["success_rate"] for row in rows[1:]), default=0.0)
    if rows[0]["success_rate"] - best >= 0.3:
        return "What was learned is gone when any one part is missing"
    return f"A control reaches {best:.0%}: the trained policy is not much better"


def calibration_ranges(joints: list[dict]) -> Figure:
    """Each servo's swept range in ticks of 4096. Each joint: name, range_min, range_max."""
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
