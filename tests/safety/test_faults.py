"""The fault catalogue on servos and line: injected by name under the real driver, detected, survived, undone."""

from __future__ import annotations

import time
from contextlib import nullcontext

import numpy as np
import pytest

from smolkit.arm import fake, registers
from smolkit.arm.bus import Bus
from smolkit.arm.doctor import check_arm
from smolkit.arm.emulator import connect
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault
from tests.arm.wires import PATIENT, WIRES, wired
from tests.safety.desks import IDS, Desk, on

NOISES = [("flip_bits", 0.2), ("lost_replies", 0.2), ("truncated_replies", 0.2), ("duplicate_replies", 0.5),
          ("late_replies", 0.2), ("foreign_client", 0.5)]


# -- the chain, its supply, its cable --------------------------------------------------------------------


@pytest.mark.fault(12)
@pytest.mark.parametrize("powered", [True, False])
def test_a_break_in_the_chain_is_noticed_at_the_next_command_and_nothing_moves(powered):
    with Desk() as desk:
        pose = desk.energized()
        goals = desk.goals()
        with fault("chain_break", desk, at=3, powered=powered):
            for call in (desk.arm.read, lambda: desk.arm.command(pose + 10)):
                with pytest.raises(SmolkitError, match="SK101") as error:
                    call()
                assert "between servo 2 and servo 3" in error.value.cause
            assert desk.torque() == ([1] * 6 if powered else [1, 1, 0, 0, 0, 0]) and desk.goals()[:2] == goals[:2]
            with pytest.raises(SmolkitError, match="SK135") as error:
                desk.arm.release()
            assert "3 (elbow_flex) silent" in error.value.found and desk.torque()[:2] == [0, 0]
        desk.arm.release()
        assert desk.torque() == [0] * 6
        desk.energized()


@pytest.mark.fault(12)
def test_servos_that_come_back_without_their_torque_are_not_woken():
    with Desk() as desk:
        pose = desk.energized()
        with fault("chain_break", desk, at=4, powered=False):
            desk.wait(0.1)
        with pytest.raises(SmolkitError, match="SK137"):
            desk.arm.command(pose)
        assert desk.torque() == [1, 1, 1, 0, 0, 0]


@pytest.mark.fault(7)
def test_a_brown_out_in_motion_stops_the_arm_until_it_is_armed_anew():
    with Desk() as desk:
        pose = desk.energized()
        desk.go(pose + on(1, 10), 0.3)
        goals = desk.goals()
        with fault("brown_out", desk, servos=(2, 3)):
            with pytest.raises(SmolkitError, match="SK137") as error:
                desk.arm.command(pose)
            assert "2 (shoulder_lift) torque off, 3 (elbow_flex) torque off" in error.value.found
        desk.wait(0.5)
        assert desk.torque() == [1, 0, 0, 1, 1, 1] and desk.goals()[0] == goals[0]
        with pytest.raises(SmolkitError, match="SK131"):
            desk.arm.command(pose)
        desk.arm.release()
        desk.energized()


@pytest.mark.fault(7)
def test_a_weak_supply_sags_under_load_and_shows_it():
    with Desk() as desk:
        pose = desk.energized()
        idle_v = desk.arm.read().voltage_v.min()
        with fault("weak_supply", desk, supply_v=4.6, supply_ohm=0.4), fault("blocked_joint", desk, servo=2):
            desk.go(pose + on(2, 20), 1.0)
            state = desk.arm.read()
            assert state.voltage_v.max() < 4.0 < idle_v - 0.8
            assert (state.error_bits & registers.VOLTAGE).all()
            with pytest.raises(SmolkitError, match="SK110") as error:
                desk.arm.energize()
            assert "weak supply" in error.value.cause
        desk.wait(0.5)
        assert desk.arm.read().voltage_v.min() > 4.8 and not desk.arm.read().error_bits.any()


@pytest.mark.fault(8)
def test_twelve_volts_are_shown_at_once_and_never_energized():
    with Desk() as desk, fault("over_voltage", desk):
        assert (desk.arm.read().voltage_v == 12.2).all()
        with pytest.raises(SmolkitError, match="SK110") as error:
            desk.arm.energize()
        assert "unplug" in error.value.next_step and desk.torque() == [0] * 6
        desk.wait(0.1)
        assert (desk.arm.read().error_bits & registers.VOLTAGE).all()


@pytest.mark.fault(11)
def test_a_pulled_cable_leaves_the_arm_holding_and_a_new_opening_finds_it():
    with Desk() as desk:
        pose = desk.energized()
        with fault("usb_unplugged", desk):
            for call in (desk.arm.read, lambda: desk.arm.command(pose)):
                with pytest.raises(SmolkitError, match="SK106"):
                    call()
            with pytest.raises(SmolkitError, match="SK135"):
                desk.arm.close()
            desk.wait(1.0)
            assert desk.torque() == [1] * 6
        desk.open()
        assert desk.arm.read().pos_deg == pytest.approx(pose, abs=0.5)
        desk.arm.release()
        assert desk.torque() == [0] * 6


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", WIRES[1:])
def test_on_a_port_of_the_system_the_cable_dies_and_the_arm_lives(kind):
    servos = fake.servos()
    with wired(kind, servos) as port:
        bus = Bus(port, **PATIENT)
        with fault("usb_unplugged", servos):
            with pytest.raises(SmolkitError, match="SK106"):
                bus.sync_read(registers.PRESENT_POSITION, IDS)
            bus.close()
            begin_s, patience_s = servos.now_s, time.monotonic() + 20
            while servos.now_s < begin_s + 0.1:
                assert time.monotonic() < patience_s
                time.sleep(0.01)
        if kind == "tcp":                          # a pty comes back under another name, as a board does
            with Bus(port, **PATIENT) as again:
                assert again.ping(1) == 0


# -- bytes ------------------------------------------------------------------------------------------------


@pytest.mark.fault(13)
@pytest.mark.parametrize(("name", "rate"), [*NOISES, ("echo", None)])
def test_on_a_noisy_line_a_reading_is_true_or_an_error_and_goals_stay_small(name, rate):
    with Desk() as desk:
        pose = desk.energized()
        desk.go(pose, 0.2)
        refused, furthest_deg = 0, desk.envelope.profile.max_lead_deg + 1
        with fault(name, desk, **({"rate": rate, "seed": 5} if rate else {})):
            for _ in range(60):
                try:
                    state = desk.arm.read()
                    assert state.pos_deg == pytest.approx(desk.truth_deg(), abs=0.5)
                    assert (state.temperature_c == 25).all() and not state.error_bits.any()
                    desk.arm.command(pose + on(1, 30))
                except SmolkitError as error:
                    assert error.code in ("SK101", "SK104", "SK131", "SK137"), error
                    refused += 1
                goals_deg = desk.calibration.to_pos(np.array(desk.goals(), float))
                assert abs(goals_deg - desk.truth_deg()).max() < furthest_deg
                desk.wait(1 / 30)
            assert refused < 30
        assert desk.arm.read().pos_deg == pytest.approx(desk.truth_deg(), abs=0.5)
        desk.go(pose, 0.2)


@pytest.mark.fault(13)
@pytest.mark.parametrize(("name", "rate"), NOISES)
def test_noise_passes_the_ports_of_the_system_too(name, rate):
    servos = fake.servos()
    with wired("tcp", servos) as port:
        with fault(name, servos, rate=rate, seed=3), Bus(port, latency_s=0.05, budget_s=0.5) as bus:
            found = [_asked(bus) for _ in range(15)]
        assert set(map(str, found)) <= {str(dict.fromkeys(IDS, 2048)), "SK101", "SK104"}
        with Bus(port, **PATIENT) as bus:
            assert bus.sync_read(registers.PRESENT_POSITION, IDS) == dict.fromkeys(IDS, 2048)


def _asked(bus):
    try:
        return bus.sync_read(registers.PRESENT_POSITION, IDS)
    except SmolkitError as error:
        return error.code


@pytest.mark.fault(13)
def test_the_same_seed_spoils_the_same_packets():
    heard = []
    for seed in (1, 1, 2):
        servos = fake.servos()
        with fault("flip_bits", servos, rate=0.5, seed=seed):
            heard.append([servos.handle(bytes.fromhex("ff ff 01 02 01 fb")) for _ in range(20)])
    assert heard[0] == heard[1] != heard[2]


@pytest.mark.fault(14)
def test_lost_goals_leave_the_arm_where_it_is_and_the_next_one_brings_no_leap():
    with Desk() as desk:
        pose = desk.energized()
        desk.go(pose, 0.2)
        goals = desk.goals()
        with fault("lost_writes", desk, address=registers.GOAL_POSITION.address):
            desk.go(pose + on(1, 5), 0.2)
            assert desk.goals() == goals
        sent = desk.go(pose + on(1, 5), 1.0)
        assert abs(sent[0] - pose).max() < 6 and desk.arm.read().pos_deg[0] == pytest.approx(pose[0] + 5, abs=0.5)


@pytest.mark.fault(14)
@pytest.mark.parametrize("register", [registers.GOAL_POSITION, registers.TORQUE_ENABLE, registers.TORQUE_LIMIT])
def test_an_arm_whose_writes_are_lost_is_not_energized(register):
    with Desk() as desk:
        if register is registers.GOAL_POSITION:
            desk.bus.memory(1).show(register, 0)
        with fault("lost_writes", desk, address=register.address), pytest.raises(SmolkitError, match="SK134"):
            desk.arm.energize()
        assert desk.torque() == [0] * 6
        desk.energized()


@pytest.mark.fault(28)
def test_a_second_program_that_raises_a_cap_stops_the_arm():
    with Desk() as desk:
        pose = desk.energized()
        goals = desk.goals()
        with fault("foreign_write", desk, servo=2, value=1000), pytest.raises(SmolkitError, match="SK137") as error:
            desk.arm.command(pose + 10)
        assert "2 (shoulder_lift) cap 1000" in error.value.found and desk.goals() == goals


# -- servos -----------------------------------------------------------------------------------------------


@pytest.mark.fault(9)
@pytest.mark.parametrize("sticky", [False, True])
def test_a_jaw_that_is_held_trips_and_is_not_loaded_again_blindly(sticky):
    with Desk() as desk:
        pose = desk.energized()
        with fault("blocked_joint", desk, servo=6):
            desk.go(pose + on(6, -25), 4.0)
            state = desk.arm.read()
            assert state.error_bits.tolist() == [0, 0, 0, 0, 0, registers.OVERLOAD]
            assert abs(state.load[5]) <= 0.2
        with fault("sticky_overload", desk) if sticky else nullcontext():
            desk.arm.release()
            if sticky:
                with pytest.raises(SmolkitError, match="SK138") as error:
                    desk.arm.energize()
                assert "6 (gripper) overload" in error.value.found and desk.torque() == [0] * 6
                desk.bus.power_cycle()
            desk.energized()


@pytest.mark.fault(10)
def test_a_hot_servo_is_shown_cut_and_not_energized():
    with Desk() as desk:
        desk.energized()
        with fault("hot_servo", desk, servo=3, temperature_c=71.0):
            assert desk.arm.read().temperature_c.tolist() == [25, 25, 71, 25, 25, 25]
            desk.wait(0.1)
            state = desk.arm.read()
            assert state.error_bits[2] == registers.HOT and abs(state.load[2]) < 0.01
            desk.arm.release()
            with pytest.raises(SmolkitError, match="SK138") as error:
                desk.arm.energize()
            assert "3 (elbow_flex) over-temperature" in error.value.found
        desk.wait(0.1)
        desk.energized()


@pytest.mark.fault(10)
def test_a_servo_warms_up_at_a_rate_that_can_be_seen():
    with Desk() as desk:
        desk.arm.release()
        with fault("hot_servo", desk, servo=2, temperature_c=80.0, at_once=False):
            desk.wait(60)
            assert 3 < desk.arm.read().temperature_c[1] - 25 < 8


@pytest.mark.parametrize(("name", "parameters", "codes"), [
    pytest.param("odd_calibration", {"servo": 4}, "SK109", marks=pytest.mark.fault(5)),
    pytest.param("odd_calibration", {"servo": 2, "offset_ticks": 0, "range_ticks": 500}, "SK109",
                 marks=pytest.mark.fault(5)),
    pytest.param("swapped_ids", {}, "SK109", marks=pytest.mark.fault(29)),
    pytest.param("duplicate_id", {}, "SK1(01|04|19)", marks=pytest.mark.fault(29)),
    pytest.param("protections_off", {}, "SK111", marks=pytest.mark.fault(30)),
    pytest.param("chain_break", {"at": 6}, "SK101", marks=pytest.mark.fault(12)),
    pytest.param("echo", {}, "SK1", marks=pytest.mark.fault(13)),
    pytest.param("over_voltage", {}, "SK110", marks=pytest.mark.fault(8))])
def test_an_arm_that_is_not_as_it_should_be_is_not_opened(name, parameters, codes):
    with Desk() as desk:
        desk.arm.close()
        with fault(name, desk, **parameters):
            with pytest.raises(SmolkitError, match=codes):
                desk.open()
            assert not check_arm(connect(desk.bus), desk.calibration).ok
        desk.open()


@pytest.mark.parametrize(("name", "parameters"), [
    pytest.param("slipped_horn", {"servo": 2}, marks=pytest.mark.fault(25)),
    pytest.param("slipped_horn", {"servo": 3, "ticks": -1600}, marks=pytest.mark.fault(5)),
    pytest.param("at_seam", {"servo": 2}, marks=pytest.mark.fault(6)),
    pytest.param("at_seam", {"servo": 4}, marks=pytest.mark.fault(6))])
def test_a_joint_that_reads_outside_its_range_is_not_powered(name, parameters):
    with Desk() as desk:
        with fault(name, desk, **parameters):
            with pytest.raises(SmolkitError, match="SK133"):
                desk.arm.energize()
            desk.wait(0.1)
            assert desk.torque() == [0] * 6
        desk.energized()


@pytest.mark.fault(5)
def test_a_servo_the_other_way_round_moves_the_link_the_other_way():
    with Desk() as desk, fault("reversed_drive", desk, servo=1):
        pose, begin_rad = desk.energized(), desk.world.state().angle_rad
        desk.go(pose + on(1, 3), 1.0)
        turned_deg = np.rad2deg(desk.world.state().angle_rad - begin_rad)
        assert turned_deg[0] == pytest.approx(-3, abs=0.5) and abs(turned_deg[1:5]).max() < 0.5
        assert desk.arm.read().pos_deg[0] == pytest.approx(pose[0] + 3, abs=0.5)
        desk.arm.release()


@pytest.mark.fault(25)
def test_yesterdays_goal_moves_nothing():
    with Desk() as desk:
        pose = desk.arm.read().pos_deg
        with fault("stale_goal", desk, servo=1, ticks=900):
            assert desk.goals()[0] - desk.calibration.to_ticks(pose)[0] > 850
            assert desk.energized()[0] == pytest.approx(pose[0], abs=0.3)


@pytest.mark.fault(26)
@pytest.mark.parametrize("wakes", [False, True])
def test_no_firmware_is_woken_by_a_goal_after_the_release(wakes):
    with Desk() as desk, fault("goal_wakes_servo", desk, wakes=wakes):
        pose = desk.energized()
        desk.arm.release()
        with pytest.raises(SmolkitError, match="SK131"):
            desk.arm.command(pose)
        desk.wait(0.1)
        assert desk.torque() == [0] * 6


@pytest.mark.fault(31)
def test_a_servo_that_does_not_let_go_is_named_and_the_others_do():
    with Desk() as desk:
        desk.energized()
        with fault("deaf_to_off", desk, servo=2):
            with pytest.raises(SmolkitError, match="SK135") as error:
                desk.arm.close()
            assert error.value.found == "2 (shoulder_lift) still on"
            assert desk.torque() == [0, 1, 0, 0, 0, 0] and not desk.bench.port.is_open
        desk.open().release()
        assert desk.torque() == [0] * 6


@pytest.mark.fault(31)
def test_a_flagged_servo_lets_go_and_takes_no_one_with_it():
    with Desk() as desk:
        desk.energized()
        with fault("error_flag", desk, servo=2):
            desk.arm.release()
            assert desk.torque() == [0] * 6
            with pytest.raises(SmolkitError, match="SK138"):
                desk.arm.energize()
        desk.energized()


@pytest.mark.fault(32)
def test_play_shows_as_an_error_without_effort():
    with Desk() as desk:
        pose = desk.energized()
        tight = _returned(desk, pose)
        with fault("backlash", desk, servo=2, play_deg=6.0):
            loose = _returned(desk, pose)
            assert abs(loose.pos_deg - pose)[1] == pytest.approx(3.0, abs=0.5)
            assert abs(tight.pos_deg - pose)[1] < 0.3 and abs(loose.load[1]) < 0.25
        assert _returned(desk, pose).pos_deg == pytest.approx(tight.pos_deg, abs=0.3)


def _returned(desk, pose):
    """Leans forward and comes back, so that the weight pulls one way."""
    desk.go(pose + on(2, 8), 1.0)
    desk.go(pose, 1.0)
    return desk.arm.read()
