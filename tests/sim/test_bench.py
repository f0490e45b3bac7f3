"""The bench behind a port of the operating system, whichever system it is."""

from __future__ import annotations

import sys

import pytest

from smolkit.arm.so101 import SO101
from smolkit.clock import WallClock
from smolkit.sim.bench import Bench
from tests.arm.wires import NEEDS_PTY, PATIENT


@pytest.mark.parametrize(("system", "scheme"), [
    pytest.param("linux", "/dev/", marks=NEEDS_PTY), ("win32", "socket://127.0.0.1:")])
def test_the_driver_opens_the_bench_on_every_system(monkeypatch, system, scheme):
    bench = Bench("tour", 1, WallClock())
    try:
        calibration = bench.install(None)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", system)
            port = bench.serve()
        assert port.startswith(scheme)
        with SO101(port, calibration, **PATIENT) as arm:
            assert arm.port_name == port
            assert abs(arm.read().pos_deg[:5]).max() < 120
    finally:
        bench.close()
