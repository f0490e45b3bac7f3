"""Figures of lesson 01, each of what was measured, with words for those who cannot see it.

    >>> from smolkit.arm import packets
    >>> packet(packets.ping(1), packets.status(1))[1]
    'Two packets, byte by byte: the driver asks FF FF 01 02 01 FB, the servo answers FF FF 01 02 00 FC'
    >>> seam([2047, 3000, 4090, 4200, 4500])[1]
    '1 jump of 4096 ticks: lowest and highest say 104 to 4090, the joint went from 2047 to 4500'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.calibrate import MIDDLE, MIDDLE_RAD, WRIST_ROLL, Bar
from smolkit.arm.calibration import Calibration, degrees, percent, symmetric
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.kinematics import link_frames, tool_frame
from smolkit.arm.packets import HEADER
from smolkit.arm.registers import TICKS_PER_TURN
from smolkit.plotting import JOINT_COLORS, figure, finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY, RED = "#475569", "#b91c1c"
PARTS = {"header": "#e2e8f0", "id": "#bfdbfe", "length": "#ddd6fe", "instruction": "#fed7aa", "error": "#bbf7d0",
         "parameters": "#fef08a", "checksum": "#fecaca"}


def packet(request: bytes, answer: bytes) -> tuple[Figure, str]:
    """A question and its answer, byte by byte."""
    fig, axes = figure(7, 2.5, rows=2)
    for ax, data, what in zip(axes, (request, answer), ("the driver asks", "the servo answers"), strict=True):
        _bytes(ax, data, "error" if data is answer else "instruction")
        ax.set_title(what, fontsize=10)
        ax.set(xlim=(-0.1, max(len(request), len(answer), 8)), ylim=(-0.75, 1))
        ax.axis("off")
    asked, answered = (data.hex(" ").upper() for data in (request, answer))
    return fig, f"Two packets, byte by byte: the driver asks {asked}, the servo answers {answered}"


def _bytes(ax: Axes, data: bytes, fifth: str) -> None:
    names = ["header", "header", "id", "length", fifth, *["parameters"] * (len(data) - 6), "checksum"]
    if data[:2] != HEADER or len(data) < 6:
        names = ["no packet"] * len(data)
    for at, (byte, name) in enumerate(zip(data, names, strict=True)):
        ax.bar(at, 0.9, 0.92, align="edge", color=PARTS.get(name, "#ffffff"), edgecolor=GREY, linewidth=0.8)
        ax.text(at + 0.46, 0.45, f"{byte:02X}", ha="center", va="center", family="monospace", fontsize=13)
        if at == 0 or name != names[at - 1]:
            ax.text(at + 0.46 * max(names.count(name), 1), -0.3, name, ha="center", va="center", fontsize=8, color=GREY)


def dials(arms: Mapping[str, Calibration]) -> tuple[Figure, str]:
    """Where each joint's travel lies on its encoder's circle, for one arm or several, from the inside out."""
    fig, axes = figure(7.6, 5.4, rows=2, columns=3, subplot_kw={"projection": "polar"})
    for index, ax in enumerate(axes.ravel()):
        for ring, calibration in enumerate(arms.values()):
            _travel(ax, calibration, index, 0.62 + 0.26 * ring)
        ax.plot([0, 0], [0.35, 1.12], color=RED, linewidth=2)
        ax.set_theta_zero_location("N")
        ax.set_theta_direction(-1)
        ax.set(ylim=(0, 1.15), xticks=np.arange(4) * np.pi / 2, yticks=[])
        ax.set_xticklabels(["4095|0", "1024", "2048", "3072"], fontsize=7)
        ax.set_title(JOINT_NAMES[index], fontsize=9, color=JOINT_COLORS[index], loc="center")
    finding(fig, f"Every arm's joints lie elsewhere on the circle ({', '.join(arms)}: from the inside out)")
    return fig, (f"Six circles of 4096 ticks: where each joint's travel lies on {' and on '.join(arms)}; "
                 "a red line is the seam between 4095 and 0")


def _travel(ax: Axes, calibration: Calibration, index: int, radius: float) -> None:
    motor, to_rad = calibration.motors[index], 2 * np.pi / TICKS_PER_TURN
    low, high = (258, 3899) if index == WRIST_ROLL else (motor.range_min, motor.range_max)
    arc = (np.linspace(low, high, 90) + motor.homing_offset) * to_rad
    ax.plot(arc, np.full(90, radius), color=JOINT_COLORS[index], linewidth=8, solid_capstyle="butt")
    ax.plot([(MIDDLE + motor.homing_offset) * to_rad], [radius], "o", color="white", markersize=3)


def sweeps(bars: Sequence[Bar]) -> tuple[Figure, str]:
    """The range that each joint covered, beside what its drawing allows."""
    fig, ax = figure(7, 2.6)
    drawn = (np.column_stack((LOWER_RAD, UPPER_RAD)) - MIDDLE_RAD[:, None]) * TICKS_PER_TURN / (2 * np.pi) + MIDDLE
    for index, bar in enumerate(bars):
        ax.barh(index, drawn[index, 1] - drawn[index, 0], left=drawn[index, 0], height=0.72, color="#e2e8f0")
        ax.barh(index, bar.high - bar.low, left=bar.low, height=0.42, color=JOINT_COLORS[index])
        ax.plot([bar.present] * 2, [index - 0.36, index + 0.36], color="black", linewidth=1.5)
    for edge in (0, 4095):
        ax.axvline(edge, color=RED, linewidth=1.5)
    done = sum(bar.share >= 0.75 for bar in bars)
    ax.set(yticks=range(6), yticklabels=[bar.joint for bar in bars], xlabel="tick (2047: middle pose)",
           xlim=(min(-150, *(bar.low for bar in bars)), max(4245, *(bar.high for bar in bars))))
    ax.set_title(f"{done} of 6 joints swept; grey: what the drawing allows, red: the seam")
    ax.invert_yaxis()
    return fig, "Bars between the red lines of the seam: " + ", ".join(f"{b.joint} {b.low} to {b.high}" for b in bars)


def seam(presents: Sequence[int]) -> tuple[Figure, str]:
    """One sweep as the servo shows it and as the shaft turned; and what lowest and highest make of it."""
    turned = np.asarray(presents)
    shown = turned % TICKS_PER_TURN
    jumps = int((np.abs(np.diff(shown)) > 2048).sum())
    fig, ax = figure(7, 3)
    ax.plot(turned, color=JOINT_COLORS[0], linestyle="--", label="where the shaft is")
    for a, b in pairwise([0, *(np.flatnonzero(np.abs(np.diff(shown)) > 2048) + 1), len(shown)]):
        ax.plot(range(a, b), shown[a:b], color=JOINT_COLORS[1], linewidth=2.4, marker=".", markersize=3,
                label="what the servo shows" if a == 0 else None)
    for edge in (0, 4095):
        ax.axhline(edge, color=RED, linewidth=1)
    ax.set(xlabel="look", ylabel="position (tick)",
           title=f"The servo's number leaps {jumps} time{'s' * (jumps != 1)}, the arm does not")
    ax.legend(loc="best")
    words = (f"{jumps} jump{'s' * (jumps != 1)} of 4096 ticks: lowest and highest say {shown.min()} to {shown.max()}, "
             f"the joint went from {turned.min()} to {turned.max()}")
    return fig, words


def modes(low: int, high: int) -> tuple[Figure, str]:
    """One motor's ticks in the three languages of LeRobot."""
    fig, axes = figure(7.6, 2.8, columns=3)
    ticks = np.arange(max(0, low - 500), min(4095, high + 500))
    for ax, name, value, unit in zip(axes, ("degrees", "range_m100_100", "range_0_100 (gripper)"),
                                     (degrees, symmetric, percent), ("deg", "", "%"), strict=True):
        ax.axvspan(low, high, color="#e2e8f0")
        ax.plot(ticks, value(ticks, low, high), color=JOINT_COLORS[0])
        ax.set(xlabel="tick", ylabel=unit)
        ax.set_title(name, fontsize=9)
    finding(fig, "Degrees go on beyond the range, the others stop at its ends")
    return fig, f"Three curves over ticks: degrees go on as a straight line, the others stop at {low} and {high}"


def torque_on(naive: np.ndarray, careful: np.ndarray) -> tuple[Figure, str]:
    """Rows (s, goal - start in deg, turned in deg, torque cap in % of stall), switched on in two ways."""
    fig, axes = figure(7.6, 3, columns=2, sharey=True)
    leap = np.abs(naive[:, 2]).max()
    for ax, rows, title in zip(axes, (naive, careful), (f"switched on: it leaps {leap:.0f} deg",
                               f"goal := present first: {np.abs(careful[:, 2]).max():.1f} deg"), strict=True):
        ax.plot(rows[:, 0], rows[:, 1], color=GREY, linestyle="--", label="goal (deg)")
        ax.plot(rows[:, 0], rows[:, 2], color=JOINT_COLORS[0], label="joint (deg)")
        ax.plot(rows[:, 0], rows[:, 3], color=JOINT_COLORS[4], label="torque cap (% of stall)")
        ax.set(xlabel="time after torque on (s)")
        ax.set_title(title)
    axes[1].legend(loc="upper left")
    return fig, (f"Two plots over {naive[-1, 0]:.1f} s: switched on at once it leaps {leap:.0f} degrees; with "
                 f"goal := present it stays, its cap grows from {careful[0, 3]:.0f} to {careful[-1, 3]:.0f} percent")


def two_poses(meant_deg: np.ndarray, real_deg: np.ndarray) -> tuple[Figure, str]:
    """The same numbers on two calibrations, drawn from the side."""
    fig, ax = figure(7, 3.6)
    for pose_deg, color, label in ((meant_deg, JOINT_COLORS[0], "where the numbers meant it"),
                                   (real_deg, JOINT_COLORS[1], "where the offset puts it")):
        frames = link_frames(to_radians(pose_deg))
        line = np.array([frames[link][:3, 3] for link in ("base", "shoulder", "upper_arm", "lower_arm", "wrist")]
                        + [tool_frame(to_radians(pose_deg))[:3, 3]]) * 1000                    # (6, 3) mm
        ax.plot(line[:, 0], line[:, 2], "o-", color=color, linewidth=4, markersize=7, label=label)
    tips = [tool_frame(to_radians(pose_deg))[:3, 3] * 1000 for pose_deg in (meant_deg, real_deg)]
    apart_mm = float(np.linalg.norm(tips[0] - tips[1]))
    ax.annotate("", tips[1][[0, 2]], tips[0][[0, 2]], arrowprops={"arrowstyle": "<->", "color": RED, "linewidth": 1.8})
    ax.fill_between(tips[0][0] + [-12, 12], 0, 24, color=RED, alpha=0.5, linewidth=0)                    # the cube
    ax.axhline(0, color=GREY, linewidth=2)
    ax.set(xlim=(-30, 620), xlabel="forward (mm)", ylabel="up (mm)", aspect="equal",
           title=f"{apart_mm:.0f} mm from the cube")
    ax.legend(loc="upper right")
    return fig, f"The arm from its side in two poses, one the numbers' meaning: the tips are {apart_mm:.0f} mm apart"
