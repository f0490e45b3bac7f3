"""The stop button, pressed by mouse and space bar in JupyterLab: what the arm does is asked of the arm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from smolkit.safety.client import GuardedArm
from smolkit.safety.guardian import guardians, session_name
from smolkit.safety.states import State
from smolkit.sim.plant import Plant
from tests.browser.lab import Notebook, wait_until

ARM = """
import os, tempfile, time
from pathlib import Path
import numpy as np
from smolkit.safety.client import GuardedArm
from smolkit.sim.plant import Plant
from smolkit.widgets.stop import StopButton
plant = Plant.attach("browser")
file = plant.calibration.save(Path(tempfile.mkdtemp()) / "arm.json")
arm = GuardedArm.start(plant.port, file, profile="standard")
arm.energize()
print(os.getpid())
"""
MOVE = """
while True:
    arm.command(np.array([40 * np.sin(time.monotonic()), -30, 45, 50, 0, 30]))
    time.sleep(0.03)
"""
GONE_S = 20.0                                      # parking is slow on purpose


class Desk:
    """The notebook that moves the arm, and what a bystander sees of it."""

    def __init__(self, notebook: Notebook, plant: Plant):
        self.notebook, self.plant = notebook, plant
        name = session_name(plant.port)
        wait_until(lambda: name in [endpoint.name for endpoint in guardians()], "a guardian", 120)
        self.arm = GuardedArm.watch(plant.port)

    def wait_for(self, *states: State, patience_s: float = 5.0) -> None:
        wait_until(lambda: self.arm.state in states, f"arm {' or '.join(states)}", patience_s)

    def base_deg(self) -> float:
        """Where the base stands, really."""
        return float(np.rad2deg(self.plant.truth()["angle_rad"][0]))

    def wait_for_turning(self) -> None:
        before_deg = self.base_deg()
        wait_until(lambda: abs(self.base_deg() - before_deg) > 2, "an arm that turns", 20)

    def stands(self) -> bool:
        """It may have taken half a second to stop."""
        time.sleep(0.5)
        before_deg = self.base_deg()
        time.sleep(1)
        return abs(self.base_deg() - before_deg) < 0.5 and all(self.plant.truth()["torque_on"])

    @property
    def torque_on(self) -> bool:
        return any(self.plant.truth()["torque_on"])


@pytest.fixture
def desk(start_plant: Callable[..., Plant], open_notebook: Callable[..., Notebook]) -> Desk:
    """A cell that moves the arm runs, and will not end by itself."""
    plant = start_plant()
    notebook = open_notebook(ARM, "stop = StopButton(arm)\nstop", MOVE)
    notebook.menu("Run", "Run All Cells")
    desk = Desk(notebook, plant)
    desk.wait_for(State.RUNNING, patience_s=30)
    notebook.page.locator(".smolkit-stop", has_text="STOP").wait_for()
    desk.wait_for_turning()
    return desk


def test_a_click_stops_the_arm_while_a_cell_moves_it(desk: Desk) -> None:
    stop = desk.notebook.page.locator("button.smolkit-stop")
    stop.click()
    desk.wait_for(State.HOLD, patience_s=2)
    assert desk.stands()
    desk.notebook.page.get_by_text("stopped, it stands").wait_for()
    desk.notebook.wait_status("idle")
    (error,) = desk.notebook.errors()              # a press that is heard late on a busy computer interrupts, too
    assert "SK310" in error or "KeyboardInterrupt" in error
    assert desk.arm.state is State.HOLD

    again = desk.notebook.page.get_by_role("button", name="arm again")
    again.click()
    desk.notebook.page.get_by_role("button", name="the cause is gone").click()
    desk.wait_for(State.ARMED)

    stop.click()
    desk.wait_for(State.HOLD)
    time.sleep(1)                                  # sooner it would be a double click, which lets nothing fall
    desk.notebook.page.locator("button.smolkit-stop", has_text="LET GO").click()
    desk.wait_for(State.OFF)
    assert not desk.torque_on


def test_the_space_bar_stops_it_but_not_while_somebody_types(desk: Desk) -> None:
    page = desk.notebook.page
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.type("a b ")
    desk.wait_for_turning()
    assert desk.arm.state is State.RUNNING
    page.locator(".smolkit-stop-state").click()     # anywhere outside the editor
    page.keyboard.press("Space")
    desk.wait_for(State.HOLD, patience_s=2)
    assert desk.stands()


def killed(desk: Desk) -> None:
    os.kill(int(desk.notebook.said(0)), signal.SIGKILL)


def shut_down(desk: Desk) -> None:
    desk.notebook.menu("Kernel", "Shut Down Kernel")


@pytest.mark.parametrize("end", [killed, shut_down], ids=["kill -9", "menu"])
def test_an_arm_without_its_kernel_holds_parks_and_lets_go(desk: Desk, end: Callable[[Desk], None]) -> None:
    end(desk)
    desk.wait_for(State.HOLD, State.PARKING, patience_s=15)     # the menu lets a busy kernel some seconds
    assert desk.torque_on                          # a raised arm must not fall
    wait_until(lambda: not desk.torque_on, "torque off", GONE_S)
    assert desk.plant.truth()["lowest_solid_m"] > -0.002
