"""The desk of lesson 02: a front and a wrist camera in any lane, and a hand that moves the limp arm before them.

    >>> with open_desk("sim", height_px=48, width_px=64) as desk:
    ...     film = desk.film(0.5)
    >>> {role: len(frames) for role, frames in film.items()}
    {'front': 5, 'wrist': 5}

In `sim` and `recorded` time is stepped: a film of four seconds takes less, and the same lesson gives the same numbers.
`desk.live` are the same cameras in wall time, for a panel that watches them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smolkit.arm.joints import to_radians
from smolkit.cameras.camera import Camera, CameraRole, Frame, digest_of
from smolkit.cameras.devices import address_of
from smolkit.cameras.health import distinct
from smolkit.cameras.opencv import OpenCVCamera, Settings, load_opencv
from smolkit.cameras.passport import Passport, take_passport
from smolkit.cameras.recorded import RecordedCamera
from smolkit.clock import Clock, SteppedClock, WallClock
from smolkit.lessons.lane import dataset
from smolkit.safety.faults import fault
from smolkit.sim.bench import Bench

ROLES = ("front", "wrist")
SEED = 3                                       # of the bench on the first day
FPS, DELAY_S, NOISE = 10, 0.05, 2.0            # of the simulated cameras; NOISE in grey levels, as cheap sensors have
FILM_S = 4.0
MIDDLE_DEG = np.array([0.0, -40.0, 28.0, 72.0, 0.0, 42.0])       # body deg, gripper %
SWING_DEG = np.array([35.0, 14.0, 14.0, 12.0, 35.0, 36.0])
PERIOD_S = np.array([4.0, 3.1, 2.6, 2.3, 3.7, 1.9])
MOVED_DEG = 4.0                                # what a bumped camera is turned by
BUMP_DEG = (2.5, 4.0, 0.0)                     # about its own right, up and back


def hand_pose(moment_s: float) -> np.ndarray:
    """Where the hand holds the arm: (6,) deg and gripper %; every joint swings at a pace of its own."""
    return MIDDLE_DEG + SWING_DEG * np.sin(2 * np.pi * moment_s / PERIOD_S)


class BenchCamera:
    """A camera over the simulated bench with the habits of a USB camera: a pace of its own, a delay, noise."""

    def __init__(self, bench: Bench, role: CameraRole, clock: Clock, drawing: threading.Lock):
        self.role, self._bench, self._clock, self._drawing = role, bench, clock, drawing
        self._begin_s, self._newest = clock.now_s() - DELAY_S, None

    def read(self) -> Frame:
        """The newest picture that has arrived: its light was caught at least `DELAY_S` ago."""
        index = int((self._clock.now_s() - DELAY_S - self._begin_s) * self.role.fps + 1e-6) + 1
        if self._newest is None or self._newest.index != index:
            moment_s = self._begin_s + (index - 1) / self.role.fps
            image = self._photograph(moment_s, np.random.default_rng([index, len(self.role.name)]))
            self._newest = Frame(image, moment_s, index, digest_of(image))
        return self._newest

    def _photograph(self, moment_s: float, rng: np.random.Generator) -> np.ndarray:
        with self._drawing:                    # two cameras, and a panel's thread, share one arm
            self._bench.world.place(to_radians(hand_pose(moment_s)))
            clean = self._bench.world.render(self.role.name, self.role.height_px, self.role.width_px)
        noise = NOISE * rng.standard_normal(clean.shape, np.float32)
        return (clean + noise).clip(0, 255).astype(np.uint8)

    def close(self) -> None:
        """Nothing to close: the bench owns its renderer."""


@dataclass
class Socket:
    """Where a camera is plugged in: a panel that looks at it goes on when another camera, or clip, comes."""

    camera: Camera

    @property
    def role(self) -> CameraRole:
        return self.camera.role

    def read(self) -> Frame:
        """Of whatever is plugged in."""
        return self.camera.read()

    def close(self) -> None:
        """Closes it."""
        self.camera.close()


class CameraDesk(AbstractContextManager):
    """Cameras by role. `cameras` may be exchanged, which is what faults do; `live` see the same in wall time."""

    def __init__(self, lane: str, make: Callable[[Clock, str, str], Camera], clock: Clock,
                 bench: Bench | None = None, identities: Mapping[str, str] | None = None):
        self.lane, self.clock, self.bench, self._make = lane, clock, bench, make
        self.identities = dict(identities or {})
        self.cameras: dict[str, Camera] = {}
        with ExitStack() as stack:                 # a camera that fails must not leave the other one open
            for role in ROLES:
                self.cameras[role] = make(clock, role, "")
                stack.callback(self.cameras[role].close)
            stack.pop_all()
        self.live: dict[str, Camera] = {role: Socket(camera) for role, camera in self.cameras.items()}
        for role in ROLES if lane != "real" else ():
            self.live[role].camera = make(WallClock(), role, "")

    def film(self, seconds: float = FILM_S) -> dict[str, tuple[Frame, ...]]:
        """The frames of some seconds, by role; in the real lane move the arm meanwhile, by hand and without torque."""
        begin_s, fps = self.clock.now_s(), self.cameras["front"].role.fps
        frames: dict[str, list[Frame]] = {role: [] for role in self.cameras}
        for step in range(round(seconds * fps)):
            self.clock.sleep_until(begin_s + (step + 1) / fps)
            for role, camera in self.cameras.items():
                frames[role].append(camera.read())
        return {role: distinct(seen) for role, seen in frames.items()}

    def ages(self, role: str, seconds: float = 1.0, every_s: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
        """Somebody reads every 10 ms: moments (N,) s, and how old the newest picture was (N,) ms."""
        begin_s, seen = self.clock.now_s(), []
        for step in range(round(seconds / every_s)):
            self.clock.sleep_until(begin_s + step * every_s)
            seen.append((step * every_s, 1000 * (self.clock.now_s() - self.cameras[role].read().captured_s)))
        return tuple(np.array(seen).T)

    def take_passports(self, films: Mapping[str, tuple[Frame, ...]]) -> dict[str, Passport]:
        """One per role, from a film in which the arm moves."""
        return {role: take_passport(self.cameras[role].role, frames, self.identities.get(role, ""))
                for role, frames in films.items()}

    def next_morning(self, seed: int = 2) -> None:
        """Other things on the table, another lamp, cameras a hair off; your own morning in the real lane."""
        if self.bench is not None:
            self.bench.lay(seed)
        elif self.lane == "recorded":
            for role in ROLES:
                self._play(role, "_morning")

    # -- a camera that was bumped ---------------------------------------------------------------------------

    def moved(self, role: str) -> AbstractContextManager:
        """The camera of that role looks 4 deg further to the side while inside; in the real lane its pictures do."""
        if self.bench is not None:
            return fault("camera_moved", self, role=role, turn_deg=MOVED_DEG)
        if self.lane == "recorded":
            return replaced(self, {role: self._make(self.clock, role, "_moved")})
        return replaced(self, {role: Spoiled(self.cameras[role], aside)})

    def bump(self) -> str:
        """Somebody knocks the front camera, and it stays so."""
        if self.lane == "real":
            return "Bump the front camera yourself, a little: then go on"
        if self.bench is None:
            self._play("front", "_moved")
        else:
            self.shift("front", BUMP_DEG)
        return "the front camera was bumped"

    def turn(self, right_deg: float = 0.0, down_deg: float = 0.0, clockwise_deg: float = 0.0) -> str:
        """Turns the front camera by hand, as its ghost picture says."""
        if self.lane == "real":
            return "Turn the camera with your hand"
        if self.bench is None:
            self._play("front", "")
            return "now the clip from before the bump plays"
        self.shift("front", (-down_deg, -right_deg, -clockwise_deg))
        return f"turned right {right_deg:g}, down {down_deg:g}, clockwise {clockwise_deg:g} deg"

    def shift(self, role: str, turn_deg: tuple[float, float, float]) -> None:
        """Turns a simulated camera about its own right, up and back."""
        from smolkit.sim.room_model import turned
        camera = self.bench.world.model.cam(role)
        with self.bench.bus.lock:
            camera.quat[:] = turned(camera.quat, turn_deg)

    def _play(self, role: str, suffix: str) -> None:
        """Another clip from now on; the panel's camera, too."""
        self.cameras[role] = self._make(self.clock, role, suffix)
        self.live[role].camera = self._make(WallClock(), role, suffix)

    def close(self) -> None:
        """Cameras, and the bench if there is one."""
        for camera in (*self.cameras.values(), *self.live.values()):
            camera.close()
        if self.bench is not None:
            self.bench.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_desk(lane: str, cameras: Mapping[str, str | int] | None = None, *, settings: Settings | None = None,
              height_px: int | None = None, width_px: int | None = None, fps: int | None = None) -> CameraDesk:
    """The lane's two cameras; `cameras`, role -> identity (`list_devices`), number or film, is for the real lane."""
    usual = (480, 640, 30) if lane == "real" else (240, 320, FPS)
    size = [given or default for given, default in zip((height_px, width_px, fps), usual, strict=True)]
    role = {name: CameraRole(name, *size) for name in ROLES}
    if lane == "sim":
        bench, drawing = Bench("tour", SEED, WallClock()), threading.Lock()    # no clock of it moves: the hand does
        return CameraDesk(lane, lambda clock, name, _: BenchCamera(bench, role[name], clock, drawing),
                          SteppedClock(), bench)
    if lane == "recorded":
        folder = dataset("camera_setup")
        return CameraDesk(lane, lambda clock, name, suffix: RecordedCamera(
            folder / f"{name}{suffix}.mp4", role[name], clock, loop=True), SteppedClock())
    wanted, asked = dict(cameras or {}), settings or Settings()
    return CameraDesk(lane, lambda clock, name, _: _usb(wanted.get(name, name), role[name], clock, asked),
                      WallClock(), identities={name: str(identity) for name, identity in wanted.items()})


def _usb(identity: str | int, role: CameraRole, clock: Clock, settings: Settings) -> OpenCVCamera:
    """By identity; a number, or a film that stands for a camera, is taken as it is."""
    film = isinstance(identity, str) and not identity.startswith("/dev/") and Path(identity).is_file()
    return OpenCVCamera(address_of(identity), role, clock, settings, loop=film)


# -- cameras that are not as they were ------------------------------------------------------------------------


class Spoiled:
    """A camera whose pictures are changed on their way."""

    def __init__(self, camera: Camera, change: Callable[[np.ndarray], np.ndarray]):
        self.role, self._camera, self._change = camera.role, camera, change

    def read(self) -> Frame:
        """The camera's newest picture, changed."""
        frame = self._camera.read()
        image = self._change(frame.image)
        return Frame(image, frame.captured_s, frame.index, digest_of(image))

    def close(self) -> None:
        """The camera below is closed by its owner."""


@contextmanager
def replaced(desk: CameraDesk, cameras: Mapping[str, Camera]) -> Iterator[None]:
    """Other cameras in these roles while inside."""
    before = dict(desk.cameras)
    desk.cameras.update(cameras)
    try:
        yield
    finally:
        desk.cameras.update({role: before[role] for role in cameras})


def aside(image: np.ndarray) -> np.ndarray:
    """The picture a twelfth of its width further right, as of a camera that was turned left."""
    cv2, (height, width) = load_opencv(), image.shape[:2]
    shift = np.array([[1, 0, width / 12], [0, 1, 0]], np.float32)
    return cv2.warpAffine(image, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
