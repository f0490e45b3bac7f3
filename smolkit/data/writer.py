"""Recording a LeRobot dataset v3.0 that survives Ctrl-C, kill -9 and a full disk.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp()) / "red_cube"
    >>> cameras = [CameraRole("front", height_px=32, width_px=32, fps=10)]
    >>> with DatasetWriter.create(root, fps=10, cameras=cameras) as writer:
    ...     for step in range(5):
    ...         pose = {"observation.state": np.zeros(6), "action": np.ones(6), "captured_s": step / 10}
    ...         picture = {"observation.images.front": np.zeros((32, 32, 3), np.uint8)}
    ...         writer.add_frame({**pose, **picture}, task="wave")
    ...     writer.save_episode()
    0
    >>> sorted(path.name for path in (root / "meta").iterdir())
    ['episodes', 'info.json', 'smolkit.json', 'stats.json', 'tasks.parquet']

Poses are the driver's own units: body joints in degrees, gripper 0..100; meta/smolkit.json says so, because
nothing in LeRobot's files does. The column `captured_s` keeps the real moments (LeRobot's `timestamp` is
frame_index / fps, whatever the loop did). Its name begins with neither "observation" nor "action", or
LeRobot's policies would take it for a joint.

In memory are the running episode's rows and compressed pictures (a natural 480x640 picture takes about 11 KB, a
very noisy one 40), a second of raw pictures, and 300 bytes for each episode that was saved.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm.joints import FEATURE_NAMES
from smolkit.cameras.camera import CameraRole, Observation
from smolkit.data.claim import Claim, claim_new
from smolkit.data.compact import compact
from smolkit.data.encoding import Encoded, EpisodeEncoder
from smolkit.data.facts import session, timing_of
from smolkit.data.files import missing
from smolkit.data.layout import load_layout
from smolkit.data.recover import load_store
from smolkit.data.schema import AUTOMATIC, INFO_PATH, Feature, Info, check_name
from smolkit.data.store import Limits, Store, number_stats
from smolkit.data.video import choose_codec
from smolkit.report import SmolkitError

CAPTURED = "captured_s"
LOOP = "the recording loop and the dataset's features differ"
UNITS = ("deg", "deg", "deg", "deg", "deg", "percent")


class DatasetWriter(AbstractContextManager):
    """Records episodes: `add_frame` per step, then `save_episode` or `discard_episode`.

    When `save_episode` returns, the episode is complete on the disk and synced. Leaving the `with` block
    drops the episode that is still running, and joins the small files to few large ones. After a crash:
    `DatasetWriter.resume(root)`. One writer has the folder; SK417 tells a second one who that is.
    """

    def __init__(self, claim: Claim, store: Store, codec: str, limits: Limits | None = None,
                 provenance: Mapping[str, Any] | None = None):
        self._claim, self._store, self._codec, self._limits = claim, store, codec, limits
        self._encoder: EpisodeEncoder | None = None
        self._encoded: dict[str, Encoded] | None = None
        self._rows: list[dict[str, np.ndarray]] = []
        self._tasks: list[str] = []
        self._pauses: list[int] = []               # rows that were recorded after a pause
        self.closed = False
        self._sessions = [*store.state.extra.get("sessions", ())]
        self._ours = bool(self._sessions)          # a dataset of another recorder stays as it is, unless it grows
        self._sessions.append(session(self.episodes, provenance or {}))
        store.state = replace(store.state, extra={**store.state.extra, "sessions": self._sessions})

    @classmethod
    def create(cls, root: str | Path, fps: int, cameras: Iterable[CameraRole] = (), *,
               features: Mapping[str, Feature] | None = None, codec: str | None = None,
               calibration: Mapping[str, Any] | None = None, notes: Mapping[str, Any] | None = None,
               limits: Limits | None = None, provenance: Mapping[str, Any] | None = None) -> DatasetWriter:
        """Starts a dataset in a folder that doesn't exist yet (or is empty).

        `features` adds columns of numbers or text, e.g. {"next.success": Feature("bool", (1,))}; `codec`: "h264"
        or "av1"; `calibration`, `notes` and `provenance` (of this session) are JSON and go to meta/smolkit.json.
        Raises SmolkitError SK410 where a file is there already.
        """
        root = Path(root)
        info = Info(fps=fps, robot_type="so101_follower", features=_features(list(cameras), features or {}))
        extra = {"format": 1, "units": dict(zip(FEATURE_NAMES, UNITS, strict=True)), "time": "monotonic seconds",
                 "calibration": calibration, "notes": notes}
        codec, claim = choose_codec(codec), claim_new(root)
        with claim.kept_if_fine():
            return cls(claim, Store.new(root, info, extra), codec, limits, provenance)

    @classmethod
    def resume(cls, root: str | Path, limits: Limits | None = None,
               provenance: Mapping[str, Any] | None = None) -> DatasetWriter:
        """Continues a dataset after its last saved episode.

        What a kill left is completed or removed, and a RuntimeWarning says so. Errors: SK436 where a feature is
        of a kind that is read, not written (pictures in the table, matrices), and those of `load_store`.
        """
        if not (Path(root) / INFO_PATH).is_file():
            raise missing(Path(root) / INFO_PATH)
        claim = Claim(Path(root))                  # first: what another one is just writing is nobody's leftover
        with claim.kept_if_fine():
            store = load_store(Path(root))
            _check_writable(store.state.info)
            found = [feature.extra.get("info", {}).get("video.codec") for feature in store.state.info.features.values()
                     if feature.is_video]
            return cls(claim, store, choose_codec(next(filter(None, found), None)), limits, provenance)

    @property
    def root(self) -> Path:
        return self._store.root

    @property
    def info(self) -> Info:
        return self._store.state.info

    @property
    def episodes(self) -> int:
        """How many episodes are saved."""
        return self.info.total_episodes

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of the episode saved last, as meta/smolkit.json has them; {} before the first."""
        return self._store.state.facts[-1] if self.episodes else {}

    @property
    def pending_frames(self) -> int:
        """How many frames the running episode holds."""
        return len(self._rows)

    def add_frame(self, frame: Mapping[str, Any], task: str) -> None:
        """One step: a value for every feature of the dataset, but not the five automatic ones.

        Cameras are (H, W, 3) uint8 RGB. `captured_s` is one moment for all, or {"state": s, "front": s, ...}.
        Raises SmolkitError SK411 for a missing, unknown, misshapen or non-finite value, and SK434 where an encoder
        failed; nothing is added, and what was added before can be saved.
        """
        self.check_open()
        row = self._checked(frame, task)
        images = {key: row.pop(key) for key in self.info.video_keys}
        if self._encoder is None:
            sizes = {key: self.info.features[key].hwc()[:2] for key in self.info.video_keys}
            self._encoder = EpisodeEncoder(sizes, self.info.fps, self._codec)
        self._encoder.add(images, len(self._rows))
        self._rows.append(row)
        self._tasks.append(task)

    def add(self, observation: Observation, action_deg: np.ndarray, *, task: str = "", **columns: Any) -> None:
        """One step from an observation and the action (6,) that followed it; `columns` are further features."""
        images = {f"observation.images.{role}": image for role, image in observation.images.items()}
        moments = {role: observation.pictures_captured_s.get(role, observation.captured_s)
                   for role in observation.images}
        self.add_frame({"observation.state": observation.state_deg, "action": action_deg,
                        CAPTURED: {"state": observation.captured_s, **moments}, **images, **columns},
                       task or observation.task)

    def note_pause(self) -> None:
        """The next row is not the successor of the last one: time passed that nobody wanted to record."""
        if self._rows and self._pauses[-1:] != [len(self._rows)]:
            self._pauses.append(len(self._rows))

    def save_episode(self, facts: Mapping[str, Any] | None = None) -> int:
        """Puts the episode on the disk, complete and synced, and returns its index.

        `facts` (JSON) go to meta/smolkit.json, beside what is found here: the true rate, pauses, moments that were
        repeated or missed. A RuntimeWarning tells what a person should know before recording on (SK433).

        Raises SmolkitError SK407 when the disk is full: everything earlier is kept, and so is this
        episode; free some space and call it again.
        """
        self.check_open()
        if not self._rows:
            raise SmolkitError("SK412", "an episode with at least one frame", "none",
                               "save_episode() was called twice, or before add_frame()", "record first")
        if self._encoded is None:
            self._encoded = self._encoder.finish()
        whole = min([len(self._rows), *(camera.frames for camera in self._encoded.values())])
        if not whole:
            raise self._encoder.problem
        columns = {key: _stack([row[key] for row in self._rows[:whole]]) for key in self._rows[0]}
        found, said = self._facts(columns, whole)
        self._store.add_episode(columns, self._tasks[:whole], {key: camera.first(whole) for key, camera
                                                               in self._encoded.items()}, {**found, **(facts or {})})
        self._forget()
        self._ours = True
        if said:
            warnings.warn(f"SK433 episode {self.episodes - 1} is saved, but {'; '.join(said)}", RuntimeWarning,
                          stacklevel=2)
        return self.episodes - 1

    def _facts(self, columns: Mapping[str, Any], rows: int) -> tuple[dict[str, Any], list[str]]:
        """For meta/smolkit.json, and for the person who records."""
        facts: dict[str, Any] = {"session": len(self._sessions) - 1}
        identical = {key: camera.identical for key, camera in self._encoded.items() if camera.identical}
        lost, pauses, said = len(self._rows) - rows, [row for row in self._pauses if row < rows], []
        if CAPTURED in columns:
            moments_s = columns[CAPTURED].reshape(rows, -1)        # (T, sources)
            timing = timing_of(moments_s, self.info.features[CAPTURED].names, self.info.fps, pauses)
            facts["timing"], said = asdict(timing), timing.problems(self.info.fps, rows)
            facts["pauses"] = [[row, round(float(moments_s[row, 0] - moments_s[row - 1, 0]), 3)] for row in pauses]
        if lost or self._encoder.problem:
            said.append(f"without its last {lost} rows: {self._encoder.problem}")
        return {key: value for key, value in {**facts, "identical": identical, "lost_rows": lost}.items()
                if value or key == "session"}, said

    def remove_last_episode(self) -> None:
        """Takes back the episode saved last, to record it again. Errors: SK435 where none was since the opening."""
        self.check_open()
        self._store.remove_last()

    def discard_episode(self) -> int:
        """Drops the running episode and returns how many frames it had."""
        dropped = len(self._rows)
        if self._encoder is not None:
            self._encoder.discard()
        self._forget()
        return dropped

    def finalize(self) -> Info:
        """Ends the recording; an episode that was not saved is dropped, and small files become few."""
        try:
            self.discard_episode()
            if not self.closed and self._ours and self.episodes:
                self._tidy()
        finally:
            self.closed = True
            self._claim.release()
        return self.info

    def _tidy(self) -> None:
        """Nothing depends on it: a dataset in many files is as whole as one in few."""
        try:
            compact(self.root, self._limits)
            self._store.put_stats(number_stats(load_layout(self.root)))
        except SmolkitError as error:
            warnings.warn(f"{self.root} is whole, but lies in many files: {error}", RuntimeWarning, stacklevel=3)

    def __exit__(self, *_: object) -> None:
        self.finalize()

    def _forget(self) -> None:
        self._encoder, self._encoded, self._rows, self._tasks, self._pauses = None, None, [], [], []

    def check_open(self) -> None:
        """SK413 after `finalize`."""
        if self.closed:
            raise SmolkitError("SK413", "an open writer", "one that was finalized",
                               "the with block has ended", "DatasetWriter.resume(root)")

    def _checked(self, frame: Mapping[str, Any], task: str) -> dict[str, Any]:
        wanted = [key for key in self.info.features if key not in AUTOMATIC]
        if set(frame) != set(wanted):
            lost, odd = sorted(set(wanted) - set(frame)), sorted(set(frame) - set(wanted))
            raise _unfit("a value for every feature", f"missing {lost}, unknown {odd}")
        if not isinstance(task, str) or not task.strip():
            raise _unfit("a task in words", repr(task))
        return {key: _value(key, self.info.features[key], frame[key]) for key in wanted}


def _features(cameras: list[CameraRole], more: Mapping[str, Feature]) -> dict[str, Feature]:
    vector = Feature("float32", (len(FEATURE_NAMES),), list(FEATURE_NAMES))
    axes = ["height", "width", "channels"]
    pictures = {role.feature: Feature("video", (role.height_px, role.width_px, 3), axes) for role in cameras}
    sources = ["state", *(role.name for role in cameras)]
    automatic = {key: Feature(dtype, (1,)) for key, dtype in AUTOMATIC.items()}
    features = {"action": vector, "observation.state": vector, **pictures,
                CAPTURED: Feature("float64", (len(sources),), sources), **more, **automatic}
    for key, feature in features.items():
        _check_feature(key, feature)
    return features


def _check_writable(info: Info) -> None:
    for key, feature in info.features.items():
        try:
            _check_feature(key, feature)
        except SmolkitError as error:
            raise SmolkitError("SK436", error.expected, error.found, "another program recorded this dataset",
                               "record into a new folder with DatasetWriter.create") from error


def _check_feature(key: str, feature: Feature) -> None:
    check_name(key)
    if feature.is_video and any(side % 2 or side < 16 for side in feature.hwc()[:2]):
        raise _unfit(f"{key} of even size, 16 px or more (video halves the colour)", str(feature.shape))
    known = feature.is_number or feature.dtype == "string"
    if not feature.is_video and not (known and len(feature.shape) == 1):
        raise _unfit(f"{key} as a number, a vector or a text", f"{feature.dtype} {feature.shape}")


def _value(key: str, feature: Feature, value: Any) -> Any:
    if feature.is_video:
        return _picture(key, feature, value)
    if feature.dtype == "string":
        if not isinstance(value, str):
            raise _unfit(f"{key} as a text", type(value).__name__)
        return value
    if key == CAPTURED:
        value = _moments(feature, value)
    array = np.asarray(value)
    if array.shape != feature.shape and not (feature.shape == (1,) and array.shape == ()):
        raise _unfit(f"{key} of shape {feature.shape}", str(array.shape))
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise _unfit(f"finite numbers in {key}", str(value))
    array = array.astype(feature.dtype)
    return array.reshape(()) if feature.shape == (1,) else array


def _moments(feature: Feature, value: Any) -> Any:
    """One moment for all sources, or one each by name."""
    if isinstance(value, Mapping):
        if set(value) != set(feature.names):
            raise _unfit(f"moments of {feature.names}", str(sorted(value)))
        return [value[name] for name in feature.names]
    return np.full(feature.shape, value) if np.ndim(value) == 0 else value


def _picture(key: str, feature: Feature, value: Any) -> np.ndarray:
    image = np.asarray(value)
    if image.shape != feature.hwc() or image.dtype != np.uint8:
        raise _unfit(f"{key} as {feature.hwc()} uint8", f"{image.shape} {image.dtype}",
                     "the camera changed its size, or another one took its place" if image.dtype == np.uint8 else LOOP)
    return image


def _stack(values: list[Any]) -> Any:
    return list(values) if isinstance(values[0], str) else np.stack(values)


def _unfit(expected: str, found: str, cause: str = LOOP) -> SmolkitError:
    return SmolkitError("SK411", expected, found, cause,
                        "compare the frame with writer.info.features")
