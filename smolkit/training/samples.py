"""A whole dataset in memory, cut into what a chunk policy learns from: (observation, next T actions).

    >>> samples = Samples(images={"front": np.zeros((5, 8, 8, 3), np.uint8)},
    ...                   state_deg=np.zeros((5, 6), np.float32), action_deg=np.zeros((5, 6), np.float32),
    ...                   episode=np.array([0, 0, 0, 1, 1]), task=np.zeros(5, int), tasks=("lift the cube",))
    >>> frames, is_pad = samples.chunks(length=3)
    >>> frames.tolist()                          # a chunk never runs into the next episode ...
    [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 4, 4], [4, 4, 4]]
    >>> is_pad[1].tolist()                       # ... it repeats the last action, which the loss leaves out
    [False, False, True]

Decoding video frame by frame costs more than training a small policy on it, and 200 episodes of 64-pixel
pictures are 300 MB: so everything is decoded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smolkit.data.reader import Arrays
from smolkit.report import SmolkitError

PICTURES, PRIVILEGED = "observation.images.", "observation.environment_state"


@dataclass(frozen=True)
class Samples:
    """N frames of all episodes, one after another, in the border's units (deg, gripper %)."""

    images: dict[str, np.ndarray]                 # camera role -> (N, H, W, 3) uint8 RGB
    state_deg: np.ndarray                         # (N, 6)
    action_deg: np.ndarray                        # (N, 6) commanded after this frame was seen
    episode: np.ndarray                           # (N,) rising
    task: np.ndarray                              # (N,) index into `tasks`
    tasks: tuple[str, ...]
    privileged: np.ndarray | None = None          # (N, K) metres: true positions, only from a simulation

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.state_deg, self.action_deg, self.episode, self.task,
                                          *self.images.values())}
        if len(lengths) != 1 or 0 in lengths or not self.images:
            raise SmolkitError("SK607", "at least one camera, and as many pictures as states and actions",
                               f"lengths {sorted(lengths)}, cameras {sorted(self.images)}",
                               "a recording that was cut off, or a dataset without pictures",
                               "smolkit.data.reader.Dataset(folder): it names the file that is wrong")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Samples:
        """The samples of a dataset that was read with `Dataset.to_arrays`."""
        lengths = np.diff(arrays.starts)                                           # (E,) frames per episode
        columns = arrays.columns
        return cls({name.removeprefix(PICTURES): frames for name, frames in arrays.frames.items()},
                   np.asarray(columns["observation.state"], np.float32),
                   np.asarray(columns["action"], np.float32),
                   np.repeat(np.arange(len(lengths)), lengths), np.asarray(columns["task_index"], np.int64),
                   tuple(arrays.tasks), columns.get(PRIVILEGED))

    @property
    def count(self) -> int:
        return len(self.state_deg)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The roles of the cameras, in the order of the dataset."""
        return tuple(self.images)

    def chunks(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame numbers (N, T) of the next `length` actions, and where they are padding (N, T) bool."""
        last = np.searchsorted(self.episode, self.episode, side="right") - 1       # (N,) end of own episode
        wanted = np.arange(self.count)[:, None] + np.arange(length)                # (N, T)
        return np.minimum(wanted, last[:, None]), wanted > last[:, None]
