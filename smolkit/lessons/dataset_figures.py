"""The pictures of lesson 04: the way of one frame, two units, rests at both ends, what a sentence decides, spreads.

Each function takes what the desk gives and returns a matplotlib figure; its title is the finding.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.calibration import LEROBOT_TURN, Calibration
from smolkit.arm.joints import JOINT_NAMES
from smolkit.data.checks.motion import STILL_DEG_S
from smolkit.data.reader import Dataset
from smolkit.lessons.dataset_exercises import kept
from smolkit.plotting import JOINT_COLORS, figure, finding, picture
from smolkit.safety.limits import JOINT_DEG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LIT = "#1e293b", "#94a3b8", "#D55E00"


def anatomy(root: Path, index: int) -> Figure:
    """The way of one frame: its row, the episode that it belongs to, and its place in the camera's film."""
    with closing(Dataset(root)) as dataset:
        key = dataset.camera_keys[0]
        episode = next(e for e in dataset.episodes if e.from_index <= index < e.to_index)
        frame, span, own = index - episode.from_index, episode.videos[key], episode.index
        around = [row for row in range(index - 3, index + 4) if 0 <= row < len(dataset)]
        pictures = dataset.frames(key, around)
        rows = [dataset.columns["observation.state"][row][:2] for row in around]
        spans = {row: next(e for e in dataset.episodes if e.from_index <= row < e.to_index) for row in around}
        table = [(e.index, e.from_index, e.to_index, e.videos[key].from_s) for e in dataset.episodes
                 if abs(e.index - own) <= 1]
    fig, axes = figure(height=4.3, rows=2, columns=2, height_ratios=(1.35, 1))
    lines = [(f"{row:5} {spans[row].index:7} {row - spans[row].from_index:5}   {pan:6.1f} {lift:6.1f} ...",
              row == index) for row, (pan, lift) in zip(around, rows, strict=True)]
    _table(axes[0, 0], "data/: a row for every moment", "index episode frame      pan   lift", lines)
    _table(axes[0, 1], "meta/episodes/: a row for every episode", "episode  rows          the film begins at",
           [(f"{e:7}  {begin:4} to {end:4}  {from_s:6.1f} s", e == own) for e, begin, end, from_s in table])
    for ax in axes[1]:
        ax.remove()
    strip = fig.add_subplot(axes[1, 0].get_gridspec()[1, :])
    _film(strip, pictures, [spans[row].videos[key].from_s + (row - spans[row].from_index) / dataset.fps
                            for row in around], around.index(index), key)
    return finding(fig, f"Row {index} is frame {frame} of episode {own}: its picture lies at {span.from_s:.1f} + "
                        f"{frame / dataset.fps:.1f} s of the film")


def _table(ax: Axes, title: str, head: str, lines: list[tuple[str, bool]]) -> None:
    """A few lines of a table in small type; one is lit."""
    ax.axis("off")
    ax.set_title(title, fontsize=9, loc="left")
    for place, (words, lit) in enumerate([(head, False), *lines]):
        ax.text(0, 0.95 - place / 8, words, family="monospace", fontsize=7.5, va="top", transform=ax.transAxes,
                color=LIT if lit else INK if place else QUIET, weight="bold" if lit else "normal")


def _film(ax: Axes, pictures: np.ndarray, times_s: list[float], lit: int, key: str) -> None:
    """Neighbours in one mp4, a frame around one of them."""
    from matplotlib.patches import Rectangle
    height, width = pictures.shape[1:3]
    picture(ax, np.hstack(pictures), f"videos/{key}/: one film of many episodes, seconds below")
    ax.add_patch(Rectangle((lit * width, 0), width - 1, height - 1, fill=False, edgecolor=LIT, linewidth=3))
    ax.set(xticks=[(place + 0.5) * width for place in range(len(times_s))],
           xticklabels=[f"{time_s:.1f} s" for time_s in times_s])
    ax.tick_params(length=0, labelsize=8)


def units_per_deg(calibration: Calibration) -> np.ndarray:
    """How many of LeRobot's units, -100..100 from stop to stop, a degree is: (5,), one for each body joint."""
    return 200 / ((calibration.range_max - calibration.range_min)[:5] * 360 / LEROBOT_TURN)


def units(calibration: Calibration) -> Figure:
    """What 10 degrees are in LeRobot's other unit, joint by joint: too alike to notice."""
    per_10_deg = 10 * units_per_deg(calibration)
    fig, ax = figure(height=2.3)
    ax.barh(JOINT_NAMES[:5], per_10_deg, color=JOINT_COLORS[:5])
    ax.axvline(10, color=INK, linestyle="--", linewidth=1)
    for row, units_ in enumerate(per_10_deg):
        ax.text(units_ + 0.1, row, f"{units_:.1f}", va="center", fontsize=8)
    ax.set(xlabel="10 degrees, written in the unit -100..100", xlim=(0, 12.5))
    ax.invert_yaxis()
    return finding(fig, f"Four joints differ by {np.abs(per_10_deg[:4] / 10 - 1).max():.0%} at most: nobody sees that "
                        "in a plot")


def rests(state_deg: np.ndarray, fps: float) -> Figure:
    """How fast the fastest joint goes, row by row; what lies before the first and after the last move is shaded."""
    speed_deg_s = np.abs(np.diff(state_deg * JOINT_DEG, axis=0)).max(axis=1) * fps
    begin, end = kept(state_deg, fps)
    fig, ax = figure(height=2.4)
    ax.plot(np.arange(len(speed_deg_s)) / fps, speed_deg_s, color=INK)
    ax.axhline(STILL_DEG_S, color=LIT, linewidth=1, linestyle="--")
    for left, right in ((0, begin), (end - 1, len(speed_deg_s))):
        ax.axvspan(left / fps, right / fps, color="#e2e8f0", linewidth=0)
    ax.set(xlabel="time (s)", ylabel="fastest joint (deg/s)", xlim=(0, len(speed_deg_s) / fps), ylim=(0, None))
    after_s = (len(state_deg) - end) / fps
    return finding(fig, f"{begin / fps:.1f} s of rest before the first move, {after_s:.1f} s after the last")


def sentences(root: Path, one: int, other: int) -> Figure:
    """Two episodes that begin alike: the first picture of each, and where the base turns."""
    with closing(Dataset(root)) as dataset:
        episodes = {k: dataset.episode(k) for k in (one, other)}
        key, fps = dataset.camera_keys[0], dataset.fps
        first = {k: dataset.frames(key, [dataset.positions(k)[0]])[0] for k in episodes}
    fig, (left, middle, right) = figure(height=2.5, columns=3, width_ratios=(1, 1, 1.9))
    for ax, k, color in ((left, one, JOINT_COLORS[1]), (middle, other, JOINT_COLORS[2])):
        task = episodes[k]["task"][0]
        picture(ax, first[k], f"episode {k}")
        pan_deg = episodes[k]["action"][:, 0]
        right.plot(np.arange(len(pan_deg)) / fps, pan_deg, color=color, label=task)
    right.set(xlabel="time (s)", ylabel="shoulder_pan (deg)")
    right.legend(loc="best", fontsize=7)
    apart = np.abs(first[one].astype(float) - first[other]).mean()
    return finding(fig, f"The first pictures differ by {apart:.1f} of 255; the sentence decides the rest")


def spreads(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Figure:
    """How the six numbers are spread (N, 6), as they are and as the policy sees them."""
    fig, axes = figure(height=2.7, columns=2)
    for ax, shown, words in ((axes[0], values, "deg; gripper %"), (axes[1], (values - mean) / std,
                                                                    "standard deviations from the mean")):
        for joint in range(6):
            low, half, high = np.percentile(shown[:, joint], [1, 50, 99])
            ax.plot([low, high], [joint, joint], color=JOINT_COLORS[joint], linewidth=7, solid_capstyle="butt")
            ax.plot(half, joint, "|", color="white", markersize=9, markeredgewidth=2)
        ax.set(xlabel=words, yticks=range(6), yticklabels=JOINT_NAMES if ax is axes[0] else [], ylim=(5.6, -0.6))
    ranges_deg = np.ptp(np.percentile(values, [1, 99], axis=0), axis=0)
    return finding(fig, f"Joints sweep {ranges_deg.min():.0f} to {ranges_deg.max():.0f}; normalised, each counts alike")
