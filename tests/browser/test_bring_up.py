"""Bring-up and calibration by mouse: what the panels say, and what the servos hold afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration, degrees
from smolkit.arm.configure import servo_fingerprint
from smolkit.arm.joints import IDS, JOINT_NAMES, LOWER_RAD, UPPER_RAD, from_radians
from smolkit.arm.registers import PRESENT_POSITION
from smolkit.sim.plant import Plant
from tests.browser.lab import Notebook, wait_until

PORTS = """
from smolkit.lessons.servo_desk import open_desk
from smolkit.widgets.bring_up import PortPanel
desk = open_desk("sim")
panel = PortPanel(desk.ports)
display(panel, *desk.cable())
"""
NEW = """
from smolkit.arm.arm_type import arm_type
from smolkit.lessons.servo_desk import NewServos
from smolkit.widgets.bring_up import SetupMotorsPanel
new = NewServos()
SetupMotorsPanel(new.bus, arm_type("7.4V"), plug=new.plug)
"""
DOCTOR = """
from smolkit.arm import fake
from smolkit.arm.bus import Bus
from smolkit.arm.doctor import check_bus
from smolkit.arm.emulator import connect
from smolkit.report import Report
from smolkit.safety.faults import fault
from smolkit.widgets.bring_up import DoctorPanel
servos = fake.servos()
DoctorPanel(lambda: Report("bring-up", tuple(check_bus(Bus(connect(servos))))))
"""
BREAK = "broken = fault('chain_break', servos, at=4)\nbroken.__enter__()"
WHO = "new.plug(range(1, 7))\nprint(new.bus.everyone())"
PORTS_CELL, NEW_CELL, WHO_CELL, DOCTOR_CELL, BREAK_CELL = range(5)
CALIBRATE = """
from pathlib import Path
from smolkit.arm.bus import Bus
from smolkit.arm.calibrate import CalibrationSession
from smolkit.sim.plant import Plant
from smolkit.widgets.calibration import CalibrationPanel
from smolkit.widgets.hand import HandPanel
plant = Plant.attach("browser")
bus = Bus(plant.port)
hand = HandPanel(plant.hand_pose, lambda: plant.truth()["angle_rad"])
panel = CalibrationPanel(CalibrationSession(bus), keep=lambda mine: mine.save(Path({path!r})))
display(panel, hand)
"""


@pytest.fixture(scope="module")
def notebook(open_shared: Callable[..., Notebook]) -> Notebook:
    """All panels of bring-up in one kernel; each test runs the cells that it needs."""
    return open_shared(PORTS, NEW, WHO, DOCTOR, BREAK)


def test_a_pulled_cable_finds_the_port(notebook: Notebook) -> None:
    notebook.run(PORTS_CELL)
    notebook.button("find my arm").click()
    notebook.wait_text("Now pull the arm's USB cable")
    notebook.button("pull the USB cable").click()
    notebook.wait_text("plug it in again")
    notebook.button("pull the USB cable").click()
    notebook.wait_text('PORT = "usb:EMULATED01"')


def test_new_servos_get_their_ids_one_at_a_time(notebook: Notebook) -> None:
    notebook.run(NEW_CELL)
    chain = notebook.page.locator(".smolkit-chain").first
    notebook.button("begin").click()
    notebook.wait_text("will be 6")                # the wire was seen empty: who plugs in earlier is sent back
    for count, joint in enumerate(reversed(JOINT_NAMES), start=1):
        notebook.button(f"plug in {joint}").click()
        wait_until(lambda count=count: chain.text_content().count("has its id") == count, f"{count} servos with ids")
        notebook.button(f"plug in {joint}").click()
        if count < 6:
            notebook.wait_text(f"will be {6 - count}")
    notebook.run(WHO_CELL)
    assert notebook.said(WHO_CELL).startswith("((1, 2, 3, 4, 5, 6)")


def test_the_doctor_finds_the_broken_cable_when_asked_again(notebook: Notebook) -> None:
    notebook.run(DOCTOR_CELL)
    notebook.button("look again").click()
    notebook.wait_text("checks green")
    notebook.run(BREAK_CELL)
    notebook.button("look again").click()
    notebook.wait_text("✂")
    notebook.wait_text("the cable between servo 3 and servo 4 is loose or broken")


def hold(notebook: Notebook, plant: Plant, joint: int, share: float) -> None:
    """Drags the hand's slider of a joint, and waits until the arm is there."""
    notebook.drag(f"smolkit-hand-{JOINT_NAMES[joint]}", share)
    goal_rad = LOWER_RAD[joint] + share * (UPPER_RAD - LOWER_RAD)[joint]
    wait_until(lambda: abs(plant.truth()["angle_rad"][joint] - goal_rad) < 0.03, f"{JOINT_NAMES[joint]} at its place")
    if share in (0, 1):
        time.sleep(1)                              # at a stop a person rests, and the panel sees it


def sweep(notebook: Notebook, plant: Plant, joint: int) -> None:
    """From stop to stop by thirds: a busy computer looks seldom, and half a turn between two looks is lost.

    Above the table there is room for it where the next joint is bent up, as the panel says.
    """
    bent = joint + 1 if JOINT_NAMES[joint] in ("shoulder_lift", "elbow_flex") else None
    for share in (0.25, 0) if bent else ():
        hold(notebook, plant, bent, share)
    for share in (0.25, 0, 0.33, 0.67, 1, 0.75, 0.5):
        hold(notebook, plant, joint, share)
    for share in (0.25, 0.5) if bent else ():
        hold(notebook, plant, bent, share)


def test_a_calibration_by_mouse_is_the_arm_s(start_plant: Callable[..., Plant], tmp_path: Path,
                                             open_notebook: Callable[..., Notebook]) -> None:
    plant = start_plant(calibrated=False)
    file = tmp_path / "mine.json"
    notebook = open_notebook(CALIBRATE.format(path=str(file)), "panel.close(), hand.close(), bus.close()")
    notebook.run(0)
    for joint in range(6):
        hold(notebook, plant, joint, 0.5)
    notebook.button("This is the middle").click()
    notebook.wait_text("shoulder_pan (1 of 6)")
    for joint, then in enumerate([*(f"{name} ({i} of 6)" for i, name in enumerate(JOINT_NAMES[1:], start=2)),
                                  "Nothing speaks against it"]):
        sweep(notebook, plant, joint)
        if not notebook.sees(then, 10):            # the computer was too busy to look: a person does it again
            sweep(notebook, plant, joint)
        notebook.wait_text(then)
    notebook.button("Accept").click()
    notebook.wait_text("The servos hold calibration")
    notebook.run(1)

    def pose_deg() -> np.ndarray:
        return from_radians(plant.truth()["angle_rad"])

    wait_until(lambda: np.abs(pose_deg() - (time.sleep(0.5), pose_deg())[1]).max() < 0.1, "an arm that sank and lies")
    kept = Calibration.load(file)
    with Bus(plant.port) as bus:
        assert servo_fingerprint(bus, IDS) == kept.fingerprint
        ticks = bus.sync_read(PRESENT_POSITION, IDS)
    said = [degrees(ticks[i], motor.range_min, motor.range_max) for i, motor in zip(IDS, kept.motors, strict=True)]
    assert np.abs(said - pose_deg())[:5].max() < 5  # the middle was held by eye
