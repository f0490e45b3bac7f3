"""The link boxes: exact against the table, never too optimistic against each other, no obstacle to work."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.arm.inverse import reach
from smolkit.arm.joints import LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.kinematics import LINKS, link_frames
from smolkit.safety import geometry
from smolkit.safety.envelope import Envelope
from smolkit.safety.profiles import PROFILES
from smolkit.sim.arm_parts import PARTS

NEED_M = np.where(geometry.FINGERS, PROFILES["standard"].finger_table_m, PROFILES["standard"].table_m)
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3), -1).reshape(-1, 3)


def some_poses(count: int) -> np.ndarray:
    return np.random.default_rng(4).uniform(LOWER_RAD, UPPER_RAD, (count, 6))


def points_of(box: tuple, frames: dict[str, np.ndarray], grid: np.ndarray) -> np.ndarray:
    link, _, centre, half = box
    local = (np.array(centre) + grid * np.array(half)) / 1000
    return local @ frames[link][:3, :3].T + frames[link][:3, 3]


def clear(angle_rad: np.ndarray) -> bool:
    table_m, apart_m = geometry.clearances(angle_rad)
    return bool((table_m[0] >= NEED_M).all() and apart_m.min() >= PROFILES["standard"].apart_m)


def test_frames_are_those_of_the_kinematics():
    poses = some_poses(20)
    for pose, frames in zip(poses, geometry.frames(poses), strict=True):
        expected = link_frames(pose)
        np.testing.assert_allclose(frames, [expected[name] for name in LINKS], atol=1e-12)


def test_height_over_the_table_is_that_of_the_lowest_corner():
    moving = [box for box in geometry.BOXES if box[0] not in ("base", "shoulder")]
    for pose in some_poses(20):
        frames = link_frames(pose)
        corners = [points_of(box, frames, CORNERS)[:, 2].min() for box in moving]
        np.testing.assert_allclose(geometry.clearances(pose)[0][0], corners, atol=1e-12)


def test_gaps_are_never_larger_than_true_distances():
    name = {(link, part): (link, part, c, h) for link, part, c, h in geometry.BOXES}
    pair = (name["wrist", "body"], name["shoulder", "body"])
    index = [(geometry.BOXES[i][:2], geometry.BOXES[j][:2]) for i, j in geometry.PAIRS].index(
        (pair[0][:2], pair[1][:2]))
    close = 0
    for pose in some_poses(150):
        frames = link_frames(pose)
        a, b = (points_of(box, frames, GRID) for box in pair)
        sampled_m = np.linalg.norm(a[:, None] - b[None], axis=-1).min()      # an upper bound of the distance
        gap_m = geometry.clearances(pose)[1][0, index]
        assert gap_m <= sampled_m + 1e-9
        close += gap_m < 0
        inside = np.abs((a - frames["shoulder"][:3, 3]) @ frames["shoulder"][:3, :3]
                        - np.array(pair[1][2]) / 1000) <= np.array(pair[1][3]) / 1000
        assert gap_m < 0 or not inside.all(axis=1).any(), "a point of one box lies in the other"
    assert close > 5, "the sample must hold real overlaps"


@pytest.mark.parametrize("height_m, tilts_deg", [(0.013, (-5, 0)), (0.02, (-25, -10, 0, 10)),
                                                 (0.06, (-30, 0, 30))])
def test_ordinary_work_over_the_table_is_free(height_m: float, tilts_deg: tuple[int, ...]):
    reached = 0
    for x in (0.18, 0.25, 0.32):
        for y in (-0.2, 0.0, 0.2):
            for tilt in tilts_deg:
                there = reach(np.array([x, y, height_m]), np.deg2rad(90 + tilt))
                if not there.ok or abs(there.angle_rad[1:4].sum() - np.deg2rad(90 + tilt)) > 0.02:
                    continue
                for jaw_deg in (0, 20, 45):
                    pose = np.append(there.angle_rad[:5], np.deg2rad(jaw_deg))
                    assert clear(pose), (x, y, tilt, jaw_deg, geometry.clearances(pose))
                    reached += 1
    assert reached > 12


def test_folded_at_rest_is_free():
    assert clear(to_radians(np.array(geometry.REST_DEG)))


@pytest.mark.parametrize("pose_deg, parts", [
    ([0, 100, -80, 0, 0, 20], ("gripper", "table")),
    ([0, 100, 0, -60, 0, 20], ("lower_arm", "table")),
    ([0, -60, 95, 90, 0, 20], ("gripper", "base")),
    ([0, -90, 90, 90, 0, 20], ("gripper", "shoulder")),
    ([26, -79, 48, 93, 155, 69], ("jaw", "shoulder")),
])
def test_collisions_are_seen_and_named(pose_deg: list[float], parts: tuple[str, str]):
    angle_rad = to_radians(np.array(pose_deg, dtype=float))
    table_m, apart_m = geometry.clearances(angle_rad)
    moving = [box[0] for box in geometry.BOXES if box[0] not in ("base", "shoulder")]
    hits = {(link, "table") for link, low in zip(moving, table_m[0], strict=True) if low < 0}
    hits |= {(geometry.BOXES[i][0], geometry.BOXES[j][0])
             for (i, j), gap in zip(geometry.PAIRS, apart_m[0], strict=True) if gap < 0}
    assert parts in hits, hits


def test_opening_the_jaw_of_a_curled_arm_hits_its_own_body():
    curled = np.array([26, -79, 48, 93, 155, 0.0])
    assert clear(to_radians(curled))
    assert not clear(to_radians(curled + np.array([0, 0, 0, 0, 0, 69])))


def test_the_drawn_wrist_camera_lies_in_its_box():
    """The mount that the simulation draws: all parts of the gripper further out than its body."""
    (_, _, centre, half), = [box for box in geometry.BOXES if box[1] == "camera"]
    parts = [part for part in PARTS if part.link == "gripper" and part.xyz_mm[1] > 30]
    assert len(parts) == 3
    for part in parts:
        outer = np.abs(np.array(part.xyz_mm) - centre) + part.size_mm
        assert (outer[[0, 2]] <= np.array(half)[[0, 2]]).all()
        assert part.xyz_mm[1] + part.size_mm[1] <= centre[1] + half[1]


@pytest.mark.fault(2)
@pytest.mark.parametrize("pose_deg, start_deg, reason", [
    ([0, 69, -47, 1, 88, 20], [0, 40, -47, 1, 88, 20], "table"),
    ([0, -91, 52, 71, 107, 20], [0, -40, 52, 30, 107, 20], "self-collision")])
def test_a_turned_wrist_camera_reaches_neither_the_table_nor_the_arm(pose_deg, start_deg, reason):
    """Poses in which nothing but the camera is where it must not be."""
    goal, now, envelope = np.array(pose_deg, float), np.array(start_deg, float), Envelope("standard")
    assert clear(to_radians(now)) and not clear(to_radians(goal))
    for _ in range(120):
        now = envelope.admit(goal, now, 1 / 30)
    assert reason in envelope.report().by_reason and clear(to_radians(now))
