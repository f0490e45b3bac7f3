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

from smolkit.arm import daisy_chain, registers
from smolkit.arm.arm_type import CUTS, PROTECTIONS, ArmType
from smolkit.arm.bus import Bus
from smolkit.arm.calibration import Calibration, fingerprint
from smolkit.arm.joints import GRIPPER_ID, joint_name, servo_name
from smolkit.arm.registers import Register
from smolkit.report import SmolkitError

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


def require_servos(bus: Bus, ids: Iterable[int]) -> None:
    """Every id answers and is an STS3215; raises SK101 (all that are silent), SK119 (an id given twice), SK108."""
    ids = tuple(ids)
    daisy_chain.look(bus, ids).check().raise_if_red()
    for servo_id in ids:
        require_model(servo_id, bus.read(servo_id, registers.MODEL_NUMBER))


def missing_servos(bus: Bus, ids: Iterable[int]) -> tuple[int, ...]:
    """Ids that do not answer a ping."""
    return daisy_chain.look(bus, ids).silent


def require_model(servo_id: int, model: int) -> None:
    """Raises SK108 for anything but an STS3215."""
    if model != registers.MODEL_STS3215:
        raise SmolkitError("SK108", f"an STS3215 (model {registers.MODEL_STS3215}) on id {servo_id}",
                           f"model {model}", "another servo type, or another robot on this port",
                           "smolkit find-port")


def check_voltage(bus: Bus, ids: Iterable[int], kind: ArmType | None = None) -> None:
    """Every servo within its own limits (registers 14, 15) and within its type's rating; raises SK110."""
    ids = list(ids)
    volts = bus.sync_read(registers.PRESENT_VOLTAGE, ids)
    most, least = (bus.sync_read(r, ids) for r in (registers.MAX_VOLTAGE_LIMIT, registers.MIN_VOLTAGE_LIMIT))
    low_v, high_v = kind.supply_v if kind else (0.0, 99.0)
    for servo_id in ids:
        volt, low, high = volts[servo_id] / 10, least[servo_id] / 10, most[servo_id] / 10
        _check_volt(servo_id, volt, max(low, low_v), min(high, high_v))


def check_supply(bus: Bus, ids: Iterable[int], kind: ArmType) -> None:
    """Every servo fed as its type wants, whatever its own limits say; raises SK110."""
    for servo_id, volts in bus.sync_read(registers.PRESENT_VOLTAGE, list(ids)).items():
        _check_volt(servo_id, volts / 10, *kind.supply_v)


def _check_volt(servo_id: int, volt: float, low: float, high: float) -> None:
    if volt > high:
        cause, step = "a 12 V supply on 7.4 V servos: they burn", "unplug the supply NOW"
    elif volt < low:
        cause = "a weak supply, a long thin cable, or a 5 V supply on 12 V servos"
        step = "7.4 V servos: a 5 V supply of at least 4 A; 12 V servos: a 12 V supply of at least 5 A"
    else:
        return
    raise SmolkitError("SK110", f"servo {servo_id} fed with {low:.1f} to {high:.1f} V", f"{volt:.1f} V", cause, step)


def unprotected(bus: Bus, servo_id: int, kind: ArmType | None = None) -> dict[Register, int]:
    """Protection registers of one servo that do not protect, and what they say."""
    found = {register: (bus.read(servo_id, register), allowed)
             for register, allowed in (kind.protections if kind else PROTECTIONS).items()}
    return {register: value for register, (value, allowed) in found.items()
            if not allowed.least <= value <= allowed.most
            or register == registers.UNLOADING_CONDITION and value & CUTS != CUTS}


def check_protection(bus: Bus, ids: Iterable[int], kind: ArmType | None = None) -> None:
    """Raises SK111 naming all servos that would not protect themselves."""
    words = [f"{servo_name(i)} {register.name} = {value}" for i in ids
             for register, value in unprotected(bus, i, kind).items()]
    if words:
        raise SmolkitError("SK111", "all servos with their protections on", "; ".join(words),
                           "some servos are sold with protections switched off, or somebody changed them",
                           "smolkit doctor PORT --repair")


def repair(bus: Bus, ids: Iterable[int], kind: ArmType) -> dict[int, tuple[Register, ...]]:
    """Protections and settings as they should be, written only where they differ; returns what, by servo."""
    ids = tuple(ids)
    require_limp(bus, ids)
    check_voltage(bus, ids, kind)                  # a write that loses its supply can leave rubbish behind
    written = {i: bus.write_eeprom(i, {r: kind.protections[r].usual for r in unprotected(bus, i, kind)}) for i in ids}
    return {i: written[i] + later for i, later in configure(bus, ids).items()}


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


def servo_fingerprint(bus: Bus, ids: Iterable[int]) -> str:
    """The fingerprint of the calibration that the servos hold."""
    ids = tuple(ids)
    columns = [bus.sync_read(register, ids) for register in CALIBRATED]
    return fingerprint([i, *(column[i] for column in columns)] for i in ids)


def check_calibration(bus: Bus, calibration: Calibration) -> None:
    """Raises SK109 where the servos do not hold what the file says: the degrees would be wrong."""
    differences = calibration_differences(bus, calibration)
    if differences:
        words = f"servos {servo_fingerprint(bus, calibration.ids)}, file {calibration.fingerprint}: "
        raise SmolkitError("SK109", "servos and calibration file to agree", words + "; ".join(differences),
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
        wanted, found = _settings(bus, servo_id)
        if wanted != found:
            require_limp(bus, ids)
        written[servo_id] = bus.write_eeprom(servo_id, wanted) if wanted != found else ()
    return written


def _settings(bus: Bus, servo_id: int) -> tuple[dict[Register, int], dict[Register, int]]:
    """What one servo's settings should be, and what they are."""
    phase = bus.read(servo_id, registers.PHASE)
    wanted = (JAW if servo_id == GRIPPER_ID else BODY) | {registers.PHASE: phase & ~MULTI_TURN}
    return wanted, {register: bus.read(servo_id, register) for register in wanted}


def check_settings(bus: Bus, ids: Iterable[int]) -> None:
    """Raises SK146 where settings differ from ours. Reads only: whoever just opens an arm writes nothing into it."""
    words = [f"{servo_name(i)} {r.name} = {found[r]}, not {wanted[r]}" for i in ids
             for wanted, found in (_settings(bus, i),) for r in wanted if found[r] != wanted[r]]
    if words:
        raise SmolkitError("SK146", "the settings that this driver was made for", "; ".join(words),
                           "the arm was set up by another program, or not at all",
                           "smolkit doctor PORT --repair writes them, once")
