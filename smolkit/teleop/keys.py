"""Keyboard and gamepad at the wheel: what is pressed becomes a speed, nothing pressed is a stop at once.

    >>> pilot = KeyPilot("standard", mode="joint")
    >>> arm = np.array([0, 0, 0, 0, 0, 50.0])                       # deg, gripper %
    >>> goal = pilot(Observation(arm, captured_s=0.0))
    >>> pilot.press({"KeyT"})                                       # wrist_roll, 0.8 of the guard's 90 deg/s
    >>> pilot(Observation(arm, captured_s=0.1)).goal_deg.round(1) + 0.0
    array([ 0. ,  0. ,  0. ,  0. ,  7.2, 50. ])
    >>> pilot.press(set())
    >>> pilot(Observation(arm, captured_s=0.2)).goal_deg.round(1) + 0.0      # back to near the arm, and stays
    array([ 0.,  0.,  0.,  0.,  5., 50.])

No library reads a device here: a widget, or a test, reports what is pressed. It must go on reporting, at
least every `STALE_S`: a page that froze with a key down would drive the arm on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES
from smolkit.cameras.camera import Observation
from smolkit.report import SmolkitError
from smolkit.safety.limits import FULL_RANGE_DEG, JOINT_DEG
from smolkit.safety.profiles import Profile
from smolkit.teleop.cartesian import TOOL_AXES, jog, within_tip_speed
from smolkit.teleop.held import HeldGoal
from smolkit.teleop.loop import Decision

AXES = {"joint": JOINT_NAMES, "cartesian": TOOL_AXES}
STALE_S = 0.5
TURN_SHARE = 0.5                           # of the joint speed, for pitch and roll: the wrist is quick to look at

# Key -> (axis, direction), named by its place on a US keyboard (a browser's `event.code`), so that the same
# fingers drive on AZERTY and QWERTZ. Joints: a key raises, the one below it lowers, from left to right.
KEYS: dict[str, dict[str, tuple[int, int]]] = {
    "joint": {**{f"Key{key}": (axis, +1) for axis, key in enumerate("QWERTY")},
              **{f"Key{key}": (axis, -1) for axis, key in enumerate("ASDFGH")}},
    "cartesian": {"KeyW": (0, +1), "KeyS": (0, -1),                 # forward, back
                  "KeyA": (1, +1), "KeyD": (1, -1),                 # left, right
                  "KeyR": (2, +1), "KeyF": (2, -1),                 # up, down
                  "KeyT": (3, -1), "KeyG": (3, +1),                 # nose up, nose down
                  "KeyQ": (4, -1), "KeyE": (4, +1),                 # roll
                  "KeyY": (5, +1), "KeyH": (5, -1)}}                # open, close
SLOW_KEYS, SLOW = frozenset({"ShiftLeft", "ShiftRight"}), 0.25
MODE_KEY = "KeyM"

# (what, its number) -> (axis, direction), in the order of browsers' "standard" gamepad. A stick's second axis
# grows downward. In joint mode left stick, right stick, cross and triggers move pan, lift, roll, elbow, wrist, jaw.
PAD: dict[str, dict[tuple[str, int], tuple[int, int]]] = {
    "joint": {("axis", 0): (0, +1), ("axis", 1): (1, -1), ("axis", 2): (4, +1), ("axis", 3): (2, +1),
              ("button", 12): (3, -1), ("button", 13): (3, +1), ("button", 7): (5, +1), ("button", 6): (5, -1)},
    "cartesian": {("axis", 0): (1, -1), ("axis", 1): (0, -1), ("axis", 2): (4, +1), ("axis", 3): (2, -1),
                  ("button", 12): (3, -1), ("button", 13): (3, +1), ("button", 7): (5, +1), ("button", 6): (5, -1)}}
DEAD_MAN_BUTTONS = (4, 5)                  # either shoulder button, held
MODE_BUTTON = 9                            # "start"
DEAD_ZONE = 0.15                           # worn sticks rest up to here


def key_table(mode: str) -> list[tuple[str, str, str]]:
    """(axis, key that raises it, key that lowers it) of a mode, for a help text.

        >>> key_table("cartesian")[2]
        ('z', 'KeyR', 'KeyF')
    """
    key_of = {target: key for key, target in KEYS[mode].items()}
    return [(name, key_of[axis, +1], key_of[axis, -1]) for axis, name in enumerate(AXES[mode])]


class Pilot:
    """Six wished speeds in -1..1 (`AXES` of the mode) become goals. `KeyPilot` and `GamepadPilot` fill them in."""

    def __init__(self, profile: Profile | str = "standard", range_deg: np.ndarray = FULL_RANGE_DEG,
                 mode: str = "cartesian"):
        if mode not in AXES:
            raise SmolkitError("SK355", f"a mode: {', '.join(AXES)}", repr(mode), "the name is misspelled",
                               'mode="joint" or mode="cartesian"')
        self.mode, self._held = mode, HeldGoal(profile, range_deg)
        self._stick, self._heard_s, self._news = np.zeros(6), -np.inf, False

    def __call__(self, seen: Observation) -> Decision:
        dt_s, held = self._held.begin(seen), self._held
        if held.started_anew:              # what was reported before a pause may be long over: a held key comes again
            self._heard_s, self._news = -np.inf, False
        if self._news:
            self._heard_s, self._news = seen.captured_s, False
        stick = self._stick if 0.0 <= seen.captured_s - self._heard_s <= STALE_S else np.zeros(6)
        return Decision(held.move(self._step(stick, dt_s), seen.state_deg))

    def _step(self, stick: np.ndarray, dt_s: float) -> np.ndarray:
        """Speeds (6,) in -1..1 -> step of the goal (6,)."""
        held = self._held
        if self.mode == "joint":
            step_deg = stick * held.joint_speed_deg_s * dt_s / JOINT_DEG
        else:
            turn_deg_s = TURN_SHARE * held.joint_speed_deg_s
            fastest = [*[held.tip_speed_m_s] * 3, turn_deg_s, turn_deg_s, held.joint_speed_deg_s / JOINT_DEG[GRIPPER]]
            goal_deg = jog(held.goal_deg, stick * fastest, dt_s, held.limits_deg, held.joint_speed_deg_s)
            step_deg = goal_deg - held.goal_deg
        return within_tip_speed(held.goal_deg, step_deg, held.tip_speed_m_s * dt_s)

    def _report(self, stick: np.ndarray, switch_mode: bool) -> None:
        if switch_mode:
            self.mode = "joint" if self.mode == "cartesian" else "cartesian"
        self._stick, self._news = stick, True


class KeyPilot(Pilot):
    """Drives by keys: `press` hands in the whole set that is down now. Opposite keys cancel, others do nothing."""

    _down: frozenset[str] = frozenset()

    def press(self, keys: Iterable[str]) -> None:
        """All keys that are down at this moment; an empty set stops the arm."""
        keys = frozenset(keys)
        switch_mode, self._down = MODE_KEY in keys - self._down, keys
        stick = np.zeros(6)
        for axis, direction in (KEYS[self.mode][key] for key in keys & KEYS[self.mode].keys()):
            stick[axis] += direction
        self._report(np.zeros(6) if switch_mode else stick * (SLOW if keys & SLOW_KEYS else 1.0), switch_mode)


class GamepadPilot(Pilot):
    """Drives by sticks while a shoulder button is held; `report` hands in what the browser reads."""

    _start_down = False

    def report(self, axes: Sequence[float], buttons: Sequence[float]) -> None:
        """Axes in -1..1 and buttons in 0..1, in the browser's order. A pad that reports nonsense stops the arm."""
        axes, buttons = np.asarray(axes, float), np.asarray(buttons, float)
        pressed = [number < len(buttons) and bool(buttons[number] > 0.5) for number in (*DEAD_MAN_BUTTONS, MODE_BUTTON)]
        switch_mode, self._start_down = pressed[-1] and not self._start_down, pressed[-1]
        held = any(pressed[:-1]) and np.isfinite(axes).all() and np.isfinite(buttons).all()
        self._report(self._read(axes, buttons) if held and not switch_mode else np.zeros(6), switch_mode)

    def _read(self, axes: np.ndarray, buttons: np.ndarray) -> np.ndarray:
        stick = np.zeros(6)
        for (what, number), (axis, direction) in PAD[self.mode].items():
            values = axes if what == "axis" else buttons
            if number < len(values):
                stick[axis] += direction * beyond_dead_zone(float(values[number]))
        return np.clip(stick, -1.0, 1.0)


def beyond_dead_zone(value: float) -> float:
    """-1..1 with rest around zero, and no jump at its edge.

        >>> beyond_dead_zone(0.1), beyond_dead_zone(-1.0), round(beyond_dead_zone(0.575), 3)
        (0.0, -1.0, 0.5)
    """
    beyond = (min(abs(value), 1.0) - DEAD_ZONE) / (1.0 - DEAD_ZONE)
    return float(np.copysign(beyond, value)) if beyond > 0 else 0.0
