"""Small recordings for the tests of the data room; run as a program it records until it is killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smolkit.cameras.camera import CameraRole
from smolkit.data.writer import DatasetWriter

FPS = 10
ROLES = (CameraRole("front", 32, 48, FPS), CameraRole("wrist", 32, 32, FPS))


def picture(role: CameraRole, episode: int, step: int) -> np.ndarray:
    """A picture that tells its episode and step by its brightness, so a shift can't hide."""
    level = (7 * episode + 11 * step) % 200 + 20
    image = np.full((role.height_px, role.width_px, 3), level, np.uint8)
    image[: role.height_px // 2] = 240 - level
    return image


def frame(episode: int, step: int, roles: Sequence[CameraRole] = ROLES) -> dict:
    pose = np.arange(6) + 10.0 * episode + step
    pictures = {role.feature: picture(role, episode, step) for role in roles}
    captured_s = 1e5 + step / FPS + 1e-4
    return {"action": pose + 0.5, "observation.state": pose, "captured_s": captured_s, **pictures}


def record(writer: DatasetWriter, lengths: Sequence[int], roles: Sequence[CameraRole] = ROLES,
           tasks: Sequence[str] = ("push", "pick")) -> None:
    """One episode per length, numbered on from what is there; the tasks take turns."""
    for length in lengths:
        episode = writer.episodes
        for step in range(length):
            writer.add_frame(frame(episode, step, roles), tasks[episode % len(tasks)])
        writer.save_episode()


def new(root: Path, lengths: Sequence[int], **options) -> Path:
    """A finished dataset."""
    with DatasetWriter.create(root, FPS, ROLES, **options) as writer:
        record(writer, lengths)
    return root


if __name__ == "__main__":
    with DatasetWriter.create(sys.argv[1], FPS, ROLES) as endless:
        while True:
            record(endless, [6])
            print(endless.episodes, flush=True)
