"""How one arm's ticks become degrees: its calibration, in LeRobot's file layout and exact arithmetic.

    >>> degrees(np.array([2047, 800]), 800, 3200).round(6)
    array([   4.131868, -105.494505])
    >>> from_degrees(10.0, 800, 3200), float(percent(2047, 800, 3200).round(6)), from_percent(10.0, 800, 3200)
    (2113, 51.958333, 1040)

Body joints are degrees around the middle of their range (with 4095 ticks a turn, not 4096: LeRobot's
number, kept so that datasets agree), the gripper is 0..100. Nothing is clamped in degrees; the guard
does that. Source: LeRobot 0.6.2, executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES, JOINTS, Joint
from smolkit.report import Check, Report, SmolkitError

LEROBOT_TURN = 4095                                # ticks a turn in LeRobot's degrees; truly 4096
RAD_PER_TRUE_TICK = 2 * np.pi / 4096
MAX_OFFSET = 2047                                  # 11 bits of magnitude
LEAST_SPAN = 0.75                                  # of the joint's mechanical range: less is half a sweep
LEAST_TRIGGER = 0.25                               # of it: a leader's handle is a lever that springs back, no jaw
MOST_SPAN = 1.25                                   # of it; real arms reach 1.21 at the gripper
REAL_SPANS = (2739, 2384, 2213, 2372, 3901, 1511)  # tick; one user's SO-101, swept to its stops
FOLLOWER_FOLDERS = ("so_follower", "so101_follower")       # today's name, and the older one
LEADER_FOLDERS = ("so_leader", "so101_leader")


def degrees(ticks: np.ndarray | float, low: int, high: int) -> np.ndarray:
    """Ticks -> degrees around the middle of [low, high]."""
    return (np.asarray(ticks, float) - (low + high) / 2) * 360 / LEROBOT_TURN


def from_degrees(angle_deg: float, low: int, high: int) -> int:
    """Degrees -> ticks, cut toward zero as LeRobot does; not clamped."""
    return int(angle_deg * LEROBOT_TURN / 360 + (low + high) / 2)


def percent(ticks: np.ndarray | float, low: int, high: int, reverse: bool = False) -> np.ndarray:
    """Ticks -> 0..100 of [low, high], clamped; `reverse` (drive_mode 1) counts from the other end."""
    value = (np.clip(ticks, low, high) - low) / (high - low) * 100
    return 100 - value if reverse else value


def from_percent(value: float, low: int, high: int, reverse: bool = False) -> int:
    """0..100 -> ticks of [low, high], clamped."""
    value = min(max(100 - value if reverse else value, 0.0), 100.0)
    return int(value / 100 * (high - low) + low)


def symmetric(ticks: np.ndarray | float, low: int, high: int, reverse: bool = False) -> np.ndarray:
    """Ticks -> -100..100 of [low, high], clamped: how older datasets count body joints."""
    value = (np.clip(ticks, low, high) - low) / (high - low) * 200 - 100
    return -value if reverse else value


def from_symmetric(value: float, low: int, high: int, reverse: bool = False) -> int:
    """-100..100 -> ticks of [low, high], clamped."""
    value = min(max(-value if reverse else value, -100.0), 100.0)
    return int((value + 100) / 200 * (high - low) + low)


@dataclass(frozen=True)
class MotorCalibration:
    """The five integers that LeRobot keeps of each motor."""

    id: int
    drive_mode: int
    homing_offset: int                             # tick, -2047..2047
    range_min: int                                 # tick
    range_max: int                                 # tick


MOTOR_KEYS = tuple(field.name for field in fields(MotorCalibration))


@dataclass(frozen=True)
class Calibration:
    """Six motors in the order of `JOINTS`; converts whole poses.

        >>> arm = Calibration(tuple(MotorCalibration(i, 0, 0, 800, 3200) for i in range(1, 7)))
        >>> arm.to_pos(np.full(6, 2000)).round(3)
        array([ 0.,  0.,  0.,  0.,  0., 50.])
        >>> arm.to_ticks(arm.to_pos(np.full(6, 2100)))
        array([2100, 2100, 2100, 2100, 2100, 2100])
    """

    motors: tuple[MotorCalibration, ...]

    def __post_init__(self) -> None:
        if len(self.motors) != len(JOINTS):
            raise wrong(f"{len(JOINTS)} motors", str(len(self.motors)), "another robot's calibration")
        for name, motor in zip(JOINT_NAMES, self.motors, strict=True):
            _check_motor(name, motor)
        ids = [motor.id for motor in self.motors]
        if len(set(ids)) != len(ids):
            raise wrong("six different servo ids", str(ids), "two motors were given the same id")
        low, high = self._column("range_min"), self._column("range_max")       # (6,) tick
        object.__setattr__(self, "range_min", low)
        object.__setattr__(self, "range_max", high)
        object.__setattr__(self, "_middle", (low + high) / 2)

    def _column(self, key: str) -> np.ndarray:
        return np.array([getattr(motor, key) for motor in self.motors])

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(motor.id for motor in self.motors)

    def to_pos(self, ticks: np.ndarray) -> np.ndarray:
        """Ticks (6,) -> border pose (6,): body deg, gripper %."""
        pos_deg = (ticks - self._middle) * 360 / LEROBOT_TURN
        pos_deg[GRIPPER] = percent(ticks[GRIPPER], *self._jaw)
        return pos_deg

    def to_ticks(self, pos_deg: np.ndarray) -> np.ndarray:
        """Border pose (6,) -> ticks (6,) int, cut toward zero; the body's are not clamped."""
        ticks = np.trunc(pos_deg * LEROBOT_TURN / 360 + self._middle)
        ticks[GRIPPER] = from_percent(float(pos_deg[GRIPPER]), *self._jaw)
        return ticks.astype(int)

    def to_rate(self, ticks_s: np.ndarray) -> np.ndarray:
        """Speeds (6,) in ticks/s -> deg/s, gripper %/s."""
        rate = ticks_s * 360 / LEROBOT_TURN
        low, high, reverse = self._jaw
        rate[GRIPPER] = ticks_s[GRIPPER] * 100 / (high - low) * (-1 if reverse else 1)
        return rate

    @property
    def _jaw(self) -> tuple[int, int, bool]:
        jaw = self.motors[GRIPPER]
        return jaw.range_min, jaw.range_max, bool(jaw.drive_mode)

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that differ from arm to arm: ids, offsets and ranges, which the servos hold, too."""
        return fingerprint([m.id, m.homing_offset, m.range_min, m.range_max] for m in self.motors)

    def as_dict(self) -> dict[str, dict[str, int]]:
        return {name: asdict(motor) for name, motor in zip(JOINT_NAMES, self.motors, strict=True)}

    def save(self, path: str | Path) -> Path:
        """Writes LeRobot's JSON (indent 4), all or nothing."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".part")
        draft.write_text(json.dumps(self.as_dict(), indent=4), encoding="utf-8")
        os.replace(draft, path)
        return path

    @staticmethod
    def from_dict(table: Mapping[str, Any]) -> Calibration:
        """LeRobot's layout: motor name -> five integers. Raises SK121 where it is not that."""
        if not isinstance(table, Mapping) or set(table) != set(JOINT_NAMES):
            found = sorted(table) if isinstance(table, Mapping) else type(table).__name__
            raise wrong(f"the motors {', '.join(JOINT_NAMES)}", str(found),
                        "a motor is missing, or it is another robot's file")
        return Calibration(tuple(_motor(name, table[name]) for name in JOINT_NAMES))

    @staticmethod
    def load(path: str | Path, role: str = "") -> Calibration:
        """Reads a calibration file; raises SK120 (unreadable), SK121 or SK122 (not plausible).

        role: "follower" or "leader", whose trigger goes less far than a jaw; not given, the folder's name tells.
        """
        try:
            table = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SmolkitError("SK120", f"a calibration file at {path}", f"{type(error).__name__}: {error}",
                               "the arm was never calibrated on this computer, or the file is damaged",
                               "smolkit calibrate PORT --out FILE") from error
        calibration = Calibration.from_dict(table)
        calibration.check_sweep(role or ("leader" if Path(path).parent.name in LEADER_FOLDERS else "follower"))
        return calibration

    def check_sweep(self, role: str = "follower") -> None:
        """Raises SK122 where a joint's range is far from what the joint's mechanics allow; see `sweep_report`."""
        sweep_report(self.range_max - self.range_min, role).raise_if_red()


def sweep_report(span: np.ndarray, role: str = "follower") -> Report:
    """Spans (6,) in ticks, compared with the drawing's and with those of a real arm.

    Too wide is as wrong as half: the middle, which is zero degrees, would be somewhere else. wrist_roll
    may be given a whole turn instead of being swept.

        >>> print(sweep_report(np.array([2739, 2384, 1000, 2372, 4095, 1511])).red()[0].line())
        ✗ SK122 elbow_flex: found 1000 ticks (88 deg), expected 1653 to 2754 ticks (145 to 242 deg); a real arm: 2213
    """
    return Report("ranges", tuple(_span_check(joint, int(ticks), real, role)
                                  for joint, ticks, real in zip(JOINTS, span, REAL_SPANS, strict=True)))


def _span_check(joint: Joint, span: int, real: int, role: str) -> Check:
    drawn = (joint.upper_rad - joint.lower_rad) / RAD_PER_TRUE_TICK
    trigger = role == "leader" and joint is JOINTS[GRIPPER]
    least = (LEAST_TRIGGER if trigger else LEAST_SPAN) * drawn
    most = 4095 if joint.name == "wrist_roll" else MOST_SPAN * drawn
    cause = ("the joint was not moved from stop to stop while its range was recorded" if span < least else
             "a loose horn slipped during the sweep, a missing stop, or the file was edited by hand")
    return Check("SK122", joint.name, least <= span <= most,
                 f"{least:.0f} to {most:.0f} ticks ({_deg(least)} to {_deg(most)} deg); a real arm: {real}",
                 f"{span} ticks ({_deg(span)} deg)", cause, "smolkit calibrate PORT --out FILE")


def _deg(ticks: float) -> int:
    return round(ticks * 360 / 4096)


def fingerprint(rows: Iterable[list[int]]) -> str:
    """Of rows (id, homing offset, range_min, range_max), one for each motor."""
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()[:8]


def wrong(expected: str, found: str, cause: str) -> SmolkitError:
    """SK121: a calibration that cannot be this arm's."""
    return SmolkitError("SK121", f"in the calibration: {expected}", found, cause, "smolkit calibrate PORT --out FILE")


def _motor(name: str, entry: Any) -> MotorCalibration:
    if not isinstance(entry, Mapping) or set(entry) != set(MOTOR_KEYS):
        found = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
        raise wrong(f"exactly {', '.join(MOTOR_KEYS)} for {name}", str(found), "the file was edited by hand")
    return MotorCalibration(**entry)


def _check_motor(name: str, motor: MotorCalibration) -> None:
    for key in MOTOR_KEYS:
        value = getattr(motor, key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(f"a whole number for {name} {key}", repr(value), "the file was edited by hand")
    if not 1 <= motor.id <= 253:
        raise wrong(f"an id in 1..253 for {name}", str(motor.id), "the file was edited by hand")
    if motor.drive_mode not in (0, 1):
        raise wrong(f"drive_mode 0 or 1 for {name}", str(motor.drive_mode), "the file was edited by hand")
    if abs(motor.homing_offset) > MAX_OFFSET:
        raise wrong(f"{name} homing_offset within +-{MAX_OFFSET}", str(motor.homing_offset),
                    "the servo sat at its 0/4095 seam when the middle was set")
    if not 0 <= motor.range_min < motor.range_max <= 4095:
        raise wrong(f"{name} with 0 <= range_min < range_max <= 4095",
                    f"{motor.range_min}..{motor.range_max}", "the sweep was not recorded or crossed the seam")


def calibration_root() -> Path:
    """LeRobot's calibration folder on this computer, as its environment variables have it."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    lerobot = Path(os.environ.get("HF_LEROBOT_HOME", home / "lerobot"))
    return Path(os.environ.get("HF_LEROBOT_CALIBRATION", lerobot / "calibration"))


def default_paths(arm_id: str, role: str = "follower", root: Path | None = None) -> tuple[Path, ...]:
    """Where LeRobot keeps the file of `arm_id` under `root`: today's folder first, then the older name.

        >>> [path.as_posix() for path in default_paths("blue", "leader", Path("calibration"))]
        ['calibration/teleoperators/so_leader/blue.json', 'calibration/teleoperators/so101_leader/blue.json']
    """
    if not arm_id or Path(arm_id).name != arm_id or arm_id.startswith("."):
        raise SmolkitError("SK129", "an arm's name that can name a file", repr(arm_id),
                           "a path, or a dot in front", "use letters, digits, _ and -: my_follower")
    kind, folders = {"follower": ("robots", FOLLOWER_FOLDERS),
                     "leader": ("teleoperators", LEADER_FOLDERS)}[role]
    root = calibration_root() if root is None else root
    return tuple(root / kind / folder / f"{arm_id}.json" for folder in folders)


def find(arm_id: str, role: str = "follower", root: Path | None = None) -> Calibration:
    """The calibration of `arm_id` from LeRobot's folders; raises SK120 naming where it looked."""
    paths = default_paths(arm_id, role, root)
    return Calibration.load(next((path for path in paths if path.exists()), paths[0]), role)
