"""End to end on the simulated bench: a hand, keys and sliders move the arm through the loop, the guard, the servos."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.arm.joints import to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.cameras.camera import Observation
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.sim.world import shared_renderer
from smolkit.teleop.keys import KeyPilot
from smolkit.teleop.leader import LeaderActor, Phase
from smolkit.teleop.loop import Decision, Pace, run_episode
from smolkit.teleop.sliders import SliderPilot
from tests.teleop.rigs import READY, Hand, blind_bench

BY_HAND = Pace(policy_hz=30, control_hz=30)        # a person sees 100 ms; the leader is read at every command


def tip_m(pose_deg):
    return tool_frame(to_radians(pose_deg))[:3, 3]


def hand_path(moment_s):
    """A slow wave of four joints and the trigger around READY, from rest to rest in 5 s."""
    wave = np.sin(2 * np.pi * moment_s / 5.0) if 0 <= moment_s <= 5.0 else 0.0
    return READY + wave * np.array([25, 10, -10, 10, 30, 40])


def test_a_hand_on_the_leader_drives_the_follower():
    with blind_bench() as kit:
        hand, begin_s = Hand(kit.clock), kit.clock.now_s() + 1.5
        hand.hold(READY)
        kit.clock.on_advance(lambda moment_s: hand.hold(hand_path(moment_s - begin_s)))
        with hand.arm() as leader:
            actor = LeaderActor(leader, lambda: True, kit.guard.profile, kit.guard.range_deg)
            seen = [(step.observation.captured_s - begin_s, step.observation.state_deg, actor.phase)
                    for step in run_episode(kit, actor, 7.5, BY_HAND)]
        final_deg = kit.arm.read().pos_deg
    behind = np.array([np.abs(pos_deg - hand_path(moment_s - 0.15)) for moment_s, pos_deg, _ in seen[10:]])
    assert np.ptp(np.array([pos_deg for _, pos_deg, _ in seen]), axis=0)[[0, 4, 5]].min() > 45
    assert behind[:, :5].max() < 6.0 and np.median(behind[:, :5], axis=0).max() < 3.0      # deg, 0.15 s behind
    assert np.abs(final_deg - READY)[:5].max() < 3.0
    assert all(phase is Phase.FOLLOWING for *_, phase in seen)


@pytest.mark.fault(27)
def test_a_leader_that_goes_silent_leaves_the_follower_standing():
    with blind_bench() as kit:
        hand, begin_s = Hand(kit.clock), kit.clock.now_s()
        hand.hold(READY)
        kit.clock.on_advance(lambda moment_s: hand.hold(hand_path(moment_s - begin_s)))
        with hand.arm() as leader:
            actor = LeaderActor(leader, lambda: True, kit.guard.profile, kit.guard.range_deg)
            for step in run_episode(kit, actor, 4.0, BY_HAND):
                if step.index == 60:
                    hand.port.unplug()
                    where_deg = step.observation.state_deg
        still_deg = kit.arm.read()
    assert actor.phase is Phase.FROZEN and actor.trouble.code == "SK352"
    assert np.abs(still_deg.pos_deg - where_deg)[:5].max() < 6.0 and np.abs(still_deg.vel_deg_s).max() < 1.0


def test_a_key_moves_the_tool_five_centimetres_forward_on_a_line():
    with blind_bench() as kit:
        pilot, tips = KeyPilot(kit.guard.profile, kit.guard.range_deg), []
        for step in run_episode(kit, pilot, 2.5):
            tips.append(tip_m(step.observation.state_deg))
            far_enough = tips[-1][0] - tips[5][0] > 0.045 if len(tips) > 5 else False
            pilot.press({"KeyW", "ShiftLeft"} if len(tips) > 5 and not far_enough else set())
    way = np.array(tips[5:]) - tips[5]
    assert way[-1, 0] == pytest.approx(0.05, abs=0.012)
    assert np.linalg.norm(way[:, 1:], axis=1).max() < 0.005


@pytest.mark.parametrize("mode, key", [("joint", "KeyQ"), ("cartesian", "KeyA")])
def test_a_released_key_stops_the_arm_within_a_centimetre(mode, key):
    with blind_bench() as kit:
        pilot, tips = KeyPilot(kit.guard.profile, kit.guard.range_deg, mode), []
        for step in run_episode(kit, pilot, 1.6):
            tips.append(tip_m(step.observation.state_deg))
            pilot.press({key} if len(tips) < 8 else set())
    assert np.linalg.norm(tips[8] - tips[7]) / 0.1 > 0.1                 # m/s, at the first look without a key
    assert np.linalg.norm(np.array(tips[9:]) - tips[8], axis=1).max() < 0.01


def test_sliders_bring_the_arm_to_a_pose():
    target = {"shoulder_pan": 20.0, "elbow_flex": 30.0, "wrist_roll": -40.0, "gripper": 10.0}
    with blind_bench() as kit:
        pilot = SliderPilot(kit.guard.profile, kit.guard.range_deg)
        steps = run_episode(kit, pilot, 4.0)
        next(steps)
        pilot.set(**target)
        actions = np.array([step.action_deg for step in steps])
        final_deg = kit.arm.read().pos_deg
    assert pilot.arrived and final_deg == pytest.approx([20, -30, 30, 70, -40, 10], abs=3.0)
    assert np.abs(np.diff(actions, axis=0)).max() < 5.0


def test_the_guard_still_stands_between_a_key_and_the_table():
    with blind_bench() as kit:
        pilot = KeyPilot(kit.guard.profile, kit.guard.range_deg)
        for step in run_episode(kit, pilot, 4.0):
            pilot.press({"KeyF"})
            assert tip_m(step.observation.state_deg)[2] > -0.003
        assert "table" in kit.guard.report().by_reason
        low_m = tip_m(kit.arm.read().pos_deg)[2]
        pilot.press(set())
        for _ in run_episode(kit, pilot, 0.5):
            pilot.press({"KeyR"})
        assert tip_m(kit.arm.read().pos_deg)[2] > low_m + 0.01      # no way stored up: the first press lifts


def test_a_person_who_is_slow_stops_no_arm_and_a_slow_policy_does():
    """A late picture is dangerous for who drives by pictures; who leads by hand sees the arm."""
    for by_hand in (True, False):
        with Kit.sim("place", seed=3, image_px=32, renderer=shared_renderer()) as kit:
            kit.arm.energize()

            def slow(seen: Observation, kit: Kit = kit) -> Decision:
                kit.clock.sleep_until(kit.clock.now_s() + 0.4)
                return Decision(seen.state_deg)

            steps = run_episode(kit, slow, seconds=2.0, by_hand=by_hand)
            if by_hand:
                assert list(steps) and kit.arm.stopped_by is None
            else:
                with pytest.raises(SmolkitError, match="SK312"):
                    list(steps)
