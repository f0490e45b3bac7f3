"""What the page reports as held drives the pilot; what comes late or no more drives nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from smolkit.cameras.camera import Observation
from smolkit.kit import Kit
from smolkit.teleop.keys import KEYS, KeyPilot
from smolkit.widgets.keys import CLUTCH, KeysPanel, LeaderPanel
from smolkit.widgets.teleop import TeleopPanel

ARM_DEG = np.array([0, 0, 0, 30, 0, 50.0])


class Page:
    """The page's half, as keys.js speaks, with a clock of its own."""

    def __init__(self, panel, ahead_s: float = 1e6):
        self.panel, self._ahead_s = panel, ahead_s

    def keys(self, *codes: str, late_s: float = 0.0) -> None:
        self.panel.hear({"keys": list(codes), "sent_ms": 1000 * (time.monotonic() + self._ahead_s - late_s)})

    def pad(self, axes: list[float], buttons: list[float]) -> None:
        self.panel.hear({"axes": axes, "buttons": buttons, "sent_ms": 1000 * (time.monotonic() + self._ahead_s)})


def step_deg(panel: KeysPanel, moment_s: float, report: Callable[[], None]) -> np.ndarray:
    """What the pilot does upon a report, from the arm at rest."""
    panel.pilot(Observation(ARM_DEG, captured_s=moment_s))
    report()
    return panel.pilot(Observation(ARM_DEG, captured_s=moment_s + 0.1)).goal_deg - ARM_DEG


def test_a_held_key_drives_and_none_stands():
    panel = KeysPanel(mode="joint")
    page = Page(panel)
    assert step_deg(panel, 0.0, lambda: page.keys("KeyQ"))[0] > 1
    assert np.allclose(step_deg(panel, 5.0, page.keys), 0)


def test_a_report_that_waited_somewhere_presses_nothing():
    panel = KeysPanel(mode="joint")
    page = Page(panel)
    page.keys("KeyQ")
    late = step_deg(panel, 0.0, lambda: page.keys("KeyQ", late_s=0.6))
    assert panel.down == frozenset() and np.allclose(late, 0)
    page.keys("KeyQ")
    assert panel.down == {"KeyQ"}


def test_shift_slows_and_m_changes_the_drawing():
    panel = KeysPanel(mode="joint")
    page, face = Page(panel), panel.face
    panel.view()
    assert "shoulder_pan +" in face.drawing
    slow = step_deg(panel, 0.0, lambda: page.keys("KeyT", "ShiftLeft"))[4]
    assert 0 < slow == pytest.approx(step_deg(panel, 5.0, lambda: page.keys("KeyT"))[4] / 4, rel=0.01)
    page.keys("KeyM")
    page.keys()
    panel.refresh()
    assert panel.pilot.mode == "cartesian" and "forward" in face.drawing and "tool: W forward" in panel.text()


def test_a_gamepad_drives_while_its_shoulder_button_is_held():
    panel = KeysPanel(mode="joint")
    page, buttons = Page(panel), [0.0] * 16
    buttons[4] = 1.0
    assert step_deg(panel, 0.0, lambda: page.pad([1.0, 0, 0, 0], buttons))[0] > 1
    let_go = step_deg(panel, 5.0, lambda: page.pad([], []))               # or the page lost its focus
    assert np.allclose(let_go, 0)
    assert not KeysPanel(KeyPilot()).face.pads                             # a pilot without a pad is offered none


@pytest.mark.parametrize("mode", ["joint", "cartesian"])
def test_every_key_of_the_map_is_drawn_and_reported(mode: str):
    panel = KeysPanel(mode=mode)
    assert all(f'data-code="{code}"' in panel.drawing() for code in KEYS[mode])
    assert set(KEYS[mode]) <= set(panel.face.codes) and "Space" not in panel.face.codes


def test_a_clutch_is_held_or_it_is_released(monkeypatch):
    from smolkit.arm import fake
    from smolkit.arm.emulator import connect
    from smolkit.clock import SteppedClock
    from smolkit.teleop.leader import LeaderArm
    servos, clock = fake.servos(seed=4), SteppedClock()
    with LeaderArm(connect(servos), fake.calibrated(servos), clock) as leader:
        panel = LeaderPanel(leader)
        panel.view()
        page, here = Page(panel), leader.read().pos_deg
        page.keys(CLUTCH)
        assert panel.clutch()
        panel.pilot(Observation(here, captured_s=0.0))
        panel.refresh()
        assert "following" in panel.text()
        page.keys()
        assert not panel.clutch()
        page.keys(CLUTCH)
        panel._heard_s -= 0.6                                              # the page fell silent
        assert not panel.clutch()


def test_keys_move_the_real_processes_arm_and_a_silent_page_stops_it(kit: Kit, within):
    panel = KeysPanel(mode="joint")
    page = Page(panel)

    def jaw_deg() -> float:
        return float(np.rad2deg(kit.bench.truth()["angle_rad"][5]))

    with TeleopPanel(kit, {"keys": panel}) as desk:
        desk.run()
        within(lambda: desk.steps > 1, 8, desk.text)
        start_deg = jaw_deg()

        def opened_deg() -> float:
            page.keys("KeyY")
            return jaw_deg() - start_deg

        within(lambda: opened_deg() > 8, 8, desk.text)
        time.sleep(1.5)                                                    # no report any more, the key never came up
        stands_deg = jaw_deg()
        time.sleep(0.5)
        assert jaw_deg() == pytest.approx(stands_deg, abs=0.5) and desk.driving
