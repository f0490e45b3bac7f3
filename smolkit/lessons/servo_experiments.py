"""Experiments of lesson 01 that nobody should make with a real arm; on emulated servos, in stepped time.

    >>> naive, careful = switch_on(careful=False), switch_on(careful=True)
    >>> round(float(np.abs(naive[:, 2]).max())), round(float(np.abs(careful[:, 2]).max()))     # deg
    (70, 0)
    >>> good, short = HandArm(seed=11), HandArm(seed=12, short_joint="elbow_flex", short_deg=34.4)
    >>> (short.read(np.zeros(6)) - good.read(np.zeros(6))).round(1)[:5] + 0.0
    array([ 0. ,  0. , 17.2,  0. ,  0. ])
"""

from __future__ import annotations

import numpy as np

from smolkit.arm import fake, packets, registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD, CalibrationSession
from smolkit.arm.calibration import Calibration
from smolkit.arm.emulator import connect
from smolkit.arm.joints import IDS, JOINT_NAMES, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.so101 import SO101
from smolkit.clock import SteppedClock
from smolkit.safety.faults import fault

STALE_TICKS = 800                                  # 70 deg: yesterday's goal of the shoulder pan
SWITCH_ON = packets.write(1, 40, b"\x01")          # what no program of ours sends to an arm; here to an emulator only
WATCH_S, LOOK_S = 1.5, 0.02
DEG_PER_TICK = 360 / registers.TICKS_PER_TURN


def switch_on(careful: bool) -> np.ndarray:
    """Rows (s, goal and position of servo 1 in deg from where it stood, torque cap in % of stall).

    Servo 1 holds yesterday's goal. Careful is the driver's `energize`; else one register is written.
    """
    servos = fake.servos(seed=5)
    calibration, clock = fake.calibrated(servos), SteppedClock(servos.now_s)
    clock.on_advance(servos.advance_to)
    arm = SO101(connect(servos), calibration, fake.OpenGuard(), clock)
    eye = Bus(connect(servos))                     # looks on
    start, begin_s, rows = eye.read(1, registers.PRESENT_POSITION), clock.now_s(), []

    def look(now_s: float) -> None:
        goal, present = eye.read(1, registers.GOAL_POSITION), eye.read(1, registers.PRESENT_POSITION)
        rows.append((now_s - begin_s, (goal - start) * DEG_PER_TICK, (present - start) * DEG_PER_TICK,
                     eye.read(1, registers.TORQUE_LIMIT) / 10))
    clock.on_advance(look)
    with fault("stale_goal", servos, servo=1, ticks=STALE_TICKS):
        if careful:
            arm.energize()
        else:
            servos.handle(SWITCH_ON)
        while clock.now_s() < begin_s + WATCH_S:
            clock.sleep_until(clock.now_s() + LOOK_S)
    arm.close()
    return np.array(rows)


class HandArm:
    """An emulated arm that a hand calibrated, sweeping one joint `short_deg` too short, and now puts into poses."""

    def __init__(self, seed: int, short_joint: str = "", short_deg: float = 0.0):
        self.servos = fake.servos(seed)
        self.bus = Bus(connect(self.servos))
        upper = UPPER_RAD - np.deg2rad(short_deg) * np.array([name == short_joint for name in JOINT_NAMES])
        session = CalibrationSession(self.bus)
        self.servos.hand_pose(MIDDLE_RAD)
        session.hold_middle()
        for part in np.linspace(0, 1, 9):
            self.servos.hand_pose(LOWER_RAD + (upper - LOWER_RAD) * part)
            session.look()
        self.report = session.report()             # of the sweep; green also for the short one
        self.calibration: Calibration = session.accept()

    def read(self, pose_deg: np.ndarray) -> np.ndarray:
        """The hand puts the arm into a pose (deg, gripper %); what the arm says of it (6,)."""
        self.servos.hand_pose(to_radians(np.asarray(pose_deg, float)))
        ticks = self.bus.sync_read(registers.PRESENT_POSITION, IDS)
        return self.calibration.to_pos(np.array(list(ticks.values()), float))
