"""Limp arms that a hand moves: the mirror test by mouse, and the rendered view, compared with where the arms stand.

The arms are emulated servos behind TCP ports of the test's own process; the test is the hand.
"""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from smolkit.arm import registers
from smolkit.arm.joints import JOINT_NAMES, to_radians
from smolkit.arm.serve import serve_tcp
from smolkit.lessons.servo_experiments import HandArm
from smolkit.widgets.arm_view import ArmView3D
from tests.browser.lab import Notebook, wait_until

ARMS = """
from pathlib import Path
from smolkit.arm.calibration import Calibration
from smolkit.teleop.leader import LeaderArm
from smolkit.widgets.arm_view import ArmView3D
from smolkit.widgets.mirror import MirrorPanel
looks = [lambda arm=LeaderArm(port, Calibration.load(Path(file))): arm.read().pos_deg for port, file in {where!r}]
"""
GOOD, WRONG = "MirrorPanel(looks[0], looks[1])", "MirrorPanel(looks[0], looks[2])"
PHOTO = "ArmView3D(looks[1])"
GOOD_CELL, WRONG_CELL, PHOTO_CELL = 1, 2, 3
IMAGE = """panel => {                                 // where it is; the panel makes a new one each time
    const image = panel.querySelector("img");
    image.scrollIntoView({block: "nearest"});
    const {x, y, width, height} = image.getBoundingClientRect();
    return {x, y, width, height};
}"""
POSES = np.array([[0, -20, 30, 10, 0, 20], [40, 10, -30, -40, 45, 70.0]])      # deg, gripper %
SHORT = JOINT_NAMES.index(np.random.default_rng(3).choice(["shoulder_lift", "elbow_flex", "wrist_flex"]))
SHORT_DEG = 40.0                                   # of a sweep; the middle, and so zero, is wrong by half of it


class Bench:
    """A leader, a follower, and a follower with a wrong calibration, in front of the page."""

    def __init__(self, notebook: Notebook, arms: list[HandArm]):
        self.notebook, self.arms = notebook, arms

    def hold(self, pose_deg: np.ndarray) -> None:
        """A hand puts all arms into a pose (6,), deg and gripper %."""
        for arm in self.arms:
            arm.servos.hand_pose(to_radians(pose_deg))

    def show(self, cell: int) -> None:
        self.notebook.run(cell)
        self.panel = self.notebook.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".smolkit-panel")

    def press(self, words: str) -> None:
        self.panel.locator("button", has_text=words).click()

    def says(self, words: str) -> None:
        self.panel.get_by_text(words).first.wait_for()

    def rows(self) -> list[list[str]]:
        """Of the page's table, per joint: name, leader, follower, difference."""
        rows = self.panel.locator("table:has(th) tr").all_inner_texts()
        return [row.split("\t") for row in rows[1:7]]

    def wait_degrees(self, leader_deg: np.ndarray, follower_deg: np.ndarray) -> None:
        """Until the page shows these, but for the play of a hand that calibrated."""
        def near() -> bool:
            said = np.array([[float(words.rstrip("°%")) for words in row[1:3]] for row in self.rows()])        # (6, 2)
            return said.shape == (6, 2) and bool(np.abs(said.T - [leader_deg, follower_deg]).max() < 1)
        wait_until(near, "a table with the arms' degrees", 15)

    def wait_photo(self, wished: np.ndarray) -> np.ndarray:
        """The rendered view as the page shows it (H, W, 3), once it is like that one."""
        def like() -> list[np.ndarray]:
            photo = pixels(self.notebook.page.screenshot(clip=self.panel.evaluate(IMAGE)))
            return [photo] if unlike(photo, wished) < 0.01 else []
        return wait_until(like, "a picture of the arm's pose", 15)[0]


@pytest.fixture(scope="module")
def bench(open_shared: Callable[..., Notebook], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("mirror")
    arms = [HandArm(seed=11), HandArm(seed=12), HandArm(seed=13, short_joint=JOINT_NAMES[SHORT], short_deg=SHORT_DEG)]
    with ExitStack() as stack:
        where = [(stack.enter_context(serve_tcp(arm.servos)).port, str(arm.calibration.save(folder / f"{number}.json")))
                 for number, arm in enumerate(arms)]
        notebook = open_shared(ARMS.format(where=where), GOOD, WRONG, PHOTO)
        notebook.run(0)
        yield Bench(notebook, arms)


def test_arms_that_mean_the_same_degrees_are_green(bench: Bench) -> None:
    bench.hold(POSES[0])
    bench.show(GOOD_CELL)
    for count, pose in enumerate(POSES, start=1):
        bench.hold(pose)
        bench.wait_degrees(pose, pose)
        bench.press("same pose now")
        bench.says(f"Poses taken: {count}. Both arms mean the same degrees")
    for arm in bench.arms:
        assert np.allclose(arm.servos.plant.angle_rad, to_radians(POSES[-1])), "the panel looks, and moves nothing"
        assert not any(arm.servos.memory(servo).get(registers.TORQUE_ENABLE) for servo in range(1, 7))


def test_a_wrong_calibration_is_red_in_its_joint_and_by_how_much(bench: Bench) -> None:
    off_deg = np.eye(6)[SHORT] * SHORT_DEG / 2
    bench.hold(POSES[0])
    bench.show(WRONG_CELL)
    bench.wait_degrees(POSES[0], POSES[0] + off_deg)
    bench.press("same pose now")
    bench.says(f"Poses taken: 1. Not the same: {JOINT_NAMES[SHORT]}.")
    bench.hold(POSES[1])
    bench.wait_degrees(POSES[1], POSES[1] + off_deg)
    bench.press("same pose now")
    bench.says(f"Poses taken: 2. Not the same: {JOINT_NAMES[SHORT]}.")
    bench.says("one of the arms was calibrated with this joint swept half")
    assert [row[3][0] for row in bench.rows()] == ["✗" if joint == SHORT else "✓" for joint in range(6)]
    bench.press("begin again")
    bench.says("Put both arms into the same pose")


def test_the_rendered_view_shows_where_the_arm_stands(bench: Bench) -> None:
    bench.hold(POSES[0])
    bench.show(PHOTO_CELL)
    with ArmView3D() as own:
        seen = []
        for pose in POSES:
            bench.hold(pose)
            own.show(pose)
            seen.append(bench.wait_photo(pixels(b64decode(own.picture().split("base64,")[1].split('"')[0]))))
    assert unlike(*seen) > 0.02, "the arm moved in the picture"


def pixels(image: bytes) -> np.ndarray:
    """An image file -> (H, W, 3)."""
    from PIL import Image
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(float)


def unlike(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that clearly differ; 1 where the pictures are of different sizes."""
    return float((np.abs(one - other).max(2) > 30).mean()) if one.shape == other.shape else 1.0
