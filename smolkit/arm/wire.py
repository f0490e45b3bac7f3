"""A serial port that ends inside this process: what the driver writes is answered at once.

    >>> port = LoopbackSerial(lambda request: request[::-1])
    >>> port.write(b"abc"), port.read(2), port.in_waiting
    (3, b'cb', 1)

It looks like pyserial's `Serial`. Time does not pass in it, so a read that finds too little returns
at once (`stepped` tells the driver not to wait). Faults: `inject` puts stray bytes on the line; `unplug`
pulls the cable.
"""

from __future__ import annotations

from collections.abc import Callable

import serial


class LoopbackSerial:
    """In-process serial port in front of `handle(request) -> reply`."""

    stepped = True

    def __init__(self, handle: Callable[[bytes], bytes]):
        self._handle = handle
        self._buffer = bytearray()
        self._plugged = True
        self.is_open = True
        self.name = self.port = "in-process bus"
        self.baudrate, self.timeout, self.write_timeout = 1_000_000, 0, None

    def _check(self) -> None:
        if not self._plugged:
            raise serial.SerialException("device disconnected")
        if not self.is_open:
            raise serial.PortNotOpenError()

    @property
    def in_waiting(self) -> int:
        self._check()
        return len(self._buffer)

    def read(self, size: int = 1) -> bytes:
        self._check()
        size = max(0, size)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def write(self, data: bytes) -> int:
        self._check()
        try:
            self._buffer += self._handle(bytes(data))
        except serial.SerialException:
            self.unplug()
            raise
        return len(data)

    def inject(self, data: bytes) -> None:
        """Stray bytes, as of a reply that came too late."""
        self._buffer += data

    def reset_input_buffer(self) -> None:
        self._check()
        self._buffer.clear()

    def reset_output_buffer(self) -> None:
        self._check()

    def flush(self) -> None:
        self._check()

    def unplug(self) -> None:
        self._plugged = False

    def open(self) -> None:
        """A pulled cable is a dead port until it is opened anew."""
        self.is_open = self._plugged = True

    def close(self) -> None:
        self.is_open = False
