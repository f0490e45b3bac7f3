import sys

import numpy as np
import pytest

from smolkit.cameras.camera import CameraRole
from smolkit.cameras.opencv import OpenCVCamera
from smolkit.clock import SteppedClock
from smolkit.data.video import VideoEncoder
from smolkit.report import SmolkitError

pytest.importorskip("cv2", reason="OpenCV needs libGL and GLib: apt-get install libgl1 libglib2.0-0",
                    exc_type=ImportError)


@pytest.fixture
def film(tmp_path):
    """Three pictures: red, green, blue."""
    encoder = VideoEncoder(48, 64, fps=10)
    for channel in range(3):
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., channel] = 200
        encoder.add(image)
    path = tmp_path / "camera.mp4"
    path.write_bytes(encoder.finish())
    return str(path)


def test_pictures_come_in_order_and_in_rgb(film):
    camera = OpenCVCamera(film, CameraRole("front", 48, 64, fps=10), SteppedClock(3.0))
    frames = [camera.read() for _ in range(3)]
    assert [int(frame.image.mean(axis=(0, 1)).argmax()) for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (48, 64, 3) and frames[0].captured_s == 3.0
    with pytest.raises(SmolkitError, match="SK202.*front"):
        camera.read()                                                  # the film is over
    camera.close()


def test_another_size_is_refused(film):
    camera = OpenCVCamera(film, CameraRole("wrist", 96, 64, fps=10), SteppedClock())
    with pytest.raises(SmolkitError, match="SK202"):
        camera.read()


def test_a_missing_camera_is_explained(tmp_path):
    with pytest.raises(SmolkitError, match="SK201"):
        OpenCVCamera(str(tmp_path / "video9"), CameraRole("front", 48, 64, fps=10), SteppedClock())


def test_opencv_that_does_not_load_is_explained(tmp_path, monkeypatch):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SmolkitError, match="SK203(.|\n)*libGL"):
        OpenCVCamera(0, CameraRole("front", 48, 64, fps=10), SteppedClock())
