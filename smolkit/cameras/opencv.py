"""A USB camera, or a video file standing in for one, through OpenCV.

    camera = OpenCVCamera(0, CameraRole("front", 480, 640, fps=30), WallClock())
    frame = camera.read()                    # (480, 640, 3) uint8 RGB, and when it was caught

Identity by bus path, capture on a thread and health checks come with the camera lesson; what is here
already refuses to deliver anything but a fresh picture of the promised size.
"""

from __future__ import annotations

from types import ModuleType

from smolkit.cameras.camera import CameraRole, Frame
from smolkit.clock import Clock
from smolkit.report import SmolkitError


class OpenCVCamera:
    """Device number, device path or file name; delivers frames of the role's size.

    Errors: SK201 where the device does not open, SK202 where it delivers no or another picture, SK203 where
    OpenCV cannot be loaded.
    """

    def __init__(self, device: int | str, role: CameraRole, clock: Clock):
        cv2 = _opencv()
        self._cv2, self._device, self.role, self._clock = cv2, device, role, clock
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SmolkitError("SK201", f"the {role.name} camera at {device!r}", "a device that does not open",
                               "it is unplugged, another program uses it, or its number changed after a restart",
                               "list the devices (Linux: v4l2-ctl --list-devices) and close other camera programs")
        for key, value in ((cv2.CAP_PROP_FRAME_HEIGHT, role.height_px), (cv2.CAP_PROP_FRAME_WIDTH, role.width_px),
                           (cv2.CAP_PROP_FPS, role.fps)):
            self._capture.set(key, value)    # a wish: read() checks what really comes

    def read(self) -> Frame:
        """The next picture. Its time is the middle of the wait for it."""
        begin_s = self._clock.now_s()
        delivered, image = self._capture.read()                        # (H, W, 3) uint8 BGR
        captured_s = (begin_s + self._clock.now_s()) / 2
        wanted = (self.role.height_px, self.role.width_px, 3)
        if not delivered or image.shape != wanted:
            raise SmolkitError("SK202", f"a picture {wanted} from the {self.role.name} camera",
                               f"{image.shape}" if delivered else "none",
                               "the cable is loose, or the camera does not offer this size",
                               "look at it with another program, and set height_px and width_px to a size it has")
        return Frame(self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB), captured_s)

    def close(self) -> None:
        """Frees the device."""
        self._capture.release()


def _opencv() -> ModuleType:
    """OpenCV, loaded late: it needs libGL and GLib, which a machine without a screen may lack."""
    try:
        import cv2
    except ImportError as error:
        raise SmolkitError("SK203", "OpenCV, to read a USB camera", str(error),
                           "the system has no libGL or GLib, which OpenCV's wheel links",
                           "Debian, Ubuntu: sudo apt-get install -y libgl1 libglib2.0-0") from error
    return cv2
