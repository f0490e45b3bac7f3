"""Signed messages on loopback: what travels, what is dropped and counted, how errors come home."""

from __future__ import annotations

import hmac
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from smolkit import messages
from smolkit.messages import ANSWER_BYTES, DTYPES, REQUEST_BYTES, TO_CLIENT, TO_SERVER, Client, Server, error_body
from smolkit.report import SmolkitError

SECRET = bytes(32)
GOOD = {"id": 1, "from": b"me", "told": False, "sent_s": 0.0, "until_s": 0.0, "body": {}}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMOLKIT_SESSIONS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("arm") as opened:
        yield opened


@pytest.fixture
def raw(server: Server) -> Iterator[zmq.Socket]:
    """A stranger's socket, connected to the server."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(server.endpoint.address)
    yield socket
    socket.close()


@pytest.mark.fault(23)
def test_a_server_whose_folder_was_wiped_is_found_again(server: Server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(messages, "RENEW_S", 0.1)
    shutil.rmtree(tmp_path / "smolkit")
    assert server.poll(0) == [] and not server.endpoint.alive
    time.sleep(0.15)
    assert server.poll(0) == [] and server.endpoint.alive


def answering(server: Server, answer: Callable[[dict[str, Any]], dict[str, Any]], count: int) -> threading.Thread:
    """A thread that answers `count` requests."""
    def serve() -> None:
        left, end_s = count, time.monotonic() + 20
        while left > 0 and time.monotonic() < end_s:
            for request in server.poll(0.1):
                request.reply(answer(request.body))
                left -= 1
    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def polled(server: Server, rejected: int = 0, accepted: int = 0) -> list:
    """Polls until so many were dropped and taken."""
    found, end_s = [], time.monotonic() + 20
    while (server.rejected < rejected or len(found) < accepted) and time.monotonic() < end_s:
        found += server.poll(0.1)
    assert (server.rejected, len(found)) == (rejected, accepted)
    return found


def signed(server: Server, payload: bytes, way: bytes = TO_SERVER) -> list[bytes]:
    return [hmac.digest(bytes.fromhex(server.endpoint.secret), way + payload, "sha256"), payload]


PLAIN = st.recursive(st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats(allow_nan=False)
                     | st.text() | st.binary(),
                     lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(st.dictionaries(st.text(), PLAIN))
def test_plain_data_come_out_as_they_went_in(body):
    frames = messages._seal(SECRET, TO_SERVER, {"id": 1, "body": body}, REQUEST_BYTES)
    assert messages._unseal(SECRET, TO_SERVER, frames, REQUEST_BYTES)["body"] == body


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4), st.booleans(), st.randoms())
def test_arrays_come_out_as_they_went_in(dtype, shape, swapped, random):
    array = np.frombuffer(random.randbytes(math.prod(shape) * 8), "u1")[:math.prod(shape)].astype(dtype).reshape(shape)
    sent = (array.astype(dtype.newbyteorder(">")) if swapped else array).T
    frames = messages._seal(SECRET, TO_SERVER, {"id": 1, "body": {"a": sent}}, REQUEST_BYTES)
    found = messages._unseal(SECRET, TO_SERVER, frames, REQUEST_BYTES)["body"]["a"]
    assert found.dtype == dtype and found.shape == array.T.shape and (found == array.T).all()
    assert found.flags.writeable


@pytest.mark.parametrize("thing", [np.array([object()]), np.array([1j]), np.array(["text"]), {1, 2}, 2**70, print])
def test_what_is_no_plain_data_does_not_travel(server, thing):
    with Client(server.endpoint) as client, pytest.raises(SmolkitError, match="SK813"):
        client.ask({"thing": thing})


@given(st.integers(0, 127), st.binary(max_size=40))
def test_forged_arrays_are_refused_or_have_the_size_they_say(code, data):
    try:
        array = messages._unpack(code, data)
    except ValueError:
        return
    assert array.nbytes == len(data) - 1 - 4 * array.ndim


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\xff\xff\xff\xff", b"\x02" + b"\xff" * 8, b"\x60" + bytes(400)])
def test_arrays_that_lie_about_their_size_are_refused(data):
    with pytest.raises(ValueError):
        messages._unpack(0, data)


def test_questions_are_answered_and_threads_get_their_own_answers(server):
    answers = answering(server, lambda body: {"n": body["n"] * 2}, 200)
    with Client(server.endpoint, timeout_s=20) as client:
        found: dict[int, int] = {}
        def ask(first: int) -> None:
            found.update({n: client.ask({"n": n})["n"] for n in range(first, 200, 4)})
        threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in [*threads, answers]:
            thread.join()
    assert found == {n: 2 * n for n in range(200)} and server.rejected == 0


def test_a_late_answer_is_not_taken_for_the_next_one(server):
    with Client(server.endpoint) as client:
        with pytest.raises(SmolkitError, match="SK814") as error:
            client.ask({"n": 1}, timeout_s=0.05)
        assert "busy or frozen" in error.value.cause and str(server.endpoint.pid) in error.value.cause
        answers = answering(server, lambda body: body, 2)            # answers the old question first
        assert client.ask({"n": 2}, timeout_s=20) == {"n": 2}
        answers.join()


def test_a_request_tells_who_asks_and_until_when(server):
    with Client(server.endpoint) as client:
        begin_s = time.monotonic()
        with pytest.raises(SmolkitError):
            client.ask({}, timeout_s=0.05)
        client.tell({"beat": 1})
        asked, told = sorted(polled(server, accepted=2), key=lambda request: request.told)
    assert begin_s < asked.until_s < begin_s + 5 and told.until_s == math.inf
    assert begin_s <= asked.sent_s <= told.sent_s <= time.monotonic()
    assert asked.sender == told.sender and told.body == {"beat": 1}
    told.reply({"nobody": "waits"})


def test_a_heartbeat_does_not_wait_for_an_answer(server):
    with Client(server.endpoint, timeout_s=2) as client:
        slow = threading.Thread(target=lambda: pytest.raises(SmolkitError, client.ask, {"slow": True}))
        slow.start()
        polled(server, accepted=1)
        assert client.tell({"beat": 1}) and polled(server, accepted=1)[0].told
        assert slow.is_alive()
        slow.join()


def test_heartbeats_to_a_server_that_does_not_read_are_dropped_not_piled_up(server):
    with Client(server.endpoint) as client:
        sent = [client.tell({"beat": n, "fill": bytes(200_000)}) for n in range(300)]
        assert sent[0] and not sent[-1]


def test_the_end_of_the_server_is_named(server):
    with Client(server.endpoint, timeout_s=0.05) as client:
        server.close()
        with pytest.raises(SmolkitError, match="SK814") as error:
            client.ask({})
        assert "has ended" in error.value.cause
    with pytest.raises(SmolkitError, match="SK814"):
        client.ask({})                                               # closed


def test_errors_come_home_as_themselves(server):
    sent = SmolkitError("SK301", "a", "b", "c", "d")
    answers = answering(server, lambda body: error_body(sent), 1)
    with Client(server.endpoint, timeout_s=20) as client, pytest.raises(SmolkitError) as error:
        client.ask({})
    answers.join()
    assert vars(error.value) == vars(sent)


@pytest.mark.parametrize("answer", [{"a": print}, {"a": bytes(ANSWER_BYTES)}])
def test_an_answer_that_cannot_travel_becomes_an_error_at_the_asker(server, answer):
    answers = answering(server, lambda body: answer, 1)
    with Client(server.endpoint, timeout_s=20) as client, pytest.raises(SmolkitError, match="SK813"):
        client.ask({})
    answers.join()


def test_a_picture_travels(server):
    image = np.arange(480 * 640 * 3, dtype=np.uint8).reshape(480, 640, 3)
    answers = answering(server, lambda body: {"image": image}, 1)
    with Client(server.endpoint, timeout_s=20) as client:
        assert (client.ask({})["image"] == image).all()
    answers.join()


# --- what is dropped --------------------------------------------------------------------------------------


def test_another_secret_is_dropped_and_counted(server):
    stranger = replace(server.endpoint, secret="0" * 64)
    with Client(stranger, timeout_s=0.2) as client:
        with pytest.raises(SmolkitError, match="SK814"):
            client.ask({"do": "fly"})
        client.tell({"do": "fly"})
        polled(server, rejected=2)


def test_a_message_sent_again_is_dropped_under_any_identity(server, raw):
    frames = signed(server, msgpack.packb(GOOD))
    raw.send_multipart(frames)
    polled(server, accepted=1)
    raw.send_multipart(frames)
    polled(server, rejected=1)
    raw.send_multipart(signed(server, msgpack.packb({**GOOD, "id": 0})))
    raw.send_multipart(signed(server, msgpack.packb({**GOOD, "id": 2})))
    polled(server, rejected=2, accepted=1)


def test_an_answer_is_no_question(server, raw):
    raw.send_multipart(signed(server, msgpack.packb(GOOD), way=TO_CLIENT))
    polled(server, rejected=1)


@pytest.mark.parametrize("payload", [
    b"", b"\xc1", msgpack.packb(7), msgpack.packb([GOOD]), msgpack.packb(GOOD) + b"x", b"\xdf\xff\xff\xff\xff",
    b"\x91" * 5000, msgpack.packb({**GOOD, "body": msgpack.ExtType(0, b"\x01\xff\xff\xff\x7f")}),
    msgpack.packb({**GOOD, "body": 3}), msgpack.packb({**GOOD, "id": True}), msgpack.packb({**GOOD, "from": 1}),
    msgpack.packb({**GOOD, "told": None}), msgpack.packb({**GOOD, "until_s": "never"}),
    msgpack.packb({**GOOD, "sent_s": None}), msgpack.packb({1: 2})])
def test_signed_nonsense_is_dropped_too(server, raw, payload):
    raw.send_multipart(signed(server, payload))
    polled(server, rejected=1)


@given(payload=st.binary(max_size=200))
def test_any_signed_bytes_are_a_message_or_refused(payload):
    frames = [hmac.digest(SECRET, TO_SERVER + payload, "sha256"), payload]
    with pytest.raises(messages.BROKEN):
        messages._unseal(SECRET, TO_SERVER, frames, REQUEST_BYTES)


def test_too_much_is_dropped_and_the_server_goes_on(server, raw):
    raw.send_multipart(signed(server, bytes(REQUEST_BYTES + 1)))
    polled(server, rejected=1)
    raw.send_multipart(signed(server, bytes(8 * REQUEST_BYTES)))     # zmq itself hangs up
    answers = answering(server, lambda body: {}, 1)
    with Client(server.endpoint, timeout_s=20) as client:
        assert client.ask({}) == {}
    answers.join()
    with Client(server.endpoint) as client, pytest.raises(SmolkitError, match="SK813"):
        client.ask({"picture": bytes(REQUEST_BYTES)})


def test_garbage_leaves_the_server_as_it_was(server, raw):
    drawn = np.random.default_rng(1)
    for _ in range(200):
        raw.send_multipart([drawn.bytes(int(n)) for n in drawn.integers(0, 60, drawn.integers(1, 6))])
    polled(server, rejected=200)
    raw.send_multipart(signed(server, msgpack.packb(GOOD)))
    polled(server, rejected=200, accepted=1)


def test_a_flood_of_garbage_does_not_hold_the_server(server, raw):
    stop = threading.Event()
    def flood() -> None:
        while not stop.is_set():
            try:
                raw.send_multipart([b"x" * 32, bytes(2000)], zmq.NOBLOCK)
            except zmq.Again:
                stop.wait(0.001)
    flooding = threading.Thread(target=flood)
    flooding.start()
    begin_s = time.monotonic()
    while server.rejected < 500 and time.monotonic() < begin_s + 20:
        poll_s = time.monotonic()
        server.poll(0.1)
        assert time.monotonic() - poll_s < 2
    stop.set()
    flooding.join()
    assert server.rejected >= 500
