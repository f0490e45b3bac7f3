"""Which camera is which: found by the socket it is plugged into, never by its number.

    for device in list_devices():
        print(device.identity, device.name)      # pci-0000:00:14.0-usb-0:2:1.0   HD Webcam C270
    address = find_device("pci-0000:00:14.0-usb-0:2:1.0").address

Numbers (`/dev/video0`, index 0) go to whoever answers first after a restart, and two webcams of one model often
have no serial number. What stays is the path along the bus, down to the socket: a camera that moves to another
socket is another camera, and says so. Linux knows this path. On other systems OpenCV only knows numbers:
there `stable` is False, and the check of the pictures (`smolkit.cameras.checks`) is what finds a swap.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from smolkit.cameras.opencv import load_opencv
from smolkit.report import SmolkitError

BY_PATH, NAMES = Path("/dev/v4l/by-path"), Path("/sys/class/video4linux")
PICTURES = "-video-index0"                # index1 and up carry no pictures but data about them
MOST = 8


@dataclass(frozen=True)
class Device:
    """A camera that is plugged in."""

    identity: str                         # what a role is bound to: the bus path; "index-0" where there is none
    address: int | str                    # what OpenCV opens
    name: str                             # of the product, for people
    stable: bool                          # the identity survives a restart


def list_devices(by_path: Path = BY_PATH, names: Path = NAMES) -> tuple[Device, ...]:
    """All cameras, sorted by identity. Where there are no bus paths this opens each camera for a moment."""
    if platform.system() != "Linux" and not by_path.is_dir():
        return _by_number()
    found: dict[Path, Device] = {}
    for link in sorted(by_path.glob("*" + PICTURES)):
        node = link.resolve()             # newer systems have two links to one camera: the first one counts
        label = names / node.name / "name"
        name = label.read_text(encoding="utf-8").strip() if label.is_file() else node.name
        found.setdefault(node, Device(link.name.removesuffix(PICTURES), str(link), name, stable=True))
    return tuple(found.values())


def address_of(camera: str | int) -> str | int:
    """What OpenCV opens: a number, a film or a device's path as it is, an identity looked up (SK205)."""
    if isinstance(camera, int) or "/" in camera or Path(camera).is_file():         # no identity has a slash
        return camera
    return find_device(camera).address


def find_device(identity: str, devices: tuple[Device, ...] | None = None) -> Device:
    """The camera of that identity; SK205 where it is not plugged in."""
    devices = list_devices() if devices is None else devices
    for device in devices:
        if device.identity == identity:
            return device
    there = ", ".join(f"{device.identity} ({device.name})" for device in devices) or "no camera at all"
    raise SmolkitError("SK205", f"a camera at {identity!r}", there, "it is unplugged or sits in another socket",
                       "plug it back into its old socket, or bind its role to the new identity")


def _by_number() -> tuple[Device, ...]:
    cv2, found = load_opencv(), []
    for number in range(MOST):
        capture = cv2.VideoCapture(number)
        opened = capture.isOpened()
        capture.release()
        if not opened:                    # numbers have no gaps
            break
        found.append(Device(f"index-{number}", number, f"camera {number}", stable=False))
    return tuple(found)
