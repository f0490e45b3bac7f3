"""The driver's desk: a pilot moves the real processes' arm, episodes are kept or thrown away, a stop ends both."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from smolkit.arm.joints import GRIPPER, from_radians
from smolkit.cameras.camera import Observation
from smolkit.data.reader import Dataset
from smolkit.data.recorder import Recorder
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.states import State
from smolkit.teleop.loop import Decision
from smolkit.teleop.sliders import SliderPilot
from smolkit.widgets.keys import KeysPanel
from smolkit.widgets.sliders import SliderPanel
from smolkit.widgets.teleop import TeleopPanel


@pytest.fixture
def recorder(kit: Kit, tmp_path):
    with Recorder(tmp_path / "data", cameras=[camera.role for camera in kit.cameras.values()], task="wave") as recorder:
        yield recorder


@pytest.fixture
def panel(kit: Kit, recorder: Recorder):
    with TeleopPanel(kit, {"sliders": SliderPilot(), "keys": KeysPanel()}, recorder) as panel:
        panel.view()
        assert panel.refresh(), panel.trouble
        yield panel


def opening(kit: Kit) -> float:
    """How far the gripper truly is open, %."""
    return float(from_radians(kit.bench.truth()["angle_rad"])[GRIPPER])


def test_nothing_moves_before_somebody_drives(kit: Kit, panel: TeleopPanel):
    panel.start()
    before = opening(kit)
    panel.pilots["sliders"][1].sliders[5].value = 80.0
    time.sleep(1)
    assert not panel.driving and kit.arm.state is State.ARMED and opening(kit) == pytest.approx(before, abs=2)


def test_on_paper_an_armed_arm_is_not_called_limp(panel: TeleopPanel):
    assert not panel.running and "standing, ready to move" in panel.text()


def test_a_slider_moves_the_arm_and_pause_stands(kit: Kit, panel: TeleopPanel, within):
    sliders = panel.pilots["sliders"][1]
    start = opening(kit)
    panel.run()
    within(lambda: panel.steps > 1, 8, panel.text)
    sliders.sliders[5].value = start + 30
    within(lambda: abs(opening(kit) - start - 30) < 4, 10, panel.text)
    panel.refresh()
    assert "decisions a second" in panel.text() and abs(sliders.pose_deg[GRIPPER] - start) > 10
    panel.pause()
    assert not panel.driving and kit.arm.state in (State.ARMED, State.RUNNING)


def test_an_episode_is_saved_with_what_was_seen_and_decided(kit: Kit, panel: TeleopPanel, recorder: Recorder, within):
    panel.record("open the gripper")
    within(lambda: panel.steps > 1, 8, panel.text)
    panel.pilots["sliders"][1].sliders[5].value += 10
    within(lambda: recorder.frames >= 12, 10)
    panel.save()
    within(lambda: not panel.busy, 10)
    assert not panel.trouble and recorder.episodes == 1 and not panel.driving
    panel.record()
    within(lambda: recorder.frames >= 2, 8)
    panel.discard()
    within(lambda: not panel.busy, 10)
    recorder.close()
    data = Dataset(recorder.root)
    assert len(data.columns["action"]) >= 12
    moved = np.ptp(np.array(data.columns["action"])[:, GRIPPER])
    assert moved > 3                                                       # %


def test_a_stop_ends_the_drive_and_marks_the_episode(kit: Kit, panel: TeleopPanel, recorder: Recorder, within):
    panel.record()
    within(lambda: recorder.frames >= 2, 8)
    panel.stop.press()
    within(lambda: not panel.driving, 2)
    within(lambda: "SK310" in panel.trouble, 2)
    assert panel.cut_short and "cut short" in panel.text() and recorder.recording
    panel.run()
    within(lambda: not panel.driving, 5)
    assert kit.arm.state is State.HOLD                                     # driving on re-arms nothing
    panel.stop.press(lets_go=True)
    panel.run()
    within(lambda: not panel.driving, 5)
    assert kit.arm.state is State.OFF and not any(kit.bench.truth()["torque_on"])
    panel.discard()
    within(lambda: not panel.busy, 5)
    assert recorder.episodes == 0 and not panel.cut_short


def test_a_pilot_that_fails_ends_the_drive_in_words(kit: Kit, within):
    def drunk(seen: Observation) -> Decision:
        raise SmolkitError("SK999", "a sober pilot", "this one", "a test", "none")

    with TeleopPanel(kit, {"drunk": drunk}) as panel:
        panel.view()
        panel.run()
        within(lambda: "SK999" in panel.trouble, 8)
        assert not panel.driving and kit.arm.state is State.ARMED


def test_one_pilot_at_a_time_and_both_fallbacks(kit: Kit, panel: TeleopPanel, within):
    panel.choose("keys")
    assert panel.refresh() and panel.chosen == "keys"
    panel.run()
    within(lambda: panel.steps > 1, 8, panel.text)
    with pytest.raises(SmolkitError, match="SK831"):
        panel.choose("sliders")
    panel.pause()
    assert isinstance(panel.pilots["sliders"][1], SliderPanel)
    assert panel.picture().count("<img") == 2 and "shoulder_pan" in panel.text()
    assert "smolkit ticker" not in {thread.name for thread in threading.enumerate()}   # it was never shown


def test_a_second_panel_of_a_kit_ends_the_first_ones_drive(kit: Kit, panel: TeleopPanel, within):
    panel.start()
    panel.run()
    within(lambda: panel.steps > 1, 8, panel.text)
    assert {"drive", "look"} <= threads(panel)
    with TeleopPanel(kit, {"sliders": SliderPilot()}) as second:               # the cell was run again
        assert panel.closed and not panel.driving and not threads(panel)
        second.run()
        within(lambda: second.steps > 1, 8, second.text)
        before = opening(kit)
        panel.pilots["sliders"][0].set(gripper=before + 30)                    # the old one's slider
        panel._buttons["run"].click()
        time.sleep(1)
        assert not panel.driving and opening(kit) == pytest.approx(before, abs=2)


def test_a_panel_that_could_not_be_made_is_in_nobodys_way(kit: Kit):
    with pytest.raises(StopIteration) as kept:          # a notebook keeps the last error, which keeps the panel
        TeleopPanel(kit, {})
    with TeleopPanel(kit, {"sliders": SliderPilot()}) as panel:
        assert not panel.closed and kept.value is not None


def test_a_closed_panel_drives_and_records_nothing(kit: Kit, panel: TeleopPanel, recorder: Recorder):
    panel.start()
    panel.close()
    assert all(button.disabled for button in panel._buttons.values()) and panel.stop.face.over
    for moves in (panel.run, panel.record):
        with pytest.raises(SmolkitError, match="SK833"):
            moves()
    panel._buttons["run"].click()
    assert "SK833" in panel.trouble and not panel.driving and not recorder.recording
    panel._repr_mimebundle_()                                              # shown again
    assert not threads(panel) and "closed" in panel.text()
    assert all(button.disabled for button in panel._buttons.values())


def test_the_stop_of_a_closed_panel_works_while_its_driver_lives(kit: Kit, within, monkeypatch):
    """A driver that hangs in its pilot: it may command nothing afterwards, and its button stops until it ended."""
    inside, over = threading.Event(), threading.Event()

    def hangs(seen: Observation) -> Decision:
        inside.set()
        over.wait(20)
        return Decision(seen.state_deg + 5)

    monkeypatch.setattr("smolkit.widgets.teleop.WAIT_S", 0.2)
    panel = TeleopPanel(kit, {"hangs": hangs})
    panel.view()
    panel.run()
    assert inside.wait(10)
    panel.close()
    before = opening(kit)
    assert panel.driving and not panel.stop.face.over
    panel.stop.press()
    assert kit.arm.state is State.HOLD
    over.set()
    within(lambda: panel.stop.face.over, 5, panel.text)
    assert not panel.driving and opening(kit) == pytest.approx(before, abs=1)


@pytest.mark.parametrize("who", ["panel", "line"])
def test_arm_again_does_not_drive_on(kit: Kit, recorder: Recorder, within, who: str):
    """The driver waits for a slow picture, or a slow decision, while somebody stops the arm and arms it again."""
    slow, inside, over = threading.Event(), threading.Event(), threading.Event()

    def actor(seen: Observation) -> Decision:
        if slow.is_set():
            inside.set()
            over.wait(20)
        return Decision(seen.state_deg + np.array([0, 0, 0, 0, 0, 5.0]))

    with TeleopPanel(kit, {"script": actor}, recorder) as panel, kit.arm.watcher() as line:
        panel.view()
        panel.record()
        within(lambda: panel.steps > 1, 8, panel.text)
        slow.set()
        assert inside.wait(5)
        if who == "panel":
            panel.stop.press()
            panel.stop.arm_again()
        else:
            line.hold("smolkit stop", lets_go=False)
            kit.arm.energize(rearm=True)
        before = opening(kit)
        over.set()
        within(lambda: not panel.driving, 3, panel.text)
        within(lambda: "SK834" in panel.trouble, 2, lambda: panel.trouble)
        assert panel.cut_short and kit.arm.state is State.ARMED and opening(kit) == pytest.approx(before, abs=1)
        slow.clear()
        steps = panel.steps
        panel.run()                                                        # by somebody's hand it goes on
        within(lambda: panel.steps > steps + 2, 8, panel.text)
        panel.discard()
        within(lambda: not panel.busy, 5)


def threads(panel: TeleopPanel) -> set[str]:
    """What of a panel still runs."""
    tickers = [part._ticker for part in (panel, *panel._panels()) if part._ticker is not None]
    return {"look" for ticker in tickers if ticker._thread.is_alive()} | ({"drive"} if panel.driving else set())


def test_stepped_time_is_refused():
    with Kit.sim("reach", seed=1) as kit, pytest.raises(SmolkitError, match="SK832"):
        TeleopPanel(kit, {"sliders": SliderPilot()})
