"""The drawing of the arm shows the pose that it is told, in joint colours, from two sides, and says it in words."""

from __future__ import annotations

import base64
import io
import re
import threading

import numpy as np
import pytest

from smolkit.arm import fake
from smolkit.arm.joints import to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.plotting import JOINT_COLORS
from smolkit.report import SmolkitError
from smolkit.widgets.arm_view import SCALE, SIDE, TOP, ArmView, ArmView3D, arm_svg

START = np.array([30, -45, 30, 75, 0, 30.0])


def ends_px(svg: str, colour: str) -> list[np.ndarray]:
    """Last points of the lines of that colour: from the side, then from above."""
    lines = re.findall(rf'<polyline points="([^"]+)" fill="none" stroke="{colour}"', svg)
    return [np.array([float(x) for x in line.split()[-1].split(",")]) for line in lines]


@pytest.mark.parametrize("pose_deg", [np.zeros(6), START, np.array([-80, 20, -30, 75, 45, 100.0])])
def test_the_finger_ends_where_kinematics_has_the_tip(pose_deg: np.ndarray) -> None:
    side, top = ends_px(arm_svg(pose_deg), JOINT_COLORS[4])
    x, y, z = tool_frame(to_radians(pose_deg))[:3, 3]
    assert np.abs(top - (TOP[0] + SCALE * x, TOP[1] - SCALE * y)).max() < 4       # px; the finger's end is 4 mm beside
    assert abs(side[1] - (SIDE[1] - SCALE * z)) < 4


def test_the_side_view_turns_with_the_arm() -> None:
    ahead, aside = (ends_px(arm_svg(np.array([pan, -45, 30, 75, 0, 30.0])), JOINT_COLORS[4])[0] for pan in (0, 80))
    assert np.abs(ahead - aside).max() < 0.2


def test_the_gripper_opens() -> None:
    def opening_px(percent: float) -> float:
        svg = arm_svg(np.array([0, 0, 0, 0, 0, percent]))
        return float(np.linalg.norm(ends_px(svg, JOINT_COLORS[5])[0] - ends_px(svg, JOINT_COLORS[4])[0]))

    assert opening_px(0) < 8 < 25 < opening_px(50) < opening_px(100)


def test_a_tip_in_the_table_is_said_in_red_and_in_words() -> None:
    inside = arm_svg(np.array([0, 60, 60, 20, 0, 0.0]))
    assert "below the table" in inside and "#d9362b" in inside
    assert "#d9362b" not in arm_svg(START)


def test_every_joint_has_its_number_and_the_words_of_a_screen_reader() -> None:
    view = ArmView()
    view.show(START)
    assert "+75.0°" in view.picture() and "30 %" in view.picture()
    assert 'role="img"' in view.picture() and "wrist_flex +75.0 deg" in view.alt
    assert view.text().splitlines()[1] == "tip 18.8 cm ahead, 8.6 cm right, 11.4 cm high"


def test_a_ghost_is_drawn_behind_and_pale() -> None:
    svg = arm_svg(START, np.zeros(6))
    assert svg.count("smolkit-ghost") == 1 and svg.index("smolkit-ghost") < svg.rindex("<polyline")
    assert "smolkit-ghost" not in arm_svg(START)


def test_it_follows_an_arm_and_says_when_the_chain_breaks() -> None:
    servos = fake.servos(seed=2)
    with fake.arm(servo_bus=servos) as arm:
        view = ArmView(lambda: arm.read().pos_deg)
        view.view()
        assert view.refresh()
        before = view._html.value
        servos.hand_pose(to_radians(START))
        assert view.refresh() and view._html.value != before
        assert np.abs(view.pose_deg[:5] - START[:5]).max() < 0.5
        servos.dead.update((4, 5, 6))
        assert not view.refresh() and "SK101" in view.trouble
        servos.dead.clear()
        assert view.refresh() and not view.trouble


def test_a_look_that_gives_nonsense_is_a_red_line() -> None:
    def look() -> np.ndarray:
        raise SmolkitError("SK101", "an answer", "nothing", "a loose cable", "smolkit doctor PORT")

    assert not ArmView(look).refresh()


def test_the_photograph_shows_the_pose_from_any_thread() -> None:
    from PIL import Image
    pages: list[str] = []
    with ArmView3D() as view:
        for pose_deg in (np.zeros(6), START):
            thread = threading.Thread(target=lambda pose=pose_deg: (view.show(pose), pages.append(view.picture())))
            thread.start()
            thread.join()
        assert "half from the left" in view.alt
    photos = [base64.b64decode(page.partition("data:image/jpeg;base64,")[2].partition('"')[0]) for page in pages]
    first, second = (np.asarray(Image.open(io.BytesIO(photo))).astype(float) for photo in photos)
    assert first.shape == (360, 480, 3)
    assert (np.abs(first - second).max(2) > 30).mean() > 0.02      # of the pixels: the arm moved
