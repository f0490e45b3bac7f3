"""Is the arm well? Judged from every measurement, without touching anything.

    >>> from smolkit.arm import fake
    >>> with fake.arm() as arm:
    ...     monitor = Monitor()
    ...     monitor.look(arm.read(), goal_deg=None, now_s=0.0)
    ()

Pure but for its memory of how long something has lasted. A name that `look` returns is a key of
`states.STOPS`; what to do about it is the supervisor's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from smolkit.arm import registers
from smolkit.arm.arm_type import TYPES, ArmType
from smolkit.arm.joints import GRIPPER, JOINT_NAMES, UPPER_RAD
from smolkit.arm.so101 import JointState

from .states import Trip

SMALL = TYPES["7.4V"]
CLOCKS_S = 0.05                    # a picture from the future has its time from another clock


@dataclass(frozen=True)
class Limits:
    """When to stop. Every number has a unit in its name; the sources stand beside them."""

    warm_c: float = 55.0           # users report smoke near 70, where the servo itself would cut
    hot_c: float = 60.0
    too_hot_c: float = 65.0
    least_v: float = 4.3           # 0.86 of 5 V, above the servo's own limit of 4.0
    least_12v: float = 10.0
    low_voltage_s: float = 0.2     # a sag under a start of six motors is shorter
    # An error that does not shrink, at a torque near the cap (the body's is 0.6 of stall). The guard lets no tip
    # run further ahead than about 4 cm, 5 deg at arm's length; 3 deg for 0.5 s stopped a demonstration in 120.
    blocked_deg: float = 4.5
    blocked_load: float = 0.55
    blocked_deg_s: float = 5.0
    blocked_s: float = 0.6
    leap_deg_s: float = 600.0      # twice what a servo does without load
    same_frames: int = 10          # identical pictures in a row: one second at 10 Hz
    action_age_s: float = 0.3      # from the picture to the goal
    action_gap_s: float = 0.5      # between goals of a policy
    far_deg: float = 25.0          # no path that began here leads within 3 deg of zero at once
    small_goals: int = 30          # a second of them
    unheard: int = 15              # goals in a row, half a second; where every second one is lost, about twice an hour
    heartbeat_s: float = 0.5
    answer_gap_s: float = 0.1
    unanswered: int = 3            # cycles, where they fail faster than that
    late_cycle_s: float = 0.1      # a cycle that takes three
    late_cycles: int = 5           # in a row


LIMITS = Limits()


class Monitor:
    """Looks at each `JointState` of an arm of that kind; `reset` forgets what it was watching, at every arming."""

    def __init__(self, limits: Limits = LIMITS, kind: ArmType = SMALL):
        self.limits, self.kind = limits, kind
        self.reset()

    def reset(self) -> None:
        """Forgets the past: after a re-arm nothing has lasted yet."""
        self._since: dict[str, float] = {}
        self._last: JointState | None = None
        self._digests: dict[str, tuple[str, int]] = {}
        self._observed_s: float | None = None
        self._late = 0
        self._small: list[np.ndarray] = []

    def look(self, state: JointState, goal_deg: np.ndarray | None, now_s: float) -> tuple[Trip, ...]:
        """What is wrong with this measurement; `goal_deg` (6,) is what the servos were told, None when limp."""
        found = {"too hot": self._heat(state, self.limits.too_hot_c) or self._bits(state, registers.HOT),
                 "hot": self._heat(state, self.limits.hot_c), "warm": self._heat(state, self.limits.warm_c),
                 "over-voltage": _joints(self._fed_too_high(state), state.voltage_v, "{:.1f} V"),
                 "low voltage": self._voltage(state, now_s),
                 "overload": self._overload(state),
                 "angle sensor": self._bits(state, registers.ANGLE),
                 "leap": self._leap(state),
                 "blocked": "" if goal_deg is None else self._blocked(state, goal_deg, now_s)}
        self._last = state
        heat = next((name for name in ("too hot", "hot", "warm") if found[name]), "")
        return tuple(Trip(name, words, now_s) for name, words in found.items()
                     if words and (name == heat or name not in ("too hot", "hot", "warm")))

    def pictures(self, observed_s: float | None, digests: Mapping[str, str], now_s: float) -> tuple[Trip, ...]:
        """When the pictures (role -> digest) behind a goal were taken, None for a goal by hand: old ones trip."""
        stale = observed_s is not None and not -CLOCKS_S <= now_s - observed_s <= self.limits.action_age_s
        age = f"{now_s - observed_s:.2f} s old" if stale and now_s >= observed_s else "of another clock"
        trips = (Trip("stale action", f"a picture {age}", now_s),) if stale else ()
        if observed_s is None or observed_s != self._observed_s:       # several goals may come of one picture
            trips += self.frames(digests, now_s)
        self._observed_s = observed_s
        return trips

    def frames(self, digests: Mapping[str, str], now_s: float) -> tuple[Trip, ...]:
        """Camera role -> digest of the picture a goal was made from; a camera that repeats itself trips."""
        for role, digest in digests.items():
            before, count = self._digests.get(role, ("", 0))
            self._digests[role] = (digest, count + 1 if digest == before else 1)
        stuck = [f"{role}: {count} times the same picture" for role, (_, count) in self._digests.items()
                 if count >= self.limits.same_frames]
        return (Trip("frozen frames", "; ".join(stuck), now_s),) if stuck else ()

    def goals(self, goal_deg: np.ndarray, pos_deg: np.ndarray, now_s: float) -> tuple[Trip, ...]:
        """Wished goals (6,) and where the arm stands: does somebody speak in radians?

        Six joints that move only within what six angles in radians can be, for a second, of an arm that stood far
        from there. One goal near zero, sent again and again, is a person who sends the arm home. Percent cannot be
        told from degrees this way: a joint reaches about 100 of either; `smolkit.deploy` looks at the statistics.
        """
        most = np.append(np.full(GRIPPER, np.pi), UPPER_RAD[GRIPPER])
        if not (np.abs(goal_deg) <= most).all():
            self._small.clear()
        elif self._small or np.abs(pos_deg[:GRIPPER]).max() > self.limits.far_deg:
            self._small.append(np.array(goal_deg, float))
        if len(self._small) < self.limits.small_goals:
            return ()
        apart = np.ptp(self._small, axis=0)
        self._small.clear()
        found = f"{self.limits.small_goals} goals in a row within +-3.2"
        return (Trip("other units", found, now_s),) if (apart > 1e-6).any() else ()

    def unheard(self, in_a_row: np.ndarray, now_s: float) -> tuple[Trip, ...]:
        """How many goals in a row (6,) each servo has not taken: one may be lost, not half a second of them."""
        found = _joints(in_a_row >= self.limits.unheard, in_a_row, "{:.0f} goals in a row not taken")
        return (Trip("deaf servo", found, now_s),) if found else ()

    def cycle(self, took_s: float, now_s: float) -> tuple[Trip, ...]:
        """How long the last cycle took: late ones in a row trip."""
        self._late = self._late + 1 if took_s > self.limits.late_cycle_s else 0
        if self._late < self.limits.late_cycles:
            return ()
        return (Trip("late cycles", f"{self._late} in a row, the last took {took_s:.2f} s", now_s),)

    # -- one look each: words where something is wrong, else '' ------------------------------------------

    def _heat(self, state: JointState, limit_c: float) -> str:
        return _joints(state.temperature_c >= limit_c, state.temperature_c, "{:.0f} deg C")

    def _bits(self, state: JointState, mask: int) -> str:
        flagged = (state.error_bits & mask) != 0
        return "; ".join(f"{JOINT_NAMES[i]}: {', '.join(registers.error_names(int(state.error_bits[i])))}"
                         for i in np.flatnonzero(flagged))

    def _overload(self, state: JointState) -> str:
        """A gripper that holds something overloads by design: it goes on at a fifth of its torque by itself."""
        body = replace(state, error_bits=np.where(np.arange(6) == GRIPPER, 0, state.error_bits))
        return self._bits(body, registers.OVERLOAD | registers.CURRENT)

    def _fed_too_high(self, state: JointState) -> np.ndarray:
        """(6,) bool. A servo's voltage bit says "outside", the measurement on which side."""
        return (state.error_bits & registers.VOLTAGE != 0) & (state.voltage_v > np.mean(self.kind.supply_v))

    def _voltage(self, state: JointState, now_s: float) -> str:
        least_v = self.limits.least_v if self.kind is SMALL else self.limits.least_12v
        flagged = state.error_bits & registers.VOLTAGE != 0
        low = (flagged | (state.voltage_v < least_v)) & ~self._fed_too_high(state)
        return _joints(low, state.voltage_v, "{:.1f} V") if self._lasts("low", low.any(), now_s,
                                                                        self.limits.low_voltage_s) else ""

    def _leap(self, state: JointState) -> str:
        if self._last is None or state.captured_s <= self._last.captured_s:
            return ""
        moved_deg = np.abs(state.pos_deg - self._last.pos_deg)
        most_deg = self.limits.leap_deg_s * (state.captured_s - self._last.captured_s) + 5.0
        return _joints(moved_deg > most_deg, moved_deg, "{:.0f} deg between two readings")

    def _blocked(self, state: JointState, goal_deg: np.ndarray, now_s: float) -> str:
        """A gripper that holds a cube is meant to be blocked; the servo's own cap protects it."""
        error_deg, limits = np.abs(goal_deg - state.pos_deg), self.limits
        stuck = ((error_deg > limits.blocked_deg) & (np.abs(state.load) >= limits.blocked_load)
                 & (np.abs(state.vel_deg_s) < limits.blocked_deg_s))
        stuck[GRIPPER] = False
        lasting = [self._lasts(f"blocked {i}", bool(stuck[i]), now_s, limits.blocked_s) for i in range(6)]
        return _joints(np.array(lasting), error_deg, "{:.1f} deg short, at its torque cap")

    def _lasts(self, what: str, now: bool, now_s: float, long_s: float) -> bool:
        if not now:
            self._since.pop(what, None)
            return False
        return now_s - self._since.setdefault(what, now_s) >= long_s


def _joints(which: np.ndarray, values: np.ndarray, words: str) -> str:
    return "; ".join(f"{JOINT_NAMES[i]}: {words.format(values[i])}" for i in np.flatnonzero(which))
