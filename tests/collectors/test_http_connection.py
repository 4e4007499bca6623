"""Clients that do not behave, over raw sockets: none of them holds a connection, memory or the others up."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from otlp_bodies import log_body
from running_receivers import Running, running

from collectors.receive.http_connection import HEAD_BYTES
from collectors.receive.receiver_options import ReceiverOptions

BODY = log_body(5, "one line")
HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
WHOLE = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
PATIENT = ReceiverOptions(grpc=None, max_body=100_000, max_connections=4)
QUICK = ReceiverOptions(grpc=None, max_body=100_000, read_timeout_s=1)


@pytest.fixture
def up() -> Iterator[Running]:
    with running(PATIENT) as receivers:
        yield receivers


@pytest.fixture
def quick() -> Iterator[Running]:
    with running(QUICK) as receivers:
        yield receivers


@contextlib.contextmanager
def connected(up: Running) -> Iterator[socket.socket]:
    assert up.addresses.http is not None
    host, _, port = up.addresses.http.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as client:
        yield client


def all_of(client: socket.socket) -> bytes:
    """What the receiver sends until it closes."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            said += piece
    return said


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer, read to its end and no further."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = client.recv(1)
        assert piece, said
        said += piece
    length = re.search(rb"content-length: (\d+)", said)
    assert length
    body = b""
    while len(body) < int(length[1]):
        body += client.recv(int(length[1]) - len(body))
    return int(said.split()[1]), body


def dribble(client: socket.socket, sent: bytes) -> bytes:
    """Send a byte at a time, slowly and for long, until the receiver has had enough; what it said."""
    with contextlib.suppress(ConnectionError):
        for at in range(200):
            client.sendall(sent[at % len(sent) : at % len(sent) + 1])
            time.sleep(0.02)
    return all_of(client)


def usable(up: Running) -> bool:
    with connected(up) as client:
        client.sendall(WHOLE)
        return answer_of(client)[0] == 200


def test_a_head_that_dribbles_is_cut_off_with_a_reason(quick: Running) -> None:
    with connected(quick) as client:
        said = dribble(client, b"GET /health HTTP/1.1\r\nx: " + b"y" * 500)
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["code"] == 4
    assert quick.told.requests[0][:3] == ("http", None, "timed_out")
    assert usable(quick)


def test_a_body_that_dribbles_is_cut_off_with_a_reason(quick: Running) -> None:
    with connected(quick) as client:
        client.sendall(HEAD + b"content-length: 5000\r\n\r\n")
        said = dribble(client, b"\0")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"the request was not there in time" in said
    assert quick.told.requests[0][:3] == ("http", "logs", "timed_out")
    assert quick.door.bodies == []


def test_head_and_body_share_one_deadline() -> None:
    with running(ReceiverOptions(grpc=None, read_timeout_s=1)) as up, connected(up) as client:
        client.sendall(HEAD)
        time.sleep(0.7)
        client.sendall(b"content-length: %d\r\n\r\n" % len(BODY))
        time.sleep(0.5)
        with contextlib.suppress(ConnectionError):
            client.sendall(BODY)
        assert all_of(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_silent_client_is_let_go(quick: Running, sent: bytes) -> None:
    with connected(quick) as client:
        client.sendall(sent)
        said = all_of(client)
        assert said == b"" or said.startswith(b"HTTP/1.1 408 ")
    with connected(quick) as client:
        client.sendall(WHOLE)
        assert answer_of(client)[0] == 200
        client.sendall(b"\r\n")
        assert all_of(client).startswith(b"HTTP/1.1 408 ")


def test_two_gigabytes_are_refused_before_they_are_read(up: Running) -> None:
    with connected(up) as client:
        client.sendall(HEAD + b"content-length: 2147483648\r\n\r\n")
        status, body = answer_of(client)
    assert (status, body[:2]) == (413, b"\x08\x08")
    assert up.told.requests == [("http", "logs", "too_large", 0)]
    assert usable(up)


def test_a_client_that_expects_to_continue_is_told_before_it_sends(up: Running) -> None:
    with connected(up) as client:
        client.sendall(HEAD + b"expect: 100-continue\r\ncontent-length: 2147483648\r\n\r\n")
        assert answer_of(client)[0] == 413
    with connected(up) as client:
        client.sendall(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert answer_of(client)[0] == 200
    assert up.door.bodies == [("logs", BODY)]


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(up: Running) -> None:
    with connected(up) as client:
        client.sendall(CHUNKED)
        sent = 0
        client.settimeout(0.01)
        answered = b""
        while not answered and sent < 50_000_000:
            client.settimeout(20)
            client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            sent += 0x10000
            client.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                answered = client.recv(1000)
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert sent < 2_000_000
    assert up.outcomes == ["too_large"]


def test_chunks_of_one_byte_are_a_body(up: Running) -> None:
    with connected(up) as client:
        client.sendall(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n")
        assert answer_of(client)[0] == 200
    assert up.door.bodies == [("logs", BODY)]


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"GET /health HTTP/1.1\r\n", b"x-filler: " + b"y" * 1000 + b"\r\n"), (b"GET /", b"y" * 1000),
     (b"GET /health HTTP/1.1\r\nx: ", b"y" * 1000), (CHUNKED + b"1\r\nx\r\n0\r\n", b"x-trailer: " + b"y" * 1000 + b"\r\n")])
def test_heads_and_trailers_have_a_bound(up: Running, start: bytes, more: bytes) -> None:
    sent = 0
    with connected(up) as client:
        client.sendall(start)
        with contextlib.suppress(ConnectionError):
            while sent < 100 * HEAD_BYTES:
                client.sendall(more)
                sent += len(more)
        said = all_of(client)
    assert sent < 100 * HEAD_BYTES
    assert not said or said.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert usable(up)


@pytest.mark.parametrize("sent", [b"\0\0\0\0\n\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"hello\r\n\r\n",
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n",
                                  b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n"])
def test_what_is_no_http_is_answered_with_a_reason(up: Running, sent: bytes) -> None:
    with connected(up) as client:
        client.sendall(sent)
        said = all_of(client)
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["message"] == "this is no HTTP/1.1 request"
    assert up.outcomes == ["malformed"]


@pytest.mark.parametrize("sent", [CHUNKED + b"zz\r\n", HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
                                  HEAD + b"content-length: -1\r\n\r\n",
                                  HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"])
def test_a_body_whose_end_is_unclear_is_refused(up: Running, sent: bytes) -> None:
    with connected(up) as client:
        client.sendall(sent)
        assert all_of(client).startswith(b"HTTP/1.1 400 ")
    _until(lambda: up.outcomes == ["malformed"])
    assert up.door.bodies == []


def test_connections_beyond_the_bound_are_told_to_come_back(up: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            held = stack.enter_context(connected(up))
            held.sendall(WHOLE)
            assert answer_of(held)[0] == 200
        with connected(up) as client:
            said = all_of(client)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in said
    assert up.outcomes[-1] == "queue_full"


def test_requests_that_do_not_wait_for_answers_get_them_in_order(up: Running) -> None:
    with connected(up) as client:
        client.sendall(WHOLE + b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n" + WHOLE)
        assert [answer_of(client)[0] for _ in range(3)] == [200, 404, 200]
    assert up.outcomes == ["ok", "unsupported", "duplicate"]


def test_a_client_that_offers_another_protocol_is_answered_in_this_one(up: Running) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    with connected(up) as client:
        offering = WHOLE.replace(b"host: x\r\n", b"host: x\r\n" + offer)
        client.sendall(offering[:-3])
        time.sleep(0.05)
        client.sendall(offering[-3:])
        assert answer_of(client)[0] == 200
        assert up.door.bodies == [("logs", BODY)]
        client.sendall(offering + offering + WHOLE)
        assert [answer_of(client)[0] for _ in range(3)] == [200, 200, 200]
    assert up.outcomes == ["ok", "duplicate", "duplicate", "duplicate"]
    assert up.told.requests[-1][3] == len(BODY)


def test_a_client_that_leaves_in_the_middle_changes_nothing(up: Running) -> None:
    with connected(up) as client:
        client.sendall(WHOLE[:-3])
    _until(lambda: up.outcomes == ["timed_out"])
    assert up.door.bodies == []
    assert usable(up)


def test_a_client_that_does_not_read_is_cut_off(quick: Running) -> None:
    quick.told.padding = bytes(16 << 20)
    with connected(quick) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        _until(lambda: quick.told.pages == 1)
        _until(lambda: len(quick.receivers.connections) == 0)
        assert len(all_of(client)) < 16 << 20


def test_requests_that_are_here_end_and_no_new_ones_come_when_it_stops(up: Running) -> None:
    up.door.gate = threading.Event()
    with connected(up) as idle, connected(up) as busy:
        idle.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answer_of(idle)[0] == 200
        busy.sendall(WHOLE)
        up.door.waiting.wait(20)
        stopping = threading.Thread(target=up.stop, args=(20,))
        stopping.start()
        assert idle.recv(10) == b""
        with contextlib.suppress(ConnectionError), connected(up) as late:
            late.sendall(WHOLE)
            assert late.recv(10) == b""
        up.door.gate.set()
        assert answer_of(busy)[0] == 200
        stopping.join(20)
    assert up.door.bodies == [("logs", BODY)]


def test_requests_that_do_not_end_are_cut_off_when_it_stops(up: Running, caplog: pytest.LogCaptureFixture) -> None:
    up.door.gate = threading.Event()
    with connected(up) as client:
        client.sendall(WHOLE)
        up.door.waiting.wait(20)
        up.stop(0.1)
        assert all_of(client) == b""
    assert (up.outcomes, up.door.bodies, caplog.text) == (["stopping"], [], "")


PIECES = st.lists(st.sampled_from([
    HEAD, WHOLE, b"\r\n", b"\r\n\r\n", b"content-length: 3\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n", b"3\r\nabc\r\n",
    b"0\r\n\r\n", b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b"content-encoding: gzip\r\n", b"expect: 100-continue\r\n", b"\0",
    b"connection: close\r\n", b"HEAD /metrics HTTP/1.0\r\n\r\n", b"POST * HTTP/1.1\r\n", b"upgrade: websocket\r\n", b"\xff" * 9,
]) | st.binary(max_size=20), max_size=6).map(b"".join)


@given(PIECES)
@example(b"GET //[ HTTP/1.1\r\n\r\n")
@example(b"OPTIONS * HTTP/1.1\r\n\r\n")
@example(b"GET http://x:y/ HTTP/1.1\r\n\r\n")
@settings(max_examples=40)
def test_any_bytes_end_in_answers_and_a_receiver_that_goes_on(sent: bytes) -> None:
    up = _SHARED[0]
    with connected(up) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        said = all_of(client)
    assert not said or said.startswith(b"HTTP/1.1 ")
    assert "error" not in up.outcomes
    assert usable(up)


_SHARED: list[Running] = []


@pytest.fixture(scope="module", autouse=True)
def _shared() -> Iterator[None]:
    with running(ReceiverOptions(grpc=None, read_timeout_s=2)) as up:
        _SHARED[:] = [up]
        yield
        _SHARED.clear()


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
