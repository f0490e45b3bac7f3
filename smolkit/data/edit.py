"""Datasets edited, never in place: a plan says what is kept and changed, one writer makes a new folder of it.

    Plan.of("recordings/cubes").drop([3, 7]).trim(first_s=0.5).write("recordings/cubes_clean")
    Plan.of("monday", "tuesday").write("both")                       # several sources are a merge
    Plan.of("cubes").rename_tasks({"pick": "pick up the red cube"}).resample(15).write("cubes_15")

Packets of videos are copied, so pixels stay what they were; only `reencode` and `resample` encode them. The sources
may be v3.0, v2.1 or v2.0, the result is v3.0. meta/edits.json tells what it was made from, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.data.layout import Layout, load_layout
from smolkit.data.recut import extra_of
from smolkit.data.rewrite import Edited, Rows, rewrite, unfit
from smolkit.data.schema import AUTOMATIC, DATA_PATH, VERSION, VIDEO_PATH, Feature, Info, check_name
from smolkit.data.splice import Encoding
from smolkit.data.video import choose_codec
from smolkit.report import SmolkitError

Values = np.ndarray | Callable[[dict[str, Any]], Any]      # all rows of the result, or made from an episode's columns
CAPTURED = "captured_s"
SLOW, MARGIN_S = 5.0, 0.2                                  # deg/s that a hand's tremor stays below; kept around motion


@dataclass(frozen=True, order=True)
class Piece:
    """One episode of the result: frames start..stop-1 of a source's episode."""

    source: int
    episode: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """What is kept of which sources, and what changes. Each method returns a new plan; `write` makes it true.

    Episodes are numbered as in this plan, so after `drop([0])` the second one is 0. Errors: SK490 for what does not
    exist or leaves nothing, SK415 where sources don't fit each other.
    """

    sources: tuple[Layout, ...]
    pieces: tuple[Piece, ...]
    operations: tuple[Mapping[str, Any], ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    added: Mapping[str, tuple[Feature, Values]] = field(default_factory=dict)
    encoding: Encoding | None = None
    fps: int | None = None
    recount: bool = False

    @classmethod
    def of(cls, *roots: str | Path) -> Plan:
        """All episodes of these datasets, one after the other."""
        if not roots:
            raise unfit("at least one dataset", "none")
        sources = tuple(load_layout(Path(root)) for root in roots)
        return cls(sources, _everything(sources))

    def keep(self, episodes: Iterable[int]) -> Plan:
        """These episodes, in this order."""
        wanted = list(episodes)
        return self._done("keep", {"episodes": wanted}, pieces=tuple(self.pieces[i] for i in self._known(wanted)))

    def drop(self, episodes: Iterable[int]) -> Plan:
        """All but these episodes."""
        gone = self._known(list(episodes))
        left = tuple(piece for i, piece in enumerate(self.pieces) if i not in set(gone))
        return self._done("drop", {"episodes": gone}, pieces=left)

    def trim(self, episodes: Iterable[int] | None = None, *, first: int = 0, last: int = 0, first_s: float = 0.0,
             last_s: float = 0.0) -> Plan:
        """Without so many frames, or seconds, at the beginning and the end."""
        fps = self.sources[0].info.fps
        first, last = first + round(first_s * fps), last + round(last_s * fps)
        chosen = self._known(range(len(self.pieces)) if episodes is None else list(episodes))
        about = {"episodes": chosen, "first": first, "last": last}
        return self._cut(about, {i: (first, last) for i in chosen})

    def trim_idle(self, episodes: Iterable[int] | None = None, slow: float = SLOW, margin_s: float = MARGIN_S) -> Plan:
        """Without the standing still at both ends: no entry of the state faster than `slow` (deg or % a second)."""
        chosen = self._known(range(len(self.pieces)) if episodes is None else list(episodes))
        rows = Rows(self.sources)
        ends = {i: self._idle(rows, self.pieces[i], slow, margin_s) for i in chosen}
        return self._cut({"episodes": chosen, "slow": slow, "margin_s": margin_s}, ends)

    def _idle(self, rows: Rows, piece: Piece, slow: float, margin_s: float) -> tuple[int, int]:
        info = self.sources[piece.source].info
        key = "observation.state" if "observation.state" in info.features else "action"
        if key not in info.features:
            raise unfit("a column of states or actions to see motion in", f"{list(info.features)}")
        state = rows.values(piece.source, piece.episode, key)[piece.start:piece.stop].astype(float)
        step = np.abs(np.diff(state.reshape(len(state), -1), axis=0)).max(axis=1)
        moving = np.flatnonzero(step * info.fps >= slow)
        if not len(moving):
            return 0, 0                                     # nothing to tell the task by: dropping it is your choice
        margin = round(margin_s * info.fps)
        return max(0, int(moving[0]) - margin), max(0, len(state) - 2 - int(moving[-1]) - margin)

    def _cut(self, about: dict[str, Any], ends: Mapping[int, tuple[int, int]]) -> Plan:
        pieces = list(self.pieces)
        for i, (first, last) in ends.items():
            start, stop = pieces[i].start + first, pieces[i].stop - last
            if first < 0 or last < 0 or start >= stop:
                raise unfit(f"a frame left of episode {i} ({pieces[i].stop - pieces[i].start} frames)",
                             f"{first} at its beginning and {last} at its end to be cut off")
            pieces[i] = replace(pieces[i], start=start, stop=stop)
        return self._done("trim", about, pieces=tuple(pieces))

    def split(self, parts: Mapping[str, Sequence[int] | float]) -> dict[str, Plan]:
        """Several plans by name: lists of episodes, or shares of them in order ({"train": 0.8, "test": 0.2})."""
        lists, start, share = {}, 0, 0.0
        for name, part in parts.items():
            if isinstance(part, int | float):
                share += part
                stop = min(len(self.pieces), round(share * len(self.pieces)))
                part, start = range(start, stop), stop
            lists[check_name(name)] = list(part)
        return {name: self.keep(part) for name, part in lists.items()}

    def rename_tasks(self, tasks: Mapping[str, str]) -> Plan:
        """Other words for tasks: {old text: new text}."""
        now = {task: self.tasks.get(task, task) for layout in self.sources for task in layout.tasks}
        odd = [old for old, new in tasks.items() if old not in now.values() or not new.strip()]
        if odd:
            raise unfit(f"tasks among {sorted(set(now.values()))}, renamed to words", repr(odd[0]))
        return self._done("rename_tasks", {"tasks": dict(tasks)},
                          tasks={task: tasks.get(text, text) for task, text in now.items()})

    def rename(self, names: Mapping[str, str]) -> Plan:
        """Other names for cameras and columns: {old: new}."""
        now = {key: names.get(self.name(key), self.name(key)) for key in self.kept}
        for old, new in names.items():
            self._present(old)
            check_name(new)
        if len(set(now.values())) < len(now) or set(names.values()) & set(AUTOMATIC):
            raise unfit("names that differ from each other", f"{dict(names)}")
        return self._done("rename", {"names": dict(names)}, names=now)

    def remove(self, *keys: str) -> Plan:
        """Without these cameras or columns."""
        for key in keys:
            self._present(key)
        gone = {old for old in self.kept if self.name(old) in keys}
        return self._done("remove", {"features": list(keys)}, removed=self.removed | gone)

    def add(self, key: str, feature: Feature, values: Values) -> Plan:
        """One more column: an array (all rows of the result, ...), or a function of an episode's columns."""
        check_name(key)
        if key in self.info.features or feature.is_camera:
            raise unfit("a new column of numbers or text", f"{key}: {feature.dtype}")
        return self._done("add", {"feature": key, **feature.as_json()}, added={**self.added, key: (feature, values)})

    def reencode(self, codec: str = "h264", crf: int | None = None, size: tuple[int, int] | None = None) -> Plan:
        """Videos encoded anew, at `size` (height, width) px."""
        if size is not None and any(side < 16 or side % 2 for side in size):
            raise unfit("height and width that are even and 16 px or more", str(size))
        about = {"codec": choose_codec(codec), "crf": crf, "size": size}
        return self._done("reencode", about, encoding=Encoding(codec, crf, size))

    def resample(self, fps: int) -> Plan:
        """Fewer frames a second: the nearest ones stay. Frames that nobody recorded are not made up."""
        if not 0 < fps <= self.info.fps:
            raise unfit(f"a rate between 1 and {self.info.fps} Hz", f"{fps} Hz")
        return self._done("resample", {"fps": fps}, fps=fps)

    def recounted(self) -> Plan:
        """With the pictures' statistics computed anew from frames; those of numbers always are."""
        return self._done("recount", {}, recount=True)

    @property
    def info(self) -> Info:
        """info.json of the result, its totals not yet counted."""
        first = self.sources[0].info
        features = {self.name(key): self._feature(key) for key in self.kept}
        features |= {key: feature for key, (feature, _) in self.added.items()}
        extra = {key: value for key, value in first.extra.items() if key not in ("total_chunks", "total_videos")}
        return replace(first, fps=self.fps or first.fps, features=features, codebase_version=VERSION, extra=extra,
                       data_path=DATA_PATH, video_path=first.video_path and VIDEO_PATH)

    def picks(self, piece: Piece) -> np.ndarray:
        """Which frames of its source's episode a piece keeps, (n,)."""
        old, new = self.sources[0].info.fps, self.info.fps
        count = (piece.stop - piece.start - 1) * new // old + 1
        return piece.start + np.round(np.arange(count) * old / new).astype(int)

    def whole(self, piece: Piece) -> bool:
        """Does the episode keep all its frames?"""
        length = self.sources[piece.source].episodes[piece.episode].length
        return len(self.picks(piece)) == length

    @property
    def complete(self) -> bool:
        """Is every frame of every source in it, once?"""
        return tuple(sorted(self.pieces)) == _everything(self.sources) and self.info.fps == self.sources[0].info.fps

    def text(self) -> str:
        """What would be done."""
        frames = sum(len(self.picks(piece)) for piece in self.pieces)
        sources = [f"{layout.root.name}: {layout.info.total_episodes} episodes, {layout.info.total_frames} frames"
                   for layout in self.sources]
        steps = [f"  {step['name']} " + ", ".join(f"{key}={value}" for key, value in step.items() if key != "name")
                 for step in self.operations]
        return "\n".join([*sources, *steps, f"-> {len(self.pieces)} episodes, {frames} frames"])

    def write(self, out: str | Path, replaces: bool = False) -> Edited:
        """The new dataset at `out`; with `replaces` in the place of the source, which is kept as a numbered backup.

        Errors: SK410 something is there, SK417 somebody records into a source, SK491 and SK493 from the videos.
        """
        if not self.pieces or any(piece.start >= piece.stop for piece in self.pieces):
            raise unfit("at least one episode left, and a frame in each", self.text())
        frames = sum(len(self.picks(piece)) for piece in self.pieces)
        for key, (_, values) in self.added.items():
            if not callable(values) and len(values) != frames:
                raise unfit(f"{frames} rows for {key}", str(len(values)))
        _check_fit(self)
        return rewrite(self, Path(out), replaces)

    def name(self, key: str) -> str:
        """What a feature of the sources is called in the result."""
        return self.names.get(key, key)

    @property
    def kept(self) -> list[str]:
        """Features of the sources that stay, under their old names."""
        return [key for key in self.sources[0].info.features if key not in self.removed]

    def _feature(self, key: str) -> Feature:
        feature = self.sources[0].info.features[key]
        extra = {**feature.extra, "fps": self.fps} if self.fps and "fps" in feature.extra else feature.extra
        if feature.is_video and self.encoding and self.encoding.size:
            return replace(feature, shape=(*self.encoding.size, 3), names=["height", "width", "channels"])
        if key == CAPTURED and isinstance(feature.names, list):        # its entries bear the cameras' names
            roles = {old.rpartition(".")[2]: new.rpartition(".")[2] for old, new in self.names.items()}
            return replace(feature, names=[roles.get(name, name) for name in feature.names])
        return replace(feature, extra=extra)

    def _present(self, key: str) -> None:
        names = [self.name(old) for old in self.kept if old not in AUTOMATIC]
        if key not in names:
            raise unfit(f"a feature among {names}", key)

    def _known(self, episodes: Sequence[int]) -> list[int]:
        odd = [i for i in episodes if not 0 <= i < len(self.pieces)]
        if odd or len(set(episodes)) < len(episodes):
            raise unfit(f"each episode once, among 0..{len(self.pieces) - 1}", str(odd[:9] or list(episodes)[:9]))
        return list(episodes)

    def _done(self, name: str, about: Mapping[str, Any], **changes: Any) -> Plan:
        return replace(self, operations=(*self.operations, {"name": name, **about}), **changes)


def _everything(sources: tuple[Layout, ...]) -> tuple[Piece, ...]:
    return tuple(Piece(number, episode.index, 0, episode.length)
                 for number, layout in enumerate(sources) for episode in layout.episodes)


def _check_fit(plan: Plan) -> None:
    first = _identity(plan, plan.sources[0])
    for layout in plan.sources[1:]:
        for name, value in _identity(plan, layout).items():
            if value != first[name]:
                raise SmolkitError("SK415", f"{name} {first[name]} as in {plan.sources[0].root}",
                                   f"{value} in {layout.root}", "the recordings were made with different settings",
                                   "merge only recordings of the same arm, cameras and fps")


def _identity(plan: Plan, layout: Layout) -> dict[str, Any]:
    """What must be equal: mixing units or joint orders would move an arm wrongly."""
    info = layout.info
    kept = {key: feature for key, feature in info.features.items() if key not in plan.removed}
    probed = {key: feature.extra.get("info", {}) for key, feature in kept.items() if feature.is_video}
    codecs = {} if plan.encoding else {key: [one.get(f"video.{what}") for what in ("codec", "pix_fmt")]
                                       for key, one in probed.items() if isinstance(one, dict)}
    units = extra_of(layout.root).get("units")
    return {"fps": info.fps, "robot_type": info.robot_type, "codecs": codecs, "units": units,
            "features": {key: (f.dtype, f.shape, f.names) for key, f in kept.items()}}
