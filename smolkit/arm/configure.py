"""What must be true of six servos before anyone moves them: present, right model, fed, protected, calibrated.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.bus import Bus
    >>> bus = Bus(fake.port())
    >>> require_servos(bus, range(1, 7)); check_voltage(bus, range(1, 7))
    >>> written = configure(bus, range(1, 7))
    >>> [register.name for register in written[6]]
    ['Return_Delay_Time', 'Max_Torque_Limit', 'P_Coefficient', 'Protection_Current', 'Overload_Torque']
    >>> any(configure(bus, range(1, 7)).values())            # EEPROM wears: a second time writes nothing
    False

Values: LeRobot's (P 16 I 0 D 32, no return delay, gripper at half torque), for the same feel of the arm.
"""

from __future__ import annotations

from collections.abc import Iterable

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration
from smolkit.arm.joints import JOINT_NAMES
from smolkit.arm.registers import Register
from smolkit.report import SmolkitError

GRIPPER_ID = 6
BODY_CAP, JAW_CAP = 600, 500                       # 0.1 % of stall; the raised lift needs about 530 at 6 V
MULTI_TURN = 16                                    # Phase bit 4: positions would leave 0..4095
BODY = {
    registers.RETURN_DELAY_TIME: 0,                # one delayed servo shifts the whole sync-read chain
    registers.RESPONSE_STATUS_LEVEL: 1,
    registers.OPERATING_MODE: 0,
    registers.MAX_TORQUE_LIMIT: BODY_CAP,          # what a servo wakes with after a brown-out
    registers.P_COEFFICIENT: 16,                   # 32 shakes a loaded SO-101
    registers.I_COEFFICIENT: 0,
    registers.D_COEFFICIENT: 32,
    registers.MAXIMUM_ACCELERATION: 254,
}
JAW = BODY | {                                     # grippers burnt out at full torque
    registers.MAX_TORQUE_LIMIT: JAW_CAP,
    registers.PROTECTION_CURRENT: 250,
    registers.OVERLOAD_TORQUE: 25,
}
CALIBRATED = (registers.HOMING_OFFSET, registers.MIN_POSITION_LIMIT, registers.MAX_POSITION_LIMIT)
CUTS = registers.HOT | registers.CURRENT | registers.OVERLOAD


def joint_name(servo_id: int) -> str:
    """The joint that servo `servo_id` turns, as the wiring has it."""
    return JOINT_NAMES[servo_id - 1] if 1 <= servo_id <= 6 else "?"


def require_servos(bus: Bus, ids: Iterable[int]) -> None:
    """Every id answers and is an STS3215; SK101 names all that are missing, SK108 a wrong model."""
    missing = missing_servos(bus, ids)
    if missing:
        names = ", ".join(f"{i} ({joint_name(i)})" for i in missing)
        raise SmolkitError("SK101", "six servos that answer, ids 1 to 6", f"nothing from {names}",
                           broken_cable(missing), "check plugs and supply, then run: smolkit doctor PORT")
    for servo_id in ids:
        model = bus.read(servo_id, registers.MODEL_NUMBER)
        if model != registers.MODEL_STS3215:
            raise SmolkitError("SK108", f"an STS3215 (model {registers.MODEL_STS3215}) on id {servo_id}",
                               f"model {model}", "another servo type, or another robot on this port",
                               "smolkit find-port")


def missing_servos(bus: Bus, ids: Iterable[int]) -> list[int]:
    """Ids that do not answer a ping. A lost wire still raises: then nobody is missing, the bus is."""
    missing = []
    for servo_id in ids:
        try:
            bus.ping(servo_id)
        except SmolkitError as error:
            if error.code != "SK101":
                raise
            missing.append(servo_id)
    return missing


def broken_cable(missing: list[int]) -> str:
    """The likely physical cause of silent servos: they hang on one chain, board - 1 - 2 - ... - 6."""
    first = missing[0]
    if len(missing) == 6:
        return "the arm has no power, or the first cable is loose, or this port is not an arm's"
    if missing == list(range(first, 7)):
        before = "the board" if first == 1 else f"servo {first - 1}"
        return f"the cable between {before} and servo {first} is loose or broken"
    return "these servos have another id, or their boards failed: the chain behind them still answers"


def check_voltage(bus: Bus, ids: Iterable[int]) -> None:
    """Every servo within its own limits (registers 14, 15); raises SK110."""
    ids = list(ids)
    volts = bus.sync_read(registers.PRESENT_VOLTAGE, ids)
    most, least = (bus.sync_read(r, ids) for r in (registers.MAX_VOLTAGE_LIMIT, registers.MIN_VOLTAGE_LIMIT))
    for servo_id in ids:
        if volts[servo_id] > most[servo_id]:
            cause, step = "a 12 V supply on 7.4 V servos: they burn", "unplug the supply NOW"
        elif volts[servo_id] < least[servo_id]:
            cause, step = "a weak supply or a long thin cable", "use a 5 V supply of at least 4 A"
        else:
            continue
        raise SmolkitError("SK110", f"servo {servo_id} fed with {least[servo_id] / 10:.1f} to"
                           f" {most[servo_id] / 10:.1f} V", f"{volts[servo_id] / 10:.1f} V", cause, step)


def unprotected(bus: Bus, servo_id: int) -> dict[Register, int]:
    """Protection registers of one servo that are switched off; some are sold that way."""
    found = {r: bus.read(servo_id, r) for r in (
        registers.UNLOADING_CONDITION, registers.PROTECTION_CURRENT, registers.OVERLOAD_TORQUE,
        registers.PROTECTION_TIME, registers.MAX_TEMPERATURE_LIMIT)}
    good = {registers.UNLOADING_CONDITION: found[registers.UNLOADING_CONDITION] & CUTS == CUTS,
            registers.MAX_TEMPERATURE_LIMIT: found[registers.MAX_TEMPERATURE_LIMIT] <= 80}
    return {r: value for r, value in found.items() if not good.get(r, value > 0)}


def check_protection(bus: Bus, ids: Iterable[int]) -> None:
    """Raises SK111 for a servo that would not protect itself."""
    for servo_id in ids:
        off = unprotected(bus, servo_id)
        if off:
            raise SmolkitError("SK111", f"servo {servo_id} ({joint_name(servo_id)}) with its protections on",
                               ", ".join(f"{r.name} = {value}" for r, value in off.items()),
                               "some servos are sold with protections switched off",
                               f"bus.write_eeprom({servo_id}, {{{', '.join(map(_usual, off))}}})")


def _usual(register: Register) -> str:
    """The factory's value as one writes it in Python: `registers.OVERLOAD_TORQUE: 80`."""
    return f"registers.{register.name.upper()}: {register.default}"


def calibration_differences(bus: Bus, calibration: Calibration) -> list[str]:
    """Where servos and file disagree on offset and range, in words."""
    return [f"{joint_name(servo_id)} {register.name}: servo {found[servo_id]}, file {wanted[register]}"
            for register in CALIBRATED
            for found in (bus.sync_read(register, calibration.ids),)
            for servo_id, wanted in calibration_registers(calibration).items()
            if found[servo_id] != wanted[register]]


def calibration_registers(calibration: Calibration) -> dict[int, dict[Register, int]]:
    """What a calibration writes into each servo."""
    return {motor.id: {registers.HOMING_OFFSET: motor.homing_offset,
                       registers.MIN_POSITION_LIMIT: motor.range_min,
                       registers.MAX_POSITION_LIMIT: motor.range_max} for motor in calibration.motors}


def check_calibration(bus: Bus, calibration: Calibration) -> None:
    """Raises SK109 where the servos do not hold what the file says: the degrees would be wrong."""
    differences = calibration_differences(bus, calibration)
    if differences:
        raise SmolkitError("SK109", "servos and calibration file to agree", "; ".join(differences),
                           "this is another arm's file, or the arm was calibrated elsewhere since",
                           "choose the right file, or run: smolkit calibrate PORT --out FILE")


def write_calibration(bus: Bus, calibration: Calibration) -> dict[int, tuple[Register, ...]]:
    """Writes a calibration's registers, only where they differ; torque must be off."""
    require_limp(bus, calibration.ids)
    return {servo_id: bus.write_eeprom(servo_id, values)
            for servo_id, values in calibration_registers(calibration).items()}


def require_limp(bus: Bus, ids: Iterable[int]) -> None:
    """Raises SK112 while any servo holds: a new offset or limit would make it jump."""
    on = [servo_id for servo_id, value in bus.sync_read(registers.TORQUE_ENABLE, ids).items() if value]
    if on:
        raise SmolkitError("SK112", "all torque off before settings change", f"torque on in servos {on}",
                           "an earlier program ended without releasing the arm",
                           "hold the arm, then switch its supply off and on; or smolkit.arm.torque.release(bus, ids)")


def configure(bus: Bus, ids: Iterable[int]) -> dict[int, tuple[Register, ...]]:
    """Brings the EEPROM to `BODY` and `JAW`; returns what was written, by servo."""
    ids, written = list(ids), {}
    for servo_id in ids:
        wanted = dict(JAW if servo_id == GRIPPER_ID else BODY)
        wanted[registers.PHASE] = bus.read(servo_id, registers.PHASE) & ~MULTI_TURN
        if any(bus.read(servo_id, register) != value for register, value in wanted.items()):
            require_limp(bus, ids)
            written[servo_id] = bus.write_eeprom(servo_id, wanted)
        else:
            written[servo_id] = ()
    return written
