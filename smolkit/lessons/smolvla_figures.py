"""The figures of lesson 05, up to the notes: tokens, masks, attention, layers. Each title is the finding.

    >>> len(patches(np.zeros((48, 64, 3), np.uint8)).axes)
    2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from smolkit.lessons.camera_figures import INK, QUIET, RED, pictures, reddest, squared
from smolkit.plotting import figure, finding, picture
from smolkit.smolvla.inside_figures import CAMERA_COLORS, PART_COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOR = {"front": CAMERA_COLORS[0], "wrist": CAMERA_COLORS[1], "eyes": CAMERA_COLORS[1], "language layers": "#009E73",
         "expert": "#D55E00", **PART_COLORS}
EYE_PX, PATCH_PX, BLOCK = 512, 16, 4           # the published eye: 32 x 32 patches, joined 4 x 4

__all__ = ["attention_toy", "layers", "patches", "pictures", "shares", "shuffle", "toy_mask", "turning"]


# -- 1: eyes -----------------------------------------------------------------------------------------------------


def patches(image: np.ndarray) -> Figure:
    """A picture (H, W, 3) as the published eye gets it, cut into patches, and one token's sixteen, enlarged."""
    square = squared(image, EYE_PX)
    row, column = red_token(image)
    fig, (whole, piece) = figure(7.0, 4.1, columns=2, gridspec_kw={"width_ratios": (1.45, 1)})
    side = PATCH_PX * BLOCK
    picture(whole, square, f"{EYE_PX} x {EYE_PX} px, patches of {PATCH_PX}, tokens of {side}")
    for at in range(0, EYE_PX + 1, PATCH_PX):
        bold = at % side == 0
        for draw in (whole.axhline, whole.axvline):
            draw(at - 0.5, color="white", alpha=0.9 if bold else 0.3, linewidth=0.9 if bold else 0.35)
    _frame(whole, column * side, row * side, side)
    token = row * EYE_PX // side + column
    picture(piece, square[row * side:(row + 1) * side, column * side:(column + 1) * side], f"token {token}")
    for k in range(BLOCK ** 2):
        y, x = divmod(k, BLOCK)
        piece.text((x + 0.12) * PATCH_PX, (y + 0.22) * PATCH_PX, str(k), color="white", fontsize=8, weight="bold",
                   ha="left", va="center", bbox={"facecolor": INK, "edgecolor": "none", "pad": 1, "alpha": 0.7})
        _frame(piece, x * PATCH_PX, y * PATCH_PX, PATCH_PX, "white", 0.8)
    black = (~square.any(axis=-1)).mean()
    words = f"; {black:.0%} see only padding" if black > 0.01 else ""
    return finding(fig, f"1,024 patches make 64 tokens{words}")


def red_token(image: np.ndarray) -> tuple[int, int]:
    """Row and column of the token with the red cube in it; the one in the middle where nothing is red."""
    scale, side = EYE_PX / max(image.shape[:2]), PATCH_PX * BLOCK
    row, column = (at * scale for at in reddest(image))
    return (min(int((row + EYE_PX - int(image.shape[0] * scale)) // side), EYE_PX // side - 1),
            min(int((column + EYE_PX - int(image.shape[1] * scale)) // side), EYE_PX // side - 1))


def shuffle(grid: np.ndarray, tokens: np.ndarray) -> Figure:
    """A grid of numbers (n, n), and the rows (blocks, numbers) that pixel shuffle makes of it; a colour a block."""
    side = int(len(tokens) ** 0.5)
    block_of = {int(number): k for k, row in enumerate(tokens) for number in row}
    fig, (before, after) = figure(7.0, 2.5, columns=2)
    _numbers(before, grid, np.vectorize(block_of.get)(grid), "patches, as the eye sees them")
    _numbers(after, tokens, np.arange(len(tokens))[:, None].repeat(tokens.shape[1], 1), "tokens, a row each")
    return finding(fig, f"Neighbours join: {grid.size} patches become {side} x {side} tokens, each "
                        f"{tokens.shape[1]} times as long")


# -- 3: the prefix -----------------------------------------------------------------------------------------------


def toy_mask(mask: np.ndarray, names: Sequence[str]) -> Figure:
    """Allowed pairs (S, S) of a few tokens, query by key, as ones and zeros in the colour of what is seen."""
    fig, ax = figure(4.6, 3.9)
    colors = np.array([_rgb(PART_COLORS.get(name, CAMERA_COLORS[0])) for name in names])
    ax.imshow(np.where(mask[..., None], colors[None], 1.0))
    for (y, x), seen in np.ndenumerate(mask):
        ax.text(x, y, int(seen), ha="center", va="center", color="white" if seen else QUIET, fontsize=10)
    ax.set(xticks=np.arange(len(names)), xticklabels=names, yticks=np.arange(len(names)), yticklabels=names,
           xlabel="may see ... (key)", ylabel="who looks (query)")
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=8)
    ax.grid(False)
    return finding(fig, "Nobody sees padding, or a later stage")


# -- 4: attention ------------------------------------------------------------------------------------------------


def attention_toy(query: np.ndarray, key: np.ndarray, weights: np.ndarray, names: Sequence[str]) -> Figure:
    """Two queries (2, 2) and five keys (5, 2) as arrows, and the attention weights (2, 5) as a table."""
    fig, (plane, table) = figure(7.0, 2.7, columns=2, gridspec_kw={"width_ratios": (1, 1.25)})
    for point, name in zip(key, names, strict=True):
        _arrow(plane, point, QUIET)
        plane.annotate(name, point, 0.13 * point / np.linalg.norm(point) + point, fontsize=8, color=INK, ha="center",
                       va="center", textcoords="data")
    for point, color in zip(query, (COLOR["actions"], COLOR["wrist"]), strict=True):
        _arrow(plane, point, color, 2.2)
    reach = 1.35 * max(np.abs(key).max(), np.abs(query).max())
    plane.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    plane.spines[:].set_visible(False)
    plane.set_title("grey: keys; colour: what the queries ask", fontsize=9, fontweight="normal")
    table.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for (y, x), weight in np.ndenumerate(weights):
        table.text(x, y, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.5 else INK)
    table.set_xticks(range(len(names)), names)
    table.set_yticks(range(len(query)), [f"action {k + 1}" for k in range(len(query))])
    for tick, color in zip(table.get_yticklabels(), (COLOR["actions"], COLOR["wrist"]), strict=True):
        tick.set(color=color, weight="bold")
    table.grid(False)
    table.tick_params(length=0, labelsize=8)
    table.set_title("attention: each row sums to 1", fontsize=9, fontweight="normal")
    return finding(fig, "A query listens to the keys that point its way")


def turning(pairs: Mapping[str, np.ndarray], products: Mapping[str, np.ndarray]) -> Figure:
    """Left: one pair (n, 2) turned by positions 0, 1, 2...; right: query times key over their distance."""
    fig, axes = figure(7.0, 2.9, columns=len(pairs) + 1, gridspec_kw={"width_ratios": (*[1] * len(pairs), 1.5)})
    for ax, (name, points) in zip(axes, pairs.items(), strict=False):
        for k, point in enumerate(points):
            _arrow(ax, point, COLOR["wrist"], 1.6, alpha=1 - 0.8 * k / len(points))
            if k == 0 or np.linalg.norm(point - points[k - 1]) > 0.3:                          # no label upon a label
                ax.text(*(1.22 * point / np.linalg.norm(point)), k, fontsize=8, ha="center", va="center", color=INK)
        ax.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(name, fontsize=9, fontweight="normal")
    for (name, product), marker in zip(products.items(), ("o", "x", "+"), strict=False):
        axes[-1].plot(product, marker=marker, markersize=7, linewidth=0.8, label=name)
    top = max(product.max() for product in products.values())
    axes[-1].set(xlabel="distance (tokens)", ylabel="query · key", ylim=(None, 1.3 * top))
    axes[-1].legend(loc="upper center", ncols=3, fontsize=7, columnspacing=0.8)
    return finding(fig, "Turned by their positions, a query and a key feel only their distance")


# -- 5: layers ---------------------------------------------------------------------------------------------------


def layers(kinds: Sequence[str]) -> Figure:
    """Language layers on the left, expert layers on the right, and what each expert layer reads."""
    from matplotlib.patches import FancyBboxPatch
    fig, ax = figure(7.0, 0.9 + 0.52 * len(kinds))
    for k, kind in enumerate(kinds):
        for x, name, color in ((0, f"language layer {k}", COLOR["words"]),
                               (6, f"expert layer {k} · {kind}", COLOR["actions"] if kind == "self" else "#CC79A7")):
            ax.add_patch(FancyBboxPatch((x, k - 0.3), 3.6, 0.6, boxstyle="round,pad=0.02,rounding_size=0.12",
                                        facecolor=color, edgecolor="none"))
            ax.text(x + 1.8, k, name, ha="center", va="center", color="white", fontsize=9, weight="bold")
        words = "keys, values as they are" if kind == "self" else "translated keys, values"
        ax.annotate("", (5.95, k), (3.7, k), arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1})
        ax.text(4.8, k + 0.09, words, ha="center", va="bottom", fontsize=7, color=INK)
        if kind == "self":
            ax.annotate("", (9.68, k), (10.2, k), arrowprops={"arrowstyle": "-|>", "color": COLOR["actions"]})
            ax.text(10.25, k, "earlier\nactions", fontsize=7, va="center", color=COLOR["actions"])
    for x, words in ((1.8, "runs once a chunk"), (7.8, "runs at every Euler step")):
        ax.text(x, -0.62, words, ha="center", va="center", fontsize=9, color=INK)
    ax.set(xlim=(-0.2, 11.6), ylim=(-0.95, len(kinds) - 0.55))
    ax.axis("off")
    return finding(fig, "Expert layers read the notes beside them; every other one nothing else")


def shares(rows: Mapping[str, Mapping[str, float]], title: str, unit: str) -> Figure:
    """Stacked bars that sum to 1, one a row: what attention, or parameters, are divided into."""
    fig, ax = figure(7.0, 1.05 + 0.42 * len(rows))
    for y, parts in enumerate(rows.values()):
        total, start = sum(parts.values()), 0.0
        for name, value in parts.items():
            share = value / total
            ax.barh(y, share, left=start, color=COLOR.get(name, QUIET), edgecolor="white")
            if share > 0.06:
                ax.text(start + share / 2, y, f"{share:.0%}", ha="center", va="center", fontsize=8, color="white",
                        weight="bold")
            start += share
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlim=(0, 1), xlabel=unit, ylim=(len(rows) - 0.45, -0.55))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.grid(False)
    names = dict.fromkeys(name for parts in rows.values() for name in parts)
    fig.legend([_patch(COLOR.get(name, QUIET)) for name in names], names, loc="outside lower center",
               ncols=len(names), fontsize=8, handlelength=1, columnspacing=1.2)
    return finding(fig, title)


# -- drawing -----------------------------------------------------------------------------------------------------


def _frame(ax: Axes, x: float, y: float, side: float, color: str = RED, width: float = 2.2) -> None:
    from matplotlib.patches import Rectangle
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor=color, linewidth=width))


def _numbers(ax: Axes, grid: np.ndarray, block: np.ndarray, title: str) -> None:
    """A grid of numbers, each on the colour of its block."""
    palette = [_rgb(color) for color in ("#0072B2", "#D55E00", "#009E73", "#CC79A7")]
    ax.imshow(np.array(palette)[block % len(palette)])
    for (y, x), number in np.ndenumerate(grid):
        ax.text(x, y, number, ha="center", va="center", color="white", weight="bold")
    ax.set(xticks=np.arange(grid.shape[1] + 1) - 0.5, yticks=np.arange(grid.shape[0] + 1) - 0.5, xticklabels=[],
           yticklabels=[])
    ax.grid(color="white", linewidth=1.5)
    ax.set_axisbelow(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=9, fontweight="normal")


def _arrow(ax: Axes, point: np.ndarray, color: str, width: float = 1.2, alpha: float = 1.0) -> None:
    ax.annotate("", point, (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": width, "alpha": alpha,
                                               "shrinkA": 0, "shrinkB": 0})


def _rgb(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb
    return to_rgb(color)


def _patch(color: str) -> Any:
    from matplotlib.patches import Patch
    return Patch(color=color)
