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
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm.joints import FEATURE_NAMES
from smolkit.cameras.camera import CameraRole, Observation
from smolkit.data.claim import Claim, claim_new
from smolkit.data.encoding import Encoded, EpisodeEncoder
from smolkit.data.files import missing
from smolkit.data.recover import load_store
from smolkit.data.schema import AUTOMATIC, INFO_PATH, Feature, Info, check_name
from smolkit.data.store import Limits, Store
from smolkit.data.video import choose_codec
from smolkit.report import SmolkitError

CAPTURED = "captured_s"
UNITS = ("deg", "deg", "deg", "deg", "deg", "percent")


class DatasetWriter(AbstractContextManager):
    """Records episodes: `add_frame` per step, then `save_episode` or `discard_episode`.

    When `save_episode` returns, the episode is complete on the disk and synced. Leaving the `with` block
    drops the episode that is still running. After a crash: `DatasetWriter.resume(root)`. One writer has the
    folder; SK417 tells a second one who that is.
    """

    def __init__(self, claim: Claim, store: Store, codec: str):
        self._claim, self._store, self._codec = claim, store, codec
        self._encoder: EpisodeEncoder | None = None
        self._encoded: dict[str, Encoded] | None = None
        self._rows: list[dict[str, np.ndarray]] = []
        self._tasks: list[str] = []
        self.closed = False

    @classmethod
    def create(cls, root: str | Path, fps: int, cameras: Iterable[CameraRole] = (), *,
               features: Mapping[str, Feature] | None = None, codec: str | None = None,
               calibration: Mapping[str, Any] | None = None, notes: Mapping[str, Any] | None = None,
               limits: Limits | None = None) -> DatasetWriter:
        """Starts a dataset in a folder that doesn't exist yet (or is empty).

        `features` adds columns of numbers or text, e.g. {"next.success": Feature("bool", (1,))};
        `calibration` and `notes` (JSON) go to meta/smolkit.json. Raises SmolkitError SK410 where a file is
        there already.
        """
        root = Path(root)
        info = Info(fps=fps, robot_type="so101_follower", features=_features(list(cameras), features or {}))
        extra = {"format": 1, "units": dict(zip(FEATURE_NAMES, UNITS, strict=True)), "time": "monotonic seconds",
                 "calibration": calibration, "notes": notes}
        codec, claim = choose_codec(codec), claim_new(root)
        with claim.kept_if_fine():
            store = Store(root, info, extra, limits)
            store.write_header()
        return cls(claim, store, codec)

    @classmethod
    def resume(cls, root: str | Path) -> DatasetWriter:
        """Continues a dataset after its last saved episode; what a crash left half-written is removed."""
        if not (Path(root) / INFO_PATH).is_file():
            raise missing(Path(root) / INFO_PATH)
        claim = Claim(Path(root))                  # first: what another one is just writing is nobody's leftover
        with claim.kept_if_fine():
            store = load_store(Path(root))
            found = [feature.extra.get("info", {}).get("video.codec") for feature in store.info.features.values()
                     if feature.is_video]
            return cls(claim, store, choose_codec(next(filter(None, found), None)))

    @property
    def root(self) -> Path:
        return self._store.root

    @property
    def info(self) -> Info:
        return self._store.info

    @property
    def episodes(self) -> int:
        """How many episodes are saved."""
        return self._store.info.total_episodes

    @property
    def pending_frames(self) -> int:
        """How many frames the running episode holds."""
        return len(self._rows)

    def add_frame(self, frame: Mapping[str, Any], task: str) -> None:
        """One step: a value for every feature of the dataset, but not the five automatic ones.

        Cameras are (H, W, 3) uint8 RGB. `captured_s` is one moment for all, or {"state": s, "front": s, ...}.
        Raises SmolkitError SK411 for a missing, unknown, misshapen or non-finite value; nothing is added.
        """
        self._check_open()
        row = self._checked(frame, task)
        images = {key: row.pop(key) for key in self.info.video_keys}
        if self._encoder is None:
            sizes = {key: self.info.features[key].hwc()[:2] for key in self.info.video_keys}
            self._encoder = EpisodeEncoder(sizes, self.info.fps, self._codec)
        self._encoder.add(images)
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

    def save_episode(self) -> int:
        """Puts the episode on the disk, complete and synced, and returns its index.

        Raises SmolkitError SK407 when the disk is full: everything earlier is kept, and so is this
        episode; free some space and call it again.
        """
        self._check_open()
        if not self._rows:
            raise SmolkitError("SK412", "an episode with at least one frame", "none",
                               "save_episode() was called twice, or before add_frame()", "record first")
        if self._encoded is None:
            self._encoded = self._encoder.finish()
        self._check_lengths(self._encoded)
        columns = {key: _stack([row[key] for row in self._rows]) for key in self._rows[0]}
        self._store.add_episode(columns, list(self._tasks), self._encoded)
        self._forget()
        return self.episodes - 1

    def discard_episode(self) -> int:
        """Drops the running episode and returns how many frames it had."""
        dropped = len(self._rows)
        if self._encoder is not None:
            self._encoder.discard()
        self._forget()
        return dropped

    def finalize(self) -> Info:
        """Ends the recording; an episode that was not saved is dropped. Nothing else is left to write."""
        try:
            self.discard_episode()
        finally:
            self.closed = True
            self._claim.release()
        return self.info

    def __exit__(self, *_: object) -> None:
        self.finalize()

    def _forget(self) -> None:
        self._encoder, self._encoded, self._rows, self._tasks = None, None, [], []

    def _check_open(self) -> None:
        if self.closed:
            raise SmolkitError("SK413", "an open writer", "one that was finalized",
                               "the with block has ended", "DatasetWriter.resume(root)")

    def _check_lengths(self, encoded: Mapping[str, Encoded]) -> None:
        lengths = {key: camera.frames for key, camera in encoded.items()}
        if any(frames != len(self._rows) for frames in lengths.values()):
            raise SmolkitError("SK412", f"{len(self._rows)} frames of every camera", str(lengths),
                               "add_frame() was interrupted between a picture and its row",
                               "discard_episode() and record it again")

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


def _check_feature(key: str, feature: Feature) -> None:
    check_name(key)
    if feature.is_video and any(side % 2 or side < 16 for side in feature.shape[:2]):
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
        raise _unfit(f"{key} as {feature.hwc()} uint8", f"{image.shape} {image.dtype}")
    return image


def _stack(values: list[Any]) -> Any:
    return list(values) if isinstance(values[0], str) else np.stack(values)


def _unfit(expected: str, found: str) -> SmolkitError:
    return SmolkitError("SK411", expected, found, "the recording loop and the dataset's features differ",
                        "compare the frame with writer.info.features")
