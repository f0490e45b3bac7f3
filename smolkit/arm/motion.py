"""What runs inside the six emulated servos: the goal ramp, and the protections that cut the output.

Vectorised over servos, because every recorded demonstration goes through here 250 times a second.
Units: ticks and ticks/s in the coordinates of Present_Position; torque in fractions of stall.
Sources: STS3215 table; thermal and electrical numbers from measurements quoted in the fact sheet.
"""

from __future__ import annotations

import numpy as np

from smolkit.arm import registers

UNLIMITED = 1e9                                    # tick/s2: stands for "no acceleration limit"
STALL_CURRENT_A, IDLE_CURRENT_A = 2.5, 0.02        # C001 at 7.4 V; idle share of a 5 V arm
SUPPLY_OHM = 0.06                                  # wires and a hobby supply: 12 A pull 0.7 V
AMBIENT_C = 25.0
HEATING_C, THERMAL_S = 92.0, 600.0                 # 50 % stall settles 23 deg C above ambient
COOL_DOWN_C = 5.0                                  # a hot servo returns only when this much cooler


class Ramp:
    """Setpoints (6,) that travel to the goals with limited speed and acceleration (registers 41, 46)."""

    def __init__(self, count: int):
        self.setpoint = np.zeros(count)            # tick
        self.goal = np.zeros(count)                # tick, already clamped to [9, 11]
        self.speed = np.zeros(count)               # tick/s
        self.top_speed = np.full(count, 3550.0)    # tick/s
        self.acceleration = np.full(count, UNLIMITED)
        self.moving = False

    def jump(self, index: int, present: float) -> None:
        """Starts servo `index` afresh from where its shaft is."""
        self.setpoint[index], self.speed[index], self.moving = present, 0.0, True

    def step(self, dt_s: float) -> None:
        """Brakes in time to stop at the goal; snaps to it where one more step would pass it."""
        gap = self.goal - self.setpoint                                        # (6,) tick
        distance = np.abs(gap)
        brake = np.sqrt(2.0 * self.acceleration * distance)                    # tick/s
        wanted = np.copysign(np.minimum(self.top_speed, brake), gap)
        change = self.acceleration * dt_s
        speed = np.minimum(np.maximum(wanted, self.speed - change), self.speed + change)
        travel = speed * dt_s
        arrived = (travel * gap >= 0.0) & (np.abs(travel) >= distance)
        self.setpoint = np.where(arrived, self.goal, self.setpoint + travel)
        self.speed = np.where(arrived, 0.0, speed)
        self.moving = not arrived.all()


class Protection:
    """Overload, over-current, temperature and supply of six servos: the error byte and what it cuts."""

    def __init__(self, count: int, supply_v: float, sticky: bool):
        self.supply_v, self.supply_ohm, self.sticky = supply_v, SUPPLY_OHM, sticky
        self.ambient_c = np.full(count, AMBIENT_C)
        self.overload_at = np.full(count, 0.8)     # fraction of stall, register 36
        self.overload_s = np.full(count, 2.0)      # register 35
        self.current_at_a = np.full(count, 3.25)   # register 28
        self.current_s = np.full(count, 2.0)       # register 38
        self.hot_at_c = np.full(count, 70.0)       # register 13
        self.volts = np.tile([[4.0], [8.0]], count)        # (2, 6) registers 15 and 14
        self.reduced = np.full(count, 0.2)         # register 34
        self.unloading = np.full(count, 44)        # register 19: which errors cut the output
        self.temperature_c = np.full(count, AMBIENT_C)
        self.current_a = np.full(count, IDLE_CURRENT_A)
        self.voltage_v = supply_v
        self.errors = np.zeros(count, dtype=int)   # error byte of each servo
        self._over_load_s, self._over_current_s = np.zeros(count), np.zeros(count)
        self._trip_sign = np.zeros(count)

    def watch(self, load: np.ndarray, torque_on: np.ndarray, dt_s: float) -> bool:
        """Advances timers and temperatures by `dt_s`; True if an error bit changed."""
        drive = np.abs(load) * torque_on                                       # (6,) of stall
        self.current_a = IDLE_CURRENT_A + STALL_CURRENT_A * drive
        self.voltage_v = self.supply_v - self.supply_ohm * float(self.current_a.sum())
        rise = HEATING_C * np.square(drive) + self.ambient_c - self.temperature_c
        self.temperature_c = self.temperature_c + rise * (dt_s / THERMAL_S)
        self._over_load_s = np.where(drive > self.overload_at, self._over_load_s + dt_s, 0.0)
        over_current = (self.current_a > self.current_at_a) & (self.current_at_a > 0)
        self._over_current_s = np.where(over_current, self._over_current_s + dt_s, 0.0)
        return self._update_errors(load)

    def _update_errors(self, load: np.ndarray) -> bool:
        latched = self.errors & (registers.OVERLOAD | registers.CURRENT)
        overload = self._over_load_s >= self.overload_s
        cooler = COOL_DOWN_C * (self.errors & registers.HOT > 0)
        self._trip_sign = np.where(overload, np.sign(load), self._trip_sign)
        errors = (latched | registers.OVERLOAD * overload
                  | registers.CURRENT * (self._over_current_s >= self.current_s)
                  | registers.HOT * (self.temperature_c >= self.hot_at_c - cooler)
                  | registers.VOLTAGE * self._bad_supply())
        changed = bool((errors != self.errors).any())
        self.errors = errors
        return changed

    def _bad_supply(self) -> np.ndarray:
        return (self.voltage_v < self.volts[0]) | (self.voltage_v > self.volts[1])

    def clear(self, index: int, direction: float | None = None) -> bool:
        """A torque cycle (direction None) or a goal away from the obstacle clears a trip; True if it did.

        Many users report that only a power cycle helps: `sticky` emulates those firmwares.
        """
        trips = registers.OVERLOAD | registers.CURRENT
        same_way = direction is not None and direction * self._trip_sign[index] >= 0
        if self.sticky or same_way or not self.errors[index] & trips:
            return False
        self.reset(index)
        return True

    def reset(self, index: int) -> None:
        """Power-up: trips and timers forgotten (the heat is not)."""
        self.errors[index] &= ~(registers.OVERLOAD | registers.CURRENT)
        self._over_load_s[index] = self._over_current_s[index] = self._trip_sign[index] = 0.0

    def caps(self, torque_limit: np.ndarray) -> np.ndarray:
        """Torque caps (6,) of stall after the protections had their say."""
        cutting = self.errors & self.unloading
        reduced = np.where(cutting & registers.OVERLOAD, np.minimum(torque_limit, self.reduced), torque_limit)
        return np.where(cutting & ~registers.OVERLOAD, 0.0, reduced)
