"""The driver's desk by mouse and keyboard: sliders, held keys, recording, cameras. What the arm did is asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smolkit.data.reader import Dataset
from smolkit.safety.client import GuardedArm
from smolkit.safety.states import State
from smolkit.sim.plant import Plant
from tests.browser.lab import WAIT_S, Notebook, wait_until

DESK = """
from pathlib import Path
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.teleop.sliders import SliderPilot
from smolkit.widgets.keys import KeysPanel
from smolkit.widgets.teleop import TeleopPanel
kit = Kit.sim("place", seed=1, wall_clock=True)
recorder = Recorder(Path({path!r}), task="wave", calibration=kit.arm.calibration,
                    cameras=[camera.role for camera in kit.cameras.values()])
panel = TeleopPanel(kit, {{"sliders": SliderPilot("standard"), "keys": KeysPanel(mode="joint")}}, recorder)
panel
"""
CAMERAS = """
import time
from smolkit.cameras.passport import take_passport
from smolkit.kit import Kit
from smolkit.widgets.cameras import CameraPanel

def film(camera):
    for _ in range(6):
        time.sleep(0.1)
        yield camera.read()

kit = Kit.sim("place", seed=1, wall_clock=True)
panel = CameraPanel(kit.cameras, {role: take_passport(camera.role, list(film(camera)))
                                  for role, camera in kit.cameras.items()})
panel
"""
SWAP = 'panel.cameras = {"front": kit.cameras["wrist"], "wrist": kit.cameras["front"]}'


class Driver:
    """Somebody at the driver's desk, and the arm in front of them."""

    def __init__(self, notebook: Notebook, plant: Plant):
        self.notebook, self.plant = notebook, plant
        self.arm = GuardedArm.watch(plant.port)

    def press(self, what: str) -> None:
        """A button of the desk, once it can be pressed."""
        self.notebook.page.locator(f".smolkit-teleop-{what}:enabled").click()

    def base_deg(self) -> float:
        return float(np.rad2deg(self.plant.truth()["angle_rad"][0]))

    def stands(self) -> bool:
        time.sleep(1)                              # it may take a moment to stop
        before_deg = self.base_deg()
        time.sleep(1)
        return abs(self.base_deg() - before_deg) < 0.5

    def drive(self, act: Callable[[], None], there: Callable[[float], bool], what: str) -> None:
        """Acts, and waits until the base is `there`.

        On a busy computer pictures are old, and the guard stops for it: then a person arms it again, and goes on.
        """
        end_s = time.monotonic() + 2 * WAIT_S
        self.press_if_paused()
        act()
        while not there(self.base_deg()):
            assert time.monotonic() < end_s, f"never: {what}"
            if self.arm.state in (State.HOLD, State.OFF):
                assert "SK312" in self.arm.why, self.arm.why
                self.notebook.page.get_by_role("button", name="arm again").click()
                self.notebook.page.get_by_role("button", name="the cause is gone").click()
                wait_until(lambda: self.arm.state is State.ARMED, "an arm that is armed again")
                self.press_if_paused()
                act()
            time.sleep(0.05)

    def press_if_paused(self) -> None:
        run = self.notebook.page.locator(".smolkit-teleop-run")
        if run.is_enabled():
            run.click()
            wait_until(lambda: not run.is_enabled(), "a pilot at the wheel")


@pytest.fixture
def driver(kit_plant: Callable[[], Plant], tmp_path: Path, open_notebook: Callable[..., Notebook]) -> Driver:
    notebook = open_notebook(DESK.format(path=str(tmp_path / "waves")),
                             "panel.close(), recorder.close(), kit.arm.park()")
    notebook.run(0)
    return Driver(notebook, kit_plant())


def test_sliders_move_the_arm_and_an_episode_is_kept(driver: Driver, tmp_path: Path) -> None:
    assert driver.arm.state is State.IDLE          # nothing moves by being shown
    driver.press("record")
    wait_until(lambda: driver.arm.state is not State.IDLE, "an arm that is driven")
    driver.drive(lambda: driver.notebook.drag("smolkit-slider-shoulder_pan", 0.75), lambda deg: deg > 15,
                 "a base that follows its slider")
    driver.press("save")
    driver.notebook.wait_text("1 episodes saved")
    driver.notebook.run(1, patience_s=120)         # parks, too
    waves = Dataset(tmp_path / "waves")
    assert len(waves.episodes) == 1 and list(waves.tasks) == ["wave"]
    assert not any(driver.plant.truth()["torque_on"])


def test_held_keys_move_the_arm_and_a_lost_focus_stops_it(driver: Driver) -> None:
    page, area = driver.notebook.page, driver.notebook.page.locator(".smolkit-keys")

    def hold(key: str) -> None:
        area.click(position={"x": 5, "y": 5})
        page.keyboard.up(key)
        page.keyboard.down(key)

    driver.notebook.button("keys").click()
    driver.drive(lambda: hold("q"), lambda deg: deg > 10, "a base that follows Q")
    page.keyboard.up("q")
    assert driver.stands()
    driver.drive(lambda: hold("a"), lambda deg: deg < 5, "a base that follows A")
    page.locator(".jp-Notebook .jp-Cell .cm-content").last.click()           # and A is still down
    assert driver.stands()
    page.keyboard.up("a")

    area.click(position={"x": 5, "y": 5})
    page.keyboard.press("Space")
    wait_until(lambda: driver.arm.state in (State.HOLD, State.OFF), "an arm stopped by the space bar", 10)


def test_cameras_are_alive_and_a_swap_is_seen(kit_plant: Callable[[], Plant],
                                              open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook(CAMERAS, SWAP, "panel.close(), kit.close()")
    notebook.run(0)
    kit_plant()
    picture = notebook.page.locator(".smolkit-camera-front img")
    first = picture.get_attribute("src")
    wait_until(lambda: picture.get_attribute("src") != first and picture.evaluate("img => img.naturalWidth") == 96,
               "another picture of 96 pixels")
    notebook.button("ghost").click()
    notebook.wait_text("ghost: it stands as in its passport")
    notebook.run(1)
    notebook.wait_text("most like that of wrist")
    notebook.run(2, patience_s=120)
