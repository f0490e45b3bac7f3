"""The control table of the STS3215: what stands at which address, in which unit, with which sign.

    >>> encode(HOMING_OFFSET, -710).hex()          # sign-magnitude, bit 11 carries the sign
    'c60a'
    >>> decode(HOMING_OFFSET, bytes.fromhex("c60a"))
    -710

Names are LeRobot's, so that its users recognise them. Two-byte values travel low byte first.
Sources: copies of Feetech's STS memory table and LeRobot's table; see the fact sheet in the course.
"""

from __future__ import annotations

from dataclasses import dataclass

from smolkit.report import SmolkitError

MODEL_STS3215 = 777
TICKS_PER_TURN = 4096                              # 0.08789 deg per tick
EEPROM, RAM, READ_ONLY, FACTORY = "eeprom", "ram", "read-only", "factory"


@dataclass(frozen=True)
class Register:
    """One entry of the control table; `sign_bit` None means unsigned."""

    name: str
    address: int
    size: int                                      # bytes
    memory: str                                    # EEPROM, RAM, READ_ONLY or FACTORY
    default: int
    unit: str
    sign_bit: int | None = None


MODEL_NUMBER = Register("Model_Number", 3, 2, READ_ONLY, MODEL_STS3215, "")
ID = Register("ID", 5, 1, EEPROM, 1, "")
BAUD_RATE = Register("Baud_Rate", 6, 1, EEPROM, 0, "code: 0 is 1 Mbaud")
RETURN_DELAY_TIME = Register("Return_Delay_Time", 7, 1, EEPROM, 250, "2 us")
RESPONSE_STATUS_LEVEL = Register("Response_Status_Level", 8, 1, EEPROM, 1, "1 answer all, 0 only reads")
MIN_POSITION_LIMIT = Register("Min_Position_Limit", 9, 2, EEPROM, 0, "tick")
MAX_POSITION_LIMIT = Register("Max_Position_Limit", 11, 2, EEPROM, 4095, "tick")
MAX_TEMPERATURE_LIMIT = Register("Max_Temperature_Limit", 13, 1, EEPROM, 70, "deg C")
MAX_VOLTAGE_LIMIT = Register("Max_Voltage_Limit", 14, 1, EEPROM, 80, "0.1 V")
MIN_VOLTAGE_LIMIT = Register("Min_Voltage_Limit", 15, 1, EEPROM, 40, "0.1 V")
MAX_TORQUE_LIMIT = Register("Max_Torque_Limit", 16, 2, EEPROM, 1000, "0.1 %")
PHASE = Register("Phase", 18, 1, EEPROM, 12, "bit field")
UNLOADING_CONDITION = Register("Unloading_Condition", 19, 1, EEPROM, 44, "error bits that cut output")
LED_ALARM_CONDITION = Register("LED_Alarm_Condition", 20, 1, EEPROM, 47, "error bits that blink")
P_COEFFICIENT = Register("P_Coefficient", 21, 1, EEPROM, 32, "")
D_COEFFICIENT = Register("D_Coefficient", 22, 1, EEPROM, 32, "")
I_COEFFICIENT = Register("I_Coefficient", 23, 1, EEPROM, 0, "")
MINIMUM_STARTUP_FORCE = Register("Minimum_Startup_Force", 24, 1, EEPROM, 16, "0.1 %")
CW_DEAD_ZONE = Register("CW_Dead_Zone", 26, 1, EEPROM, 1, "tick")
CCW_DEAD_ZONE = Register("CCW_Dead_Zone", 27, 1, EEPROM, 1, "tick")
PROTECTION_CURRENT = Register("Protection_Current", 28, 2, EEPROM, 500, "6.5 mA")
ANGULAR_RESOLUTION = Register("Angular_Resolution", 30, 1, EEPROM, 1, "")
HOMING_OFFSET = Register("Homing_Offset", 31, 2, EEPROM, 0, "tick", sign_bit=11)
OPERATING_MODE = Register("Operating_Mode", 33, 1, EEPROM, 0, "0 is position")
PROTECTIVE_TORQUE = Register("Protective_Torque", 34, 1, EEPROM, 20, "%")
PROTECTION_TIME = Register("Protection_Time", 35, 1, EEPROM, 200, "10 ms")
OVERLOAD_TORQUE = Register("Overload_Torque", 36, 1, EEPROM, 80, "%")
VELOCITY_P = Register("Velocity_closed_loop_P", 37, 1, EEPROM, 10, "")
OVER_CURRENT_TIME = Register("Over_Current_Protection_Time", 38, 1, EEPROM, 200, "10 ms")
VELOCITY_I = Register("Velocity_closed_loop_I", 39, 1, EEPROM, 200, "")
TORQUE_ENABLE = Register("Torque_Enable", 40, 1, RAM, 0, "0 off, 1 on, 128 sets the midpoint")
ACCELERATION = Register("Acceleration", 41, 1, RAM, 0, "100 tick/s2, 0 unlimited")
GOAL_POSITION = Register("Goal_Position", 42, 2, RAM, 0, "tick", sign_bit=15)
GOAL_TIME = Register("Goal_Time", 44, 2, RAM, 0, "0.1 %")
GOAL_VELOCITY = Register("Goal_Velocity", 46, 2, RAM, 0, "tick/s by Phase", sign_bit=15)
TORQUE_LIMIT = Register("Torque_Limit", 48, 2, RAM, 1000, "0.1 %")
LOCK = Register("Lock", 55, 1, RAM, 1, "0 lets EEPROM writes persist")
PRESENT_POSITION = Register("Present_Position", 56, 2, READ_ONLY, 0, "tick", sign_bit=15)
PRESENT_VELOCITY = Register("Present_Velocity", 58, 2, READ_ONLY, 0, "tick/s", sign_bit=15)
PRESENT_LOAD = Register("Present_Load", 60, 2, READ_ONLY, 0, "0.1 % of duty", sign_bit=10)
PRESENT_VOLTAGE = Register("Present_Voltage", 62, 1, READ_ONLY, 0, "0.1 V")
PRESENT_TEMPERATURE = Register("Present_Temperature", 63, 1, READ_ONLY, 0, "deg C")
STATUS = Register("Status", 65, 1, READ_ONLY, 0, "error bits")
MOVING = Register("Moving", 66, 1, READ_ONLY, 0, "")
PRESENT_CURRENT = Register("Present_Current", 69, 2, READ_ONLY, 0, "6.5 mA", sign_bit=15)
MAXIMUM_VELOCITY = Register("Maximum_Velocity_Limit", 84, 1, FACTORY, 71, "0.732 rpm")
MAXIMUM_ACCELERATION = Register("Maximum_Acceleration", 85, 1, FACTORY, 254, "100 tick/s2")

# Bits of Phase: velocities count 1 tick/s, not 50; Goal_Velocity 0 is full speed, not standing still.
FINE_VELOCITY, ZERO_IS_MAX, COARSE_VELOCITY = 4, 8, 50

TABLE = tuple(entry for entry in list(globals().values()) if isinstance(entry, Register))
EEPROM_BYTES = range(5, 40)
READ_ONLY_BYTES = frozenset([*range(0, 5), *range(56, 71)])
TELEMETRY_START, TELEMETRY_BYTES = 56, 15          # position ... current in one transaction

# The error byte of every reply, register 65, and the masks 19 and 20 share these bits.
ERROR_BITS = {1: "voltage", 2: "angle sensor", 4: "over-temperature", 8: "over-current", 32: "overload"}
VOLTAGE, ANGLE, HOT, CURRENT, OVERLOAD = ERROR_BITS


def to_sign_magnitude(value: int, sign_bit: int) -> int:
    """-5 with sign bit 15 -> 0x8005. Feetech does not use two's complement; the SDK's helpers do."""
    if abs(value) >= 1 << sign_bit:
        raise SmolkitError("SK105", f"a magnitude below {1 << sign_bit}", str(value),
                           "a position beyond what the register can hold, often a homing offset of a servo"
                           " that sits at its 0/4095 seam",
                           "turn the joint to its middle and calibrate again")
    return (1 << sign_bit | -value) if value < 0 else value


def from_sign_magnitude(word: int, sign_bit: int) -> int:
    """0x8005 with sign bit 15 -> -5."""
    magnitude = word & ((1 << sign_bit) - 1)
    return -magnitude if word >> sign_bit & 1 else magnitude


def encode(register: Register, value: int) -> bytes:
    """A value in the register's unit -> its bytes; raises SK105 where it does not fit."""
    word = value if register.sign_bit is None else to_sign_magnitude(value, register.sign_bit)
    if not 0 <= word < 1 << 8 * register.size:
        raise SmolkitError("SK105", f"{register.name} in 0..{(1 << 8 * register.size) - 1}", str(value),
                           "a number in the wrong unit",
                           "look up the register's unit in smolkit.arm.registers")
    return word.to_bytes(register.size, "little")


def decode(register: Register, data: bytes) -> int:
    """A register's bytes -> its value in the register's unit."""
    word = int.from_bytes(data, "little")
    return word if register.sign_bit is None else from_sign_magnitude(word, register.sign_bit)


def error_names(error: int) -> tuple[str, ...]:
    """All set bits of an error byte by name; the SDK would name only the first.

        >>> error_names(36)
        ('over-temperature', 'overload')
    """
    return tuple(ERROR_BITS.get(1 << bit, f"reserved bit {bit}") for bit in range(8) if error >> bit & 1)
