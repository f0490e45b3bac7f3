"""The guard that every command passes: it admits what is safe and counts what it held back.

    >>> import numpy as np
    >>> envelope = Envelope("standard")
    >>> here = np.array([0, 0, 0, 0, 0, 50.0])
    >>> envelope.admit(here + 0.2, here, 1 / 30).round(2)          # 6 deg/s in all joints: nothing to limit
    array([ 0.2,  0.2,  0.2,  0.2,  0.2, 50.2])
    >>> envelope.admit(here * np.nan, here, 1 / 30).round(2)       # not a number: the last goal stays
    array([ 0.2,  0.2,  0.2,  0.2,  0.2, 50.2])
    >>> print(envelope.report().text())
    envelope standard: 2 actions, 0 limited (0.0 %), 1 rejected
      not finite: 1 times
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.report import SmolkitError

from .limits import FULL_RANGE_DEG, JOINT_DEG, Memory, begin, halt, inner_range, limit
from .profiles import Profile
from .profiles import profile as named

SERVO_SHARE = 1.5                  # of the joints' speed: at 1 a servo that fell behind would never catch up
LOG_LENGTH = 1000                  # half a minute at 30 Hz in which every single action was limited


@dataclass(frozen=True)
class Clip:
    """One action that was not sent as it came: when, why, and how far from the wish at most."""

    moment_s: float                # since the envelope was made, by the time steps it was told
    reasons: tuple[str, ...]
    withheld_deg: float


@dataclass(frozen=True)
class EnvelopeReport:
    """What the envelope did so far; `log` holds the last clips, the counts hold all of them."""

    profile: str
    steps: int
    limited: int
    rejected: int
    by_reason: dict[str, int]
    worst_deg: dict[str, float]    # by reason: the furthest that an admitted goal stayed from its wish
    log: tuple[Clip, ...]

    @property
    def limited_share(self) -> float:
        """Limited actions of all actions, 0..1."""
        return self.limited / max(self.steps, 1)

    def text(self) -> str:
        """The counts, one reason per line."""
        head = (f"envelope {self.profile}: {self.steps} actions, {self.limited} limited "
                f"({100 * self.limited_share:.1f} %), {self.rejected} rejected")
        worst = {name: f", {deg:.1f} deg short at worst" for name, deg in self.worst_deg.items()}
        return "\n".join([head, *(f"  {name}: {count} times{worst.get(name, '')}"
                                  for name, count in self.by_reason.items())])


class Envelope:
    """Limits of a profile for one arm; implements the arm's `Guard`.

    Example:
        >>> here = np.zeros(6) + [0, 0, 0, 0, 0, 50]
        >>> bool(Envelope("beginner").admit(here + 90, here, 1 / 30)[0] < 1.0)     # 30 deg/s, not a jump
        True

    profile: a `Profile` or its name. calibrated_range_deg (2, 6): lowest and highest border pose of this
    arm; without it the mechanical limits of the drawing. Not thread-safe: it belongs to the one thread
    that owns the bus.

    Errors: SK301 wrong shape or type, at once, because that is a mistake in a program. SK302 the third
    unusable action in a row, and from then on until `reset`: a stop latches. SK303 a present pose that
    cannot be, before anything was sent. SK304 a calibrated range without room. SK305 unknown profile.
    """

    def __init__(self, profile: Profile | str = "standard", calibrated_range_deg: np.ndarray | None = None):
        self.profile = self._full_profile = profile if isinstance(profile, Profile) else named(profile)
        self.range_deg = _checked_range(FULL_RANGE_DEG if calibrated_range_deg is None
                                        else calibrated_range_deg, self.profile)
        self.clipped: Clip | None = None           # what was withheld from the latest action, if anything
        self._memory: Memory | None = None
        self._bad_in_a_row = 0
        self._moment_s = 0.0
        self._steps = self._limited = self._rejected = 0
        self._by_reason: Counter[str] = Counter()
        self._worst_deg: dict[str, float] = {}
        self._log: deque[Clip] = deque(maxlen=LOG_LENGTH)

    def reset(self, holding_deg: np.ndarray | None = None) -> None:
        """The next action is a first action, and a latched stop is re-armed. Counts and log stay.

        holding_deg (6,): the goal that the servos hold now, else the last admitted one. Under its weight an
        arm stands a degree or two below that; a first step counted from where it stands would let it drop
        by as much again.
        """
        if holding_deg is not None:
            self._memory = begin(self._vector(holding_deg, "held goal"))
        elif self._memory is not None:
            self._memory = begin(self._memory.goal_deg)
        self._bad_in_a_row = 0

    @property
    def servo_deg_s(self) -> float:
        """A second limit, inside the servos: for goals that came past this guard, and for a servo that catches up."""
        return SERVO_SHARE * self._full_profile.joint_speed_deg_s

    def slow_down(self, share: float) -> None:
        """Speeds of joints and tip become this share (0..1) of the profile's; 1 gives them back."""
        full = self._full_profile
        self.profile = replace(full, joint_speed_deg_s=full.joint_speed_deg_s * share,
                               tip_speed_m_s=full.tip_speed_m_s * share)

    def admit(self, goal_deg: np.ndarray, present_deg: np.ndarray, dt_s: float) -> np.ndarray:
        """What may be sent (6,) for the wished goal (6,), the measured pose (6,) and the time since the last.

        The first goal of all is admitted relative to the present pose. A goal or a measurement that is
        not finite is rejected whole: the last goal stays.
        """
        self._raise_if_latched()
        self.clipped = None
        self._steps += 1
        self._moment_s += float(dt_s) if 0 < dt_s < np.inf else 0.0
        wish, present = self._vector(goal_deg, "goal"), self._vector(present_deg, "present pose")
        where_known = self._plausible(present)
        if self._memory is None:
            self._memory = begin(self._start(present, where_known))
        if not np.isfinite(wish).all():
            return self._reject("not finite")
        if not where_known:
            return self._reject("present pose implausible")
        self._bad_in_a_row = 0
        verdict = limit(wish, present, dt_s, self.profile, self._memory, self.range_deg)
        self._memory = verdict.memory
        self._note(verdict.reasons, verdict.withheld_deg)
        return verdict.goal_deg.copy()

    def report(self) -> EnvelopeReport:
        """Counts since the envelope was made, and the last clips with cause and time."""
        return EnvelopeReport(self.profile.name, self._steps, self._limited, self._rejected,
                              dict(self._by_reason), dict(self._worst_deg), tuple(self._log))

    def _note(self, reasons: tuple[str, ...], withheld_deg: float) -> None:
        if not reasons:
            return
        self._limited += 1
        self._by_reason.update(reasons)
        for name in reasons:
            self._worst_deg[name] = max(self._worst_deg.get(name, 0.0), withheld_deg)
        self.clipped = Clip(self._moment_s, reasons, withheld_deg)
        self._log.append(self.clipped)

    def _reject(self, reason: str) -> np.ndarray:
        self._rejected += 1
        self._bad_in_a_row += 1
        self._by_reason[reason] += 1
        self.clipped = Clip(self._moment_s, (reason,), 0.0)
        self._log.append(self.clipped)
        self._raise_if_latched()
        self._memory = halt(self._memory)
        return self._memory.goal_deg.copy()

    def _raise_if_latched(self) -> None:
        if self._bad_in_a_row >= self.profile.bad_actions:
            last = self._log[-1].reasons[0]
            raise SmolkitError("SK302", "usable actions", f"{self._bad_in_a_row} unusable in a row: {last}",
                               "a policy that diverged, a dead normaliser, or a servo that reads wrong",
                               "look at the actions; then `smolkit doctor PORT`, and energize again")

    def _vector(self, value: np.ndarray, what: str) -> np.ndarray:
        found = _six_numbers(value)
        if found is not None:
            return found
        self._rejected += 1
        self._by_reason["wrong shape or type"] += 1
        self._log.append(Clip(self._moment_s, ("wrong shape or type",), 0.0))
        raise SmolkitError("SK301", f"a {what} of six numbers: five joints in deg and the gripper in %",
                           _sketch(value), "a whole chunk (T, 6) or a batch (1, 6) instead of one action",
                           "send one row; `smolkit.arm.joints.JOINT_NAMES` gives the order")

    def _plausible(self, present: np.ndarray) -> bool:
        slack = self.profile.plausible_deg / JOINT_DEG
        return bool(((present >= self.range_deg[0] - slack) & (present <= self.range_deg[1] + slack)).all())

    def _start(self, present: np.ndarray, where_known: bool) -> np.ndarray:
        if where_known:
            return present
        slack_deg = self.profile.plausible_deg
        raise SmolkitError("SK303", f"an arm within {slack_deg:g} deg of its calibrated range",
                           np.array2string(present, precision=1),
                           "the calibration belongs to another arm, or a servo passed the seam at 4095",
                           "smolkit calibrate PORT --out FILE")


def calibrated_range(calibration: Calibration) -> np.ndarray:
    """A calibration -> lowest and highest border pose (2, 6), what `Envelope` wants.

        >>> from smolkit.arm.calibration import Calibration, MotorCalibration
        >>> arm = Calibration(tuple(MotorCalibration(i, 0, 0, 1000, 3000) for i in range(1, 7)))
        >>> calibrated_range(arm)[:, 0].round(1)
        array([-87.9,  87.9])

    Never wider than the drawing's limits: what an arm reaches beyond them is play, a slipped horn, or, at
    wrist_roll, the full turn that LeRobot writes without asking the arm, which has stops.
    """
    ends = np.stack([calibration.to_pos(calibration.range_min), calibration.to_pos(calibration.range_max)])
    return np.clip(np.sort(ends, axis=0), *FULL_RANGE_DEG)                 # the gripper's ends are 0 and 100 %


def _six_numbers(value: np.ndarray) -> np.ndarray | None:
    """The value as (6,) floats, or None where it is not six real numbers."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):          # ragged lists; tensors that need gradients
        return None
    return array.astype(float) if array.shape == (6,) and array.dtype.kind in "fiu" else None


def _sketch(value: object) -> str:
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", type(value).__name__)
    return f"{kind}" if shape is None else f"{kind} of shape {tuple(shape)}"


def _checked_range(range_deg: np.ndarray, profile: Profile) -> np.ndarray:
    found = np.asarray(range_deg, dtype=float)
    if found.shape == (2, 6) and np.isfinite(found).all():
        lowest, highest = inner_range(found, profile)
        if (lowest < highest).all():
            return found
    raise SmolkitError("SK304", "a calibrated range (2, 6): lowest, highest pose, wider than its margins",
                       np.array2string(found, precision=1),
                       "a joint was not moved during the calibration's sweep", "smolkit calibrate PORT --out FILE")
