"""The pictures of `inside.py`: each is a figure whose title is the finding, and a text for those who do not see it.

    >>> from smolkit.smolvla.fake import fake_observation, tiny_policy
    >>> from smolkit.smolvla.inside import token_budget
    >>> drawing = budget(token_budget(tiny_policy(), fake_observation()))
    >>> print(drawing.figure.get_suptitle())
    8 of 25 tokens are pictures, 9 are words, 1 is the arm itself; 7 are
    padding

In a notebook: `show(*budget(parts))`, with `show` from `smolkit.plotting`. The titles are computed from what is
drawn: another policy, another finding.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.cameras.camera import Observation
from smolkit.plotting import JOINT_COLORS, figure, finding, picture
from smolkit.smolvla.ablations import Effect
from smolkit.smolvla.inside import Attention, Denoising, Part
from smolkit.smolvla.inside_pictures import Keypoints, over_picture, padding_share, picture_attention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

INK, QUIET, PALE = "#1e293b", "#94a3b8", "#cbd5e1"
CAMERA_COLORS = ("#56B4E9", "#0072B2", "#CC79A7")
PART_COLORS = {"words": "#E69F00", "state": "#009E73", "actions": "#D55E00", "special": QUIET, "empty": PALE,
               "padding": PALE}
NOISE, CLEAR = 1.0, 2.0                        # effects: what sampling noise does, and what nobody overlooks
LETTERS = 74                                   # of a title's line at 700 px


class Drawing(NamedTuple):
    """A figure and its alt text: `show(*drawing)`."""

    figure: Figure
    alt: str


# --- tokens and masks ---------------------------------------------------------------------------------


def budget(parts: Sequence[Part]) -> Drawing:
    """The prefix as one bar, a colour for each kind of token; padding is pale and hatched."""
    fig, ax = figure(7.0, 1.5)
    total, colors = parts[-1].columns.stop, _colors(parts)
    for part, color in zip(parts, colors, strict=True):
        ax.barh(0, part.real, left=part.start, color=color, edgecolor="white")
        ax.barh(0, part.count - part.real, left=part.start + part.real, color=PALE, edgecolor="white", hatch="///")
        narrow = part.count < 0.1 * total
        ax.annotate(_counted(part), (part.start + part.count / 2, 0.42 if narrow else 0), (0, 3 if narrow else 0),
                    textcoords="offset points", ha="center", va="bottom" if narrow else "center", fontsize=8,
                    color=INK if narrow or 2 * part.real < part.count else "white", weight="bold")
    ax.set(xlim=(0, total), ylim=(-0.45, 0.95), yticks=[], xlabel="token")
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    seen, words = sum(part.real for part in _cameras(parts)), sum(p.real for p in parts if p.name == "words")
    padding = total - sum(part.real for part in parts)
    title = (f"{seen} of {total} tokens are pictures, {words} are words, 1 is the arm itself"
             + f"; {padding} are padding" * bool(padding))
    return Drawing(finding(fig, fill(title, LETTERS)), f"A bar of {total} tokens in a row: "
                   + ", ".join(f"{part.name} {part.count}" for part in parts) + f". {title}.")


def mask(allowed: np.ndarray, parts: Sequence[Part]) -> Drawing:
    """Who may see whom (S, S), query by key, in the colour of what is seen; white is forbidden."""
    from matplotlib.colors import to_rgb
    fig, ax = figure(6.2, 5.6)
    table = np.ones((*allowed.shape, 3))
    for part, color in zip(parts, _colors(parts), strict=True):
        table[:, part.columns] = np.where(allowed[:, part.columns, None], to_rgb(color), 1.0)
    ax.imshow(table)
    for part in parts[1:]:
        ax.axhline(part.start - 0.5, color=INK, linewidth=0.5)
        ax.axvline(part.start - 0.5, color=INK, linewidth=0.5)
    middles = [part.start + (part.count - 1) / 2 for part in parts]
    ax.set_xticks(middles, [part.name for part in parts], rotation=35, ha="left")
    ax.set_yticks(middles, [part.name for part in parts])
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=8)
    ax.grid(False)
    ax.set(xlabel="may see ... (key)", ylabel="who looks (query)")
    actions = allowed[_of(parts, "actions"), _of(parts, "actions")]
    words = "the actions see each other" if np.triu(actions, 1).any() else "no token sees an action after it"
    title = f"{allowed.mean():.0%} of {allowed.size:,} pairs may look; {words}"
    rows = "; ".join(f"{one.name} sees {', '.join(other.name for other in parts if _sees(allowed, one, other))}"
                     for one in parts if one.real)
    return Drawing(finding(fig, fill(title, 70)), f"A square of {len(allowed)} by {len(allowed)} tokens. {title}: "
                                                  f"{rows}.")


# --- where it looks -----------------------------------------------------------------------------------


def overlay(attention: Attention, observation: Observation, camera: str, square_px: tuple[int, int] | None,
            layers: Sequence[int] | None = None, steps: Sequence[int] | None = None) -> Drawing:
    """A camera's picture under the attention that it got: a row for each layer, a column for each Euler step.

    Coloured are places that got more than they would if attention were even. square_px: the config's
    resize_imgs_with_padding.
    """
    image, looked = observation.images[camera], picture_attention(attention, camera).mean(axis=2)
    count = looked.shape[-1] * looked.shape[-2]
    even = looked / looked.sum(axis=(-2, -1), keepdims=True) * count             # (steps, layers, side, side)
    layers, steps = layers or _few(looked.shape[1], 4), steps or _few(looked.shape[0], 3)
    shown = even[np.ix_(steps, layers)]
    most = max(2.0, shown.max())
    width = 7.0 / len(steps)
    fig, axes = figure(7.0, 0.7 + len(layers) * width * image.shape[0] / image.shape[1] * 0.88, len(layers), len(steps),
                       squeeze=False)
    for (row, column), ax in np.ndenumerate(axes):
        heat = _spots(ax, image, over_picture(shown[column, row], image.shape, square_px), 1, most)
        if row == 0:
            ax.set_title(f"t = {attention.times[steps[column]]:.1f}", fontsize=9, fontweight="normal", loc="center")
        if column == 0:
            ax.set_ylabel(f"layer {layers[row]}\n{attention.kinds[layers[row]]}", fontsize=8)
    fig.colorbar(heat, ax=axes, shrink=0.7, label="attention (1 = an even share)")
    step, layer, *_ = np.unravel_index(even.argmax(), even.shape)
    share, lost = looked.sum(axis=(-2, -1)).mean(), padding_share(looked.mean(axis=(0, 1)), image.shape, square_px)
    title = (f"{camera} gets {share:.0%} of the attention; at most, one of its {count} places gets "
             f"{even.max():.1f} times an even share (layer {layer}, t = {attention.times[step]:.1f})"
             + f"; {lost:.0%} falls on padding" * bool(lost > 0.005))
    return Drawing(finding(fig, fill(title, LETTERS)), f"The {camera} picture {axes.size} times, coloured where the "
                   f"action tokens look most, by layer and Euler step. {title}.")


def covered(observation: Observation, camera: str, sizes: np.ndarray) -> Drawing:
    """A camera's picture, coloured where the plan moves if that cell is covered (`cover_map`)."""
    image, count = observation.images[camera], sizes.size
    fig, (plain, ax) = figure(7.0, 0.6 + 3.2 * image.shape[0] / image.shape[1], columns=2)
    picture(plain, image)
    spots = _spots(ax, image, over_picture(sizes, image.shape, None), 0, max(0.2, sizes.max()))
    fig.colorbar(spots, ax=ax, shrink=0.8, label="effect (1 = noise alone)")
    half = int((np.cumsum(np.sort(sizes.ravel())[::-1]) < sizes.sum() / 2).sum()) + 1
    title = (f"Half of what {camera} does to the plan comes from {half} of its {count} cells; "
             f"the strongest does {sizes.max():.1f} times what noise does")
    title = title if sizes.max() > 0.05 else f"Whatever is covered in {camera}, the plan stays: it is not acted on"
    return Drawing(finding(fig, fill(title, LETTERS)), f"The {camera} picture twice: as it is, and coloured where "
                   f"covering a cell moves the plan. {title}.")


def keypoints(observation: Observation, found: dict[str, Keypoints], square_px: tuple[int, int] | None) -> Drawing:
    """Each camera's picture, coloured where a keypoint's heat map gives a place more than an even share.

    A dot for each map's centre of mass. square_px: the config's resize_imgs_with_padding.
    """
    fig, axes = figure(7.0, 3.9, columns=len(found), squeeze=False)
    most = {camera: points.heat.max() * points.heat[0].size for camera, points in found.items()}
    for ax, (camera, points) in zip(axes[0], found.items(), strict=True):
        image, strongest = observation.images[camera], points.heat.max(axis=0) * points.heat[0].size
        spots = _spots(ax, image, over_picture(strongest, image.shape, square_px), 1, max(2.0, *most.values()))
        ax.plot(*points.centres_px.T, ".", color=CAMERA_COLORS[0], markersize=4)
        ax.set_title(camera, fontsize=9, fontweight="normal", loc="center")
    fig.colorbar(spots, ax=axes, shrink=0.8, label="strongest map (1 = an even share)")
    title = "; ".join(f"{camera}: " + (f"a place gets up to {times:.1f} times an even share" if times > 1.1
                                       else "every map is even, no place is picked out")
                      for camera, times in most.items())
    return Drawing(finding(fig, fill(title, LETTERS)), "Camera pictures, coloured where a keypoint's heat map is "
                   f"strong, with a dot at each map's centre. {title}.")


# --- from noise to actions ----------------------------------------------------------------------------


def denoised(walk: Denoising, steps: Sequence[int] | None = None) -> Drawing:
    """The chunk on its way (above), and what the policy guesses there that it will become (below)."""
    steps = steps or _few(len(walk.guesses_deg), 4)
    fig, axes = figure(7.0, 4.4, 2, len(steps), sharex=True, sharey=True, squeeze=False)
    for column, step in enumerate(steps):
        _chunk(axes[0, column], walk.chunks_deg[step])
        _chunk(axes[1, column], walk.guesses_deg[step])
        axes[0, column].set_title(f"t = {walk.times[step]:.1f}", fontsize=9, fontweight="normal")
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("chunk (deg; %)")
    axes[1, 0].set_ylabel("its guess (deg; %)")
    _legend(fig, axes[0, 0], columns=6)
    return Drawing(finding(fig, fill(_settled(walk), LETTERS)), f"Two rows of {len(steps)} panels, a line for each "
                   f"joint: above, tangled lines become smooth; below, the guesses. {_settled(walk)}.")


def film(walk: Denoising) -> bytes:
    """The chunk as it loses its noise, as a GIF: a frame for each Euler step; the last one stands for a while."""
    from PIL import Image
    frames, within = [], (walk.chunks_deg.min() - 5, walk.chunks_deg.max() + 5)
    for time, chunk in zip(walk.times, walk.chunks_deg, strict=True):
        fig, ax = figure(5.6, 3.5)
        _chunk(ax, chunk)
        ax.set(ylim=within, xlabel="step of the chunk", ylabel="deg; gripper %")
        ax.set_title(f"t = {time:.1f}", loc="left", fontsize=11)
        _legend(fig, ax, columns=3)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=90)
        frames.append(Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
    out = io.BytesIO()
    wait_ms = [700, *[250] * (len(frames) - 2), 2500]
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=wait_ms, loop=0)
    return out.getvalue()


def film_html(walk: Denoising) -> str:
    """The film for a page, with its alt text: `display(HTML(film_html(walk)))`."""
    alt = f"A film of {len(walk.times)} pictures: tangled lines, one for each joint, become smooth. {_settled(walk)}."
    data = base64.b64encode(film(walk)).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:image/gif;base64,{data}">'


def _settled(walk: Denoising, near_deg: float = 1.0) -> str:
    """When the guess stopped changing: the finding of a walk."""
    away = np.abs(walk.guesses_deg - walk.chunks_deg[-1]).mean(axis=(1, 2))                  # (steps,)
    near = int(np.argmax(np.maximum.accumulate(away[::-1])[::-1] < near_deg))
    return (f"Its first guess, from pure noise, is {away[0]:.1f} deg off the chunk that comes out; "
            f"from t = {walk.times[near]:.1f} on it is within {near_deg:.0f} deg (mean over joints; gripper %)")


# --- ablations ----------------------------------------------------------------------------------------


def effects(measured: Sequence[Effect]) -> Drawing:
    """Bars of effect sizes in units of what noise alone does, a dot for each observation."""
    fig, ax = figure(7.0, 1.0 + 0.4 * len(measured))
    for y, effect in enumerate(measured):
        ax.barh(y, effect.size, height=0.62, color=_verdict_color(effect.size))
        ax.plot(effect.sizes, [y] * len(effect.sizes), ".", color=INK, markersize=5)
    for at, words in ((NOISE, "noise alone"), (CLEAR, "clear")):
        ax.axvline(at, color=INK, linewidth=0.8, linestyle="--")
        ax.annotate(words, (at, -0.62), (3, 0), textcoords="offset points", fontsize=8, color=INK)
    ax.set_yticks(range(len(measured)), [f"{effect.change}   {effect.size:.1f}" for effect in measured])
    reach = max(1.3 * CLEAR, *(1.05 * max(effect.sizes) for effect in measured))
    ax.set(ylim=(len(measured) - 0.5, -0.9), xlim=(0, reach), xlabel="how far the plan moves (1 = noise alone)")
    ax.grid(axis="y", visible=False)
    most, least = (pick(measured, key=lambda effect: effect.size) for pick in (max, min))
    title = f"The plan moves most with \"{most.change}\" ({most.size:.1f} times the noise)"
    title += f", least with \"{least.change}\" ({least.size:.1f})" if least is not most else ""
    return Drawing(finding(fig, fill(title, LETTERS)), f"Bars of {len(measured)} effects: "
                   + ", ".join(f"{effect.change} {effect.size:.1f}" for effect in measured) + f". {title}.")


def _verdict_color(size: float) -> str:
    return QUIET if size < NOISE else JOINT_COLORS[4] if size < CLEAR else JOINT_COLORS[2]


# --- drawing ------------------------------------------------------------------------------------------


def _colors(parts: Sequence[Part]) -> list[str]:
    cameras = [part.name for part in _cameras(parts)]
    return [PART_COLORS.get(part.name) or CAMERA_COLORS[cameras.index(part.name) % len(CAMERA_COLORS)]
            for part in parts]


def _cameras(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.name not in PART_COLORS]


def _of(parts: Sequence[Part], name: str) -> slice:
    return next(part.columns for part in parts if part.name == name)


def _sees(allowed: np.ndarray, one: Part, other: Part) -> bool:
    return bool(allowed[one.columns, other.columns].any())


def _counted(part: Part) -> str:
    return part.name + f" {part.count}" * (part.count > 1) + f" ({part.real} real)" * (0 < part.real < part.count)


def _few(count: int, most: int) -> list[int]:
    """Some of `count` numbers, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def _legend(fig: Figure, ax: Axes, columns: int) -> None:
    """The joints' names and colours, below all axes."""
    lines = ax.get_lines()
    names = JOINT_NAMES if len(lines) == len(JOINT_NAMES) else [f"joint {k + 1}" for k in range(len(lines))]
    fig.legend(lines, names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _chunk(ax: Axes, chunk: np.ndarray) -> None:
    for joint in range(chunk.shape[1]):
        ax.plot(np.arange(1, len(chunk) + 1), chunk[:, joint], color=JOINT_COLORS[joint % len(JOINT_COLORS)])


def _spots(ax: Axes, image: np.ndarray, value: np.ndarray, low: float, high: float) -> AxesImage:
    """The picture in grey, coloured where the value (H, W) is above `low`."""
    picture(ax, image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    strength = np.clip((value - low) / max(high - low, 1e-9), 0, 1)
    return ax.imshow(value, cmap="YlOrRd", vmin=low, vmax=high, alpha=0.8 * strength)
