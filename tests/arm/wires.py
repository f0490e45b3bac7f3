"""The three ways to the emulated bus, and a generous driver for a busy computer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from smolkit.arm.bus import Bus
from smolkit.arm.emulator import ServoBus, connect
from smolkit.arm.serve import serve_pty, serve_tcp

NEEDS_PTY = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo terminals")
WIRES = ("in-process", pytest.param("pty", marks=NEEDS_PTY), "tcp")
PATIENT = {"latency_s": 0.5, "budget_s": 5.0}      # a loaded computer is not a broken bus


@contextmanager
def wired(kind: str, servo_bus: ServoBus) -> Iterator[object]:
    """What a driver may open to reach `servo_bus`: an object or a name."""
    if kind == "in-process":
        yield connect(servo_bus)
        return
    with (serve_pty if kind == "pty" else serve_tcp)(servo_bus) as server:
        yield server.port


def tamper(servo_bus: ServoBus, spoil: Callable[[bytes], bytes] | None) -> None:
    """From now on every reply goes through `spoil`; None: the line is clean again."""
    servo_bus.filters[:] = [] if spoil is None else [lambda answer, request: spoil(answer(request))]


@contextmanager
def opened(kind: str, servo_bus: ServoBus) -> Iterator[Bus]:
    with wired(kind, servo_bus) as port, Bus(port, **PATIENT) as bus:
        yield bus
