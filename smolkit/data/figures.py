"""A recording, looked at: traces of the joints, and pictures side by side.

    >>> pictures = [np.full((4, 6, 3), 40 * place, np.uint8) for place in range(5)]
    >>> contact_sheet(pictures, columns=3).axes[0].get_images()[0].get_size()          # two rows of three, 2 px apart
    (10, 22)

Each function takes plain arrays and returns a matplotlib figure; its title is the finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.plotting import JOINT_COLORS, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def joint_traces(time_s: np.ndarray, state_deg: np.ndarray, action_deg: np.ndarray) -> Figure:
    """Six joints of one episode: measured (solid), and what to do next (dotted). Arrays (N,), (N, 6), (N, 6)."""
    fig, ax = figure(width=7.0, height=3.2)
    for joint, (name, color) in enumerate(zip(JOINT_NAMES, JOINT_COLORS, strict=True)):
        ax.plot(time_s, state_deg[:, joint], color=color, label=name)
        ax.plot(time_s, action_deg[:, joint], color=color, linestyle=":", linewidth=1)
    ahead = np.abs(action_deg - state_deg)[:, :5].mean()
    ax.set(xlabel="time (s)", ylabel="position (deg; gripper %)",
           title=f"What it should do next lies {ahead:.1f} deg ahead of where it is, on average")
    ax.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    return fig


def contact_sheet(pictures: list[np.ndarray], columns: int = 6) -> Figure:
    """First pictures (H, W, 3) of several episodes side by side: is the variety what it should be?"""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape[:2]
    sheet = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + 2), place % columns * (width + 2)
        sheet[top:top + height, left:left + width] = picture
    fig, ax = figure(width=7.0, height=7.0 * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet)
    ax.axis("off")
    return fig
