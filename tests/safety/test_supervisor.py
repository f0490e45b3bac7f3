"""The supervised arm: what stops it, what it does then, and how it comes back. On emulated servos, in stepped time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smolkit.arm import registers
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault
from smolkit.safety.incidents import IncidentLog, plot_incidents, read_incidents
from smolkit.safety.monitor import Monitor
from smolkit.safety.states import STOPS, State
from tests.safety.supervised import HOME_DEG, IDS, PERIOD_S, Desk


def test_the_states_of_an_ordinary_episode(desk: Desk):
    assert desk.state is State.ARMED
    desk.run(0.3)
    assert desk.state is State.RUNNING
    desk.guarded.rest()
    assert desk.state is State.ARMED
    desk.run(0.2)
    desk.guarded.release()
    assert desk.state is State.IDLE and desk.limp()
    with pytest.raises(SmolkitError, match="SK131"):
        desk.guarded.command(HOME_DEG)
    assert [e.state for e in desk.guarded.log.entries if e.kind == "state"] == [
        "armed", "running", "armed", "running", "idle"]


def test_goals_sent_by_hand_may_pause(desk: Desk):
    desk.run(0.2)
    desk.wait(1.0)
    assert desk.state is State.ARMED and desk.guarded.stopped_by is None
    desk.run(0.2)


@pytest.mark.fault(23)
def test_a_stop_holds_the_arm_latches_and_needs_a_rearm(desk: Desk):
    desk.run(0.5, HOME_DEG + np.array([40, 0, 0, 0, 0, 0]))
    desk.guarded.hold("a visitor came near")
    stood = desk.arm.read().pos_deg
    desk.wait(1.0)
    assert desk.state is State.HOLD and not desk.limp()
    assert np.abs(desk.arm.read().pos_deg - stood)[:5].max() < 3.0
    for attempt in (lambda: desk.guarded.command(HOME_DEG), desk.guarded.energize):
        with pytest.raises(SmolkitError, match="SK310"):
            attempt()
    desk.guarded.energize(rearm=True)
    desk.run(0.2)
    assert desk.state is State.RUNNING


def test_heartbeats_keep_a_resting_arm_armed():
    desk = Desk(heartbeat=True)
    desk.guarded.energize()
    for _ in range(50):
        desk.wait(0.1)
        desk.guarded.beat()
    assert desk.state is State.ARMED


@pytest.mark.fault(17)
def test_a_policy_that_stops_or_looks_at_old_pictures_stops_the_arm(desk: Desk):
    desk.run(0.3, observed_s=desk.clock.now_s)
    desk.wait(0.6)
    assert desk.state is State.HOLD and desk.guarded.stopped_by.name == "stale action"
    desk.guarded.energize(rearm=True)
    old_s = desk.clock.now_s()
    desk.wait(0.4)
    with pytest.raises(SmolkitError, match="SK312"):
        desk.guarded.command(HOME_DEG, observed_s=old_s)
    assert desk.state is State.HOLD


@pytest.mark.fault(18)
def test_unusable_actions_hold_the_arm(desk: Desk):
    for _ in range(2):
        desk.guarded.command(HOME_DEG * np.nan)
        desk.wait(PERIOD_S)
    with pytest.raises(SmolkitError, match="SK302"):
        desk.guarded.command(HOME_DEG * np.nan)
    assert desk.state is State.HOLD
    desk.guarded.energize(rearm=True)
    desk.run(0.2)


@pytest.mark.fault(15)
def test_a_camera_that_repeats_itself_stops_the_arm(desk: Desk):
    pictures = iter(range(1000))
    desk.run(0.5, frames=lambda: {"front": str(next(pictures))})
    with pytest.raises(SmolkitError, match="SK313"):
        desk.run(0.5, frames={"front": "the same"})
    assert desk.state is State.HOLD


@pytest.mark.fault(10)
def test_heat_warns_slows_and_parks(desk: Desk):
    guard = desk.bench.bus.protection
    for heat_c, speed in ((56, 1.0), (61, 0.5)):
        guard.temperature_c[2] = heat_c
        desk.run(0.1)
        assert desk.state is State.RUNNING
        assert desk.envelope.profile.joint_speed_deg_s == pytest.approx(90 * speed)
    guard.temperature_c[2] = 66
    with pytest.raises(SmolkitError, match="SK316"):
        desk.run(0.2)
    assert desk.state is State.HOLD
    assert desk.logged("warning") == ["SK316", "SK316"] and desk.logged("stop") == ["SK316"]
    guard.temperature_c[2] = 40
    desk.wait(0.1)
    desk.guarded.energize(rearm=True)
    assert desk.envelope.profile.joint_speed_deg_s == 90


@pytest.mark.fault(4)
def test_something_in_the_way_holds_the_arm(desk: Desk):
    desk.run(0.3)
    joint = desk.bench.world.model.joint("shoulder_pan").dofadr[0]
    desk.bench.world.model.dof_damping[joint] = 1000.0          # as if somebody held it
    with pytest.raises(SmolkitError, match="SK314"):
        desk.run(3.0, HOME_DEG + np.array([60, 0, 0, 0, 0, 0]))
    assert desk.state is State.HOLD and "shoulder_pan" in desk.guarded.stopped_by.found
    desk.wait(0.1)
    moved = desk.arm.goal_deg[0] - desk.arm.read().pos_deg[0]
    assert abs(moved) <= 3.0, "and it does not go on pushing"


@pytest.mark.fault(7)
def test_servos_that_restarted_switch_all_off(desk: Desk):
    desk.run(0.3)
    desk.bench.bus.power_cycle([3, 4])
    with pytest.raises(SmolkitError, match="SK137"):
        desk.run(0.1)
    assert desk.state is State.OFF and desk.limp()


def test_every_stop_is_in_the_log_and_the_log_is_read_back(tmp_path: Path):
    desk = Desk(IncidentLog(tmp_path / "log" / "arm.jsonl"))
    desk.guarded.energize()
    desk.run(0.5, HOME_DEG + np.array([90, 90, 0, 0, 0, 0]))
    desk.guarded.hold("enough")
    found = read_incidents(tmp_path / "log" / "arm.jsonl")
    assert [e.kind for e in found][:3] == ["state", "limited", "state"] and found[-2].code == "SK310"
    assert plot_incidents(found).axes[0].get_title().startswith("1 stop")
    with (tmp_path / "log" / "arm.jsonl").open("a") as file:
        file.write('{"moment_s": 1')
    assert read_incidents(tmp_path / "log" / "arm.jsonl") == found, "a line cut off by a crash"


def test_every_stop_says_what_to_do():
    for name, stop in STOPS.items():
        assert stop.code.startswith("SK") and stop.next_step and stop.cause and stop.expected, name


@pytest.mark.fault(14)
def test_lost_goals_are_noticed_and_no_leap_follows_them(desk: Desk):
    desk.run(0.3)
    with fault("lost_writes", desk.bench, address=registers.GOAL_POSITION.address):
        desk.run(0.3, HOME_DEG + np.array([30, 0, 0, 0, 0, 0]))
    before = desk.arm.read().pos_deg
    sent = desk.guarded.command(HOME_DEG + np.array([30, 0, 0, 0, 0, 0]))
    assert desk.arm.lost_writes >= 8 and abs(sent[0] - before[0]) < 2.0
    desk.run(2.0, HOME_DEG + np.array([30, 0, 0, 0, 0, 0]))
    assert desk.state is State.RUNNING and desk.arm.read().pos_deg[0] > 20


@pytest.mark.fault(28)
def test_goals_of_a_second_program_stop_the_arm(desk: Desk):
    desk.run(0.3)
    with fault("foreign_write", desk.bench, servo=1, address=registers.GOAL_POSITION.address, value=1500), \
            pytest.raises(SmolkitError, match="SK139"):
        desk.run(0.1)
    assert desk.state is State.HOLD
    desk.guarded.energize(rearm=True)
    desk.run(0.2)


@pytest.mark.fault(9)
def test_an_overloaded_servo_stops_the_arm(desk: Desk):
    desk.run(0.3)
    with fault("error_flag", desk.bench, servo=2, bits=32), pytest.raises(SmolkitError, match="SK315"):
        desk.run(0.2)
    assert desk.state is State.HOLD and "shoulder_lift" in desk.guarded.stopped_by.found


@pytest.mark.fault(9)
def test_a_gripper_that_holds_something_may_overload(desk: Desk):
    with fault("error_flag", desk.bench, servo=6, bits=32):
        desk.run(0.3)
    assert desk.state is State.RUNNING


@pytest.mark.fault(7)
def test_a_supply_that_sags_stops_the_arm(desk: Desk):
    desk.run(0.3)
    with fault("weak_supply", desk.bench, supply_v=4.2), pytest.raises(SmolkitError, match="SK317"):
        desk.run(0.6)
    assert desk.state is State.HOLD


@pytest.mark.fault(8)
def test_twelve_volts_on_small_servos_switch_all_off(desk: Desk):
    desk.run(0.3)
    with fault("over_voltage", desk.bench), pytest.raises(SmolkitError, match="SK317"):
        desk.run(0.3)
    assert desk.state is State.OFF and desk.limp()


@pytest.mark.fault(12)
def test_a_broken_chain_switches_off_who_still_hears(desk: Desk):
    desk.run(0.3)
    with fault("chain_break", desk.bench, at=4):
        for _ in range(4):
            with pytest.raises(SmolkitError, match=r"SK101|SK318"):
                desk.guarded.command(HOME_DEG)
            desk.wait(PERIOD_S)
        assert desk.state is State.LOST and "chain broken" in desk.guarded.log.text()
        assert desk.guarded.why.startswith("SK135 torque may still be on: 4 (wrist_flex)"), "never called limp"
        torque = [desk.bench.bus.memory(i).get(registers.TORQUE_ENABLE) for i in IDS]
        assert torque[:3] == [0, 0, 0]
        assert "4 (wrist_flex) silent" in desk.guarded.log.text(), "and those that may still hold are named"


@pytest.mark.fault(11)
def test_a_pulled_usb_cable_is_a_lost_arm(desk: Desk):
    desk.run(0.3)
    with fault("usb_unplugged", desk.bench), pytest.raises(SmolkitError, match="SK106"):
        desk.guarded.command(HOME_DEG)
    assert desk.state is State.LOST
    with pytest.raises(SmolkitError, match="SK319"):
        desk.guarded.command(HOME_DEG)


@pytest.mark.fault(13)
def test_noise_on_the_line_is_survived_and_a_dead_line_holds(desk: Desk):
    with fault("flip_bits", desk.bench, rate=0.01):
        desk.run(2.0)
    assert desk.state is State.RUNNING
    with fault("lost_replies", desk.bench, rate=1.0):
        desk.wait(0.5)
    assert desk.guarded.stopped_by is not None and desk.guarded.state is not State.RUNNING


@pytest.mark.fault(35)
def test_a_late_loop_moves_the_arm_more_slowly(desk: Desk):
    there = HOME_DEG + np.array([60, 0, 0, 0, 0, 0])
    desk.run(0.5)
    with fault("slow_host", desk.bench, late_s=0.2):
        before = desk.guarded.command(HOME_DEG)
        sent = []
        for _ in range(8):
            desk.wait(PERIOD_S)
            sent.append(desk.guarded.command(there))
    steps = np.diff([before, *sent], axis=0)[:, 0]
    assert steps.max() <= 90 * 0.05 + 1e-6, "a step of an ordinary period, though the wait was five times as long"


@pytest.mark.fault(35)
def test_cycles_that_stay_late_are_a_reason_to_stop():
    monitor = Monitor()
    assert not any(monitor.cycle(0.2, now_s=k) for k in range(4))
    assert monitor.cycle(0.2, now_s=4.0)[0].name == "late cycles"
    monitor.cycle(0.03, now_s=5.0)
    assert not monitor.cycle(0.2, now_s=6.0)


@pytest.mark.fault(32)
def test_play_in_a_joint_is_no_reason_to_stop(desk: Desk):
    with fault("backlash", desk.bench, servo=2, play_deg=4.0):
        desk.run(1.0)
    assert desk.state is State.RUNNING


@pytest.mark.fault(23)
@pytest.mark.parametrize("standing", [False, True])
def test_a_stop_while_torque_grows_latches(desk: Desk, standing: bool):
    if standing:
        desk.guarded.hold("first")
    else:
        desk.guarded.release()
    presses = iter([True])
    desk.clock.on_advance(lambda _: desk.guarded._arming and next(presses, False) and desk.guarded.hold("the teacher"))
    with pytest.raises(SmolkitError, match=r"SK136|SK310"):
        desk.guarded.energize(rearm=True)
    assert desk.limp() is not standing, "a raised arm that stood goes on standing"
    assert desk.state is (State.HOLD if standing else State.OFF)
    with pytest.raises(SmolkitError, match="SK310"):
        desk.guarded.energize()


@pytest.mark.fault(17)
@pytest.mark.parametrize("moment", [1.7e9, float("nan")])
def test_a_picture_of_another_clock_is_no_fresh_picture(desk: Desk, moment: float):
    with pytest.raises(SmolkitError, match="SK312"):
        desk.guarded.command(HOME_DEG, observed_s=moment)


def _wave(desk: Desk, scale: np.ndarray | float, seconds: float = 1.5) -> list[str]:
    """A policy around the home pose, in units of its own; the warnings that it earns."""
    begin_s = desk.clock.now_s()
    for k in range(round(seconds / PERIOD_S)):
        desk.guarded.command((HOME_DEG + 5 * np.sin(k / 5)) * scale)
        desk.clock.sleep_until(begin_s + (k + 1) * PERIOD_S)
    return desk.logged("warning")


@pytest.mark.fault(33)
def test_a_policy_that_speaks_in_radians_is_told_from_one_that_does_not(desk: Desk):
    desk.run(1.0)
    assert _wave(desk, 1.0) == []
    radians = np.append(np.full(5, np.pi / 180), 0.01)
    assert _wave(desk, radians) == ["SK324"]
    assert desk.state is State.RUNNING, "a warning: within the limits nothing is in danger"


@pytest.mark.fault(33)
def test_a_person_who_sends_the_arm_to_zero_is_not_taken_for_radians(desk: Desk):
    desk.run(1.0)
    desk.run(2.0, np.zeros(6))
    assert desk.logged("warning") == []
