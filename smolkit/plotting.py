"""One look for every figure: six joint colours, a thin grid, units on the axes, the finding as the title.

    >>> fig, ax = figure(width=4, height=2)
    >>> _ = ax.plot([0, 1], [0, 90], color=JOINT_COLORS[0])
    >>> _ = ax.set(xlabel="time (s)", ylabel="shoulder_pan (deg)", title="One second from rest to 90 deg")
    >>> figure_to_png_base64(fig)[:10]
    'iVBORw0KGg'

In a notebook, `use_style()` once at the top styles figures that you make yourself.
"""

from __future__ import annotations

import base64
import io
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without black and yellow, in the order of JOINT_NAMES: a joint has the same
# colour in every figure and widget, and neighbours stay apart for colour-blind eyes (a test measures it).
JOINT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

STYLE: dict[str, Any] = {
    "figure.dpi": 100,                 # 7 inches are 700 px: a notebook's column
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#475569",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#cbd5e1",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "image.cmap": "cividis",           # even and colour-blind-safe
    "image.interpolation": "nearest",  # a pixel is a pixel
}


class use_style:
    """The kit's style from now on, or for the length of a `with` block.

    Example:
        >>> import matplotlib
        >>> with use_style():
        ...     matplotlib.rcParams["axes.grid"]
        True
    """

    def __init__(self) -> None:
        import matplotlib
        from cycler import cycler

        self._before = {name: matplotlib.rcParams[name] for name in (*STYLE, "axes.prop_cycle")}
        matplotlib.rcParams.update({**STYLE, "axes.prop_cycle": cycler(color=JOINT_COLORS)})

    def __enter__(self) -> use_style:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        import matplotlib

        matplotlib.rcParams.update(self._before)


def figure(width: float = 7.0, height: float = 3.0, rows: int = 1, columns: int = 1,
           **subplots: Any) -> tuple[Figure, Axes]:
    """A styled figure and its axes (an array of axes for several); width and height in inches.

    Pyplot forgets it at once: it is shown where you return it, once, and a long run leaks nothing.
    Further arguments go to `matplotlib.pyplot.subplots` (`sharex=True`).
    """
    import matplotlib.pyplot as plt

    with use_style():
        fig, axes = plt.subplots(rows, columns, figsize=(width, height), **subplots)
    plt.close(fig)
    return fig, axes


def picture(ax: Axes, image: np.ndarray, title: str = "", **settings: Any) -> None:
    """A camera's picture (H, W, 3) in these axes, which then have no ticks, grid or frame.

    Further arguments go to `imshow`.
    """
    ax.imshow(image, **settings)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.set_title(title, fontsize=9, fontweight="normal")
    ax.spines[:].set_visible(False)


def finding(fig: Figure, words: str) -> Figure:
    """The finding above all axes, where none of them can carry it alone."""
    fig.suptitle(words, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return fig


def figure_to_png_base64(fig: Figure) -> str:
    """The figure as base64 text of a PNG, for `<img src="data:image/png;base64,...">`."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=110, metadata={"Software": None})   # same figure, same bytes
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def show(figure: Figure, alt: str) -> None:
    """Shows a figure in a notebook, with its alt text in every front end: what a screen reader says."""
    from html import escape

    from IPython.display import HTML, display
    display(HTML(f'<img alt="{escape(alt)}" src="data:image/png;base64,{figure_to_png_base64(figure)}">'))
