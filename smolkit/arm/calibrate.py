"""Calibrating an arm: hold it in its middle, sweep every joint from stop to stop, look, accept.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.emulator import connect
    >>> servos = fake.servos(seed=5)                         # horns screwed on at random angles
    >>> arm = calibrate_with_hand(Bus(connect(servos)), servos.hand_pose)
    >>> arm.motors[4].range_min, arm.motors[4].range_max     # wrist_roll is given, not swept
    (0, 4095)

Nothing here asks on a terminal: a notebook's buttons, the command line and a test drive a
`CalibrationSession`. The numbers are LeRobot's, so that both read the same file; the checks are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from smolkit.arm import registers, torque
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import LEAST_SPAN, MAX_OFFSET, Calibration, MotorCalibration, sweep_report
from smolkit.arm.configure import CALIBRATED, configure, require_servos, write_calibration
from smolkit.arm.joints import GRIPPER, IDS, JOINT_NAMES, LOWER_RAD, UPPER_RAD, servo_name
from smolkit.arm.registers import TICKS_PER_TURN, Register
from smolkit.clock import Clock, SteppedClock, WallClock
from smolkit.report import Check, Report, SmolkitError

MIDDLE = 2047                                      # Present_Position of the middle pose
WRIST_ROLL = JOINT_NAMES.index("wrist_roll")
MIDDLE_RAD = np.array([0, 0, 0, 0, 0, (LOWER_RAD[5] + UPPER_RAD[5]) / 2])      # (6,) rad
DRAWN_SPAN = (UPPER_RAD - LOWER_RAD) * TICKS_PER_TURN / (2 * np.pi)            # (6,) tick
# How far the middle pose may be from the middle of the sweep. By eye one hits it within 10 deg; the jaw's is
# anybody's guess, and a real arm's was off by 18. Beyond this the wrist_roll's stops reach the seam.
MIDDLE_OFF_DEG = np.array([25, 25, 25, 25, 25, 45.0])
NEAR_SEAM = 100                                    # tick; 9 deg
CLEARLY_MOVED, HARDLY_MOVED = 0.5, 0.1             # of a joint's range: another joint's, and the asked one's
HAND_STEPS = 12                                    # samples from one stop to the other
AGAIN = "smolkit calibrate PORT --out FILE"


@dataclass(frozen=True)
class Bar:
    """One joint while it is swept, in ticks with 2047 in the middle pose; what a widget draws."""

    joint: str
    low: int
    present: int
    high: int
    share: float                                   # of the drawing's range, 0..1 and a little more
    warning: str


class CalibrationSession:
    """A calibration step by step; the servos are written to in `accept`, and in nothing before it.

    Example:
        >>> from smolkit.arm import fake
        >>> session = CalibrationSession(fake.bus())
        >>> session.hold_middle()
        >>> session.sweep("elbow_flex")                      # now the person is asked to move it
        >>> session.look()[2]
        Bar(joint='elbow_flex', low=2047, present=2047, high=2047, share=0.0, warning='')
        >>> [check.code for check in session.report().red()][:1]
        ['SK122']

    Raises SK112 where a servo holds: a raised arm would fall. `release` says that somebody holds the arm.
    """

    def __init__(self, bus: Bus, *, release: bool = False, role: str = "follower"):
        self.role = role                           # "leader": its trigger goes less far than a jaw
        require_servos(bus, IDS)
        _make_limp(bus, release)
        self._servos = bus
        self._before = {register: bus.sync_read(register, IDS) for register in CALIBRATED}
        self._offset = np.array(list(self._before[registers.HOMING_OFFSET].values()))          # (6,) tick
        self._middle_held = False
        self._asked: int | None = None             # index of the joint that the person is asked to move
        self._moved_instead: dict[int, int] = {}
        self._actual = self._look()
        self._begin(self._actual)

    def _look(self) -> np.ndarray:
        """Where the shafts are (6,), in ticks that know no offset."""
        present = self._servos.sync_read(registers.PRESENT_POSITION, IDS)
        held = np.array(list(self._before[registers.HOMING_OFFSET].values()))
        return (np.array(list(present.values())) + held) % TICKS_PER_TURN

    def _begin(self, position: np.ndarray) -> None:
        self.position, self.low, self.high = (position.copy() for _ in range(3))               # (6,) tick
        self._asked_low, self._asked_high = position.copy(), position.copy()

    def hold_middle(self) -> None:
        """The arm is in its middle pose, now. Sweeps begin anew.

        An actual tick of 4095 would need an offset of 2048, which 11 bits cannot hold; 2047 is one tick off.
        """
        self._actual = self._look()
        self._offset = np.minimum(self._actual - MIDDLE, MAX_OFFSET)
        self._begin(self._actual - self._offset)
        self._middle_held, self._asked = True, None
        self._moved_instead.clear()

    def sweep(self, joint: str) -> None:
        """From now on the person is asked to move `joint`; any other that moves instead is noticed."""
        self._asked = JOINT_NAMES.index(joint)
        self._moved_instead.pop(self._asked, None)
        self._asked_low, self._asked_high = self.position.copy(), self.position.copy()

    def look(self) -> tuple[Bar, ...]:
        """One sample of all joints; call it 10 to 50 times a second."""
        actual = self._look()
        half = TICKS_PER_TURN // 2                 # a shaft turns less than that between two samples
        self.position = self.position + (actual - self._actual + half) % TICKS_PER_TURN - half
        self._actual = actual
        self.low, self.high = np.minimum(self.low, self.position), np.maximum(self.high, self.position)
        self._watch_asked()
        return tuple(self._bar(index) for index in range(len(IDS)))

    def revive(self) -> None:
        """Goes on after a pulled cable; see `Bus.revive`."""
        self._servos.revive()

    def _watch_asked(self) -> None:
        if self._asked is None:
            return
        self._asked_low = np.minimum(self._asked_low, self.position)
        self._asked_high = np.maximum(self._asked_high, self.position)
        moved = (self._asked_high - self._asked_low) / DRAWN_SPAN                              # (6,) of range
        most = int(np.argmax(moved))
        if moved[self._asked] >= HARDLY_MOVED:
            self._moved_instead.pop(self._asked, None)
        elif moved[most] > CLEARLY_MOVED:
            self._moved_instead[self._asked] = most

    def _bar(self, index: int) -> Bar:
        low, present, high = (int(ticks[index]) for ticks in (self.low, self.position, self.high))
        return Bar(JOINT_NAMES[index], low, present, high, float((high - low) / DRAWN_SPAN[index]),
                   self._warning(index, low, high) if self._middle_held else "")

    def _warning(self, index: int, low: int, high: int) -> str:
        if index in self._moved_instead:
            return f"{JOINT_NAMES[self._moved_instead[index]]} moves instead: two servos with each other's id?"
        if self._over_seam(index):
            return "went over the 0/4095 seam: hold the middle pose again, nearer to the middle"
        near = min(low, 4095 - high) < NEAR_SEAM and index != WRIST_ROLL
        return "comes near the 0/4095 seam" if near else ""

    def _over_seam(self, index: int) -> bool:
        """A joint without stops, as some wrist rolls, goes over it wherever the middle is."""
        return bool((self.low[index] < 0 or self.high[index] > 4095)
                    and (index != WRIST_ROLL or self.high[index] - self.low[index] <= 4095))

    @property
    def step(self) -> str:
        """What comes next: "middle", "sweep", or "accept" when nothing speaks against it."""
        return "middle" if not self._middle_held else "accept" if self.report().ok else "sweep"

    @property
    def progress(self) -> float:
        """How much of the six ranges has been covered, 0..1; a joint counts as covered at three quarters."""
        share = (self.high - self.low) / DRAWN_SPAN / LEAST_SPAN
        return float(np.minimum(share, 1.0).mean()) if self._middle_held else 0.0

    # -- judging --------------------------------------------------------------------------------------

    def report(self) -> Report:
        """What speaks against this calibration, before anything of it is kept."""
        span = self.high - self.low
        given = np.where(np.arange(len(IDS)) == WRIST_ROLL, 4095, span)
        swept = sweep_report(given, self.role).checks
        return Report("calibration", (self._swapped(), self._seam(), *swept, self._middle(span)))

    def _swapped(self) -> Check:
        words = "; ".join(f"{JOINT_NAMES[asked]} was to move, {JOINT_NAMES[other]} did"
                          for asked, other in self._moved_instead.items())
        return Check("SK125", "order of the joints", not words, "the joint that was asked for to move",
                     words or "no other moved instead", "two servos got each other's id, or another joint was moved",
                     f"move the right one; if it was: smolkit setup-motors PORT, then {AGAIN}")

    def _seam(self) -> Check:
        over = [JOINT_NAMES[i] for i in range(len(IDS)) if self._over_seam(i)]
        return Check("SK123", "0/4095 seam", not over, f"{', '.join(over) or 'all joints'} to stay within one turn",
                     f"{', '.join(over)} went from tick 4095 to 0 or back" if over else "no joint crossed it",
                     "the joint was not near its middle when you confirmed the middle pose",
                     "put the arm into the middle pose shown and calibrate again")

    def _middle(self, span: np.ndarray) -> Check:
        off_deg = ((self.low + self.high) / 2 - MIDDLE) * 360 / TICKS_PER_TURN                 # (6,)
        wrong = [f"{JOINT_NAMES[i]} {off_deg[i]:+.0f} deg" for i in range(len(IDS))
                 if abs(off_deg[i]) > MIDDLE_OFF_DEG[i] and span[i] >= LEAST_SPAN * DRAWN_SPAN[i]]
        wrong = wrong if self._middle_held else ["not held yet"]
        return Check("SK124", "middle pose", not wrong,
                     f"at most {MIDDLE_OFF_DEG[0]:.0f} deg off, gripper {MIDDLE_OFF_DEG[GRIPPER]:.0f}",
                     ", ".join(wrong) or "within that", "the arm was not in its middle pose when you confirmed it",
                     f"{AGAIN}, every joint half way between its stops")

    def accept(self) -> Calibration:
        """Writes offsets and ranges into the servos, where they differ; raises what is red in `report`.

        Whatever ends the writing early, the servos get their old offsets and limits back.
        """
        self.report().raise_if_red()
        low, high = self.low.clip(0), self.high.clip(max=4095)
        low[WRIST_ROLL], high[WRIST_ROLL] = 0, 4095        # it turns too far for stop to stop to be a use
        calibration = Calibration(tuple(MotorCalibration(i, 0, *map(int, row)) for i, row in
                                        zip(IDS, np.column_stack((self._offset, low, high)), strict=True)))
        try:
            write_calibration(self._servos, calibration)
            configure(self._servos, IDS)
        except BaseException as error:
            _put_back(self._servos, self._before, error)
            raise
        return calibration


def _make_limp(bus: Bus, release: bool) -> None:
    on = [i for i, value in bus.sync_read(registers.TORQUE_ENABLE, IDS).items() if value]
    if on and not release:
        raise SmolkitError("SK112", "a limp arm; cutting its torque would let it fall",
                           f"torque on in {', '.join(map(servo_name, on))}",
                           "an earlier program ended without releasing the arm",
                           f"hold the arm with one hand, then: {AGAIN} --release")
    if on:
        torque.release(bus, IDS)


def _put_back(bus: Bus, before: Mapping[Register, Mapping[int, int]], error: BaseException) -> None:
    """The servos as they were: half a calibration would fit neither the old file nor a new one."""
    for servo_id in IDS:
        try:
            bus.write_eeprom(servo_id, {register: values[servo_id] for register, values in before.items()})
        except SmolkitError as second:
            error.add_note(f"servo {servo_id} could not be put back: calibrate again before moving it. {second}")


def calibrate(bus: Bus, move_to_mid: Callable[[], None], sweeping: Callable[[], bool], *,
              clock: Clock | None = None, rate_hz: float = 50.0, release: bool = False,
              progress: Callable[[tuple[Bar, ...]], None] = lambda bars: None) -> Calibration:
    """The session in one call: all joints swept in any order.

    `move_to_mid` returns when the arm is held in its middle pose; `sweeping` is asked before every
    sample and returns False when all joints have been moved from stop to stop.
    """
    clock = clock if clock is not None else WallClock()
    session = CalibrationSession(bus, release=release)
    move_to_mid()
    session.hold_middle()
    while sweeping():
        progress(session.look())
        clock.sleep_until(clock.now_s() + 1 / rate_hz)
    return session.accept()


def guided(session: CalibrationSession, clock: Clock, tell: Callable[[str], None],
           show: Callable[[tuple[Bar, ...]], None], *, hold_s: float = 10.0, patience_s: float = 60.0,
           rest_s: float = 2.0) -> Report:
    """Leads a person through a session, joint by joint; what it finds still has to be accepted.

    A joint is done when it has covered its range and that has not grown for `rest_s`, or after `patience_s`.
    """
    tell(f"bring every joint to the middle of its range and hold the arm there: {hold_s:g} s")
    _watch(session, clock, show, lambda idle_s: False, hold_s)
    session.hold_middle()
    for index, joint in enumerate(JOINT_NAMES):
        session.sweep(joint)
        tell(f"move {joint} slowly from stop to stop")
        _watch(session, clock, show, lambda idle_s, index=index: idle_s >= rest_s and session.high[index]
               - session.low[index] >= LEAST_SPAN * DRAWN_SPAN[index], patience_s)
    return session.report()


def _watch(session: CalibrationSession, clock: Clock, show: Callable[[tuple[Bar, ...]], None],
           done: Callable[[float], bool], patience_s: float, rate_hz: float = 30.0) -> None:
    """Looks until `done`, which is told for how long no joint's range has grown."""
    grew_s, end_s, covered = clock.now_s(), clock.now_s() + patience_s, 0
    while clock.now_s() < end_s and not done(clock.now_s() - grew_s):
        show(session.look())
        now = int((session.high - session.low).sum())
        covered, grew_s = (now, clock.now_s()) if now != covered else (covered, grew_s)
        clock.sleep_until(clock.now_s() + 1 / rate_hz)


def calibrate_with_hand(bus: Bus, hand: Callable[[np.ndarray], None]) -> Calibration:
    """Calibrates an emulated arm: `hand(angle_rad (6,))` puts the limp arm into a pose.

    The same routine as on the desk, with `ServoBus.hand_pose` for the person. Afterwards the arm
    stands in the middle pose.
    """
    poses = hand_path()

    def move_on() -> bool:
        pose = next(poses, None)
        if pose is not None:
            hand(pose)
        return pose is not None

    try:
        # A private clock: no physics runs between placing the arm and reading it.
        return calibrate(bus, lambda: hand(MIDDLE_RAD), move_on, clock=SteppedClock(), release=True)
    finally:
        hand(MIDDLE_RAD)


def hand_path() -> Iterator[np.ndarray]:
    """One joint after the other from the middle to its lower stop, its upper stop and back."""
    for joint in range(len(IDS)):
        low, middle, high = LOWER_RAD[joint], MIDDLE_RAD[joint], UPPER_RAD[joint]
        for angle in (middle, *np.linspace(low, high, HAND_STEPS), middle):
            pose = MIDDLE_RAD.copy()
            pose[joint] = angle
            yield pose
