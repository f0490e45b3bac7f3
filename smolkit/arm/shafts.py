"""What six emulated servos do between packets: follow goals, watch themselves, show what they measure.

    >>> from smolkit.arm.fake import SpringPlant
    >>> shafts = Shafts(SpringPlant(), np.zeros(6), supply_v=5.0, sticky_overload=False)
    >>> shafts.store(0, registers.GOAL_POSITION.address, (2148).to_bytes(2, "little"))
    >>> shafts.store(0, registers.TORQUE_ENABLE.address, b"\\x01")
    >>> shafts.advance_to(1.0)
    >>> shafts.refresh_telemetry(); shafts.servos[0].get(registers.PRESENT_POSITION)
    2148

A shaft at URDF angle a stands at actual tick 2048 + horn + a * 4096 / 2 pi; Present = Actual - Offset,
modulo 4096 (unless Phase asks for multi-turn). Setpoints live in Present's ticks.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from smolkit.arm import registers
from smolkit.arm.motion import UNLIMITED, Protection, Ramp
from smolkit.arm.plant import Plant, PlantState
from smolkit.arm.servo import ServoMemory

TICK_S = 0.004
WATCH_EVERY = 5                                    # protections and heat run every 20 ms
MIDPOINT = 128                                     # Torque_Enable value: "here is 2048"
USUAL_P = 16
RAD_TO_TICK = registers.TICKS_PER_TURN / (2 * np.pi)
PHASE_MULTI_TURN = 16


class Shafts:
    """Register tables of servos 1..6, tied to a plant. Time moves only by `advance_to`."""

    def __init__(self, plant: Plant, horn_ticks: np.ndarray, supply_v: float, sticky_overload: bool,
                 goal_enables_torque: bool = True):
        self.plant, self.horn = plant, horn_ticks                              # (6,) tick
        self.goal_enables_torque = goal_enables_torque
        self.servos = tuple(ServoMemory(servo_id) for servo_id in range(1, 7))
        count = len(self.servos)
        self.ramp = Ramp(count)
        self.protection = Protection(count, supply_v, sticky_overload)
        self.forced_errors: dict[int, int] = {}
        self.tick = 0                              # of TICK_S each
        self._torque_on, self._wake = np.zeros(count, bool), np.zeros(count, bool)
        self._torque_limit, self._caps = np.ones(count), np.ones(count)        # of stall
        self._offset, self._turn = np.zeros(count), np.zeros(count)            # tick, turns
        self._single_turn = np.ones(count, bool)
        self._lower, self._upper = np.zeros(count), np.full(count, 4095.0)     # tick
        self._gain = np.ones(count)                # P_Coefficient / 16
        self._tune = getattr(plant, "tune", None)  # a plant may have no use for it
        self.telemetry_fresh = False
        self.power_cycle(range(count))

    def power_cycle(self, indices: Iterable[int]) -> None:
        """Supply off and on: RAM forgotten, torque off, goal = present."""
        for index in indices:
            self.servos[index].power_up()
            self.protection.reset(index)
            self._reload(index)
            self.servos[index].show(registers.GOAL_POSITION, int(self._present()[index]))
            self._reload(index)
        self.drive()

    def error(self, index: int) -> int:
        """The error byte that every reply of this servo carries."""
        return int(self.protection.errors[index]) | self.forced_errors.get(index + 1, 0)

    # -- time ---------------------------------------------------------------------------------

    def advance_to(self, moment_s: float) -> None:
        """Brings servos and plant to `moment_s`, in whole ticks of 4 ms (a rest below that waits)."""
        last = int(moment_s / TICK_S + 1e-6)
        while self.tick < last:
            self._advance_one_tick()

    def _advance_one_tick(self) -> None:
        if self._wake.any():
            self._switch_on(np.flatnonzero(self._wake))
        if self.ramp.moving:
            self.ramp.step(TICK_S)
            self.drive()
        self.tick += 1
        self.plant.advance_to(self.tick * TICK_S)
        self.telemetry_fresh = False
        if self.tick % WATCH_EVERY == 0:
            self._watch(self.plant.state())

    def drive(self) -> None:
        """Setpoints in Present ticks -> shaft angles, to the plant."""
        actual = self.ramp.setpoint + registers.TICKS_PER_TURN * self._turn + self._offset     # (6,) tick
        self.plant.drive((actual - 2048 - self.horn) / RAD_TO_TICK, self._torque_on, self._caps)

    def _watch(self, state: PlantState) -> None:
        self._unwrap(state)
        if self.protection.watch(state.load, self._torque_on, TICK_S * WATCH_EVERY):
            self._renew_caps()

    def _renew_caps(self) -> None:
        self._caps = self.protection.caps(self._torque_limit)
        self.drive()

    # -- positions ----------------------------------------------------------------------------

    def _unwrap(self, state: PlantState) -> np.ndarray:
        """Present positions (6,) tick before rounding; notes on which turn each shaft stands."""
        straight = 2048 + self.horn - self._offset + state.angle_rad * RAD_TO_TICK
        self._turn = np.where(self._single_turn, np.floor((straight + 0.5) / registers.TICKS_PER_TURN), 0.0)
        return straight - registers.TICKS_PER_TURN * self._turn

    def _present(self) -> np.ndarray:
        return np.floor(self._unwrap(self.plant.state()) + 0.5)

    def refresh_telemetry(self) -> None:
        """Writes registers 56..70 of every servo from the plant's state; once per moment."""
        state = self.plant.state()
        present = np.floor(self._unwrap(state) + 0.5)
        speed = state.velocity_rad_s * RAD_TO_TICK                             # tick/s
        guard = self.protection
        still = np.abs(speed) < 5
        for index, servo in enumerate(self.servos):
            live, load = servo.live, float(state.load[index])
            unit = 1 if live[18] & registers.FINE_VELOCITY else registers.COARSE_VELOCITY
            _word(live, 56, int(present[index]), 15)
            _word(live, 58, int(speed[index] / unit), 15)
            _word(live, 60, int(load * 1000), 10)
            live[62] = max(0, min(255, round(guard.voltage_v * 10)))
            live[63] = min(255, int(guard.temperature_c[index]))
            live[65], live[66] = self.error(index), not still[index]
            _word(live, 69, int(np.copysign(guard.current_a[index] / 0.0065, load)), 15)
        self.telemetry_fresh = True

    # -- what a write sets in motion ------------------------------------------------------------

    def _reload(self, index: int) -> None:
        """Takes over what the registers of one servo say; called after any write but a pure goal."""
        servo, ramp, guard = self.servos[index], self.ramp, self.protection
        live, phase = servo.live, servo.get(registers.PHASE)
        self._offset[index] = servo.get(registers.HOMING_OFFSET)
        self._single_turn[index] = not phase & PHASE_MULTI_TURN
        lower, upper = servo.get(registers.MIN_POSITION_LIMIT), servo.get(registers.MAX_POSITION_LIMIT)
        multi_turn = lower == upper == 0
        self._lower[index], self._upper[index] = (-32767, 32767) if multi_turn else (lower, upper)
        self._torque_limit[index] = min(servo.get(registers.TORQUE_LIMIT) / 1000, 1.0)
        ramp.top_speed[index] = _top_speed(servo, phase)
        ramp.acceleration[index] = _acceleration(servo)
        guard.overload_at[index], guard.reduced[index] = live[36] / 100, live[34] / 100
        guard.overload_s[index], guard.current_s[index] = live[35] * 0.01, live[38] * 0.01
        guard.current_at_a[index] = servo.get(registers.PROTECTION_CURRENT) * 0.0065
        guard.hot_at_c[index], guard.unloading[index] = live[13], live[19]
        guard.volts[:, index] = live[15] / 10, live[14] / 10
        self._take_gain(index, live[21] / USUAL_P)
        self._set_goal(index, servo.get(registers.GOAL_POSITION))
        self._set_torque(index, live[40])
        self._renew_caps()
        self.telemetry_fresh = False

    def _take_gain(self, index: int, gain: float) -> None:
        if self._tune is not None and gain != self._gain[index]:
            self._gain[index] = gain
            self._tune(self._gain.copy())

    def _set_goal(self, index: int, goal: int) -> None:
        """The register keeps what was written; the shaft heads for the nearest point within [9, 11]."""
        self.ramp.goal[index] = min(max(goal, self._lower[index]), self._upper[index])
        self.ramp.moving = True
        if self.protection.errors[index]:
            direction = self.ramp.goal[index] - self._present()[index]
            if self.protection.clear(index, direction):
                self._renew_caps()

    def _set_torque(self, index: int, value: int) -> None:
        if value == MIDPOINT:
            return self._make_midpoint(index)
        if not value:
            self.protection.clear(index)
        if bool(value) and not self._torque_on[index]:
            self.ramp.jump(index, self._present()[index])
        self._torque_on[index] = bool(value)
        return None

    def _switch_on(self, indices: Iterable[int]) -> None:
        """A goal written to a limp servo switches it on, one tick later."""
        self._wake[:] = False
        for index in indices:
            self.servos[index].live[registers.TORQUE_ENABLE.address] = 1
            self._set_torque(index, 1)

    def _make_midpoint(self, index: int) -> None:
        """One-key calibration: rewrites the homing offset so that the shaft stands at 2048."""
        servo = self.servos[index]
        actual = (self._present()[index] + self._offset[index]) % registers.TICKS_PER_TURN
        servo.live[registers.TORQUE_ENABLE.address] = int(self._torque_on[index])
        locked, servo.live[registers.LOCK.address] = servo.live[registers.LOCK.address], 0
        servo.put(registers.HOMING_OFFSET, int(min(max(actual - 2048, -2047), 2047)))
        servo.live[registers.LOCK.address] = locked
        self._reload(index)

    def store(self, index: int, address: int, data: bytes) -> None:
        """A write to servo `index`, with everything that follows from it."""
        servo = self.servos[index]
        servo.write(address, data)
        goal = registers.GOAL_POSITION.address
        if address == goal and len(data) == 2:     # the hot path: one sync write per control cycle
            self._set_goal(index, servo.get(registers.GOAL_POSITION))
        else:
            self._reload(index)
        if address <= registers.TORQUE_ENABLE.address < address + len(data):
            self._wake[index] = False
        if address < goal + 2 and address + len(data) > goal and self.goal_enables_torque:
            self._wake[index] = not self._torque_on[index]


def _word(live: bytearray, address: int, value: int, sign_bit: int) -> None:
    """A two-byte sign-magnitude number into the table, saturating."""
    word = min(abs(value), (1 << sign_bit) - 1) | (value < 0) << sign_bit
    live[address], live[address + 1] = word & 0xFF, word >> 8


def _top_speed(servo: ServoMemory, phase: int) -> float:
    """Goal_Velocity in its Phase-dependent unit; 0 means full speed or, with Phase bit 3 clear, stop."""
    limit = servo.get(registers.MAXIMUM_VELOCITY) * registers.COARSE_VELOCITY
    asked = abs(servo.get(registers.GOAL_VELOCITY))
    if asked == 0:
        return limit if phase & registers.ZERO_IS_MAX else 0.0
    return min(limit, asked * (1 if phase & registers.FINE_VELOCITY else registers.COARSE_VELOCITY))


def _acceleration(servo: ServoMemory) -> float:
    given = [servo.get(r) for r in (registers.ACCELERATION, registers.MAXIMUM_ACCELERATION)]
    return min((100.0 * value for value in given if value), default=UNLIMITED)
