"""Makes `datasets/servo_calibration`: six emulated servos, read 25 times a second while a hand calibrates the arm.

    python datasets/make_servo_calibration.py             # the same bytes every time

The hand is a program: it rests, brings the arm to its middle, then moves one joint after the other from stop to
stop, with a tremor and not quite to the stops, as people do. The servos measure what it does; a driver reads
their telemetry over the packet protocol, and what it read is the recording.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import MIDDLE_RAD
from smolkit.arm.configure import configure
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.joints import IDS, JOINT_NAMES, LOWER_RAD, UPPER_RAD, to_radians
from smolkit.arm.plant import PlantState
from smolkit.arm.recorded import MEASURED, Recording
from smolkit.safety.geometry import REST_DEG

SEED = 29                                          # of horns and tremor; with it two joints' travel meets the seam
RATE_HZ = 25
REST_S, RAISE_S, MIDDLE_S, SWEEP_S = 2.0, 2.0, 3.0, 4.0
SHORT_RAD = 0.02                                   # 1.1 deg: nobody presses hard against a stop
TREMOR_RAD = 0.002
REST_RAD = to_radians(np.array(REST_DEG))
KEPT = [register for register in registers.TABLE if register.memory == registers.EEPROM]


def marks() -> dict[str, tuple[float, float]]:
    """Begin and end (s) of every stretch."""
    spans, now_s = {}, 0.0
    for name, length_s in (("rest", REST_S), ("raise", RAISE_S), ("middle", MIDDLE_S),
                           *((joint, SWEEP_S) for joint in JOINT_NAMES)):
        spans[name] = (now_s, now_s + length_s)
        now_s += length_s
    return spans


def pose(time_s: float) -> np.ndarray:
    """Where the hand holds the arm (6,) rad, without its tremor."""
    spans = marks()
    if time_s < spans["middle"][0]:
        part = np.clip((time_s - spans["raise"][0]) / RAISE_S, 0, 1)
        return REST_RAD + (MIDDLE_RAD - REST_RAD) * part * part * (3 - 2 * part)
    angle_rad = MIDDLE_RAD.copy()
    for index, joint in enumerate(JOINT_NAMES):
        begin_s, end_s = spans[joint]
        if begin_s <= time_s < end_s:
            swing = -np.sin(2 * np.pi * (time_s - begin_s) / SWEEP_S)          # down to the lower stop first
            reach = UPPER_RAD[index] - MIDDLE_RAD[index] if swing > 0 else MIDDLE_RAD[index] - LOWER_RAD[index]
            angle_rad[index] += swing * (reach - SHORT_RAD)
    return angle_rad


class Hand:
    """A plant whose shafts go where the hand takes them."""

    def __init__(self) -> None:
        self._rng, self._last = np.random.default_rng(SEED), pose(0.0)
        self._velocity = np.zeros(6)

    def state(self) -> PlantState:
        return PlantState(self._last, self._velocity, np.zeros(6))

    def drive(self, *order: np.ndarray) -> None:
        """Limp servos pull nowhere."""

    def advance_to(self, moment_s: float) -> None:
        self._velocity = (pose(moment_s + 0.02) - pose(moment_s - 0.02)) / 0.04
        self._last = pose(moment_s) + self._rng.normal(0, TREMOR_RAD, 6).clip(-2 * TREMOR_RAD, 2 * TREMOR_RAD)


def record() -> Recording:
    """Reads the servos' registers while the hand works."""
    servos = ServoBus(Hand(), assembly_seed=SEED, supply_v=4.9)
    bus = Bus(connect(servos))
    configure(bus, IDS)
    end_s = marks()[JOINT_NAMES[-1]][1]
    time_s = np.arange(0.0, end_s + 1 / RATE_HZ, 1 / RATE_HZ)
    measured = []
    for moment_s in time_s:
        servos.advance_to(moment_s)
        measured.append([list(bus.sync_read(register, IDS).values()) for register in MEASURED])
    settings = [{register.name: bus.read(servo_id, register) for register in KEPT} for servo_id in IDS]
    return Recording(tuple(settings), marks(), time_s, np.array(measured).transpose(0, 2, 1))


if __name__ == "__main__":
    recording = record()
    recording.save(Path(__file__).parent / "servo_calibration")
    print(f"{len(recording.time_s)} moments, {recording.time_s[-1]:.0f} s")
