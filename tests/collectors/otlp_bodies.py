"""OTLP bodies that are a function of their journal sequence number, and the rows that the store must make of them.

A frame is traces, metrics or logs in turn. The k-th traces body holds the root span of attempt k and the engine's span of
attempt k - 1, which starts 400 seconds earlier: spans are late, and traces straddle hours. The m-th metrics body adds m
observations to a cumulative histogram. Every 30th frame cannot be decoded.
"""

from __future__ import annotations

import io
from collections import Counter

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collectors.schema import PHASES, STEPS
from collectors.sink import Signal

START = 1_770_000_000_000_000_000
SECOND = 1_000_000_000
GAP_NS = 400 * SECOND


def attribute(key: str, value: str | int) -> KeyValue:
    """One attribute."""
    return KeyValue(key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value))


def resource(entity: str, **more: str) -> Resource:
    """A resource of an entity; ``more``: edge kind -> destination."""
    edges = [attribute(f"flashover.edge.{kind}", dst) for kind, dst in more.items()]
    return Resource(attributes=[attribute("service.name", "test"), attribute("flashover.entity", entity), *edges])


def root_span(k: int, start_ns: int, e2e_ns: int = SECOND, attempt: int = 1) -> Span:
    """The gateway's span of an attempt of request ``q<k>``: nine phases that sum to ``e2e_ns``."""
    parts = [e2e_ns // 9] * 8
    phases = dict(zip(PHASES, [*parts, e2e_ns - sum(parts)], strict=True))
    values = {"gen_ai.request.id": f"q{k}", "flashover.attempt": attempt, "flashover.outcome": "ok", "flashover.cohort": "chat",
              **{f"flashover.{phase}": ns for phase, ns in phases.items()}, "flashover.e2e_ns": e2e_ns}
    return Span(trace_id=k.to_bytes(16, "big"), span_id=(2 * k + (attempt << 40)).to_bytes(8, "big"), name="gateway.request",
                kind=2, start_time_unix_nano=start_ns, end_time_unix_nano=start_ns + e2e_ns,
                attributes=[attribute(*pair) for pair in values.items()])


def engine_span(k: int, start_ns: int, attempt: int = 1) -> Span:
    """The engine's span of that attempt."""
    values = {"gen_ai.request.id": f"q{k}", "flashover.attempt": attempt, "gen_ai.usage.output_tokens": k}
    root = 2 * k + (attempt << 40)
    return Span(trace_id=k.to_bytes(16, "big"), span_id=(root + 1).to_bytes(8, "big"), parent_span_id=root.to_bytes(8, "big"),
                name="llm_request", kind=2, start_time_unix_nano=start_ns, end_time_unix_nano=start_ns + SECOND,
                attributes=[attribute(*pair) for pair in values.items()])


def traces(*blocks: tuple[Resource, list[Span]]) -> bytes:
    """One body of spans."""
    request = ExportTraceServiceRequest()
    for who, spans in blocks:
        block = request.resource_spans.add(resource=who)
        block.scope_spans.add().spans.extend(spans)
    return request.SerializeToString()


def step_stream(rows: list[dict[str, object]]) -> bytes:
    """Step rows as one Arrow IPC stream."""
    schema = pa.schema([field for field in STEPS.arrow if field.name != "frame"])
    out = io.BytesIO()
    with pa.ipc.new_stream(out, schema) as stream:
        stream.write_batch(pa.RecordBatch.from_pylist(rows, schema))
    return out.getvalue()


def log_body(ts_ns: int, text: str) -> bytes:
    """One plain log record."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add(resource=resource("gateway:main")).scope_logs.add()
    scope.log_records.add(time_unix_nano=ts_ns, body=AnyValue(string_value=text))
    return request.SerializeToString()


def histogram_body(ts_ns: int, start_ns: int, buckets: list[int], total: float, entity: str = "replica:r0") -> bytes:
    """One point of a cumulative histogram with bounds 1, 2, ..."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=resource(entity, syncs_kv="kv_index:main")).scope_metrics.add()
    histogram = scope.metrics.add(name="vllm:time_to_first_token_seconds", unit="s").histogram
    histogram.aggregation_temporality = 2
    histogram.data_points.add(time_unix_nano=ts_ns, start_time_unix_nano=start_ns, count=sum(buckets), sum=total,
                              bucket_counts=buckets, explicit_bounds=[float(at + 1) for at in range(len(buckets) - 1)])
    return request.SerializeToString()


def body_of(seq: int) -> tuple[Signal, bytes]:
    """Signal and body of the frame numbered ``seq``."""
    turn = (seq + 2) // 3
    now = START + turn * GAP_NS
    if seq % 30 == 0:
        return "logs", b"\xff\xff\xff"
    if seq % 3 == 1:
        engines = [engine_span(turn - 1, now - GAP_NS)] if turn > 1 else []
        return "traces", traces((resource("gateway:main"), [root_span(turn, now)]), (resource("replica:r0"), engines))
    if seq % 3 == 2:
        seen = turn * (turn + 1) // 2
        return "metrics", histogram_body(now, START + 1, [seen, 0, 2 * seen], float(seen))
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add(resource=resource("replica:r0")).scope_logs.add().log_records
    row = {"replica": "replica:r0", "step_id": seq, "start_ns": now, "duration_ns": 5, "expert_load": [seq, 1]}
    records.add(time_unix_nano=now, event_name="flashover.step", body=AnyValue(bytes_value=step_stream([row])))
    records.add(time_unix_nano=now, event_name="flashover.event.note", body=AnyValue(string_value=f"note {seq}"))
    records.add(time_unix_nano=now, body=AnyValue(string_value=f"log {seq}"))
    return "logs", request.SerializeToString()


EXPECTED_SQL = {
    "spans": "SELECT frame, span_id FROM spans",
    "requests": "SELECT CAST(substr(request_id, 2) AS BIGINT) AS k, output_tokens FROM requests",
    "samples": "SELECT frame, hist_count, hist_sum, hist_deltas FROM samples",
    "series": "SELECT name, entity FROM series",
    "steps": "SELECT frame, step_id, expert_load FROM steps",
    "events": "SELECT frame, summary FROM events",
    "logs": "SELECT frame, body FROM logs",
    "edges": "SELECT src, dst, kind, count FROM edges",
    "rejects": "SELECT frame, body FROM rejects",
}
"""What to ask a store for, to compare with ``expected_rows``."""


def expected_rows(last_seq: int) -> dict[str, Counter[tuple[object, ...]]]:
    """Table -> rows that a store must have, each once, when it holds exactly the frames 1 to ``last_seq``."""
    rows: dict[str, Counter[tuple[object, ...]]] = {name: Counter() for name in EXPECTED_SQL}
    roots = engines = scrapes = 0
    for seq in range(1, last_seq + 1):
        turn = (seq + 2) // 3
        if seq % 30 == 0:
            rows["rejects"][seq, None] += 1
        elif seq % 3 == 1:
            roots, engines = turn, turn - 1
            rows["spans"][seq, 2 * turn + (1 << 40)] += 1
            if turn > 1:
                rows["spans"][seq, 2 * turn - 1 + (1 << 40)] += 1
        elif seq % 3 == 2:
            scrapes = turn
            rows["samples"][seq, 3 * turn if turn > 1 else None, *((float(turn), (turn, 0, 2 * turn)) if turn > 1
                                                                    else (None, None))] += 1
        else:
            rows["steps"][seq, seq, (seq, 1)] += 1
            rows["events"][seq, f"note {seq}"] += 1
            rows["logs"][seq, f"log {seq}"] += 1
    for k in range(1, roots + 1):
        rows["requests"][k, k if k <= engines else None] += 1
    if scrapes:
        rows["series"]["vllm:time_to_first_token_seconds", "replica:r0"] += 1
        rows["edges"]["replica:r0", "kv_index:main", "syncs_kv", scrapes] += 1
    if engines:
        rows["edges"]["gateway:main", "replica:r0", "routes_to", engines] += 1
    return rows
