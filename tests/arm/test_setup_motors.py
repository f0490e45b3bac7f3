"""New servos get their ids one at a time; never two at once, whatever a person plugs in."""

from __future__ import annotations

import pytest

from smolkit.arm import packets, registers
from smolkit.arm.arm_type import arm_type
from smolkit.arm.bus import Bus
from smolkit.arm.configure import BODY, JAW
from smolkit.arm.emulator import ServoBus
from smolkit.arm.fake import SpringPlant
from smolkit.arm.joints import IDS
from smolkit.arm.setup_motors import BAUDS, Found, find_one, give_id, setup_motors
from smolkit.arm.wire import LoopbackSerial
from smolkit.report import SmolkitError

SMALL = arm_type("7.4V")


class Desk:
    """Six servos as sold, all id 1, and a board that hears only those that are plugged in and speak its rate."""

    def __init__(self):
        self.bus = ServoBus(SpringPlant(), assembly_seed=3)
        for number in IDS:
            self.bus.set_register(number, registers.ID, 1)
        self.bus.advance_to(0.1)
        self._sold = self.writes
        self.plugged: set[int] = set()
        self.port = LoopbackSerial(self._hear)

    def _hear(self, request):
        rates = {n: BAUDS[self.bus.memory(n).get(registers.BAUD_RATE)] for n in IDS}
        self.bus.dead = {n for n in IDS if n not in self.plugged or rates[n] != self.port.baudrate}
        return self.bus.handle(request)

    @property
    def writes(self):
        return [servo.eeprom_writes for servo in self.bus.servos]

    @property
    def as_sold(self):
        """Has nobody written to any servo's EEPROM?"""
        return self.writes == self._sold

    def get(self, number, register):
        return self.bus.memory(number).get(register)


@pytest.fixture
def desk():
    return Desk()


def test_six_new_servos_become_an_arm(desk):
    said = []
    with Bus(desk.port) as bus:
        for step in setup_motors(bus, SMALL):
            said.append(step.state)
            if step.state == "plug in":
                desk.plugged = {step.servo_id}
            elif step.state == "unplug":
                desk.plugged = set()
    assert said == ["plug in", "given", "unplug"] * 5 + ["plug in", "given", "done"]
    desk.bus.power_cycle()                         # it must be in the EEPROM
    assert [desk.get(n, registers.ID) for n in IDS] == list(IDS)
    for number in IDS:
        wanted = JAW if number == 6 else BODY
        assert {register: desk.get(number, register) for register in wanted} == wanted
        assert desk.get(number, registers.LOCK) == 1


@pytest.mark.parametrize("code", range(8))
def test_a_servo_is_found_at_every_rate_and_brought_to_1_mbaud(desk, code):
    desk.bus.set_register(3, registers.BAUD_RATE, code)
    desk.bus.set_register(3, registers.ID, 253)
    desk.plugged = {3}
    with Bus(desk.port) as bus:
        found = find_one(bus)
        assert found == Found(253, BAUDS[code])
        give_id(bus, found, 5, SMALL)
        assert bus.port.baudrate == 1_000_000 and bus.read(5, registers.BAUD_RATE) == 0


def test_a_rate_that_the_adapter_does_not_know_is_left_out(desk):
    class Simple(LoopbackSerial):
        """An adapter for the usual rates only."""

        def __setattr__(self, name, value):
            if name == "baudrate" and value in (128_000, 76_800):
                raise ValueError(f"Failed to set custom baud rate ({value})")
            super().__setattr__(name, value)

    desk.port = Simple(desk._hear)
    desk.bus.set_register(3, registers.BAUD_RATE, 6)
    desk.plugged = {3}
    with Bus(desk.port) as bus:
        assert find_one(bus) == Found(1, 57_600)


def test_an_empty_wire_is_nobody_and_leaves_the_usual_rate(desk):
    with Bus(desk.port) as bus:
        assert find_one(bus) is None
        assert desk.port.baudrate == 1_000_000


@pytest.mark.fault(29)
@pytest.mark.parametrize(("second_id", "code"), [(1, "SK119"), (4, "SK140")])
def test_two_servos_at_once_are_refused_and_nothing_is_written(desk, second_id, code):
    desk.bus.memory(2).preset(registers.ID, second_id)
    desk.plugged = {1, 2}
    with Bus(desk.port) as bus:
        with pytest.raises(SmolkitError, match=code) as error:
            find_one(bus)
        step = next(setup_motors(bus, SMALL))
    assert step.state == "refused" and code in step.text and "only the one" in error.value.next_step
    assert desk.as_sold


@pytest.mark.fault(29)
def test_two_that_answer_a_ping_in_one_voice_are_two(desk, monkeypatch):
    desk.plugged = {1, 2}
    with Bus(desk.port) as bus:
        monkeypatch.setattr(bus, "everyone", lambda: ((1,), 0))
        assert bus.ping(1) == 0
        with pytest.raises(SmolkitError, match="SK119"):
            find_one(bus)


def test_after_a_refusal_the_person_unplugs_one_and_goes_on(desk):
    desk.plugged = {1, 2}
    with Bus(desk.port) as bus:
        steps = setup_motors(bus, SMALL, ids=(6,))
        assert next(steps).state == "refused"
        desk.plugged = {2}
        assert [step.state for step in steps] == ["given", "done"]
    assert desk.get(2, registers.ID) == 6 and desk.get(1, registers.ID) == 1


@pytest.mark.fault(8)
def test_a_servo_of_another_voltage_or_model_is_refused(desk):
    desk.plugged = {1}
    with Bus(desk.port) as bus:
        assert "SK110" in next(setup_motors(bus, arm_type("12V"))).text
        desk.bus.memory(1).show(registers.MODEL_NUMBER, 1029)
        assert "SK108" in next(setup_motors(bus, SMALL)).text
    assert desk.as_sold


def test_giving_again_wears_nothing(desk):
    desk.plugged = {1}
    with Bus(desk.port) as bus:
        assert give_id(bus, find_one(bus), 2, SMALL) > 0
        before = desk.bus.memory(1).eeprom_writes
        assert give_id(bus, find_one(bus), 2, SMALL) == 0
    assert desk.bus.memory(1).eeprom_writes == before


def test_a_servo_that_holds_is_let_go_first(desk):
    desk.bus.memory(1).put(registers.TORQUE_ENABLE, 1)
    desk.plugged = {1}
    with Bus(desk.port) as bus:
        give_id(bus, find_one(bus), 2, SMALL)
    assert desk.get(1, registers.TORQUE_ENABLE) == 0


def test_a_servo_that_does_not_take_its_id_is_told(desk):
    desk.plugged = {1}
    memory, write = desk.bus.memory(1), desk.bus.memory(1).write
    memory.write = lambda address, data: write(address, data) if address != registers.ID.address else None
    with Bus(desk.port) as bus, pytest.raises(SmolkitError, match="SK141") as error:
        give_id(bus, find_one(bus), 2, SMALL)
    assert "SK101" in error.value.found


@pytest.mark.fault(11)
def test_a_pulled_usb_cable_ends_it(desk):
    with Bus(desk.port) as bus:
        steps = setup_motors(bus, SMALL)
        next(steps)
        desk.port.unplug()
        with pytest.raises(SmolkitError, match="SK106"):
            next(steps)
        desk.port._plugged = True


def test_a_new_id_is_acknowledged_by_the_old_one(desk):
    """Programs written for Feetech's SDK wait for the id that they asked; LeRobot gives ids this way."""
    desk.plugged = {1}
    assert desk._hear(packets.write(1, registers.ID.address, bytes((6,)))) == packets.status(1)
    assert desk._hear(packets.ping(6)) == packets.status(6)
