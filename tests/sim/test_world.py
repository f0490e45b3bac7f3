"""The plant: kinematics against the golden file, servos that are as strong and as fast as they should be."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smolkit.arm.inverse import reach
from smolkit.arm.joints import JOINTS, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.kinematics import LINKS, link_frames
from smolkit.report import SmolkitError
from smolkit.sim.arm_model import NO_LOAD_RAD_S, STALL_NM
from smolkit.sim.scene import Box, Cube, Scene, Stand
from smolkit.sim.world import World
from tests.paths import extra_golden_of, shared
from tests.sim.benches import CANON, FULL, ON

UPRIGHT = np.array([0.0, -0.5, 0.0, 0.0, 0.0, 0.0])          # clear of the table, free to turn


def _golden_files() -> list[Path | None]:
    return [None, *extra_golden_of("kinematics")]            # None: the shared file, or a skip


@pytest.mark.parametrize("path", _golden_files(), ids=lambda p: "shared" if p is None else p.stem)
def test_tool_frame_agrees_with_the_golden_kinematics(path: Path | None) -> None:
    cases = json.loads((path or shared("golden", "so101_fk.json")).read_text(encoding="utf-8"))["cases"]
    world = World()
    for case in cases:
        world.place(np.array([case["q"][joint.name] for joint in JOINTS]))
        site, frame = world.data.site("tool"), np.array(case["T_base_gripper"])
        np.testing.assert_allclose(site.xpos, frame[:3, 3], atol=1e-4)
        np.testing.assert_allclose(site.xmat.reshape(3, 3), frame[:3, :3], atol=1e-4)


@settings(max_examples=30)
@given(arrays(float, 6, elements=st.floats(0, 1)))
def test_every_link_stands_where_kinematics_says(share: np.ndarray) -> None:
    angle_rad = LOWER_RAD + share * (UPPER_RAD - LOWER_RAD)
    world = World()
    world.place(angle_rad)
    for link, frame in link_frames(angle_rad).items():
        np.testing.assert_allclose(world.body_frame(link), frame, atol=1e-6)
    assert set(link_frames(angle_rad)) == set(LINKS)


def _panned(pan_rad: float) -> np.ndarray:
    return np.array([pan_rad, *UPRIGHT[1:]])


def _run(world: World, seconds: float) -> np.ndarray:
    """Velocities (n, 6) rad/s, one every 10 ms."""
    rows = []
    for _ in range(round(seconds / 0.01)):
        world.advance_to(world.time_s + 0.01)
        rows.append(world.state().velocity_rad_s)
    return np.array(rows)


def test_a_free_joint_reaches_the_no_load_speed_and_never_exceeds_it() -> None:
    world = World()
    world.place(_panned(LOWER_RAD[0]))
    world.drive(_panned(UPPER_RAD[0]), ON, FULL)
    speed = _run(world, 1.0)[:, 0].max()
    assert 0.93 * NO_LOAD_RAD_S < speed < NO_LOAD_RAD_S


def test_half_the_torque_limit_gives_half_the_speed_and_load_stays_under_the_limit() -> None:
    world = World()
    world.place(_panned(LOWER_RAD[0]))
    limit = FULL.copy()
    limit[0] = 0.5
    world.drive(_panned(UPPER_RAD[0]), ON, limit)
    speed = _run(world, 1.0)[:, 0].max()
    assert 0.43 * NO_LOAD_RAD_S < speed < 0.5 * NO_LOAD_RAD_S
    assert abs(world.state().load[0]) <= 0.5 + 1e-9


def test_the_stretched_arm_is_held_by_half_of_stall_and_falls_under_a_fifth() -> None:
    world = World()
    world.place(np.array([0.0, 1.5, -1.5, 0.0, 0.0, 0.0]))   # straight out: 0.86 N m at the lift
    _run(world, 1.0)
    held = world.state()
    assert np.rad2deg(1.5 - held.angle_rad[1]) < 1.0
    assert abs(held.load[1]) * STALL_NM == pytest.approx(0.86, abs=0.08)
    world.drive(world.goal_rad(), ON, np.full(6, 0.2))
    _run(world, 1.0)
    assert np.rad2deg(world.state().angle_rad[1] - 1.5) > 5.0


def _sag_deg(world: World) -> float:
    """How far the lift of the stretched arm hangs below its goal."""
    world.place(np.array([0.0, 1.5, -1.5, 0.0, 0.0, 0.0]))
    world.drive(world.state().angle_rad, ON, FULL)
    _run(world, 2.0)
    return np.rad2deg(abs(1.5 - world.state().angle_rad[1]))


def test_a_doubled_p_gain_halves_the_sag_also_after_a_reset_and_in_no_other_world() -> None:
    stiff, plain = World(), World()
    usual = _sag_deg(plain)
    stiff.tune(np.full(6, 32 / 16))
    assert _sag_deg(stiff) == pytest.approx(usual / 2, rel=0.05)
    for scene in (None, CANON, Scene()):                     # CANON has cubes: another compiled model
        stiff.reset(scene)
    assert _sag_deg(stiff) == pytest.approx(usual / 2, rel=0.05)
    assert _sag_deg(plain) == usual and _sag_deg(World()) == usual


def test_the_torque_inside_the_caps_is_proportional_to_the_gain() -> None:
    torque = []
    for gain in (1.0, 2.0):
        world = World()
        world.tune(np.full(6, gain))
        world.place(UPRIGHT)
        world.drive(UPRIGHT + 0.002, ON, FULL)
        mujoco.mj_forward(world.model, world.data)
        torque.append(world.state().load * STALL_NM)
    np.testing.assert_allclose(torque[0], 200 * 0.002, rtol=1e-9)
    np.testing.assert_allclose(torque[1], 2 * torque[0], rtol=1e-9)


def test_the_usual_p_gain_changes_no_bit() -> None:
    untouched, tuned = World(CANON), World(CANON)
    tuned.tune(np.full(6, 32 / 16))                          # the factory's, while nobody has torque
    tuned.tune(np.full(6, 16 / 16))
    assert (_wild(untouched).data.qpos == _wild(tuned).data.qpos).all()
    assert (untouched.data.qvel == tuned.data.qvel).all()


def test_without_torque_the_arm_sinks_slowly_and_comes_to_rest_on_the_table() -> None:
    world = World(CANON)
    before = world.tool_position()[2]
    world.drive(world.state().angle_rad, ~ON, FULL)
    speed = np.abs(_run(world, 2.0)).max()
    assert world.tool_position()[2] < before - 0.05
    assert speed < 0.5 * NO_LOAD_RAD_S
    assert world.tool_position()[2] > 0.0 and (world.state().load == 0).all()


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("side", (-1, 1))
def test_joint_limits_stop_a_servo_at_full_torque(joint: int, side: int) -> None:
    world = World()
    world.place(UPRIGHT)
    goal = UPRIGHT.copy()
    goal[joint] = side * 10.0
    world.drive(goal, ON, FULL)
    worst = []
    for _ in range(100):
        world.advance_to(world.time_s + 0.01)
        worst.append(world.state().angle_rad)
    assert (np.array(worst) < UPPER_RAD + 0.06).all() and (np.array(worst) > LOWER_RAD - 0.06).all()


def test_no_finger_goes_through_the_table() -> None:
    world = World()
    goal = to_radians(np.array([0, 60, 40, 60, 0, 10.0]))    # far below the table top
    world.drive(goal, ON, FULL)
    _run(world, 2.0)
    assert world.touching("gripper", "table") or world.touching("jaw", "table")
    assert world.tool_position()[2] > 0.0 and abs(world.lowest_solid_m()) < 0.002


def test_time_moves_in_whole_steps_and_never_back() -> None:
    world = World(start_s=100.0)
    world.advance_to(100.0101)
    assert world.time_s == pytest.approx(100.008)
    world.advance_to(99.0)
    assert world.time_s == pytest.approx(100.008)


def test_two_worlds_of_one_scene_are_equal_bit_for_bit() -> None:
    one, two = _wild(World(CANON)), _wild(World(CANON))
    assert (one.data.qpos == two.data.qpos).all() and (one.data.qvel == two.data.qvel).all()
    two.reset(Scene(cubes=(Cube("c", "red", (0.2, 0, 0.0125)),)))
    two.reset(CANON)
    assert (_wild(two).data.qpos == one.data.qpos).all()


def _wild(world: World) -> World:
    rng, middle = np.random.default_rng(5), world.state().angle_rad
    for _ in range(20):
        world.drive(middle + rng.normal(0, 0.3, 6), ON, FULL)
        world.advance_to(world.time_s + 0.1)
    return world


def test_restore_returns_to_the_same_future() -> None:
    world = _wild(World(CANON))
    world.tune(np.linspace(0.5, 2.0, 6))
    moment = world.snapshot()
    first = _wild(world).data.qpos.copy()
    world.reset(Scene())
    world.tune(np.ones(6))
    world.restore(moment)
    assert world.scene == CANON and world.time_s == pytest.approx(2.0)
    assert (_wild(world).data.qpos == first).all()


@pytest.mark.parametrize("cubes", [(), (Cube("a", "red", (0.3, 0.1, 0.0125)), Cube("b", "blue", (0.3, -0.1, 0.0125)))])
def test_a_table_laid_anew_leaves_arm_servos_and_time(cubes: tuple[Cube, ...]) -> None:
    world = World(Scene(cubes=(Cube("old", "red", (0.3, 0.0, 0.0125)),)))
    world.drive(world.state().angle_rad + 0.3, ON, FULL)
    world.advance_to(1.0)
    before, goal_rad = world.state(), world.goal_rad()
    world.lay(Scene(cubes=cubes))
    assert world.time_s == 1.0 and (world.state().angle_rad == before.angle_rad).all()
    assert (world.goal_rad() == goal_rad).all() and len(world.scene.cubes) == len(cubes)
    assert (world.model.actuator_forcerange[:, 1] == STALL_NM).all()
    world.advance_to(1.2)
    assert np.abs(world.state().angle_rad - before.angle_rad).max() < 0.02      # still held


def test_physics_goes_on_while_a_picture_is_drawn() -> None:
    """A large picture takes 60 ms on a CPU; servos that waited for it would miss their answers."""
    world, done = World(), threading.Event()
    with world._drawing:
        threading.Thread(target=lambda: (world.advance_to(0.1), world.state(), done.set())).start()
        assert done.wait(20) and world.time_s == 0.1


def test_a_picture_changes_no_bit_of_the_physics() -> None:
    worlds = _wild(World(Scene(cubes=CANON.cubes))), _wild(World(Scene(cubes=CANON.cubes)))
    worlds[0].render("front", 48, 48)
    for world in worlds:
        world.advance_to(world.time_s + 0.5)
    assert (worlds[0].data.qpos == worlds[1].data.qpos).all()
    worlds[0].close()


def test_things_rest_where_the_scene_puts_them() -> None:
    scene = Scene(cubes=(Cube("in", "red", (0.2, 0.15, 0.05)), Cube("on", "blue", (0.2, -0.15, 0.075))),
                  boxes=(Box("box", "green", (0.2, 0.15)),), stands=(Stand("stand", (0.2, -0.15)),))
    world = World(scene)
    world.advance_to(1.0)
    assert world.touching("in", "box") and world.touching("on", "stand")
    assert world.cube_position("in") == pytest.approx([0.2, 0.15, 0.0155], abs=1e-3)
    assert world.cube_position("on") == pytest.approx([0.2, -0.15, 0.0625], abs=1e-3)
    assert not world.touching("in", "table") and not world.touching("on", "in")


def test_the_gripper_lifts_a_cube_and_holds_it_while_the_arm_swings() -> None:
    """The cube lies between the fingers of an arm that points straight down at the mat."""
    angle_rad = reach(np.array([0.22, 0.0, 0.013])).angle_rad
    angle_rad[5] = 0.4
    outward = link_frames(angle_rad)["gripper"][:3, 0]       # from the fixed finger to the jaw
    place = np.array([0.22, 0.0, 0.0125]) + 0.016 * outward * (1, 1, 0)
    world = World(Scene(cubes=(Cube("cube", "red", tuple(place)),)))
    world.place(angle_rad)
    limit = np.array([1, 1, 1, 1, 1, 0.5])
    angle_rad[5] = np.deg2rad(-8)
    world.drive(angle_rad, ON, limit)
    world.advance_to(0.8)
    assert world.touching("cube", "gripper") and world.touching("cube", "jaw")
    angle_rad[:3] += (0.8, -0.6, 0.1)
    world.drive(angle_rad, ON, limit)
    world.advance_to(2.5)
    assert np.linalg.norm(world.cube_position("cube") - world.tool_position()) < 0.025
    assert world.cube_position("cube")[2] > 0.05


@pytest.mark.parametrize("scene, code", [
    (Scene(cubes=(Cube("a", "red", (0.2, 0, 0.01)), Cube("a", "blue", (0.3, 0, 0.01)))), "SK213"),
    (Scene(boxes=tuple(Box(f"b{i}", "red", (0.2, 0.1 * i)) for i in range(3))), "SK213"),
    (Scene(cubes=(Cube("a", "beige", (0.2, 0, 0.01)),)), "SK214"),
])
def test_impossible_scenes_are_refused(scene: Scene, code: str) -> None:
    with pytest.raises(SmolkitError, match=code):
        World(scene)


def test_bad_commands_and_names_are_refused() -> None:
    world = World()
    with pytest.raises(SmolkitError, match="SK210"):
        world.drive(np.full(6, np.nan), ON, FULL)
    with pytest.raises(SmolkitError, match="SK210"):
        world.drive(np.zeros(5), ON, FULL)
    for gain in (np.ones(5), np.full(6, np.nan), np.full(6, -1.0)):
        with pytest.raises(SmolkitError, match="SK215"):
            world.tune(gain)
    with pytest.raises(SmolkitError, match="SK211"):
        world.cube_position("nothing")
    with pytest.raises(SmolkitError, match="SK212"):
        world.render("side", 48, 48)
