"""Episodes as a person records them: begin, watch it grow, keep it or throw it away and show it again.

    >>> import tempfile
    >>> import numpy as np
    >>> from smolkit.cameras.camera import Observation
    >>> root = Path(tempfile.mkdtemp()) / "wave"
    >>> with Recorder(root, fps=10, task="wave") as recorder:
    ...     for wanted in (False, True):                              # the first one is spoiled, the second kept
    ...         recorder.begin()
    ...         for index in range(5):
    ...             seen = Observation(np.zeros(6), captured_s=index / 10)
    ...             recorder.add(Step(index, seen, np.ones(6)))
    ...         kept = recorder.save() if wanted else recorder.discard()
    >>> recorder.episodes, kept
    (1, 0)

A folder that holds a dataset is continued, if its arm had the same calibration: two zeros in one dataset teach a
policy two arms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smolkit.arm.calibration import Calibration
from smolkit.cameras.camera import CameraRole
from smolkit.cameras.passport import Passport
from smolkit.data.claim import settle
from smolkit.data.schema import EXTRA_PATH, INFO_PATH, Info, read_object
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from smolkit.teleop.loop import Step


class Recorder(AbstractContextManager):
    """Begin, add, save or discard; a widget's thread and its buttons may call it at the same time.

    cameras: the roles whose pictures are recorded; passports: theirs. calibration: of the arm that is recorded; it
    travels with the data. notes (JSON) are of the dataset, provenance (JSON: the kit file's name, the profile) of this
    session; both go to meta/smolkit.json. codec: "h264" or "av1", of a new dataset. Errors: SK417 another recorder has
    the folder; SK430 begun twice, or without an instruction; SK431 the folder's dataset was recorded with another
    calibration, SK438 at another rate or with other cameras.
    """

    def __init__(self, root: Path | str, *, fps: int = 10, cameras: Iterable[CameraRole] = (), task: str = "",
                 calibration: Calibration | None = None, notes: dict[str, Any] | None = None, codec: str | None = None,
                 passports: Iterable[Passport] = (), provenance: Mapping[str, Any] | None = None):
        self.task = task                           # of the next episode
        self.policy: Mapping[str, Any] | None = None         # what acts in it, its name and hash; None: a person
        known = {"calibration": calibration.fingerprint if calibration else None,
                 "cameras": {one.role.name: {"identity": one.identity, "taken_on": one.taken_on, "fps": one.fps,
                                             **asdict(one.look)} for one in passports}}
        self._writer = open_writer(
            Path(root), fps=fps, cameras=list(cameras), calibration=calibration, notes=notes, codec=codec,
            provenance={**{key: value for key, value in known.items() if value}, **(provenance or {})})
        self._lock, self._recording, self._paused = threading.RLock(), False, False

    @property
    def root(self) -> Path:
        return self._writer.root

    @property
    def recording(self) -> bool:
        """Between `begin` and `save` or `discard`."""
        return self._recording

    @property
    def closed(self) -> bool:
        return self._writer.closed

    @property
    def frames(self) -> int:
        """Of the running episode."""
        return self._writer.pending_frames

    @property
    def episodes(self) -> int:
        """Saved so far, those of earlier days too."""
        return self._writer.episodes

    @property
    def paused(self) -> bool:
        """Between `pause` and `go_on`, in an episode."""
        return self._paused

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of the episode saved last: its true rate, pauses, moments that were repeated or missed."""
        return self._writer.facts

    def begin(self, task: str | None = None, policy: Mapping[str, Any] | None = None) -> None:
        """From now on steps are kept, under this instruction; `policy`: name and hash of what acts in it."""
        with self._lock:
            self._writer.check_open()
            self.task = self.task if task is None else task
            if self._recording or not self.task.strip():
                raise SmolkitError("SK430", "one episode at a time, with an instruction",
                                   "one is running" if self._recording else "no instruction",
                                   "begin was pressed twice, or the text field is empty",
                                   "save or discard the episode; say in words what is shown")
            self._recording, self._paused, self.policy = True, False, policy

    def pause(self) -> None:
        """Steps are not kept until `go_on`; the episode knows of the gap."""
        with self._lock:
            self._paused = self._recording
            self._writer.note_pause()

    def go_on(self) -> None:
        """The episode goes on after a pause."""
        with self._lock:
            self._paused = False

    def redo(self) -> None:
        """The episode saved last goes, and is recorded again under the same instruction: it begins now.

        Errors: SK430 while one is running, SK435 where none was saved since this recorder was opened.
        """
        with self._lock:
            if not self._recording:
                self._writer.remove_last_episode()
            self.begin(policy=self.policy)

    def add(self, step: Step) -> None:
        """One step of the loop; nothing happens while no episode is running."""
        with self._lock:
            if self._recording and not self._paused:
                self._writer.add(step.observation, step.action_deg, task=self.task)

    def save(self) -> int:
        """The episode is on the disk, complete and synced; its number. Raises as `DatasetWriter.save_episode`."""
        with self._lock:
            index = self._writer.save_episode({"policy": dict(self.policy)} if self.policy else None)
            self._recording = self._paused = False
            return index

    def discard(self) -> int:
        """Drops the episode; how many frames it had."""
        with self._lock:
            self._recording = self._paused = False
            return self._writer.discard_episode()

    def close(self) -> None:
        """Ends the recording; an episode that was not saved is dropped."""
        with self._lock:
            self._recording = self._paused = False
            self._writer.finalize()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_writer(root: Path, *, calibration: Calibration | None = None, **header: Any) -> DatasetWriter:
    """A new dataset, or the one that lies there, to be continued with the same arm. `header`: see `create`."""
    settle(root)                                   # killed while its header was written, perhaps
    if not (root / INFO_PATH).exists():
        return DatasetWriter.create(root, calibration=calibration.as_dict() if calibration else None, **header)
    writer = DatasetWriter.resume(root, provenance=header.get("provenance"))
    try:
        _check_arm(root, calibration)
        _check_header(writer.info, header["fps"], header.get("cameras", ()))
    except SmolkitError:
        writer.finalize()
        raise
    return writer


def recorded_calibration(root: Path) -> Calibration | None:
    """The calibration of the arm that a dataset was recorded with, where it says so."""
    found = (read_object(root / EXTRA_PATH) if (root / EXTRA_PATH).is_file() else {}).get("calibration")
    return Calibration.from_dict(found) if found else None


def _check_header(info: Info, fps: int, cameras: Iterable[CameraRole]) -> None:
    """Another rate teaches a policy another speed; the cameras' sizes are those of the videos."""
    before = {"fps": info.fps, **{key: info.features[key].hwc() for key in info.video_keys}}
    now = {"fps": fps, **{role.feature: (role.height_px, role.width_px, 3) for role in cameras}}
    differ = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differ:
        old, new = ("; ".join(f"{key} {of[key]}" if key in of else f"no {key}" for key in differ)
                    for of in (before, now))
        raise SmolkitError("SK438", f"what the dataset was recorded with: {old}", new,
                           "another profile or camera, or the folder of another recording",
                           "record with the same rate and cameras, or into a new folder")


def _check_arm(root: Path, calibration: Calibration | None) -> None:
    before = recorded_calibration(root)
    if before is None or calibration is None or before.fingerprint == calibration.fingerprint:
        return
    raise SmolkitError("SK431", f"the calibration of the episodes in {root}, fingerprint {before.fingerprint}",
                       f"fingerprint {calibration.fingerprint}", "the arm was calibrated again, or it is another arm",
                       "record into a new folder; merge only what was recorded with one calibration")
