"""The SO-101 follower arm: read it, move it through a guard, let it go.

    >>> from smolkit.arm import fake
    >>> with fake.arm(seed=3) as arm:
    ...     print(arm.read().pos_deg.round(0) + 0.0)
    [ 0.  0.  0.  0.  0. 50.]

The port is a name ("/dev/ttyACM0", "COM3", "/dev/pts/3", "socket://127.0.0.1:7777") or an in-process
serial object: a real arm and an emulated one differ by that alone. No command reaches the servos except
through the guard, and torque comes on only in `energize`.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from smolkit.arm import registers, torque
from smolkit.arm.arm_type import TYPES
from smolkit.arm.arm_type import arm_type as named
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.configure import (
    BODY_CAP,
    GRIPPER_ID,
    JAW_CAP,
    check_calibration,
    check_protection,
    check_settings,
    check_voltage,
    missing_servos,
    require_servos,
)
from smolkit.clock import Clock, WallClock
from smolkit.report import SmolkitError

TELEMETRY = np.dtype([("position", "<u2"), ("velocity", "<u2"), ("load", "<u2"), ("voltage", "u1"),
                      ("temperature", "u1"), ("pending", "u1"), ("status", "u1"), ("moving", "u1"),
                      ("reserved", "u1", 2), ("current", "<u2")])          # registers 56..70
TORQUE = np.dtype([("torque", "u1"), ("acceleration", "u1"), ("goal", "<u2"), ("goal_time", "<u2"),
                 ("goal_velocity", "<u2"), ("cap", "<u2")])                # registers 40..49
TORQUE_START = registers.TORQUE_ENABLE.address
CURRENT_MA = 6.5                                   # per unit of Present_Current


@dataclass(frozen=True)
class JointState:
    """All six joints at one moment, in the order of `JOINTS`."""

    pos_deg: np.ndarray            # (6,) body deg, gripper %
    vel_deg_s: np.ndarray          # (6,) deg/s, gripper %/s
    load: np.ndarray               # (6,) drive duty, -1..1
    current_ma: np.ndarray         # (6,) signed
    voltage_v: np.ndarray          # (6,)
    temperature_c: np.ndarray      # (6,)
    error_bits: np.ndarray         # (6,) int, see registers.ERROR_BITS
    captured_s: float              # monotonic


class Guard(Protocol):
    """Stands before every command; `smolkit.safety.Envelope` is the real one.

    It may have a `servo_deg_s`: faster than that no servo shall turn by itself.
    """

    def admit(self, goal_deg: np.ndarray, present_deg: np.ndarray, dt_s: float) -> np.ndarray:
        """Goal (6,) wanted, present (6,), seconds since the last goal -> goal (6,) that may be sent."""

    def reset(self, holding_deg: np.ndarray | None = None) -> None:
        """The next command is a first action; `holding_deg` (6,) is the goal that the servos hold."""


class SO101:
    """Opens and checks the arm, and writes nothing into it. Without a guard it can be read, not moved.

    arm_type: "7.4V" or "12V", what the labels say; without it the voltage may be what the servos' registers allow,
    and somebody may have changed those. Raises SK101 (a servo is silent), SK102/SK103 (port), SK108 (model), SK109
    (calibration of another arm), SK110 (voltage), SK111 (protections off), SK118 (no such type), SK146 (settings,
    with a guard). The port is free again when it raises.
    """

    def __init__(self, port: str | Any, calibration: Calibration, guard: Guard | None = None,
                 clock: Clock | None = None, *, arm_type: str = "", ramp_s: float = 1.0, **timing: float):
        self._kind = named(arm_type) if arm_type else None
        self.calibration, self.guard = calibration, guard
        self.clock = clock if clock is not None else WallClock()
        self.ramp_s = ramp_s
        self.energized = False                     # torque is, or comes, on, and nobody has pressed stop since
        self.ready = False                         # and the guard has forgotten the last time: goals may go out
        self.latest: JointState | None = None      # what was measured last, by `read` or before a goal
        self.lost_writes = 0                       # goals that no servo heard; each was followed by another
        self.owed = ""                             # what the last release left unconfirmed: servos that may still hold
        self.unheard = np.zeros(6, int)            # goals in a row that each servo has not taken
        self._held = self._sent = np.zeros(6, int)     # goal registers when last seen, and what was sent since, ticks
        self._commanded_s = -np.inf
        self._turn = 0                             # counts energize() and release(): whose turn it is
        self._closes_at_exit = False
        self._moving = threading.RLock()           # a stop button lives in another thread than the loop
        self._bus = Bus(port, **timing)
        try:
            self._check()
        except BaseException:
            self._bus.close()
            raise

    def _check(self) -> None:
        ids = self.calibration.ids
        require_servos(self._bus, ids)
        small = min(self._bus.sync_read(registers.MAX_VOLTAGE_LIMIT, ids).values()) <= TYPES["7.4V"].max_voltage
        self.kind = self._kind or TYPES["7.4V" if small else "12V"]    # the registers' word, where no label was read
        check_voltage(self._bus, ids, self._kind)
        check_protection(self._bus, ids, self._kind)
        check_calibration(self._bus, self.calibration)
        if self.guard is not None:
            check_settings(self._bus, ids)

    def __enter__(self) -> SO101:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port_name(self) -> str:
        """The port as the system calls it; the bus behind it belongs to the guarded calls alone."""
        return self._bus.port.port_name

    # -- reading ------------------------------------------------------------------------------------

    def read(self) -> JointState:
        """Everything a servo measures, of all six, in one transaction (1.4 ms on the wire)."""
        return self._measure(registers.TELEMETRY_START)[1]

    def _measure(self, first: int) -> tuple[list[bytes], JointState]:
        """Registers from `first` to the end of the telemetry of all six: what precedes it, and the state."""
        begin_s = self.clock.now_s()
        count = registers.TELEMETRY_START + registers.TELEMETRY_BYTES - first
        replies = self._bus.sync_read_block(first, count, self.calibration.ids)
        moment_s = (begin_s + self.clock.now_s()) / 2
        before = count - registers.TELEMETRY_BYTES
        table = np.frombuffer(b"".join(reply.data[before:] for reply in replies.values()), TELEMETRY)   # (6,)
        errors = np.array([reply.error for reply in replies.values()]) | table["status"]
        self.latest = JointState(
            self.calibration.to_pos(_signed(table["position"], 15)),
            self.calibration.to_rate(_signed(table["velocity"], 15)),
            _signed(table["load"], 10) / 1000, _signed(table["current"], 15) * CURRENT_MA,
            table["voltage"] / 10, table["temperature"].astype(float), errors, moment_s)
        return [reply.data[:before] for reply in replies.values()], self.latest

    def read_positions(self) -> np.ndarray:
        """Positions (6,) only: deg, gripper %; half the wire time of `read`."""
        ticks = self._bus.sync_read(registers.PRESENT_POSITION, self.calibration.ids)
        return self.calibration.to_pos(np.array(list(ticks.values()), float))

    def holding(self) -> tuple[int, ...]:
        """Ids of the servos whose torque is on, whoever switched it."""
        on = self._bus.sync_read(registers.TORQUE_ENABLE, self.calibration.ids)
        return tuple(servo_id for servo_id, value in on.items() if value)

    @property
    def goal_deg(self) -> np.ndarray:
        """What the servos (6,) were told last, or, just energized, hold."""
        return self.calibration.to_pos(self._sent.astype(float))

    def missing(self) -> tuple[int, ...]:
        """Ids of the servos that answer no ping."""
        return tuple(missing_servos(self._bus, self.calibration.ids))

    # -- moving -------------------------------------------------------------------------------------

    def command(self, goal_deg: np.ndarray) -> np.ndarray:
        """Sends a goal (6,) as far as the guard admits it; returns what was sent, in the same units."""
        with self._moving:
            return self._command(goal_deg)

    def _command(self, goal_deg: np.ndarray) -> np.ndarray:
        self._require_movable()
        present_deg = self.look().pos_deg
        dt_s = self.clock.now_s() - self._commanded_s  # the whole pause: the guard decides what it means
        admitted = np.array(self.guard.admit(goal_deg, present_deg.copy(), dt_s), dtype=float)
        if admitted.shape != (6,) or not np.isfinite(admitted).all():
            raise SmolkitError("SK132", "six finite numbers from the guard", repr(admitted),
                               "a fault in the guard; nothing was sent", "report it with this message")
        sent = self._send(admitted)
        self._commanded_s = self.clock.now_s()         # or a slow write would grant its time a second time
        return sent

    def look(self) -> JointState:
        """As `read`, in one transaction, of an energized arm: do all servos hold as they were told, and where?

        Raises SK137 (one restarted) and SK139 (somebody else's goal; the next one of ours begins where the arm is).
        """
        before, state = self._measure(TORQUE_START)
        table = np.frombuffer(b"".join(data[:TORQUE.itemsize] for data in before), TORQUE)       # (6,)
        if (table["torque"] != 1).any() or (table["cap"] != list(self._caps().values())).any():
            self.ready = False
            torque.raise_reset(self.calibration.ids, table["torque"], table["cap"], self._caps())
        self._compare(table["goal"].astype(int))
        return state

    def _compare(self, goals: np.ndarray) -> None:
        """Goal registers (6,) ticks against what was sent: a write may be lost, but nobody else may write.

        After a lost one the guard counts from the goals that the servos hold, or the next would be a leap.
        """
        lost, foreign = goals != self._sent, (goals != self._sent) & (goals != self._held)
        self.unheard = np.where(~lost & (self._sent != self._held), 0, self.unheard + lost)
        self._held = goals
        if foreign.any():
            self._sent = goals
            self.guard.reset(self.latest.pos_deg)      # back from where the arm is, not from where it was sent
            raise SmolkitError("SK139", "the goals that were sent from here",
                               f"others in servos {(np.flatnonzero(foreign) + 1).tolist()}; no goal was sent",
                               "a second program commands this arm",
                               "end the other one, look where the arm is, then send a goal again")
        if lost.any():
            self.lost_writes += 1
            self._sent = goals
            self.guard.reset(self.calibration.to_pos(goals.astype(float)))

    def _caps(self) -> dict[int, int]:
        """Torque caps (0.1 % of stall, by id) that an energized arm has."""
        return {i: JAW_CAP if i == GRIPPER_ID else BODY_CAP for i in self.calibration.ids}

    def _require_movable(self) -> None:
        if self.guard is None:
            raise SmolkitError("SK130", "a guard before any command", "this arm was opened without one",
                               "an arm without a guard can be read, not moved",
                               "SO101(port, calibration, guard=Envelope(...))")
        if not self.ready:
            found = "its torque is still growing" if self.energized else "it was released, or never energized"
            raise SmolkitError("SK131", "an energized arm", found,
                               "a goal written now would switch torque on by itself",
                               "arm.energize(), and wait until it returns")

    def _send(self, admitted_deg: np.ndarray) -> np.ndarray:
        """To ticks, within the calibrated range: the servo would stop at its limit anyway."""
        calibration = self.calibration
        wanted = calibration.to_ticks(admitted_deg)
        ticks = np.clip(wanted, calibration.range_min, calibration.range_max)
        self._sent = ticks
        self._bus.sync_write(registers.GOAL_POSITION, dict(zip(calibration.ids, ticks.tolist(), strict=True)))
        return np.where(ticks == wanted, admitted_deg, calibration.to_pos(ticks))

    def energize(self) -> None:
        """Torque on where the arm stands, from a tenth of stall to the caps within `ramp_s`.

        Raises SK110 (voltage), SK133 (outside its range), SK138 (a servo reports a fault or is hot) before
        anything is written; SK134, SK136 on the way, and then the arm is released.
        """
        if self.guard is None:
            self._require_movable()
        check_voltage(self._bus, self.calibration.ids, self._kind)
        state = self.read()
        torque.require_healthy(self.calibration.ids, state.error_bits, state.temperature_c)
        torque.require_inside(self._bus, self.calibration)
        caps = self._caps()
        if not self._closes_at_exit:
            atexit.register(self.close)                            # a script that ends without `with` lets go too
            self._closes_at_exit = True
        turn = self._next_turn(energized=True)                     # from here on close() must release
        try:
            with self._while_wanted(turn):
                start = torque.switch_on(self._bus, self.calibration, caps, getattr(self.guard, "servo_deg_s", 0.0))
            torque.grow(self._bus, self.clock, start, caps, self.ramp_s, lambda: self._while_wanted(turn))
            self._begin(turn)
        except BaseException as error:
            if turn == self._turn or not self.energized:           # else another energize() has taken over
                self._release_after(error)
            raise

    def _next_turn(self, energized: bool) -> int:
        with self._moving:
            self.energized, self.ready = energized, False
            self._turn += 1
            return self._turn

    @contextmanager
    def _while_wanted(self, turn: int) -> Iterator[None]:
        """Holds back a stop from other threads for one step; SK136 if there was one since `turn`.

        A flag would not do: released and energized again, the first energize() would carry on.
        """
        with self._moving:
            torque.require_wanted(self.energized and turn == self._turn)
            yield

    def _begin(self, turn: int) -> None:
        """Admits goals, unless somebody pressed stop between the last step of the growing and now."""
        with self._while_wanted(turn):
            held = self._bus.sync_read(registers.GOAL_POSITION, self.calibration.ids)
            self._held = self._sent = np.array(list(held.values()))
            self.guard.reset(self.calibration.to_pos(self._held.astype(float)))
            self.unheard = np.zeros(6, int)
            self._commanded_s = self.clock.now_s()
            self.ready = True

    def weaken(self, share: float) -> None:
        """Lowers the torque caps to a share (0..1) of theirs: a raised arm sinks. No goal follows."""
        with self._moving:
            self.ready = False
            self._bus.sync_write(registers.TORQUE_LIMIT, {i: round(cap * share) for i, cap in self._caps().items()})

    def _release_after(self, error: BaseException) -> None:
        """On the way out with an error that matters more: what the release has to say is added to it."""
        try:
            self.release()
        except SmolkitError as second:
            error.add_note(str(second))

    def release(self) -> None:
        """Torque off in all servos, read back. The arm falls if it is raised. Raises SK135 with the list.

        No goal follows, also when it fails: one would power the servos again that did obey.
        """
        with self._moving:
            self._next_turn(energized=False)
            try:
                torque.release(self._bus, self.calibration.ids)
            except SmolkitError as error:
                self.owed = error.found
                raise
            self.owed = ""
            if hasattr(self.guard, "servo_deg_s"):
                torque.forget_speed(self._bus, self.calibration.ids)

    def abandon(self) -> None:
        """Frees the port and leaves the torque as it is: an arm that somebody else left raised must not fall."""
        self._bus.close()
        atexit.unregister(self.close)

    def close(self) -> None:
        """Releases the arm if it may have been moved, and frees the port whatever happens."""
        if not self._bus.port.is_open:
            return
        try:
            if self.energized or self.guard is not None:
                self.release()
        except KeyboardInterrupt as error:             # it may have come before the first packet went out
            self._release_after(error)
            raise
        finally:
            self._bus.close()
            atexit.unregister(self.close)


def _signed(words: np.ndarray, sign_bit: int) -> np.ndarray:
    """Sign-magnitude words (6,) -> numbers (6,) float."""
    magnitude = (words & ((1 << sign_bit) - 1)).astype(float)
    return np.where(words >> sign_bit & 1, -magnitude, magnitude)
