"""The figures of lesson 05 from noise to motion: the two-dimensional toy, chunks, effects. Titles are findings.

    >>> fig = paths({1: np.zeros((2, 5, 2)), 2: np.zeros((3, 5, 2))})
    >>> len(fig.axes)
    2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.lessons.camera_figures import INK, QUIET, RED
from smolkit.plotting import JOINT_COLORS, figure, finding
from smolkit.smolvla.inside_figures import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, RIGHT = JOINT_COLORS[0], JOINT_COLORS[1]
REACH = 2.6                                    # of the toy's plane
CUBE = 0.45                                    # half an edge of what stands in the way


# -- the toy -----------------------------------------------------------------------------------------------------


def two_ways(count: int, seed: int = 0) -> np.ndarray:
    """(count, 2) where people led the hand past the cube at (0, 0); half of them left, half right of it."""
    rng = np.random.default_rng(seed)
    side = np.where(np.arange(count) % 2, 1.3, -1.3)
    along = rng.normal(0, 0.35, count)
    return np.column_stack([side + rng.normal(0, 0.12, count), along]).astype(np.float32)


def demonstrations(points: np.ndarray) -> Figure:
    """Where people went (N, 2), and the mean of all that."""
    fig, ax = figure(5.6, 2.8)
    _table(ax)
    ax.set(ylim=(-1.4, 1.4))
    ax.scatter(*points.T, s=9, color=np.where(points[:, :1] < 0, LEFT, RIGHT)[:, 0])
    ax.plot(*points.mean(axis=0), "X", color=RED, markersize=12)
    ax.annotate("the mean of all", points.mean(axis=0), (0, -40), textcoords="offset points", color=RED, ha="center",
                fontsize=9)
    return finding(fig, "Each goes round the cube; their mean goes into it")


def line(actions: np.ndarray, noise: np.ndarray, points: Mapping[float, np.ndarray]) -> Figure:
    """One answer (2,), one draw of noise (2,), and the velocity at points of the line between them, by time."""
    fig, ax = figure(5.2, 3.4)
    ax.plot(*np.stack([actions, noise]).T, color=QUIET, zorder=0)
    for name, point, color in (("actions, t = 0", actions, LEFT), ("noise, t = 1", noise, INK)):
        ax.plot(*point, "o", color=color, markersize=9)
        ax.annotate(name, point, (8, -12), textcoords="offset points", color=color, fontsize=9)
    for time, point in points.items():
        ax.plot(*point, "o", color=RED, markersize=5)
        ax.annotate(f"t = {time:g}", point, (-4, 8), textcoords="offset points", ha="right", fontsize=8, color=RED)
        ax.annotate("", point + 0.22 * (noise - actions), point, arrowprops={"arrowstyle": "-|>", "color": RED})
    ax.set(aspect="equal", xlabel="x", ylabel="y")
    ax.margins(0.25)
    return finding(fig, "On the whole line, the velocity is the same arrow")


def field(velocity: Callable[[np.ndarray, float], np.ndarray], times: Sequence[float]) -> Figure:
    """What was learned, as arrows at some moments, turned round: the way that a walk goes."""
    fig, axes = figure(7.0, 2.9, columns=len(times))
    grid = np.stack(np.meshgrid(np.linspace(-2.2, 2.2, 12), np.linspace(-2.2, 2.2, 12)), -1).reshape(-1, 2)
    for ax, time in zip(axes, times, strict=True):
        _table(ax)
        arrows = -velocity(grid.astype(np.float32), time)
        ax.quiver(*grid.T, *arrows.T, np.linalg.norm(arrows, axis=1), cmap="cividis", scale=28, width=0.008)
        ax.set_title(f"t = {time:g}", fontsize=9, fontweight="normal")
    return finding(fig, "Far from the answer all arrows point at the mean; near it they choose a side")


def paths(walks: Mapping[int, np.ndarray]) -> Figure:
    """Walks (steps + 1, N, 2) from noise to data, by the number of Euler steps."""
    fig, axes = figure(7.0, 2.9, columns=len(walks))
    hits = {}
    for ax, (steps, walk) in zip(axes, walks.items(), strict=True):
        _table(ax)
        ends = walk[-1]
        colors = np.where(ends[:, 0] < 0, LEFT, RIGHT)
        for k in range(0, walk.shape[1], max(1, walk.shape[1] // 60)):
            ax.plot(*walk[:, k].T, color=colors[k], linewidth=0.5, alpha=0.4)
        ax.scatter(*ends.T, s=5, color=colors)
        hits[steps] = crash_share(ends)
        ax.set_title(f"{steps} step{'s' * (steps > 1)}: {hits[steps]:.0%}", fontsize=9, fontweight="normal")
    first, *_, last = hits
    return finding(fig, f"In {first} step {hits[first]:.0%} walk into the cube, in {last} steps {hits[last]:.0%}")


def crash_share(points: np.ndarray) -> float:
    """Which share of points (N, 2) lies in the cube, widened by half a hand on each side.

    >>> crash_share(np.array([[0.0, 0.0], [1.3, 0.0]]))
    0.5
    """
    return float((np.abs(points) < 2 * CUBE).all(axis=1).mean())


def _table(ax: Axes) -> None:
    from matplotlib.patches import Rectangle
    for half, color in ((2 * CUBE, "#fee2e2"), (CUBE, "#fca5a5")):          # the hand is as wide as the cube
        ax.add_patch(Rectangle((-half, -half), 2 * half, 2 * half, color=color, zorder=0))
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


# -- chunks ------------------------------------------------------------------------------------------------------


def chunk_panels(chunks_deg: Mapping[str, np.ndarray], title: str, shown_deg: np.ndarray | None = None) -> Figure:
    """Chunks (T, 6) side by side on one scale, a line a joint; dotted, what the demonstrator did (T', 6)."""
    fig, axes = figure(7.0, 3.3, columns=len(chunks_deg), sharey=True, squeeze=False)
    for ax, (name, chunk) in zip(axes[0], chunks_deg.items(), strict=True):
        _chunk(ax, chunk)
        ax.set_title(name, fontsize=9, fontweight="normal")
        ax.set_xlabel("step")
    if shown_deg is not None:
        for joint, color in enumerate(JOINT_COLORS):
            axes[0, -1].plot(np.arange(1, len(shown_deg) + 1), shown_deg[:, joint], ":", color=color, linewidth=2)
    axes[0, 0].set_ylabel("deg; gripper %")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=7,
               columnspacing=1.0, handlelength=1.2)
    return finding(fig, title)


def fan(chunks_deg: np.ndarray, shown_deg: np.ndarray) -> Figure:
    """Several chunks (N, T, 6) for one moment, joint by joint; dotted, what the demonstrator did (T', 6)."""
    fig, axes = figure(7.0, 3.8, rows=2, columns=3, sharex=True)
    steps = np.arange(1, chunks_deg.shape[1] + 1)
    for joint, ax in enumerate(axes.flat):
        ax.plot(steps, chunks_deg[:, :, joint].T, color=JOINT_COLORS[joint], linewidth=0.8, alpha=0.7)
        ax.plot(steps[:len(shown_deg)], shown_deg[:, joint], ":", color=INK, linewidth=2)
        everything = np.concatenate([chunks_deg[:, :, joint].ravel(), shown_deg[:, joint]])
        low, high = everything.min(), everything.max()
        room = max(3, 5 - (high - low) / 2)                # a joint that stands still does not fill its panel
        ax.set_ylim(low - room, high + room)
        ax.set_title(JOINT_NAMES[joint], fontsize=9, fontweight="normal")
    for ax in axes[-1]:
        ax.set_xlabel("step of the chunk")
    spread = chunks_deg.std(axis=0)[:, :5].mean(axis=1)
    return finding(fig, f"{len(chunks_deg)} draws of noise: the plans differ by {spread[0]:.1f} deg at the first step, "
                        f"{spread[-1]:.1f} at the last")


def guessed(drawing: Drawing, names: Sequence[str], guesses: Mapping[str, float | None]) -> Drawing:
    """A drawing of effects (`inside_figures.effects`) with a ring for each guess that was made."""
    ax = drawing.figure.axes[0]
    made = [(guesses[name], y) for y, name in enumerate(names) if guesses[name] is not None]
    if made:
        ax.plot(*zip(*made, strict=True), "o", markersize=10, markerfacecolor="none", markeredgecolor=INK)
        ax.set_xlim(0, max(ax.get_xlim()[1], 1.08 * max(made)[0]))
    return drawing


def _chunk(ax: Axes, chunk: np.ndarray) -> None:
    for joint, (name, color) in enumerate(zip(JOINT_NAMES, JOINT_COLORS, strict=True)):
        ax.plot(np.arange(1, len(chunk) + 1), chunk[:, joint], color=color, label=name)
