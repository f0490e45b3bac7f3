import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.cameras.camera import CameraRole, Frame
from smolkit.cameras.devices import address_of, find_device, list_devices
from smolkit.cameras.health import watch
from smolkit.cameras.opencv import OpenCVCamera, Settings, capture_moment, configure, missing_between
from smolkit.clock import SteppedClock, WallClock
from smolkit.report import SmolkitError
from tests.cameras.films import colors, film

cv2 = pytest.importorskip("cv2", reason="OpenCV needs libGL and GLib: apt-get install libgl1 libglib2.0-0",
                          exc_type=ImportError)
FPS = 40
ROLE = CameraRole("front", 48, 64, fps=FPS)


@pytest.fixture
def looped(tmp_path: Path) -> Iterator[OpenCVCamera]:
    camera = OpenCVCamera(film(tmp_path / "camera.mp4", colors(30), FPS), ROLE, WallClock(), loop=True)
    yield camera
    camera.close()


def next_frame(camera: OpenCVCamera, after: int) -> Frame:
    """The first frame behind a number."""
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s:
        if camera.read().index > after:
            return camera.read()
        time.sleep(0.002)
    raise AssertionError(f"no frame after {after} in 5 s")


def test_the_newest_picture_is_at_hand_in_rgb_with_its_moment_and_number(looped: OpenCVCamera) -> None:
    first = looped.read()
    later = next_frame(looped, first.index + 2)
    for frame in (first, later):
        assert frame.image.shape == (48, 64, 3)
        assert int(frame.image.mean(axis=(0, 1)).argmax()) == (frame.index - 1) % 3      # red, green, blue
        assert 0 <= time.monotonic() - frame.captured_s < 5
    assert later.captured_s > first.captured_s and later.digest != first.digest


def test_a_slow_reader_sees_the_present(looped: OpenCVCamera) -> None:
    first = looped.read()
    time.sleep(0.3)
    assert looped.read().index >= first.index + 4 and looped.counts.delivered >= 5


def test_watching_measures_the_rate(looped: OpenCVCamera) -> None:
    health = watch(looped, 0.8, WallClock())
    assert 0.6 * FPS < health.fps < 1.2 * FPS and health.frames > 8 and health.repeated == 0


@pytest.mark.fault(15)
def test_repeated_pictures_are_counted(tmp_path: Path) -> None:
    still = film(tmp_path / "still.mp4", colors(1) * 20, FPS)
    camera = OpenCVCamera(still, ROLE, WallClock())
    last = next_frame(camera, 12)
    counts = camera.counts
    camera.close()
    assert counts.repeated >= 8 and counts.delivered >= last.index


@pytest.mark.fault(15)
def test_a_camera_that_stops_tells_for_how_long(tmp_path: Path) -> None:
    camera = OpenCVCamera(film(tmp_path / "short.mp4", colors(3), FPS), ROLE, WallClock())
    next_frame(camera, 2)                                              # the third and last
    time.sleep(0.55)
    with pytest.raises(SmolkitError, match=r"SK204.*front(.|\n)*0\.[5-9] s ago"):
        camera.read()
    camera.reopen()
    assert camera.read().index >= 1 and camera.counts.delivered <= 3
    camera.close()


def test_a_closed_camera_frees_its_thread_and_opens_again(looped: OpenCVCamera) -> None:
    running = threading.active_count()
    looped.close()
    looped.close()
    assert threading.active_count() == running - 1
    with pytest.raises(SmolkitError, match="SK204(.|\n)*closed"):
        looped.read()
    looped.reopen()
    assert looped.read().image.shape == (48, 64, 3)


@pytest.mark.parametrize("role, words", [(CameraRole("wrist", 96, 64, FPS), "48 x 64 px"),
                                         (CameraRole("wrist", 48, 64, fps=10), "40.0 pictures a second")])
def test_another_size_or_rate_is_refused(tmp_path: Path, role: CameraRole, words: str) -> None:
    running = threading.active_count()
    with pytest.raises(SmolkitError, match=f"SK202(.|\n)*{words}"):
        OpenCVCamera(film(tmp_path / "camera.mp4", colors(3), FPS), role, WallClock())
    assert threading.active_count() == running


def test_a_missing_camera_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SmolkitError, match="SK201"):
        OpenCVCamera(str(tmp_path / "video9"), ROLE, WallClock())


def test_a_clock_that_stands_still_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SmolkitError, match="SK208"):
        OpenCVCamera(film(tmp_path / "camera.mp4", colors(3), FPS), ROLE, SteppedClock())


def test_a_setting_that_the_device_does_not_take_is_no_secret(tmp_path: Path) -> None:
    capture = cv2.VideoCapture(film(tmp_path / "camera.mp4", colors(3), FPS))
    configure(cv2, capture, ROLE, Settings())
    with pytest.raises(SmolkitError, match="SK202(.|\n)*exposure 150"):
        configure(cv2, capture, ROLE, Settings(exposure=150))
    capture.release()


def test_opencv_that_does_not_load_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SmolkitError, match="SK203(.|\n)*libGL"):
        OpenCVCamera(0, ROLE, WallClock())


@given(st.integers(1, 20), st.floats(-0.3, 0.3), st.integers(5, 120))
def test_missing_pictures_are_counted_in_spite_of_jitter(periods: int, jitter: float, fps: int) -> None:
    assert missing_between((periods + jitter) / fps, fps) == periods - 1


@given(st.floats(1, 1e6), st.floats(0, 1), st.floats(-1e6, 1e9))
def test_a_picture_is_never_from_the_future_nor_older_than_the_wait_explains(now_s: float, wait_s: float,
                                                                              driver_s: float) -> None:
    moment_s = capture_moment(now_s, driver_s, now_s - wait_s)
    assert now_s - wait_s - 1 <= moment_s <= now_s and moment_s in (now_s, driver_s)


# -- which camera is which ---------------------------------------------------------------------------------


not_on_windows = pytest.mark.skipif(os.name == "nt", reason="links need rights there, and bus paths are Linux's")


def plug(by_path: Path, socket: str, node: Path) -> None:
    """Links as udev makes them: newer systems have a second one per camera, and one for its metadata."""
    for name in (f"pci-0-usb-{socket}-video-index0", f"pci-0-usbv2-{socket}-video-index0",
                 f"pci-0-usb-{socket}-video-index1"):
        link = by_path / name
        link.unlink(missing_ok=True)
        os.symlink(node if name.endswith("0") else node.with_name("metadata"), link)


@not_on_windows
@pytest.mark.fault(16)
def test_a_camera_is_found_by_its_socket_whatever_its_number(tmp_path: Path) -> None:
    by_path, names = tmp_path / "by-path", tmp_path / "names"
    by_path.mkdir()
    (names / "video0").mkdir(parents=True)
    (names / "video0" / "name").write_text("HD Webcam\n")
    red, blue = (np.full((48, 64, 3), color, np.uint8) for color in ((200, 0, 0), (0, 0, 200)))
    for first, second in (("video0", "video2"), ("video2", "video0")):             # the numbers of two starts
        film(tmp_path / first, [red] * 20, FPS)
        film(tmp_path / second, [blue] * 20, FPS)
        plug(by_path, "0:1", tmp_path / first)
        plug(by_path, "0:2", tmp_path / second)
        devices = list_devices(by_path, names)
        assert [(d.identity, d.stable) for d in devices] == [("pci-0-usb-0:1", True), ("pci-0-usb-0:2", True)]
        assert devices[first != "video0"].name == "HD Webcam"
        camera = OpenCVCamera(find_device("pci-0-usb-0:1", devices).address, ROLE, WallClock())
        assert camera.read().image[..., 0].mean() > 150
        camera.close()


@not_on_windows
@pytest.mark.fault(16)
def test_a_camera_in_another_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(SmolkitError, match="SK205(.|\n)*no camera at all"):
        find_device("pci-0-usb-0:1", ())
    by_path = tmp_path / "by-path"
    by_path.mkdir()
    (by_path / "pci-0-usb-0:3-video-index0").write_bytes(b"")
    with pytest.raises(SmolkitError, match="SK205(.|\n)*0:3"):
        find_device("pci-0-usb-0:1", list_devices(by_path))


def test_a_camera_is_named_by_number_path_film_or_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"")
    for camera in (0, "/dev/v4l/by-path/pci-0-usb-0:1-video-index0", "film.mp4"):
        assert address_of(camera) == camera
    with pytest.raises(SmolkitError, match="SK205"):
        address_of("pci-9-usb-9:9")
