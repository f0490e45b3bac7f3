"""The servo bus as the driver sees it: the real Feetech SDK underneath, checked answers on top.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.registers import PRESENT_POSITION, TORQUE_ENABLE
    >>> bus = Bus(fake.port())
    >>> bus.read(1, PRESENT_POSITION)
    2048
    >>> bus.sync_write(TORQUE_ENABLE, {1: 1, 2: 1}); bus.sync_read(TORQUE_ENABLE, (1, 2, 3))
    {1: 1, 2: 1, 3: 0}
    >>> bus.close()

Requests are built and sent by `scservo_sdk`; replies are read here, because the SDK drops the error
bytes of a sync read, returns 0 for servos that said nothing, and never checks a reply's length.
One lock makes a transaction atomic: any number of threads may call. Retries stay within a time budget; a servo
that stayed silent through all of them is asked once at a time from then on, until it answers: a broken chain
must not delay the stop of the servos that still hear.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from scservo_sdk import COMM_SUCCESS, INST_PING, PacketHandler

from smolkit.arm import packets, registers
from smolkit.arm.joints import servo_name
from smolkit.arm.packets import BROADCAST, OVERHEAD_BYTES, Packet
from smolkit.arm.port import BAUDRATE, LATENCY_S, SafePort
from smolkit.arm.registers import Register
from smolkit.report import SmolkitError

RETRIES = 2                                        # per transaction
BUDGET_S = 0.1                                     # no new try after this
SCAN_BYTES = 254 * OVERHEAD_BYTES                  # every id there is
ODD_LENGTHS = range(20, 52)                        # bytes; no other request here asks for so many


@dataclass(frozen=True)
class Reply:
    """What a servo answered: its data and its error byte. A flagged servo's data are still good."""

    data: bytes
    error: int


class Bus:
    """A bus on a port name or an open serial object; `close` (or a `with` block) frees it."""

    def __init__(self, port: str | Any, *, latency_s: float = LATENCY_S, budget_s: float = BUDGET_S,
                 retries: int = RETRIES):
        self.port = SafePort(port, latency_s)
        self.budget_s, self.retries = budget_s, retries
        self.retried = 0                           # transactions that needed another try, for health reports
        self._lock = threading.RLock()
        self._disturbed = self._closed = False     # disturbed: a late reply may still be under way
        self._odd_length = itertools.cycle(ODD_LENGTHS)
        self._last_answer: int | None = None       # id of a servo that is known to be alive
        self._silent: set[int] = set()             # ids that did not answer when they were asked last
        self._sdk = PacketHandler(0)               # never 1: it byte-swaps every handler in the process
        self.port.baudrate = BAUDRATE
        self.port.openPort()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self.port.closePort()

    def revive(self) -> None:
        """After SK106, when the cable may be back: opens the port anew. A bus that was closed stays so."""
        with self._lock:
            if self._closed:
                self._require_open()
            with suppress(SmolkitError):           # a dead port may fail once more
                self.port.closePort()
            self.port.openPort()

    # -- one servo --------------------------------------------------------------------------------

    def ping(self, servo_id: int) -> int:
        """Error byte of the servo's answer; raises SK101 if it stays silent."""
        request = [0, 0, servo_id, 2, INST_PING, 0]
        return self._ask(lambda: self._sdk.txPacket(self.port, request[:]), (servo_id,), 0)[servo_id].error

    def everyone(self, wait_s: float = 0.25) -> tuple[tuple[int, ...], int]:
        """Ids that answer a broadcast ping, once per answer, and how many bytes were no answer.

            >>> from smolkit.arm import fake
            >>> Bus(fake.port()).everyone()
            ((1, 2, 3, 4, 5, 6), 0)

        Two servos with one id answer at the same time: as rubbish, or, where luck keeps them apart, twice.
        """
        with self._lock:
            self._disturbed = True                 # and stays so if anything interrupts us here
            self._send(lambda: self._sdk.txPacket(self.port, [0, 0, BROADCAST, 2, INST_PING, 0]))
            self.port.setPacketTimeoutMillis(1000 * wait_s)        # servos with high ids may answer later
            data = self._drain()
            self._disturbed = False
        answers, _ = packets.split(data)
        return tuple(a.id for a in answers), len(data) - OVERHEAD_BYTES * len(answers)

    def _drain(self) -> bytes:
        """All that comes until time is up."""
        data = b""
        while True:
            chunk = self.port.readPort(SCAN_BYTES)
            data += chunk
            if self.port.isPacketTimeout() and not (chunk and self.port.stepped):
                return data

    def read(self, servo_id: int, register: Register) -> int:
        """One register, in its unit."""
        return registers.decode(register, self.read_block(servo_id, register.address, register.size).data)

    def read_block(self, servo_id: int, address: int, count: int) -> Reply:
        """`count` bytes from `address` of one servo."""
        return self._ask(lambda: self._sdk.readTx(self.port, servo_id, address, count),
                         (servo_id,), count)[servo_id]

    def write(self, servo_id: int, register: Register, value: int) -> int:
        """Writes one register; the answer's error byte. A set error bit is not a failed write."""
        data = list(registers.encode(register, value))
        return self._ask(lambda: self._sdk.writeTxOnly(self.port, servo_id, register.address,
                                                       len(data), data), (servo_id,), 0)[servo_id].error

    def write_eeprom(self, servo_id: int, values: Mapping[Register, int]) -> tuple[Register, ...]:
        """Writes only what differs (EEPROM wears), verified by reading back; returns what was written.

        By sync write: a servo with Response_Status_Level 0 acknowledges nothing, yet answers every read.
        """
        different = {r: v for r, v in values.items() if self.read(servo_id, r) != v}
        if not different:
            return ()
        self.write_checked(servo_id, registers.LOCK, 0)  # unverified, a value could last until power-off only
        try:
            for register, value in different.items():
                self.write_checked(servo_id, register, value)
        finally:
            self.write_checked(servo_id, registers.LOCK, 1)
        return tuple(different)

    def write_checked(self, servo_id: int, register: Register, value: int) -> None:
        """Writes until the servo shows the value; raises SK107 where it keeps another."""
        for _ in range(self.retries + 1):
            self.sync_write(register, {servo_id: value})
            found = self.read(servo_id, register)
            if found == value:
                return
        raise SmolkitError("SK107", f"{register.name} = {value} on servo {servo_id}", str(found),
                           "the servo did not keep the value", "power the arm off and on, try again")

    # -- all servos -------------------------------------------------------------------------------

    def sync_read(self, register: Register, ids: Iterable[int]) -> dict[int, int]:
        """One register of several servos in one transaction; never a made-up 0 for a silent one."""
        replies = self.sync_read_block(register.address, register.size, ids)
        return {servo_id: registers.decode(register, reply.data) for servo_id, reply in replies.items()}

    def sync_read_block(self, address: int, count: int, ids: Iterable[int]) -> dict[int, Reply]:
        """`count` bytes from `address` of several servos; all answer or SK101/SK104 is raised."""
        wanted = list(ids)
        return self._ask(lambda: self._sdk.syncReadTx(self.port, address, count, wanted, len(wanted)),
                         tuple(wanted), count)

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """One register of several servos in one packet. Servos do not acknowledge it."""
        chunks: list[int] = []
        for servo_id, value in values.items():
            chunks += [servo_id, *registers.encode(register, value)]
        self._tell(lambda: self._sdk.syncWriteTxOnly(self.port, register.address, register.size,
                                                     chunks, len(chunks)))

    def broadcast_write(self, register: Register, value: int) -> None:
        """One register of every servo on the wire, unacknowledged."""
        data = list(registers.encode(register, value))
        self._tell(lambda: self._sdk.writeTxOnly(self.port, BROADCAST, register.address, len(data), data))

    # -- transactions -----------------------------------------------------------------------------

    def _tell(self, send: Callable[[], int]) -> None:
        with self._lock:
            self._send(send)

    def _send(self, send: Callable[[], int]) -> None:
        """Sends through the SDK. Its busy flag is ours to clear: it leaks on every exception."""
        self._require_open()
        try:
            result = send()
        finally:
            self.port.is_using = False
        if result != COMM_SUCCESS:
            raise SmolkitError("SK104", "a request to go out", self._sdk.getTxRxResult(result),
                               "the port is blocked or the packet is too long", "smolkit doctor PORT")

    def _require_open(self) -> None:
        if not self.port.is_open:
            raise SmolkitError("SK106", f"an open connection on {self.port.port_name}", "it was closed",
                               "the arm is used after close()", "open the arm again")

    def _ask(self, send: Callable[[], int], ids: tuple[int, ...], count: int) -> dict[int, Reply]:
        """Request, replies, retries. KeyboardInterrupt anywhere leaves port and lock usable."""
        with self._lock:
            give_up_s = time.monotonic() + self.budget_s
            found: dict[int, Reply] = {}
            junk, retries = b"", 0 if self._silent.intersection(ids) else self.retries
            for attempt in range(retries + 1):
                if not self._disturbed or self._resynchronise(ids):
                    found, junk = self._try_once(send, ids, count)
                self._silent.difference_update(found)
                if len(found) == len(ids):
                    return {servo_id: found[servo_id] for servo_id in ids}
                if time.monotonic() > give_up_s:
                    break
                self.retried += attempt < retries
            error = _corrupt(ids, found, junk) if junk else _silent(ids, found)
            if error.code == "SK101":
                self._silent.update(set(ids).difference(found))
        raise error

    def _try_once(self, send: Callable[[], int], ids: tuple[int, ...],
                  count: int) -> tuple[dict[int, Reply], bytes]:
        self._disturbed = True                     # and stays so if anything interrupts us here
        self._send(send)
        self.port.setPacketTimeoutMillis(self.port.tx_time_per_byte * (OVERHEAD_BYTES + count) * len(ids)
                                         + 1000 * self._patience_s(ids))
        found, junk = self._receive(ids, count)
        self._last_answer = next(iter(found), self._last_answer)
        self._disturbed = len(found) < len(ids)
        return found, junk

    def _patience_s(self, ids: tuple[int, ...]) -> float:
        """How long to wait for an answer; less where a servo was silent the last time."""
        latency_s = self.port.latency_s
        return min(latency_s, max(LATENCY_S, latency_s / 3)) if self._silent.intersection(ids) else latency_s

    def _receive(self, ids: tuple[int, ...], count: int) -> tuple[dict[int, Reply], bytes]:
        """Reads until every id has answered with `count` bytes or time is up."""
        expected = (OVERHEAD_BYTES + count) * len(ids)
        data, found = b"", {}
        while True:
            chunk = self.port.readPort(max(expected - len(data), OVERHEAD_BYTES))
            data += chunk
            if len(data) >= expected:
                found = _pick(packets.split(data)[0], ids, count)
                if len(found) == len(ids):
                    return found, b""
            if self.port.isPacketTimeout() and not (chunk and self.port.stepped):
                return _pick(packets.split(data)[0], ids, count), data

    def _resynchronise(self, ids: tuple[int, ...]) -> bool:
        """After a failure an answer may still be under way, and could pass for that to the next question.

        So a living servo is asked for a number of bytes that nobody asked for lately. Wires keep their
        order: once this answer is here, nothing older can come. Without it no answer can be trusted.
        """
        for servo_id in dict.fromkeys((self._last_answer or ids[0], *ids[:2])):
            count = next(self._odd_length)
            found, _ = self._try_once(partial(self._sdk.readTx, self.port, servo_id, 0, count),
                                      (servo_id,), count)
            if found:
                return True
        return False


def _pick(answers: list[Packet], ids: tuple[int, ...], count: int) -> dict[int, Reply]:
    """Answers of the right servo and the right length; anything else is somebody else's or stale."""
    return {a.id: Reply(a.params, a.code) for a in answers if a.id in ids and len(a.params) == count}


def _silent(ids: tuple[int, ...], found: Mapping[int, Reply]) -> SmolkitError:
    missing = [servo_id for servo_id in ids if servo_id not in found]
    first = missing[0]
    before = "the board" if first == 1 else f"servo {first - 1}"
    cause = (f"the cable between {before} and servo {first} is loose" if len(missing) < 6
             else "the arm has no power or the board is not an arm's")
    return SmolkitError("SK101", f"an answer from servos {', '.join(map(servo_name, ids))}",
                        f"nothing from {', '.join(map(servo_name, missing))}", cause, "smolkit doctor PORT")


def _corrupt(ids: tuple[int, ...], found: Mapping[int, Reply], junk: bytes) -> SmolkitError:
    missing = [servo_id for servo_id in ids if servo_id not in found]
    if found and not _has_rubbish(junk):
        return _silent(ids, found)
    return SmolkitError("SK104", f"a valid answer from servos {', '.join(map(servo_name, missing))}",
                        f"{len(junk)} bytes that are none: {junk[:16].hex(' ')}",
                        "a loose plug, two servos with one id, or a second program on the port",
                        "check the plugs, then run: smolkit doctor PORT")


def _has_rubbish(data: bytes) -> bool:
    """True if `data` is more than whole packets."""
    answers, rest = packets.split(data)
    return bool(rest) or sum(len(a.params) + OVERHEAD_BYTES for a in answers) != len(data)
