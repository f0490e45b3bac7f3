"""The bug hunt of lesson 04: six faults in a dataset that opens, plays and trains; each leaves a number behind.

    found = {"the arm waits": 4, "cameras exchanged": [6, 7], ...}
    print(check_hunt(found, dataset("sick")))

The check holds no list of answers: it measures the dataset, as a learner does, and says the number that speaks
against a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.checks.motion import STILL_DEG_S, idle_share
from smolkit.data.reader import Dataset
from smolkit.lessons.grammar import Exercise

HUNT = Exercise("4.4")
SAME_PICTURE = 0.5                             # mean difference, of 255: below it a camera saw nothing new


@dataclass(frozen=True)
class Suspect:
    """A fault: what happened, the number that shows it, and from where on that number convicts."""

    story: str
    sign: str                                  # "{:.0f} deg ...": the number of one episode, in words
    guilty: float
    measure: Callable[[Episodes], np.ndarray]  # -> (E,)


@dataclass(frozen=True)
class Episodes:
    """A small dataset in memory, by episode."""

    state: list[np.ndarray]                    # (T, 6) deg, gripper %
    action: list[np.ndarray]
    pictures: list[dict[str, np.ndarray]]      # camera -> (T, H, W, 3)
    fps: int


def suspects() -> str:
    """The faults, one a line."""
    return "\n".join(f"{name:18} {suspect.story}" for name, suspect in SUSPECTS.items())


def _waits(seen: Episodes) -> np.ndarray:
    return np.array([100 * idle_share(state, seen.fps) for state in seen.state])


def _exchanged(seen: Episodes) -> np.ndarray:
    """How much better the first front picture fits the other episodes' wrist pictures than their front pictures."""
    first = {role: np.array([pictures[role][0] for pictures in seen.pictures], float) for role in ("front", "wrist")}
    usual = {role: np.median(images, axis=0) for role, images in first.items()}
    away = {role: np.abs(first["front"] - usual[role]).mean(axis=(1, 2, 3)) for role in usual}
    return away["front"] - away["wrist"]


def _slipped(seen: Episodes) -> np.ndarray:
    """Where a joint stands a step later, less where it was sent: the body joint with the greatest median."""
    return np.array([np.abs(np.median(state[1:] - action[:-1], axis=0)[:5]).max()
                     for state, action in zip(seen.state, seen.action, strict=True)])


def _frozen(seen: Episodes) -> np.ndarray:
    """Of the steps in which the arm moves, the share in which one of the cameras saw nothing new, in per cent."""
    shares = []
    for state, pictures in zip(seen.state, seen.pictures, strict=True):
        moves = np.abs(np.diff(state, axis=0)).max(axis=1) * seen.fps >= STILL_DEG_S
        same = [np.abs(np.diff(images.astype(np.int16), axis=0)).mean(axis=(1, 2, 3)) < SAME_PICTURE
                for images in pictures.values()]
        shares.append(100 * max(one[moves].mean() for one in same))
    return np.array(shares)


def _followed(seen: Episodes) -> np.ndarray:
    return np.array([100 * (state == action).mean() for state, action in zip(seen.state, seen.action, strict=True)])


def _copied(seen: Episodes) -> np.ndarray:
    """In how many other episodes exactly the same was done."""
    return np.array([sum(np.array_equal(one, other) for other in seen.state) - 1.0 for one in seen.state])


SUSPECTS: dict[str, Suspect] = {
    "the arm waits": Suspect("somebody stood and thought while recording",
                             "{:.0f} % of its steps stand still", 30.0, _waits),
    "cameras exchanged": Suspect("the two cables were exchanged",
                                 "its first front picture is {:.0f} of 255 nearer to a wrist picture", 0.0, _exchanged),
    "slipped joint": Suspect("a joint is read with the calibration of another day",
                             "no body joint stays further than {:.0f} deg from where it was sent", 8.0, _slipped),
    "frozen camera": Suspect("a camera repeats its last picture for ever",
                             "while the arm moves, {:.0f} % of the pictures show nothing new", 30.0, _frozen),
    "followed": Suspect("the action is where the arm was, not where it was sent",
                        "in {:.0f} % of its numbers action and state are the same", 50.0, _followed),
    "copied": Suspect("the same episode is there twice", "{:.0f} other episodes are the same", 1.0, _copied)}


@lru_cache(maxsize=4)
def measured(root: Path) -> Mapping[str, np.ndarray]:
    """Every sign of every episode: suspect -> (E,)."""
    with closing(Dataset(root)) as dataset:
        arrays = dataset.to_arrays()
        split = partial(np.split, indices_or_sections=arrays.starts[1:-1])
        pictures = {key.rsplit(".", 1)[-1]: split(frames) for key, frames in arrays.frames.items()}
        seen = Episodes(split(arrays.columns["observation.state"].astype(float)),
                        split(arrays.columns["action"].astype(float)),
                        [{role: parts[k] for role, parts in pictures.items()} for k in range(len(dataset.episodes))],
                        dataset.fps)
    return {name: suspect.measure(seen) for name, suspect in SUSPECTS.items()}


def check_hunt(found: Any, root: Path | str) -> str:
    """Exercise 4.4: which episodes have which fault; an episode's number or a list of them."""
    if unfilled := HUNT.unfilled(found, list(SUSPECTS)):
        return unfilled
    signs = measured(Path(root))
    hints = {name: _hint(name, found[name], signs[name]) for name in SUSPECTS}
    wrong = [f"{name}: {hint}" for name, hint in hints.items() if hint]
    if wrong:
        return HUNT.not_yet(f"{len(SUSPECTS) - len(wrong)} of {len(SUSPECTS)} are right. {'; '.join(wrong)}")
    return HUNT.passed("Six faults, and no line of any of them was red. `smolkit check dataset` looks for all six")


def _hint(name: str, given: Any, sign: np.ndarray) -> str:
    """What is wrong with the answer to one fault; "" where nothing is."""
    if given is None:
        return "still open"
    named = given if isinstance(given, (list, tuple, set)) else [given]
    if not named or not all(isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in named):
        return "an episode's number, please, or a list of them"
    if outside := [one for one in named if not 0 <= one < len(sign)]:
        return f"there is no episode {outside[0]}; they are 0 to {len(sign) - 1}"
    suspect, guilty = SUSPECTS[name], set(np.flatnonzero(sign >= SUSPECTS[name].guilty).tolist())
    if innocent := [one for one in named if one not in guilty]:
        return f"not episode {innocent[0]}: {suspect.sign.format(sign[innocent[0]])}"
    missing = 0 if name == "copied" else len(guilty - set(named))                 # of twins, either may go
    return f"right, and {missing} more" if missing else ""
