"""Sliders set a pose; the arm walks there at its speed, all joints together, and stops where it is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.report import SmolkitError
from smolkit.safety.limits import JOINT_DEG
from smolkit.teleop.sliders import SliderPilot
from tests.teleop.rigs import REST, goals, look


def test_all_joints_arrive_together_on_a_straight_line_no_faster_than_asked():
    pilot = SliderPilot("standard", speed_deg_s=20.0)
    goals(pilot, 1)
    pilot.set(shoulder_pan=30.0, elbow_flex=-15.0, gripper=80.0)
    walked = goals(pilot, 30, start_s=0.1)
    steps = np.diff(np.concatenate([REST[None], walked]), axis=0)
    assert np.abs(steps * JOINT_DEG).max() / 0.1 == pytest.approx(20.0)
    assert walked[-1] == pytest.approx([30, 0, -15, 0, 0, 80]) and pilot.arrived
    assert walked[:, 2] == pytest.approx(-walked[:, 0] / 2)


@pytest.mark.parametrize("wrong", [{"elbow_flex": 400.0}, {"gripper": float("nan")}, {"elbow": 1.0}])
def test_a_slider_beyond_the_range_is_refused_and_none_moves(wrong):
    pilot = SliderPilot("standard")
    goals(pilot, 1)
    with pytest.raises(SmolkitError, match="SK354"):
        pilot.set(shoulder_pan=10.0, **wrong)
    assert np.array_equal(goals(pilot, 5, start_s=0.1)[-1], REST)


def test_stop_leaves_the_arm_where_it_is():
    pilot = SliderPilot("standard")
    goals(pilot, 1)
    pilot.set(shoulder_pan=60.0)
    on_the_way = goals(pilot, 5, start_s=0.1)[-1]
    pilot.stop()
    assert np.array_equal(goals(pilot, 5, start_s=0.6, state_deg=on_the_way)[-1], on_the_way)
    assert 5.0 < on_the_way[0] < 30.0 and pilot.arrived


@pytest.mark.fault(20)
def test_a_target_left_over_from_the_last_episode_is_forgotten_and_a_new_one_is_not():
    pilot = SliderPilot("standard")
    goals(pilot, 1)
    pilot.set(shoulder_pan=60.0)
    goals(pilot, 3, start_s=0.1)
    elsewhere = REST + np.eye(6)[1] * 20
    assert np.array_equal(goals(pilot, 5, start_s=9.0, state_deg=elsewhere)[-1], elsewhere)
    assert np.array_equal(pilot.target_deg, elsewhere)
    pilot.set(wrist_roll=5.0)
    assert goals(pilot, 10, start_s=20.0, state_deg=elsewhere)[-1] == pytest.approx([0, 20, 0, 0, 5, 50])


def test_a_blocked_arm_is_waited_for():
    pilot = SliderPilot("standard")
    pilot(look(REST, 0.0))
    pilot.set(wrist_roll=90.0)
    waiting = [pilot(look(REST, index / 10)).goal_deg[4] for index in range(1, 40)]
    assert max(waiting) == pytest.approx(20.0) and not pilot.arrived


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(0, 90), st.floats(0, 0.6)), max_size=12))
def test_no_play_with_the_sliders_jumps(moves):
    pilot = SliderPilot("standard")
    state_deg, moment_s = REST, 0.0
    for pan, elbow, wait_s in moves:
        pilot.set(shoulder_pan=pan, elbow_flex=elbow)
        moment_s += wait_s
        goal_deg = pilot(look(state_deg, moment_s)).goal_deg
        assert np.abs(goal_deg - state_deg).max() <= 45.0 * 0.2 + 1e-9
        state_deg = goal_deg
