"""The cameras' panel says what is wrong with which camera, and one that fails takes no other with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from smolkit.cameras.camera import Camera, Frame
from smolkit.cameras.health import collect
from smolkit.cameras.passport import Passport, take_passport
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.widgets.cameras import FEWEST, CameraPanel

RATE_S = 0.1


@pytest.fixture(scope="module")
def desk() -> Iterator[Kit]:
    with Kit.sim("place", seed=3, image_px=240) as kit:
        yield kit


@pytest.fixture(scope="module")
def passports(desk: Kit) -> dict[str, Passport]:
    return {role: take_passport(camera.role, collect(camera, 1.0, desk.clock)) for role, camera in desk.cameras.items()}


class Through:
    """A camera with something before its lens, or in its cable."""

    def __init__(self, camera: Camera, change):
        self.role, self._camera, self._change = camera.role, camera, change

    def read(self) -> Frame:
        frame = self._camera.read()
        return replace(frame, image=self._change(frame.image), digest="")

    def close(self) -> None:
        pass


def watched(desk: Kit, cameras: dict[str, Camera], passports: dict[str, Passport], looks: int = FEWEST) -> CameraPanel:
    """A panel after so many looks, a tenth of a second apart."""
    panel = CameraPanel(cameras, passports, clock=desk.clock)
    panel.view()
    for _ in range(looks):
        desk.clock.sleep_until(desk.clock.now_s() + RATE_S)
        assert panel.refresh(), panel.trouble
    return panel


def red(panel: CameraPanel) -> set[str]:
    return {f"{check.code} {check.name.split()[0]}" for check in panel.check().red()}


def test_sound_cameras_are_green_and_in_numbers(desk: Kit, passports):
    panel = watched(desk, desk.cameras, passports)
    assert not red(panel)
    assert "10.0 fps, 0 ms old" in panel.text() and "all green" in panel.text()
    assert panel.picture().count("<img alt=") == 2 and panel.picture().count("✓") == len(panel.report.checks)


def test_swapped_cameras_are_told(desk: Kit, passports):
    swapped = {"front": Through(desk.cameras["wrist"], lambda image: image),
               "wrist": Through(desk.cameras["front"], lambda image: image)}
    assert {"SK246 front", "SK246 wrist"} <= red(watched(desk, swapped, passports))


def test_a_dark_camera_is_red_beside_a_green_one(desk: Kit, passports):
    dark = {**desk.cameras, "front": Through(desk.cameras["front"], lambda image: image // 8)}
    panel = watched(desk, dark, passports)
    assert "SK243 front" in red(panel) and not any(name.endswith("wrist") for name in red(panel))
    assert panel.picture().index("SK243") < panel.picture().index("✓")     # what is red comes first


def test_the_ghost_says_which_way_to_turn(desk: Kit, passports):
    turned = {**desk.cameras, "front": Through(desk.cameras["front"], lambda image: np.roll(image, 18, axis=1))}
    panel = watched(desk, turned, passports, looks=2)
    assert "ghost" not in panel.text()
    before = panel.picture()
    panel._toggle.value = True                                             # what a click does
    assert panel.haunted and "ghost: turn the camera right by about" in panel.text()
    assert panel.picture() != before and "it stands as in its passport of wrist" in panel.text()


def test_a_camera_that_fails_takes_no_other_with_it(desk: Kit, passports):
    def torn(image: np.ndarray) -> np.ndarray:
        raise SmolkitError("SK204", "a picture", "none for 2 s", "its cable came loose", "plug it in")

    panel = watched(desk, {**desk.cameras, "front": Through(desk.cameras["front"], torn)}, passports)
    assert "front: no picture. SK204: none for 2 s; plug it in" in panel.text()
    assert "wrist 240 x 240 px; 10.0 fps" in panel.text() and "SK247 cameras" in red(panel)
    assert "no picture" in panel.picture() and panel.picture().count("<img alt=") == 1


def test_without_passports_there_is_no_ghost_and_no_check(desk: Kit):
    panel = watched(desk, desk.cameras, {}, looks=2)
    assert panel._toggle.disabled and panel.report is None and "brightness" in panel.text()


def test_it_watches_a_plant_of_its_own_process(kit: Kit, within):
    with CameraPanel(kit.cameras) as panel:
        panel.view()
        panel.start()
        within(lambda: all(len(frames) >= 5 for frames in panel.frames.values()) and "fps" in panel.text(), 15)
        assert not panel.trouble
    assert not panel.running
