"""How far a live picture lies from its reference: a search over shift and roll that ignores the light.

    >>> noise = np.random.default_rng(0).integers(0, 255, (15, 20, 4)).astype(np.uint8) | (0, 0, 0, 255)
    >>> scene = noise.astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)        # (240, 320, 4)
    >>> match = register(scene, np.roll(scene[..., :3], 16, axis=1))
    >>> round(match.right_px), round(match.down_px), match.score > 0.8
    (16, 0, True)

Compared are the directions of edges, not colours: lamps dim and tables change their tint, edges stay. Only the
opaque part of the reference counts: what held still while the arm moved. The search is exhaustive, so it cannot get
stuck as an optimiser can.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from smolkit.cameras.opencv import load_opencv

WIDTH_PX = 160                        # pictures are compared at this width, half the unit of what is reported
REACH_PX = 26                         # the largest shift that is searched, at this width
ROLLS_DEG = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)
ROLL_COST = 0.01                      # of score per degree: a few edges fit a roll nearly as well as a shift
EDGE = 20.0                           # grey levels per pixel: weaker edges are mostly noise and count less


@dataclass(frozen=True)
class Match:
    """Where the reference lies in the live picture; lengths in pixels of a picture 320 px wide."""

    score: float                      # 1: every edge points the same way; 0: chance
    right_px: float                   # the content lies that far to the right of where it was
    down_px: float
    roll_deg: float                   # the content is turned clockwise
    shift_px: float                   # mean way of all compared points, roll included


def register(reference: np.ndarray, live: np.ndarray) -> Match:
    """The shift and roll that bring `reference` (h, w, 4) onto `live` (H, W, 3), both uint8; 30 ms on one core."""
    cv2, size = load_opencv(), (WIDTH_PX, round(WIDTH_PX * reference.shape[0] / reference.shape[1]))
    small, live = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (reference, live))
    edges, steady = _edges(cv2, small[..., :3]), (small[..., 3] > 127).astype(np.float32)
    padded = cv2.copyMakeBorder(_edges(cv2, live), *[REACH_PX] * 4, cv2.BORDER_CONSTANT)
    places = [_place(cv2, edges, steady, padded, roll) for roll in ROLLS_DEG]
    near = max(places, key=_worth).roll_deg
    places += [_place(cv2, edges, steady, padded, near + turn) for turn in (-1.0, 1.0)]
    return max(places, key=_worth)


def _worth(match: Match) -> float:
    return match.score - ROLL_COST * abs(match.roll_deg)


def _edges(cv2: ModuleType, image: np.ndarray) -> np.ndarray:
    """Brightness slopes (h, w, 2) float32, the strong ones shortened to length 1."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    slope = np.dstack([cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))])
    return slope / (np.linalg.norm(slope, axis=-1, keepdims=True) + EDGE)


def _place(cv2: ModuleType, edges: np.ndarray, steady: np.ndarray, padded: np.ndarray, roll_deg: float) -> Match:
    """Where the rolled reference fits best."""
    height, width = steady.shape
    turn = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), -roll_deg, 1.0)    # + is counter-clockwise
    mask = (cv2.warpAffine(steady, turn, (width, height)) > 0.5).astype(np.float32)
    rolled = cv2.warpAffine(edges, turn, (width, height)) * mask[..., None]    # directions keep: cos 8 deg is 0.99
    overlap = sum(cv2.matchTemplate(live, template, cv2.TM_CCORR)
                  for live, template in zip(cv2.split(padded), cv2.split(rolled), strict=True))
    energy = cv2.matchTemplate((padded ** 2).sum(-1), mask, cv2.TM_CCORR)
    # A picture without edges has no energy: the floor keeps its score at 0 instead of dividing dust by dust.
    scores = overlap / np.sqrt(np.maximum(energy, 1e-3 * mask.sum() + 1e-6) * max((rolled ** 2).sum(), 1e-6))
    down, right = np.unravel_index(int(scores.argmax()), scores.shape)
    shift = np.array([right + _peak(scores[down], right), down + _peak(scores[:, right], down)]) - REACH_PX
    points = np.argwhere(steady > 0)[:, ::-1] - (width / 2, height / 2)                    # (n, 2)
    way = points @ turn[:, :2].T + shift - points
    return Match(float(scores[down, right]), *(2 * shift).tolist(), roll_deg,
                 2 * float(np.linalg.norm(way, axis=1).mean()) if len(way) else 0.0)


def _peak(values: np.ndarray, at: int) -> float:
    """Where between the samples a parabola through the highest three has its top: -0.5 to 0.5."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, top, after = map(float, values[at - 1:at + 2])
    return 0.5 * (before - after) / min(before - 2 * top + after, -1e-9)
