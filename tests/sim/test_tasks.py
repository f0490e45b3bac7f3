"""Tasks and their demonstrator: scenes, success as physics, speed limits, recoveries, repeatability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.arm.inverse import reach
from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, from_radians, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.report import SmolkitError
from smolkit.sim.demonstrator import Demonstrator, Perturbation, demonstrate, episode, follow
from smolkit.sim.layout import PATCH_M
from smolkit.sim.motion import Pace, Wish, advance, closing_direction, grip_centre, opening_m
from smolkit.sim.scene import Box, Cube, Scene
from smolkit.sim.tasks import TASKS, task_named
from smolkit.sim.truth import truth_of
from smolkit.sim.world import World

SEEDS = range(1000, 1012)
NAMES = sorted(TASKS)


@pytest.fixture(scope="module")
def world():
    with World() as world:
        yield world


@pytest.mark.parametrize("name", NAMES)
def test_the_demonstrator_masters_every_task_even_when_disturbed(name, world):
    results = [demonstrate(name, seed, noise=seed % 2 == 1, world=world) for seed in SEEDS]
    assert [r.seed for r in results if not r.success] == []
    assert all(len(r.steps) >= 4 for r in results)           # no scene is solved before it begins


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_scenes_follow_from_their_seed_and_fit_on_the_table(name, seed):
    scene = TASKS[name].sample(np.random.default_rng(seed))
    assert scene == TASKS[name].sample(np.random.default_rng(seed))
    assert scene.instruction and scene.instruction == scene.instruction.strip().lower()
    for cube in scene.cubes[:1]:
        assert PATCH_M[0][0] - 0.07 <= cube.xyz_m[0] <= PATCH_M[0][1]
        assert PATCH_M[1][0] <= cube.xyz_m[1] <= PATCH_M[1][1]
        assert cube.color in scene.instruction or name in ("fallen", "tour")
    colors = [cube.color for cube in scene.cubes]
    assert len(set(colors)) == len(colors)


def test_scenes_differ_in_poses_colours_sides_light_and_cameras():
    scenes = [TASKS["place"].sample(np.random.default_rng(seed)) for seed in range(30)]
    assert len({scene.cubes[0].xyz_m for scene in scenes}) == 30
    assert len({scene.instruction for scene in scenes}) > 15
    assert {np.sign(scene.boxes[0].xy_m[1]) for scene in scenes} == {-1.0, 1.0}
    assert {len(scene.cubes) for scene in scenes} == {1, 2, 3}
    for part in ("light", "table_tint", "mat_tint", "front_shift", "wrist_shift", "start_deg"):
        assert len({getattr(scene, part) for scene in scenes}) == 30


def box_scene(cube_xyz_m: tuple[float, float, float]) -> Scene:
    return Scene(cubes=(Cube("red cube", "red", cube_xyz_m),), boxes=(Box("blue box", "blue", (0.20, 0.16)),))


@pytest.mark.parametrize("xyz_m, done", [((0.20, 0.16, 0.016), True), ((0.26, 0.0, 0.0125), False),
                                         ((0.20, 0.09, 0.0125), False)])
def test_placed_means_lying_in_the_box(xyz_m, done):
    world = World(box_scene(xyz_m))
    world.advance_to(0.4)
    assert TASKS["place"].success(world) is done


def test_a_cube_that_still_falls_is_not_placed():
    world = World(box_scene((0.20, 0.16, 0.034)))
    world.advance_to(0.032)                                  # now below the walls' top, and fast
    assert world.cube_position("red cube")[2] < 0.033 and not TASKS["place"].success(world)
    world.advance_to(0.6)
    assert TASKS["place"].success(world)


def test_a_cube_still_between_the_fingers_is_not_placed():
    hand = World(box_scene((0.20, 0.16, 0.016)))
    hand.advance_to(0.4)
    truth = truth_of(hand)
    there = reach(truth.cube_m, np.deg2rad(85)).angle_rad
    there[5] = np.deg2rad(7)
    assert TASKS["place"].reached(truth, 0.0)
    assert not TASKS["place"].reached(replace(truth, angle_rad=there), 0.0)


def test_lifting_the_wrong_cube_is_no_success(world):
    task = TASKS["pick"].vary(distractors=(1, 1))
    scene = task.sample(np.random.default_rng(2))
    swapped = replace(scene, cubes=scene.cubes[::-1])        # the expert goes for the other cube
    world.reset(swapped)
    for _ in episode(world, task, Demonstrator(task)):
        pass
    assert task.success(world)
    assert world.cube_position(scene.cubes[0].name)[2] < 0.02


@pytest.mark.parametrize("pace", [Pace(), Pace(tip_m_s=0.22, joint_deg_s=80.0)])
def test_goals_never_move_faster_than_the_pace(pace, world):
    for name in ("place", "push"):
        result = demonstrate(name, 7, pace=pace, world=world)
        assert result.success
        goals = to_radians(np.array([step.executed_deg for step in result.steps]))     # (T, 6) rad
        steps_deg = np.abs(np.rad2deg(np.diff(goals, axis=0)))
        tips_m = np.array([tool_frame(goal)[:3, 3] for goal in goals])
        assert steps_deg.max() <= pace.joint_deg_s * pace.period_s + 1e-6
        assert np.linalg.norm(np.diff(tips_m, axis=0), axis=1).max() <= pace.tip_m_s * pace.period_s + 1e-6


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_from_anywhere_an_action_is_finite_inside_the_limits_and_bounded(seed):
    rng = np.random.default_rng(seed)
    task = TASKS["place"]
    world = World(task.sample(rng))
    world.place(to_radians(rng.uniform(LOWER_DEG + 5, UPPER_DEG - 5)))
    truth = truth_of(world)
    action_deg = Demonstrator(task).act(truth)
    assert np.isfinite(action_deg).all()
    assert np.all(action_deg >= LOWER_DEG + 2) and np.all(action_deg <= UPPER_DEG - 2)
    assert np.rad2deg(np.abs(to_radians(action_deg) - truth.goal_rad)).max() <= 6.0 + 1e-6


def test_a_cube_torn_from_the_gripper_is_fetched_again(world):
    task = TASKS["tour"]
    world.reset(task.sample(np.random.default_rng(11)))
    torn = False
    for _ in episode(world, task, Demonstrator(task)):
        if not torn and world.cube_position("red cube")[2] > 0.04:
            world.data.joint("cube0").qpos[:3] = (0.22, -0.02, 0.02)
            torn = True
    assert torn and task.success(world)


def test_a_burst_changes_what_is_executed_but_not_the_label():
    task, rng = TASKS["pick"], np.random.default_rng(0)
    world = World(task.sample(rng))
    bursts = Perturbation(rng, chance=1.0)
    expert = Demonstrator(task)
    steps = list(episode(world, task, expert, bursts))[:5]
    assert all(np.abs(step.executed_deg - step.label_deg).max() > 0.5 for step in steps)
    quiet = Perturbation(np.random.default_rng(0), chance=0.0)
    assert np.array_equal(quiet.disturb(np.zeros(6), np.ones(6)), np.ones(6))


def test_the_same_seed_gives_the_same_demonstration_to_the_bit(world):
    first, second = (demonstrate("place", 21, noise=True, world=world) for _ in range(2))
    assert len(first.steps) == len(second.steps)
    for a, b in zip(first.steps, second.steps, strict=True):
        assert np.array_equal(a.state_deg, b.state_deg) and np.array_equal(a.executed_deg, b.executed_deg)


def test_the_expert_has_no_memory(world):
    """The same truth asked twice, of an old and of a fresh expert, gives the same action."""
    task = TASKS["tour"]
    world.reset(task.sample(np.random.default_rng(4)))
    expert = Demonstrator(task)
    for _ in episode(world, task, expert):
        truth = truth_of(world)
        assert np.array_equal(expert.act(truth), Demonstrator(task).act(truth))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(pan=st.floats(-1, 1), roll=st.floats(-1.5, 1.5), lift=st.floats(-0.5, 0.5), elbow=st.floats(-0.5, 0.5),
       wrist=st.floats(0.5, 1.5), jaw=st.floats(0, 1))
def test_the_grip_centre_lies_between_the_fingers(pan, roll, lift, elbow, wrist, jaw):
    pose = np.array([pan, lift, elbow, wrist, roll, jaw])
    closing = closing_direction(-pan, lift + elbow + wrist, roll)
    tip = tool_frame(pose)[:3, 3]
    assert np.allclose(grip_centre(pose), tip + 0.5 * opening_m(jaw) * closing, atol=1e-5)


def test_a_misspelt_task_is_named():
    with pytest.raises(SmolkitError, match="SK230"):
        task_named("plcae")


def test_advance_stays_put_once_it_is_there(world):
    goal = to_radians(np.array([0.0, -20.0, 20.0, 85.0, 0.0, 30.0]))
    wish = Wish(grip_centre(goal), float(goal[4]), float(goal[5]), float(goal[1:4].sum()))
    assert np.allclose(advance(goal, wish, Pace()), goal, atol=1e-3)
    world.reset(Scene())
    world.place(goal)
    follow(world, from_radians(goal), 0.5)
    assert np.allclose(world.state().angle_rad, goal, atol=0.01)
