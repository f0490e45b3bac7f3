import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smolkit.cameras.camera import CameraRole, Frame
from smolkit.cameras.health import collect, health_of, watch
from smolkit.cameras.passport import Passport, differences, load_passport, save_passport, take_passport, write_png
from smolkit.cameras.recorded import RecordedCamera
from smolkit.clock import SteppedClock
from smolkit.report import SmolkitError
from tests.cameras.films import colors, film, mosaic

ROLE = CameraRole("front", 48, 64, fps=10)


def example() -> Passport:
    """A camera's before which a white square moves through the left half."""
    images = [mosaic() for _ in range(8)]
    for k, image in enumerate(images):
        image[20 * k:20 * k + 60, 20:80] = 255
    frames = [Frame(image, k / 10, k + 1) for k, image in enumerate(images)]
    return take_passport(CameraRole("front", 240, 320, fps=10), frames, "pci-0-usb-0:1", taken_on="2026-09-01")


PASSPORT = example()


def test_what_moved_is_left_out_of_the_comparison() -> None:
    steady = PASSPORT.picture[..., 3] > 0
    assert steady[:, 100:].all() and steady[:, 20:80].mean() < 0.5


def test_a_passport_survives_its_files(tmp_path: Path) -> None:
    passport = PASSPORT
    path = save_passport(passport, tmp_path / "passports")
    loaded = load_passport(tmp_path / "passports", "front")
    assert loaded == passport and (loaded.picture == passport.picture).all() and path.name == "front.json"
    assert sorted(p.name for p in path.parent.iterdir()) == ["front.json", "front.png"]


def test_differences_name_what_changed() -> None:
    old = PASSPORT
    new = take_passport(old.role, [Frame(mosaic(), 0.0)], "pci-0-usb-0:2", taken_on="2026-09-01")
    assert set(differences(old, new)) == {"identity", "fps", "look"} and not differences(old, old)


def damage(path: Path, kind: str) -> None:
    facts = json.loads(path.read_text())
    if kind == "no picture":
        path.with_suffix(".png").unlink()
    elif kind == "half a picture":
        path.with_suffix(".png").write_bytes(path.with_suffix(".png").read_bytes()[:2000])
    elif kind == "another picture":
        write_png(path.with_suffix(".png"), PASSPORT.picture[::-1])
    elif kind == "half a file":
        path.write_text(path.read_text()[:150])
    elif kind == "negative rate":
        path.write_text(json.dumps({**facts, "fps": -3.0}))
    elif kind == "not a number":
        path.write_text(json.dumps({**facts, "fps": float("nan")}))
    elif kind == "another role":
        path.write_text(json.dumps({**facts, "role": {**facts["role"], "name": "wrist"}}))
    else:
        path.write_text(json.dumps({**facts, "color": "blue"}))


@pytest.mark.parametrize("kind", ["no picture", "half a picture", "another picture", "half a file", "negative rate",
                                  "not a number", "another role", "unknown key"])
def test_a_damaged_passport_is_refused(tmp_path: Path, kind: str) -> None:
    damage(save_passport(PASSPORT, tmp_path), kind)
    with pytest.raises(SmolkitError, match="SK206"):
        load_passport(tmp_path, "front")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), byte=st.integers(0, 255))
def test_any_wrong_byte_is_refused_or_read_as_valid(tmp_path: Path, at: float, byte: int) -> None:
    path = save_passport(PASSPORT, tmp_path)
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] = byte
    path.write_bytes(bytes(content))
    try:
        assert load_passport(tmp_path, "front").fps >= 0
    except SmolkitError as error:
        assert error.code == "SK206"


@pytest.mark.parametrize("role", ["../front", "a/b", "", "Front", "front.json", "front\n"])
def test_a_role_leads_out_of_no_folder(tmp_path: Path, role: str) -> None:
    with pytest.raises(SmolkitError, match="SK206"):
        load_passport(tmp_path, role)


# -- recordings --------------------------------------------------------------------------------------------


def recorded(folder: Path, kind: str, count: int = 30) -> Path:
    if kind == "video":
        return Path(film(folder / "clip.mp4", colors(count), fps=10))
    for k, image in enumerate(colors(count)):
        write_png(folder / f"{k:03d}.png", image)
    return folder


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_a_recording_plays_in_step_with_the_clock(tmp_path: Path, kind: str) -> None:
    clock = SteppedClock(5.0)
    camera = RecordedCamera(recorded(tmp_path, kind), ROLE, clock)
    for moment_s, index in ((5.0, 1), (5.05, 1), (5.1, 2), (5.1, 2), (6.25, 13)):
        clock.sleep_until(moment_s)
        frame = camera.read()
        assert frame.index == index and frame.captured_s == pytest.approx(5.0 + (index - 1) / 10)
        assert int(frame.image.mean(axis=(0, 1)).argmax()) == (index - 1) % 3
    clock.sleep_until(8.0)
    with pytest.raises(SmolkitError, match="SK204(.|\n)*30 pictures"):
        camera.read()
    camera.close()


@given(steps_s=st.lists(st.floats(0, 0.7), min_size=1, max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_picture_comes_before_its_time_or_late(tmp_path: Path, steps_s: list[float]) -> None:
    clock = SteppedClock()
    camera = RecordedCamera(recorded(tmp_path, "pictures", 3), ROLE, clock, loop=True)
    for step_s in steps_s:
        clock.sleep_until(clock.now_s() + step_s)
        frame = camera.read()
        assert -1e-6 <= clock.now_s() - frame.captured_s < 0.1 + 1e-6
        assert int(frame.image.mean(axis=(0, 1)).argmax()) == (frame.index - 1) % 3
    camera.close()


def test_recordings_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 8)
    for source in (tmp_path / "none.mp4", tmp_path / "noise.mp4", tmp_path):       # the folder holds no PNG
        with pytest.raises(SmolkitError, match="SK207"):
            RecordedCamera(source, ROLE, SteppedClock())
    with pytest.raises(SmolkitError, match="SK202"):
        RecordedCamera(recorded(tmp_path, "video", 3), CameraRole("front", 96, 64, 10), SteppedClock())


# -- health ------------------------------------------------------------------------------------------------


def test_watching_a_recording_in_stepped_time(tmp_path: Path) -> None:
    clock = SteppedClock()
    camera = RecordedCamera(recorded(tmp_path, "pictures"), ROLE, clock)
    health = watch(camera, 2.0, clock)
    assert (health.fps, health.jitter_ms, health.frames, health.dropped, health.repeated) == (10.0, 0.0, 20, 0, 0)
    assert [frame.index for frame in collect(camera, 0.5, clock)] == [20, 21, 22, 23, 24]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(5, 60))
def test_a_gap_in_time_is_a_drop_and_a_gap_in_the_count_is_not(gaps: list[int], fps: int) -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    ticks = np.cumsum([0, *gaps]).tolist()
    counted_in_time = [Frame(black, tick / fps, k, str(k)) for k, tick in enumerate(ticks, start=1)]
    counted_by_camera = [Frame(black, tick / fps, tick + 1, str(tick)) for tick in ticks]
    assert health_of(counted_in_time, fps).dropped == sum(gap - 1 for gap in gaps)
    assert health_of(counted_by_camera, fps).dropped == 0
    assert health_of(counted_by_camera, fps).fps == pytest.approx(fps, abs=0.01)
