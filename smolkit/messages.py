"""Questions between processes of one user on one computer: zmq and msgpack over loopback, signed.

    >>> import threading
    >>> with Server("doctest arm") as server, Client(server.endpoint) as client:
    ...     answering = threading.Thread(target=lambda: [r.reply({"twice": 2 * r.body["n"]}) for r in server.poll(5)])
    ...     answering.start()
    ...     client.ask({"n": np.arange(3)})["twice"]
    array([0, 2, 4])

Everybody on a computer can reach a loopback port, so each server draws a secret and leaves it where only its
user can read it (`smolkit.session`). Each message is two frames, HMAC-SHA256(secret, way +
payload) and payload; what is not signed, too large, or no newer than what that client sent before is dropped
and counted. Arrays travel as bytes with a type from a short list; nothing received is ever run as code.
Moments are `time.monotonic()`, which all processes of one computer share.
"""

from __future__ import annotations

import hmac
import itertools
import math
import secrets
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import zmq

from smolkit.report import SmolkitError
from smolkit.session import Claim, Endpoint

REQUEST_BYTES, ANSWER_BYTES = 1 << 18, 1 << 23     # a question is small; an answer may be a picture
TO_SERVER, TO_CLIENT = b">", b"<"                  # signed too, so that no question passes for an answer
DTYPES = tuple(np.dtype(code) for code in ("u1", "<i2", "<i4", "<i8", "<f4", "<f8", "?"))   # ext type = place
DRAIN_S = 0.005                                    # a flood of rubbish must not keep the server from its work
QUEUED, LINGER_MS = 64, 300
RENEW_S = 1.0                                      # so often a server looks whether it can still be found


def error_body(error: SmolkitError) -> dict[str, Any]:
    """A body that `Client.ask` raises again as the same error."""
    return {"error": {key: getattr(error, key) for key in ("code", "expected", "found", "cause", "next_step")}}


def _pack(thing: Any) -> Any:
    if isinstance(thing, np.generic):
        return thing.item()
    if not isinstance(thing, np.ndarray) or (dtype := thing.dtype.newbyteorder("<")) not in DTYPES:
        raise TypeError(f"{getattr(thing, 'dtype', type(thing).__name__)} does not travel")
    head = struct.pack(f"<B{thing.ndim}I", thing.ndim, *thing.shape)
    return msgpack.ExtType(DTYPES.index(dtype), head + thing.astype(dtype, copy=False).tobytes())


def _unpack(code: int, data: bytes) -> np.ndarray:
    if code >= len(DTYPES) or not data or len(data) < 1 + 4 * data[0]:
        raise ValueError("an array without type or shape")
    shape = struct.unpack_from(f"<{data[0]}I", data, 1)
    start = 1 + 4 * len(shape)
    if len(data) - start != math.prod(shape) * DTYPES[code].itemsize:
        raise ValueError("an array of another size than it says")
    return np.frombuffer(data, DTYPES[code], offset=start).reshape(shape).copy()


def _seal(secret: bytes, way: bytes, message: dict[str, Any], limit: int) -> list[bytes]:
    """The two frames of a message; raises SK813 where it cannot travel."""
    try:
        payload = msgpack.packb(message, default=_pack)
        found = f"{len(payload)} bytes"
    except (TypeError, ValueError, OverflowError) as error:
        payload, found = bytes(limit + 1), str(error)
    if len(payload) > limit:
        raise SmolkitError("SK813", f"numbers, texts, lists, dicts and arrays, {limit} bytes at most", found,
                           "an object that is no plain data, or a picture in a question",
                           "send plain data, and large things by file")
    return [hmac.digest(secret, way + payload, "sha256"), payload]


def _unseal(secret: bytes, way: bytes, frames: list[bytes], limit: int) -> dict[str, Any]:
    """The message in two frames; raises ValueError, TypeError or UnpackException where it is none of ours."""
    if len(frames) != 2 or len(frames[1]) > limit:
        raise ValueError("not two frames, or too large")
    if not hmac.compare_digest(frames[0], hmac.digest(secret, way + frames[1], "sha256")):
        raise ValueError("not signed with this session's secret")
    message = msgpack.unpackb(frames[1], ext_hook=_unpack, max_array_len=1 << 16, max_map_len=1 << 12)
    if not isinstance(message, dict) or not isinstance(message.get("body"), dict) or type(message.get("id")) is not int:
        raise ValueError("not a numbered message")
    return message


BROKEN = (ValueError, TypeError, msgpack.UnpackException)


@dataclass(frozen=True)
class Request:
    """One question, or one thing told (`told`: then nobody waits, and `reply` does nothing)."""

    body: dict[str, Any]
    sender: bytes                                  # of the client, the same in all it asks and tells
    told: bool
    sent_s: float                                  # when: a receiver that was frozen meets old messages
    until_s: float                                 # after this moment the asker has given up waiting
    _send: Callable[[dict[str, Any]], None] = field(repr=False)

    def reply(self, body: dict[str, Any]) -> None:
        """Answers; a body that cannot travel becomes its error at the client."""
        if not self.told:
            self._send(body)


class Server:
    """Listens on a free loopback port under a name that no other process of this user serves (else SK812).

    Belongs to one thread. `rejected` counts what was dropped: unsigned, undecodable, too large, repeated.
    """

    def __init__(self, name: str):
        self._claim = Claim(name)
        self._socket = _socket(zmq.ROUTER, 2 * REQUEST_BYTES)           # zmq hangs up on more than that
        self._socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self._claim.publish(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        self._secret = bytes.fromhex(self.endpoint.secret)
        self._newest: dict[tuple[bytes, bool], int] = {}                # (client, told) -> number
        self.rejected, self._renewed_s = 0, time.monotonic()

    def poll(self, timeout_s: float) -> list[Request]:
        """Waits for requests, and takes those that are there; rubbish ends the wait, too."""
        if time.monotonic() - self._renewed_s > RENEW_S:
            self._claim.renew()
            self._renewed_s = time.monotonic()
        requests: list[Request] = []
        wait_ms, end_s = max(0, math.ceil(1000 * timeout_s)), math.inf
        while time.monotonic() < end_s and self._socket.poll(wait_ms):
            sender, *frames = self._socket.recv_multipart()
            try:
                requests.append(self._accept(sender, _unseal(self._secret, TO_SERVER, frames, REQUEST_BYTES)))
            except BROKEN:
                self.rejected += 1
            wait_ms, end_s = 0, min(end_s, time.monotonic() + DRAIN_S)
        return requests

    def _accept(self, sender: bytes, message: dict[str, Any]) -> Request:
        number, client, told = message["id"], message.get("from"), message.get("told")
        moments = message.get("sent_s"), message.get("until_s")
        if not isinstance(client, bytes) or type(told) is not bool or not all(isinstance(m, float) for m in moments):
            raise ValueError("not from one of our clients")
        if number <= self._newest.get((client, told), 0):
            raise ValueError("a message that was here before")
        self._newest[client, told] = number
        return Request(message["body"], client, told, *moments,
                       lambda body: self._answer(sender, number, body))

    def _answer(self, sender: bytes, number: int, body: dict[str, Any]) -> None:
        try:
            frames = _seal(self._secret, TO_CLIENT, {"id": number, "body": body}, ANSWER_BYTES)
        except SmolkitError as error:
            frames = _seal(self._secret, TO_CLIENT, {"id": number, "body": error_body(error)}, ANSWER_BYTES)
        self._socket.send_multipart([sender, *frames])                  # a client that is gone gets nothing

    def close(self) -> None:
        """Frees name and port; closing twice is fine."""
        self._claim.release()
        self._socket.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client:
    """Asks one server and tells it things, from any thread.

    What is told has a line of its own: a heartbeat never waits for the answer to a question.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float = 2.0):
        self.endpoint, self.timeout_s = endpoint, timeout_s
        self._secret, self._me = bytes.fromhex(endpoint.secret), secrets.token_bytes(16)
        self._numbers = itertools.count(1)
        self._lines = {told: (threading.Lock(), _socket(zmq.DEALER, 2 * ANSWER_BYTES)) for told in (False, True)}
        for _, line in self._lines.values():
            line.connect(endpoint.address)

    def ask(self, body: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """The server's answer; raises the server's own error, SK813 (cannot travel) or SK814 (no answer)."""
        until_s = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        lock, line = self._lines[False]
        try:
            with lock:
                answer = self._await(line, self._send(line, body, until_s, told=False), until_s)
        except zmq.ZMQError as error:
            raise self._silence(str(error)) from error
        if "error" in answer:
            raise SmolkitError(**answer["error"])
        return answer

    def tell(self, body: dict[str, Any]) -> bool:
        """Sends without waiting; False where the line is full, because the server has not read for long."""
        lock, line = self._lines[True]
        try:
            with lock:
                self._send(line, body, math.inf, told=True)
        except zmq.ZMQError:
            return False
        return True

    def _send(self, line: zmq.Socket, body: dict[str, Any], until_s: float, told: bool) -> int:
        number = next(self._numbers)
        message = {"id": number, "from": self._me, "told": told, "sent_s": time.monotonic(), "until_s": until_s,
                   "body": body}
        line.send_multipart(_seal(self._secret, TO_SERVER, message, REQUEST_BYTES), zmq.NOBLOCK)
        return number

    def _await(self, line: zmq.Socket, number: int, until_s: float) -> dict[str, Any]:
        while line.poll(max(0, math.ceil(1000 * (until_s - time.monotonic())))):
            try:
                message = _unseal(self._secret, TO_CLIENT, line.recv_multipart(), ANSWER_BYTES)
            except BROKEN as error:
                raise self._silence(f"something else: {error}") from error
            if message["id"] == number:                                 # else: a late answer to an older question
                return message["body"]
        raise self._silence("none in time")

    def _silence(self, found: str) -> SmolkitError:
        server = f"process {self.endpoint.pid} ({self.endpoint.name})"
        cause = f"{server} is busy or frozen" if self.endpoint.alive else f"{server} has ended"
        return SmolkitError("SK814", f"an answer from {server}", found, cause, "ask again; if it stays, start it anew")

    def close(self) -> None:
        """Closes both lines; closing twice is fine."""
        for lock, line in self._lines.values():
            with lock:
                line.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _socket(kind: int, largest_bytes: int) -> zmq.Socket:
    socket = zmq.Context.instance().socket(kind)
    for option, value in ((zmq.LINGER, LINGER_MS), (zmq.MAXMSGSIZE, largest_bytes),
                          (zmq.SNDHWM, QUEUED), (zmq.RCVHWM, QUEUED)):
        socket.setsockopt(option, value)
    return socket
