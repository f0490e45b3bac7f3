"""Torque on without a jump, torque off without a doubt, whoever asks and whatever fails."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from smolkit.arm import fake, registers, torque
from smolkit.arm.joints import to_radians
from smolkit.arm.registers import GOAL_POSITION, TORQUE_ENABLE, TORQUE_LIMIT
from smolkit.report import SmolkitError
from tests.arm.arms import IDS, POSE, reopened, settle, table, table_is_limp
from tests.arm.wires import tamper

# -- torque on ----------------------------------------------------------------------------------------------


@pytest.mark.fault(25)
def test_energizing_with_a_stale_goal_moves_nothing():
    servo_bus = fake.servos(5)
    arm = fake.arm(servo_bus=servo_bus)
    servo_bus.hand_pose(to_radians(POSE))
    for servo_id in IDS:
        servo_bus.memory(servo_id).put(GOAL_POSITION, 300)           # yesterday's
    arm.energize()
    settle(arm)
    assert arm.read().pos_deg == pytest.approx(POSE, abs=0.2)
    assert table(servo_bus, TORQUE_ENABLE) == [1] * 6
    assert table(servo_bus, TORQUE_LIMIT) == [600] * 5 + [500]
    assert table(servo_bus, registers.ACCELERATION) == [254] * 6


def test_the_torque_grows_from_a_tenth():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    seen = []
    arm.clock.on_advance(lambda moment_s: seen.append(table(servo_bus, TORQUE_LIMIT)[0]))
    begin_s = arm.clock.now_s()
    arm.energize()
    assert seen[0] == 100 and seen == sorted(seen) and len(set(seen)) >= 8
    assert arm.clock.now_s() - begin_s == pytest.approx(1.0)


def test_a_holding_arm_is_taken_over_without_dropping_it():
    servo_bus = fake.servos()
    first = fake.arm(servo_bus=servo_bus)
    first.energize()                                                 # and then its process is killed
    arm, _ = reopened_holding(servo_bus, first.calibration)
    seen = []
    arm.clock.on_advance(lambda moment_s: seen.append((table(servo_bus, TORQUE_LIMIT)[0],
                                                       table(servo_bus, TORQUE_ENABLE)[0])))
    arm.energize()
    assert set(seen) == {(600, 1)}


def reopened_holding(servo_bus, calibration):
    return reopened(servo_bus, fake.OpenGuard(), calibration)


@pytest.mark.fault(6)
def test_a_joint_outside_its_calibrated_range_is_not_energized():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    outside = to_radians(np.array([0, 0, 0, 0, 0, 50.0]))
    outside[1] = fake.UPPER_RAD[1] + 0.1
    servo_bus.hand_pose(outside)
    with pytest.raises(SmolkitError, match="SK133") as error:
        arm.energize()
    assert "shoulder_lift" in error.value.expected
    assert table_is_limp(arm)


def test_a_refusal_to_energize_does_not_drop_an_arm_that_holds():
    servo_bus = fake.servos()
    first = fake.arm(servo_bus=servo_bus)
    first.energize()
    arm, _ = reopened_holding(servo_bus, first.calibration)
    servo_bus.hand_pose(fake.UPPER_RAD + 0.1)
    with pytest.raises(SmolkitError, match="SK133"):
        arm.energize()
    assert table(servo_bus, TORQUE_ENABLE) == [1] * 6


def _blocked_too_long(servo_bus):
    servo_bus.forced_errors[3] = registers.OVERLOAD | registers.CURRENT


def _hot(servo_bus):
    servo_bus.protection.temperature_c[2] = 66.9


def _sagging(servo_bus):
    servo_bus.protection.supply_v = 3.5


@pytest.mark.parametrize(("fault", "code", "found"), [
    (_blocked_too_long, "SK138", "3 (elbow_flex) over-current, overload"), (_hot, "SK138", "3 (elbow_flex) 66 deg C"),
    (_sagging, "SK110", "3.5 V")])
@pytest.mark.parametrize("holding", [False, True])
def test_an_ill_servo_is_not_energized_and_nothing_is_written(fault, code, found, holding):
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    if holding:
        arm.energize()
    before = [bytes(servo.live[:56]) for servo in servo_bus.servos]
    fault(servo_bus)
    settle(arm, 0.1)
    with pytest.raises(SmolkitError, match=code) as error:
        arm.energize()
    assert found in error.value.found
    assert [bytes(servo.live[:56]) for servo in servo_bus.servos] == before
    servo_bus.forced_errors.clear()
    arm.close()


def test_a_warm_servo_is_energized():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    servo_bus.protection.temperature_c[2] = 64.9
    arm.energize()
    assert arm.ready
    arm.close()


def test_a_release_from_another_thread_always_wins():
    for _ in range(8):
        servo_bus = fake.servos()
        arm = fake.arm(servo_bus=servo_bus)
        arm.energize()
        ended = []

        def drive(arm=arm, ended=ended):
            try:
                while True:
                    arm.command(POSE)
            except SmolkitError as error:
                ended.append(error.code)

        loop = threading.Thread(target=drive)
        loop.start()
        arm.release()
        loop.join()
        servo_bus.advance_to(servo_bus.now_s + 0.1)
        assert ended == ["SK131"] and table(servo_bus, TORQUE_ENABLE) == [0] * 6


def test_a_stop_while_the_torque_grows_ends_the_growing():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.clock.on_advance(lambda moment_s: arm.release())
    with pytest.raises(SmolkitError, match="SK136"):
        arm.energize()
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6


def test_a_stop_just_after_the_growing_ends_the_switching_on(monkeypatch):
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    grow = torque.grow

    def grow_and_stop(*given):
        grow(*given)
        arm.release()

    monkeypatch.setattr(torque, "grow", grow_and_stop)
    with pytest.raises(SmolkitError, match="SK136"):
        arm.energize()
    with pytest.raises(SmolkitError, match="SK131"):
        arm.command(POSE)
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6


def test_a_stop_from_another_thread_in_the_middle_of_a_growing_step_is_not_undone(monkeypatch):
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    follow_down, stops, after = torque._follow_down, [], []

    def stop_first(bus, ids):
        servo_bus.hand_pose(to_radians(POSE))                        # so that there are goals to write
        stops.append(threading.Thread(target=arm.release))
        stops[-1].start()
        stops[-1].join(0.3)                                          # it may have to wait for the step
        follow_down(bus, ids)

    def look(moment_s):
        if stops:
            stops[0].join()
            after.extend(table(servo_bus, TORQUE_ENABLE))

    monkeypatch.setattr(torque, "_follow_down", stop_first)
    arm.clock.on_advance(look)
    with pytest.raises(SmolkitError, match="SK136"):
        arm.energize()
    settle(arm, 0.1)
    assert len(stops) == 1 and set(after) == {0}


def test_an_energize_that_was_stopped_leaves_the_next_one_alone():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    calls = []

    def stop_and_go_again(moment_s):
        calls.append(moment_s)
        if len(calls) == 3:
            arm.release()
            arm.energize()
            calls.append("second done")

    arm.clock.on_advance(stop_and_go_again)
    with pytest.raises(SmolkitError, match="SK136"):
        arm.energize()
    assert "second done" in calls and arm.ready
    assert table(servo_bus, TORQUE_ENABLE) == [1] * 6
    assert table(servo_bus, TORQUE_LIMIT) == [600] * 5 + [500]
    arm.close()


@pytest.mark.parametrize("again", [False, True])
def test_no_command_is_admitted_before_the_guard_has_forgotten_the_last_time(again):
    guard, refused = fake.OpenGuard(), []
    servo_bus = fake.servos()
    arm = fake.arm(guard=guard, servo_bus=servo_bus)
    if again:
        arm.energize()

    def other_thread():
        with pytest.raises(SmolkitError, match="SK131.*\n.*still growing") as error:
            arm.command(POSE)
        refused.append(error.value.code)

    def while_it_grows(moment_s):
        if not arm.ready:
            loop = threading.Thread(target=other_thread)
            loop.start()
            loop.join()

    arm.clock.on_advance(while_it_grows)
    before, resets = table(servo_bus, GOAL_POSITION), guard.resets
    arm.energize()
    assert len(refused) >= 10 and set(refused) == {"SK131"} and guard.admitted == 0
    assert guard.resets == resets + 1 and table(servo_bus, GOAL_POSITION) == pytest.approx(before, abs=1)
    assert (arm.command(POSE) == POSE).all()
    arm.close()


def test_an_interrupted_energize_leaves_the_arm_limp():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)

    def interrupt(moment_s):
        raise KeyboardInterrupt

    arm.clock.on_advance(interrupt)
    with pytest.raises(KeyboardInterrupt):
        arm.energize()
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6
    assert not arm.energized


# -- torque off ---------------------------------------------------------------------------------------------


@pytest.mark.fault(31)
def test_a_flagged_servo_is_released_like_the_others():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    servo_bus.forced_errors[2] = registers.OVERLOAD
    arm.close()
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6
    assert not arm._bus.port.is_open


@pytest.mark.fault(31)
def test_release_goes_on_past_a_silent_servo_names_it_and_frees_the_port():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    servo_bus.dead.add(2)
    with pytest.raises(SmolkitError, match="SK135") as error:
        arm.close()
    assert "2 (shoulder_lift) silent" in error.value.found
    assert "1 (" not in error.value.found and "3 (" not in error.value.found
    assert table(servo_bus, TORQUE_ENABLE) == [0, 1, 0, 0, 0, 0]
    assert not arm._bus.port.is_open


@pytest.mark.fault(31)
def test_after_a_failed_release_no_goal_powers_the_others_again():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    servo_bus.dead.add(3)                                            # holds on, and hears nobody
    with pytest.raises(SmolkitError, match="SK135") as error:
        arm.release()
    assert "3 (elbow_flex)" in error.value.found
    servo_bus.dead.clear()
    goals = table(servo_bus, GOAL_POSITION)
    with pytest.raises(SmolkitError, match="SK131"):
        arm.command(POSE)
    assert table(servo_bus, GOAL_POSITION) == goals
    assert table(servo_bus, TORQUE_ENABLE) == [0, 0, 1, 0, 0, 0]
    arm.close()
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6


def test_an_energize_that_fails_and_cannot_let_go_says_both():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)

    def lose_the_wire(moment_s):
        servo_bus.dead.add(5)
        raise KeyboardInterrupt

    arm.clock.on_advance(lose_the_wire)
    with pytest.raises(KeyboardInterrupt) as error:
        arm.energize()
    assert "SK135" in error.value.__notes__[0] and "5 (wrist_roll)" in error.value.__notes__[0]
    assert not arm.energized and not arm.ready
    servo_bus.dead.clear()
    arm.close()


@pytest.mark.fault(14)
def test_release_survives_lost_packets():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    replies = iter(range(10_000))
    tamper(servo_bus, lambda reply: b"" if next(replies) % 3 == 0 else reply)
    arm.close()
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6


@pytest.mark.fault(11)
def test_a_pulled_cable_ends_in_an_error_and_a_free_port():
    arm = fake.arm()
    arm.energize()
    arm._bus.port.ser.unplug()
    with pytest.raises(SmolkitError, match="SK106"):
        arm.read()
    with pytest.raises(SmolkitError, match="SK135") as error:
        arm.close()
    assert "6 (gripper) silent (SK106), perhaps on" in error.value.found
    assert not arm._bus.port.is_open
    arm.close()


@pytest.mark.fault(23)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_leaving_the_block_with_an_error_releases(error):
    servo_bus = fake.servos()
    with pytest.raises(error):
        with fake.arm(servo_bus=servo_bus) as arm:
            arm.energize()
            raise error
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6


@pytest.mark.parametrize("way", ["release", "close"])
@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("packet", [0, 1, 2, 5, 12])
def test_a_second_ctrl_c_does_not_stop_the_release(way, presses, packet):
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    port, seen = arm._bus.port.ser, []
    handle = port._handle

    def press(request):
        seen.append(request)
        if packet < len(seen) <= packet + presses:
            raise KeyboardInterrupt
        return b"" if request[2] == 0xFE else handle(request)        # and the broadcast gets lost

    port._handle = press
    with pytest.raises(KeyboardInterrupt) as error:
        getattr(arm, way)()
    assert not getattr(error.value, "__notes__", [])
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6 and not arm.ready
    assert port.is_open == (way == "release")
    port._handle = handle
    arm.close()


def test_a_ctrl_c_before_the_first_packet_of_close_still_releases(monkeypatch):
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    presses, next_turn = [1], arm._next_turn

    def press(energized):
        if presses.pop() if presses else 0:
            raise KeyboardInterrupt
        return next_turn(energized)

    monkeypatch.setattr(arm, "_next_turn", press)
    with pytest.raises(KeyboardInterrupt):
        arm.close()
    assert table(servo_bus, TORQUE_ENABLE) == [0] * 6 and not arm._bus.port.is_open


ENDING = """
import atexit
from smolkit.arm import fake, registers
servo_bus = fake.servos()
atexit.register(lambda: print([servo.get(registers.TORQUE_ENABLE) for servo in servo_bus.servos]))
arm = fake.arm(servo_bus=servo_bus)
release, calls = arm.release, []
arm.release = lambda: (calls.append(1), release())
atexit.register(lambda: print("released", len(calls), "times before"))
arm.energize(); arm.energize()
print([servo.get(registers.TORQUE_ENABLE) for servo in servo_bus.servos])
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)"])
def test_a_script_that_ends_without_a_with_block_lets_go(end):
    found = subprocess.run([sys.executable, "-c", ENDING + end], capture_output=True, text=True, timeout=60)
    assert found.stdout.split("\n")[:3] == ["[1, 1, 1, 1, 1, 1]", "released 1 times before",
                                            "[0, 0, 0, 0, 0, 0]"]
    assert found.stderr == ""


def test_a_closed_arm_is_forgotten_by_the_scripts_end():
    arm = fake.arm()
    arm.energize()
    arm.energize()
    arm.close()
    forgotten = weakref.ref(arm)
    del arm
    gc.collect()
    assert forgotten() is None


def test_a_reader_leaves_the_torque_as_it_found_it():
    servo_bus = fake.servos()
    arm = fake.arm(servo_bus=servo_bus)
    arm.energize()
    reader, _ = reopened(servo_bus, calibration=arm.calibration)
    reader.close()
    assert table(servo_bus, TORQUE_ENABLE) == [1] * 6
