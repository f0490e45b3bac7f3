"""What can go wrong with the chain's cables, its supply and its bytes, in one process, on a pty or a socket alike.

    >>> from smolkit.arm import fake
    >>> servos = fake.servos()
    >>> with chain_break.inject(servos, at=5):
    ...     sorted(servos.dead)
    [5, 6]
    >>> servos.dead
    set()

`smolkit.safety.faults` gives them names. A rig is a kit of the sim lane, a bench, or a `ServoBus` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import serial

from smolkit.arm import packets, registers
from smolkit.arm.emulator import Answer, LineFilter
from smolkit.safety.fault_kinds import Context, FaultKind, fault_kind, index_of, part, patched

# -- the chain and its supply -----------------------------------------------------------------------------


@fault_kind(12)
def chain_break(rig: Any, at: int = 4, powered: bool = True) -> Context:
    """Servos `at`..6 are silent; with `powered` False the plug is out, and they lose torque and RAM, too."""
    bus, gone = part(rig, "bus"), range(index_of(at) + 1, 7)
    if not powered:
        bus.power_cycle(gone)
    return patched(bus, dead=bus.dead | set(gone))


@fault_kind(7)
def brown_out(rig: Any, servos: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> Context:
    """The supply breaks down for a moment: these servos lose torque and RAM. Leaving mends nothing."""
    part(rig, "bus").power_cycle([index_of(servo) + 1 for servo in servos])
    return nullcontext()


@fault_kind(7)
def weak_supply(rig: Any, supply_v: float = 4.8, supply_ohm: float = 0.3) -> Context:
    """A thin cable or a small adapter: the voltage sags with the current."""
    return patched(part(rig, "bus").protection, supply_v=supply_v, supply_ohm=supply_ohm)


@fault_kind(8)
def over_voltage(rig: Any, supply_v: float = 12.2) -> Context:
    """A 12 V supply on servos of 7.4 V."""
    return patched(part(rig, "bus").protection, supply_v=supply_v, voltage_v=supply_v)


@fault_kind(11)
def usb_unplugged(rig: Any) -> Context:
    """The USB cable is out: the port dies, the arm goes on. Afterwards the port must be opened anew."""
    def pulled(answer: Answer, request: bytes) -> bytes:
        raise serial.SerialException("device disconnected")
    return filtered(rig, pulled)


# -- bytes on the wire ------------------------------------------------------------------------------------


@contextmanager
def filtered(rig: Any, spoil: LineFilter) -> Iterator[None]:
    """The line of a rig with one more filter, nearest to the driver."""
    filters = part(rig, "bus").filters
    filters.append(spoil)
    try:
        yield
    finally:
        filters.remove(spoil)


def spoiled_replies(rig: Any, rate: float, seed: int,
                    spoil: Callable[[bytes, np.random.Generator], bytes]) -> Context:
    """Every reply goes through `spoil` with the chance `rate`."""
    rng = np.random.default_rng(seed)

    def spoiling(answer: Answer, request: bytes) -> bytes:
        reply = answer(request)
        return spoil(reply, rng) if reply and rng.random() < rate else reply
    return filtered(rig, spoiling)


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    flipped = bytearray(data)
    flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(flipped)


@fault_kind(13)
def flip_bits(rig: Any, rate: float = 0.02, seed: int = 0) -> Context:
    """One bit of a request or of its replies is wrong, each with the chance `rate`."""
    rng = np.random.default_rng(seed)

    def spoiled(data: bytes) -> bytes:
        return _flip(data, rng) if data and rng.random() < rate else data
    return filtered(rig, lambda answer, request: spoiled(answer(spoiled(request))))


def _reply_fault(name: str, description: str, spoil: Callable[[bytes, np.random.Generator], bytes]) -> FaultKind:
    def inject(rig: Any, rate: float = 0.05, seed: int = 0) -> Context:
        return spoiled_replies(rig, rate, seed, spoil)
    inject.__name__, inject.__doc__ = name, f"{description}, with the chance `rate`."
    return fault_kind(13)(inject)


lost_replies = _reply_fault("lost_replies", "Replies that nobody hears", lambda reply, rng: b"")
truncated_replies = _reply_fault("truncated_replies", "Replies that end too early",
                                 lambda reply, rng: reply[:rng.integers(len(reply))])
duplicate_replies = _reply_fault("duplicate_replies", "Replies that come twice", lambda reply, rng: reply + reply)


@fault_kind(13)
def late_replies(rig: Any, rate: float = 0.05, seed: int = 0) -> Context:
    """Replies that come only after the next question went out, where they could pass for its answer."""
    rng, held = np.random.default_rng(seed), bytearray()

    def late(answer: Answer, request: bytes) -> bytes:
        before, reply = bytes(held), answer(request)
        held[:] = reply if rng.random() < rate else b""
        return before if held else before + reply
    return filtered(rig, late)


@fault_kind(13)
def echo(rig: Any) -> Context:
    """A board whose jumper is wrong: the driver hears its own requests."""
    return filtered(rig, lambda answer, request: request + answer(request))


@fault_kind(14)
def lost_writes(rig: Any, rate: float = 1.0, seed: int = 0, address: int | None = None) -> Context:
    """Sync writes that no servo hears, with the chance `rate`; of one register's address or of all."""
    rng = np.random.default_rng(seed)

    def losing(answer: Answer, request: bytes) -> bytes:
        concerned = request[4:5] == bytes((packets.SYNC_WRITE,)) and address in (None, request[5])
        return b"" if concerned and rng.random() < rate else answer(request)
    return filtered(rig, losing)


@fault_kind(28)
def foreign_client(rig: Any, rate: float = 0.2, seed: int = 0) -> Context:
    """A second program asks servo 1 for its position now and then, and its answer comes on our line."""
    rng, foreign = np.random.default_rng(seed), packets.read(1, registers.PRESENT_POSITION.address, 2)

    def between(answer: Answer, request: bytes) -> bytes:
        return (answer(foreign) if rng.random() < rate else b"") + answer(request)
    return filtered(rig, between)


@fault_kind(28)
def foreign_write(rig: Any, servo: int = 1, address: int = 48, value: int = 1000) -> Context:
    """A second program writes a word (48: the torque limit, 42: the goal). Leaving mends nothing."""
    with part(rig, "bus").lock:
        part(rig, "bus").shafts.store(index_of(servo), address, value.to_bytes(2, "little"))
    return nullcontext()
