"""The figures of lesson 05 from noise to motion: the two-dimensional toy, chunks, effects. Titles are findings.

    >>> fig = paths({1: np.zeros((2, 5, 2)), 2: np.zeros((3, 5, 2))})
    >>> len(fig.axes)
    2
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.lessons.camera_figures import INK, QUIET, RED
from smolkit.plotting import JOINT_COLORS, figure, finding

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


def film(walk_deg: np.ndarray, alt: str) -> str:
    """HTML of a small film: a chunk (steps + 1, T, 6) as it loses its noise, then standing for a second."""
    from PIL import Image
    low, high = walk_deg.min() - 5, walk_deg.max() + 5
    pictures = []
    for step, chunk in enumerate(walk_deg):
        fig, ax = figure(5.6, 3.2)
        _chunk(ax, chunk)
        ax.set(ylim=(low, high), xlabel="step of the chunk", ylabel="deg; gripper %",
               title=f"t = {1 - step / (len(walk_deg) - 1):.1f}" + "   noise" * (step == 0))
        ax.legend(loc="upper right", ncols=3)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=90)
        pictures.append(Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
    out = io.BytesIO()
    wait_ms = [700, *[250] * (len(pictures) - 2), 2500]
    pictures[0].save(out, format="GIF", save_all=True, append_images=pictures[1:], duration=wait_ms, loop=0)
    return f'<img alt="{alt}" src="data:image/gif;base64,{base64.b64encode(out.getvalue()).decode("ascii")}">'


def fan(chunks_deg: np.ndarray, shown_deg: np.ndarray) -> Figure:
    """Several chunks (N, T, 6) for one moment, joint by joint; dotted, what the demonstrator did (T', 6)."""
    fig, axes = figure(7.0, 3.8, rows=2, columns=3, sharex=True)
    steps = np.arange(1, chunks_deg.shape[1] + 1)
    for joint, ax in enumerate(axes.flat):
        ax.plot(steps, chunks_deg[:, :, joint].T, color=JOINT_COLORS[joint], linewidth=0.8, alpha=0.7)
        ax.plot(steps[:len(shown_deg)], shown_deg[:, joint], ":", color=INK, linewidth=2)
        middle = np.median(chunks_deg[:, :, joint])
        ax.set_ylim(*np.clip([chunks_deg[:, :, joint].min() - 3, chunks_deg[:, :, joint].max() + 3],
                             *(min(middle - 8, chunks_deg[:, :, joint].min() - 3), None)))
        ax.set_title(JOINT_NAMES[joint], fontsize=9, fontweight="normal")
    for ax in axes[-1]:
        ax.set_xlabel("step of the chunk")
    spread = chunks_deg.std(axis=0)[:, :5].mean(axis=1)
    return finding(fig, f"{len(chunks_deg)} draws of noise: the plans differ by {spread[0]:.1f} deg at the first step, "
                        f"{spread[-1]:.1f} at the last")


def effects(sizes: Mapping[str, float], guesses: Mapping[str, float] | None = None) -> Figure:
    """Bars of effect sizes in units of what noise alone does; a ring for each guess."""
    fig, ax = figure(7.0, 0.95 + 0.42 * len(sizes))
    for y, (name, size) in enumerate(sizes.items()):
        color = QUIET if size < 1.2 else JOINT_COLORS[4] if size < 2 else JOINT_COLORS[2]
        ax.barh(y, size, height=0.62, color=color)
        ax.annotate(f"{size:.1f}", (size, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
        if guesses and guesses.get(name) is not None:
            ax.plot(guesses[name], y, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
    ax.axvline(1, color=INK, linewidth=0.8, linestyle="--")
    ax.annotate("noise alone", (1, -0.62), (3, 0), textcoords="offset points", fontsize=8, color=INK)
    ax.set_yticks(range(len(sizes)), list(sizes))
    ax.set(ylim=(len(sizes) - 0.5, -0.9), xlim=(0, 1.12 * max(2, *sizes.values())), xlabel="effect (1 = noise alone)")
    return finding(fig, f"What moves the plan most: {max(sizes, key=sizes.get)}")


def _chunk(ax: Axes, chunk: np.ndarray) -> None:
    for joint, (name, color) in enumerate(zip(JOINT_NAMES, JOINT_COLORS, strict=True)):
        ax.plot(np.arange(1, len(chunk) + 1), chunk[:, joint], color=color, label=name)
