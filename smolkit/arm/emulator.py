"""Six emulated STS3215 servos on one wire: packets in, packets out, and a plant behind the registers.

    >>> from smolkit.arm import packets
    >>> from smolkit.arm.fake import SpringPlant
    >>> bus = ServoBus(SpringPlant())
    >>> bus.handle(packets.ping(1)).hex(" ")
    'ff ff 01 02 00 fc'
    >>> bus.handle(packets.write(1, 42, (2148).to_bytes(2, "little"))).hex(" ")
    'ff ff 01 02 00 fc'
    >>> bus.advance_to(1.0)                                  # the goal write switched torque on
    >>> bus.memory(1).get(registers.TORQUE_ENABLE)
    1
    >>> bus.handle(packets.read(1, 56, 2)).hex(" ")          # 0x0864 is 2148
    'ff ff 01 04 00 64 08 8e'

The bus has no clock: whoever owns time calls `advance_to`. Ways to reach it from a driver:
`connect` (same process, stepped time), `smolkit.arm.serve.serve_pty` and `serve_tcp` (wall time).
Behaviour and its sources: the servo fact sheet; what is uncertain there is a switch here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from smolkit.arm import packets, registers
from smolkit.arm.packets import BROADCAST, Packet
from smolkit.arm.plant import Plant
from smolkit.arm.registers import Register
from smolkit.arm.servo import ServoMemory
from smolkit.arm.shafts import TICK_S, Shafts
from smolkit.arm.wire import LoopbackSerial

Answer = Callable[[bytes], bytes]                  # request -> replies; raises SerialException if the cable is out
LineFilter = Callable[[Answer, bytes], bytes]      # the wire behind, the request -> what the driver hears
TELEMETRY = range(registers.TELEMETRY_START, registers.TELEMETRY_START + registers.TELEMETRY_BYTES)


class ServoBus:
    """The bus of one arm. `horn_offset_ticks` (6,) is how the horns were screwed on: any angle.

    A shaft at URDF angle a stands at actual tick 2048 + horn offset + a * 4096 / 2 pi, modulo 4096.
    Give `assembly_seed` to draw the horn offsets; with neither, all are 0.
    Faults: ids in `dead` do not answer, `forced_errors` adds bits to a servo's error byte, and `filters`
    spoil the line (the last one sits nearest to the driver); `smolkit.safety.faults` injects all by name.
    """

    def __init__(self, plant: Plant, horn_offset_ticks: Iterable[int] | None = None, *,
                 assembly_seed: int | None = None, supply_v: float = 5.0,
                 goal_enables_torque: bool = True, sticky_overload: bool = False):
        horn = _horn_offsets(horn_offset_ticks, assembly_seed)
        self._begin(Shafts(plant, horn, supply_v, sticky_overload, goal_enables_torque))

    def _begin(self, shafts: Shafts) -> None:
        self.shafts, self.servos, self.protection = shafts, shafts.servos, shafts.protection
        self.dead: set[int] = set()
        self.filters: list[LineFilter] = []
        self.lock = threading.RLock()              # wall time: packets and cameras come from two threads
        self._answers = {packets.PING: self._ping, packets.READ: self._read, packets.WRITE: self._write,
                         packets.REG_WRITE: self._reg_write, packets.ACTION: self._action,
                         packets.SYNC_READ: self._sync_read, packets.SYNC_WRITE: self._sync_write}

    @property
    def plant(self) -> Plant:
        return self.shafts.plant

    @property
    def forced_errors(self) -> dict[int, int]:
        return self.shafts.forced_errors

    @property
    def now_s(self) -> float:
        return self.shafts.tick * TICK_S

    def memory(self, servo_id: int) -> ServoMemory:
        """The registers of the servo that left the factory line as number `servo_id` (1..6)."""
        return self.servos[servo_id - 1]

    def set_register(self, servo_id: int, register: Register, value: int) -> None:
        """Writes a register without a packet and makes it persist: for presets and faults."""
        self.memory(servo_id).preset(register, value)
        self.shafts.store(servo_id - 1, register.address, registers.encode(register, value))

    def power_cycle(self, servo_ids: Iterable[int] = range(1, 7)) -> None:
        """Supply off and on: RAM forgotten, torque off, goal = present."""
        with self.lock:
            self.shafts.power_cycle([servo_id - 1 for servo_id in servo_ids])

    def hand_pose(self, angle_rad: np.ndarray) -> None:
        """A hand moves the limp arm to joint angles (6,) rad; the plant must offer `place`."""
        with self.lock:
            self.plant.place(np.asarray(angle_rad, float))
            self.shafts.telemetry_fresh = False

    def advance_to(self, moment_s: float) -> None:
        """Brings servos and plant to `moment_s`, in whole ticks of 4 ms (a rest below that waits)."""
        with self.lock:
            self.shafts.advance_to(moment_s)

    # -- packets ------------------------------------------------------------------------------

    def handle(self, request: bytes) -> bytes:
        """What the driver hears after `request`, through all `filters`."""
        answer: Answer = self._answer_all
        for spoil in self.filters:
            answer = partial(spoil, answer)
        return answer(request)

    def _answer_all(self, request: bytes) -> bytes:
        """All complete packets in `request`, answered; rubbish and unknown instructions get silence."""
        with self.lock:
            self.shafts.telemetry_fresh = False    # time may stand still, and a fault have come since
            return b"".join(self._answer(packet) for packet in packets.split(request)[0])

    def _answer(self, packet: Packet) -> bytes:
        answer = self._answers.get(packet.code)
        return answer(packet) if answer is not None else b""

    def _addressed(self, servo_id: int) -> list[int]:
        """Indices of the living servos that listen to `servo_id`; two may share one id."""
        return [index for index, servo in enumerate(self.servos)
                if servo_id in (servo.id, BROADCAST) and index + 1 not in self.dead]

    def _reply(self, index: int, data: bytes = b"") -> bytes:
        return packets.status(self.servos[index].id, self.shafts.error(index), data)

    def _ping(self, packet: Packet) -> bytes:
        replies = [self._reply(index) for index in self._addressed(packet.id)]
        return b"".join(replies) if packet.id == BROADCAST else _collide(replies)

    def _data(self, index: int, address: int, count: int) -> bytes:
        measured = address < TELEMETRY.stop and address + count > TELEMETRY.start
        if measured and not self.shafts.telemetry_fresh:
            self.shafts.refresh_telemetry()
        data = self.servos[index].read(address, count)
        return b"" if data is None else self._reply(index, data)

    def _read(self, packet: Packet) -> bytes:
        if packet.id == BROADCAST or len(packet.params) != 2 or packet.params[1] > packets.MAX_PARAMS:
            return b""
        return _collide([self._data(index, *packet.params) for index in self._addressed(packet.id)])

    def _sync_read(self, packet: Packet) -> bytes:
        if len(packet.params) < 3 or packet.params[1] > packets.MAX_PARAMS:
            return b""
        address, count, *ids = packet.params
        return b"".join(_collide([self._data(index, address, count) for index in self._addressed(servo_id)])
                        for servo_id in ids if servo_id != BROADCAST)

    def _acknowledge(self, packet: Packet, indices: list[int]) -> bytes:
        """By the id that was addressed, also when the write changed it: the SDK waits for that one."""
        if packet.id == BROADCAST:
            return b""
        return _collide([packets.status(packet.id, self.shafts.error(i)) for i in indices if self.servos[i].live[8]])

    def _write(self, packet: Packet) -> bytes:
        indices = self._addressed(packet.id) if len(packet.params) > 1 else []
        for index in indices:
            self.shafts.store(index, packet.params[0], packet.params[1:])
        return self._acknowledge(packet, indices)

    def _reg_write(self, packet: Packet) -> bytes:
        indices = self._addressed(packet.id) if len(packet.params) > 1 else []
        for index in indices:
            self.servos[index].waiting = (packet.params[0], packet.params[1:])
        return self._acknowledge(packet, indices)

    def _action(self, packet: Packet) -> bytes:
        indices = self._addressed(packet.id)
        for index in indices:
            waiting, self.servos[index].waiting = self.servos[index].waiting, None
            if waiting is not None:
                self.shafts.store(index, *waiting)
        return self._acknowledge(packet, indices)

    def _sync_write(self, packet: Packet) -> bytes:
        if len(packet.params) < 2:
            return b""
        address, count, chunks = packet.params[0], packet.params[1], packet.params[2:]
        for at in range(0, len(chunks) - count, count + 1):
            for index in self._addressed(chunks[at]) if count else ():
                self.shafts.store(index, address, chunks[at + 1:at + 1 + count])
        return b""


def connect(bus: ServoBus) -> LoopbackSerial:
    """An in-process serial port to the bus, for stepped time.

        >>> from smolkit.arm.fake import SpringPlant
        >>> port = connect(ServoBus(SpringPlant()))
        >>> port.write(packets.ping(6)); port.read(6).hex(" ")
        6
        'ff ff 06 02 00 f7'
    """
    return LoopbackSerial(bus.handle)


def _horn_offsets(given: Iterable[int] | None, seed: int | None) -> np.ndarray:
    if given is not None:
        return np.asarray(list(given), float)
    if seed is None:
        return np.zeros(6)
    return np.random.default_rng(seed).integers(-2047, 2048, 6).astype(float)


def _collide(replies: list[bytes]) -> bytes:
    """Servos that share an id answer at once: the wire carries the AND of their bits."""
    if len(replies) < 2:
        return replies[0] if replies else b""
    merged = bytearray(replies[0])
    for reply in replies[1:]:
        merged = bytearray(a & b for a, b in zip(merged, reply, strict=False))
    return bytes(merged)
