"""The leader arm at the wheel: a hand moves it, the follower goes along while the clutch is held.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.emulator import connect
    >>> from smolkit.clock import SteppedClock
    >>> servos, clock = fake.servos(seed=4), SteppedClock()
    >>> with LeaderArm(connect(servos), fake.calibrated(servos), clock) as leader:
    ...     servos.hand_pose(np.deg2rad([10, 0, 0, 0, 0, 45]))
    ...     print(leader.read().pos_deg.round() + 0.0)
    [10.  0.  0.  0.  0. 50.]

Nothing here writes to the leader's servos. The follower does not jump: clutching in is refused until both
arms stand alike, and what difference is left fades within a second or more. The follower stands still when
the leader is lost or jumps, and stays so until the clutch is released and pressed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.configure import check_calibration, check_voltage, require_servos
from smolkit.arm.joints import GRIPPER, JOINT_NAMES
from smolkit.cameras.camera import Observation
from smolkit.clock import Clock, WallClock
from smolkit.report import Check, SmolkitError
from smolkit.safety.limits import FULL_RANGE_DEG, JOINT_DEG
from smolkit.safety.profiles import Profile
from smolkit.teleop.held import HeldGoal
from smolkit.teleop.loop import Decision

ALIGN_DEG = 15.0                           # an eye sees so much; what is left fades in over a second
JUMP_DEG = 40.0                            # between two looks 0.1 s apart; quick hands make 35 (350 deg/s)
OLDEST_S = 0.1                             # of a reading that may move the follower


@dataclass(frozen=True)
class LeaderReading:
    """Where the hand holds the leader; the servos measured after `asked_s`, so its age is never understated."""

    pos_deg: np.ndarray                    # (6,) body deg, gripper % of the leader's own range
    asked_s: float


class LeaderArm:
    """Six limp servos that are only read. `port` and `calibration` are the leader's own.

    Raises SK101 (a servo is silent), SK102/SK103 (port), SK108 (model), SK109 (calibration of another arm),
    SK110 (voltage), SK350 (torque is on). The port is free again when it raises.
    """

    def __init__(self, port: str | Any, calibration: Calibration, clock: Clock | None = None, **timing: float):
        self.calibration, self.clock = calibration, clock if clock is not None else WallClock()
        self._wire = Bus(port, **timing)
        try:
            require_servos(self._wire, calibration.ids)
            check_voltage(self._wire, calibration.ids)
            check_calibration(self._wire, calibration)
            self.torque_check().raise_if_red()
        except BaseException:
            self._wire.close()
            raise

    def torque_check(self) -> Check:
        """Green when all servos are limp: a hand must not fight against motors."""
        torque = self._wire.sync_read(registers.TORQUE_ENABLE, self.calibration.ids)
        on = [JOINT_NAMES[index] for index, value in enumerate(torque.values()) if value]
        return Check("SK350", "leader's torque", not on, "off in all six", f"on in {', '.join(on) or 'none'}",
                     "a program left it on, or this port is the follower's",
                     "hold the arm, then switch its supply off and on; `smolkit find-port` tells which is which")

    def read(self) -> LeaderReading:
        """One sync read of the six positions. Raises SK101 to SK106 where the leader does not answer."""
        asked_s = self.clock.now_s()
        ticks = self._wire.sync_read(registers.PRESENT_POSITION, self.calibration.ids)
        return LeaderReading(self.calibration.to_pos(np.array(list(ticks.values()), float)), asked_s)

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> LeaderArm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Phase(Enum):
    """What the follower does with the leader's moves; the value is what a widget shows."""

    RELEASED = "clutch released, the follower stands"
    ALIGNING = "the arms stand too differently, the follower waits"
    FOLLOWING = "following"
    FROZEN = "frozen: release the clutch and press it again"


class LeaderActor:
    """Sends the leader's pose while `clutch()` is True (a key or a pedal, held), else the last goal.

    Args:
        leader: on the same clock as the observations.
        clutch: asked at every decision; True while it is held down.
        profile, range_deg: of the follower's guard; a goal never leaves that range, (2, 6).
        align_deg: largest difference of any joint at which the clutch takes; None takes at any, slowly.
    """

    def __init__(self, leader: LeaderArm, clutch: Callable[[], bool], profile: Profile | str = "standard",
                 range_deg: np.ndarray = FULL_RANGE_DEG, *, align_deg: float | None = ALIGN_DEG):
        self.leader, self.align_deg = leader, align_deg
        self.phase, self.trouble = Phase.RELEASED, None
        self.reading: LeaderReading | None = None          # the last good one
        self._clutch, self._held = clutch, HeldGoal(profile, range_deg)
        self._offset, self._since_s, self._fade_s = np.zeros(6), 0.0, 1.0

    def __call__(self, seen: Observation) -> Decision:
        self._held.begin(seen)
        trouble = self._look()
        self.phase = self._next_phase(trouble)
        if self.phase is Phase.ALIGNING and not self.misaligned():
            self._start_fading(seen.captured_s)
        if self.phase is Phase.FOLLOWING:
            left = max(0.0, 1.0 - (seen.captured_s - self._since_s) / self._fade_s)
            self._held.goal_deg = self._held.inside(self.reading.pos_deg + left * self._offset)
        return Decision(self._held.goal_deg.copy())

    @property
    def status(self) -> str:
        """One or two lines for a widget: the phase and, where something must be done, what."""
        if self.trouble is not None:
            return f"{self.phase.value}\n{self.trouble.text()}"
        turns = ", ".join(f"{name} by {by:+.0f} {'%' if name == JOINT_NAMES[GRIPPER] else 'deg'}"
                          for name, by in self.misaligned().items())
        if self.phase is Phase.FOLLOWING or not turns:
            return self.phase.value
        return f"{self.phase.value}\nmove the leader's {turns}"

    def misaligned(self) -> dict[str, float]:
        """How far to move the leader, deg or gripper %, for each joint that stands too differently."""
        if self.reading is None or self.align_deg is None:
            return {}
        gap = self._held.goal_deg - self.reading.pos_deg                         # (6,)
        return {name: float(by) for name, by, unit in zip(JOINT_NAMES, gap, JOINT_DEG, strict=True)
                if abs(by) * unit > self.align_deg}

    def _next_phase(self, trouble: Check | None) -> Phase:
        if not self._clutch():
            self.trouble = trouble
            return Phase.RELEASED
        if self.phase is Phase.FROZEN:
            return Phase.FROZEN
        if self.phase is Phase.RELEASED and trouble is None:
            trouble = self._limp()
        self.trouble = trouble
        if trouble is not None:
            return Phase.FROZEN
        # After a pause the follower may stand elsewhere: the clutch takes anew.
        return Phase.FOLLOWING if self.phase is Phase.FOLLOWING and not self._held.started_anew else Phase.ALIGNING

    def _start_fading(self, now_s: float) -> None:
        profile = self._held.profile
        self._offset = self._held.goal_deg - self.reading.pos_deg
        slow_deg_s = min(profile.ramp_speed_deg_s, profile.joint_speed_deg_s)
        self._since_s, self.phase = now_s, Phase.FOLLOWING
        self._fade_s = max(profile.ramp_s, float(np.abs(self._offset * JOINT_DEG).max()) / slow_deg_s)

    def _look(self) -> Check | None:
        """Reads the leader; a red check where it may not be followed."""
        before = self.reading
        try:
            reading = self.leader.read()
        except SmolkitError as error:
            return _lost(f"{error.code}: {error.found}", error.cause, error.next_step)
        age_s = self.leader.clock.now_s() - reading.asked_s
        if age_s > OLDEST_S:
            return _lost(f"{1000 * age_s:.0f} ms old", "this computer or the leader's port is overloaded",
                         "close other programs")
        self.reading = reading
        return _jump(before.pos_deg, reading.pos_deg) if before is not None else None

    def _limp(self) -> Check | None:
        try:
            check = self.leader.torque_check()
        except SmolkitError as error:
            return _lost(f"{error.code}: {error.found}", error.cause, error.next_step)
        return None if check.ok else check


def _lost(found: str, cause: str, next_step: str) -> Check:
    return Check("SK352", "leader reading", False, f"at most {1000 * OLDEST_S:.0f} ms old", found, cause,
                 f"{next_step}; then release the clutch and press it again")


def _jump(before_deg: np.ndarray, now_deg: np.ndarray) -> Check | None:
    """Red where a body joint moved further than a hand does. A trigger runs its whole range at once; it may."""
    step = np.abs(now_deg - before_deg)[:GRIPPER]
    if step.max() <= JUMP_DEG:
        return None
    return Check("SK353", "leader step", False, f"at most {JUMP_DEG:g} deg between two readings",
                 f"{JOINT_NAMES[int(step.argmax())]} {step.max():.0f} deg",
                 "the leader was dropped or knocked, or a servo reads wrong",
                 "hold the leader like the follower, then release the clutch and press it again")
