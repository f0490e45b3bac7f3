"""Statistics of a dataset, exact: LeRobot's layout, without its overflow in the pictures' std.

    >>> stats = column_stats(np.array([[0.0], [1.0], [2.0], [3.0]]))
    >>> float(stats["mean"][0]), float(stats["q50"][0]), int(stats["count"][0])
    (1.5, 1.5, 4)

Numbers: mean, population std, min, max and true quantiles over all rows. Pictures: a sample of frames,
thinned, as LeRobot samples them, kept as one histogram per channel: from 256 counts everything follows
exactly, and histograms of two episodes simply add up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

Stats = dict[str, np.ndarray]
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
THIN_FROM_PX, THIN_TO_PX = 300, 150       # LeRobot thins pictures whose longer side is 300 px or more
_LEVELS = np.arange(256) / 255.0


def column_stats(rows: np.ndarray) -> Stats:
    """Statistics of one feature; rows (n, d) -> each (d,), count (1,)."""
    values = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0),
             "count": np.array([len(values)], dtype=np.int64)}
    levels = np.quantile(values, list(QUANTILES.values()), axis=0)      # (5, d)
    return {**stats, **dict(zip(QUANTILES, levels, strict=True))}


def frame_histogram(image: np.ndarray) -> np.ndarray:
    """Counts of the 256 levels per channel; image (H, W, C) uint8 -> (C, 256)."""
    step = thinning(image.shape[0], image.shape[1])
    pixels = image[::step, ::step]
    return np.stack([np.bincount(pixels[..., c].ravel(), minlength=256) for c in range(image.shape[2])])


def thinning(height_px: int, width_px: int) -> int:
    """Every how many pixels LeRobot looks: 480x640 -> 4, anything below 300 px -> 1."""
    longer = max(height_px, width_px)
    return max(1, longer // THIN_TO_PX) if longer >= THIN_FROM_PX else 1


def sampled_frames(length: int) -> np.ndarray:
    """Which frames of an episode are looked at: all up to 100, then fewer and fewer."""
    wanted = min(max(int(length**0.75), min(100, length)), 10000)
    return np.round(np.linspace(0, length - 1, wanted)).astype(int)


def histogram_stats(counts: np.ndarray, frames: int) -> Stats:
    """Statistics of pictures in 0..1 from their histogram; counts (C, 256) -> each (C, 1, 1)."""
    total = counts.sum(1)                                               # (C,)
    mean = counts @ _LEVELS / total
    variance = (counts * (_LEVELS - mean[:, None]) ** 2).sum(1) / total
    present = counts > 0
    stats = {"min": _LEVELS[present.argmax(1)], "max": _LEVELS[255 - present[:, ::-1].argmax(1)],
             "mean": mean, "std": np.sqrt(variance)}
    for name, q in QUANTILES.items():
        stats[name] = np.array([_histogram_quantile(channel, q) for channel in counts])
    shaped = {name: value.reshape(-1, 1, 1) for name, value in stats.items()}
    return {**shaped, "count": np.array([frames], dtype=np.int64)}


def _histogram_quantile(counts: np.ndarray, q: float) -> float:
    """numpy's linear quantile, read off the cumulated counts (256,)."""
    cumulated = np.cumsum(counts)
    place = (cumulated[-1] - 1) * q
    below, above = np.searchsorted(cumulated, [np.floor(place), np.ceil(place)], side="right")
    return float(_LEVELS[below] + (_LEVELS[above] - _LEVELS[below]) * (place - np.floor(place)))


def merge_stats(parts: Sequence[Mapping[str, np.ndarray]]) -> Stats:
    """Statistics of one feature over several sets, when only their statistics are left.

    Exact for min, max, mean, std and count. Quantiles can't be merged exactly; where every part has them
    the count-weighted mean is given, as LeRobot 0.4.4 does. Prefer `column_stats` over all rows.
    """
    counts = np.array([float(np.ravel(p["count"])[0]) for p in parts])
    weights = counts / counts.sum()
    mean = _weighted(weights, [p["mean"] for p in parts])
    spread = [np.asarray(p["std"]) ** 2 + (np.asarray(p["mean"]) - mean) ** 2 for p in parts]
    merged = {"min": np.min([p["min"] for p in parts], 0), "max": np.max([p["max"] for p in parts], 0),
              "mean": mean, "std": np.sqrt(_weighted(weights, spread)),
              "count": np.array([int(counts.sum())], dtype=np.int64)}
    shared = [name for name in QUANTILES if all(name in p for p in parts)]
    return {**merged, **{name: _weighted(weights, [p[name] for p in parts]) for name in shared}}


def _weighted(weights: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray:
    return np.tensordot(weights, np.asarray(values, dtype=np.float64), axes=1)


def as_json(stats: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, list]]:
    """The layout of meta/stats.json."""
    return {key: {name: np.asarray(value).tolist() for name, value in one.items()}
            for key, one in stats.items()}


def as_bytes(stats: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """The content of meta/stats.json."""
    return json.dumps(as_json(stats), indent=4).encode()


def from_json(raw: Mapping[str, Mapping[str, list]]) -> dict[str, Stats]:
    """The inverse of `as_json`."""
    return {key: {name: np.asarray(value) for name, value in one.items()} for key, one in raw.items()}


def complete(stats: Mapping[str, np.ndarray], channels: int) -> bool:
    """Are a camera's statistics such that they can be merged?"""
    shapes = {**dict.fromkeys(("min", "max", "mean", "std"), (channels, 1, 1)), "count": (1,)}
    return all(name in stats and np.shape(stats[name]) == shape and np.asarray(stats[name]).dtype.kind in "fiu"
               for name, shape in shapes.items())


def impossible(stats: Mapping[str, np.ndarray]) -> bool:
    """Is the std smaller than the quantiles allow? LeRobot 0.4.4 squares pixels in 8 bits, which overflow.

    A tenth of all values lies at or below q10 and a tenth at or above q90, which is a least variance.
    """
    if not all(name in stats for name in ("mean", "std", "q10", "q90")):
        return False
    below, above = np.maximum(0, stats["mean"] - stats["q10"]), np.maximum(0, stats["q90"] - stats["mean"])
    return bool((np.square(stats["std"]) < 0.99 * 0.1 * (below**2 + above**2) - 1e-9).any())
