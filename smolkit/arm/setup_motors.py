"""New servos get their ids, one at a time: all are sold as id 1, and two of one id cannot be told apart.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.arm_type import arm_type
    >>> servos = fake.servos(); servos.dead.update(range(1, 6))          # only the gripper's is plugged in
    >>> with Bus(fake.connect(servos)) as bus:
    ...     steps = setup_motors(bus, arm_type("7.4V"), ids=(6,))
    ...     print([next(steps).state for _ in range(2)])
    ['given', 'done']

`setup_motors` is a generator that looks once per step and never waits, so that a command line can poll it
and a widget can call it from a timer or a button. From the gripper (6) down to the pan (1), as LeRobot does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smolkit.arm import daisy_chain, registers, torque
from smolkit.arm.arm_type import ArmType
from smolkit.arm.bus import Bus
from smolkit.arm.configure import check_voltage, configure, require_model, unprotected
from smolkit.arm.joints import IDS, servo_name
from smolkit.arm.port import BAUDRATE
from smolkit.report import SmolkitError

# By the code in register 6. Feetech's table; LeRobot's names 57600, 38400, 19200 for the last three.
BAUDS = (1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400, 19_200)
ONE_BY_ONE = "unplug all servos from the board, then plug in only the one that is to get its id"


@dataclass(frozen=True)
class Found:
    """The one servo on the wire, and the rate that it speaks."""

    servo_id: int
    baudrate: int


@dataclass(frozen=True)
class Step:
    """What the person should know: `state` is "plug in", "given", "unplug", "refused" or "done"."""

    servo_id: int                                  # the id that is being given
    state: str
    text: str


def find_one(bus: Bus) -> Found | None:
    """The servo on the wire, whatever its id and its rate; None without one. The bus then speaks its rate.

    Raises SK140 for several, SK119 for several with one id: their answers collide and the checksums fail.
    """
    for baudrate in BAUDS:
        if not bus.port.speak_at(baudrate):
            continue                               # no servo can be heard at a rate that the adapter does not know
        found, rubbish = bus.everyone()
        if len(set(found)) > 1:
            raise SmolkitError("SK140", "exactly one servo on the wire", f"ids {', '.join(map(str, found))}",
                               "the chain is still plugged together", ONE_BY_ONE)
        if found or rubbish:
            _require_alone(bus, found)
            return Found(found[0], baudrate)
    bus.port.speak_at(BAUDRATE)
    return None


def _require_alone(bus: Bus, found: tuple[int, ...]) -> None:
    """Two of one id can answer a ping in one voice; asked for where their shafts are, they cannot."""
    if len(found) == 1 and not daisy_chain.look(bus, found).colliding:
        return
    raise SmolkitError("SK119", "exactly one servo on the wire", "answers that collide",
                       "two servos with one id (all are sold as id 1), or a loose plug", ONE_BY_ONE)


def give_id(bus: Bus, found: Found, servo_id: int, kind: ArmType) -> int:
    """Makes `found` an arm's servo: id, 1 Mbaud, protections, settings; verified. Returns registers written.

    Raises SK108 (another model), SK110 (voltage), SK112 (it holds), SK141 (it did not take its id or rate).
    """
    require_model(found.servo_id, bus.read(found.servo_id, registers.MODEL_NUMBER))
    check_voltage(bus, (found.servo_id,), kind)
    if bus.read(found.servo_id, registers.TORQUE_ENABLE):
        torque.release(bus, (found.servo_id,))     # alone on the desk: nothing can fall
    written = _rename(bus, found, servo_id)
    protections = {r: kind.protections[r].usual for r in unprotected(bus, servo_id, kind)}
    return written + len(bus.write_eeprom(servo_id, protections)) + len(configure(bus, (servo_id,))[servo_id])


def _rename(bus: Bus, found: Found, servo_id: int) -> int:
    """Id first, then rate: unlocked before, locked after, each under the name it has at that moment."""
    changes = (found.servo_id != servo_id) + (found.baudrate != BAUDRATE)
    if changes:
        bus.write_checked(found.servo_id, registers.LOCK, 0)       # else the id would last until power-off
        bus.sync_write(registers.ID, {found.servo_id: servo_id})
        bus.sync_write(registers.BAUD_RATE, {servo_id: BAUDS.index(BAUDRATE)})
        bus.port.speak_at(BAUDRATE)
        bus.sync_write(registers.LOCK, {servo_id: 1})
    said = {register.name: _said(bus, servo_id, register)
            for register in (registers.ID, registers.BAUD_RATE, registers.LOCK)}
    if list(said.values()) != [servo_id, 0, 1]:
        raise SmolkitError("SK141", f"a servo that answers as id {servo_id} at 1 Mbaud, locked", str(said),
                           "the servo lost its supply for a moment", "leave it plugged in and run it again")
    return changes


def _said(bus: Bus, servo_id: int, register: registers.Register) -> int | str:
    try:
        return bus.read(servo_id, register)
    except SmolkitError as error:
        return error.code


def setup_motors(bus: Bus, kind: ArmType, ids: Sequence[int] = tuple(reversed(IDS))) -> Iterator[Step]:
    """Gives `ids` in their order; every `next` is one look at the wire. Ends after the step "done".

    A servo that is refused, or one too many on the wire, is a step too: the person can mend it and go on.
    """
    for number, servo_id in enumerate(ids):
        yield from _give_one(bus, kind, servo_id)
        while number + 1 < len(ids) and (text := _still_there(bus)):
            yield Step(servo_id, "unplug", text)
    yield Step(ids[-1], "done", "all servos have their ids: plug the chain together, then run: smolkit doctor PORT")


def _give_one(bus: Bus, kind: ArmType, servo_id: int) -> Iterator[Step]:
    while True:
        try:
            found = find_one(bus)
            if found is not None:
                written = give_id(bus, found, servo_id, kind)
                break
            yield Step(servo_id, "plug in", f"plug only the servo that will be {servo_name(servo_id)} into the board")
        except SmolkitError as error:
            if error.code == "SK106":              # the cable to the computer: nothing on the desk mends that
                raise
            yield Step(servo_id, "refused", str(error))
    yield Step(servo_id, "given", f"servo {servo_name(servo_id)} is ready: it was id {found.servo_id} at"
               f" {found.baudrate} baud, {written} settings written and read back")


def _still_there(bus: Bus) -> str:
    """The next servo may have the same id: only an empty wire tells that the last one is gone."""
    answers, rubbish = bus.everyone()
    return f"now unplug servo {', '.join(map(str, answers)) or '?'}" if answers or rubbish else ""
