"""What an arm does when the notebook's kernel is killed: tried with a process that is killed, and measured.

    death = kill_on_a_bench()                      # 10 s of wall time
    death.stands_after_s, death.limp_after_s                   # from the guardian's own incident log

The victim is a child process (`teleop_victim`) that owns the arm through a guardian, as this notebook does. It gets
SIGKILL, which no program can catch. We look on as a watcher: one that may read and stop, but does not own the arm.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from smolkit.arm.joints import JOINT_NAMES
from smolkit.clock import WallClock
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm
from smolkit.safety.incidents import Incident, read_incidents
from smolkit.safety.states import State
from smolkit.sim.plant import Plant

ALIVE_S, PATIENCE_S, LOOK_S = 2.0, 45.0, 0.04


@dataclass(frozen=True)
class Death:
    """All times in seconds since the kill."""

    time_s: np.ndarray                             # (N,)
    pos_deg: np.ndarray                            # (N, 6) body deg, gripper %
    entries: tuple[Incident, ...]                  # of the guardian's log

    def _first(self, state: State) -> float:
        return next((e.moment_s for e in self.entries if e.moment_s > 0 and e.state == state), float("nan"))

    @property
    def stands_after_s(self) -> float:
        """Until the guardian held the arm."""
        return self._first(State.HOLD)

    @property
    def parks_after_s(self) -> float:
        """Until it began to go home."""
        return self._first(State.PARKING)

    @property
    def limp_after_s(self) -> float:
        """Until the torque was off."""
        return self._first(State.OFF)

    @property
    def drift_deg(self) -> float:
        """How far any joint moved while it was held."""
        held = (self.time_s > self.stands_after_s + 0.3) & (self.time_s < self.parks_after_s)
        return float(np.ptp(self.pos_deg[held], axis=0).max()) if held.any() else float("nan")

    def text(self) -> str:
        """The guardian's log of it, one incident a line."""
        return "\n".join(f"{e.moment_s:6.2f} s  {e.state:8} {e.code:5} {e.words.split('; likely')[0]}"
                         for e in self.entries if e.kind != "limited")

    def save(self, folder: Path) -> None:
        """`joints.csv` and `incidents.jsonl`."""
        folder.mkdir(parents=True, exist_ok=True)
        table = np.column_stack([self.time_s, self.pos_deg])
        np.savetxt(folder / "joints.csv", table, "%.3f", ",", header=",".join(("time_s", *JOINT_NAMES)), comments="")
        lines = [json.dumps(asdict(entry), ensure_ascii=False) for entry in self.entries]
        (folder / "incidents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Death:
        """What `save` wrote."""
        table = np.loadtxt(folder / "joints.csv", delimiter=",", skiprows=1)
        return cls(table[:, 0], table[:, 1:], tuple(read_incidents(folder / "incidents.jsonl")))


def kill_on_a_bench() -> Death:
    """Starts the victim on a simulated bench of its own, lets it move for two seconds, kills it, and looks on.

    Errors: SK823 where the victim did not start to move.
    """
    with (Plant.start("tour", 1, name=f"victim of {os.getpid()}") as plant,
          TemporaryDirectory(prefix="smolkit-") as folder):
        log, arm = Path(folder) / "incidents.jsonl", plant.calibration.save(Path(folder) / "arm.json")
        words = Path(folder) / "words.txt"         # no pipe: its guardian would hold that open, if it hangs for ever
        with words.open("w", encoding="utf-8") as told:
            victim = subprocess.Popen(
                [sys.executable, "-m", "smolkit.lessons.teleop_victim", plant.port, str(arm), str(log)],
                stdout=subprocess.PIPE, stderr=told, text=True)
        try:
            if victim.stdout.readline().strip() != "moving":
                found = words.read_text(encoding="utf-8")[-500:].strip()
                raise SmolkitError("SK823", "a victim that moves the arm", found,
                                   "the port is in use, or the computer is overloaded", "close other kits, try again")
            rows, kill_s = _look_on(plant.port, victim)
        finally:
            victim.kill()
            victim.communicate()
        entries = tuple(replace(e, moment_s=round(e.moment_s - kill_s, 3)) for e in read_incidents(log))
    return Death(rows[:, 0] - kill_s, rows[:, 1:], entries)


def _look_on(port: str, victim: subprocess.Popen) -> tuple[np.ndarray, float]:
    """(N, 7) moment and joints until the arm is limp, and the moment of the kill."""
    clock, rows, kill_s = WallClock(), [], float("inf")
    watcher = GuardedArm.watch(port)
    begin_s = clock.now_s()
    try:
        while watcher.state.powered and clock.now_s() < begin_s + PATIENCE_S:
            seen = watcher.read()
            rows.append([seen.captured_s, *seen.pos_deg])
            if kill_s == float("inf") and clock.now_s() > begin_s + ALIVE_S:
                kill_s = clock.now_s()
                victim.kill()
            clock.sleep_until(clock.now_s() + LOOK_S)
    finally:
        watcher.close()
        os.kill(watcher.pid, signal.SIGTERM)       # nobody owns it any more: it ends at once, not after ten seconds
    return np.array(rows), kill_s
