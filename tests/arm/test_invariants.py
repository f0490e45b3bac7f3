"""Whatever is called, in whatever order, on whatever wire: torque only by energize, goals only in range."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolkit.arm import fake
from smolkit.arm.registers import GOAL_POSITION, TORQUE_ENABLE
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault

NOISES = ("lost_replies", "truncated_replies", "flip_bits", "duplicate_replies", "late_replies", "foreign_client")
NUMBERS = st.floats(-400, 400) | st.sampled_from([np.nan, np.inf, -np.inf])
CALLS = st.one_of(
    st.tuples(st.just("command"), st.lists(NUMBERS, min_size=6, max_size=6)),
    st.tuples(st.sampled_from(["energize", "release", "read", "wait"]), st.none()),
    st.tuples(st.just("noise"), st.sampled_from(NOISES)),
    st.tuples(st.just("dead"), st.integers(1, 6)),
    st.tuples(st.just("alive"), st.none()),
    st.tuples(st.just("flag"), st.integers(1, 6)),
    st.tuples(st.just("brown-out"), st.integers(1, 6)),
)


def call(arm, servo_bus, noises, name, argument):
    if name == "command":
        arm.command(np.array(argument))
    elif name == "wait":
        arm.clock.sleep_until(arm.clock.now_s() + 0.05)
    elif name == "noise":
        noises.enter_context(fault(argument, servo_bus, rate=0.7))
    elif name == "dead":
        servo_bus.dead.add(argument)
    elif name == "alive":
        servo_bus.dead.clear()
        noises.close()
    elif name == "brown-out":
        servo_bus.power_cycle([argument])
    elif name == "flag":
        servo_bus.forced_errors[argument] = 32
    else:
        getattr(arm, name)()


@pytest.mark.fault(13)
@settings(max_examples=40)
@given(st.lists(CALLS, max_size=12))
def test_invariants_hold_through_any_sequence_of_calls_and_faults(calls):
    servo_bus = fake.servos(2)
    arm = fake.arm(servo_bus=servo_bus)
    arm.ramp_s = 0.1
    noises = ExitStack()
    low, high, perhaps_on = arm.calibration.range_min, arm.calibration.range_max, False
    for name, argument in calls:
        before = [(servo.get(TORQUE_ENABLE), servo.get(GOAL_POSITION)) for servo in servo_bus.servos]
        was_ready, perhaps_on = arm.ready, perhaps_on and name != "release"
        try:
            call(arm, servo_bus, noises, name, argument)
        except SmolkitError as error:              # an honest refusal; anything else fails the test
            perhaps_on |= "SK135" in "".join([str(error), *getattr(error, "__notes__", ())])
        assert not arm._bus.port.is_using
        on = [servo.get(TORQUE_ENABLE) for servo in servo_bus.servos]
        assert arm.energized or perhaps_on or not any(on)
        if name == "command" and not was_ready:
            assert before == [(servo.get(TORQUE_ENABLE), servo.get(GOAL_POSITION)) for servo in servo_bus.servos]
        if name == "command":                      # no goal wakes a servo: not one that lost its power either
            servo_bus.advance_to(servo_bus.now_s + 0.004)
            woken = [not was_on and servo.get(TORQUE_ENABLE)
                     for (was_on, _), servo in zip(before, servo_bus.servos, strict=True)]
            assert not any(woken)
        if arm.energized:
            goals = np.array([servo.get(GOAL_POSITION) for servo in servo_bus.servos])
            assert ((goals >= low) & (goals <= high) | (np.array(on) == 0)).all()
    noises.close()
    _ends_limp_and_free(arm, servo_bus)


def _ends_limp_and_free(arm, servo_bus):
    servo_bus.dead.clear()
    arm.close()
    servo_bus.advance_to(servo_bus.now_s + 0.1)
    assert [servo.get(TORQUE_ENABLE) for servo in servo_bus.servos] == [0] * 6
    assert not arm._bus.port.is_open
