"""OTLP over HTTP as senders see it: what is taken reaches the door unchanged, what is not is answered with a reason."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import zstandard
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_bodies import log_body
from otlp_messages import as_json, requests
from running_receivers import Running, running

from collectors.receive.door import Refused
from collectors.receive.receiver_options import ReceiverOptions
from collectors.service.vitals import Vitals
from collectors.sink import Signal

PROTOBUF, JSON = {"content-type": "application/x-protobuf"}, {"content-type": "application/json"}
BODY = log_body(5, "one line")
SMALL = ReceiverOptions(grpc=None, max_body=4096, max_plain=8192, max_held=6000)
PACK: dict[str, Any] = {"identity": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.fixture
def up() -> Iterator[Running]:
    with running(SMALL) as receivers:
        yield receivers


@pytest.fixture
def client(up: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.url, timeout=20) as opened:
        yield opened


def reason(answer: httpx.Response) -> tuple[int, str]:
    """Code and message of the google.rpc.Status that came."""
    if answer.headers["content-type"] == "application/x-protobuf":
        status = Status.FromString(answer.content)
        return status.code, status.message
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said.keys() == {"code", "message"}
    return said["code"], said["message"]


@given(requests(), st.sampled_from(sorted(PACK)), st.booleans())
@settings(max_examples=40)
def test_what_is_taken_reaches_the_door_as_it_was_sent(request_: tuple[Signal, Message], encoding: str, as_text: bool) -> None:
    signal, message = request_
    binary = message.SerializeToString()
    sent = json.dumps(as_json(message)).encode() if as_text else binary
    up, client = shared()
    up.door.bodies.clear()
    headers = (JSON if as_text else PROTOBUF) | {"content-encoding": encoding}
    answer = client.post(f"/v1/{signal}", content=PACK[encoding](sent), headers=headers)
    assert (answer.status_code, answer.content) == (200, b"{}" if as_text else b"")
    assert answer.headers["content-type"] == headers["content-type"]
    assert up.door.bodies == ([(signal, binary)] if binary else [])


_SHARED: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def _shared() -> Iterator[None]:
    with running(ReceiverOptions(grpc=None)) as up, httpx.Client(base_url=up.url, timeout=20) as client:
        _SHARED[:] = [up, client]
        yield
        _SHARED.clear()


def shared() -> tuple[Running, httpx.Client]:
    """Receivers that properties use for all of their examples."""
    return _SHARED[0], _SHARED[1]


def test_a_body_that_was_taken_before_is_taken_again_and_kept_once(up: Running, client: httpx.Client) -> None:
    answers = [client.post("/v1/logs", content=BODY, headers=PROTOBUF) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert up.door.bodies == [("logs", BODY)]
    assert up.told.requests == [("http", "logs", "ok", len(BODY)), ("http", "logs", "duplicate", len(BODY))]


def test_an_empty_request_is_a_success_and_nothing_to_keep(up: Running, client: httpx.Client) -> None:
    assert client.post("/v1/traces", content=b"", headers=PROTOBUF).status_code == 200
    assert client.post("/v1/traces", content=b"{}", headers=JSON).status_code == 200
    assert (up.door.bodies, up.outcomes) == ([], ["ok", "ok"])


@pytest.mark.parametrize("media", ["application/x-protobuf; charset=utf-8", "Application/X-Protobuf ;x=y"])
def test_a_content_type_may_have_parameters(up: Running, client: httpx.Client, media: str) -> None:
    assert client.post("/v1/logs", content=BODY, headers={"content-type": media}).status_code == 200
    assert up.door.bodies == [("logs", BODY)]


INVALID_UTF8 = b"\x0a\x04\x1a\x02\xff\xfe"
BAD: dict[str, tuple[bytes, dict[str, str], int, int, str]] = {
    "malformed protobuf": (b"\xff\xff\xff", PROTOBUF, 400, 3, "the body is no ExportLogsServiceRequest"),
    "cut protobuf": (BODY[:-1], PROTOBUF, 400, 3, "cut, damaged"),
    "invalid UTF-8": (INVALID_UTF8, PROTOBUF, 400, 3, "no UTF-8"),
    "malformed JSON": (b'{"resourceLogs":', JSON, 400, 3, "is no JSON"),
    "JSON of another shape": (b'{"resourceLogs":{}}', JSON, 400, 3, "resourceLogs: must be an array"),
    "nested JSON": (b"[" * 4000, JSON, 400, 3, "nested too deep"),
    "ids that are no hex": (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"}]}]}]}', JSON, 400, 3, "traceId"),
    "no gzip": (BODY, PROTOBUF | {"content-encoding": "gzip"}, 400, 3, "not gzip"),
    "cut gzip": (gzip.compress(BODY)[:-1], PROTOBUF | {"content-encoding": "gzip"}, 400, 3, "cut short"),
    "no zstd": (BODY, PROTOBUF | {"content-encoding": "zstd"}, 400, 3, "not zstd"),
    "cut zstd": (zstandard.compress(BODY)[:-1], PROTOBUF | {"content-encoding": "zstd"}, 400, 3, "cut short"),
    "gzip bomb": (gzip.compress(bytes(1 << 20)), PROTOBUF | {"content-encoding": "gzip"}, 413, 8, "unpacked body"),
    "zstd bomb": (zstandard.compress(bytes(1 << 24)), PROTOBUF | {"content-encoding": "zstd"}, 413, 8, "unpacked body"),
    "JSON bomb": (gzip.compress(b" " * 5000 + b"{}"), JSON | {"content-encoding": "gzip"}, 413, 8, "unpacked body"),
    "large body": (bytes(4097), PROTOBUF, 413, 8, "larger than 4096 bytes"),
    "unknown encoding": (BODY, PROTOBUF | {"content-encoding": "br"}, 415, 3, "one of identity, gzip, zstd"),
    "two encodings": (BODY, PROTOBUF | {"content-encoding": "gzip, zstd"}, 415, 3, "one of identity"),
    "wrong type": (BODY, {"content-type": "text/plain"}, 415, 3, "Content-Type must be"),
    "no type": (BODY, {}, 415, 3, "Content-Type must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_answered_with_a_reason_and_changes_nothing(up: Running, client: httpx.Client, name: str) -> None:
    sent, headers, status, code, why = BAD[name]
    answer = client.post("/v1/logs", content=sent, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == ("application/x-protobuf" if headers.get("content-type") ==
                                              "application/x-protobuf" else "application/json")
    assert reason(answer)[0] == code
    assert why in reason(answer)[1]
    assert ("accept-encoding" in answer.headers) == (status == 415)
    assert up.outcomes == [{400: "malformed", 413: "too_large", 415: "unsupported"}[status]]
    assert up.door.bodies == []
    assert client.post("/v1/logs", content=BODY, headers=PROTOBUF).status_code == 200


def test_odd_but_well_formed_records_are_left_to_the_decoder(up: Running, client: httpx.Client) -> None:
    many = ExportLogsServiceRequest()
    record = many.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"abc", time_unix_nano=0)
    record.attributes.add(key="nan").value.double_value = float("nan")
    record.attributes.add(key="inf").value.double_value = float("-inf")
    many.resource_logs[0].scope_logs[0].log_records.add(time_unix_nano=(1 << 64) - 1, span_id=bytes(9))
    for _ in range(100_000):
        record.attributes.add()
    sent = many.SerializeToString()
    with running(ReceiverOptions(grpc=None)) as wide:
        assert httpx.post(f"{wide.url}/v1/logs", content=sent, headers=PROTOBUF).status_code == 200
        assert wide.door.bodies == [("logs", sent)]
    assert client.post("/v1/logs", content=b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"spanId":"abcd"}]}]}]}',
                       headers=JSON).status_code == 200
    assert len(up.door.bodies) == 1


@pytest.mark.parametrize(
    ("why", "status", "code"),
    [("queue_full", 429, 8), ("journal_full", 503, 14), ("disk_full", 503, 14), ("stopping", 503, 14)])
@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
def test_a_full_house_says_when_to_come_back(up: Running, client: httpx.Client, why: str, status: int, code: int,
                                             headers: dict[str, str]) -> None:
    up.door.refusal = Refused(why, 7, "come back")
    sent = BODY if headers is PROTOBUF else b'{"resourceLogs":[{}]}'
    answer = client.post("/v1/logs", content=sent, headers=headers)
    assert (answer.status_code, answer.headers["retry-after"], reason(answer)) == (status, "7", (code, "come back"))
    up.door.refusal = None
    assert client.post("/v1/logs", content=sent, headers=headers).status_code == 200
    assert up.outcomes == [why, "ok"]
    assert len(up.door.bodies) == 1


def test_a_fault_of_ours_is_a_500_that_is_counted_and_logged(up: Running, client: httpx.Client,
                                                             caplog: pytest.LogCaptureFixture) -> None:
    up.door.fault = RuntimeError("broken")
    answer = client.post("/v1/logs", content=BODY, headers=PROTOBUF)
    assert (answer.status_code, reason(answer)) == (500, (13, "the collector failed; its log says why"))
    assert up.outcomes == ["error"]
    up.stop(1)
    assert "RuntimeError: broken" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [("POST", "/v1/nothing", 404, 5, None), ("GET", "/", 404, 5, None), ("POST", "/v1/traces/", 404, 5, None),
     ("GET", "/v1/../etc/passwd", 404, 5, None), ("GET", "/v1/%00", 404, 5, None), ("GET", "/v1/traces", 405, 12, "POST"),
     ("PUT", "/v1/logs", 405, 12, "POST"), ("HEAD", "/v1/logs", 405, 12, "POST"), ("POST", "/metrics", 405, 12, "GET, HEAD"),
     ("DELETE", "/health", 405, 12, "GET, HEAD")])
def test_what_is_not_here_is_said(up: Running, client: httpx.Client, method: str, path: str, status: int, code: int,
                                  allow: str | None) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)
    assert method == "HEAD" or reason(answer)[0] == code
    assert up.outcomes == ["unsupported"]


def test_the_token_is_needed_before_anything_is_read() -> None:
    with running(ReceiverOptions(grpc=None, token="s3cret")) as up, httpx.Client(base_url=up.url) as client:
        for given in (None, "s3cret", "Bearer", "Bearer s3c", "Bearer s3crets", "Basic s3cret", "Bearer \xe9", "Bearer s3 cr"):
            headers = PROTOBUF | ({} if given is None else {"authorization": given})
            answer = client.post("/v1/logs", content=BODY, headers={k: v.encode("latin-1") for k, v in headers.items()})
            assert (answer.status_code, answer.headers["www-authenticate"], reason(answer)[0]) == (401, "Bearer", 16)
        assert client.get("/metrics").status_code == 401
        assert up.told.requests == [("http", "logs", "unauthorised", 0)] * 8
        known = {"authorization": "Bearer s3cret"}
        assert client.post("/v1/logs", content=BODY, headers=PROTOBUF | known).status_code == 200
        known = {"authorization": "bearer s3cret"}
        assert client.post("/v1/logs", content=BODY + BODY, headers=PROTOBUF | known).status_code == 200
        assert client.get("/metrics", headers=known).status_code == 200
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/health", headers=known).json()["lag_s"] == 0


def test_health_and_metrics_tell_the_vitals_of_now(up: Running, client: httpx.Client) -> None:
    assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (200, "ok")
    up.vitals = Vitals(journal_frames=3, rows={"spans": 2}, problems=("decoding is stuck",))
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["rows"]) == (503, "failing", {"spans": 2})
    assert answer.json()["problems"] == ["decoding is stuck"]
    assert client.get("/metrics").text == "journal_frames 3\n"
    for page in ("/health", "/metrics"):
        assert client.head(page).content == b""
        assert client.head(page).headers["content-length"] == client.get(page).headers["content-length"]
    assert up.told.requests == []


def test_bodies_that_are_being_received_have_a_bound_together() -> None:
    """600 of 900 kB are held by a sender that has not finished; another has no room until it is gone."""
    begun, gone = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield bytes(600_000)
        begun.set()
        gone.wait(20)
        yield b"\0"

    bounds = ReceiverOptions(grpc=None, max_body=1_000_000, max_held=900_000)
    with running(bounds) as up, ThreadPoolExecutor(1) as pool, httpx.Client(base_url=up.url) as client:
        first = pool.submit(httpx.post, f"{up.url}/v1/logs", content=slow(), headers=PROTOBUF)
        begun.wait(20)
        until = time.monotonic() + 10
        while (answer := client.post("/v1/logs", content=bytes(600_000), headers=PROTOBUF)).status_code == 400:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert answer.status_code == 429
        assert (answer.headers["retry-after"], reason(answer)[0]) == ("1", 8)
        gone.set()
        assert first.result(20).status_code == 400
        assert client.post("/v1/logs", content=BODY, headers=PROTOBUF).status_code == 200
        assert up.outcomes[-3:] == ["queue_full", "malformed", "ok"]


def test_health_answers_while_bodies_wait_for_the_disk(up: Running, client: httpx.Client) -> None:
    up.door.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        posted = pool.submit(httpx.post, f"{up.url}/v1/logs", content=BODY, headers=PROTOBUF)
        up.door.waiting.wait(20)
        assert client.get("/health").status_code == 200
        assert not posted.done()
        up.door.gate.set()
        assert posted.result(20).status_code == 200


def test_many_clients_at_once_are_all_served() -> None:
    with running(ReceiverOptions(grpc=None)) as up, httpx.Client(base_url=up.url, timeout=30) as client:
        bodies = [log_body(number, "x" * number) for number in range(1, 200)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda body: client.post("/v1/logs", content=body, headers=PROTOBUF), bodies))
        assert {answer.status_code for answer in answers} == {200}
        assert sorted(up.door.bodies) == sorted(("logs", body) for body in bodies)
