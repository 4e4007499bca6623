"""OTLP over gRPC as senders see it: the same bodies, the same reasons, the codes that OTLP's specification names."""

from __future__ import annotations

import gzip
import resource
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from otlp_bodies import log_body
from otlp_messages import requests
from running_receivers import Running, running
from test_unpacking import gzip_zeros

from collectors.receive.door import Refused
from collectors.receive.receiver_options import ReceiverOptions
from collectors.sink import Signal

BODY = log_body(5, "one line")
SMALL = ReceiverOptions(http=None, max_body=4096, max_plain=8192, read_timeout_s=0.5)
SERVICES = {"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService", "logs": "logs.v1.LogsService"}
GZIP, PLAIN = grpc.Compression.Gzip, grpc.Compression.NoCompression


@pytest.fixture
def up() -> Iterator[Running]:
    with running(SMALL) as receivers:
        yield receivers


def method(signal: str) -> str:
    return f"/opentelemetry.proto.collector.{SERVICES[signal]}/Export"


def send(up: Running, body: bytes, signal: str = "logs", **how: Any) -> bytes:
    """One call over a new channel; raises grpc.RpcError."""
    with grpc.insecure_channel(up.addresses.grpc) as channel:
        answer: bytes = channel.unary_unary(method(signal))(body, timeout=20, **how)
        return answer


def refusal(up: Running, body: bytes, **how: Any) -> Any:
    with pytest.raises(grpc.RpcError) as refused:
        send(up, body, **how)
    assert up.door.bodies == []
    return refused.value


def status_of(error: Any) -> Status:
    """The google.rpc.Status that came with an error; it says what the error says."""
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return status


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Running, grpc.Channel]]:
    with running(ReceiverOptions(http=None)) as up, grpc.insecure_channel(up.addresses.grpc) as channel:
        yield up, channel


@given(request_=requests(), compression=st.sampled_from([GZIP, PLAIN]))
@settings(max_examples=40)
def test_what_is_taken_reaches_the_door_as_it_was_sent(shared: tuple[Running, grpc.Channel], request_: tuple[Signal, Message],
                                                       compression: grpc.Compression) -> None:
    up, channel = shared
    signal, message = request_
    up.door.bodies.clear()
    body = message.SerializeToString()
    answer = channel.unary_unary(method(signal))(body, compression=compression, timeout=20)
    assert answer == ExportLogsServiceResponse().SerializeToString() == b""
    assert up.door.bodies == ([(signal, body)] if body else [])


def test_a_body_that_was_taken_before_is_taken_again_and_kept_once(up: Running) -> None:
    assert [send(up, BODY), send(up, BODY)] == [b"", b""]
    assert up.door.bodies == [("logs", BODY)]
    assert up.told.requests == [("grpc", "logs", "ok", len(BODY)), ("grpc", "logs", "duplicate", len(BODY))]


@pytest.mark.parametrize("body", [b"\xff\xff\xff", BODY[:-1], b"\x0a\x04\x1a\x02\xff\xfe", gzip.compress(BODY)[:-4], b"{}"],
                         ids=["bytes", "cut", "no UTF-8", "packed twice", "JSON"])
def test_malformed_bodies_are_invalid_arguments(up: Running, body: bytes) -> None:
    error = refusal(up, body)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert status_of(error).message
    assert up.outcomes == ["malformed"]
    assert send(up, BODY) == b""


@pytest.mark.parametrize(("size", "compression"), [(4097, PLAIN), (100_000, PLAIN), (8193, GZIP), (1_000_000, GZIP)])
def test_oversized_bodies_exhaust_the_resource(up: Running, size: int, compression: grpc.Compression) -> None:
    error = refusal(up, bytes(size), compression=compression)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(error.trailing_metadata()) or not status_of(error).details  # no time to retry
    # gRPC itself refuses a body beyond the bound; its handler may hear of the client's leaving before the stream's end.
    _until_told(up, "too_large", "timed_out")
    assert send(up, BODY) == b""


def test_a_bomb_of_a_gigabyte_stops_at_the_bound() -> None:
    sent = gzip_zeros(1 << 30)
    with running(ReceiverOptions(http=None)) as up:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert refusal(up, sent).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


@pytest.mark.parametrize(("why", "code"), [("queue_full", grpc.StatusCode.RESOURCE_EXHAUSTED),
                                           ("journal_full", grpc.StatusCode.UNAVAILABLE),
                                           ("disk_full", grpc.StatusCode.UNAVAILABLE),
                                           ("stopping", grpc.StatusCode.UNAVAILABLE)])
def test_a_full_house_says_when_to_come_back(up: Running, why: str, code: grpc.StatusCode) -> None:
    up.door.refusal = Refused(why, 7, "come back")
    error = refusal(up, BODY)
    retry = RetryInfo()
    assert status_of(error).details[0].Unpack(retry)
    assert (error.code(), error.details(), retry.retry_delay.seconds) == (code, "come back", 7)
    up.door.refusal = None
    assert send(up, BODY) == b""
    assert up.outcomes == [why, "ok"]


def test_a_refusal_without_words_is_no_success(up: Running) -> None:
    up.door.refusal = Refused("disk_full", 1, "")
    assert refusal(up, BODY).code() == grpc.StatusCode.UNAVAILABLE


def test_a_fault_of_ours_is_counted(up: Running) -> None:
    up.door.fault = RuntimeError("broken")
    assert refusal(up, BODY).code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
    assert up.outcomes == ["error"]


def test_the_token_is_needed() -> None:
    with running(ReceiverOptions(http=None, token="s3cret")) as up:
        for given in ((), (("authorization", "Bearer s3cre"),), (("authorization", "s3cret"),)):
            assert refusal(up, BODY, metadata=given).code() == grpc.StatusCode.UNAUTHENTICATED
        assert up.told.requests == [("grpc", "logs", "unauthorised", 0)] * 3
        assert send(up, BODY, metadata=(("authorization", "Bearer s3cret"),)) == b""


def test_what_is_not_here_is_unimplemented(up: Running) -> None:
    with grpc.insecure_channel(up.addresses.grpc) as channel:
        for path in ("/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/x/y", "/"):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(BODY, timeout=20)
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert up.told.requests == [("grpc", None, "unsupported", 0)] * 3


def test_a_call_without_its_message_is_cut_off(up: Running) -> None:
    release = threading.Event()

    def nothing() -> Iterator[bytes]:
        release.wait(20)
        yield from ()

    with grpc.insecure_channel(up.addresses.grpc) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(method("logs"))(nothing(), timeout=20)
        assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert refused.value.details() == "the request was not there in time"
        release.set()
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(method("logs"))(iter(()), timeout=20)
        assert refused.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
    assert up.outcomes[0] == "timed_out"


def test_a_client_that_gives_up_is_counted(up: Running) -> None:
    up.door.gate = threading.Event()
    with grpc.insecure_channel(up.addresses.grpc) as channel:
        call = channel.unary_unary(method("logs")).future(BODY, timeout=20)
        up.door.waiting.wait(20)
        call.cancel()
        _until_told(up, "timed_out")


def test_calls_that_are_here_end_when_it_stops(up: Running) -> None:
    up.door.gate = threading.Event()
    with grpc.insecure_channel(up.addresses.grpc) as channel:
        call = channel.unary_unary(method("logs")).future(BODY, timeout=20)
        up.door.waiting.wait(20)
        stopping = threading.Thread(target=up.stop, args=(20,))
        stopping.start()
        time.sleep(0.1)
        up.door.gate.set()
        assert call.result(20) == b""
        stopping.join(20)
    assert up.door.bodies == [("logs", BODY)]


@given(sent=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"\x1f\x8b\x08" + tail),
       signal=st.sampled_from(sorted(SERVICES)))
@settings(max_examples=60)
def test_any_bytes_are_taken_or_refused(shared: tuple[Running, grpc.Channel], sent: bytes, signal: str) -> None:
    up, channel = shared
    try:
        channel.unary_unary(method(signal))(sent, timeout=20)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert up.outcomes[-1] in ("ok", "duplicate", "malformed")


def _until_told(up: Running, *outcomes: str) -> None:
    until = time.monotonic() + 20
    while up.outcomes not in [[outcome] for outcome in outcomes]:
        assert time.monotonic() < until, up.outcomes
        time.sleep(0.01)


def test_bodies_that_wait_to_be_unpacked_have_a_bound_together() -> None:
    """Each takes a thread for a while that there is one of; senders of the others come back."""
    sent = gzip_zeros(60 << 20)
    options = ReceiverOptions(http=None, max_body=2 * len(sent), max_held=2 * len(sent), max_plain=61 << 20)
    with running(options) as up, grpc.insecure_channel(up.addresses.grpc) as channel:
        calls = [channel.unary_unary(method("logs")).future(sent, timeout=60) for _ in range(12)]
        errors: list[Any] = [call.exception(60) for call in calls]
        busy = [status_of(error) for error in errors if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert busy and {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED,
                                                               grpc.StatusCode.INVALID_ARGUMENT}
        retry = RetryInfo()
        assert all(status.details[0].Unpack(retry) for status in busy) and retry.retry_delay.seconds == 1
        assert channel.unary_unary(method("logs"))(BODY, timeout=20) == b""
        assert set(up.outcomes) == {"malformed", "queue_full", "ok"}
