"""Every calibration that an arm ever had, and what changed from one to the next, in degrees.

    >>> from dataclasses import replace
    >>> old = Calibration(tuple(MotorCalibration(i, 0, 0, 800, 3200) for i in range(1, 7)))
    >>> bent = replace(old.motors[2], homing_offset=196)
    >>> print(diff(old, Calibration((*old.motors[:2], bent, *old.motors[3:]))).text())
    elbow_flex: zero moved by +17.2 deg

`keep` writes LeRobot's file and, beside it, a sidecar with its fingerprint and a folder with dated copies:
`blue.json`, `blue.sidecar.json`, `blue.history/2026-11-21T040506Z_1f2e3d4c.json`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from smolkit.arm.calibration import Calibration, MotorCalibration
from smolkit.arm.joints import JOINT_NAMES
from smolkit.report import Check, SmolkitError

DEG_PER_TICK = 360 / 4096
NOTABLE_DEG = 2.0                                  # calibrating twice with care differs by less


@dataclass(frozen=True)
class JointChange:
    """How one joint's degrees changed their meaning: where zero is, and how far the joint was swept."""

    joint: str
    zero_deg: float
    range_deg: float

    def line(self) -> str:
        """The change in words; '' where there is none worth a word."""
        words = [f"{what} {value:+.1f} deg" for what, value in
                 (("zero moved by", self.zero_deg), ("range wider by", self.range_deg)) if abs(value) >= NOTABLE_DEG]
        return f"{self.joint}: {', '.join(words)}" if words else ""


@dataclass(frozen=True)
class Diff:
    """All six joints, older calibration to newer."""

    joints: tuple[JointChange, ...]

    def text(self) -> str:
        """One line for each joint that changed by 2 deg or more."""
        lines = [line for joint in self.joints if (line := joint.line())]
        return "\n".join(lines) or f"no joint changed by {NOTABLE_DEG:g} deg or more"


def diff(older: Calibration, newer: Calibration) -> Diff:
    """What a pose's numbers mean now: +17 deg of zero means that the same number is 17 deg further round."""
    return Diff(tuple(_change(name, a, b) for name, a, b in
                      zip(JOINT_NAMES, older.motors, newer.motors, strict=True)))


def _change(joint: str, older: MotorCalibration, newer: MotorCalibration) -> JointChange:
    zero = (_zero_ticks(newer) - _zero_ticks(older) + 2048) % 4096 - 2048
    wider = (newer.range_max - newer.range_min) - (older.range_max - older.range_min)
    return JointChange(joint, round(zero * DEG_PER_TICK, 2), round(wider * DEG_PER_TICK, 2))


def _zero_ticks(motor: MotorCalibration) -> float:
    """Where the shaft stands at the middle of its range, in ticks that know no offset."""
    return motor.homing_offset + (motor.range_min + motor.range_max) / 2


def keep(calibration: Calibration, path: Path, moment: datetime | None = None) -> Path:
    """Saves `calibration` at `path`, its sidecar and a dated copy. `moment` is now unless told.

    What stood at `path` before, LeRobot's file or a damaged one, goes to the history: nothing is lost.
    """
    _adopt(path)
    stamp = _stamp(moment or datetime.now(UTC))
    calibration.save(_folder(path) / f"{stamp}_{calibration.fingerprint}.json")
    sidecar = {"fingerprint": calibration.fingerprint, "saved": stamp}
    _sidecar(path).write_text(json.dumps(sidecar, indent=4), encoding="utf-8")
    return calibration.save(path)


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H%M%SZ}"


def _adopt(path: Path) -> None:
    if not path.exists():
        return
    try:
        name = f"{Calibration.load(path).fingerprint}.json"
    except SmolkitError:
        name = "damaged"
    if not any(copy.name.endswith(name) for copy in kept(path)):
        _folder(path).mkdir(exist_ok=True)
        stamp = _stamp(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        shutil.copyfile(path, _folder(path) / f"{stamp}_{name}")


def kept(path: Path) -> tuple[Path, ...]:
    """The dated copies of the calibration at `path`, oldest first."""
    return tuple(sorted(_folder(path).glob("*.json")))


def check_file(path: Path) -> Check:
    """SK128, red: the file is no longer what was saved. A file without a sidecar is LeRobot's, and believed."""
    found = Calibration.load(path).fingerprint
    try:
        saved = json.loads(_sidecar(path).read_text(encoding="utf-8"))["fingerprint"]
    except FileNotFoundError:
        saved = found
    except (OSError, ValueError, KeyError, TypeError) as error:
        saved = f"unreadable ({type(error).__name__})"
    return Check("SK128", "calibration file", saved == found, f"fingerprint {saved}, as it was saved", found,
                 "the file was edited, or another arm's was copied over it",
                 f"take the newest copy in {_folder(path).name}, or run: smolkit calibrate PORT --out FILE")


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.stem}.sidecar.json")


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.stem}.history")
