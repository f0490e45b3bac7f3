"""A recording, looked at: pictures side by side.

    >>> pictures = [np.full((4, 6, 3), 40 * place, np.uint8) for place in range(5)]
    >>> contact_sheet(pictures, columns=3).axes[0].get_images()[0].get_size()          # two rows of three, 2 px apart
    (10, 22)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smolkit.plotting import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
