"""Makes `datasets/camera_setup`: what lesson 02 shows where there is neither arm nor camera.

    python datasets/make_camera_setup.py

Two cameras of the simulated bench film an arm that a hand moves (`smolkit.lessons.camera_desk`): as they stand, once a
little bumped, and once on another morning; and the gripper comes down on a cube, as the wrist camera sees it.
Everything follows from the seeds of the desk. Two renderers shade differently: made with EGL (Mesa llvmpipe), others
give other bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from smolkit.arm.inverse import reach
from smolkit.cameras.camera import Frame
from smolkit.data.video import VideoEncoder
from smolkit.lessons.camera_desk import BUMP_DEG, FPS, ROLES, CameraDesk, open_desk

FOLDER = Path(__file__).parent / "camera_setup"
LOW_M, HIGH_M, STEPS = 0.012, 0.14, 16
GOOD_S, OTHER_S = 3.0, 1.2
OPEN_RAD = 0.9


def main() -> None:
    """All seven clips."""
    FOLDER.mkdir(exist_ok=True)
    for suffix, seconds in (("", GOOD_S), ("_moved", OTHER_S), ("_morning", OTHER_S)):
        with open_desk("sim") as desk:
            if suffix == "_moved":
                for role in ROLES:
                    desk.shift(role, BUMP_DEG)
            if suffix == "_morning":
                desk.next_morning()
            for role, frames in desk.film(seconds).items():
                write(role + suffix, frames)
    with open_desk("sim") as desk:
        write("wrist_descent", descent(desk))


def descent(desk: CameraDesk) -> list[Frame]:
    """The open gripper comes straight down on the cube."""
    world, frames = desk.bench.world, []
    cube_m = world.cube_position(world.scene.cubes[0].name)
    for k, height_m in enumerate(np.linspace(HIGH_M, LOW_M, STEPS)):
        pose_rad = reach(np.array([*cube_m[:2], height_m]), np.pi / 2).angle_rad
        pose_rad[5] = OPEN_RAD
        world.place(pose_rad)
        frames.append(Frame(world.render("wrist", 240, 320), k / FPS, k + 1))
    return frames


def write(name: str, frames: Iterable[Frame]) -> None:
    """One clip."""
    encoder = VideoEncoder(240, 320, FPS)
    for frame in frames:
        encoder.add(frame.image)
    content = encoder.finish()
    (FOLDER / f"{name}.mp4").write_bytes(content)
    print(f"{name:14} {encoder.frames} pictures, {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
