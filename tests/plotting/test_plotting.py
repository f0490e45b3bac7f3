"""The joint colours differ for every eye, and the style leaves nothing behind."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest

from smolkit.arm.joints import JOINT_NAMES
from smolkit.plotting import JOINT_COLORS, figure, figure_to_png_base64, use_style

# Linear RGB as full colour blindness sees it (Machado, Oliveira and Fernandes 2009, severity 1.0).
EYES = {
    "typical": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
}
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen_as_lab(color: str, eye: np.ndarray) -> np.ndarray:
    """CIE Lab (3,) of an sRGB colour as this eye sees it."""
    rgb = np.array([int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(eye @ linear, 0, 1) / (RGB_TO_XYZ @ np.ones(3))
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_joint_colours_stay_apart(eye: str) -> None:
    labs = [seen_as_lab(color, EYES[eye]) for color in JOINT_COLORS]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2))
    assert nearest > 10, f"two joints look alike to an eye with {eye}: distance {nearest:.1f}"


def test_one_colour_a_joint() -> None:
    assert len(JOINT_COLORS) == len(JOINT_NAMES)


def test_style_is_left_as_it_was_found() -> None:
    before = dict(matplotlib.rcParams)
    with use_style():
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


def test_figures_do_not_pile_up() -> None:
    figure()
    assert matplotlib.pyplot.get_fignums() == []


def test_same_figure_same_bytes() -> None:
    def picture() -> str:
        fig, ax = figure(2, 2)
        ax.plot([0, 1], [0, 1])
        return figure_to_png_base64(fig)

    assert picture() == picture()
