"""A picture per finding: joints over time, lag, starts, film strips; the title is the finding.

    from smolkit.data.checks.evidence import Evidence
    joints(Evidence(Dataset("my_recording")), place=3)          # a matplotlib figure
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smolkit.plotting import JOINT_COLORS, figure, finding, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from smolkit.data.checks.evidence import Evidence

INK, QUIET, BAD, SHADE = "#1e293b", "#94a3b8", "#c2410c", "#e2e8f0"


def traces(ax: Axes, e: Evidence, place: int, columns: Sequence[int] | None = None) -> None:
    """State (solid) and action (dashed) of an episode over time."""
    for values, style in ((e.state, {"linewidth": 1.6}), (e.action, {"linewidth": 1.0, "linestyle": (0, (3, 2))})):
        for column in (range(len(e.names)) if columns is None or len(columns) == 0 else columns) if values else ():
            label = e.names[column] if "linestyle" not in style else None
            time_s = np.arange(len(values[place])) / e.fps
            ax.plot(time_s, values[place][:, column], color=JOINT_COLORS[column % 6], label=label, **style)
    ax.set(xlabel="time (s)", ylabel="deg; gripper %" if "-100" not in e.unit.name else "deg, or % of the range")


def joints(e: Evidence, place: int, columns: Sequence[int] | None = None, title: str = "") -> Figure:
    """The joints of one episode; state solid, action dashed."""
    fig, ax = figure(height=2.8)
    traces(ax, e, place, columns)
    ax.set_title(f"Episode {e.episodes[place]}" + (f": {title}" if title else ", state solid, action dashed"))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6, columnspacing=1.0,
               handlelength=1.2)
    return fig


def idle(e: Evidence, place: int) -> Figure:
    """Where nothing moves is grey."""
    from smolkit.data.checks.motion import _still, idle_share
    fig, ax = figure(height=2.8)
    for row in np.flatnonzero(_still(e.state[place], e.fps)):
        ax.axvspan(row / e.fps, (row + 1) / e.fps, color=SHADE, linewidth=0)
    traces(ax, e, place)
    share = idle_share(e.state[place], e.fps)
    ax.set_title(f"Episode {e.episodes[place]} stands still for {share:.0%} of its time (grey)")
    return fig


def lag(e: Evidence, place: int) -> Figure:
    """How alike action and state are, when one of them is shifted back."""
    from smolkit.data.checks.motion import LEAST_LAG_MS, MOST_LAG_MS, correlations, lag_ms
    fig, (left, right) = figure(columns=2, height=2.6)
    joint = int(np.ptp(e.action[place], axis=0).argmax())
    traces(left, e, place, [joint])
    left.set_title(f"{e.names[joint]}, episode {e.episodes[place]}", fontweight="normal", fontsize=9)
    for other in range(0, len(e), max(1, len(e) // 20)):
        found = correlations(e.action[other], e.state[other], round(e.fps * 0.6))
        right.plot(np.arange(len(found)) * 1000 / e.fps, found, color=QUIET, linewidth=0.7)
    found = correlations(e.action[place], e.state[place], round(e.fps * 0.6))
    right.plot(np.arange(len(found)) * 1000 / e.fps, found, "o-", color=BAD, markersize=3)
    right.axvspan(LEAST_LAG_MS, MOST_LAG_MS, color="#0a7d5a", alpha=0.1, linewidth=0)
    right.set(xlabel="state shifted back by (ms)", ylabel="correlation")
    behind_ms = lag_ms(e.action[place], e.state[place], 1000 / e.fps)
    return finding(fig, f"The state runs {behind_ms:.0f} ms behind the action (green: as it should)")


def offset(e: Evidence, gap: np.ndarray) -> Figure:
    """Action minus state of every episode and joint, (E, body joints)."""
    from smolkit.data.checks.motion import OFFSET_DEG
    fig, ax = figure(height=2.8)
    for column, joint in enumerate(e.body):
        ax.plot(e.episodes, gap[:, column], "o-", color=JOINT_COLORS[joint % 6], label=e.names[joint], markersize=3)
    ax.axhspan(-OFFSET_DEG, OFFSET_DEG, color="#0a7d5a", alpha=0.08, linewidth=0)
    ax.set(xlabel="episode", ylabel="action - state (deg)")
    worst = np.unravel_index(np.abs(gap).argmax(), gap.shape)
    ax.set_title(f"{e.names[e.body[worst[1]]]}: {gap[worst]:+.1f} deg between action and state")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6, columnspacing=1.0,
               handlelength=1.2)
    return fig


def scatter(e: Evidence, way: np.ndarray, bad: np.ndarray) -> Figure:
    """Duration and way of every episode."""
    fig, ax = figure(height=2.8)
    ax.scatter(e.duration_s, way, c=np.where(bad, BAD, JOINT_COLORS[0]), s=22)
    for place in np.flatnonzero(bad)[:8]:
        ax.annotate(f" {e.episodes[place]}", (e.duration_s[place], way[place]), color=BAD)
    ax.set(xlabel="duration (s)", ylabel="way of all joints (deg)", ylim=(0, None),
           xlim=(0.9 * e.duration_s.min(), 1.05 * e.duration_s.max()))
    ax.set_title(f"{e.duration_s.min():.1f} to {e.duration_s.max():.1f} s; {int(bad.sum())} far from the rest")
    return fig


def starts(e: Evidence, first: np.ndarray) -> Figure:
    """First poses (E, D), joint by joint."""
    fig, ax = figure(height=2.4)
    for joint in range(len(e.names)):
        spread = np.linspace(-0.3, 0.3, len(first)) if len(first) > 1 else [0]
        ax.scatter(joint + np.array(spread), first[:, joint], color=JOINT_COLORS[joint % 6], s=8)
        ax.annotate(f"{np.ptp(first[:, joint]):.0f}", (joint, first[:, joint].max()), xytext=(0, 4), ha="center",
                    textcoords="offset points", fontsize=8)
    ax.set_xticks(range(len(e.names)), e.names, fontsize=8)
    ax.set(ylabel="first pose (deg)", title="Where the episodes begin, and over how many degrees")
    ax.margins(y=0.15)
    return fig


def tasks(counts: dict[str, int]) -> Figure:
    """How often each instruction occurs."""
    most = sorted(counts.items(), key=lambda item: item[1])[-12:]
    fig, ax = figure(height=0.9 + 0.3 * len(most))
    ax.barh([text[:60] for text, _ in most], [number for _, number in most], color=JOINT_COLORS[0], height=0.6)
    ax.set(xlabel="episodes", title=f"{len(counts)} instruction{'s' * (len(counts) > 1)}")
    ax.grid(axis="y", visible=False)
    return fig


def film(e: Evidence, camera: str, place: int) -> Figure:
    """Eight moments of one episode."""
    images = e.pictures[camera].get(place, e.pictures[camera][e.looked[0]])
    rows = e.rows.get(place, e.rows[e.looked[0]])
    chosen = np.unique(np.linspace(0, len(images) - 1, 8).round().astype(int))
    titles = [f"{rows[index] / e.fps:.1f} s" for index in chosen]
    return _strip([images[index] for index in chosen], titles, f"{camera}, episode {e.episodes[place]}")


def pair(e: Evidence, camera: str, usual: int, odd: int) -> Figure:
    """The usual view, the odd one, and half of each."""
    one, other = (np.median(e.pictures[camera][place], axis=0).astype(np.uint8) for place in (usual, odd))
    return _strip([one, other, one // 2 + other // 2],
                  [f"episode {e.episodes[usual]}", f"episode {e.episodes[odd]}", "one over the other"],
                  f"{camera}: as it usually stands, and in episode {e.episodes[odd]}")


def roles(e: Evidence, one: str, other: str, place: int) -> Figure:
    """Two cameras in the usual episode and in this one."""
    usual = next((p for p in e.looked if p != place), place)
    images = [e.pictures[name][p][0] for p in (usual, place) for name in (one, other)]
    titles = [f"{name}, episode {e.episodes[p]}" for p in (usual, place) for name in (one, other)]
    return _strip(images, titles, f"What {one} and {other} show")


def coverage(e: Evidence) -> Figure:
    """First pictures of some episodes, and where they differ from each other: things lay there."""
    camera = max(e.cameras, key=lambda name: float(e.first(name).std(axis=0).mean()))
    first = e.first(camera)
    away = np.abs(first - np.median(first, axis=0))                                              # (E', h, w, 3)
    alike = away.mean(axis=(1, 2, 3)) <= 2 * np.median(away.mean(axis=(1, 2, 3)))                # no other camera's
    from_usual = away[alike].max(axis=(0, 3))                                                    # (h, w)
    chosen = np.flatnonzero(alike)[np.unique(np.linspace(0, alike.sum() - 1, 3).round().astype(int))]
    return _strip([*first[chosen], from_usual],
                  [*(f"episode {e.episodes[e.looked[index]]}" for index in chosen), "bright: where they differ"],
                  f"How the episodes begin ({camera}): {(from_usual > 60).mean():.0%} of the picture differs somewhere")


def two_tasks(e: Evidence) -> Figure:
    """First pictures of two instructions, three each."""
    camera = next(iter(e.cameras))
    first, some = e.first(camera), sorted(set(e.tasks))[:2]
    chosen = [(rank, place) for task in some for rank, place in
              [(rank, place) for rank, place in enumerate(e.looked) if e.tasks[place] == task][:3]]
    return _strip([first[rank] for rank, _ in chosen], [e.tasks[place][:28] for _, place in chosen],
                  f"How the episodes begin ({camera}), by instruction")


def _strip(images: Sequence[np.ndarray], titles: Sequence[str], words: str) -> Figure:
    """Pictures side by side."""
    ratio = images[0].shape[0] / images[0].shape[1]
    fig, axes = figure(columns=len(images), height=0.65 + 7.0 / len(images) * ratio, squeeze=False)
    for ax, image, title in zip(axes[0], images, titles, strict=True):
        picture(ax, image, title)
        ax.title.set_fontsize(8)
    return finding(fig, words)
