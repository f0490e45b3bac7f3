"""The stop button stops a moving arm at once, says why it stands, and no press of it ever arms the arm."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.client import GuardedArm
from smolkit.safety.faults import fault
from smolkit.safety.states import State
from smolkit.sim.plant import Plant
from smolkit.widgets.stop import StopButton


class Page:
    """The page's half, as stop.js speaks: numbered messages, each answered by its number."""

    def __init__(self, button: StopButton):
        self.button, self.answers, self._number = button, [], 0

    def send(self, what: str, number: str | None = None) -> str:
        self._number += 1
        number = number or str(self._number)
        self.button._hear({"id": number, "do": what}, self.answers.append)
        return number


@pytest.fixture
def page(kit: Kit):
    with StopButton(kit.arm) as button:
        button.view()
        yield Page(button)


class Wave:
    """A loop that swings the base until the arm refuses; where the base truly is, and when it ended."""

    def __init__(self, kit: Kit):
        self.kit, self.error, self.ended_s = kit, None, None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Wave:
        self.kit.arm.energize()
        self.here_deg = self.kit.arm.read().pos_deg
        self.thread.start()
        time.sleep(0.6)
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(5)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        try:
            for step in range(200):
                self.kit.command(self.here_deg + np.eye(6)[0] * 30 * np.sin(step / 20))
                time.sleep(0.03)
        except SmolkitError as error:
            self.error, self.ended_s = error, time.monotonic()


def pan_deg(kit: Kit) -> float:
    return float(np.rad2deg(kit.bench.truth()["angle_rad"][0]))


def test_a_press_stops_the_moving_arm_and_says_so(kit: Kit, page: Page):
    with Wave(kit) as wave:
        before = pan_deg(kit)
        pressed_s = time.monotonic()
        page.send("stop")
    assert wave.error.code == "SK310" and wave.ended_s - pressed_s < 0.3
    assert abs(before - float(wave.here_deg[0])) > 3                       # it had been moving
    time.sleep(0.3)
    stands = pan_deg(kit)
    time.sleep(0.5)
    assert pan_deg(kit) == pytest.approx(stands, abs=0.3)
    assert all(kit.bench.truth()["torque_on"])                             # it stands, it does not fall
    face = page.button.face
    assert face.state == "hold" and face.lets_go and face.rearms and "the stop button" in face.why


def test_what_nobody_heard_yet_is_one_press_and_a_stop_never_lets_go(kit: Kit, page: Page):
    kit.arm.energize()
    number = page.send("stop")
    for _ in range(3):
        page.send("stop", number)                                          # sent again, and over the second way
    page.send("stop")                                                      # a press while the page still said STOP
    time.sleep(0.2)
    assert kit.arm.state is State.HOLD and all(kit.bench.truth()["torque_on"])
    assert [answer["heard"] for answer in page.answers] == [number] * 4 + ["5"]


def test_a_second_press_lets_go_where_the_button_says_so(kit: Kit, page: Page, within):
    kit.arm.energize()
    page.send("stop")
    assert page.button.face.lets_go
    page.send("let go")
    within(lambda: not any(kit.bench.truth()["torque_on"]), 2)
    assert page.button.face.state == "off" and not page.button.face.lets_go and page.button.face.rearms


def test_no_press_arms_the_arm_only_the_other_button_does(kit: Kit, page: Page, within):
    kit.arm.energize()
    for what in ("stop", "let go", "stop", "let go", "hello", "stop"):
        page.send(what)
    assert not any(kit.bench.truth()["torque_on"])
    with pytest.raises(SmolkitError, match="SK310"):
        kit.arm.energize()
    page.send("arm again")
    within(lambda: kit.arm.state is State.ARMED, 5)
    page.button.refresh()
    assert page.button.why == "" and not page.button.face.rearms


def test_arm_again_undoes_no_stop_that_the_page_has_not_shown(kit: Kit, page: Page):
    kit.arm.energize()
    page.send("stop")
    with kit.arm.watcher() as somebody:
        somebody.hold("a visitor", lets_go=False)
    with pytest.raises(SmolkitError, match="a visitor"):
        page.button.arm_again()
    assert kit.arm.state is State.HOLD
    page.button.refresh()
    page.button.arm_again()
    assert kit.arm.state is State.ARMED


def test_an_old_message_that_comes_again_arms_nothing(kit: Kit, page: Page, within):
    kit.arm.energize()
    page.send("stop")
    number = page.send("arm again")
    within(lambda: kit.arm.state is State.ARMED, 5)
    page.send("stop")
    page.send("arm again", number)                                         # the same click, over the slower way
    time.sleep(1.5)
    assert kit.arm.state is State.HOLD


def test_the_page_sees_the_stop_while_the_owners_line_hangs(kit: Kit, page: Page):
    line, _ = kit.arm._client._lines[False]
    with line:                                                             # somebody waits for an answer there
        pressing = threading.Thread(target=page.send, args=("stop",))
        pressing.start()
        pressing.join(2)
        assert not pressing.is_alive() and page.button.face.state == "hold"


def test_it_waits_behind_no_question_and_no_lock(kit: Kit, page: Page):
    kit.arm.energize()
    asking, held = threading.Event(), threading.Event()

    def hang() -> None:
        with kit.arm._client._lines[False][0], page.button.lock:           # an answer that does not come
            asking.set()
            held.wait(10)

    hanging = threading.Thread(target=hang)
    hanging.start()
    asking.wait()
    pressing = threading.Thread(target=page.send, args=("stop",))
    pressing.start()
    try:
        with kit.arm.watcher() as watcher:
            end_s = time.monotonic() + 1
            while watcher.state is not State.HOLD and time.monotonic() < end_s:
                time.sleep(0.01)
            assert watcher.state is State.HOLD
    finally:
        held.set()
        hanging.join()
        pressing.join()


def test_a_stop_counts_while_the_torque_grows_again(kit: Kit, page: Page, within):
    kit.arm.energize()
    page.send("stop")
    page.send("arm again")
    time.sleep(0.3)                                                        # the ramp takes a second
    page.send("stop")
    within(lambda: "SK310" in page.button.trouble, 5)                      # "arm again" was refused
    assert kit.arm.state in (State.HOLD, State.OFF)


def test_it_shows_what_the_guardian_stopped_for(kit: Kit, page: Page):
    kit.arm.energize()
    with pytest.raises(SmolkitError):
        for _ in range(60):
            kit.arm.command(np.full(6, np.nan))
    page.button.refresh()
    assert "SK302" in page.button.text() and "SK302" in page.button.picture()
    assert not page.button.face.lets_go                                    # nobody asked: first of all a press stops


def test_a_supervisor_in_this_process_too():
    with Kit.sim("reach", seed=1) as kit, StopButton(kit.arm, reason="a test") as button:
        kit.arm.energize()
        button.press()
        assert kit.arm.state is State.HOLD and "SK310 a test" in button.text()
        button.press()
        assert kit.arm.state is State.HOLD
        button.press(lets_go=True)
        assert kit.arm.state is State.OFF
        button.arm_again()
        assert kit.arm.state is State.ARMED


def test_torque_is_off_is_said_of_a_confirmed_release_only():
    with Kit.sim("reach", seed=1) as kit, StopButton(kit.arm) as button:
        kit.arm.energize()
        button.press()
        button.view()
        with fault("chain_break", kit.bench.bus, at=4):                    # a plug slips, and then somebody lets go
            button.press(lets_go=True)
            for told in (button.text(), button.picture(), f"{button.face.words} {button.face.why}"):
                assert "torque is off" not in told and "limp" not in told and "nobody answers" not in told
                assert "SK135" in told and "wrist_roll" in told and "pull the power" in told
            assert button.face.state == "lost" and not button.face.lets_go and not button.face.rearms
        kit.clock.sleep_until(kit.clock.now_s() + 1.5)                     # it is told again every second
        button.refresh()
        assert "torque is off" in button.text() and "SK135" not in button.text() and button.face.state == "off"


@pytest.mark.slow
def test_an_arm_that_was_lost_is_not_limp_because_its_kit_was_closed(within):
    import os
    import signal
    with contextlib.suppress(SmolkitError), Kit.sim("reach", seed=1, wall_clock=True) as kit, \
            StopButton(kit.arm) as button:
        kit.arm.energize()
        os.kill(kit.bench.pid, signal.SIGKILL)                             # the wire is gone
        within(lambda: button.refresh() and button.state is State.LOST, 5)
        with contextlib.suppress(SmolkitError):
            kit.arm.close()
        within(lambda: not kit.arm.endpoint.alive, 5)
        button.refresh()
        assert button.state is State.LOST and "pull the power" in button.text() and "limp" not in button.text()
        assert "guardian has ended without" not in button.text()           # it was told to


@pytest.mark.slow
def test_it_tells_a_closed_kit_from_a_dead_guardian(within, tmp_path):
    import os
    import signal
    with Plant.start("reach", 1, name="of two guardians") as plant:
        file = plant.calibration.save(tmp_path / "arm.json")
        for ends in ("close", "kill"):
            arm = GuardedArm.start(plant.port, file, parks=False)
            button = StopButton(arm)
            arm.energize()
            button.view()
            if ends == "close":
                arm.close()
            else:
                os.kill(arm.pid, signal.SIGKILL)
            within(lambda button=button: button.refresh() and button.state in (State.IDLE, State.LOST), 5)
            assert button.state is (State.IDLE if ends == "close" else State.LOST)
            assert ("pull the power" in button.text()) == (ends == "kill")
            assert button.face.over == (ends == "close")
            with contextlib.suppress(SmolkitError):                        # there is nobody left to say goodbye to
                arm.close()
            button.refresh()
            button.close()
            assert button.face.over and button.state is (State.IDLE if ends == "close" else State.LOST)
            assert ("pull the power" in button.face.words) == ("SK814" in button.face.why) == (ends == "kill")
