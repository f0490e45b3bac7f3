"""The memory of one emulated STS3215: what a write changes, what survives power-off, what is read-only.

    >>> servo = ServoMemory(3)
    >>> servo.put(registers.P_COEFFICIENT, 16)             # Lock is 1: lasts until power-off only
    >>> servo.power_up(); servo.get(registers.P_COEFFICIENT)
    32
    >>> servo.put(registers.LOCK, 0); servo.put(registers.P_COEFFICIENT, 16)
    >>> servo.power_up(); servo.get(registers.P_COEFFICIENT)
    16
"""

from __future__ import annotations

from smolkit.arm import registers
from smolkit.arm.registers import EEPROM_BYTES, READ_ONLY_BYTES, Register

MEMORY_BYTES = 256
FIRMWARE = (3, 10)
_EEPROM = slice(EEPROM_BYTES.start, EEPROM_BYTES.stop)


def factory_table(servo_id: int) -> bytearray:
    """All registers of a new servo, before its first power-up."""
    table = bytearray(MEMORY_BYTES)
    table[0], table[1] = FIRMWARE
    for register in registers.TABLE:
        at = register.address
        table[at:at + register.size] = registers.encode(register, register.default)
    table[registers.ID.address] = servo_id
    return table


class ServoMemory:
    """Live registers, and the EEPROM that they are loaded from at power-up."""

    def __init__(self, servo_id: int):
        self._factory = factory_table(servo_id)
        self.eeprom = bytearray(self._factory[_EEPROM])
        self.eeprom_writes = 0                     # wear: the driver writes only differences
        self.waiting: tuple[int, bytes] | None = None      # a REG WRITE that waits for its ACTION
        self.power_up()

    def power_up(self) -> None:
        """RAM to its defaults, EEPROM as persisted, torque off; Torque_Limit is copied from EEPROM."""
        self.live = bytearray(self._factory)
        self.live[_EEPROM] = self.eeprom
        self.put(registers.TORQUE_LIMIT, self.get(registers.MAX_TORQUE_LIMIT))
        self.waiting = None

    @property
    def id(self) -> int:
        return self.live[registers.ID.address]

    def get(self, register: Register) -> int:
        """A register's value in its unit."""
        return registers.decode(register, self.live[register.address:register.address + register.size])

    def put(self, register: Register, value: int) -> None:
        """Writes a register as a WRITE packet would, with Lock and read-only rules."""
        self.write(register.address, registers.encode(register, value))

    def preset(self, register: Register, value: int) -> None:
        """Sets a register as if the servo had come so from the factory."""
        data = registers.encode(register, value)
        for table, start in ((self._factory, 0), (self.live, 0), (self.eeprom, EEPROM_BYTES.start)):
            at = register.address - start
            if 0 <= at < len(table):
                table[at:at + register.size] = data

    def show(self, register: Register, value: int) -> None:
        """Sets what a read-only register shows; only the servo itself does this."""
        self.live[register.address:register.address + register.size] = registers.encode(register, value)

    def read(self, address: int, count: int) -> bytes | None:
        """Bytes from the live table, or None beyond its end (the servo stays silent)."""
        return bytes(self.live[address:address + count]) if address + count <= MEMORY_BYTES else None

    def write(self, address: int, data: bytes) -> None:
        """Writes to read-only bytes and beyond the end are ignored, as on the real servo."""
        unlocked = self.live[registers.LOCK.address] == 0
        touched_eeprom = False
        for at, byte in enumerate(data, start=address):
            if at >= MEMORY_BYTES or at in READ_ONLY_BYTES:
                continue
            self.live[at] = byte
            if at in EEPROM_BYTES:
                touched_eeprom = True
                if unlocked:
                    self.eeprom[at - EEPROM_BYTES.start] = byte
        self.eeprom_writes += touched_eeprom
