"""Calibrating an arm: hold it in its middle, sweep every joint from stop to stop, done.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.bus import Bus
    >>> from smolkit.arm.emulator import connect
    >>> servos = fake.servos(seed=5)                         # horns screwed on at random angles
    >>> arm = calibrate_with_hand(Bus(connect(servos)), servos.hand_pose)
    >>> arm.motors[4].range_min, arm.motors[4].range_max     # wrist_roll is given, not swept
    (0, 4095)

Nothing here asks on a terminal: a notebook's buttons, the command line and a test hand in functions.
The procedure and the numbers are LeRobot's, so that both read the same file; the checks are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from smolkit.arm import registers, torque
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import MAX_OFFSET, Calibration, MotorCalibration
from smolkit.arm.configure import CALIBRATED, joint_name, require_servos, write_calibration
from smolkit.arm.joints import JOINT_NAMES, LOWER_RAD, UPPER_RAD
from smolkit.arm.registers import Register
from smolkit.clock import Clock, SteppedClock, WallClock
from smolkit.report import SmolkitError

IDS = (1, 2, 3, 4, 5, 6)
MIDDLE = 2047                                      # Present_Position of the middle pose
WRIST_ROLL = JOINT_NAMES.index("wrist_roll")
SEAM_TICKS = 2048                                  # two samples further apart went across 4095/0
MIDDLE_RAD = np.array([0, 0, 0, 0, 0, (LOWER_RAD[5] + UPPER_RAD[5]) / 2])      # (6,) rad
HAND_STEPS = 12                                    # samples from one stop to the other


def calibrate(bus: Bus, move_to_mid: Callable[[], None], sweeping: Callable[[], bool], *,
              clock: Clock | None = None, rate_hz: float = 50.0,
              progress: Callable[[np.ndarray, np.ndarray, np.ndarray], None] | None = None) -> Calibration:
    """Runs the routine on six servos and writes offsets and ranges into them, where they differ.

    `move_to_mid` returns when the arm is held in its middle pose; `sweeping` is asked before every
    sample and returns False when all joints have been moved from stop to stop; `progress` gets
    present, least and greatest ticks (6,). Raises SK122 (half a sweep), SK123 (the 0/4095 seam). Whatever
    ends it early, the servos get their old offsets and limits back.
    """
    clock = clock if clock is not None else WallClock()
    require_servos(bus, IDS)
    torque.release(bus, IDS)
    before = {register: bus.sync_read(register, IDS) for register in CALIBRATED}
    try:
        move_to_mid()
        offsets = _set_middle(bus)
        low, high = _sweep(bus, sweeping, clock, 1 / rate_hz, progress)
        calibration = _checked(offsets, low, high)
        write_calibration(bus, calibration)
    except BaseException as error:
        _put_back(bus, before, error)
        raise
    return calibration


def _checked(offsets: list[int], low: np.ndarray, high: np.ndarray) -> Calibration:
    low[WRIST_ROLL], high[WRIST_ROLL] = 0, 4095    # it turns too far for stop to stop to be a use
    motors = tuple(MotorCalibration(i, 0, offset, int(a), int(b))
                   for i, offset, a, b in zip(IDS, offsets, low, high, strict=True))
    calibration = Calibration(motors)
    calibration.check_sweep()
    return calibration


def _put_back(bus: Bus, before: Mapping[Register, Mapping[int, int]], error: BaseException) -> None:
    """The servos as they were: half a calibration would fit neither the old file nor a new one."""
    for servo_id in IDS:
        try:
            bus.write_eeprom(servo_id, {register: values[servo_id] for register, values in before.items()})
        except SmolkitError as second:
            error.add_note(f"servo {servo_id} could not be put back: calibrate again before moving it. {second}")


def _set_middle(bus: Bus) -> list[int]:
    """Homing offsets that make the present pose read 2047, written to the servos.

    The present offset is added back instead of being cleared first: that saves a write of EEPROM.
    An actual tick of 4095 would need 2048, which 11 bits cannot hold; 2047 is one tick off.
    """
    present = bus.sync_read(registers.PRESENT_POSITION, IDS)
    before = bus.sync_read(registers.HOMING_OFFSET, IDS)
    offsets = []
    for servo_id in IDS:
        actual = (present[servo_id] + before[servo_id]) % registers.TICKS_PER_TURN
        offsets.append(min(actual - MIDDLE, MAX_OFFSET))
        bus.write_eeprom(servo_id, {registers.HOMING_OFFSET: offsets[-1]})
    return offsets


def _sweep(bus: Bus, sweeping: Callable[[], bool], clock: Clock, period_s: float,
           progress: Callable[[np.ndarray, np.ndarray, np.ndarray], None] | None
           ) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest Present_Position (6,) tick while `sweeping`."""
    last = low = high = _present(bus)
    while sweeping():
        present = _present(bus)
        _reject_seam(last, present)
        low, high, last = np.minimum(low, present), np.maximum(high, present), present
        if progress is not None:
            progress(present, low, high)
        clock.sleep_until(clock.now_s() + period_s)
    return low, high


def _present(bus: Bus) -> np.ndarray:
    return np.array(list(bus.sync_read(registers.PRESENT_POSITION, IDS).values()))


def _reject_seam(last: np.ndarray, present: np.ndarray) -> None:
    """Across the seam the least and greatest value would be 0 and 4095 and mean nothing."""
    for index in np.flatnonzero(np.abs(present - last) > SEAM_TICKS):
        if index != WRIST_ROLL:
            raise SmolkitError("SK123", f"{joint_name(int(index) + 1)} to move without a jump",
                               f"from tick {last[index]} to {present[index]} in one sample",
                               "the joint was not near its middle when you confirmed the middle pose",
                               "put the arm into the middle pose shown and calibrate again")


def calibrate_with_hand(bus: Bus, hand: Callable[[np.ndarray], None]) -> Calibration:
    """Calibrates an emulated arm: `hand(angle_rad (6,))` puts the limp arm into a pose.

    The same routine as on the desk, with `ServoBus.hand_pose` for the person. Afterwards the arm
    stands in the middle pose.
    """
    poses = _hand_path()

    def move_on() -> bool:
        pose = next(poses, None)
        if pose is not None:
            hand(pose)
        return pose is not None

    try:
        # A private clock: no physics runs between placing the arm and reading it.
        return calibrate(bus, lambda: hand(MIDDLE_RAD), move_on, clock=SteppedClock())
    finally:
        hand(MIDDLE_RAD)


def _hand_path() -> Iterator[np.ndarray]:
    """One joint after the other from the middle to its lower stop, its upper stop and back."""
    for joint in range(len(IDS)):
        low, middle, high = LOWER_RAD[joint], MIDDLE_RAD[joint], UPPER_RAD[joint]
        for angle in (middle, *np.linspace(low, high, HAND_STEPS), middle):
            pose = MIDDLE_RAD.copy()
            pose[joint] = angle
            yield pose
