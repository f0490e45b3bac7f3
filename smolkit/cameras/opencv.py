"""A USB camera, or a video file standing in for one, through OpenCV: a thread keeps the newest picture at hand.

    camera = OpenCVCamera(find_device("pci-0000:00:14.0-usb-0:2:1.0").address,
                          CameraRole("front", 480, 640, fps=30), WallClock())
    frame = camera.read()                    # (480, 640, 3) uint8 RGB, when it was caught, its number
    camera.counts                            # Counts(delivered=31, dropped=0, repeated=0, failed=0)

Pictures wait in a driver's queue while nobody reads: without the thread, a slow loop sees the past. Time passes
by itself here; in stepped time use `smolkit.cameras.recorded.RecordedCamera`.
"""

from __future__ import annotations

import os
import platform
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from smolkit.cameras.camera import CameraRole, Frame, digest_of
from smolkit.clock import Clock, SteppedClock
from smolkit.report import SmolkitError

STALE_S = 0.5                      # an arm that acts on older pictures acts blind
FIRST_PICTURE_S = 5.0              # some USB cameras take 2 s to start
DROPPED_FROM = 1.5                 # periods between two pictures: from here on one is missing
CLOSE_S = 1.0                      # a device that hangs keeps its thread; it frees the device when it wakes


@dataclass(frozen=True)
class Settings:
    """What a USB camera is asked for besides size and rate; None leaves the automatic in charge.

    MJPG, since two raw 640 x 480 streams at 30 fps (18 MB/s each) fill a USB 2 hub. A fixed exposure keeps the
    rate when the room gets dark, and both fixed settings keep the pictures like those a policy learned from.
    """

    fourcc: str = "MJPG"
    exposure: float | None = None            # in the driver's units; Linux: 100 us
    white_balance_k: int | None = None       # kelvin


@dataclass(frozen=True)
class Counts:
    """What a camera did since it was opened."""

    delivered: int = 0
    dropped: int = 0               # missing in gaps longer than 1.5 periods
    repeated: int = 0              # bit for bit like the one before
    failed: int = 0                # the driver announced a picture and gave none


class OpenCVCamera:
    """Device number, device path or file name; delivers frames of the role's size. `loop` restarts a file at its end.

    Errors: SK201 where the device does not open, SK202 where it delivers another size or rate or refuses a
    setting, SK203 where OpenCV cannot be loaded, SK204 where pictures stop coming, SK208 in stepped time.
    """

    def __init__(self, device: int | str, role: CameraRole, clock: Clock, settings: Settings = Settings(),
                 *, loop: bool = False):
        if isinstance(clock, SteppedClock):
            raise SmolkitError("SK208", "a clock that runs by itself", "a stepped clock", "this camera's thread cannot "
                               "wait for a clock that stands still", "use WallClock, or play a RecordedCamera")
        self._cv2, self._device, self.role, self._clock = load_opencv(), device, role, clock
        self._settings, self._loop = settings, loop
        self._is_file = isinstance(device, str) and Path(device).is_file()      # a device node is no regular file
        self._stop, self._thread = threading.Event(), threading.Thread()
        self.reopen()

    def reopen(self) -> None:
        """Opens the device anew, as after its cable was out, and waits for the first picture; counts begin at 0."""
        self.close()
        if self._thread.is_alive():
            raise self._stopped("a driver that hangs and does not let go")
        self.counts, self._newest, self._problem = Counts(), None, None
        capture = self._open()
        self._stop, came = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._capture_all, args=(capture, self._stop, came), daemon=True)
        self._thread.start()
        came.wait(FIRST_PICTURE_S)
        if self._problem or self._newest is None:
            self.close()
            raise self._problem or self._stopped("no picture at all")

    def read(self) -> Frame:
        """The newest picture; asked twice within a period, the same one."""
        if self._problem:
            raise self._problem
        if self._stop.is_set():
            raise self._stopped("a closed camera")
        frame = self._newest
        age_s = self._clock.now_s() - frame.captured_s
        if age_s > STALE_S:
            raise self._stopped(f"the last one {age_s:.1f} s ago")
        return frame

    def close(self) -> None:
        """Ends the thread, which frees the device; a second call does nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _open(self) -> Any:
        cv2, role, device = self._cv2, self.role, self._device
        if self._is_file or platform.system() != "Linux":
            capture = cv2.VideoCapture(device)
        else:
            capture = cv2.VideoCapture(os.path.realpath(device) if isinstance(device, str) else device, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise SmolkitError("SK201", f"the {role.name} camera at {device!r}", "a device that does not open",
                               "it is unplugged, another program uses it, or its number changed after a restart",
                               "list the devices (Linux: v4l2-ctl --list-devices) and close other camera programs")
        try:
            if not self._is_file:
                configure(cv2, capture, role, self._settings)
            offered_fps = capture.get(cv2.CAP_PROP_FPS)
            if offered_fps > 0 and abs(offered_fps / role.fps - 1) > 0.1:      # 0: the driver does not know
                raise _another(role, f"{offered_fps:.1f} pictures a second")
        except SmolkitError:
            capture.release()
            raise
        return capture

    def _capture_all(self, capture: Any, stop: threading.Event, came: threading.Event) -> None:
        """The thread. It releases the device itself: to release one under a waiting read ends the process."""
        due_s = self._clock.now_s()
        try:
            while not stop.is_set() and self._capture_one(capture):
                came.set()
                due_s = max(due_s + 1 / self.role.fps, self._clock.now_s())
                if self._is_file:                      # a device sets its own pace, a file has none
                    stop.wait(max(0.0, due_s - self._clock.now_s()))
        except Exception as error:                     # whatever OpenCV throws is told to who reads
            self._problem = self._stopped(f"{type(error).__name__}: {error}")
        finally:
            capture.release()
            came.set()

    def _capture_one(self, capture: Any) -> bool:
        """Takes one picture; False where none will follow: a file is over, the size is wrong."""
        before_s = self._clock.now_s()
        grabbed = capture.grab()
        now_s = self._clock.now_s()
        delivered, image = capture.retrieve() if grabbed else (False, None)     # decodes, after the moment was noted
        if not delivered:
            if self._is_file:
                return self._loop and capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)
            self.counts = replace(self.counts, failed=self.counts.failed + 1)
            self._stop.wait(1 / self.role.fps)         # an unplugged camera fails at once, and again, and again
            return True
        if image.shape != (self.role.height_px, self.role.width_px, 3):
            self._problem = _another(self.role, f"pictures of {image.shape[0]} x {image.shape[1]} px")
            return False
        self._deliver(image, capture_moment(now_s, capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000, before_s))
        return True

    def _deliver(self, image: np.ndarray, captured_s: float) -> None:
        rgb, last, counts = self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB), self._newest, self.counts
        frame = Frame(rgb, captured_s, counts.delivered + 1, digest_of(rgb))
        missing = missing_between(captured_s - last.captured_s, self.role.fps) if last else 0
        again = last is not None and last.digest == frame.digest
        self.counts = replace(counts, delivered=frame.index, dropped=counts.dropped + missing,
                              repeated=counts.repeated + again)
        self._newest = frame

    def _stopped(self, found: str) -> SmolkitError:
        return SmolkitError("SK204", f"a picture from the {self.role.name} camera, at most {STALE_S} s old", found,
                            "its cable came loose, its hub has too little power, or the film is over",
                            "plug it in and call camera.reopen(); give it a USB port of its own")


def missing_between(gap_s: float, fps: float) -> int:
    """How many pictures are missing in a gap between two.

    >>> [missing_between(periods / 30, fps=30) for periods in (1.0, 1.4, 1.6, 4.1)]
    [0, 0, 1, 3]
    """
    periods = gap_s * fps
    return max(1, round(periods) - 1) if periods > DROPPED_FROM else 0


def capture_moment(now_s: float, driver_s: float, before_s: float) -> float:
    """When the light was caught: the driver's own time stamp, where it has one on our clock, else now.

    V4L2 stamps a picture when its first byte arrives, in the monotonic seconds that `WallClock` shows; files and
    other systems give seconds since the start or nothing. A stamp from before the last call but not over a
    second old is believed.

    >>> capture_moment(now_s=100.02, driver_s=99.99, before_s=100.0), capture_moment(100.02, 0.3, 100.0)
    (99.99, 100.02)
    """
    return driver_s if before_s - 1.0 < driver_s <= now_s else now_s


def configure(cv2: ModuleType, capture: Any, role: CameraRole, settings: Settings) -> None:
    """Asks the device for all that is wished. Format first: it decides which sizes and rates there are.

    Errors: SK202 where the device does not take a fixed exposure or white balance (the switches have V4L2's
    values). Size and rate are wishes here; what really comes is looked at.
    """
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.fourcc))
    for key, value in ((cv2.CAP_PROP_FRAME_WIDTH, role.width_px), (cv2.CAP_PROP_FRAME_HEIGHT, role.height_px),
                       (cv2.CAP_PROP_FPS, role.fps), (cv2.CAP_PROP_BUFFERSIZE, 1)):
        capture.set(key, value)
    fixed = [("exposure", cv2.CAP_PROP_AUTO_EXPOSURE, 1, cv2.CAP_PROP_EXPOSURE, settings.exposure),       # 1: manual
             ("white balance", cv2.CAP_PROP_AUTO_WB, 0, cv2.CAP_PROP_WB_TEMPERATURE, settings.white_balance_k)]
    for name, automatic, off, key, value in fixed:
        if value is not None and not (capture.set(automatic, off) and capture.set(key, value)):
            raise _another(role, f"a camera that does not take {name} {value}")


def _another(role: CameraRole, found: str) -> SmolkitError:
    return SmolkitError("SK202", f"{role.height_px} x {role.width_px} px at {role.fps} fps from the {role.name} camera",
                        found, "the camera does not offer this size, rate or setting",
                        "choose one that it has (Linux: v4l2-ctl --list-formats-ext --list-ctrls)")


def load_opencv() -> ModuleType:
    """OpenCV, loaded late: it needs libGL and GLib, which a machine without a screen may lack."""
    try:
        import cv2
    except ImportError as error:
        raise SmolkitError("SK203", "OpenCV, to read a USB camera", str(error),
                           "the system has no libGL or GLib, which OpenCV's wheel links",
                           "Debian, Ubuntu: sudo apt-get install -y libgl1 libglib2.0-0") from error
    return cv2
