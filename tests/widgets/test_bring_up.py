"""The first hour by buttons: a port that is found by its cable, ids one servo at a time, the doctor's table."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from smolkit.arm import fake
from smolkit.arm.arm_type import arm_type
from smolkit.arm.bus import Bus
from smolkit.arm.doctor import check_arm
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.find import Port
from smolkit.arm.joints import IDS
from smolkit.arm.registers import ID, PRESENT_POSITION
from smolkit.report import SmolkitError
from smolkit.safety.faults import fault
from smolkit.widgets.bring_up import DoctorPanel, PortPanel, SetupMotorsPanel

ARM, MOUSE = (Port(name, words, 0x1A86, 0x55D3, serial) for name, words, serial in
              (("COM3", "USB Single Serial", "5A46083062"), ("COM4", "<mouse>", None)))


def until(condition: Callable[[], object], patience_s: float = 10.0) -> bool:
    end_s = time.monotonic() + patience_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return bool(condition())


class Desk:
    """Ports that a hand pulls and plugs."""

    def __init__(self, *ports: Port):
        self.ports = ports

    def __call__(self) -> tuple[Port, ...]:
        return self.ports


# --- ports ------------------------------------------------------------------------------------------------


def test_the_arm_is_the_port_that_goes_and_comes_back() -> None:
    desk = Desk(ARM, MOUSE)
    panel = PortPanel(desk)
    panel.view()
    panel.find_button.click()
    assert panel.find_button.disabled and until(lambda: "Now pull the arm's USB cable" in panel.text())
    desk.ports = (MOUSE,)
    assert until(lambda: "COM3 went; plug it in again" in panel.text()) and panel.refresh()
    assert "COM3</code>" not in panel._html.value          # the table is of now
    desk.ports = (MOUSE, ARM)
    assert until(lambda: panel.port is not None) and until(lambda: not panel.searching)
    panel.refresh()
    assert (panel.port.name, panel.address) == ("COM3", "usb:5A46083062")
    assert 'PORT = &quot;usb:5A46083062&quot;' in panel._html.value and "your arm" in panel._html.value
    assert not panel.find_button.disabled


def test_two_cables_pulled_at_once_are_no_arm_and_one_may_try_again() -> None:
    desk = Desk(ARM, MOUSE)
    panel = PortPanel(desk)
    panel.view()
    panel.find_button.click()
    assert until(lambda: "pull" in panel.text())
    desk.ports = ()
    assert until(lambda: "SK113" in panel.trouble) and until(lambda: not panel.searching)
    assert "try again" in panel.text() and panel.port is None
    desk.ports = (ARM, MOUSE)
    panel.find_button.click()
    assert panel.searching and not panel.trouble


def test_nobody_pulls_a_cable_and_the_panel_says_so() -> None:
    panel = PortPanel(Desk(MOUSE), patience_s=0.3)
    panel.view()
    panel.find_button.click()
    assert until(lambda: "none went" in panel.trouble)


def test_an_empty_desk_has_words() -> None:
    panel = PortPanel(Desk())
    panel.view()
    panel.refresh()
    assert "cable that carries data" in panel._html.value and "cable that carries data" in panel.text()


def test_what_a_device_calls_itself_is_no_markup() -> None:
    panel = PortPanel(Desk(MOUSE))
    panel.refresh()
    assert "&lt;mouse&gt;" in panel.picture()


# --- ids --------------------------------------------------------------------------------------------------


class Box:
    """Six new servos, all of id 1, and a panel with emulated plugs."""

    def __init__(self) -> None:
        self.servos: ServoBus = fake.servos(seed=3)
        for servo_id in IDS:
            self.servos.set_register(servo_id, ID, 1)
        self.servos.power_cycle()
        self.plug(())
        self.bus = Bus(connect(self.servos))
        self.panel = SetupMotorsPanel(self.bus, arm_type("7.4V"), plug=self.plug)
        self.panel.view()

    def plug(self, ids: tuple[int, ...]) -> None:
        self.servos.dead.clear()
        self.servos.dead.update(set(IDS) - set(ids))

    def ids(self) -> list[int]:
        return [self.servos.memory(servo_id).id for servo_id in IDS]


def test_six_new_servos_get_their_ids_one_at_a_time() -> None:
    box = Box()
    panel = box.panel
    assert "Unplug all servos" in panel.text() and not panel.begin_button.disabled
    panel.begin_button.click()
    for servo_id in reversed(IDS):
        assert panel.refresh() and f"will be {servo_id} (" in panel.text()
        assert "▸ this one" in panel._html.value
        panel.plugs[servo_id].value = True
        panel.refresh()
        assert panel.step.state == "given" and "✓ has its id" in panel._html.value
        panel.refresh()
        if servo_id > 1:
            assert panel.step.state == "unplug"
        panel.plugs[servo_id].value = False
    assert panel.done and box.ids() == list(IDS) and "plug the chain together" in panel.text()
    box.plug(IDS)
    assert list(box.bus.sync_read(PRESENT_POSITION, IDS)) == list(IDS)     # the whole chain answers


def test_nothing_is_written_before_begin() -> None:
    box = Box()
    box.panel.plugs[6].value = True
    box.panel.refresh()
    box.panel.refresh()
    assert box.ids() == [1] * 6 and not box.panel.given


def test_two_servos_on_the_wire_are_refused_and_end_the_run() -> None:
    box = Box()
    box.panel.begin_button.click()
    box.panel.refresh()
    box.panel.plugs[6].value = box.panel.plugs[5].value = True
    box.panel.refresh()
    assert "SK119" in box.panel._html.value and "smolkit-trouble" in box.panel._html.value
    box.panel.plugs[5].value = False
    box.panel.refresh()
    assert box.ids() == [1] * 6 and "has ended" in box.panel.text()
    box.panel.begin_button.click()
    box.panel.refresh()
    assert box.ids() == [1] * 6 and box.panel.step.state == "unplug"
    box.panel.plugs[6].value = False
    box.panel.refresh()
    box.panel.plugs[6].value = True
    box.panel.refresh()
    assert box.ids() == [1, 1, 1, 1, 1, 6]


@pytest.mark.parametrize("given", [0, 2])
def test_an_arm_that_is_plugged_together_keeps_its_ids(given: int) -> None:
    """Whoever begins by mistake, or leaves the panel begun: the chain breaks later, and one servo is alone."""
    box = Box()
    for servo_id in IDS:
        box.servos.set_register(servo_id, ID, servo_id)
    box.panel.begin_button.click()
    for servo_id in (6, 5)[:given]:
        box.panel.refresh()
        box.plug((servo_id,))
        box.panel.refresh()
        box.plug(())
    if given:
        box.panel.refresh()
    box.plug(IDS)
    box.panel.refresh()
    assert "SK140" in box.panel._html.value and "has ended" in box.panel._html.value
    assert not box.panel.begin_button.disabled and box.panel.end_button.disabled
    box.plug((1,))
    for _ in range(3):
        box.panel.refresh()
    assert box.ids() == list(IDS)
    box.panel.begin_button.click()                                         # and again, the chain broken by now
    for _ in range(3):
        box.panel.refresh()
    assert box.ids() == list(IDS) and "unplug" in box.panel.text().lower() and len(box.panel.given) == given


def test_a_run_can_be_ended() -> None:
    box = Box()
    assert box.panel.end_button.disabled
    box.panel.begin_button.click()
    box.panel.refresh()
    box.panel.end_button.click()
    assert box.panel.end_button.disabled and not box.panel.begin_button.disabled
    box.plug((4,))
    box.panel.refresh()
    assert box.ids() == [1] * 6 and "has ended" in box.panel._html.value


def test_a_usb_cable_pulled_in_the_middle_keeps_what_was_given() -> None:
    box = Box()
    panel = box.panel
    panel.begin_button.click()
    panel.refresh()
    panel.plugs[6].value = True
    panel.refresh()
    assert panel.step.state == "given"
    with fault("usb_unplugged", box.servos):
        assert not panel.refresh() and "SK106" in panel._alarm.value
        assert not panel.refresh()                 # and again: it goes on trying
    panel.refresh()                                # finds the port dead, and opens it anew
    panel.refresh()
    assert box.ids() == [1, 1, 1, 1, 1, 6] and panel.step.state == "unplug"    # the one plugged in has its id
    panel.plugs[6].value = False
    assert panel.refresh() and not panel.trouble
    assert "will be 5 (wrist_roll)" in panel.text() and list(panel.given) == [6]


@pytest.mark.parametrize("servo_id", IDS)
def test_the_drawing_points_at_the_servo(servo_id: int) -> None:
    box = Box()
    box.panel = SetupMotorsPanel(box.bus, arm_type("7.4V"), ids=(servo_id,))
    box.panel.begin()
    box.panel.refresh()
    assert re.search(rf">{servo_id} \(\w+\)</text>", box.panel.picture())


# --- the doctor -------------------------------------------------------------------------------------------


def test_a_healthy_arm_is_a_green_table_and_an_unbroken_chain() -> None:
    servos = fake.servos()
    panel = DoctorPanel(lambda: check_arm(connect(servos)))
    assert panel.text() == "Nobody has looked yet."
    panel.view()
    assert panel.refresh() and panel.report.ok and "all 10 checks green" in panel._html.value
    assert "✂" not in panel._html.value and "silent" not in panel._html.value


def test_a_broken_chain_is_drawn_where_it_is_broken_and_looking_again_sees_it_mended() -> None:
    servos = fake.servos()
    panel = DoctorPanel(lambda: check_arm(connect(servos)))
    panel.view()
    with fault("chain_break", servos, at=4):
        panel.look_button.click()
        html = panel._html.value
        assert html.count("✂</text>") == 1 and html.count("? silent") == 3
        assert html.index(">3</text>") < html.index("✂</text>") < html.index(">4</text>")
        assert "between servo 3 and servo 4" in html and "✗ SK101" in panel.text()
    panel.look_button.click()
    assert "✂</text>" not in panel._html.value and panel.report.ok


def test_two_servos_with_one_id_are_drawn() -> None:
    servos = fake.servos(seed=2)
    panel = DoctorPanel(lambda: check_arm(connect(servos)))
    with fault("duplicate_id", servos, servo=2, other=1):
        panel.refresh()
        assert "‼ two answer" in panel.picture() and not panel.report.ok


def test_a_maker_that_raises_is_a_red_line() -> None:
    def make():
        raise SmolkitError("SK113", "one USB port", "0 of them", "the board is not plugged in", "smolkit find-port")

    panel = DoctorPanel(make)
    panel.view()
    assert not panel.refresh() and "SK113" in panel._alarm.value and "Nobody has looked" in panel._html.value
