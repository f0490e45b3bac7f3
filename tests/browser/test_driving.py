"""The driver's desk by mouse and keyboard: sliders, held keys, a gamepad, a leader arm, recording, cameras.

One kit for all: what the arm did is asked of it, and each test finds it as the one before left it. The leader is
six emulated servos behind a TCP port of the test's own process, and the test is the hand that moves them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from smolkit.arm import fake, registers
from smolkit.arm.emulator import ServoBus
from smolkit.arm.serve import serve_tcp
from smolkit.data.reader import Dataset
from smolkit.safety.client import GuardedArm
from smolkit.safety.states import State
from smolkit.sim.plant import Plant
from tests.browser.lab import WAIT_S, Notebook, wait_until

DESK = """
from pathlib import Path
from smolkit.arm.calibration import Calibration
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.teleop.leader import LeaderArm
from smolkit.teleop.sliders import SliderPilot
from smolkit.widgets.keys import KeysPanel, LeaderPanel
from smolkit.widgets.teleop import TeleopPanel
kit = Kit.sim("place", seed=1, wall_clock=True)
recorder = Recorder(Path({path!r}), task="wave", calibration=kit.arm.calibration,
                    cameras=[camera.role for camera in kit.cameras.values()])
leader = LeaderArm({port!r}, Calibration.load(Path({file!r})))
panel = TeleopPanel(kit, {{"sliders": SliderPilot("standard"), "keys": KeysPanel(mode="joint"),
                          "leader": LeaderPanel(leader)}}, recorder)
panel
"""
LEAVE = "panel.close(), recorder.close(), leader.close(), kit.arm.park()"
CAMERAS = """
import time
from smolkit.cameras.passport import take_passport
from smolkit.widgets.cameras import CameraPanel

def film(camera):
    for _ in range(6):
        time.sleep(0.1)
        yield camera.read()

cameras = CameraPanel(kit.cameras, {role: take_passport(camera.role, list(film(camera)))
                                    for role, camera in kit.cameras.items()})
cameras
"""
SWAP = 'cameras.cameras = {"front": kit.cameras["wrist"], "wrist": kit.cameras["front"]}'
LEAVE_CELL, CAMERAS_CELL, SWAP_CELL, CLOSE_CELL = 1, 2, 3, 4
PAN, ELBOW, GRIPPER = 0, 2, 5


class Driver:
    """Somebody at the driver's desk, and the arms in front of them."""

    def __init__(self, notebook: Notebook, plant: Plant, leader: ServoBus):
        self.notebook, self.page, self.plant, self.leader = notebook, notebook.page, plant, leader
        self.arm = GuardedArm.watch(plant.port)

    def press(self, what: str) -> None:
        """A button of the desk, once it can be pressed."""
        self.page.locator(f".smolkit-teleop-{what}:enabled").click()

    def choose(self, pilot: str) -> None:
        """Another pilot, at an arm that nobody drives and nobody stopped."""
        wait_until(lambda: not self.drives() or self.push("pause"), "a desk where nobody drives")
        if self.arm.state in (State.HOLD, State.OFF):
            self.arm_again()
        self.page.locator(".smolkit-teleop button:enabled", has_text=pilot).first.click()

    def take_the_wheel(self) -> None:
        wait_until(lambda: self.drives() or self.push("run"), "a pilot at the wheel")

    def drives(self) -> bool:
        return self.page.locator(".smolkit-teleop-pause").is_enabled()

    def push(self, what: str) -> None:
        """A button of the desk, even if it cannot be pressed just now."""
        self.page.locator(f".smolkit-teleop-{what}").click(force=True)

    def angle_deg(self, joint: int = PAN) -> float:
        return float(np.rad2deg(self.plant.truth()["angle_rad"][joint]))

    def stands(self, joint: int = PAN) -> bool:
        time.sleep(1.0)                            # it may take a moment to stop
        before_deg = self.angle_deg(joint)
        time.sleep(0.8)
        return abs(self.angle_deg(joint) - before_deg) < 1

    def drive(self, act: Callable[[], None], there: Callable[[float], bool], what: str, joint: int = PAN) -> None:
        """Acts, and waits until the joint is `there`.

        On a busy computer pictures are old, and the guard stops for it: then a person arms it again, and goes on.
        So it is with a leader whose readings came late: the clutch is released, and pressed again.
        """
        end_s = time.monotonic() + 2 * WAIT_S
        self.take_the_wheel()
        act()
        while not there(self.angle_deg(joint)):
            assert time.monotonic() < end_s, f"never: {what}"
            if self.arm.state in (State.HOLD, State.OFF):
                assert "SK312" in self.arm.why, self.arm.why
                self.arm_again()
                self.take_the_wheel()
                act()
            if self.page.get_by_text("frozen: release the clutch").count():
                act()
            time.sleep(0.05)

    def arm_again(self) -> None:
        self.page.get_by_role("button", name="arm again").click()
        self.page.get_by_role("button", name="the cause is gone").click()
        wait_until(lambda: self.arm.state is State.ARMED, "an arm that is armed again")

    def hold(self, key: str) -> None:
        """Presses a key in the area of the keys, and holds it."""
        self.page.locator(".smolkit-keys:visible").click(position={"x": 5, "y": 5})
        self.page.keyboard.up(key)
        self.page.keyboard.down(key)

    def pad(self, right: float = 0.0, **down: float) -> None:
        """A gamepad is plugged in: its left stick that far to the right, these buttons down."""
        buttons = [{"value": down.get(f"button_{number}", 0.0)} for number in range(16)]
        self.page.evaluate("pad => { navigator.getGamepads = () => [pad]; }",
                           {"id": "Pad (standard)", "axes": [right, 0, 0, 0], "buttons": buttons})

    def unplug_pad(self) -> None:
        self.page.evaluate("() => { navigator.getGamepads = () => [null]; }")

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Another tab is in front, and the page has lost its focus."""
        browser = self.page.context.new_cdp_session(self.page)
        browser.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
        other = self.page.context.new_page()
        other.bring_to_front()
        yield
        other.close()
        self.page.bring_to_front()
        browser.send("Emulation.setFocusEmulationEnabled", {"enabled": True})


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driving") / "waves"


@pytest.fixture(scope="module")
def driver(kit_plant: Callable[[], Plant], waves: Path, open_shared: Callable[..., Notebook]) -> Iterator[Driver]:
    servos = fake.servos(3)
    file = fake.calibrated(servos).save(waves.with_name("leader.json"))
    with serve_tcp(servos) as wire:
        notebook = open_shared(DESK.format(path=str(waves), port=wire.port, file=str(file)), LEAVE, CAMERAS, SWAP,
                               "cameras.close()")
        notebook.run(0)
        driver = Driver(notebook, kit_plant(), servos)
        assert driver.arm.state is State.IDLE      # nothing moves by being shown
        driver.drive(lambda: notebook.drag("smolkit-slider-elbow_flex", 0.35), lambda deg: deg < 0,
                     "an arm that is raised from the table that it lay on", ELBOW)
        yield driver


def test_sliders_move_the_arm_and_an_episode_is_kept(driver: Driver, waves: Path) -> None:
    driver.choose("sliders")
    driver.press("record")
    wait_until(driver.drives, "a pilot at the wheel")
    driver.drive(lambda: driver.notebook.drag("smolkit-slider-shoulder_pan", 0.75), lambda deg: deg > 15,
                 "a base that follows its slider")
    driver.press("save")
    driver.notebook.wait_text("1 episodes saved")
    kept = Dataset(waves)
    assert len(kept.episodes) == 1 and list(kept.tasks) == ["wave"]
    assert np.ptp(kept.episode(0)["action"][:, PAN]) > 10


def test_held_keys_move_the_arm_and_a_lost_focus_stops_it(driver: Driver) -> None:
    driver.choose("keys")
    start_deg = driver.angle_deg()
    driver.drive(lambda: driver.hold("q"), lambda deg: deg > start_deg + 10, "a base that follows Q")
    driver.page.keyboard.up("q")
    assert driver.stands()
    driver.drive(lambda: driver.hold("a"), lambda deg: deg < start_deg + 5, "a base that follows A")
    driver.page.locator(".jp-Notebook .jp-Cell .cm-content").last.click()          # and A is still down
    assert driver.stands()
    driver.page.keyboard.up("a")

    driver.page.locator(".smolkit-keys").click(position={"x": 5, "y": 5})
    driver.page.keyboard.press("Space")
    wait_until(lambda: driver.arm.state in (State.HOLD, State.OFF), "an arm stopped by the space bar", 10)


def test_a_gamepad_moves_the_arm_while_a_shoulder_button_is_held(driver: Driver) -> None:
    driver.choose("keys")
    start_deg, open_deg = driver.angle_deg(), driver.angle_deg(GRIPPER)
    driver.drive(lambda: driver.pad(right=-1.0, button_4=1.0), lambda deg: deg < start_deg - 10, "a stick to the left")
    driver.notebook.wait_text("Gamepad: Pad; hold a shoulder button.")
    driver.pad(right=-1.0)                         # the shoulder button is up, the stick is not
    assert driver.stands()
    driver.drive(lambda: driver.pad(button_4=1.0, button_7=1.0), lambda deg: deg > open_deg + 10,
                 "a trigger that opens the gripper", GRIPPER)
    driver.pad(button_4=1.0)                       # the trigger is up
    assert driver.stands(GRIPPER)
    driver.drive(lambda: driver.pad(right=1.0, button_4=1.0), lambda deg: deg > start_deg - 5, "a stick to the right")
    driver.unplug_pad()
    assert driver.stands()
    driver.drive(lambda: driver.pad(right=1.0, button_4=1.0), lambda deg: deg > start_deg + 5, "a pad that is back")
    with driver.elsewhere():
        assert driver.stands()
    driver.unplug_pad()


def test_the_follower_goes_along_with_the_leader_while_the_clutch_is_held(driver: Driver) -> None:
    driver.choose("leader")
    notebook, pose_rad = driver.notebook, driver.plant.truth()["angle_rad"]

    def lead(by_deg: float) -> None:
        """The hand takes the leader to where the follower stood, its base turned away by that much."""
        driver.leader.hand_pose(pose_rad + np.deg2rad([by_deg, 0, 0, 0, 0, 0]))

    def turned_deg() -> float:
        return driver.angle_deg() - float(np.rad2deg(pose_rad[PAN]))

    lead(30)
    driver.drive(lambda: driver.hold("c"), lambda _: notebook.sees("move the leader's shoulder_pan by -", 0),
                 "a desk that says how to move the leader")
    assert driver.stands() and abs(turned_deg()) < 1
    lead(8)                                        # as well as an eye tells
    driver.drive(lambda: driver.hold("c"), lambda _: notebook.sees("leader: following", 0), "a clutch that takes")
    lead(-25)
    driver.drive(lambda: None, lambda _: abs(turned_deg() + 25) < 2, "a base that follows the leader's")
    driver.page.keyboard.up("c")
    notebook.wait_text("clutch released, the follower stands")
    lead(0)
    assert driver.stands() and abs(turned_deg() + 25) < 3

    key = driver.page.locator(".smolkit-keys:visible [data-code=KeyC]")
    lead(-25)
    key.hover()
    driver.page.mouse.down()                       # a finger on the drawn key
    driver.drive(lambda: None, lambda _: notebook.sees("leader: following", 0), "a clutch that takes")
    lead(0)
    driver.drive(lambda: None, lambda _: abs(turned_deg()) < 2, "a base that follows it back")
    moved_deg = np.rad2deg(driver.plant.truth()["angle_rad"] - pose_rad)           # (6,)
    assert np.abs(moved_deg).max() < 3, "only the base was led"
    driver.page.mouse.up()
    notebook.wait_text("clutch released, the follower stands")
    limp = [driver.leader.memory(servo).get(registers.TORQUE_ENABLE) for servo in range(1, 7)]
    assert not any(limp), "a leader is only read"


def test_cameras_are_alive_and_a_swap_is_seen(driver: Driver) -> None:
    notebook = driver.notebook
    notebook.run(CAMERAS_CELL)
    panel = notebook.page.locator(".jp-Notebook .jp-Cell").nth(CAMERAS_CELL)
    picture = panel.locator(".smolkit-camera-front img")
    first = picture.get_attribute("src")
    driver.plant.reset(seed=2)                     # the cubes lie elsewhere: what stands still gives one picture
    wait_until(lambda: picture.get_attribute("src") != first and picture.evaluate("img => img.naturalWidth") == 96,
               "another picture of 96 pixels")
    driver.plant.reset(seed=1)
    notebook.button("ghost").click()
    notebook.wait_text("ghost: it stands as in its passport")
    notebook.run(SWAP_CELL)
    notebook.wait_text("most like that of wrist")
    notebook.run(CLOSE_CELL)


def test_who_leaves_the_desk_finds_the_arm_limp(driver: Driver) -> None:
    driver.choose("sliders")
    driver.drive(lambda: None, lambda _: driver.arm.state is State.RUNNING, "an arm that is driven")
    driver.notebook.run(LEAVE_CELL, patience_s=120)            # parks
    assert not any(driver.plant.truth()["torque_on"])
