"""The commands that lead an arm from a terminal: `smolkit teleop` and `smolkit mirror`.

    smolkit teleop                                          # a simulated bench, by keys
    smolkit teleop kit.toml --leader /dev/ttyACM1 --leader-calibration leader.json --record red_cube --task "..."
    smolkit mirror /dev/ttyACM1 /dev/ttyACM0 --leader-calibration leader.json --follower-calibration arm.json
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from smolkit.arm.calibration import Calibration
from smolkit.arm.find import port_named
from smolkit.arm.mirror import mirror_report
from smolkit.cameras.camera import Observation
from smolkit.clock import SteppedClock, WallClock
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.envelope import calibrated_range
from smolkit.safety.states import State
from smolkit.teleop.keys import KeyPilot, key_table
from smolkit.teleop.leader import LeaderActor, LeaderArm
from smolkit.teleop.loop import Actor, Decision, Pace, Step, run_episode
from smolkit.teleop.terminal import HeldKeys, Terminal, WindowsTerminal, terminal

CLUTCH, AGAIN, END = "KeyC", "n", "x"
KEEP, DROP = set("\n\r"), set("\x7f\b")           # ENTER, BACKSPACE
WAIT_S, ASK_S = 0.05, 30.0
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
            provenance={"kit": kit_file.name if kit_file else "a simulated bench", "profile": kit.arm.profile,
                        "led by": "a leader arm" if leader else "keys"},
            cameras=[camera.role for camera in kit.cameras.values()])) if record else None
        typer.echo(_help(pilot, recorder))
        leading = Leading(kit, pilot, keys, typed, recorder)
        leading.run(seconds, hz)
        leading.go_home()


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


class Takes:
    """The episodes of a person who types: ENTER begins one and keeps it, BACKSPACE throws it away.

    None is lost in silence: what could not be saved waits, and grows no further.
    """

    def __init__(self, recorder: Recorder | None, say: Callable[[str], None]):
        self._recorder, self._say = recorder, say
        self.wanted = self._growing = False        # to be saved; between `begin` and that wish

    @property
    def frames(self) -> int:
        """Of an episode that is neither kept nor thrown away."""
        return self._recorder.frames if self._recorder is not None else 0

    def hear(self, text: str, begins: bool = True) -> None:
        """Does what was typed; saving is left to `keep`."""
        if self._recorder is None:
            return
        if KEEP & set(text):
            self.wanted = self._recorder.recording
            if begins and not self.wanted:
                self._recorder.begin()
                self._growing = True
                self._say(f"recording episode {self._recorder.episodes}: {self._recorder.task}")
        elif DROP & set(text) and self._recorder.recording:
            self.drop()

    def add(self, step: Step) -> None:
        """A step of the loop, if an episode grows."""
        if self._growing:
            self._recorder.add(step)

    def keep(self) -> None:
        """Saves if that is wanted; between two runs of the loop, since it takes longer than the guard waits."""
        if not self.wanted:
            return
        self.wanted = self._growing = False
        try:
            self._say(f"kept as episode {self._recorder.save()}")
        except SmolkitError as error:
            self._say(f"{error}\n{self.frames} frames wait: ENTER tries again, BACKSPACE throws them away")

    def spoil(self) -> None:
        """The arm was stopped: what grows is no demonstration; what was over before is one."""
        self.keep()
        if self._growing:
            self.drop()

    def drop(self) -> None:
        """Throws it away."""
        self.wanted = self._growing = False
        self._say(f"thrown away: {self._recorder.discard()} frames")


class Leading:
    """A person at a terminal leads an arm: letters move, the space bar stops, ENTER records, X ends."""

    def __init__(self, kit: Kit, pilot: Actor, keys: HeldKeys, typed: Terminal | WindowsTerminal,
                 recorder: Recorder | None = None, say: Callable[[str], None] = typer.echo):
        self._kit, self._pilot, self._keys, self._typed = kit, pilot, keys, typed
        self._takes, self._say = Takes(recorder, say), say
        self._over, self._again, self._turn = False, False, None
        self._status = ""

    def run(self, seconds: float, hz: int = 10) -> None:
        """Until somebody ends it, or the time is over; then it asks about the episode that is left."""
        try:
            self._lead(seconds, hz)
            self._ask()
        finally:
            if self._takes.frames:                 # Ctrl-C
                self._takes.drop()

    def go_home(self) -> None:
        """The arm parks, and the space bar still stops it; then it stands until a person lets it go on."""
        arm = self._kit.arm
        while not isinstance(self._kit.clock, SteppedClock) and arm.state.powered:
            self._say("it parks; SPACE stops it")
            self._aside(self._park)
            if arm.state is not State.HOLD:
                return
            self._say(f"it stands; {AGAIN.upper()}: it parks")
            while arm.state is State.HOLD and AGAIN not in self._heard().lower():
                continue

    def _aside(self, work: Callable[[], None]) -> None:
        """Does what takes the arm a while, and hears the space bar meanwhile."""
        if isinstance(self._kit.clock, SteppedClock):
            return work()
        pool = ThreadPoolExecutor(1)
        doing = pool.submit(work)
        pool.shutdown(wait=False)                  # a Ctrl-C waits for nobody
        while not doing.done():
            self._heard()
        return doing.result()

    def _park(self) -> None:
        try:
            self._kit.arm.park()
        except SmolkitError as error:
            self._say(str(error))

    def _lead(self, seconds: float, hz: int) -> None:
        clock, pace = self._kit.clock, Pace(hz, max(30, hz))
        end_s = clock.now_s() + seconds
        while not self._over and clock.now_s() < end_s:
            try:
                self._energize()
                for step in run_episode(self._kit, self._decide, end_s - clock.now_s(), pace,
                                        finished=lambda: self._over or self._takes.wanted, by_hand=True):
                    self._takes.add(step)
            except SmolkitError as error:
                self._stopped(error)
            self._takes.keep()

    def _ask(self) -> None:
        """Silence keeps an episode; where it cannot be saved it waits for a person."""
        clock, takes = self._kit.clock, self._takes
        end_s = clock.now_s() + ASK_S
        if takes.frames:
            self._say(f"{takes.frames} frames are neither kept nor thrown away. ENTER: keep them. BACKSPACE: throw "
                      f"them away. In {ASK_S:g} s they are kept")
        while takes.frames:
            takes.hear(self._heard(), begins=False)
            if clock.now_s() > end_s:
                takes.wanted, end_s = True, float("inf")
            takes.keep()

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
            return self._stop()
        self._keys.typed(text)
        self._over |= END in text.lower()
        return self._takes.hear(text, begins=not self._over)

    def _energize(self) -> None:
        if self._again or not self._kit.arm.state.powered:
            rearm, self._again = self._again, False
            self._aside(lambda: self._kit.arm.energize(rearm, self._turn))

    def _stopped(self, error: SmolkitError) -> None:
        """Says why, drops the episode, and waits until a person lets it go on or ends."""
        self._say(str(error))
        self._seen()
        self._takes.spoil()
        self._say(f"{AGAIN.upper()}: go on, when the cause is gone. {END.upper()}: end. SPACE stops it when it parks.")
        while not (self._over or self._again):
            text = self._heard().lower()
            self._over, self._again = END in text, AGAIN in text
            self._takes.hear(text, begins=False)
            self._takes.keep()

    def _heard(self) -> str:
        """What was typed while nobody leads: the arm may move all the same, so a stop comes first here, too."""
        self._kit.clock.sleep_until(self._kit.clock.now_s() + WAIT_S)
        text = self._typed.read()
        if " " not in text:
            return text
        try:
            self._stop()
        except SmolkitError as error:                  # the guardian is gone, say: the arm's power is the last switch
            self._say(str(error))
        return ""

    def _stop(self) -> None:
        self._kit.arm.hold("the space bar", lets_go=False)                 # it repeats while it is held
        self._seen()

    def _seen(self) -> None:
        """A stop that comes after this one is not the one that a person lets the arm go on from."""
        try:
            self._turn = self._kit.arm.turn
        except SmolkitError as error:                  # the guardian is gone
            self._say(str(error))


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
