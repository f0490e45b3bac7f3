"""The figures of lesson 02; each title is the finding.

    >>> grey = np.full((48, 64, 3), 120, np.uint8)
    >>> len(pictures({"front": grey, "wrist": grey}).axes)
    2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from smolkit.cameras.camera import Frame
from smolkit.cameras.passport import Passport
from smolkit.lessons.camera_view import View, area_seen, graspable, wrist_view
from smolkit.plotting import JOINT_COLORS, figure, finding, picture
from smolkit.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RED, ORANGE, QUIET, INK = "#b42318", "#D55E00", "#94a3b8", "#1e293b"
SCALE_PX = (2.5, 6.5)                        # px per cm: one scale for all maps, so that they can be compared
MAT_M = ((0.095, 0.395), (-0.22, 0.22))
DESCENT_M = (0.14, 0.012)                    # tip heights in the shipped clip `wrist_descent.mp4`
SIZES_PX = (64, 96, 256, 512)
CROP = 0.16                                  # of the width: what the sizes' lower row shows


def pictures(named: Mapping[str, np.ndarray], title: str = "", wrap: bool = False) -> Figure:
    """Pictures (H, W, 3) side by side, each with its name; `wrap` puts four into two rows."""
    columns = 2 if len(named) == 4 and wrap else len(named)
    rows = -(-len(named) // columns)
    fig, axes = figure(7.0, 0.5 + rows * 7.0 / columns * 0.8, rows, columns, squeeze=False)
    for ax, (name, image) in zip(axes.flat, named.items(), strict=True):
        picture(ax, image, name)
    return finding(fig, fill(title, 85))


def ages(time_s: np.ndarray, age_ms: np.ndarray) -> Figure:
    """How old the newest picture was, (N,) ms at moments (N,) s."""
    fig, ax = figure(7.0, 2.4)
    ax.plot(time_s, age_ms, color=JOINT_COLORS[0])
    ax.axhline(age_ms.mean(), color=INK, linewidth=0.8, linestyle="--")
    ax.annotate(f"mean {age_ms.mean():.0f} ms", (time_s[-1], 0), (0, 6), textcoords="offset points", ha="right")
    ax.set(xlabel="time (s)", ylabel="age (ms)", ylim=(0, None),
           title=f"The newest picture is never new: {age_ms.min():.0f} to {age_ms.max():.0f} ms old")
    return fig


def gaps(captured_s: Sequence[float], fps: float) -> Figure:
    """Every picture as a line at the moment of its light; where periods are missing, the gap is red."""
    moment_s = np.array(captured_s) - captured_s[0]
    fig, ax = figure(7.0, 1.7)
    ax.vlines(moment_s, 0, 1, color=JOINT_COLORS[0], linewidth=2)
    wide = [(a, b) for a, b in pairwise(moment_s) if (b - a) * fps > 1.5]
    for a, b in wide:
        ax.axvspan(a, b, color=RED, alpha=0.18)
    rate = (len(moment_s) - 1) / moment_s[-1]
    ax.set(xlabel="moment of the light (s)", yticks=[], ylim=(0, 1),
           title=f"Promised {fps:g} a second, came {rate:.1f}" + (f": {len(wide)} gaps (red)" if wide else ": no gap"))
    return fig


def motion(frames: Sequence[Frame]) -> Figure:
    """Two pictures in a row between which most moved, and where they differ."""
    before, after = max(pairwise(frames), key=lambda pair: _difference(*pair).mean())
    apart_ms = 1000 * (after.captured_s - before.captured_s)
    mark = after.image.copy()
    mark[_difference(before, after) > 40] = (213, 94, 0)
    return pictures({"light of one moment": before.image, f"{apart_ms:.0f} ms later": after.image,
                     "what had moved": mark}, "While a picture grows old, the arm goes on")


def _difference(a: Frame, b: Frame) -> np.ndarray:
    return np.abs(a.image.astype(np.int16) - b.image).max(-1)


def view_map(view: View, image: np.ndarray | None = None) -> Figure:
    """Left: the table from above, where the gripper can grasp and what the camera sees of it, in px per cm.

    Right: the same places in its picture (H, W, 3), or in an empty one.
    """
    places = graspable()                                                         # (rings, angles, 3)
    seen, fine = view.sees(places), view.px_per_cm(places)
    fig, (plan, shot) = figure(7.0, 4.0, columns=2, gridspec_kw={"width_ratios": (1.1, 1)})
    plan.scatter(*places[~seen].T[1::-1], s=6, color="#e2e8f0")
    dots = plan.scatter(*places[seen].T[1::-1], s=6, c=fine[seen], vmin=SCALE_PX[0], vmax=SCALE_PX[1])
    fig.colorbar(dots, ax=plan, label="px per cm", shrink=0.8)
    plan.plot(*_rectangle(MAT_M)[:, 1::-1].T, color=INK, linewidth=0.8)
    plan.plot(0, 0, "s", color=INK, markersize=9)
    plan.plot(*zip(view.eye_m[1::-1], view.look_m[1::-1], strict=True), "^:", color=RED, markevery=[0], linewidth=0.8,
              markersize=9)
    for word, (x, y), offset in (("arm", (0, 0), -16), ("camera", view.eye_m[:2], 8)):
        plan.annotate(word, (y, x), (0, offset), textcoords="offset points", ha="center", fontsize=8)
    plan.set(xlim=(0.5, -0.5), ylim=(-0.22, 0.72), aspect="equal", xlabel="y, left of the arm (m)",
             ylabel="x, ahead of the arm (m)")
    empty = np.full((view.height_px, view.width_px, 3), 235, np.uint8)
    picture(shot, empty if image is None else image, "in its picture")
    rim = np.concatenate([places[-1], places[::-1, -1], places[0, ::-1], places[:, 0]])
    shot.plot(*view.pixel_of(rim).T, color=ORANGE)
    shot.set(xlim=(0, view.width_px), ylim=(view.height_px, 0))
    low, high = (f"{value:.1f}" for value in (fine[seen].min(initial=99), fine[seen].max(initial=0)))
    return finding(fig, f"It sees {area_seen(view, places):.0%} of the places where the gripper can grasp; "
                        f"1 cm is {low if low == high else f'{low} to {high}'} px")


def _rectangle(ranges: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    (x0, x1), (y0, y1) = ranges
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])          # (5, 2) x, y


def descent(clip: Path, count: int = 4) -> Figure:
    """The gripper comes down on a cube: some pictures of the shipped clip, with height and scale."""
    import av
    with av.open(str(clip)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    height_m = np.linspace(*DESCENT_M, len(images))
    named = {}
    for k in chosen:
        view = wrist_view(height_m[k])
        px = view.px_per_cm(np.array([*view.look_m[:2], 0.0125]))
        named[f"tip at {100 * height_m[k]:.1f} cm\n{px:.0f} px per cm"] = images[k]
    return pictures(named, "The wrist camera sees finest where it matters: between the fingers, at the end")


def sizes(image: np.ndarray, px: Sequence[int] = SIZES_PX) -> Figure:
    """What a policy is given: the picture (H, W, 3) in squares of several sizes, and a piece of each, enlarged."""
    fig, axes = figure(7.0, 4.0, rows=2, columns=len(px))
    height, width = image.shape[:2]
    row, column = reddest(image)
    for side, (whole, piece) in zip(px, axes.T, strict=True):
        square = squared(image, side)
        picture(whole, square, f"{side} px")
        scale = side / max(height, width)
        top, left, reach = row * scale + side - round(height * scale), column * scale, CROP * side / 2
        picture(piece, square, "")
        piece.set(xlim=(left - reach, left + reach), ylim=(top + reach, top - reach))
    return finding(fig, "Black above is padding; below, the same piece of table in all four")


def squared(image: np.ndarray, side_px: int) -> np.ndarray:
    """As SmolVLA gets it: (H, W, 3) uint8 -> (side, side, 3), aspect kept, black left over on top or on the left."""
    import torch

    from smolkit.smolvla.images import resize_with_padding
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    return resize_with_padding(tensor, side_px, side_px)[0].permute(1, 2, 0).round().byte().numpy()


def reddest(image: np.ndarray) -> tuple[float, float]:
    """Row and column of what is red in a picture; its middle where nothing is."""
    red = image[..., 0].astype(int) - image[..., 1:].max(-1) > 80
    return tuple(np.argwhere(red).mean(axis=0)) if red.any() else (image.shape[0] / 2, image.shape[1] / 2)


def passport_sheet(passports: Mapping[str, Passport]) -> Figure:
    """Thumbnails, what does not hold still faded, and the numbers below."""
    fig, axes = figure(7.0, 3.9, columns=len(passports), squeeze=False)
    for ax, (role, passport) in zip(axes[0], passports.items(), strict=True):
        color, steady = passport.picture[..., :3].astype(float), passport.picture[..., 3:] > 127
        picture(ax, np.where(steady, color, 0.35 * color + 0.65 * 255).astype(np.uint8), role)
        look, size = passport.look, passport.role
        ax.set_xlabel(f"{size.width_px} x {size.height_px} px, {passport.fps:.1f} fps\n"
                      f"brightness {look.brightness:.0f}, white {look.burnt:.0%}, sharpness {look.sharpness:.2f}\n"
                      f"holds still: {steady.mean():.0%}")
    return finding(fig, "Two passports; pale is what moved, and does not count")


def alarms(reports: Mapping[str, Report]) -> Figure:
    """Faults by row, checks by column: which of them turned red."""
    columns = {check.code: check.name.split(" ", 1)[1] for report in reports.values() for check in report.checks
               if check.code != "SK247"}
    fig, ax = figure(7.0, 1.2 + 0.32 * len(reports))
    for y, report in enumerate(reports.values()):
        for x, code in enumerate(columns):
            red = [check.name.split()[0] for check in report.red() if check.code == code]
            word = f"✗ {'both' if len(red) > 1 else red[0]}" if red else "✓"
            ax.text(x, y, word, ha="center", va="center", fontsize=8, color="white" if red else QUIET,
                    backgroundcolor=RED if red else "white")
    ax.set_xticks(range(len(columns)), [name.replace(" ", "\n") for name in columns.values()], fontsize=8)
    ax.set_yticks(range(len(reports)), list(reports))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(reports) - 0.4, -0.6))
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    found = sum(not report.ok for report in reports.values())
    return finding(fig, f"{found} of {len(reports)} films turn a check red; which one says what is wrong")
