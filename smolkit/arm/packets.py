"""The servo bus in bytes: packets, checksums, and finding packets in a stream that may hold rubbish.

    >>> ping(1).hex(" ")
    'ff ff 01 02 01 fb'
    >>> packets, rest = split(b"noise" + status(1, 0, b"\\xff\\x07"))
    >>> packets[0].params.hex(), rest
    ('ff07', b'')

FF FF, id, length (parameters + 2), instruction or error byte, parameters, checksum: the inverted low
byte of the sum. The SDK builds requests; this codec reads replies (the SDK drops their error bytes),
and speaks for the emulated servos. Source: Feetech's protocol manual; the worked bytes are in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HEADER = b"\xff\xff"
BROADCAST = 0xFE
PING, READ, WRITE, REG_WRITE, ACTION, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x04, 0x05, 0x82, 0x83
OVERHEAD_BYTES = 6                                 # header 2, id, length, code, checksum
MAX_PARAMS = 248                                   # so that the length byte stays below 0xFF


@dataclass(frozen=True)
class Packet:
    """A request (`code` is the instruction) or a reply (`code` is the error byte)."""

    id: int
    code: int
    params: bytes = b""


def checksum(body: bytes) -> int:
    """Inverted low byte of the sum over id, length, code and parameters."""
    return ~sum(body) & 0xFF


def build(packet: Packet) -> bytes:
    """Packet -> bytes on the wire."""
    if not 0 <= packet.id <= BROADCAST or len(packet.params) > MAX_PARAMS:
        raise ValueError(f"id 0..254 and at most {MAX_PARAMS} parameters expected, found {packet}")
    body = bytes((packet.id, len(packet.params) + 2, packet.code)) + packet.params
    return HEADER + body + bytes((checksum(body),))


def ping(servo_id: int) -> bytes:
    """Are you there?"""
    return build(Packet(servo_id, PING))


def read(servo_id: int, address: int, count: int) -> bytes:
    """`count` bytes from `address`, please."""
    return build(Packet(servo_id, READ, bytes((address, count))))


def write(servo_id: int, address: int, data: bytes) -> bytes:
    """Puts `data` at `address`."""
    return build(Packet(servo_id, WRITE, bytes((address,)) + data))


def reg_write(servo_id: int, address: int, data: bytes) -> bytes:
    """As `write`, but it takes effect at the next `action`."""
    return build(Packet(servo_id, REG_WRITE, bytes((address,)) + data))


def action(servo_id: int = BROADCAST) -> bytes:
    """Now do what was said with `reg_write`."""
    return build(Packet(servo_id, ACTION))


def sync_read(address: int, count: int, ids: Iterable[int]) -> bytes:
    """The same bytes of several servos; they answer one after the other."""
    return build(Packet(BROADCAST, SYNC_READ, bytes((address, count, *ids))))


def sync_write(address: int, count: int, data: Mapping[int, bytes]) -> bytes:
    """One packet that writes `count` bytes at `address` of every servo named; no servo answers it."""
    chunks = b"".join(bytes((servo_id,)) + chunk for servo_id, chunk in data.items())
    return build(Packet(BROADCAST, SYNC_WRITE, bytes((address, count)) + chunks))


def status(servo_id: int, error: int = 0, data: bytes = b"") -> bytes:
    """A servo's answer."""
    return build(Packet(servo_id, error, data))


def split(data: bytes) -> tuple[list[Packet], bytes]:
    """Bytes as they came -> the valid packets in them, and the tail that may be a packet's beginning.

    Rubbish and packets with a wrong checksum are skipped one byte at a time, so a false header
    never hides the true packet behind it.
    """
    packets: list[Packet] = []
    tail, last_end, at = len(data), 0, data.find(HEADER)
    while at >= 0:
        packet, end = _packet_at(data, at)
        if packet is not None:
            packets.append(packet)
            tail, last_end = len(data), end
        elif end > len(data):
            tail = min(tail, at)                   # incomplete: keep it unless a packet follows
        at = data.find(HEADER, end if packet is not None else at + 1)
    if tail == len(data) > last_end and data.endswith(b"\xff"):
        tail -= 1                                  # half a header
    return packets, data[tail:]


def _packet_at(data: bytes, at: int) -> tuple[Packet | None, int]:
    """The packet whose header stands at `at`, or None, and where it ends or would end."""
    if at + 4 > len(data):
        return None, at + OVERHEAD_BYTES
    servo_id, length = data[at + 2], data[at + 3]
    end = at + 4 + length
    if servo_id > BROADCAST or not 2 <= length <= MAX_PARAMS + 2:
        return None, at
    if end > len(data) or data[end - 1] != ~sum(data[at + 2:end - 1]) & 0xFF:
        return None, end
    return Packet(servo_id, data[at + 4], data[at + 5:end - 1]), end
