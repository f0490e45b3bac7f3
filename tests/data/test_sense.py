"""The sense checks: a healthy recording is green, and each planted fault turns the check red that is there for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from smolkit.cameras.camera import CameraRole
from smolkit.data.checks.card import quality_card
from smolkit.data.checks.evidence import Evidence, Finding
from smolkit.data.checks.sense import sense_findings
from smolkit.data.checks.statistics import _numbers
from smolkit.data.reader import Dataset
from smolkit.data.stats import column_stats
from smolkit.data.writer import DatasetWriter

FPS, ROWS, LAG, HIGH, WIDE = 10, 36, 1, 48, 64
SPAN = np.array([60, 40, 50, 30, 25, 40.0])
TASKS = ("put the red cube into the box", "put the green cube into the box")


@dataclass(frozen=True)
class Shown:
    """One episode; its pictures are a background with the arm's stick and a cube before it."""

    state: np.ndarray                              # (T, 6)
    action: np.ndarray
    task: str
    images: dict[str, np.ndarray] = field(default_factory=dict)        # camera -> (T, H, W, 3)
    moments: np.ndarray | None = None              # (T,) s


def shown(seed: int, cameras: tuple[str, ...] = ()) -> Shown:
    """A smooth way from one pose to another and back; the state runs a row behind the action."""
    rng = np.random.default_rng(seed)
    time = np.arange(ROWS + LAG) / ROWS
    turns, phase = rng.uniform(0.8, 1.2, 6), rng.uniform(-0.4, 0.4, 6)
    way = SPAN * np.sin(np.pi * turns * time[:, None] + phase) + [0, 0, 0, 0, 0, 50]
    images = {name: _film(name, way[:ROWS], rng) for name in cameras}
    return Shown(way[:ROWS], way[LAG:], TASKS[seed % 2], images)


def _film(name: str, way: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blocks of a background that is the camera's own, a cube where `rng` puts it, a stick that moves."""
    own = np.random.default_rng(sum(map(ord, name))).integers(60, 180, (HIGH // 8, WIDE // 8, 3)).astype(np.uint8)
    frames = np.repeat(own.repeat(8, 0).repeat(8, 1)[None], len(way), axis=0)
    top, left = rng.integers(0, HIGH - 8), rng.integers(0, WIDE - 8)
    frames[:, top:top + 8, left:left + 8] = (230, 30, 30)
    for frame, pan in zip(frames, way[:, 0], strict=True):
        at = int(np.clip(WIDE / 2 + pan / 3, 0, WIDE - 5))
        frame[HIGH // 2:, at:at + 5] = 240
    return frames


def record(root: Path, episodes: list[Shown]) -> Path:
    """A dataset of them."""
    cameras = [CameraRole(name, HIGH, WIDE, FPS) for name in episodes[0].images]
    with DatasetWriter.create(root, FPS, cameras) as writer:
        for one in episodes:
            moments = np.arange(len(one.state)) / FPS if one.moments is None else one.moments
            for row, (state, action) in enumerate(zip(one.state, one.action, strict=True)):
                pictures = {f"observation.images.{name}": frames[row] for name, frames in one.images.items()}
                writer.add_frame({"observation.state": state, "action": action, "captured_s": moments[row],
                                  **pictures}, one.task)
            writer.save_episode()
    return root


def asked(root: Path) -> dict[str, list[Finding]]:
    """Code -> findings."""
    with closing(Dataset(root)) as dataset:
        found: dict[str, list[Finding]] = {}
        for finding in sense_findings(dataset):
            found.setdefault(finding.check.code, []).append(finding)
        return found


def red(found: dict[str, list[Finding]]) -> dict[str, tuple[int, ...]]:
    """Code -> episodes of what is red."""
    named = {code: [n for f in group if not f.check.ok for n in f.episodes] for code, group in found.items()
             if not all(f.check.ok for f in group)}
    return {code: tuple(dict.fromkeys(numbers)) for code, numbers in named.items()}


def _joint(one: Shown, key: str, joint: int, values: object) -> Shown:
    changed = getattr(one, key).copy()
    changed[:, joint] = values
    return replace(one, **{key: changed})


def _pause(one: Shown) -> Shown:
    again = [*range(20), *[20] * 25, *range(20, ROWS)]
    return replace(one, state=one.state[again], action=one.action[again])


def _still(one: Shown, first: int) -> Shown:
    front = one.images["front"].copy()
    front[first:] = front[first]
    return replace(one, images={**one.images, "front": front})


def _front(one: Shown, change: Callable[[np.ndarray], np.ndarray]) -> Shown:
    return replace(one, images={**one.images, "front": change(one.images["front"])})


JOINTS: dict[str, Callable[[Shown], Shown]] = {
    "SK475": lambda one: _joint(one, "state", 2, one.state[:, 2] + 17),
    "SK426": _pause,
    "SK427": lambda one: replace(one, action=one.state),
    "SK485": lambda one: _joint(one, "state", 0, one.state[:, 0] + 90.0 * (np.arange(ROWS) == 20)),
    "SK484": lambda one: replace(one, action=one.action + np.random.default_rng(0).normal(0, 9, one.action.shape)),
    "SK478": lambda one: replace(one, state=np.deg2rad(one.state), action=np.deg2rad(one.action)),
    "SK488": lambda one: replace(one, state=np.concatenate([one.state[:10], one.state[[10] * 12], one.state[22:]])),
    "SK476": lambda one: _joint(_joint(one, "state", 5, 40.0), "action", 5, 40.0),
    "SK482": lambda one: replace(one, state=one.state[:9], action=one.action[:9]),
    "SK480": lambda one: replace(one, task=one.task.upper()),
    "SK423": lambda one: replace(one, moments=np.arange(ROWS) / FPS + 0.06 * (np.arange(ROWS) % 7 == 3)),
    "SK421": lambda one: _joint(one, "action", 3, 400.0),
}
CAMERAS: dict[str, Callable[[Shown], Shown]] = {
    "SK424": lambda one: _still(one, 10),
    "SK470": lambda one: _front(one, lambda frames: frames // 12),
    "SK471": lambda one: _front(one, lambda frames: frames.astype(int).clip(0, 85).astype(np.uint8) * 3),
    "SK472": lambda one: _front(one, lambda frames: np.roll(frames, 7, axis=2)),
    "SK473": lambda one: replace(one, images={"front": one.images["wrist"], "wrist": one.images["front"]}),
    "SK474": lambda one: replace(one, images={"front": one.images["front"], "wrist": one.images["front"]}),
}


@pytest.mark.filterwarnings("ignore:SK433")          # the writer saw the late rows, too
@pytest.mark.parametrize(("faults", "cameras"), [(JOINTS, ()), (CAMERAS, ("front", "wrist"))],
                         ids=["joints", "cameras"])
def test_each_fault_is_found_in_its_episode_and_nothing_in_a_healthy_one(faults, cameras, tmp_path):
    episodes = [shown(seed, cameras) for seed in range(len(faults) + 4)]
    planted = {code: place for place, code in enumerate(faults, 2)}       # two at either end stay healthy
    for code, place in planted.items():
        episodes[place] = faults[code](episodes[place])
    found = red(asked(record(tmp_path / "sick", episodes)))
    assert {code: place for code, place in planted.items() if place in found.get(code, ())} == planted
    assert not {code: numbers for code, numbers in found.items() if not set(numbers) <= set(planted.values())}


def test_copies_are_named_and_a_scene_that_never_changes_is_red(tmp_path):
    episodes = [shown(seed, ("front",)) for seed in (0, 2, 4)]
    same = [replace(one, images=episodes[0].images) for one in episodes]
    found = asked(record(tmp_path / "set", [*same, episodes[1]]))
    assert red(found)["SK479"] == (3,) and "1 = 3" in found["SK479"][0].check.found
    assert red(asked(record(tmp_path / "same", same)))["SK428"] == (1, 2)


def test_what_is_no_fault_is_a_remark(tmp_path):
    one_task = asked(record(tmp_path / "one", [shown(seed) for seed in (0, 2, 4, 6)]))
    assert [f.level for f in one_task["SK481"]] == ["remark"] and "ignore" in one_task["SK481"][0].check.found
    assert not red(one_task) and one_task["SK429"][0].remark          # no calibration: worth a word
    told = [shown(seed, ("front",)) for seed in range(6)]             # the picture says the task: a green stripe
    told = [_front(one, lambda f: np.where(np.arange(WIDE)[:, None] < 20, 90, f).astype(np.uint8))
            if one.task == TASKS[1] else one for one in told]
    found = asked(record(tmp_path / "two", told))
    assert not red(found) and found["SK481"][0].remark and "100%" in found["SK481"][0].check.found


def test_one_off_tasks_are_no_misspelling(tmp_path):
    named = ["task 0", "task 1", *["new task"] * 6]
    found = asked(record(tmp_path / "set", [replace(shown(seed), task=task) for seed, task in enumerate(named)]))
    assert not red(found) and found["SK480"][0].remark and "fewest: 'task" in found["SK480"][0].check.found


@pytest.mark.parametrize("ahead", [0.15, 0.4])
def test_a_lag_under_half_a_frame_is_not_told_from_none(ahead, tmp_path):
    """Of 100 ms here: only what is really the same number is red."""
    slow = [shown(seed) for seed in range(5)]
    early = [replace(one, action=one.state + ahead * (one.action - one.state)) for one in slow]
    found = asked(record(tmp_path / "set", early))
    assert "SK427" not in red(found) and found["SK427"][0].remark
    early[3] = replace(early[3], action=early[3].state)
    assert red(asked(record(tmp_path / "same", early)))["SK427"] == (3,)


def test_a_matrix_has_statistics_of_its_entries_or_of_its_last_axis():
    """LeRobot 0.4.4 writes the latter; its count is of rows."""
    values = np.random.default_rng(0).normal(size=(20, 3, 4))
    mine, last = column_stats(values), {**column_stats(values.reshape(-1, 4)), "count": np.array([20])}
    assert not [*_numbers("all rows", "mat", values, mine), *_numbers("all rows", "mat", values, last)]
    for wrong in ({"std": last["std"] * 2}, {"count": np.array([60])}, {"max": mine["max"]}):
        assert len([*_numbers("all rows", "mat", values, last | wrong)]) == 1


def test_other_arms_names_and_units_are_read(tmp_path):
    """Radians, names in a dict, no pictures, no moments, and an action that is something else."""
    root = record(tmp_path / "set", [shown(seed) for seed in range(5)])
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.state"]["names"] = {"motors": [f"main_{i}" for i in range(5)] + ["jaw"]}
    info["features"]["action"]["names"] = ["x", "y", "z", "roll", "pitch", "yaw"]
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/smolkit.json").write_text("{}")
    with closing(Dataset(root)) as dataset:
        evidence = Evidence(dataset)
        assert evidence.names[-1] == "jaw" and evidence.grippers == [5] and evidence.action == []
        assert evidence.unit.name == "degrees or -100..100" and not evidence.unit.sure
    found = asked(root)
    assert not red(found) and "SK427" not in found and found["SK478"][0].remark


class _Pictures(HTMLParser):
    """Alt texts of a page's pictures; fails where one comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert tag not in ("script", "link") and (told.get("src") or "data:").startswith("data:")
        if tag == "img":
            self.alts.append(told.get("alt") or "")


def test_the_card_is_one_page_with_a_picture_and_a_way_out_per_finding(tmp_path):
    episodes = [shown(seed, ("front",)) for seed in range(5)]
    episodes[2] = _joint(_still(episodes[2], 10), "state", 2, episodes[2].state[:, 2] + 17)
    episodes[4] = replace(episodes[4], task="<b>put</b> & go there")
    card = quality_card(record(tmp_path / "set", episodes))
    page, reader = card.html(), _Pictures()
    reader.feed(page)
    assert not card.ok and {"SK424", "SK475"} <= {check.code for check in card.red()}
    assert len(page) < 3e6 and "prefers-color-scheme: dark" in page and "<b>put" not in page
    assert len(reader.alts) >= 6 and all(reader.alts)
    written = json.loads(json.dumps(card.as_dict()))
    assert {"code": "SK475", "episodes": [2]}.items() <= next(
        finding for finding in written["findings"] if finding["code"] == "SK475").items()


def test_a_card_of_unreadable_rows_says_so(tmp_path):
    root = record(tmp_path / "set", [shown(0)])
    next((root / "data").rglob("*.parquet")).write_bytes(b"PAR1")
    card = quality_card(root)
    assert not card.ok and card.evidence is None and "cannot be read" in card.html()
