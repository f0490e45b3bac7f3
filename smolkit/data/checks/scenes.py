"""What the cameras of a recording tell: frozen, dark, burnt, moved, swapped or doubled, and scenes that repeat.

    frozen = [finding for finding in alive(evidence) if not finding.check.ok]

Limits are those of `smolkit.cameras.checks`, where they were measured; here the recording itself is the reference,
for it brings no passport. Pictures of 64 px tell less than those of 160: a camera that was moved by 8 px of 320 is
seen in either.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from smolkit.cameras.checks import BURNT_SHARE, DARK, DARKER, MOVED_DEG
from smolkit.cameras.passport import STEADY, look_at
from smolkit.cameras.registration import register
from smolkit.data.checks import pictures
from smolkit.data.checks.evidence import Evidence, Finding
from smolkit.data.checks.motion import _finding
from smolkit.data.checks.variety import _coarse

SAME_LEVEL = 0.1                  # of its contrast: H.264 changes a still picture by 22 of 255, an arm by 198 and more
FROZEN, REPEATS = 0.4, 0.2        # of the sampled steps in which the arm moved and the picture did not
MOVED_PX = 12.0                   # of 320: training's camera jitter, twice over, reaches 9.3; a turn of 3 deg is 15.7
THE_SAME = 0.4                    # of a match's score: below it is another view, a dark one, or another camera's
SAME_SCENE = 8.0                  # of 255, the most different block of two first pictures
REPEATED = 0.2                    # of the episodes that begin with a scene that was there before


def alive(e: Evidence) -> Iterator[Finding]:
    """SK424: a picture changes when the arm moves."""
    for name, episodes in e.pictures.items():
        share = np.zeros(len(e))
        for place, images in episodes.items():
            change = np.abs(np.diff(images.astype(np.int16), axis=0)).max(axis=(1, 2, 3), initial=0)
            moved = e.moved.get(place, np.ones(len(change), bool))
            share[place] = (change[moved] <= SAME_LEVEL * np.ptp(images)).mean() if moved.sum() >= 3 else 0.0
        yield _finding(e, "SK424", f"{name} camera alive", share, share > FROZEN,
                       "pictures that change while the arm moves", f"{share.max():.0%} stay the same",
                       "the camera or its driver hung and repeated its last picture",
                       "drop these episodes; give the camera a USB port of its own",
                       remark=bool(share.max() > REPEATS), draw=partial(pictures.film, e, name, int(share.argmax())))


def lit(e: Evidence) -> Iterator[Finding]:
    """SK470, SK471: neither dark nor burnt, in itself and beside the other episodes."""
    for name, episodes in e.pictures.items():
        looks = [[look_at(image) for image in images[::max(1, len(images) // 4)]] for images in episodes.values()]
        light, burnt = np.full(len(e), 255.0), np.zeros(len(e))
        light[e.looked] = [np.median([look.brightness for look in four]) for four in looks]
        burnt[e.looked] = [np.median([look.burnt for look in four]) for four in looks]
        usual, usually_burnt = float(np.median(light[e.looked])), float(np.median(burnt[e.looked]))
        floor, ceiling = max(DARK, DARKER * usual), max(BURNT_SHARE, 2 * usually_burnt)
        yield _finding(e, "SK470", f"{name} is lit", -light, light < floor, f"brightness {floor:.0f} or more of 255",
                       f"{light.min():.0f} to {light[e.looked].max():.0f}",
                       "the lamp was off, the lens covered, or the exposure too short", "switch the lamp on; drop "
                       "these episodes", draw=partial(pictures.film, e, name, int(light.argmin())))
        yield _finding(e, "SK471", f"{name} is not overexposed", burnt, burnt > ceiling,
                       f"at most {ceiling:.0%} of it white", f"{burnt.max():.0%}",
                       "sun or a lamp shone into the lens, or the exposure was too long",
                       "draw the curtain, fix the exposure; drop these episodes",
                       draw=partial(pictures.film, e, name, int(burnt.argmax())))


def in_place(e: Evidence) -> Iterator[Finding]:
    """SK472: the background lies where it lies in the other episodes; not told where a view has nothing steady."""
    if len(e.looked) < 2:
        return
    for name, episodes in e.pictures.items():
        usual = _backgrounds(episodes)
        middle = _most_usual(np.stack([background[..., :3] for background in usual.values()]))
        reference = usual[e.looked[middle]]
        if (reference[..., 3] > 0).mean() < 0.1:
            continue
        matches = {place: register(reference, background[..., :3]) for place, background in usual.items()}
        shift = np.zeros(len(e))
        shift[e.looked] = [match.shift_px if match.score >= THE_SAME else 0.0 for match in matches.values()]
        limit_px = max(MOVED_PX, 3 * float(np.median(shift[e.looked])))       # some recordings move it every time
        bad = np.isin(np.arange(len(e)), [p for p, m in matches.items() if m.score >= THE_SAME and (
            m.shift_px > limit_px or abs(m.roll_deg) > MOVED_DEG)])
        worst = int(np.argmax(bad * 1000 + shift))
        yield _finding(e, "SK472", f"{name} stands still", shift, bad, f"shift up to {limit_px:.0f} px of 320",
                       f"{shift[worst]:.0f} px in episode {e.episodes[worst]}",
                       "the camera or the arm's base was bumped between two episodes",
                       "turn it back with the ghost picture (smolkit.cameras.ghost); drop one side of the move",
                       draw=partial(pictures.pair, e, name, e.looked[middle], worst))


def not_swapped(e: Evidence) -> Iterator[Finding]:
    """SK473, SK474: each name shows the same view throughout, and no two names the same."""
    views = {name: _coarse(np.stack([np.median(images, axis=0) for images in episodes.values()]))
             for name, episodes in e.pictures.items()}
    for one, other in combinations(views, 2):
        if e.pictures[one][e.looked[0]].shape[1:] != e.pictures[other][e.looked[0]].shape[1:]:
            continue
        a, b = views[one], views[other]
        mean_a, mean_b = np.median(a, axis=0), np.median(b, axis=0)
        own, crossed = _apart(a, mean_a) + _apart(b, mean_b), _apart(a, mean_b) + _apart(b, mean_a)
        bad = np.isin(np.arange(len(e)), np.array(e.looked)[crossed < 0.8 * own])
        yield _finding(e, "SK473", f"{one} and {other} keep their roles", np.zeros(len(e)), bad,
                       "each more like itself in the other episodes", f"{bad.sum()} of {len(e)} the other way round",
                       "the cameras were found in another order after a restart, or their plugs were exchanged",
                       "name cameras by socket, not by number; exchange the two in these episodes",
                       draw=partial(pictures.roles, e, one, other, int(bad.argmax())))
        same = np.array([np.abs(e.pictures[one][p].astype(int) - e.pictures[other][p]).mean() for p in e.looked]) < 1.0
        doubled = np.isin(np.arange(len(e)), np.array(e.looked)[same])
        yield _finding(e, "SK474", f"{one} is not {other}", np.zeros(len(e)), doubled, "two different views",
                       f"the same pictures in {doubled.sum()} of {len(e)}", "one camera was opened under two names",
                       "give each role the camera's own address", draw=partial(pictures.roles, e, one, other, 0))


def scenes_differ(e: Evidence) -> Iterator[Finding]:
    """SK428: where the arm starts may always be the same, where things lie may not."""
    if not e.cameras or len(e.looked) < 2:
        return
    coarse = [_coarse(e.first(name)).astype(np.float32) for name in e.cameras]
    apart = np.full(len(e), np.inf)
    for rank in range(1, len(e.looked)):           # from the most alike earlier one, in the camera that tells most
        same = [other for other in range(rank) if e.tasks[e.looked[other]] == e.tasks[e.looked[rank]]]
        apart[e.looked[rank]] = np.max([np.abs(one[same] - one[rank]).max(axis=1) for one in coarse],
                                       axis=0).min(initial=np.inf)
    again = apart < SAME_SCENE
    share, nearest = again.sum() / len(e.looked), float(apart.min())
    if not np.isfinite(nearest):
        return
    bad = again if share > 0.5 else np.zeros(len(e), bool)
    yield _finding(e, "SK428", "scenes that differ", -np.nan_to_num(apart), bad,
                   f"first pictures {SAME_SCENE:g} of 255 apart somewhere",
                   f"{share:.0%} of episodes begin as an earlier one of their task did; the most alike are "
                   f"{nearest:.1f} apart",
                   "the things were put back to the same place",
                   "move the things, their angle and the light between episodes",
                   remark=bool(share >= REPEATED), draw=partial(pictures.coverage, e))


def _backgrounds(episodes: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Place -> (h, w, 4) uint8: the median picture, opaque where it held still, as in a camera's passport."""
    found = {}
    for place, images in episodes.items():
        usual = np.median(images, axis=0)
        steady = np.percentile(np.abs(images - usual).mean(axis=-1), 90, axis=0) < STEADY
        found[place] = np.dstack([usual, 255 * steady]).astype(np.uint8)
    return found


def _most_usual(images: np.ndarray) -> int:
    """The picture that is nearest to the median of all."""
    coarse = _coarse(images)
    return int(_apart(coarse, np.median(coarse, axis=0)).argmin())


def _apart(views: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(views - other).mean(axis=1)
