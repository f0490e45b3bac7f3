"""The sheet for a first real arm: ten checks of what no emulator can prove, each with its expected number.

    >>> from smolkit.arm import fake
    >>> robot = fake.arm()
    >>> checks = with_torque(robot, tell=lambda text: None)
    >>> [check.code for check in checks if not check.ok], checks[-1].line()
    ([], '✓ SK159 torque off: found off in all servos, read back')

Four checks need a person and no torque, six move the arm by a few degrees through its guard. `tell` shows or
speaks what the person is to do next; nothing waits for a key. The expected numbers come from data sheets and other
people's arms; they were not measured on an arm by this kit's authors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.joints import GRIPPER, IDS, JOINT_NAMES
from smolkit.arm.so101 import JointState
from smolkit.clock import Clock
from smolkit.report import Check, Report, SmolkitError

Tell = Callable[[str], None]
# From the rest pose every joint but the elbow can turn its positive way; that one lies at its end.
WAYS = (("to the right, as seen from behind the arm", 1), ("forward and down", 1), ("so that the forearm comes up", -1),
        ("so that the gripper points down", 1), ("counter-clockwise, as seen looking out along the gripper", 1),
        ("open", 1))
READS, SAMPLES = 1000, 100
TURNED_DEG, OTHER_DEG, STILL_DEG = 15.0, 40.0, 5.0
SAG_DEG = 3.0                                      # P control without I leaves about 2 under the bare arm's weight
NUDGE_DEG = 5.0
PLAY_DEG = 1.5                                     # about 1 deg is usual in an STS3215
VOLTAGE_KEPT = 0.92
RISE_C, HOT_C = 8.0, 50.0                          # in the first minute of holding the bare arm
RATE_HZ = 30.0
NAMES = {"SK150": "reply time", "SK151": "lost replies", "SK152": "encoder noise", "SK153": "directions",
         "SK154": "sag after torque on", "SK155": "follows", "SK156": "play", "SK157": "voltage under load",
         "SK158": "temperature", "SK159": "torque off"}
MOVING = tuple(NAMES)[4:]


class Arm(Protocol):
    """What the moving checks need; `GuardedArm`, or an `SO101` with its guard."""

    clock: Clock

    def read(self) -> JointState: ...

    def energize(self) -> None: ...

    def command(self, goal_deg: np.ndarray) -> np.ndarray: ...

    def release(self) -> None: ...


def _judge(code: str, ok: bool, expected: str, found: str, cause: str,
           next_step: str = "mend it, then run: smolkit doctor PORT --arm") -> Check:
    return Check(code, NAMES[code], bool(ok), expected, found, cause, next_step)


def _red(name: str, error: SmolkitError) -> Check:
    return Check(error.code, name, False, error.expected, error.found, error.cause, error.next_step)


# -- without torque -----------------------------------------------------------------------------------


def without_torque(bus: Bus, calibration: Calibration, clock: Clock, tell: Tell,
                   patience_s: float = 30.0) -> tuple[Check, ...]:
    """Reply time, losses, encoder noise, and by hand the direction of each joint; the arm stays limp."""
    tell("lay the arm down in its rest pose, gripper closed, and take your hands off")
    clock.sleep_until(clock.now_s() + 3.0)
    return (*_wire(bus, clock), _noise(bus, clock), _directions(bus, calibration, clock, tell, patience_s))


def _wire(bus: Bus, clock: Clock) -> tuple[Check, Check]:
    before = bus.retried
    ping_us = 1e6 * _seconds(lambda: bus.ping(1), clock, SAMPLES)
    read_us = 1e6 * _seconds(lambda: bus.sync_read_block(registers.TELEMETRY_START, registers.TELEMETRY_BYTES,
                                                  IDS), clock, READS)
    lost = bus.retried - before
    late_us = float(np.quantile(read_us, 0.99))
    return (_judge("SK150", late_us < 10_000, "99 of 100 telemetry reads in 10000 us",
                   f"ping {np.median(ping_us):.0f} us, telemetry {np.median(read_us):.0f} us"
                   f" (99 of 100 in {late_us:.0f})",
                   "a USB hub, a driver with a 16 ms latency timer, or servos with a return delay"),
            _judge("SK151", lost <= 1, f"at most 1 of {READS}", f"{lost} of {READS}",
                   "a loose plug, a long or thin bus cable, mixed firmware"))


def _seconds(work: Callable[[], object], clock: Clock, times: int) -> np.ndarray:
    """How long each of `times` calls took (times,) s."""
    moments = [clock.now_s()]
    for _ in range(times):
        work()
        moments.append(clock.now_s())
    return np.diff(moments)


def _present_deg(bus: Bus, calibration: Calibration) -> np.ndarray:
    ticks = bus.sync_read(registers.PRESENT_POSITION, calibration.ids)
    return calibration.to_pos(np.array(list(ticks.values()), float))


def _noise(bus: Bus, clock: Clock) -> Check:
    ticks = []
    for _ in range(SAMPLES):
        ticks.append(list(bus.sync_read(registers.PRESENT_POSITION, IDS).values()))
        clock.sleep_until(clock.now_s() + 0.02)
    spread = np.ptp(np.array(ticks), axis=0)                                   # (6,) tick
    worst = int(np.argmax(spread))
    return _judge("SK152", spread.max() <= 2, "at most 2 ticks while the arm lies still",
                  f"{spread[worst]} ticks ({JOINT_NAMES[worst]})", "a loose magnet, or the arm was touched")


def _directions(bus: Bus, calibration: Calibration, clock: Clock, tell: Tell, patience_s: float) -> Check:
    wrong = [words for index in range(6) if (words := _direction(bus, calibration, clock, tell, patience_s, index))]
    return _judge("SK153", not wrong, "each joint's number to change as its joint is turned",
                  "; ".join(wrong) or "all six do",
                  "a joint was not turned, two servos have each other's id, or a servo was built in reversed",
                  "smolkit setup-motors PORT, then smolkit calibrate PORT --out FILE")


def _direction(bus: Bus, calibration: Calibration, clock: Clock, tell: Tell, patience_s: float, index: int) -> str:
    """'' if the joint that was asked for turned the way it was asked; else what happened."""
    begin, end_s, moved = _present_deg(bus, calibration), clock.now_s() + patience_s, np.zeros(6)
    words, sign = WAYS[index]
    tell(f"turn {JOINT_NAMES[index]} {words}, by a hand's width")
    while clock.now_s() < end_s and abs(moved[index]) < TURNED_DEG:
        clock.sleep_until(clock.now_s() + 1 / RATE_HZ)
        moved = _present_deg(bus, calibration) - begin
        other = int(np.argmax(np.abs(moved)))
        if abs(moved[other]) > OTHER_DEG and abs(moved[index]) < STILL_DEG:
            return f"{JOINT_NAMES[other]} moved instead of {JOINT_NAMES[index]}"
    if abs(moved[index]) < TURNED_DEG:
        return f"{JOINT_NAMES[index]} did not move"
    return "" if moved[index] * sign > 0 else f"{JOINT_NAMES[index]} counts the other way"


# -- with torque --------------------------------------------------------------------------------------


def with_torque(arm: Arm, tell: Tell, hold_s: float = 60.0) -> tuple[Check, ...]:
    """Torque on, sag, supply, nudges, play, heat, torque off. Whatever happens, the arm is released in the end."""
    checks: list[Check] = []
    try:
        tell("lift the arm with one hand: upper arm upright, forearm level, gripper half open; hold it there,"
             " also while its torque comes on")
        _wait(arm, 5.0)
        limp = arm.read()
        arm.energize()
        tell("let go slowly and stand back; keep a hand at the power switch")
        _wait(arm, 3.0)
        for check in (_sag, _follows, _play):
            checks.append(check(arm, limp))
        checks += _warm_and_fed(arm, limp, hold_s)
    except SmolkitError as error:
        checks.append(_red("moving checks", error))
    finally:
        tell("take hold of the arm: its torque goes off in 5 s")
        _wait(arm, 5.0)
        checks.append(_off(arm))
    return tuple(checks)


def _wait(arm: Arm, seconds: float) -> None:
    arm.clock.sleep_until(arm.clock.now_s() + seconds)


def _worst(value: np.ndarray) -> str:
    index = int(np.argmax(np.abs(value)))
    return f"{value[index]:+.1f} ({JOINT_NAMES[index]})"


def _sag(arm: Arm, limp: JointState) -> Check:
    moved = (arm.read().pos_deg - limp.pos_deg)[:5]                            # (5,) deg
    return _judge("SK154", np.abs(moved).max() <= SAG_DEG, f"within {SAG_DEG:g} deg",
                  f"{_worst(moved)} deg", "the supply is weak, a horn slips, or the arm was let go too early")


def _go(arm: Arm, goal_deg: np.ndarray) -> np.ndarray:
    """Through the guard to `goal_deg` (6,), or for 4 s; where the arm stands half a second later."""
    end_s = arm.clock.now_s() + 4.0
    while np.abs(arm.command(goal_deg) - goal_deg).max() > 0.1 and arm.clock.now_s() < end_s:
        _wait(arm, 1 / RATE_HZ)
    _wait(arm, 0.5)
    return arm.read().pos_deg


def _follows(arm: Arm, limp: JointState) -> Check:
    """Each joint by itself, toward the middle of its range and back.

    Home is where torque came on, not where the arm hangs now: that would add its sag at every nudge.
    """
    home, wrong = limp.pos_deg, []
    for index, joint in enumerate(JOINT_NAMES):
        before, step = arm.read().pos_deg[index], np.zeros(6)
        step[index] = -np.copysign(NUDGE_DEG, home[index] - (50.0 if index == GRIPPER else 0.0))
        moved = (_go(arm, home + step)[index] - before) / step[index]          # of the nudge
        _go(arm, home)
        if not 0.5 <= moved <= 1.5:
            wrong.append(f"{joint} {moved:.0%}")
    return _judge("SK155", not wrong, f"each joint to go half to one and a half of {NUDGE_DEG:g} deg",
                  ", ".join(wrong) or "all six do",
                  "a blocked joint, a stripped gear, a slipping horn, or too near to the table for the guard")


def _play(arm: Arm, limp: JointState) -> Check:
    """Pan carries no weight: what differs when it comes from the left and from the right is play and friction."""
    home, step = limp.pos_deg, np.eye(6)[0] * NUDGE_DEG
    stands = []
    for side in (-1, 1):
        _go(arm, home + side * step)
        stands.append(_go(arm, home)[0])
    gap = abs(stands[1] - stands[0])
    return _judge("SK156", gap <= PLAY_DEG, f"at most {PLAY_DEG:g} deg between coming from both sides",
                  f"{gap:.1f} deg (shoulder_pan)", "a loose horn screw, a worn gear, a clamp that gives way")


def _warm_and_fed(arm: Arm, limp: JointState, hold_s: float) -> tuple[Check, Check]:
    """A minute of holding: the lowest voltage, and how much warmer the hottest servo got."""
    end_s, least = arm.clock.now_s() + hold_s, np.inf
    while arm.clock.now_s() < end_s:
        _wait(arm, 0.5)
        state = arm.read()
        least = min(least, float(state.voltage_v.min()))
    idle, rise = float(limp.voltage_v.min()), state.temperature_c - limp.temperature_c
    return (_judge("SK157", least >= VOLTAGE_KEPT * idle,
                   f"at least {VOLTAGE_KEPT * idle:.1f} V of {idle:.1f} V", f"{least:.1f} V",
                   "a weak supply or a long thin cable: use 5 V 4 A or more (12 V arms: 5 A)"),
            _judge("SK158", rise.max() <= RISE_C and state.temperature_c.max() < HOT_C,
                   f"at most {RISE_C:g} deg C warmer in {hold_s:g} s, below {HOT_C:g}",
                   f"{_worst(rise)} deg C, hottest {state.temperature_c.max():.0f}",
                   "a joint that rubs, or a pose that loads it too much"))


def _off(arm: Arm) -> Check:
    try:
        arm.release()
    except SmolkitError as error:
        return _red(NAMES["SK159"], error)
    return _judge("SK159", True, "off in all servos", "off in all servos, read back", "")


# -- the sheet ----------------------------------------------------------------------------------------


def not_tried() -> tuple[Check, ...]:
    """The moving checks of a sheet made without `--move`: red, because nobody knows."""
    return tuple(_judge(code, False, "tried on this arm", "not tried", "nobody allowed the arm to move",
                        "clear its reach, then: smolkit doctor PORT --calibration FILE --arm --move")
                 for code in MOVING)


def save_sheet(path: Path, about: dict[str, str], report: Report) -> Path:
    """The sheet as JSON: which arm, when, and every check with what was expected and found."""
    path.write_text(json.dumps({**about, **report.as_dict()}, indent=2, ensure_ascii=False), encoding="utf-8")
    return path
