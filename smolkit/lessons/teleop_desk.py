"""What lesson 03 finds on the desk, in each lane: an arm behind a guardian, people who lead it, a recorder.

    desk = open_desk("sim")
    desk.kit.arm, desk.lead("keys"), desk.kill_a_kernel(), desk.demonstrate(scene=0)

`sim`: a simulated bench in wall time (plant, guardian and this notebook are three processes); whatever needs many
minutes of demonstrating runs in stepped time. `recorded`: the shipped sessions; only the guard is
tried live, on emulated servos without physics. `real`: your arm, by
your kit file; the emulated people stay on the emulated bench, and what moves your arm asks for `may_move`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from smolkit.arm import fake
from smolkit.arm.calibration import Calibration
from smolkit.arm.joints import JOINT_NAMES
from smolkit.cameras.camera import Observation
from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.lessons import teleop_hunt, teleop_ways
from smolkit.lessons.lane import dataset, outputs
from smolkit.lessons.teleop_death import Death, kill_on_a_bench
from smolkit.lessons.teleop_hunt import PACE, Session, session_of
from smolkit.lessons.teleop_ways import Led
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm
from smolkit.safety.envelope import Envelope, calibrated_range
from smolkit.safety.supervisor import Supervisor
from smolkit.sim.bench import measured_calibration
from smolkit.sim.world import shared_renderer
from smolkit.teleop.keys import KeyPilot
from smolkit.teleop.loop import Actor, Decision, Step, run_episode
from smolkit.teleop.scripted import ScriptedActor
from smolkit.teleop.sliders import SliderPilot

LESSON = "03_teleop_recording"
SHIPPED_HUNTS, SHIPPED_SCENES = 6, 4               # and after the scenes the first one again, hesitating
LONGEST_S, IMAGE_PX = 14.0, 96
HESITATES = range(20, 45)                          # steps of an attempt in which the demonstrator thinks


class Desk(AbstractContextManager):
    """The sim lane's desk, and what all lanes share. Close it at the end."""

    lane = "sim"

    def __init__(self) -> None:
        self._scene, self.kit = teleop_hunt.SCENE, self._open()
        self._said: str | None = None              # the reason of the lesson's own stop
        self._recorders: dict[str, Recorder] = {}

    def _open(self) -> Kit:
        return Kit.sim("tour", teleop_hunt.SCENE, image_px=IMAGE_PX, wall_clock=True)

    @property
    def arm(self) -> GuardedArm | Supervisor:
        """The guarded arm of sections 1 and 2."""
        return self.kit.arm

    @property
    def calibration(self) -> Calibration:
        """Of the arm that is recorded."""
        return measured_calibration()

    def tell(self, what: Callable[[], object]) -> None:
        """Does something with the arm, and prints what the arm says: what it does now, or why not."""
        try:
            what()
            print(f"done; now {self.arm.state.upper()}")
        except SmolkitError as error:
            print(error)

    def stop(self, reason: str) -> None:
        """Stops the arm in every lane, whoever may move it; again, it goes on standing."""
        others = self._others_stop()               # its reason stays: `rearm` must not take it for ours
        self.arm.hold(others or reason, lets_go=False)
        self._said = reason
        print(f"stopped; now {self.arm.state.upper()}")

    def rearm(self) -> None:
        """Undoes the lesson's own stop, and nobody else's: cells run on by themselves, a person has looked."""
        self.tell(self._rearm)

    def _rearm(self) -> None:
        turn = self.arm.turn
        if found := self._others_stop():
            raise SmolkitError("SK824", "no stop but the lesson's own", found, "somebody else stopped the arm",
                               'look at it; when the cause is gone press "arm again" in section 2')
        self.arm.energize(rearm=True, turn=turn)

    def _others_stop(self) -> str:
        """What stopped the arm, where that was not this lesson; "" where nothing else did."""
        why = self.arm.why
        found = why.partition("found ")[2].partition(";")[0]
        return "" if found == self._said else found or why

    def nudge(self, by_deg: float = 5.0) -> None:
        """Turns the shoulder by a few degrees, 30 goals in a second."""
        arm, clock = self.arm, self.arm.clock
        start_deg, begin_s = arm.read().pos_deg, clock.now_s()
        for index in range(30):
            arm.command(start_deg + by_deg * (index + 1) / 30 * np.eye(6)[0])
            clock.sleep_until(begin_s + (index + 1) / 30)

    def kill_a_kernel(self) -> Death:
        """A child process moves an arm of its own and is killed; 10 seconds of wall time."""
        return kill_on_a_bench()

    def lead(self, way: str) -> Led:
        """The same ball, reached in one of `WAYS`."""
        return teleop_ways.lead(way)

    def pilots(self) -> dict[str, Actor]:
        """What a person can lead this arm with, for the panel; a leader arm is added by its owner."""
        range_deg = calibrated_range(self.calibration)
        return {"keys": KeyPilot(self._profile, range_deg), "sliders": SliderPilot(self._profile, range_deg)}

    @property
    def _profile(self) -> str:
        return self.kit.arm.profile

    def next_scene(self) -> None:
        """After an episode: the cube lies elsewhere. On a real desk that is your hand's work."""
        self._scene += 1
        self.kit.bench.reset(self._scene)

    def recorder(self, name: str, task: str) -> Recorder:
        """Records into a folder of this lesson's outputs; what lies there is continued, and so is an open one."""
        before = self._recorders.get(name)
        if before is None or before.closed:        # else a cell was run again: the episode that waits must not go
            before = self._recorders[name] = self._new_recorder(name, task)
        return before

    def _new_recorder(self, name: str, task: str) -> Recorder:
        return self._recorder_of(self.kit, self.calibration, name, task)

    def _recorder_of(self, kit: Kit, calibration: Calibration, name: str, task: str) -> Recorder:
        return Recorder(self.folder(name), fps=PACE.policy_hz, task=task, calibration=calibration,
                        cameras=[camera.role for camera in kit.cameras.values()], notes={"lesson": LESSON})

    def folder(self, name: str) -> Path:
        """Where a dataset of this lesson lies; those of the sim lane and the desk never mix."""
        return outputs(LESSON) / f"{self.lane}_{name}"

    def demonstrate(self, scene: int, hesitant: bool = False) -> list[Step]:
        """An attempt at the task in the scene of that number, by the scripted demonstrator."""
        return attempt(scene, hesitant)

    @cached_property
    def healthy(self) -> Session:
        """The hunt's session without a fault."""
        return session_of(None, self._session(None))

    def hunt(self, seed: int) -> Session:
        """The session whose fault the seed draws."""
        return session_of(seed, self._session(seed))

    def _session(self, seed: int | None) -> list[Step]:
        return teleop_hunt.play(seed)

    def close(self) -> None:
        """Parks, lets go, ends what was started."""
        self.kit.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class RecordedDesk(Desk):
    """The shipped sessions of `datasets/teleop_recording`."""

    lane = "recorded"

    def _open(self) -> Kit:
        self.shipped = dataset("teleop_recording")
        return Kit.recorded(self.shipped / "demos")

    @property
    def calibration(self) -> Calibration:
        return self.kit.arm.calibration

    @cached_property
    def arm(self) -> Supervisor:
        """The same guard, in front of six emulated servos without physics: its rules can be tried in this lane, too."""
        guard = Envelope("standard")
        return Supervisor(fake.arm(guard=guard), guard)

    def kill_a_kernel(self) -> Death:
        return Death.load(self.shipped / "death")

    def lead(self, way: str) -> Led:
        return load_led(self.shipped / "ways.csv")[way]

    _profile = "standard"

    def next_scene(self) -> None:
        """The recording goes on."""

    def demonstrate(self, scene: int, hesitant: bool = False) -> list[Step]:
        return recorded_steps(self.shipped / "demos", SHIPPED_SCENES if hesitant else scene % SHIPPED_SCENES)

    def hunt(self, seed: int) -> Session:
        return super().hunt(seed % SHIPPED_HUNTS)

    def _session(self, seed: int | None) -> list[Step]:
        return recorded_steps(self.shipped / "hunt", 0 if seed is None else 1 + seed)


class RealDesk(Desk):
    """Your arm. Tried on emulated servos behind a port only; keep a hand at the power switch."""

    lane = "real"

    def __init__(self, kit_file: Path | str, may_move: bool):
        self._kit_file, self._may_move = kit_file, may_move
        super().__init__()

    def _open(self) -> Kit:
        kit = Kit.open(self._kit_file)
        kit.arm = _AskedArm(kit.arm, lambda: self._may_move)
        return kit

    @property
    def calibration(self) -> Calibration:
        return self.kit.arm.calibration

    def next_scene(self) -> None:
        """Yours: move the cube."""

    def _new_recorder(self, name: str, task: str) -> Recorder:
        """What the emulated demonstrator shows has the bench's calibration and pictures; `mine` has yours."""
        if name == "mine":
            return super()._new_recorder(name, task)
        with Kit.sim("tour", image_px=IMAGE_PX) as bench:
            return self._recorder_of(bench, bench.arm.calibration, name, task)


class _AskedArm:
    """An arm that asks before it moves, whoever wants it: cells, a panel's buttons. Stops go through."""

    def __init__(self, arm: GuardedArm | Supervisor, may_move: Callable[[], bool]):
        self._arm, self._may_move = arm, may_move

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arm, name)

    def energize(self, rearm: bool = False, turn: int | None = None) -> None:
        self._ask()
        self._arm.energize(rearm, turn)

    def command(self, goal_deg: np.ndarray, **seen: Any) -> np.ndarray:
        self._ask()
        return self._arm.command(goal_deg, **seen)

    def _ask(self) -> None:
        if not self._may_move():
            raise SmolkitError("SK825", "MAY_MOVE = True in the first cell before your arm moves", "MAY_MOVE = False",
                               "nobody has said that a hand is at the power switch",
                               "stand beside your arm, set it, run the notebook from the top")


def open_desk(lane: str, kit_file: Path | str = "kit.toml", may_move: bool = False) -> Desk:
    """The desk of a lane; `kit_file` and `may_move` are for the real one."""
    return {"sim": Desk, "recorded": RecordedDesk, "real": lambda: RealDesk(kit_file, may_move)}[lane]()


# -- attempts at the task -------------------------------------------------------------------------------------


def attempt(scene: int, hesitant: bool = False) -> list[Step]:
    """The scripted demonstrator on the simulated bench, in stepped time; a hesitant one thinks in the middle."""
    with Kit.sim("tour", 100 + scene, image_px=IMAGE_PX, renderer=shared_renderer(), parks=False) as kit:
        kit.arm.energize()
        actor = hesitating(ScriptedActor(kit.bench), HESITATES if hesitant else range(0))
        return list(run_episode(kit, actor, LONGEST_S, PACE, finished=kit.bench.success))


def hesitating(actor: Actor, thinks: range) -> Actor:
    """The same actor, that stands at these steps of its episode: it repeats what it decided last."""
    steps, last = count(), None

    def decide(seen: Observation) -> Decision:
        nonlocal last
        last = last if next(steps) in thinks else actor(seen)
        return last
    return decide


# -- what was recorded ----------------------------------------------------------------------------------------


def recorded_steps(root: Path, episode: int) -> list[Step]:
    """An episode of a dataset, as the steps that once recorded it."""
    with closing(Dataset(root, episodes=[episode])) as one:
        rows, keys = one.episode(episode), one.camera_keys
        pictures = {key: one.frames(key, one.positions(episode)) for key in keys}
    roles = [key.rsplit(".", 1)[-1] for key in keys]
    return [Step(index, Observation(rows["observation.state"][index].astype(float),
                                    {role: pictures[key][index] for role, key in zip(roles, keys, strict=True)},
                                    rows["task"][index], *_moments(rows["captured_s"][index], roles)), action)
            for index, action in enumerate(rows["action"].astype(float))]


def _moments(captured_s: np.ndarray, roles: list[str]) -> tuple[float, dict[str, float]]:
    state_s, *pictures_s = map(float, captured_s)
    return state_s, dict(zip(roles, pictures_s, strict=True))


def save_led(leds: dict[str, Led], path: Path) -> None:
    """All ways in one table."""
    header = ",".join(("way", "time_s", *(f"action.{name}" for name in JOINT_NAMES),
                       *(f"state.{name}" for name in JOINT_NAMES)))
    lines = [",".join([led.way, f"{time_s:.3f}", *(f"{value:.2f}" for value in (*action, *state))])
             for led in leds.values()
             for time_s, action, state in zip(led.time_s, led.action_deg, led.state_deg, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def load_led(path: Path) -> dict[str, Led]:
    """What `save_led` wrote."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    tables = {way: np.array([row[1:] for row in rows if row[0] == way], float) for way in teleop_ways.WAYS}
    return {way: Led(way, table[:, 0], table[:, 1:7], table[:, 7:], True) for way, table in tables.items()}
