"""Are the statistics those of the data? A policy normalises with them, so they decide what it sees and does.

    codes, faults = ask(gather(Path("outputs/red_cube")))

Numbers are computed again from all rows. Pictures were measured before their compression, and only a few of them are
decoded here: their statistics are compared loosely, which still tells another dataset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from smolkit.data.checks.facts import Facts, Fault, Faults
from smolkit.data.columns import read_table
from smolkit.data.layout import episode_files, json_lines
from smolkit.data.reader import load_stats
from smolkit.data.schema import AUTOMATIC
from smolkit.data.stats import QUANTILES, Stats, column_stats, histogram_stats
from smolkit.report import SmolkitError

NEEDED = ("min", "max", "mean", "std")
SAME, SAME_STD, ROUNDED = 1e-4, 1e-3, 1e-6     # of the spread; of the largest value, which was a float32
LOOSE_MEAN, LOOSE_END = 0.06, 0.12     # of 0..1: five pictures an episode, after compression, which overshoots at edges
OVERFLOWN = 0.5                    # LeRobot 0.4.4 squares pictures in 8 bits: its std is a tenth of the true one
Raw = Mapping[str, Mapping[str, Any]]


def ask(facts: Facts) -> tuple[set[str], list[Fault]]:
    """The rules that could be asked, and what they found."""
    rows = facts.everything()
    if not rows:
        return set(), []
    try:
        stored = load_stats(facts.root, facts.info.version)
    except SmolkitError as error:
        return {"SK467"}, [Fault("SK467", facts.short(f"{error.expected}: {error.found}"))]
    found = [fault for key, values in rows.items() for fault in _numbers("all rows", key, values, stored.get(key))]
    found += [fault for fault in _episodes(facts)]
    if all(not set(QUANTILES) & set(stats) for stats in stored.values()):
        found.append(Fault("SK467", "nothing wrong, but no quantiles: policies like pi0.5 need them", remark=True))
    found += [fault for key in facts.levels for fault in _pictures(facts, key, stored.get(key))]
    return {"SK467", *(["SK468"] if facts.levels else [])}, found


def _numbers(whose: str, key: str, values: np.ndarray, stats: Mapping[str, Any] | None) -> Faults:
    """One feature's statistics against its rows (n, ...)."""
    if stats is None:
        if key not in AUTOMATIC and key.startswith(("action", "observation")):
            yield Fault("SK467", f"{whose}: none of {key}")
        return
    if not values.size or not np.isfinite(values).all():                   # other rules say so
        return
    true = column_stats(values)
    if values.ndim > 2 and _array(stats.get("mean"), values.shape[-1:]) is not None:       # as LeRobot 0.4.4 has it
        true = column_stats(values.reshape(-1, values.shape[-1])) | {"count": true["count"]}
    size, spread = np.abs(values.astype(float)).max(initial=0), true["std"]
    for name in [name for name in (*NEEDED, "count") if name in stats or name in NEEDED]:
        found = _array(stats.get(name), true[name].shape)
        if found is None:
            yield Fault("SK467", f"{whose}: {name} of {key} is missing, or of another shape")
            continue
        tolerance = {"std": SAME_STD * spread + 10 * ROUNDED * size, "count": -1e-9}.get(
            name, SAME * spread + ROUNDED * size)
        wrong = ~(np.abs(found - true[name]) <= tolerance + 1e-9)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            yield Fault("SK467", f"{whose}: {name} of {key}[{place}] is {found[place]:g}, the rows have "
                                 f"{true[name][place]:g}")
    levels = [_array(stats.get(name), true["min"].shape) for name in QUANTILES if set(QUANTILES) & set(stats)]
    ends = [true["min"], *(level for level in levels if level is not None), true["max"]]
    if any(level is None for level in levels):
        yield Fault("SK467", f"{whose}: a quantile of {key} is missing, or of another shape")
    elif any((later < earlier - SAME * (np.abs(earlier) + spread) - 1e-9).any()
           for earlier, later in zip(ends, ends[1:], strict=False)):
        yield Fault("SK467", f"{whose}: the quantiles of {key} do not ascend from its minimum to its maximum")


def _array(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.shape == shape else None


def _episodes(facts: Facts) -> Faults:
    """The statistics of each episode, which an edit or a merge builds on."""
    try:
        stored = _stored_v3(facts) if facts.v3 else _stored_v21(facts) if facts.info.version == (2, 1) else {}
    except SmolkitError as error:
        yield Fault("SK467", facts.short(f"{error.expected}: {error.found}"))
        return
    keys = sorted({key for stats in stored.values() for key in stats} & set(facts.stored()))
    for episode, columns in facts.parts(*keys):
        for key, values in zip(keys, columns, strict=True):
            if len(values):
                stats = stored.get(episode.index, {}).get(key)
                yield from _numbers(f"episode {episode.index}", key, values, stats)
    for index, key in ((index, key) for index in stored for key in facts.info.camera_keys if key in stored[index]):
        levels = [_array(stored[index][key].get(name), (3, 1, 1)) for name in NEEDED]
        if facts.info.features[key].hwc()[2] == 3 and any(
                one is None or not ((one >= -SAME) & (one <= 1 + SAME)).all() for one in levels):
            yield Fault("SK468", f"episode {index}: those of {key} are missing, of another shape, or outside of 0..1")


def _stored_v21(facts: Facts) -> dict[int, Raw]:
    lines = json_lines(facts.root / "meta/episodes_stats.jsonl", "episode_index", "stats")
    return {line["episode_index"]: line["stats"] for line in lines if isinstance(line["episode_index"], int)
            and isinstance(line["stats"], dict) and all(isinstance(one, dict) for one in line["stats"].values())}


def _stored_v3(facts: Facts) -> dict[int, dict[str, dict[str, Any]]]:
    stored: dict[int, dict[str, dict[str, Any]]] = {}
    for path in episode_files(facts.root):
        table = read_table(path)
        indices = table.column("episode_index").to_pylist() if "episode_index" in table.column_names else []
        for name in table.column_names:
            _, _, what = name.partition("stats/")
            key, _, stat = what.rpartition("/")
            if name.startswith("stats/") and key in facts.info.features:
                for index, value in zip(indices, table.column(name).to_pylist(), strict=True):
                    if value is not None:
                        stored.setdefault(index, {}).setdefault(key, {})[stat] = value
    return stored


def _pictures(facts: Facts, key: str, stats: Stats | None) -> Faults:
    """A camera's statistics against the pictures that were decoded."""
    levels, name = facts.levels[key], key.removeprefix("observation.images.")
    if not levels.sum():
        return
    true, found = histogram_stats(levels, 1), {}
    for stat in NEEDED:
        found[stat] = _array((stats or {}).get(stat), true[stat].shape)
        if found[stat] is None:
            yield Fault("SK468", f"{stat} of {name} is missing, or of another shape than (3, 1, 1)")
            return
    for stat in (*NEEDED, *QUANTILES):
        level = _array((stats or {}).get(stat, true[stat]), true[stat].shape)
        if level is None or not (np.abs(level - 0.5) <= 0.5 + SAME).all():
            yield Fault("SK468", f"{stat} of {name} is outside of 0..1, or of another shape")
    for stat, off in (("mean", np.abs(found["mean"] - true["mean"]) - LOOSE_MEAN),
                      ("min", found["min"] - true["q01"] - LOOSE_END), ("max", true["q99"] - found["max"] - LOOSE_END)):
        if not (off <= 0).all():
            yield Fault("SK468", f"{stat} of {name} is {found[stat].ravel().round(3).tolist()}, its pictures have "
                                 f"{true[stat].ravel().round(3).tolist()}")
    yield from _std(name, found["std"], true["std"])
    count = _array((stats or {}).get("count", [0]), (1,))
    if count is None:
        yield Fault("SK468", f"count of {name} is no number")
    elif count[0] > facts.info.total_frames:
        yield Fault("SK468", f"{name} counts pixels, not frames (LeRobot's streaming recording): a merge weights it "
                             "wrongly", remark=True)


def _std(name: str, found: np.ndarray, true: np.ndarray) -> Faults:
    """LeRobot 0.4.4's overflow is told apart, and is a remark: SmolVLA uses no statistics of pictures."""
    both = f"is {found.ravel().round(4).tolist()}, its pictures have {true.ravel().round(4).tolist()}"
    if (np.abs(found - true) > np.maximum(LOOSE_MEAN, 0.3 * true)).any() or not np.isfinite(found).all():
        small = (found < OVERFLOWN * true).any() and (found <= true + LOOSE_MEAN).all()
        why = (": LeRobot 0.4.4 squares pictures in 8 bits. SmolVLA uses no statistics of pictures; for another "
               "policy compute them again") if small else ""
        yield Fault("SK468", f"std of {name} {both}{why}", remark=bool(small))
