"""Ports of the operating system: one owner, a cable that is pulled, a client that comes back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from smolkit.arm.bus import Bus
from smolkit.arm.fake import servos
from smolkit.arm.registers import GOAL_POSITION, PRESENT_POSITION
from smolkit.arm.serve import serve_pty, serve_tcp
from smolkit.report import SmolkitError
from tests.arm.wires import NEEDS_PTY, PATIENT

IDS = (1, 2, 3, 4, 5, 6)
SERVERS = (pytest.param(serve_pty, marks=NEEDS_PTY, id="pty"), pytest.param(serve_tcp, id="tcp"))


@pytest.mark.parametrize("serve", SERVERS)
def test_the_arm_moves_while_nobody_asks(serve):
    with serve(servos()) as server, Bus(server.port, **PATIENT) as bus:
        bus.sync_write(GOAL_POSITION, {1: 2200})
        end_s = time.monotonic() + 20
        while bus.read(1, PRESENT_POSITION) != 2200:
            assert time.monotonic() < end_s
            time.sleep(0.02)


@pytest.mark.parametrize("serve", SERVERS)
def test_a_client_may_leave_and_another_come(serve):
    with serve(servos()) as server:
        for _ in range(3):
            with Bus(server.port, **PATIENT) as bus:
                assert bus.ping(6) == 0


@pytest.mark.fault(28)
@NEEDS_PTY
def test_a_second_program_is_refused_with_the_owners_id():
    with serve_pty(servos()) as server, Bus(server.port, **PATIENT) as bus:
        with pytest.raises(SmolkitError, match="SK103") as error:
            Bus(server.port)
        assert str(os.getpid()) in error.value.found and server.port in error.value.expected
        assert bus.ping(1) == 0


@pytest.mark.fault(28)
@NEEDS_PTY
def test_a_port_held_by_another_process_is_refused_and_free_when_that_ends():
    program = textwrap.dedent("""
        import sys
        from smolkit.arm.port import SafePort
        port = SafePort(sys.argv[1])
        port.openPort()
        print("open", flush=True)
        sys.stdin.read()
    """)
    with serve_pty(servos()) as server:
        with subprocess.Popen([sys.executable, "-c", program, server.port], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == "open\n"
            with pytest.raises(SmolkitError, match="SK103") as error:
                Bus(server.port)
            assert f"process {other.pid}" in error.value.found
            other.kill()
        with Bus(server.port, **PATIENT) as bus:
            assert bus.ping(1) == 0


@pytest.mark.fault(28)
@NEEDS_PTY
def test_a_foreign_program_that_locks_the_port_is_noticed():
    import fcntl

    with serve_pty(servos()) as server:
        handle = os.open(server.port, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(SmolkitError, match="SK103"):
            Bus(server.port)
        os.close(handle)
        Bus(server.port, **PATIENT).close()


@pytest.mark.fault(28)
def test_a_second_client_on_the_socket_gets_an_error_and_the_first_goes_on():
    with serve_tcp(servos()) as server, Bus(server.port, **PATIENT) as bus:
        assert bus.ping(1) == 0
        with pytest.raises(SmolkitError, match="SK10[1246]"):
            Bus(server.port, latency_s=0.05).ping(1)
        assert bus.ping(1) == 0


@pytest.mark.fault(11)
@pytest.mark.parametrize("serve", SERVERS)
def test_a_pulled_cable_is_one_clear_error_every_time_and_close_still_works(serve):
    server = serve(servos())
    bus = Bus(server.port, **PATIENT)
    assert bus.ping(1) == 0
    server.unplug()
    for ask in (lambda: bus.sync_read(PRESENT_POSITION, IDS), lambda: bus.ping(1),
                lambda: bus.read(2, PRESENT_POSITION)):
        with pytest.raises(SmolkitError, match="SK106"):
            ask()
        assert not bus.port.is_using
    bus.close()


def test_no_request_waits_for_company_on_a_socket():
    with serve_tcp(servos()) as server, Bus(server.port, **PATIENT) as bus:
        assert bus.port.ser._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("name", ["/dev/there-is-no-such-port", "socket://127.0.0.1:1", "nonsense://x"])
def test_a_port_that_is_not_there(name):
    with pytest.raises(SmolkitError, match="SK102") as error:
        Bus(name)
    assert name in error.value.expected and error.value.next_step == "smolkit find-port"


def test_what_breaks_the_plant_is_told_at_the_end():
    servo_bus = servos()

    def broken(moment_s):
        raise ArithmeticError("the physics exploded")

    servo_bus.plant.advance_to = broken
    server = serve_tcp(servo_bus)
    end_s = time.monotonic() + 20
    while server.error is None and time.monotonic() < end_s:
        time.sleep(0.01)
    with pytest.raises(ArithmeticError, match="exploded"):
        server.close()
