"""The kit: opens arm, cameras, guard and time for one lane, and closes what it opened.

    with Kit.sim(task="place", seed=7) as kit:          # no robot: emulated servos, simulated bench
        kit.arm.energize()
        observation = kit.observe()                     # joints in deg, pictures, instruction
        kit.command(observation.state_deg + 1)          # through the safety envelope, always

`Kit.open("kit.toml")` reads the same from a file, whose `lane` may be "sim" or "real": the driver, the
packets and the guard are the same in both, only the far end of the wire differs. In wall time a guardian,
a process of its own, owns the port; in stepped time the same supervisor runs here, on the kit's clock.
"""

from __future__ import annotations

import inspect
import secrets
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.configure import write_calibration
from smolkit.arm.so101 import SO101
from smolkit.cameras.camera import Camera, CameraRole, Observation
from smolkit.clock import Clock, SteppedClock, WallClock
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm
from smolkit.safety.envelope import Envelope, calibrated_range
from smolkit.safety.supervisor import Supervisor

if TYPE_CHECKING:
    from smolkit.sim.bench import Bench
    from smolkit.sim.plant import Plant

FRONT_AND_WRIST = ("front", "wrist")
ALONE_S = 300.0                    # a plant whose kit was killed ends after this
# What a kit file's keys hold where their defaults do not tell.
KIND = {"port": (str, 'like "/dev/ttyACM0"'), "calibration": (str, 'like "arm.json"'),
        "cameras": (dict, "like {front = 0, wrist = 1}")}


class Kit:
    """A supervised arm, its cameras and its clock: a `Rig` for the loop, a desk for a notebook."""

    def __init__(self, arm: Supervisor | GuardedArm, cameras: Mapping[str, Camera], clock: Clock, task: str):
        self.arm, self.cameras, self.clock, self.task = arm, dict(cameras), clock, task
        self.guard: Envelope | None = None              # in stepped time only: else it lives in the guardian
        self.bench: Bench | Plant | None = None         # the simulated bench; in wall time a process of its own
        self._closing = ExitStack()

    @classmethod
    def sim(cls, task: str = "place", seed: int = 0, *, profile: str = "standard", image_px: int = 96,
            calibration: Calibration | None = None, renderer: Any = None, wall_clock: bool = False,
            parks: bool = True) -> Kit:
        """A kit without a robot; the scene is drawn by `seed`.

        Time is stepped: it stands still until the loop waits, so a run is as fast as the computer and the
        same twice. With `wall_clock` servos and world are a process of their own, a guardian owns their port,
        and time passes by itself, as on the desk. Without `parks` the emulated arm drops where it is at the end.
        """
        if wall_clock:
            return cls._in_wall_time(task, seed, profile, image_px, calibration, parks)
        from smolkit.sim.bench import Bench
        with ExitStack() as stack:                      # what was opened is closed if the arm refuses
            clock = SteppedClock()
            bench = Bench(task, seed, clock, renderer)
            stack.callback(bench.close)
            calibration = bench.install(calibration)
            guard = Envelope(profile, calibrated_range(calibration))
            arm = Supervisor(SO101(bench.port, calibration, guard, clock), guard, parks=parks)
            kit = cls(arm, _two_cameras(bench, image_px), clock, bench.scene.instruction)
            kit.guard, kit.bench, kit._closing = guard, bench, stack.pop_all()
        return kit

    @classmethod
    def _in_wall_time(cls, task: str, seed: int, profile: str, image_px: int, calibration: Calibration | None,
                      parks: bool) -> Kit:
        """Three processes, as on the desk: this one, the guardian, and a plant that outlives both."""
        from smolkit.sim.plant import Plant
        with ExitStack() as stack:
            plant = Plant.start(task, seed, name=f"kit {secrets.token_hex(4)}", idle_s=ALONE_S)
            stack.callback(plant.close)
            if calibration is not None:
                with Bus(plant.port) as bus:
                    write_calibration(bus, calibration)
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="smolkit-")))
            file = (calibration or plant.calibration).save(folder / "arm.json")
            arm = GuardedArm.start(plant.port, file, profile=profile, parks=parks)
            kit = cls(arm, _two_cameras(plant, image_px), WallClock(), plant.instruction)
            kit.bench, kit._closing = plant, stack.pop_all()
        return kit

    @classmethod
    def real(cls, port: str, calibration: Path, cameras: Mapping[str, int | str], *, task: str = "",
             profile: str = "beginner", height_px: int = 480, width_px: int = 640, fps: int = 30,
             found_on: str = "ask", arm_type: str = "") -> Kit:
        """A kit on the desk: a serial port, a calibration file, and a camera for every role: `address_of`.

        found_on: what to do with torque that a killed process left on: "ask" (refuse), "park", "release".
        arm_type: "7.4V" or "12V", what the labels on the servos say; then a supply that burns them is refused.
        """
        from smolkit.cameras.devices import address_of
        from smolkit.cameras.opencv import OpenCVCamera
        clock = WallClock()
        with ExitStack() as stack:                      # a camera that fails must not leave the others open
            opened = {}
            for role, device in cameras.items():
                opened[role] = OpenCVCamera(address_of(device), CameraRole(role, height_px, width_px, fps), clock)
                stack.callback(opened[role].close)
            arm = GuardedArm.start(port, Path(calibration), profile=profile, found_on=found_on, arm_type=arm_type)
            kit = cls(arm, opened, clock, task)
            kit._closing = stack.pop_all()
        return kit

    @classmethod
    def recorded(cls, root: Path | str, episode: int = 0) -> Kit:
        """A recorded episode, played in wall time, over and over: it can be looked at, not moved (SK432)."""
        from smolkit.data.playback import open_recording
        clock = WallClock()
        arm, cameras = open_recording(root, clock, episode)
        return cls(arm, cameras, clock, arm.instruction)

    @classmethod
    def open(cls, path: Path | str) -> Kit:
        """The kit that a kit file describes.

        Errors: SK801 where the file cannot be read or holds an unknown key or lane.
        """
        path = Path(path)
        table = _read_kit_file(path)
        lane = table.pop("lane", "sim")
        if lane not in ("sim", "real"):
            raise _bad_kit_file(path, f"lane = {lane!r}")
        make = cls.sim if lane == "sim" else cls.real
        _check_keys(path, table, make)
        if "calibration" in table:                      # beside the kit file, wherever it is opened from
            where = path.parent / table["calibration"]
            table["calibration"] = Calibration.load(where) if lane == "sim" else where
        return make(**table)

    def observe(self) -> Observation:
        """Joints and pictures of this moment."""
        state = self.arm.read()
        frames = {role: camera.read() for role, camera in self.cameras.items()}
        return Observation(state.pos_deg, {role: frame.image for role, frame in frames.items()}, self.task,
                           state.captured_s, {role: frame.captured_s for role, frame in frames.items()},
                           {role: frame.digest for role, frame in frames.items() if frame.digest})

    def command(self, goal_deg: np.ndarray, seen: Observation | None = None) -> None:
        """Sends a goal (6,) in deg and gripper %, as far as the guard admits it.

        seen: what the goal was decided from. With it, goals that stop coming, old pictures and cameras that
        repeat themselves stop the arm; without it the arm simply stands when no goal follows.
        """
        if seen is None:
            self.arm.command(goal_deg)
        else:
            self.arm.command(goal_deg, observed_s=min((seen.captured_s, *seen.pictures_captured_s.values())),
                             frames=seen.picture_digests)

    def rest(self) -> None:
        """No goal will follow for a while: the arm stands, torque on."""
        self.arm.rest()

    def close(self) -> None:
        """The arm parks, torque off, verified; port, cameras and renderer closed, also when one of them fails."""
        with self._closing:
            self._closing.callback(self.arm.close)

    def __enter__(self) -> Kit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _two_cameras(bench: Bench | Plant, image_px: int) -> dict[str, Camera]:
    return {name: bench.camera(CameraRole(name, image_px, image_px, fps=10)) for name in FRONT_AND_WRIST}


def _read_kit_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad_kit_file(path, f"{type(error).__name__}: {error}") from error


def _check_keys(path: Path, table: dict[str, Any], make: Callable[..., Kit]) -> None:
    """Every key must be an argument of `make`, of its default's kind; what has no default must be there."""
    known = {name: p for name, p in inspect.signature(make).parameters.items() if name != "renderer"}
    missing = [name for name, p in known.items() if p.default is p.empty and name not in table]
    if missing or set(table) - set(known):
        raise _bad_kit_file(path, f"missing: {missing}, unknown: {sorted(set(table) - set(known))}")
    for name, value in table.items():
        kind, words = KIND.get(name, (type(known[name].default), f"like {known[name].default!r}"))
        if type(value) is not kind or (kind is int and value < (0 if name == "seed" else 1)):
            raise _bad_kit_file(path, f"{name} = {value!r}, where a value {words} belongs")
    if not all(isinstance(device, (int, str)) for device in table.get("cameras", {}).values()):
        raise _bad_kit_file(path, f"cameras = {table['cameras']!r}, where numbers or sockets belong")


def _bad_kit_file(path: Path, found: str) -> SmolkitError:
    return SmolkitError("SK801", f"a kit file {path} with lane = \"sim\" or \"real\" and that lane's keys", found,
                        "the file is not there, or a key is misspelled",
                        "compare its keys with the arguments of Kit.sim and Kit.real")
