"""A recording in place of a rig: its joints and pictures come by in their own time, and nothing can be moved.

    arm, cameras = open_recording(Path("datasets/teleop_recording/demos"), WallClock())
    arm.read().pos_deg, cameras["front"].read().image
    arm.energize()                                 # SK432: a recording cannot be moved

`Kit.recorded` makes a kit of them: what looks at a kit, looks at these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.arm.so101 import JointState
from smolkit.cameras.camera import CameraRole, Frame, digest_of
from smolkit.clock import Clock
from smolkit.data.reader import Dataset
from smolkit.data.recorder import recorded_calibration
from smolkit.report import SmolkitError
from smolkit.safety.states import State


class _Playhead:
    """Which row of an episode is due; it begins anew at its end."""

    def __init__(self, dataset: Dataset, episode: int, clock: Clock):
        self.dataset, self.rows, self.clock = dataset, dataset.positions(episode), clock
        self._begin_s = clock.now_s()

    def due(self) -> tuple[int, float]:
        """(position in the dataset, moment at which it was due)."""
        steps = int((self.clock.now_s() - self._begin_s) * self.dataset.fps + 1e-6)
        return self.rows[steps % len(self.rows)], self._begin_s + steps / self.dataset.fps


class RecordedArm:
    """Answers as a guarded arm does that is limp; whatever would move it raises SK432."""

    state, stopped_by, why, limited_share, profile = State.IDLE, None, "", 0.0, "recorded"
    turn = 0                                       # nobody ever arms it, or stops it

    def __init__(self, playhead: _Playhead, calibration: Calibration | None):
        self._playhead, self.calibration = playhead, calibration
        dataset = playhead.dataset
        self.instruction = dataset.tasks[int(dataset.columns["task_index"][playhead.rows[0]])]

    def read(self) -> JointState:
        """The joints of this moment; what a dataset does not hold is zero."""
        row, due_s = self._playhead.due()
        nothing = np.zeros(6)
        pos_deg = self._playhead.dataset.columns["observation.state"][row].astype(float)
        return JointState(pos_deg, nothing, nothing, nothing, nothing, nothing, nothing.astype(int), due_s)

    def energize(self, *_: Any, **__: Any) -> None:
        """Refused, and so is a goal."""
        raise SmolkitError("SK432", "an arm that can move", "a recording: it can be looked at, not moved",
                           "the lesson's lane is \"recorded\"", 'LANE = "sim" gives you an arm that moves')

    def hold(self, *_: Any, **__: Any) -> None:
        """It is limp already."""

    command, park, release, rest, close = energize, hold, hold, hold, hold


class RecordedFrames:
    """A camera whose pictures are those of the episode."""

    def __init__(self, playhead: _Playhead, key: str):
        height_px, width_px, _ = playhead.dataset.info.features[key].hwc()
        self.role = CameraRole(key.rsplit(".", 1)[-1], height_px, width_px, playhead.dataset.fps)
        self._playhead, self._key = playhead, key

    def read(self) -> Frame:
        """The picture of this moment."""
        row, due_s = self._playhead.due()
        image = self._playhead.dataset.frames(self._key, [row])[0]
        return Frame(image, due_s, row, digest_of(image))

    def close(self) -> None:
        """The dataset's files are closed."""
        self._playhead.dataset.close()


def open_recording(root: Path | str, clock: Clock, episode: int = 0) -> tuple[RecordedArm, dict[str, RecordedFrames]]:
    """Arm and cameras of one episode, on one clock."""
    playhead = _Playhead(Dataset(root), episode, clock)
    cameras = [RecordedFrames(playhead, key) for key in playhead.dataset.camera_keys]
    return RecordedArm(playhead, recorded_calibration(Path(root))), {camera.role.name: camera for camera in cameras}
