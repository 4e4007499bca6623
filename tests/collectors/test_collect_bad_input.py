"""Whatever is sent to a real collector: the right answer, counters that move by it, and nothing else changes."""

from __future__ import annotations

import gzip
import json
import math
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
import zstandard
from google.protobuf.message import Message
from ledger import JSON, PROTOBUF, Ledger, grpc_status_of, status_of
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_bodies import START, attribute, log_body
from otlp_messages import as_json
from running_collector import RunningCollector
from test_unpacking import gzip_zeros

from collectors.commands import store as store_command
from collectors.receive.well_formed import REQUESTS
from collectors.sink import Signal
from collectors.store import Store

NUMBERS_OF_GOOD_ONES = (
    "SELECT span_id - 1 AS number FROM spans WHERE name = 'numbered' "
    "UNION ALL SELECT CAST(value AS BIGINT) FROM samples JOIN series USING (series_id) WHERE name = 'numbered' "
    "UNION ALL SELECT CAST(body AS BIGINT) FROM logs WHERE entity = 'gateway:main'")
GOOD = log_body(START, "never taken: each refused request carries it whole or in part")
DERIVED = ("requests", "rollups")
"""Tables that the worker makes of others; their rows are not counted."""
SERIES, READ_TIMEOUT_S = 40, 4
BOMB = 1 << 30
YEAR_2262 = (1 << 63) - 1
INVALID_UTF8 = b"\x0a\x04\x1a\x02\xff\xfe"
"""A block of logs whose schema_url is no UTF-8."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    running = RunningCollector(tmp_path_factory.mktemp("bad") / "store", FLASHOVER_COLLECT_SERIES=str(SERIES),
                               FLASHOVER_COLLECT_READ_TIMEOUT_S=str(READ_TIMEOUT_S))
    made = Ledger(running)
    yield made
    made.close()
    running.end()


def zstd_zeros(size: int) -> bytes:
    """So many zeros as one zstd frame that does not say how many."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    piece = bytes(1 << 20)
    return b"".join(packer.compress(piece) for _ in range(size >> 20)) + packer.flush()


def nested(depth: int) -> bytes:
    """A log record whose body is a list in a list, and so on."""
    value = b"\x0a\x00"
    for _ in range(depth):
        value = _field(5, _field(1, value))
    return _field(1, _field(2, _field(2, _field(5, value))))


def nested_json(depth: int) -> bytes:
    value = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}'.encode()


def _field(number: int, content: bytes) -> bytes:
    size, out = len(content), bytearray((number << 3 | 2,))
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size]) + content


REFUSED: dict[str, tuple[bytes, dict[str, str], int, int, str, str]] = {
    "malformed protobuf": (b"\xff\xff\xff", {}, 400, 3, "malformed", "no ExportLogsServiceRequest"),
    "cut protobuf": (GOOD[:-1], {}, 400, 3, "malformed", "cut, damaged"),
    "another signal's protobuf": (_field(1, _field(2, _field(2, b"\x09" + bytes(8) + b"\x10"))), {}, 400, 3, "malformed",
                                  "no ExportLogs"),
    "invalid UTF-8": (INVALID_UTF8, {}, 400, 3, "malformed", "no UTF-8"),
    "deep protobuf": (nested(200), {}, 400, 3, "malformed", "too deep"),
    "very deep protobuf": (nested(20_000), {}, 400, 3, "malformed", "too deep"),
    "malformed JSON": (b'{"resourceLogs": [', {"content_type": JSON}, 400, 3, "malformed", "is no JSON"),
    "no JSON at all": (b"", {"content_type": JSON}, 400, 3, "malformed", "is no JSON"),
    "JSON of another shape": (b'{"resourceLogs": {"a": 1}}', {"content_type": JSON}, 400, 3, "malformed", "must be an array"),
    "JSON that is no UTF-8": (b'{"resourceLogs": "\xff"}', {"content_type": JSON}, 400, 3, "malformed", "no UTF-8"),
    "JSON with a surrogate": (b'{"resourceLogs":[{"schemaUrl":"\\ud800"}]}', {"content_type": JSON}, 400, 3, "malformed",
                              "schemaUrl"),
    "JSON ids that are no hex": (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xyz="}]}]}]}',
                                 {"content_type": JSON}, 400, 3, "malformed", "traceId: must be hexadecimal"),
    "JSON with a bare NaN": (b'{"resourceLogs": NaN}', {"content_type": JSON}, 400, 3, "malformed", "NaN is no JSON"),
    "deep JSON": (nested_json(200), {"content_type": JSON}, 400, 3, "malformed", "too deep"),
    "very deep JSON": (b"[" * 1_000_000, {"content_type": JSON}, 400, 3, "malformed", "too deep"),
    "protobuf said to be JSON": (GOOD, {"content_type": JSON}, 400, 3, "malformed", "is no"),
    "JSON said to be protobuf": (b'{"resourceLogs": []}', {}, 400, 3, "malformed", "no ExportLogsServiceRequest"),
    "no gzip": (GOOD, {"content_encoding": "gzip"}, 400, 3, "malformed", "not gzip"),
    "cut gzip": (gzip.compress(GOOD)[:-5], {"content_encoding": "gzip"}, 400, 3, "malformed", "cut short"),
    "damaged gzip": (gzip.compress(GOOD)[:-8] + bytes(8), {"content_encoding": "gzip"}, 400, 3, "malformed", "damaged"),
    "no zstd": (GOOD, {"content_encoding": "zstd"}, 400, 3, "malformed", "not zstd"),
    "cut zstd": (zstandard.compress(GOOD)[:-5], {"content_encoding": "zstd"}, 400, 3, "malformed", "cut short"),
    "gzip bomb": (gzip_zeros(BOMB), {"content_encoding": "gzip"}, 413, 8, "too_large", "larger than 67108864"),
    "zstd bomb": (zstd_zeros(BOMB), {"content_encoding": "zstd"}, 413, 8, "too_large", "larger than 67108864"),
    "bomb of JSON": (gzip_zeros(BOMB), {"content_encoding": "gzip", "content_type": JSON}, 413, 8, "too_large",
                     "larger than 16777216"),
    "bomb in a bomb": (gzip.compress(gzip_zeros(BOMB)), {"content_encoding": "gzip"}, 400, 3, "malformed", "no Export"),
    "unknown encoding": (GOOD, {"content_encoding": "br"}, 415, 3, "unsupported", "identity, gzip, zstd"),
    "two encodings": (GOOD, {"content_encoding": "gzip, zstd"}, 415, 3, "unsupported", "identity, gzip, zstd"),
    "wrong content type": (GOOD, {"content_type": "text/plain"}, 415, 3, "unsupported", "Content-Type must be"),
    "no content type": (GOOD, {"content_type": ""}, 415, 3, "unsupported", "Content-Type must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_http_refuses_it_with_a_reason_and_goes_on(ledger: Ledger, name: str) -> None:
    body, how, http_status, code, outcome, why = REFUSED[name]
    answer = ledger.post("/v1/logs", body, **how)
    status = status_of(answer)
    assert (answer.status_code, status.code) == (http_status, code)
    assert why in status.message
    assert ("retry-after" in answer.headers, list(status.details)) == (False, [])
    ledger.counted("http", "logs", outcome, 0 if outcome == "unsupported" else len(body))
    ledger.send_good_ones()
    ledger.check_requests()


@pytest.mark.parametrize(("method", "path", "http_status", "code", "signal"), [
    ("POST", "/v1/profiles", 404, 5, None), ("POST", "/../../etc/passwd", 404, 5, None), ("GET", "/v1/logs", 405, 12, "logs"),
    ("PUT", "/v1/traces", 405, 12, "traces"), ("POST", "/metrics", 405, 12, None), ("DELETE", "/health", 405, 12, None)])
def test_http_says_what_is_not_here(ledger: Ledger, method: str, path: str, http_status: int, code: int,
                                    signal: Signal | None) -> None:
    answer = ledger.request(method, path)
    assert (answer.status_code, status_of(answer).code) == (http_status, code)
    assert status_of(answer).message
    ledger.counted("http", signal, "unsupported", 0)
    ledger.send_good_ones()
    ledger.check_requests()


GRPC_REFUSED: dict[str, tuple[bytes, int, str, str]] = {
    **{f"{name}": (body, code, outcome, why) for name, (body, how, _, code, outcome, why) in REFUSED.items() if not how},
    "no gzip after its magic number": (b"\x1f\x8b" + GOOD, 3, "malformed", "not gzip"),
    "cut gzip": (gzip.compress(GOOD)[:-5], 3, "malformed", "cut short"),
    "gzip bomb": (gzip_zeros(BOMB), 8, "too_large", "larger than 67108864"),
    "zstd, which gRPC does not have": (zstandard.compress(GOOD), 3, "malformed", "no Export"),
    "a message beyond the bound": (bytes(17 << 20), 8, "too_large", ""),
}


@pytest.mark.parametrize("name", GRPC_REFUSED)
def test_grpc_refuses_it_with_a_reason_and_goes_on(ledger: Ledger, name: str) -> None:
    body, code, outcome, why = GRPC_REFUSED[name]
    status = grpc_status_of(ledger.call("logs", body))
    assert status.code == code
    assert why in status.message and status.message
    assert list(status.details) == []
    beyond = len(body) > 16 << 20  # gRPC does not hand it over
    ledger.counted("grpc", "logs", outcome, 0 if beyond else len(body))
    ledger.send_good_ones()
    ledger.check_requests()


def test_grpc_says_what_is_not_here(ledger: Ledger) -> None:
    for method in ("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "/a/b"):
        error = ledger.call_method(method, GOOD)
        assert grpc_status_of(error).code == grpc.StatusCode.UNIMPLEMENTED.value[0]
        ledger.counted("grpc", None, "unsupported", 0)
    ledger.send_good_ones()
    ledger.check_requests()


def raw(ledger: Ledger, head: str, pieces: Iterable[bytes] = (), pause_s: float = 0.0) -> tuple[bytes, dict[str, Any]]:
    """Send a request by hand, whatever it claims; the answer's status line and the Status in it."""
    with socket.create_connection(("127.0.0.1", ledger.collector.port), 30) as client:
        client.sendall(f"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\n{head}\r\n\r\n".encode())
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause_s)
        except ConnectionError:
            pass  # the collector has had enough
        said = b""
        try:
            while piece := client.recv(65536):
                said += piece
        except ConnectionError:
            pass
    head_said, _, body = said.partition(b"\r\n\r\n")
    status: dict[str, Any] = json.loads(body)
    return head_said.split(b"\r\n")[0], status


def test_two_gigabytes_are_refused_unread(ledger: Ledger) -> None:
    line, status = raw(ledger, f"content-length: {2 << 30}")
    assert b" 413 " in line
    assert status == {"code": 8, "message": "the body is larger than 16777216 bytes"}
    ledger.counted("http", "logs", "too_large", 0)
    ledger.send_good_ones()
    ledger.check_requests()


def test_a_body_without_end_is_cut_at_the_bound(ledger: Ledger) -> None:
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    line, status = raw(ledger, "transfer-encoding: chunked", [chunk] * 40)
    assert b" 413 " in line
    assert status == {"code": 8, "message": "the body is larger than 16777216 bytes"}
    ledger.counted("http", "logs", "too_large", 16 << 20)
    ledger.send_good_ones()
    ledger.check_requests(any_bytes=True)


def test_a_body_that_dribbles_is_cut_at_its_time(ledger: Ledger) -> None:
    line, status = raw(ledger, "content-length: 1000", [b"{"] * (20 * READ_TIMEOUT_S), pause_s=0.1)
    assert b" 408 " in line
    assert status == {"code": 4, "message": "the request was not there in time"}
    ledger.counted("http", "logs", "timed_out", 0)
    ledger.send_good_ones()
    ledger.check_requests(any_bytes=True)


def test_nothing_is_nothing_to_keep(ledger: Ledger) -> None:
    assert ledger.post("/v1/logs", b"").content == b""
    assert ledger.post("/v1/logs", b"{}", JSON).content == b"{}"
    assert ledger.call("logs", b"") is None
    ledger.counted("http", "logs", "ok", 0)
    ledger.counted("http", "logs", "ok", 2)
    ledger.counted("grpc", "logs", "ok", 0)
    ledger.send_good_ones()
    ledger.check_requests()


def test_deflate_is_refused_by_grpc_itself(ledger: Ledger) -> None:
    status = grpc_status_of(ledger.call("logs", GOOD * 100, compression=grpc.Compression.Deflate))
    assert (status.code, status.message) == (12, "Compression algorithm 'deflate' is disabled.")
    ledger.counted("grpc", "logs", "timed_out", 0)  # a call that ends without its message
    ledger.send_good_ones()
    ledger.check_requests()


TRANSPORTS = ("http", "json", "grpc")


def send(ledger: Ledger, transport: str, message: Message, **rows: int) -> None:
    """Send a well-formed body by http, json or grpc; it is taken, and becomes so many rows of each table."""
    (signal,) = [signal for signal, kind in REQUESTS.items() if isinstance(message, kind)]
    body = json.dumps(as_json(message)).encode() if transport == "json" else message.SerializeToString()
    if transport == "grpc":
        assert ledger.call(signal, body) is None
    else:
        answer = ledger.post(f"/v1/{signal}", body, JSON if transport == "json" else PROTOBUF)
        assert (answer.status_code, answer.content) == (200, b"{}" if transport == "json" else b"")
    ledger.taken("grpc" if transport == "grpc" else "http", signal, len(body), **rows)


def rows(ledger: Ledger, query: str) -> list[tuple[Any, ...]]:
    """What a query over the store says while the collector runs."""
    with Store.open(ledger.collector.store) as store:
        return list(zip(*store.query(query).to_pydict().values(), strict=True))


def spans(*sent: Span) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend(sent)
    return request


def logs(*sent: LogRecord) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.extend(sent)
    return request


def metrics(*sent: Metric) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.extend(sent)
    return request


BAD_SPANS: tuple[dict[str, Any], ...] = (
    {"trace_id": b"12345678"}, {"trace_id": b"1" * 17}, {"trace_id": b""}, {"span_id": b"123"}, {"span_id": b"1" * 9},
    {"span_id": b""}, {"parent_span_id": b"1"}, {"links": [Span.Link(trace_id=b"1", span_id=b"2")]},
    {"start_time_unix_nano": 0}, {"start_time_unix_nano": YEAR_2262 + 1}, {"end_time_unix_nano": (1 << 64) - 1},
    {"events": [Span.Event(time_unix_nano=1 << 63)]})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_spans_that_cannot_be_rows_are_counted_rejects(ledger: Ledger, transport: str) -> None:
    """Each beside one that can, at the last nanosecond that the contract holds."""
    at = TRANSPORTS.index(transport) + 1
    right = {"trace_id": bytes([at]) * 16, "span_id": bytes([at]) * 8, "name": "odd", "start_time_unix_nano": START}
    bad = [Span(**(right | wrong)) for wrong in BAD_SPANS]
    good = Span(**(right | {"start_time_unix_nano": YEAR_2262, "end_time_unix_nano": YEAR_2262, "name": f"good {transport}"}))
    send(ledger, transport, spans(*bad[:6], good, *bad[6:]), spans=1, rejects=len(bad))
    ledger.send_good_ones()
    ledger.check_all()
    found = rows(ledger, f"SELECT frame, start_ns, end_ns FROM spans WHERE name = 'good {transport}'")
    assert [row[1:] for row in found] == [(YEAR_2262, YEAR_2262)]
    kept = rows(ledger, f"SELECT reason, body FROM rejects WHERE frame = {found[0][0]}")
    assert Counter(body for _, body in kept) == Counter(span.SerializeToString() for span in bad)
    assert all(reason for reason, _ in kept)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_log_records_that_cannot_be_rows_are_counted_rejects(ledger: Ledger, transport: str) -> None:
    bad = [LogRecord(body=AnyValue(string_value="at no time")), LogRecord(time_unix_nano=1 << 63),
           LogRecord(observed_time_unix_nano=(1 << 64) - 1), LogRecord(time_unix_nano=START, trace_id=b"1" * 15),
           LogRecord(time_unix_nano=START, span_id=b"1"), LogRecord(time_unix_nano=START, event_name="flashover.step")]
    good = LogRecord(time_unix_nano=1, observed_time_unix_nano=1 << 63, body=AnyValue(string_value="1700001"),
                     event_name=f"good {transport}")
    send(ledger, transport, logs(*bad, good), logs=1, rejects=len(bad))
    ledger.send_good_ones()
    ledger.check_all()
    ((frame, ts_ns),) = rows(ledger, f"SELECT frame, ts_ns FROM logs WHERE event_name = 'good {transport}'")
    assert ts_ns == 1
    kept = rows(ledger, f"SELECT body FROM rejects WHERE frame = {frame}")
    assert Counter(body for body, in kept) == Counter(record.SerializeToString() for record in bad)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_points_that_cannot_be_rows_are_counted_rejects_and_no_number_is_a_value(ledger: Ledger, transport: str) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324]
    level = Metric(name=f"level {transport}")
    for value in values:
        level.gauge.data_points.add(time_unix_nano=START, as_double=value)
    for ns in (0, 1 << 63, (1 << 64) - 1):
        level.gauge.data_points.add(time_unix_nano=ns, as_double=1.0)
    wide = Metric(name="wide")
    wide.histogram.aggregation_temporality = 2
    wide.histogram.data_points.add(time_unix_nano=START, count=1, bucket_counts=[1, 0, 0], explicit_bounds=[1.0])
    wide.histogram.data_points.add(time_unix_nano=START, count=1 << 63)
    send(ledger, transport, metrics(level, wide, Metric(name="nothing")), samples=len(values), series=1, rejects=6)
    ledger.send_good_ones()
    ledger.check_all()
    found = rows(ledger, "SELECT value FROM samples JOIN series USING (series_id) "
                         f"WHERE name = 'level {transport}'")
    assert Counter(repr(value) for value, in found) == Counter(map(repr, values))


def test_a_delta_that_is_no_number_does_not_stick(ledger: Ledger) -> None:
    """The sum goes on from the numbers, as if the source had reset nothing."""
    calls = Metric(name="calls")
    calls.sum.is_monotonic, calls.sum.aggregation_temporality = True, 1
    for at, value in enumerate((1.0, math.nan, 2.0, math.inf, 4.0, -math.inf)):
        calls.sum.data_points.add(time_unix_nano=START + at, as_double=value)
    send(ledger, "http", metrics(calls), samples=6, series=1)
    ledger.send_good_ones()
    ledger.check_all()
    found = rows(ledger, "SELECT value FROM samples JOIN series USING (series_id) WHERE name = 'calls' ORDER BY ts_ns")
    assert [repr(value) for value, in found] == ["1.0", "nan", "3.0", "inf", "7.0", "-inf"]


def test_a_hundred_thousand_attributes_are_the_first_ones(ledger: Ledger) -> None:
    many = [attribute(f"key.{at:05d}", "v") for at in range(100_000)]
    span = Span(trace_id=b"m" * 16, span_id=b"m" * 8, name="many", start_time_unix_nano=START, attributes=many)
    send(ledger, "grpc", spans(span), spans=1)
    ledger.expected["drops", "attribute_count"] += 100_000 - 256
    send(ledger, "http", logs(LogRecord(time_unix_nano=START, body=AnyValue(string_value="1" + " " * 70_000),
                                        attributes=[attribute("k", "v" * 20_000)])), logs=1)
    ledger.expected["drops", "text_length"] += 2
    ledger.send_good_ones()
    ledger.check_all()
    ((attributes,),) = rows(ledger, "SELECT attributes FROM spans WHERE name = 'many'")
    assert attributes == [(f"key.{at:05d}", "v") for at in range(256)]


SECRET = "the prompt that nobody may read"
KEPT = "what may be read stays"


def test_prompt_text_is_nowhere_and_counted(ledger: Ledger) -> None:
    """In rows, and in records that become rejects."""
    pairs = [attribute("gen_ai.prompt.0.content", SECRET), attribute("note", KEPT)]
    span = {"trace_id": b"p" * 16, "span_id": b"p" * 8, "name": "asked", "start_time_unix_nano": START, "attributes": pairs,
            "events": [Span.Event(name="gen_ai.user.message", time_unix_nano=START, attributes=[attribute("content", SECRET)])]}
    send(ledger, "grpc", spans(Span(**span), Span(**(span | {"trace_id": b"p"}))), spans=1, rejects=1)
    ledger.expected["drops", "prompt_text"] += 4
    message = {"event_name": "gen_ai.user.message", "body": AnyValue(string_value=SECRET)}
    line = AnyValue(string_value=f"Received request r1: prompt: '{SECRET}', n: 1 {KEPT}")
    send(ledger, "json", logs(LogRecord(time_unix_nano=START, **message), LogRecord(**message),
                              LogRecord(time_unix_nano=START, body=line), LogRecord(body=line)), logs=2, rejects=2)
    ledger.expected["drops", "prompt_text"] += 4
    point = {"time_unix_nano": START, "as_int": 1, "attributes": [attribute("prompt", SECRET), attribute("note", KEPT)]}
    asked = Metric(name="asked")
    asked.gauge.data_points.add(**point)
    asked.gauge.data_points.add(**(point | {"time_unix_nano": 0}))
    send(ledger, "http", metrics(asked), samples=1, series=1, rejects=1)
    ledger.expected["drops", "prompt_text"] += 2
    ledger.send_good_ones()
    ledger.check_all()


def test_series_beyond_the_limit_are_counted_in_one(ledger: Ledger) -> None:
    room = SERIES - ledger.expected["rows", "series"]
    many = Metric(name="many")
    for at in range(SERIES + 10):
        many.gauge.data_points.add(time_unix_nano=START, as_int=at, attributes=[attribute("at", at)])
    send(ledger, "http", metrics(many), samples=room + 1, series=room + 1)
    over = SERIES + 10 - room
    ledger.expected["drops", "series_overflow"] += over
    ledger.send_good_ones()
    ledger.check_all()
    found = rows(ledger, "SELECT value FROM samples JOIN series USING (series_id) WHERE name = 'flashover.overflow'")
    assert found == [(over,)]


def everything_in(store: Path) -> str:
    """All files of a store: their bytes, and what the compressed ones among them hold."""
    said = []
    for path in store.rglob("*"):
        if path.is_file():
            said.append(path.read_bytes().decode("latin-1"))
            if path.suffix == ".parquet":
                said.append(str(pq.read_table(path, partitioning=None).to_pylist()))
    return "".join(said)


def test_at_the_end_the_store_holds_what_was_taken_and_nothing_else(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """The last test of this file: also when it runs alone."""
    prompts = ledger.expected["drops", "prompt_text"]
    ledger.send_good_ones()
    ledger.check_all()
    assert ledger.collector.stop() == 0
    store = ledger.collector.store
    with Store.open(store) as opened:
        warnings = opened.warnings
        held = {table: opened.query(f"SELECT count(*) FROM {table}").column(0)[0].as_py() for table in opened.tables()}
        rejects = opened.query("SELECT signal, count(*) FROM rejects GROUP BY signal").to_pydict() if held["rejects"] else {}
        numbers = Counter(opened.query(f"SELECT number FROM ({NUMBERS_OF_GOOD_ONES})").column(0).to_pylist())
    expected = {kind: Counter({key[1]: count for key, count in ledger.expected.items() if key[0] == kind and count})
                for kind in ("rows", "rejects")}
    assert Counter({table: held[table] for table in held if table not in DERIVED}) == expected["rows"]
    assert Counter(dict(zip(*rejects.values(), strict=True)) if rejects else {}) == expected["rejects"]
    assert numbers == Counter(ledger.good)
    assert all("lie in the table rejects" in warning for warning in warnings) and len(warnings) == len(expected["rejects"])
    assert store_command.main(["check", str(store)]) == bool(warnings)
    assert capsys.readouterr().err == "".join(f"flashover store: warning: {warning}\n" for warning in warnings)
    written = everything_in(store)
    assert SECRET not in written
    assert SECRET not in ledger.collector.said()
    assert (KEPT in written) == bool(prompts)
