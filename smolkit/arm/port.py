"""The SDK's port, made trustworthy: one owner, no stale bytes, no stuck flag, no spinning, real clock.

`SafePort` is a `scservo_sdk.PortHandler`, so every function of the SDK works on it. What it changes,
and what happened without it (all reproduced): input is purged before each request (a late reply was
taken as the answer to the next question); time is monotonic (a clock step distorted timeouts); reads
block instead of spinning (half a core); a second program cannot open the port; the three exceptions
of a pulled cable (`termios.error` is not an OSError) become one that teaches.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import serial
from scservo_sdk import PortHandler

from smolkit.lock import locked, owner, signed
from smolkit.report import SmolkitError
from smolkit.session import shared_folder

try:
    import termios
    WIRE_ERRORS: tuple[type[Exception], ...] = (serial.SerialException, OSError, termios.error)
except ImportError:                                # Windows: COM ports are exclusive by themselves
    termios = None
    WIRE_ERRORS = (serial.SerialException, OSError)

BAUDRATE = 1_000_000
PTY_BAUDRATE = 9600                                # macOS refuses 1 Mbaud on a pty; a pty ignores it anyway
PTY_PREFIXES = ("/dev/pts/", "/dev/ttys")
SLICE_S = 0.005                                    # longest single blocking read
WRITE_TIMEOUT_S = 0.2                              # a far side that stops reading must not hang control
LATENCY_S = 0.03                                   # USB adds 1-4 ms; a busy computer more


class SafePort(PortHandler):
    """A serial port by name ("/dev/ttyACM0", "COM3", "socket://127.0.0.1:7777") or an open serial object."""

    def __init__(self, port: str | Any, latency_s: float = LATENCY_S):
        super().__init__(port if isinstance(port, str) else getattr(port, "name", "serial object"))
        self._given, self.latency_s = port, latency_s
        self._deadline_s = 0.0
        self._lock_file: Any = None

    # -- opening and closing --------------------------------------------------------------------

    def setupPort(self, cflag_baud: int) -> bool:
        """Opens for this process alone; raises SK102 (cannot open), SK103 (in use) or SK810 (no place for the lock)."""
        if self.is_open:
            self.closePort()
        if isinstance(self._given, str):
            self._lock_file = claim(self._given)
            try:
                self.ser = self._open_by_name(self._given)
            except BaseException:
                self._release_lock()
                raise
        else:
            self.ser = self._given
            if not self.ser.is_open:
                self.ser.open()
        self.is_open = True
        self.tx_time_per_byte = 10_000.0 / self.baudrate           # ms, as the SDK counts
        with self.wire():
            self.ser.reset_input_buffer()
        return True

    def _open_by_name(self, name: str) -> Any:
        baudrate = PTY_BAUDRATE if name.startswith(PTY_PREFIXES) else self.baudrate
        try:
            return prompt(serial.serial_for_url(name, baudrate=baudrate, timeout=SLICE_S,
                                                write_timeout=WRITE_TIMEOUT_S, exclusive=True))
        except (*WIRE_ERRORS, ValueError) as error:
            busy = "exclusively lock" in str(error) or os.name == "nt" and "PermissionError" in str(error)
            raise in_use(name, "another program") if busy else cannot_open(name, error) from error

    def speak_at(self, baudrate: int) -> bool:
        """Goes on at another rate, if the adapter can. The SDK's `setBaudRate` re-opens, and refuses 76800."""
        if not self.port_name.startswith(PTY_PREFIXES):
            try:
                with self.wire():
                    self.ser.baudrate = baudrate
            except ValueError:                     # pyserial's word for a rate that the driver refuses
                return False
        self.baudrate, self.tx_time_per_byte = baudrate, 10_000.0 / baudrate
        return True

    def closePort(self) -> None:
        """Frees the port whatever happens; closing twice is fine."""
        self.is_open = self.is_using = False
        try:
            if self.ser is not None:
                with self.wire():
                    self.ser.close()
        finally:
            self._release_lock()

    def _release_lock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    # -- bytes ------------------------------------------------------------------------------------

    @contextmanager
    def wire(self) -> Iterator[None]:
        """Turns whatever a dying wire raises into SK106."""
        try:
            yield
        except WIRE_ERRORS as error:
            raise SmolkitError(
                "SK106", f"an open connection on {self.port_name}", f"{type(error).__name__}: {error}",
                "the USB cable or the board's supply was pulled; torque may still be on",
                "plug it in again, then run: smolkit doctor PORT") from error

    def clearPort(self) -> None:
        with self.wire():
            self.ser.reset_input_buffer()

    def getBytesAvailable(self) -> int:
        with self.wire():
            return self.ser.in_waiting

    def readPort(self, length: int) -> bytes:
        if length <= 0:
            return b""
        with self.wire():
            return self.ser.read(length)

    def writePort(self, packet: list[int]) -> int:
        with self.wire():
            return self.ser.write(bytes(packet))

    # -- time -------------------------------------------------------------------------------------

    def setPacketTimeout(self, packet_length: int) -> None:
        self.setPacketTimeoutMillis(self.tx_time_per_byte * packet_length + 1000 * self.latency_s)

    def setPacketTimeoutMillis(self, msec: float) -> None:
        self._deadline_s = time.monotonic() + msec / 1000

    def isPacketTimeout(self) -> bool:
        return self.stepped or time.monotonic() > self._deadline_s

    @property
    def stepped(self) -> bool:
        """True where no time passes on the wire: what is not there now will not come."""
        return getattr(self.ser, "stepped", False)


def prompt(port: Any) -> Any:
    """Switches Nagle's algorithm off where the port is a TCP socket: it holds each request back 40 ms."""
    line = getattr(port, "_socket", None)          # pyserial offers no public way
    if isinstance(line, socket.socket):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return port


def claim(name: str) -> Any:
    """Takes the port's lock file, or raises SK103 with the owner's process id. None on Windows and sockets.

    pyserial's own lock keeps a second program out but cannot say who the first one is.
    """
    if termios is None or "://" in name:
        return None
    real = os.path.realpath(name).strip("/").replace("/", "-")
    path = shared_folder() / f"port-{real}.lock"
    try:
        file = locked(path)
    except OSError as error:                       # a drive without locks
        raise cannot_open(name, error) from error
    if file is None:
        raise in_use(name, f"process {owner(path)}")
    return signed(file)


def in_use(name: str, owner: str) -> SmolkitError:
    """SK103: somebody else holds the port."""
    return SmolkitError("SK103", f"port {name} free", f"it is in use by {owner}",
                        "another notebook, terminal or program holds the arm",
                        "close it (in Jupyter: Kernel > Shut Down), then try again")


def cannot_open(name: str, error: Exception) -> SmolkitError:
    """SK102: there is no such port, or it may not be opened."""
    return SmolkitError("SK102", f"a serial port named {name}", f"{type(error).__name__}: {error}",
                        "the board is not plugged in, has another name, or your user may not open it"
                        " (Linux: group dialout)", "smolkit find-port")
