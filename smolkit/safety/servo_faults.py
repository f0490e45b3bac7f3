"""What can go wrong in a servo: errors and heat, settings, horns, gears.

    >>> from smolkit.arm import fake, packets
    >>> servos = fake.servos()
    >>> with error_flag.inject(servos, servo=2):
    ...     servos.handle(packets.ping(2)).hex(" ")
    'ff ff 02 02 20 db'

`smolkit.safety.faults` gives them names. A rig is a kit of the sim lane, a bench, or a `ServoBus` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from smolkit.arm import registers
from smolkit.arm.plant import Plant, PlantState
from smolkit.arm.registers import Register
from smolkit.safety.fault_kinds import Context, fault_kind, index_of, part, patched

CALIBRATED = (registers.MIN_POSITION_LIMIT, registers.MAX_POSITION_LIMIT, registers.HOMING_OFFSET)

# -- what a servo says of itself --------------------------------------------------------------------------


@fault_kind(9, 31)
def error_flag(rig: Any, servo: int = 2, bits: int = registers.OVERLOAD) -> Context:
    """A servo reports error bits (32 overload, 4 over-temperature, 1 voltage) with every reply."""
    shafts, number = part(rig, "bus").shafts, index_of(servo) + 1
    return patched(shafts, forced_errors={**shafts.forced_errors, number: bits})


@fault_kind(9)
def sticky_overload(rig: Any) -> Context:
    """Firmware whose overload only a power cycle clears."""
    return patched(part(rig, "bus").protection, sticky=True)


@fault_kind(10)
@contextmanager
def hot_servo(rig: Any, servo: int = 3, temperature_c: float = 70.0, at_once: bool = True) -> Iterator[None]:
    """One servo is hot and stays so, or its surroundings are and it warms up (10 minutes: two thirds)."""
    guard, index = part(rig, "bus").protection, index_of(servo)
    before = guard.temperature_c[index], guard.ambient_c[index]
    guard.ambient_c[index] = temperature_c
    guard.temperature_c[index] = temperature_c if at_once else before[0]
    try:
        yield
    finally:
        guard.temperature_c[index], guard.ambient_c[index] = before


# -- what was set, or screwed on, wrongly -----------------------------------------------------------------


@contextmanager
def preset(rig: Any, values: Mapping[int, Mapping[Register, int]]) -> Iterator[None]:
    """Registers of servos with other values, as if they had come so; what was repaired meanwhile stays."""
    bus = part(rig, "bus")
    before = {servo: {r: bus.servos[index_of(servo)].get(r) for r in table} for servo, table in values.items()}

    def put(tables: Mapping[int, Mapping[Register, int]]) -> None:
        with bus.lock:
            for servo, table in tables.items():
                for register, value in table.items():
                    bus.set_register(servo, register, value)
    put(values)
    try:
        yield
    finally:
        put({servo: {r: old for r, old in table.items() if bus.servos[servo - 1].get(r) == values[servo][r]}
             for servo, table in before.items()})


@fault_kind(5, 29)
def odd_calibration(rig: Any, servo: int = 3, offset_ticks: int = 300,
                    range_ticks: int = 0) -> Context:
    """Registers 31, 9 and 11 differ from the file: a wrong middle, another sweep, or another arm."""
    memory = part(rig, "bus").servos[index_of(servo)]
    lower, upper, offset = (memory.get(register) for register in CALIBRATED)
    offset += offset_ticks if abs(offset + offset_ticks) <= 2047 else -offset_ticks
    return preset(rig, {servo: dict(zip(CALIBRATED, (lower + range_ticks, upper, offset), strict=True))})


@fault_kind(29, 5)
def swapped_ids(rig: Any, first: int = 2, second: int = 3) -> Context:
    """Two servos carry each other's id: each joint moves when the other is meant."""
    return preset(rig, {first: {registers.ID: second}, second: {registers.ID: first}})


@fault_kind(29)
def duplicate_id(rig: Any, servo: int = 2, other: int = 1) -> Context:
    """A servo has the id of another one: both answer at once, and garble."""
    return preset(rig, {servo: {registers.ID: other}})


@fault_kind(30)
def protections_off(rig: Any, servo: int = 5) -> Context:
    """A servo as some are sold: nothing cuts its output, full torque, no limits."""
    return preset(rig, {servo: {registers.UNLOADING_CONDITION: 0, registers.PROTECTION_CURRENT: 0,
                              registers.MAX_TORQUE_LIMIT: 1000, registers.MIN_POSITION_LIMIT: 0,
                              registers.MAX_POSITION_LIMIT: 4095}})


@fault_kind(25)
def stale_goal(rig: Any, servo: int = 1, ticks: int = 800) -> Context:
    """The goal register of a limp servo holds yesterday's goal. Leaving mends nothing."""
    memory = part(rig, "bus").servos[index_of(servo)]
    memory.show(registers.GOAL_POSITION, _present(rig, servo) + ticks)
    return nullcontext()


@fault_kind(26)
def goal_wakes_servo(rig: Any, wakes: bool = True) -> Context:
    """Firmware on which a goal switches torque on; the emulated one is so already, False makes it tame."""
    return patched(part(rig, "bus").shafts, goal_enables_torque=wakes)


@fault_kind(31)
def deaf_to_off(rig: Any, servo: int = 2) -> Context:
    """A servo that does not hear "torque off"."""
    shafts, deaf, address = part(rig, "bus").shafts, index_of(servo), registers.TORQUE_ENABLE.address
    store = shafts.store

    def hears(index: int, start: int, data: bytes) -> None:
        off = start <= address < start + len(data) and data[address - start] == 0
        if not (off and index == deaf):
            store(index, start, data)
    return patched(shafts, store=hears)


def _present(rig: Any, servo: int) -> int:
    bus = part(rig, "bus")
    with bus.lock:
        bus.shafts.refresh_telemetry()
        return bus.servos[index_of(servo)].get(registers.PRESENT_POSITION)


@fault_kind(5, 25)
@contextmanager
def slipped_horn(rig: Any, servo: int = 2, ticks: int = 1600) -> Iterator[None]:
    """The horn sits elsewhere on the shaft: every position of the joint reads `ticks` higher."""
    bus, index = part(rig, "bus"), index_of(servo)

    def slip(by: int) -> None:
        with bus.lock:
            bus.shafts.horn[index] += by
    slip(ticks)
    try:
        yield
    finally:
        slip(-ticks)


@fault_kind(6)
def at_seam(rig: Any, servo: int = 2) -> Context:
    """The horn sits so that the joint stands at tick 4095: one more is 0."""
    return slipped_horn.inject(rig, servo, 4095 - _present(rig, servo))


class _Around:
    """A plant in front of another one."""

    def __init__(self, inner: Plant, index: int):
        self.inner, self.index = inner, index

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Mirrored(_Around):
    """One joint turns the other way round the angle at which it stood."""

    def __init__(self, inner: Plant, index: int):
        super().__init__(inner, index)
        self.sign, self.pivot_rad = np.where(np.arange(6) == index, -1.0, 1.0), inner.state().angle_rad

    def _turned(self, angle_rad: np.ndarray) -> np.ndarray:
        return self.pivot_rad + self.sign * (angle_rad - self.pivot_rad)

    def state(self) -> PlantState:
        now = self.inner.state()
        return PlantState(self._turned(now.angle_rad), self.sign * now.velocity_rad_s, self.sign * now.load)

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        self.inner.drive(self._turned(goal_rad), torque_on, torque_limit)


class _Loose(_Around):
    """One joint with play: within it the motor turns and the link does not follow."""

    half_rad = 0.0
    order: tuple | None = None

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        self.order = goal_rad, torque_on, torque_limit

    def advance_to(self, moment_s: float) -> None:
        goal_rad, *rest = self.order
        at = self.index
        gap = goal_rad[at] - self.inner.state().angle_rad[at]
        goal_rad = goal_rad.copy()
        goal_rad[at] -= np.clip(gap, -self.half_rad, self.half_rad)
        self.inner.drive(goal_rad, *rest)
        self.inner.advance_to(moment_s)


@contextmanager
def _plant(rig: Any, around: _Around) -> Iterator[None]:
    bus = part(rig, "bus")
    with patched(bus.shafts, plant=around):
        bus.shafts.drive()
        yield
    bus.shafts.drive()


@fault_kind(5)
def reversed_drive(rig: Any, servo: int = 3) -> Context:
    """A servo that is mounted, or set, the other way round; begin with a limp arm."""
    return _plant(rig, _Mirrored(part(rig, "bus").plant, index_of(servo)))


@fault_kind(32)
def backlash(rig: Any, servo: int = 2, play_deg: float = 4.0) -> Context:
    """Worn gears: the link may stand anywhere within `play_deg` around the goal."""
    loose = _Loose(part(rig, "bus").plant, index_of(servo))
    loose.half_rad = np.deg2rad(play_deg) / 2
    return _plant(rig, loose)
