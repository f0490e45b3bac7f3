"""The commands that lead an arm from a terminal: `smolkit teleop` and `smolkit mirror`.

    smolkit teleop                                          # a simulated bench, by keys
    smolkit teleop kit.toml --leader /dev/ttyACM1 --leader-calibration leader.json --record red_cube --task "..."
    smolkit mirror /dev/ttyACM1 /dev/ttyACM0 --leader-calibration leader.json --follower-calibration arm.json
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import typer

from smolkit.arm.calibration import Calibration
from smolkit.arm.find import port_named
from smolkit.arm.mirror import mirror_report
from smolkit.cameras.camera import Observation
from smolkit.clock import WallClock
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.envelope import calibrated_range
from smolkit.teleop.keys import KeyPilot, key_table
from smolkit.teleop.leader import LeaderActor, LeaderArm
from smolkit.teleop.loop import Actor, Decision, Pace, run_episode
from smolkit.teleop.terminal import HeldKeys, terminal

CLUTCH, AGAIN, END = "KeyC", "n", "x"
WAIT_S = 0.05
KitFile = Annotated[Path | None, typer.Argument(help="a kit file; none: a simulated bench")]
LeaderPort = Annotated[str | None, typer.Option(help="a leader arm's port; none: the keys")]
LeaderFile = Annotated[Path | None, typer.Option(help="the leader's calibration file")]


def teleop(kit_file: KitFile = None, leader: LeaderPort = None, leader_calibration: LeaderFile = None,
           record: Annotated[Path | None, typer.Option(help="the dataset's folder; it is continued")] = None,
           task: Annotated[str, typer.Option(help="the instruction, as you will say it to the policy")] = "",
           seconds: Annotated[float, typer.Option(help="ends by itself after this")] = 1800.0,
           hz: Annotated[int, typer.Option(help="decisions, and recorded frames, a second")] = 10) -> None:
    """Leads the arm by keys or by a leader, and records what you keep. The space bar stops, always."""
    if record and not task.strip():
        raise SmolkitError("SK805", "--task with --record", "no instruction", "an option is missing",
                           'smolkit teleop --record red_cube --task "put the red cube into the box"')
    with ExitStack() as stack:
        typed = stack.enter_context(terminal())
        kit = stack.enter_context(Kit.open(kit_file) if kit_file else Kit.sim("tour", wall_clock=True))
        keys = HeldKeys(kit.clock)
        pilot = _pilot(stack, kit, keys, leader, leader_calibration)
        recorder = stack.enter_context(Recorder(
            record, fps=hz, task=task, calibration=kit.arm.calibration,
            cameras=[camera.role for camera in kit.cameras.values()])) if record else None
        typer.echo(_help(pilot, recorder))
        Leading(kit, pilot, keys, typed, recorder).run(seconds, hz)


def mirror(leader: Annotated[str, typer.Argument(help="the leader's port")],
           follower: Annotated[str, typer.Argument(help="the follower's port")],
           leader_calibration: Annotated[Path, typer.Option(help="the leader's calibration file")],
           follower_calibration: Annotated[Path, typer.Option(help="the follower's calibration file")],
           poses: Annotated[int, typer.Option(min=1, help="to compare; two tell an offset from a turned joint")] = 2,
           hold_s: Annotated[float, typer.Option(help="seconds to bring both into a pose")] = 15.0) -> None:
    """Do leader and follower mean the same degrees? Both limp, moved by hand into the same pose; nothing is written."""
    clock, seen = WallClock(), []
    with (LeaderArm(port_named(leader), Calibration.load(leader_calibration), clock) as one,
          LeaderArm(port_named(follower), Calibration.load(follower_calibration), clock) as other):
        for number in range(1, poses + 1):
            typer.echo(f"pose {number} of {poses}: bring both limp arms into the same pose"
                       f"{', far from the last one' if number > 1 else ''}. {hold_s:g} s, then hold still.")
            clock.sleep_until(clock.now_s() + hold_s)
            seen.append((one.read().pos_deg, other.read().pos_deg))
    report = mirror_report(*(np.array(arm) for arm in zip(*seen, strict=True)))
    typer.echo(report.text())
    raise typer.Exit(0 if report.ok else 1)


class Typed(Protocol):
    """Where characters come from."""

    def read(self) -> str: ...


class Leading:
    """A person at a terminal leads an arm: letters move, the space bar stops, ENTER records, X ends."""

    def __init__(self, kit: Kit, pilot: Actor, keys: HeldKeys, typed: Typed, recorder: Recorder | None = None,
                 say: Callable[[str], None] = typer.echo):
        self._kit, self._pilot, self._keys, self._typed = kit, pilot, keys, typed
        self._recorder, self._say = recorder, say
        self._over = self._save = self._again = False
        self._status = ""

    def run(self, seconds: float, hz: int = 10) -> None:
        """Until somebody ends it, or the time is over."""
        clock, pace = self._kit.clock, Pace(hz, max(30, hz))
        end_s = clock.now_s() + seconds
        while not self._over and clock.now_s() < end_s:
            try:
                self._energize()
                for step in run_episode(self._kit, self._decide, end_s - clock.now_s(), pace,
                                        finished=lambda: self._over or self._save, by_hand=True):
                    if self._recorder is not None:
                        self._recorder.add(step)
            except SmolkitError as error:
                self._stopped(error)
            self._keep()

    def _decide(self, seen: Observation) -> Decision:
        self._obey(self._typed.read())
        if isinstance(self._pilot, KeyPilot):
            self._pilot.press(self._keys.down())
        decision, status = self._pilot(seen), getattr(self._pilot, "status", "")
        if status != self._status:
            self._say(status)
            self._status = status
        return decision

    def _obey(self, text: str) -> None:
        """Stops first; what else was typed together with a stop is for another time."""
        if " " in text:
            return self._kit.arm.hold("the space bar", lets_go=False)      # it repeats while it is held
        self._keys.typed(text)
        self._over |= END in text.lower()
        if self._recorder is None:
            return None
        if "\n" in text or "\r" in text:
            self._begin_or_save()
        elif ("\x7f" in text or "\b" in text) and self._recorder.recording:
            self._say(f"thrown away: {self._recorder.discard()} frames")
        return None

    def _begin_or_save(self) -> None:
        if self._recorder.recording:
            self._save = True              # between two runs of the loop: it takes longer than the guard waits
        else:
            self._recorder.begin()
            self._say(f"recording episode {self._recorder.episodes}: {self._recorder.task}")

    def _keep(self) -> None:
        if self._save:
            self._say(f"kept as episode {self._recorder.save()}")
        self._save = False

    def _energize(self) -> None:
        if self._again or not self._kit.arm.state.powered:
            rearm, self._again = self._again, False
            self._kit.arm.energize(rearm=rearm)

    def _stopped(self, error: SmolkitError) -> None:
        """Says why, drops the episode, and waits until a person lets it go on or ends."""
        self._say(str(error))
        if self._recorder is not None and self._recorder.recording:
            self._say(f"thrown away: {self._recorder.discard()} frames")
        self._say(f"{AGAIN.upper()}: go on, when the cause is gone. {END.upper()}: end.")
        while not self._over:
            text = self._typed.read().lower()
            self._over, self._again = END in text, AGAIN in text
            if self._again:
                return
            self._kit.clock.sleep_until(self._kit.clock.now_s() + WAIT_S)


def _pilot(stack: ExitStack, kit: Kit, keys: HeldKeys, port: str | None, calibration: Path | None) -> Actor:
    range_deg, profile = calibrated_range(kit.arm.calibration), kit.arm.profile
    if (port is None) != (calibration is None):
        raise SmolkitError("SK805", "--leader PORT together with --leader-calibration FILE", "one of them",
                           "an option is missing", "smolkit teleop kit.toml --leader PORT --leader-calibration FILE")
    if port is None:
        return KeyPilot(profile, range_deg)
    arm = stack.enter_context(LeaderArm(port_named(port), Calibration.load(calibration), kit.clock))
    return LeaderActor(arm, lambda: CLUTCH in keys.down(), profile, range_deg)


def _help(pilot: Actor, recorder: Recorder | None) -> str:
    """What every key does, in a few lines."""
    if isinstance(pilot, KeyPilot):
        keys = ", ".join(f"{name} {plus[-1]}/{minus[-1]}" for name, plus, minus in key_table(pilot.mode))
        lines = [f"hold a letter to move: {keys}; M: joints in place of the tip"]
    else:
        lines = ["hold C, the clutch: the follower goes along with the leader"]
    if recorder is not None:
        lines.append(f"ENTER: begin an episode, keep it. BACKSPACE: throw it away. {recorder.episodes} are there")
    return "\n".join([*lines, "SPACE: stop. X: end; the arm parks and lets go"])
