"""The bench behind a port of the operating system, whichever system it is."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from smolkit.arm import registers
from smolkit.arm.bus import Bus
from smolkit.arm.emulator import connect
from smolkit.arm.so101 import SO101
from smolkit.clock import SteppedClock, WallClock
from smolkit.sim.arm_model import KP
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


def _stiffness(bench: Bench) -> np.ndarray:
    return bench.world.model.actuator_gainprm[:, 0]          # (6,) N m/rad


def test_the_servos_p_gain_reaches_the_world_and_is_the_usual_one_once_the_arm_is_set_up():
    bench = Bench("tour", 1, SteppedClock())
    assert (_stiffness(bench) == 2 * KP).all()               # the factory's P of 32, without torque
    bench.install(None)
    assert (bench.world.model.actuator_forcerange == 0).all()
    assert (_stiffness(bench) == KP).all()
    with Bus(connect(bench.bus)) as bus:
        bus.write(3, registers.P_COEFFICIENT, 8)
    assert _stiffness(bench).tolist() == [KP, KP, KP / 2, KP, KP, KP]
    bench.close()
