"""The emulated bus behind a port of the operating system, in wall time: a pty or a TCP socket.

    >>> from smolkit.arm import fake
    >>> from smolkit.arm.bus import Bus
    >>> with serve_tcp(fake.servos()) as server, Bus(server.port) as bus:
    ...     bus.ping(1)
    0

The driver opens `server.port` as it would open "/dev/ttyACM0". TCP works on every system; a pty is nearer
to a real serial port, but Windows has none. One client at a time, as on a wire.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import serial

from smolkit.arm import packets
from smolkit.arm.emulator import ServoBus
from smolkit.clock import Clock, WallClock
from smolkit.report import SmolkitError

try:
    import tty
except ImportError:                                # Windows
    tty = None

PERIOD_S = 0.004                                   # how often the plant moves when nobody asks
FRAME_GAP_S = 0.02                                 # a packet that stands incomplete this long is rubbish
CHUNK_BYTES = 4096


@dataclass(frozen=True)
class WireTime:
    """What the wire and the servos take for themselves; without it the emulated bus answers at once.

        >>> round(1000 * WireTime().spent_s(packets.ping(1), packets.status(1, 0)), 2)      # ms
        0.62
    """

    baudrate: int = 1_000_000
    return_s: float = 250 * 2e-6                   # Return_Delay_Time as some factories leave it; we set it to 0

    def spent_s(self, request: bytes, reply: bytes) -> float:
        """From the first bit of the request to the last one of the reply: 10 bits a byte, a pause before each servo."""
        return (len(request) + len(reply)) * 10 / self.baudrate + len(packets.split(reply)[0]) * self.return_s


class Line(Protocol):
    """The far end of a wire: bytes that came within `wait_s`, and a way to answer."""

    name: str

    def receive(self, wait_s: float) -> bytes: ...

    def send(self, data: bytes) -> None: ...

    def hang_up(self) -> None: ...

    def close(self) -> None: ...


class Server:
    """A thread that moves the plant with the clock and answers packets; `port` is what a driver opens."""

    def __init__(self, bus: ServoBus, line: Line, clock: Clock | None = None, wire: WireTime | None = None):
        self.bus, self.port, self._wire = bus, line.name, wire
        self.error: BaseException | None = None
        self._line, self._clock = line, clock if clock is not None else WallClock()
        self.heard_s = self._clock.now_s()         # when a driver last sent something
        self._begin_s = self.heard_s - bus.now_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"servo bus {line.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread; raises what broke it, if something did."""
        self._stop.set()
        self._thread.join()
        self._line.close()
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def unplug(self) -> None:
        """Pulls the cable: the driver sees what it would see on the desk."""
        self._stop.set()
        self._thread.join()
        self._line.close()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self.error = error

    def _serve(self) -> None:
        waiting = b""
        while not self._stop.is_set():
            data = self._line.receive(PERIOD_S)
            now_s = self._clock.now_s()
            self.bus.advance_to(now_s - self._begin_s)
            if data:
                waiting, self.heard_s = self._reply(waiting + data), now_s
            elif now_s - self.heard_s > FRAME_GAP_S:
                waiting = b""

    def _reply(self, data: bytes) -> bytes:
        """Answers the whole packets in `data`; returns the beginning of one that is still coming."""
        complete, rest = packets.split(data)
        for packet in complete:
            try:
                reply = self.bus.handle(packets.build(packet))
            except serial.SerialException:         # the cable is out; the arm lives on
                self._line.hang_up()
                return b""
            if self._wire is not None:
                time.sleep(self._wire.spent_s(packets.build(packet), reply))
            if reply:
                self._line.send(reply)
        return rest


class _PtyLine:
    """A pseudo terminal; `name` is its slave, which stays open here so that a client may come and go."""

    def __init__(self) -> None:
        if tty is None:
            raise SmolkitError("SK117", "a system with pseudo terminals", os.name,
                               "Windows has none", "use serve_tcp: the driver takes its socket:// name")
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.name = os.ttyname(self._slave)

    def receive(self, wait_s: float) -> bytes:
        if self._master < 0:
            time.sleep(wait_s)
            return b""
        ready, _, _ = select.select([self._master], [], [], wait_s)
        return os.read(self._master, CHUNK_BYTES) if ready else b""

    def send(self, data: bytes) -> None:
        """A client that never reads fills the line; what does not fit is lost, as on a wire."""
        try:
            os.write(self._master, data)
        except BlockingIOError:
            return

    def hang_up(self) -> None:
        """For good: a board that is plugged in again comes back under another name, and so would a pty."""
        for handle in (self._master, self._slave):
            if handle >= 0:
                os.close(handle)
        self._master = self._slave = -1

    close = hang_up


class _TcpLine:
    """A listening socket; while one client is served, others are turned away."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.create_server((host, port))
        self._client: socket.socket | None = None
        self.name = f"socket://{host}:{self._listener.getsockname()[1]}"

    def receive(self, wait_s: float) -> bytes:
        watched = [self._listener] if self._client is None else [self._listener, self._client]
        ready, _, _ = select.select(watched, [], [], wait_s)
        if self._listener in ready:
            self._welcome(self._listener.accept()[0])
        return self._read() if self._client is not None and self._client in ready else b""

    def _welcome(self, client: socket.socket) -> None:
        if self._client is not None and not self._gone():
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(1.0)
        self._client = client

    def _gone(self) -> bool:
        """True if the old client has hung up, perhaps in the same moment as the new one called."""
        ready, _, _ = select.select([self._client], [], [], 0)
        if not ready or self._client.recv(1, socket.MSG_PEEK):
            return False
        self.hang_up()
        return True

    def _read(self) -> bytes:
        try:
            data = self._client.recv(CHUNK_BYTES)
        except OSError:
            data = b""
        if not data:
            self.hang_up()
        return data

    def send(self, data: bytes) -> None:
        if self._client is None:                   # it hung up while it was being answered
            return
        try:
            self._client.sendall(data)
        except OSError:
            self.hang_up()

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


def serve_pty(bus: ServoBus, *, clock: Clock | None = None, wire: WireTime | None = None) -> Server:
    """Serves `bus` on a new pseudo terminal (Linux, macOS)."""
    return Server(bus, _PtyLine(), clock, wire)


def serve_tcp(bus: ServoBus, *, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None) -> Server:
    """Serves `bus` on a TCP socket; port 0 takes a free one."""
    return Server(bus, _TcpLine(host, port), clock)
