"""What the tests of the driver share: a pose, a look into the servos' registers, a second opening."""

from __future__ import annotations

import numpy as np

from smolkit.arm import fake
from smolkit.arm.emulator import connect
from smolkit.arm.registers import TORQUE_ENABLE
from smolkit.arm.so101 import SO101
from smolkit.clock import SteppedClock

IDS = (1, 2, 3, 4, 5, 6)
POSE = np.array([20.0, -30, 40, -10, 60, 80])      # deg, gripper %


def table(servo_bus, register):
    return [servo_bus.memory(servo_id).get(register) for servo_id in IDS]


def reopened(servo_bus, guard=None, calibration=None):
    """Another SO101 on the same servos, in stepped time."""
    clock = SteppedClock(servo_bus.now_s)
    clock.on_advance(servo_bus.advance_to)
    port = connect(servo_bus)
    return SO101(port, calibration or fake.calibrated(servo_bus), guard, clock), port


def settle(arm, seconds=2.0):
    arm.clock.sleep_until(arm.clock.now_s() + seconds)


def table_is_limp(arm):
    settle(arm, 0.1)
    return set(arm._bus.sync_read(TORQUE_ENABLE, IDS).values()) == {0}
