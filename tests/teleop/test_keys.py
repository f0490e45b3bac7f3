"""Keys and sticks: what is pressed moves the arm, nothing pressed stops it, and silence stops it too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.arm.joints import LOWER_DEG, UPPER_DEG, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.report import SmolkitError
from smolkit.safety.profiles import PROFILES
from smolkit.teleop.held import SHARE, STOP_LEAD_DEG
from smolkit.teleop.keys import AXES, KEYS, MODE_KEY, PAD, STALE_S, GamepadPilot, KeyPilot, key_table
from tests.teleop.rigs import READY, REST, goals, look

ALL_KEYS = sorted({key for keys in KEYS.values() for key in keys} | {MODE_KEY, "ShiftLeft", "Space"})
SHOULDER_BUTTON = [0.0] * 5 + [1.0] + [0.0] * 11
FREE_HANDS = [0.0] * 17


def tip_m(pose_deg):
    return tool_frame(to_radians(pose_deg))[:3, 3]


def drive(pilot, report, seconds, state_deg=READY, start_s=0.0):
    """Goals (n, 6) at 10 Hz with `report()` before each; the first one is only a look."""
    decided = []
    for index in range(round(10 * seconds) + 1):
        report()
        state_deg = pilot(look(state_deg, start_s + index / 10)).goal_deg
        decided.append(state_deg)
    return np.array(decided)


@pytest.mark.parametrize("mode", ["joint", "cartesian"])
def test_every_axis_has_a_key_each_way_and_a_place_on_the_pad(mode):
    assert [name for name, *_ in key_table(mode)] == list(AXES[mode])
    assert len(KEYS[mode]) == 12 and len(set(KEYS[mode].values())) == 12
    assert {axis for axis, _ in PAD[mode].values()} == set(range(6))


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("profile", PROFILES)
def test_a_joint_key_turns_its_joint_alone_below_the_guards_speeds(axis, profile):
    for key, direction in (("QWERTY"[axis], 1), ("ASDFGH"[axis], -1)):
        pilot = KeyPilot(profile, mode="joint")
        decided = drive(pilot, lambda pilot=pilot, key=key: pilot.press({f"Key{key}"}), 0.2, REST)
        moved = np.diff(decided, axis=0)
        assert np.all(np.delete(moved, axis, axis=1) == 0) and np.all(np.sign(moved[:, axis]) == direction)
        limits = PROFILES[profile]
        assert np.abs(moved).max() / 0.1 <= SHARE * limits.joint_speed_deg_s + 1e-6
        tips = np.array([tip_m(goal) for goal in decided])
        assert np.linalg.norm(np.diff(tips, axis=0), axis=1).max() / 0.1 < limits.tip_speed_m_s


@pytest.mark.parametrize("keys, way", [("W", (1, 0, 0)), ("S", (-1, 0, 0)), ("A", (0, 1, 0)), ("D", (0, -1, 0)),
                                       ("R", (0, 0, 1)), ("F", (0, 0, -1)), ("WA", (0.707, 0.707, 0))])
def test_cartesian_keys_move_the_tip_along_their_axis_no_faster_diagonally(keys, way):
    pilot = KeyPilot("standard")
    decided = drive(pilot, lambda: pilot.press({f"Key{key}" for key in keys}), 0.3)
    moved_m = tip_m(decided[-1]) - tip_m(READY)
    far_m = np.linalg.norm(moved_m)
    assert moved_m / far_m == pytest.approx(np.array(way), abs=0.03)
    assert 0.5 < far_m / (0.3 * SHARE * 0.25) < 1.001                    # the joints' own speeds may be the slower ones


def test_shift_is_slow_opposite_keys_cancel_and_unknown_keys_do_nothing():
    def last(*keys):
        pilot = KeyPilot("standard", mode="joint")
        return drive(pilot, lambda: pilot.press(keys), 0.5, REST)[-1]

    assert last("KeyT", "ShiftLeft")[4] == pytest.approx(last("KeyT")[4] / 4)
    assert np.array_equal(last("KeyT", "KeyG"), REST) and np.array_equal(last("F12", "Space"), REST)


def test_the_mode_key_switches_once_per_press():
    pilot = KeyPilot()
    for keys, mode in (({MODE_KEY}, "joint"), ({MODE_KEY, "KeyW"}, "joint"), (set(), "joint"),
                       ({MODE_KEY}, "cartesian")):
        pilot.press(keys)
        assert pilot.mode == mode
    with pytest.raises(SmolkitError, match="SK355"):
        KeyPilot(mode="polar")


def test_releasing_the_key_stops_at_once_even_where_the_guard_held_the_arm_back():
    pilot = KeyPilot("standard", mode="joint")
    stuck = [pilot.press({"KeyT"}) or pilot(look(REST, index / 10)).goal_deg for index in range(20)]
    assert stuck[-1][4] == pytest.approx(20.0)                           # never further ahead than the guard lets it
    pilot.press(set())
    stopped = [pilot(look(REST, 2 + index / 10)).goal_deg for index in range(5)]
    assert np.all(np.array(stopped)[:, 4] == STOP_LEAD_DEG)


def test_a_standing_arm_that_sags_is_not_followed_down():
    pilot = KeyPilot("standard", mode="joint")
    sagging = REST - np.eye(6)[1] * 2
    pilot(look(REST, 0.0))
    assert all(np.array_equal(pilot(look(sagging, i / 10)).goal_deg, REST) for i in range(1, 5))


def test_a_squeezing_gripper_keeps_squeezing_when_its_key_is_released():
    pilot = KeyPilot("standard")
    holds_cube = np.array([0, -30, 40, 70, 0, 35.0])
    for index in range(20):
        pilot.press({"KeyH"})
        pilot(look(holds_cube, index / 10))
    pilot.press(set())
    assert pilot(look(holds_cube, 2.0)).goal_deg[5] < 20.0


@pytest.mark.fault(17)
def test_a_page_that_froze_with_a_key_down_stops_the_arm():
    pilot = KeyPilot("standard", mode="joint")
    pilot(look(REST, -0.1))
    pilot.press({"KeyT"})
    decided = goals(pilot, 20)
    assert decided[0, 4] > REST[4]
    still = np.flatnonzero(np.all(np.diff(decided, axis=0) == 0, axis=1))
    assert still[0] <= 10 * STALE_S + 1 and np.array_equal(still, np.arange(still[0], 19))


@pytest.mark.fault(20)
def test_after_a_pause_the_goal_starts_where_the_arm_stands():
    pilot = KeyPilot("standard", mode="joint")
    goals(pilot, 3)
    pilot.press({"KeyT"})
    elsewhere = REST + np.eye(6)[0] * 30
    assert np.array_equal(pilot(look(elsewhere, 5.0)).goal_deg, elsewhere)


@pytest.mark.parametrize("pause_s", [600.0, 2.0])
def test_a_report_from_before_the_start_moves_nothing(pause_s):
    pilot = KeyPilot("standard", mode="joint")
    goals(pilot, 3)
    pilot.press({"KeyQ"})                                                # the page dies with the key down
    assert np.array_equal(goals(pilot, 10, start_s=0.2 + pause_s), np.tile(REST, (10, 1)))
    pilot.press({"KeyQ"})                                                # a page that lives reports again
    assert pilot(look(REST, 1.2 + pause_s)).goal_deg[0] > REST[0]


@given(st.lists(st.tuples(st.sets(st.sampled_from(ALL_KEYS)), st.floats(0.0, 0.6)), max_size=15),
       st.sampled_from(["joint", "cartesian"]))
def test_no_sequence_of_keys_leads_out_of_range(reports, mode):
    pilot, state_deg, moment_s = KeyPilot("demonstration", mode=mode), READY, 0.0
    for keys, wait_s in reports:
        pilot.press(keys)
        moment_s += wait_s
        state_deg = pilot(look(state_deg, moment_s)).goal_deg
        assert np.all(state_deg >= LOWER_DEG) and np.all(state_deg <= UPPER_DEG)


def test_the_pad_moves_only_while_a_shoulder_button_is_held():
    pilot = GamepadPilot("standard")
    pushed = [0.0, -1.0, 0.0, 0.0]                                       # left stick forward
    assert np.array_equal(drive(pilot, lambda: pilot.report(pushed, FREE_HANDS), 0.5)[-1], READY)
    moving = drive(pilot, lambda: pilot.report(pushed, SHOULDER_BUTTON), 0.5, start_s=0.6)[-1]
    assert tip_m(moving) - tip_m(READY) == pytest.approx([0.08, 0, 0], abs=0.01)
    after = drive(pilot, lambda: pilot.report(pushed, FREE_HANDS), 0.5, moving, start_s=1.2)
    assert np.array_equal(after[-1], after[0])


def test_a_worn_stick_rests_and_a_short_or_broken_report_stops():
    for axes, buttons in (([0.1, -0.12, 0.14, 0.0], SHOULDER_BUTTON), ([], []), ([np.nan, 1.0], SHOULDER_BUTTON),
                          ([1.0, 1.0], [0.0, 1.0])):
        pilot = GamepadPilot("standard", mode="joint")
        decided = drive(pilot, lambda p=pilot, a=axes, b=buttons: p.report(a, b), 0.3)
        assert np.array_equal(decided[-1], READY)


def test_start_switches_the_pads_mode_and_triggers_move_the_jaw_by_how_far_they_are_pressed():
    pilot = GamepadPilot("standard")
    start = [*FREE_HANDS[:9], 1.0, *FREE_HANDS[10:]]
    for _ in range(3):
        pilot.report([0.0] * 4, start)
    assert pilot.mode == "joint"
    half = [*SHOULDER_BUTTON[:7], 0.575, *SHOULDER_BUTTON[8:]]
    opened = np.diff(drive(pilot, lambda: pilot.report([0.0] * 4, half), 0.3)[:, 5])
    assert opened == pytest.approx(0.5 * SHARE * 90 / 1.1 * 0.1, rel=1e-3)
