"""A recorded arm: the registers of six servos over time, answered through the same packets as a living arm's.

    recorded = RecordedServos("datasets/servo_calibration")
    bus = Bus(connect(recorded))
    recorded.seek("elbow_flex")                    # where the tape shows the elbow, swept from stop to stop
    bus.read(3, registers.PRESENT_POSITION)

Driver, doctor and calibration run on it unchanged. Settings that are written (offsets, limits, ids) are kept
in memory, and positions follow a new offset, as a servo's would; a goal or torque is refused with SK144:
nobody can move an arm of yesterday.

A recording is a folder: `servos.json` (the settings of each servo by name, and `marks`, the named stretches in
seconds), `telemetry.csv.gz` (a row per moment: seconds, then for each joint the registers of `MEASURED`).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smolkit.arm import registers
from smolkit.arm.emulator import ServoBus
from smolkit.arm.joints import JOINT_NAMES
from smolkit.arm.plant import PlantState
from smolkit.arm.registers import Register
from smolkit.arm.shafts import TICK_S, Shafts
from smolkit.clock import Clock
from smolkit.report import SmolkitError

MEASURED = (registers.PRESENT_POSITION, registers.PRESENT_VELOCITY, registers.PRESENT_LOAD, registers.PRESENT_VOLTAGE,
            registers.PRESENT_TEMPERATURE, registers.STATUS, registers.PRESENT_CURRENT)
BY_NAME = {register.name: register for register in registers.TABLE}
SETTINGS, TELEMETRY = "servos.json", "telemetry.csv.gz"


@dataclass(frozen=True)
class Recording:
    """A register log as it lies on disk; `save` and `load` are inverse."""

    settings: tuple[Mapping[str, int], ...]        # of each servo, in the order of JOINTS: register name -> value
    marks: Mapping[str, tuple[float, float]]       # s, s
    time_s: np.ndarray                             # (N,) rising
    measured: np.ndarray                           # (N, 6, len(MEASURED)) int, in the registers' units

    def save(self, folder: str | Path) -> Path:
        """Writes both files; the same recording gives the same bytes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table = {"servos": dict(zip(JOINT_NAMES, map(dict, self.settings), strict=True)),
                 "marks": {name: list(span) for name, span in self.marks.items()}}
        (folder / SETTINGS).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        rows = [",".join([f"{time_s:.3f}", *map(str, row.ravel())])
                for time_s, row in zip(self.time_s, self.measured, strict=True)]
        text = "\n".join([",".join(_columns()), *rows, ""])
        (folder / TELEMETRY).write_bytes(gzip.compress(text.encode(), mtime=0))
        return folder

    @staticmethod
    def load(folder: str | Path) -> Recording:
        """Reads a recording; raises SK143 where it is none."""
        folder = Path(folder)
        try:
            table = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            head, *rows = gzip.decompress((folder / TELEMETRY).read_bytes()).decode().splitlines()
            numbers = np.array([row.split(",") for row in rows], float)        # (N, 1 + 6 * len(MEASURED))
            if head.split(",") != _columns() or not len(rows) or (np.diff(numbers[:, 0]) <= 0).any():
                raise ValueError("other columns than those of a recording, no rows, or times that go back")
            return Recording(tuple(table["servos"][name] for name in JOINT_NAMES),
                             {name: (float(a), float(b)) for name, (a, b) in table["marks"].items()},
                             numbers[:, 0], numbers[:, 1:].astype(int).reshape(len(rows), 6, len(MEASURED)))
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SmolkitError("SK143", f"a register recording in {folder.name}", f"{type(error).__name__}: {error}",
                               "the folder is incomplete, or its files were edited",
                               "fetch the course's datasets/ folder again") from error


def _columns() -> list[str]:
    return ["time_s", *(f"{name}.{register.name}" for name in JOINT_NAMES for register in MEASURED)]


class RecordedServos(ServoBus):
    """A `ServoBus` whose shafts play a recording. It stands still at one moment until `seek` or `play`."""

    def __init__(self, folder: str | Path):
        super().__init__(_Still())
        self.recording = Recording.load(folder)
        self._begin(_Tape(self.recording))
        self._clock: Clock | None = None
        self._start_s = 0.0

    @property
    def seconds(self) -> float:
        """The recording's length."""
        return float(self.recording.time_s[-1])

    def span(self, mark: str) -> tuple[float, float]:
        """Begin and end (s) of a named stretch; raises SK145 for an unknown name."""
        marks = self.recording.marks
        if mark not in marks:
            raise SmolkitError("SK145", f"one of the stretches {', '.join(marks)}", repr(mark), "a misspelled name",
                               "choose one of those")
        return marks[mark]

    def seek(self, moment: float | str) -> None:
        """To a moment (s), or to the begin of a named stretch."""
        self._clock = None
        self.advance_to(self.span(moment)[0] if isinstance(moment, str) else moment)

    def play(self, clock: Clock, mark: str | None = None) -> None:
        """From the begin, or from that of a stretch, on with `clock`; at its end the tape stands."""
        self._start_s = clock.now_s() - (self.span(mark)[0] if mark else 0.0)
        self._clock = clock

    def handle(self, request: bytes) -> bytes:
        """The answer of the tape's present moment."""
        if self._clock is not None:
            self.advance_to(self._clock.now_s() - self._start_s)
        return super().handle(request)

    def hand_pose(self, angle_rad: np.ndarray) -> None:
        """Refused with SK144: what was recorded has happened."""
        raise _past("a hand that moves the arm")


class _Still:
    """What a recording has instead of physics."""

    def state(self) -> PlantState:
        return PlantState(np.zeros(6), np.zeros(6), np.zeros(6))

    def drive(self, goal_rad: np.ndarray, torque_on: np.ndarray, torque_limit: np.ndarray) -> None:
        """Nothing follows a goal here."""

    def advance_to(self, moment_s: float) -> None:
        """Time is the tape's."""


class _Tape(Shafts):
    """Six register tables whose measured part comes from a recording."""

    def __init__(self, recording: Recording):
        self._recording, self._row = recording, 0
        super().__init__(_Still(), np.zeros(6), 5.0, False)
        for index, settings in enumerate(recording.settings):
            for name, value in settings.items():
                self.servos[index].preset(BY_NAME[name], value)
        self._recorded_offset = [servo.get(registers.HOMING_OFFSET) for servo in self.servos]
        self.power_cycle(range(len(self.servos)))

    def advance_to(self, moment_s: float) -> None:
        """The row that was measured last at that moment; it may also lie before the present one."""
        self.tick = int(max(moment_s, 0.0) / TICK_S)
        self._row = max(int(np.searchsorted(self._recording.time_s, moment_s + 1e-9, side="right")) - 1, 0)
        self.telemetry_fresh = False

    def _present(self) -> np.ndarray:
        """Positions (6,), as each servo shows them with the offset that it has now."""
        recorded = self._recording.measured[self._row, :, 0]
        moved = [old - servo.get(registers.HOMING_OFFSET)
                 for old, servo in zip(getattr(self, "_recorded_offset", [0] * 6), self.servos, strict=True)]
        return (recorded + moved) % registers.TICKS_PER_TURN

    def error(self, index: int) -> int:
        """The recorded error byte, and what a fault adds."""
        return int(self._recording.measured[self._row, index, MEASURED.index(registers.STATUS)]) \
            | self.forced_errors.get(index + 1, 0)

    def refresh_telemetry(self) -> None:
        """Registers 56..70 of every servo from the row."""
        for servo, position, values in zip(self.servos, self._present(), self._recording.measured[self._row],
                                           strict=True):
            for register, value in zip(MEASURED, (position, *values[1:]), strict=True):
                servo.show(register, int(value))
        self.telemetry_fresh = True

    def store(self, index: int, address: int, data: bytes) -> None:
        """Settings are kept in memory; torque and goals raise SK144."""
        if any(_touches(register, address, data) for register in (registers.TORQUE_ENABLE, registers.GOAL_POSITION)):
            raise _past("torque or a goal")
        super().store(index, address, data)


def _touches(register: Register, address: int, data: bytes) -> bool:
    """Whether a write puts something into a register; torque off changes nothing."""
    part = data[max(register.address - address, 0):max(register.address + register.size - address, 0)]
    return any(part) if register is registers.TORQUE_ENABLE else bool(part)


def _past(what: str) -> SmolkitError:
    return SmolkitError("SK144", "an arm that can move", f"{what}, sent to a recording",
                        "this is the recorded lane: what was recorded has happened",
                        'set LANE = "sim" in the lesson\'s first cell, or LANE = "real" with an arm on the desk')
