"""What the episodes tell together: copies, outliers, spread of starts and durations, tasks, and whether words matter.

    >>> copies([np.zeros((9, 2)), np.ones((9, 2)), np.zeros((9, 2))])
    [(0, 2)]
    >>> told_apart(np.array([[0.0], [0.1], [9.0], [9.1]]), ["left", "left", "right", "right"])
    1.0
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from smolkit.data.checks import pictures
from smolkit.data.checks.evidence import Evidence, Finding
from smolkit.data.checks.motion import _finding
from smolkit.report import Check

SAME_DEG = 0.5                     # of two whole episodes at 40 moments: two of a person's differ by 8 or more (real)
FAR, RATIO = 4.0, 2.0              # robust standard deviations, and times as long or short; real: 3.3 and 1.2
LONG = 3.5                         # times as long, far or fast: who stumbles in the simulation needs up to 3.1
SPREAD = 3.0                       # longest over shortest: more is worth a look
UNBALANCED = 5.0                   # episodes of the most frequent task over those of the rarest
TOLD = 0.9                         # of episodes whose task the nearest first picture tells


def copies(episodes: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs of places whose paths (T, D) are the same within half a degree, however long they take."""
    paths = np.array([_forty(part).ravel() for part in episodes])                    # (E, 40 * D)
    order = np.argsort(paths.mean(axis=1), kind="stable")
    means, found = paths.mean(axis=1)[order], []
    for rank, place in enumerate(order):           # alike paths have alike means: few neighbours to look at
        last = min(int(np.searchsorted(means, means[rank] + SAME_DEG, side="right")), rank + 200)
        near = order[rank + 1:last]
        same = near[np.abs(paths[near] - paths[place]).max(axis=1, initial=0.0) < SAME_DEG]
        found += [(min(place, other), max(place, other)) for other in same]
    return sorted((int(a), int(b)) for a, b in found)


def told_apart(scenes: np.ndarray, tasks: Sequence[str]) -> float:
    """Share of episodes whose task is that of the most alike other scene (E, n): 1 when a picture tells it all."""
    hits = []
    for place, scene in enumerate(scenes):
        apart = np.abs(scenes - scene).mean(axis=1)
        apart[place] = np.inf
        hits.append(tasks[int(apart.argmin())] == tasks[place])
    return float(np.mean(hits))


def no_copies(e: Evidence) -> Iterator[Finding]:
    """SK479."""
    if not e.state or len(e) < 2:
        return
    values = [np.hstack(both) for both in zip(e.state, e.action, strict=True)] if e.action else e.state
    pairs = copies(values)
    again = np.isin(np.arange(len(e)), [second for _, second in pairs])
    named = ", ".join("{} = {}".format(*e.number(pair)) for pair in pairs[:4]) + ", ..." * (len(pairs) > 4)
    worst = pairs[0] if pairs else (0, 1)
    yield _finding(e, "SK479", "no episode twice", np.zeros(len(e)), again, f"paths {SAME_DEG} deg apart somewhere",
                   f"{again.sum()} cop{'y' if again.sum() == 1 else 'ies'}: {named}" if pairs else "none alike",
                   "two recordings were merged twice, or an episode was replayed into the dataset",
                   "keep one of each: copies in training and test make every number a lie",
                   draw=partial(pictures.joints, e, worst[1], None, f"the path of episode {e.episodes[worst[0]]}"))


def no_outliers(e: Evidence) -> Iterator[Finding]:
    """SK482, SK483: episodes far from the rest of their task, in duration, way and speed."""
    if not e.state or len(e) < 2:
        return
    way = np.array([np.abs(np.diff(part, axis=0)).sum() for part in e.state])                   # (E,) deg
    away = np.array([_away(np.log(values), e.tasks) for values in (e.duration_s, way + 1, (way + 1) / e.duration_s)])
    far = np.abs(away).max(axis=0)
    worst = int(far.argmax())
    told = f"{e.duration_s[worst]:.1f} s and {way[worst]:.0f} deg in episode {e.episodes[worst]}; " if far.any() else ""
    yield _finding(e, "SK482", "no episode unlike the rest", far, (away[0] < 0) | (far > np.log(LONG)),
                   f"duration from 1/{RATIO:g}, way and speed from 1/{LONG:g} to {LONG:g} times their task's median",
                   told + f"{np.median(e.duration_s):.1f} s and {np.median(way):.0f} deg in the median",
                   "it was broken off, begun too early, or shows something else",
                   "look at it; trim it or drop it", remark=bool(far.any()),
                   draw=partial(pictures.scatter, e, way, far > 0))
    ratio = float(e.duration_s.max() / max(e.duration_s.min(), 1e-6))
    yield Finding(Check("SK483", "durations", True, f"longest under {SPREAD:g} times the shortest",
                        f"{e.duration_s.min():.1f} to {e.duration_s.max():.1f} s, {np.median(e.duration_s):.1f} s in "
                        "the median", "tasks of several lengths, or pauses", "trim the rests at the ends"),
                  remark=ratio > SPREAD, draw=partial(pictures.scatter, e, way, far > 0),
                  alt="Duration and way of every episode")


def starts(e: Evidence) -> Iterator[Finding]:
    """SK486: from where the arm sets out."""
    if not e.state or len(e) < 2:
        return
    first = np.array([part[0] for part in e.state])                                            # (E, D)
    spread = np.ptp(first, axis=0)
    joint = int(spread.argmax())
    yield Finding(Check("SK486", "start poses", True, "several", f"{e.names[joint]} varies most, by "
                        f"{spread[joint]:.1f} deg" if spread[joint] >= 1 else "one pose, within 1 deg",
                        "the arm was parked before each episode",
                        "fine where the policy sets out from there too; else begin from other poses"),
                  remark=bool(spread[joint] < 1), draw=partial(pictures.starts, e, first),
                  alt="Start poses of all episodes, joint by joint")


def balance(e: Evidence) -> Iterator[Finding]:
    """SK480, SK425: how often each instruction occurs, and whether it is one."""
    counts = Counter(e.tasks)
    spelled: dict[str, set[str]] = {}
    for task in counts:
        spelled.setdefault(" ".join(re.findall(r"\w+", task.lower())), set()).add(task)
    twice = next((sorted(texts, key=counts.get, reverse=True) for texts in spelled.values() if len(texts) > 1), [])
    (most, top), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    few = low * UNBALANCED < top
    found = (f"{' and '.join(map(repr, twice))} are the same sentence" if twice else
             f"one instruction, {most!r}" if len(counts) == 1 else
             f"{len(counts)} instructions, {low} to {top} episodes each" + f"; fewest: {least!r}" * few)
    yield _finding(e, "SK480", "tasks in balance", np.zeros(len(e)), np.isin(e.tasks, twice[1:]),
                   "each spelled one way, the rarest at least a fifth as often as the most frequent", found,
                   "a typing error in the text field, or a session that was broken off",
                   "rename the task, or record more of the rare one", remark=few, draw=partial(pictures.tasks, counts))
    short = [task for task in counts if len(task.split()) < 3]
    yield Finding(Check("SK425", "instruction", True, "a sentence of three words or more",
                        f"{(short or [most])[0]!r}", "the text field still held its first word",
                        "record with the sentence that you will say to the policy"), remark=bool(short))


def words_matter(e: Evidence) -> Iterator[Finding]:
    """SK481: is there a scene in which only the instruction says what to do?"""
    if len(set(e.tasks)) == 1:
        yield Finding(Check("SK481", "instruction needed", True, "the same scene under two instructions",
                            "one instruction: a policy will learn to ignore it", "there is one task",
                            "fine for one task; for language show each scene with two instructions"), remark=True)
        return
    if not e.cameras or len(e.looked) < 4:
        return
    tasks = [e.tasks[place] for place in e.looked]
    scenes = np.hstack([_coarse(e.first(name)) for name in e.cameras])
    told, chance = told_apart(scenes, tasks), max(Counter(tasks).values()) / len(tasks)
    ignored = told > max(TOLD, chance)
    yield Finding(Check("SK481", "instruction needed", True, "the same scene under two instructions",
                        f"the first picture alone tells the task in {told:.0%} of episodes"
                        + (": a policy may ignore the words" if ignored else ""),
                        "each task was recorded with things of its own on the table",
                        "put the things of all tasks into every scene, and ask for each in turn"),
                  remark=ignored, draw=partial(pictures.two_tasks, e), alt="First pictures, by instruction")


def known_units(e: Evidence) -> Iterator[Finding]:
    """SK478, SK429: in what the joints are written, all the way through, and whose zero that is."""
    if not e.state:
        return
    raw = np.split(e.raw_body, e.dataset.starts[1:-1])
    size = np.array([np.abs(part).max(initial=0.0) for part in raw])
    mixed = (size < 2 * np.pi) if np.median(size) > 20 else size > 20 * max(float(np.median(size)), 0.3)
    yield _finding(e, "SK478", "one unit", -size, mixed, "all episodes in one unit",
                   f"{e.unit.name} ({e.unit.why})" + "; some are in another" * bool(mixed.any()),
                   "recordings in radians and degrees, or of two set-ups, were merged",
                   "write the unit down; set use_degrees as it was before you replay or mix this dataset",
                   remark=not e.unit.sure, draw=partial(pictures.joints, e, int(size.argmin())))
    known = bool(e.extra.get("calibration"))
    yield Finding(Check("SK429", "whose degrees these are", True, "the arm's calibration in the dataset",
                        "in meta/smolkit.json" if known else "none", "another recorder made it",
                        "keep the calibration file beside it; record with smolkit"), remark=not known)


def _forty(part: np.ndarray) -> np.ndarray:
    """A path (T, D) at 40 evenly spread moments."""
    return part[np.linspace(0, len(part) - 1, 40).round().astype(int)]


def _away(logs: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
    """Each one's distance from its task's median (of five or more); 0 where the rest lies as far."""
    found = np.zeros(len(logs))
    for task in set(tasks):
        mine = np.array([task == other for other in tasks])
        group = logs[mine] if mine.sum() >= 5 else logs
        away = logs[mine] - np.median(group)
        spread = max(1.4826 * float(np.median(np.abs(group - np.median(group)))), 0.02)
        found[mine] = np.where((np.abs(away) > FAR * spread) & (np.abs(away) > np.log(RATIO)), away, 0.0)
    return found


def _coarse(images: np.ndarray) -> np.ndarray:
    """Pictures (E, h, w, 3) as (E, n) means of about 12 x 16 blocks, without the light's level."""
    height, width = images.shape[1] // 12 or 1, images.shape[2] // 16 or 1
    cut = images[:, :images.shape[1] // height * height, :images.shape[2] // width * width].astype(np.float32)
    blocks = cut.reshape(len(cut), cut.shape[1] // height, height, cut.shape[2] // width, width, 3).mean(axis=(2, 4))
    return (blocks - blocks.mean(axis=(1, 2), keepdims=True)).reshape(len(cut), -1)
