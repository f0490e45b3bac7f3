"""Torque on without a jump, torque off without a doubt.

A servo keeps the goal of yesterday in its register: switched on, it would drive there at full force.
So `switch_on` writes goal := present, reads it back, switches on at a tenth of the torque; `grow`
raises that. `release` tells everybody first, then each servo, then asks each whether it obeyed. A reply with
an error bit is not a failed write (LeRobot takes it for one and leaves the rest of the arm powered).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.joints import joint_name, servo_name
from smolkit.clock import Clock
from smolkit.report import SmolkitError

START_CAP = 100                                    # 0.1 %: a tenth of stall can push nobody
RAMP_STEPS = 10
HOLDING_TICKS = 34                                 # 3 deg: as far as a servo that holds may sag
SUNK_TICKS = 23                                    # 2 deg: less is a servo's ordinary sag under load
AGREED_TICKS = 57                                  # 5 deg: further no arm falls from one reading to the next
TOLERANCE_TICKS = 23                               # 2 deg beyond the calibrated range
ACCELERATION = 254                                 # RAM, lost at power-off: written at each energize
TOP_SPEED_TICKS_S = 3400                           # what the servo does without load, 299 deg/s
HOT_C = 65                                         # the servo itself cuts at 70, in the middle of a motion
TRIES = 3


def switch_on(bus: Bus, calibration: Calibration, caps: Mapping[int, int], speed_deg_s: float = 0.0) -> dict[int, int]:
    """Torque on in all servos, where they stand; returns the low caps (0.1 %, by id) they begin with.

    speed_deg_s: the servos turn no faster by themselves, wherever a goal may come from; 0 leaves them as they are.
    """
    ids = calibration.ids
    goals = _starting_goals(bus, ids)
    start = _starting_caps(bus, ids, caps)
    _write_verified(bus, registers.TORQUE_LIMIT, start)
    bus.sync_write(registers.ACCELERATION, dict.fromkeys(ids, ACCELERATION))
    if speed_deg_s:
        _write_verified(bus, registers.GOAL_VELOCITY, _speeds(bus, ids, speed_deg_s))
    _write_verified(bus, registers.GOAL_POSITION, goals)
    _write_verified(bus, registers.TORQUE_ENABLE, dict.fromkeys(ids, 1))
    return start


def _speeds(bus: Bus, ids: tuple[int, ...], speed_deg_s: float) -> dict[int, int]:
    """Goal_Velocity by id, in the unit that each servo's Phase chooses; never 0, which means something else."""
    wanted = min(speed_deg_s * registers.TICKS_PER_TURN / 360, TOP_SPEED_TICKS_S)
    phases = bus.sync_read(registers.PHASE, ids)
    return {i: max(1, round(wanted if phase & registers.FINE_VELOCITY else wanted / registers.COARSE_VELOCITY))
            for i, phase in phases.items()}


def forget_speed(bus: Bus, ids: tuple[int, ...]) -> None:
    """Limp servos at full speed again, for other programs; where 0 would mean "stand still" they keep their limit."""
    def write() -> None:
        phases = bus.sync_read(registers.PHASE, ids)
        if free := {i: 0 for i, phase in phases.items() if phase & registers.ZERO_IS_MAX}:
            bus.sync_write(registers.GOAL_VELOCITY, free)

    _attempt(write)                                # power-off forgets it, too


def grow(bus: Bus, clock: Clock, start: Mapping[int, int], caps: Mapping[int, int], ramp_s: float,
         while_wanted: Callable[[], AbstractContextManager[None]]) -> None:
    """Raises the torque caps from `start` to `caps` within `ramp_s`; the waiting is outside of `while_wanted`.

    Each step reads and writes inside one `while_wanted()`, which refuses to begin after a stop and makes
    a stop wait for the step's end: a goal written after the stop would power the servos again.
    """
    begin_s = clock.now_s()
    for step in range(1, RAMP_STEPS + 1):
        clock.sleep_until(begin_s + ramp_s * step / RAMP_STEPS)
        part = step / RAMP_STEPS
        with while_wanted():
            _follow_down(bus, tuple(caps))
            bus.sync_write(registers.TORQUE_LIMIT,
                           {i: round(start[i] + (caps[i] - start[i]) * part) for i in caps})
    with while_wanted():
        _write_verified(bus, registers.TORQUE_LIMIT, dict(caps))


def _follow_down(bus: Bus, ids: tuple[int, ...]) -> None:
    """A raised arm sinks while its torque is low: its goal sinks along, or it would spring back up later.

    No guard stands before this goal: it goes only where two readings in a row agree that the joint is.
    """
    first = bus.sync_read(registers.PRESENT_POSITION, ids)
    goal = bus.sync_read(registers.GOAL_POSITION, ids)
    present = bus.sync_read(registers.PRESENT_POSITION, ids)
    sunk = {i: at for i, at in present.items()
            if abs(goal[i] - at) > SUNK_TICKS and abs(first[i] - at) <= AGREED_TICKS}
    if sunk:
        bus.sync_write(registers.GOAL_POSITION, sunk)


def require_wanted(wanted: bool) -> None:
    """Raises SK136 where somebody pressed stop while the torque was coming on."""
    if not wanted:
        raise SmolkitError("SK136", "to finish switching on", "the arm was released, or energized anew, meanwhile",
                           "somebody pressed stop", "energize again when it is safe")


def raise_reset(ids: Iterable[int], on: Iterable[int], cap: Iterable[int], caps: Mapping[int, int]) -> None:
    """SK137: servos that lost torque or cap since they were energized; a goal would wake them at full force."""
    wrong = [f"{servo_name(i)} " + (f"cap {found}" if torque_on else "torque off")
             for i, torque_on, found in zip(ids, on, cap, strict=True) if torque_on != 1 or found != caps[i]]
    raise SmolkitError("SK137", "all servos holding as they were energized; no goal was sent", ", ".join(wrong),
                       "these servos restarted: the supply sagged (brown-out) or a cable is loose; or a second"
                       " program is on the port",
                       "hold the arm and release it, run: smolkit doctor PORT, then energize again")


def _starting_goals(bus: Bus, ids: tuple[int, ...]) -> dict[int, int]:
    """Where each servo stands; one that holds keeps its goal, or every re-arming would add its sag."""
    present = bus.sync_read(registers.PRESENT_POSITION, ids)
    holding = bus.sync_read(registers.TORQUE_ENABLE, ids)
    goal = bus.sync_read(registers.GOAL_POSITION, ids)
    return {i: goal[i] if holding[i] and abs(goal[i] - present[i]) <= HOLDING_TICKS else present[i]
            for i in ids}


def _starting_caps(bus: Bus, ids: tuple[int, ...], caps: Mapping[int, int]) -> dict[int, int]:
    """Low for a limp servo; unchanged for one that already holds, or a raised arm would fall."""
    holding = bus.sync_read(registers.TORQUE_ENABLE, ids)
    now = bus.sync_read(registers.TORQUE_LIMIT, ids)
    return {i: min(now[i], caps[i]) if holding[i] else min(START_CAP, caps[i]) for i in ids}


def require_healthy(ids: Iterable[int], errors: Iterable[int], temperature_c: Iterable[float]) -> None:
    """Raises SK138 for servos that report a fault or are too hot to be loaded again; nothing is written."""
    ill = [f"{servo_name(i)} " + (", ".join(registers.error_names(int(bits))) or f"{heat_c:.0f} deg C")
           for i, bits, heat_c in zip(ids, errors, temperature_c, strict=True) if bits or heat_c >= HOT_C]
    if ill:
        raise SmolkitError("SK138", f"six servos without a fault and below {HOT_C} deg C", "; ".join(ill),
                           "a joint was blocked or loaded too long, or the supply is weak",
                           "hold the arm, release it and let it cool; if it stays red, power it off and on,"
                           " then run: smolkit doctor PORT")


def require_inside(bus: Bus, calibration: Calibration) -> None:
    """Raises SK133 for a joint beyond its calibrated range; nothing is written."""
    present = bus.sync_read(registers.PRESENT_POSITION, calibration.ids)
    for motor in calibration.motors:
        low, high = motor.range_min - TOLERANCE_TICKS, motor.range_max + TOLERANCE_TICKS
        if not low <= present[motor.id] <= high:
            raise SmolkitError(
                "SK133", f"{joint_name(motor.id)} within its calibrated {motor.range_min}..{motor.range_max}",
                f"at tick {present[motor.id]}: switched on, it would drive to the edge by itself",
                "the joint was pushed past its stop, or the calibration is wrong",
                "move the joint to its middle by hand; if it stays red: smolkit calibrate PORT --out FILE")


def _write_verified(bus: Bus, register: registers.Register, values: Mapping[int, int]) -> None:
    """Sync write, read back, again where it differs; a sync write alone is not acknowledged."""
    found: dict[int, int] = {}
    for _ in range(TRIES):
        bus.sync_write(register, values)
        found = bus.sync_read(register, values)
        if found == dict(values):
            return
    wrong = {i: found[i] for i in values if found[i] != values[i]}
    raise SmolkitError("SK134", f"{register.name} to be accepted by all servos", f"refused: {wrong}",
                       "a fault latched in a servo, or a second program on the port",
                       "power the arm off and on, then run: smolkit doctor PORT")


def release(bus: Bus, ids: tuple[int, ...]) -> None:
    """Torque off everywhere, verified; raises SK135 naming the servos that are, or may be, still on.

    A Ctrl-C in between (the second of an impatient person) is raised when one pass is complete.
    """
    interrupt: KeyboardInterrupt | None = None
    trouble: dict[int, str] = {}
    for _ in range(TRIES):
        try:
            trouble = _release_once(bus, tuple(trouble) or ids)
        except KeyboardInterrupt as error:
            interrupt, trouble = error, dict.fromkeys(ids, "not asked (interrupted), perhaps on")
        if all("SK101" in state for state in trouble.values()):
            break                                  # told and asked: asking again would keep the others waiting
    if trouble and interrupt is None:
        raise _still_on(trouble)
    if interrupt is not None:
        if trouble:
            interrupt.add_note(str(_still_on(trouble)))
        raise interrupt


def _release_once(bus: Bus, ids: tuple[int, ...]) -> dict[int, str]:
    """All told at once, then each told and asked; what is known of those that did not say they are off."""
    _attempt(lambda: bus.broadcast_write(registers.TORQUE_ENABLE, 0))
    return {i: state for i in ids if (state := _switch_off(bus, i))}


def _still_on(trouble: Mapping[int, str]) -> SmolkitError:
    names = ", ".join(f"{servo_name(i)} {state}" for i, state in trouble.items())
    return SmolkitError("SK135", "torque off in all servos", names,
                        "a cable is loose or the board lost its supply",
                        "hold the arm and switch its power off")


def _switch_off(bus: Bus, servo_id: int) -> str:
    """'' when the servo says it is off, else what is known."""
    try:
        bus.read(servo_id, registers.TORQUE_ENABLE)                # a silent one is not waited for twice
        _attempt(lambda: bus.write(servo_id, registers.TORQUE_ENABLE, 0))
        return "still on" if bus.read(servo_id, registers.TORQUE_ENABLE) else ""
    except SmolkitError as error:
        _attempt(lambda: bus.sync_write(registers.TORQUE_ENABLE, {servo_id: 0}))     # perhaps it hears, at least
        return f"silent ({error.code}), perhaps on"


def _attempt(write: Callable[[], object]) -> None:
    """One try whose failure the read-back will show; stopping here would leave the others powered."""
    try:
        write()
    except SmolkitError:
        return
