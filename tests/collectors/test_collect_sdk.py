"""The OpenTelemetry SDK as the client of a real collector: what the store holds is what was recorded.

What is expected comes from the SDK's own objects, as its exporters were given them; no decoder has a part in it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    Sum,
)
from opentelemetry.sdk.trace.export import SpanExportResult
from otlp_messages import as_json
from running_collector import RunningCollector, wait_until
from sdk_bodies import all_said, says
from sdk_recording import Given, run_program

from collectors.store import Store

WAYS = ["http cumulative", "http gzip delta", "grpc delta", "grpc gzip cumulative"]
SUCCESS = {SpanExportResult.SUCCESS, MetricExportResult.SUCCESS, LogRecordExportResult.SUCCESS}


@dataclass
class Recorded:
    """``given``: by the way it went. ``store``: opened after everything was decoded; ``again``: of the same as JSON."""

    given: dict[str, Given]
    store: Store
    again: Store


def exporters(way: str, collector: RunningCollector, grpc_address: str) -> tuple[Any, Any, Any]:
    """The SDK's exporters of spans, metrics and logs."""
    if way.startswith("http"):
        packed = Compression.Gzip if "gzip" in way else Compression.NoCompression
        url = f"http://127.0.0.1:{collector.port}/v1"
        return (HttpSpans(f"{url}/traces", compression=packed), HttpMetrics(f"{url}/metrics", compression=packed),
                HttpLogs(f"{url}/logs", compression=packed))
    how: dict[str, Any] = {"endpoint": grpc_address, "insecure": True,
                           "compression": grpc.Compression.Gzip if "gzip" in way else grpc.Compression.NoCompression}
    return GrpcSpans(**how), GrpcMetrics(**how), GrpcLogs(**how)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    collectors = [RunningCollector(tmp_path_factory.mktemp("sdk") / "store") for _ in range(2)]
    try:
        line = collectors[0].start("--grpc", "127.0.0.1:0")
        found = re.search(r"grpc (\S+?),", line)
        assert found
        given = {way: run_program(way, *exporters(way, collectors[0], found[1]), delta="delta" in way) for way in WAYS}
        collectors[1].start()
        for one in given.values():
            send_as_json(one, collectors[1])
        for collector in collectors:
            wait_until(lambda collector=collector: json.loads(collector.get("/health")[1])["journal_frames"] == 0)
            assert collector.stop() == 0
        with Store.open(collectors[0].store) as store, Store.open(collectors[1].store) as again:
            yield Recorded(given, store, again)
    finally:
        for collector in collectors:
            collector.end()


def send_as_json(given: Given, collector: RunningCollector) -> None:
    """The same, once more, in OTLP's JSON."""
    for signal, message in [("traces", encode_spans(given.spans)), ("logs", encode_logs(given.logs)),
                            *(("metrics", encode_metrics(data)) for data in given.metrics)]:
        body = json.dumps(as_json(message)).encode()
        assert collector.post_as(signal, body, "application/json") == (200, b"{}")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows(store: Store, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.query(query).to_pylist()
    return found


def signed(number: int | None) -> int | None:
    """The lowest 64 bits as the contract has them."""
    return None if number is None else (number + (1 << 63)) % (1 << 64) - (1 << 63)


def holds(pairs: list[tuple[str, str | None]], attributes: Any) -> bool:
    """Whether a MAP holds these attributes of the SDK."""
    return all_said(pairs, {key: plain(value) for key, value in (attributes or {}).items()})


def plain(value: Any) -> Any:
    """The SDK's frozen values as lists and dictionaries."""
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return {key: plain(inner) for key, inner in value.items()} if hasattr(value, "items") else value


def test_every_export_succeeded_and_nothing_was_refused(recorded: Recorded) -> None:
    assert {answer for given in recorded.given.values() for answer in given.answers} == SUCCESS
    for store in (recorded.store, recorded.again):
        assert store.warnings == []
        assert rows(store, "SELECT * FROM rejects") == []
    for given in recorded.given.values():
        assert (len(given.spans), len(given.metrics), len(given.logs)) == (24, 3, 39)


def test_spans_are_as_they_were_recorded(recorded: Recorded, way: str) -> None:
    found = {(row["trace_hi"], row["trace_lo"], row["span_id"]): row
             for row in rows(recorded.store, f"SELECT * FROM spans WHERE service = '{way}'")}
    spans = recorded.given[way].spans
    assert len(found) == len(spans)
    for span in spans:
        context = span.context
        row = found[signed(context.trace_id >> 64), signed(context.trace_id), signed(context.span_id)]
        assert row["parent_id"] == (signed(span.parent.span_id) if span.parent else None)
        assert (row["name"], row["kind"], row["start_ns"], row["end_ns"]) == (
            span.name, span.kind.value + 1, span.start_time, span.end_time)
        assert (row["status_code"], row["status_message"]) == (
            span.status.status_code.value, span.status.description or None)
        assert row["entity"] == f"service:{way}"
        own = {key: value for key, value in (span.attributes or {}).items() if not key.startswith("gen_ai.")}
        assert holds(row["attributes"], own)
        assert row["prompt_tokens"] == span.attributes.get("gen_ai.usage.input_tokens")
        assert row["request_id"] == span.attributes.get("gen_ai.request.id")
        assert holds(row["resource"], {key: value for key, value in span.resource.attributes.items() if key != "service.name"})
        assert [(event["ts_ns"], event["name"]) for event in row["events"]] == [
            (event.timestamp, event.name) for event in span.events]
        assert all(holds(kept["attributes"], event.attributes) for kept, event in zip(row["events"], span.events, strict=True))
        assert [(link["trace_hi"], link["trace_lo"], link["span_id"]) for link in row["links"]] == [
            (signed(link.context.trace_id >> 64), signed(link.context.trace_id), signed(link.context.span_id))
            for link in span.links]
        assert all(holds(kept["attributes"], link.attributes) for kept, link in zip(row["links"], span.links, strict=True))


def test_log_records_are_as_they_were_recorded(recorded: Recorded, way: str) -> None:
    logs = rows(recorded.store, f"SELECT * FROM logs WHERE entity = 'service:{way}' ORDER BY frame, ts_ns, severity, body")
    events = rows(recorded.store, f"SELECT * FROM events WHERE entity = 'service:{way}' ORDER BY ts_ns")
    sent = [one.log_record for one in recorded.given[way].logs]
    named = [record for record in sent if (record.event_name or "").startswith("flashover.event.")]
    assert [(row["ts_ns"], row["kind"], row["summary"]) for row in events] == [
        (record.timestamp, "deploy", record.body) for record in named]
    assert all(holds(row["attributes"], record.attributes) for row, record in zip(events, named, strict=True))
    others = [record for record in sent if record not in named]
    assert len(logs) == len(others)
    for record in others:
        ts_ns = record.timestamp or record.observed_timestamp
        matching = [row for row in logs if row["ts_ns"] == ts_ns and holds(row["attributes"], record.attributes)
                    and says(row["body"], plain(record.body)) and row["event_name"] == (record.event_name or None)]
        assert len(matching) == 1, record
        row = matching[0]
        number = record.severity_number.value if record.severity_number else 0
        assert (row["severity"], row["severity_text"]) == (number or None, record.severity_text or None)
        ids = (record.trace_id >> 64, record.trace_id, record.span_id) if record.trace_id else (None, None, None)
        assert (row["trace_hi"], row["trace_lo"], row["span_id"]) == tuple(map(signed, ids))


KINDS: list[tuple[Callable[[Any], bool], str]] = [
    (lambda data: isinstance(data, Gauge), "gauge"), (lambda data: isinstance(data, Sum) and data.is_monotonic, "counter"),
    (lambda data: isinstance(data, Sum), "gauge"), (lambda data: isinstance(data, Histogram), "histogram"),
    (lambda data: isinstance(data, ExponentialHistogram), "exponential_histogram")]


def test_metrics_of_every_kind_are_as_they_were_recorded(recorded: Recorded, way: str) -> None:
    series = rows(recorded.store, f"SELECT * FROM series WHERE entity = 'service:{way}'")
    samples: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(recorded.store, "SELECT * FROM samples ORDER BY series_id, ts_ns"):
        samples[row["series_id"]].append(row)
    streams: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    metrics = {}
    for data in recorded.given[way].metrics:
        for scope in (scope for resource in data.resource_metrics for scope in resource.scope_metrics):
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    streams[repr((metric.name, dict(point.attributes or {})))].append((metric, point))
                    metrics[metric.name] = metric
    assert {row["name"] for row in series} == metrics.keys() and len(metrics) == 10
    assert len(series) == len(streams)
    for stream in streams.values():
        metric, point = stream[0]
        (row,) = [row for row in series if row["name"] == metric.name and holds(row["labels"], point.attributes)]
        assert row["unit"] == (metric.unit or None)
        assert row["type"] == next(kind for fits, kind in KINDS if fits(metric.data))
        bounds = list(point.explicit_bounds) if isinstance(point, HistogramDataPoint) else None
        assert row["bounds"] == bounds
        check_samples(samples[row["series_id"]], stream)


def check_samples(found: list[dict[str, Any]], stream: list[tuple[Any, Any]]) -> None:
    """One series' samples against the points of its stream."""
    assert [row["ts_ns"] for row in found] == [point.time_unix_nano for _, point in stream]
    total: Any = 0
    before: Any = None
    for row, (metric, point) in zip(found, stream, strict=True):
        assert row["start_ns"] == (point.start_time_unix_nano or None)
        delta = getattr(metric.data, "aggregation_temporality", None) == AggregationTemporality.DELTA
        if isinstance(metric.data, (Gauge, Sum)):
            total = total + point.value if delta else point.value
            assert row["value"] == float(total)
            assert row["hist_count"] is row["hist_sum"] is row["hist_deltas"] is row["exp_scale"] is None
        else:
            assert row["value"] is None
            assert (row["hist_min"], row["hist_max"]) == (point.min, point.max)
            since = None if delta else before
            assert row["hist_count"] == point.count - (since.count if since else 0)
            assert row["hist_sum"] == point.sum - (since.sum if since else 0)
            if isinstance(point, ExponentialHistogramDataPoint):
                check_exponential(row, point, since)
            else:
                last = since.bucket_counts if since else [0] * len(point.bucket_counts)
                assert row["hist_deltas"] == [now - then for now, then in zip(point.bucket_counts, last, strict=True)]
        assert [(seen["ts_ns"], seen["value"], seen["trace_hi"], seen["trace_lo"], seen["span_id"])
                for seen in row["exemplars"] or []] == [
            (seen.time_unix_nano, float(seen.value), signed((seen.trace_id or 0) >> 64) if seen.trace_id else None,
             signed(seen.trace_id), signed(seen.span_id)) for seen in point.exemplars]
        assert all(holds(kept["attributes"], seen.filtered_attributes)
                   for kept, seen in zip(row["exemplars"] or [], point.exemplars, strict=True))
        before = point


def check_exponential(row: dict[str, Any], point: Any, since: Any) -> None:
    """The buckets by their index at the point's scale, those of the point before merged to it."""
    assert row["exp_scale"] == point.scale
    assert row["exp_zero_count"] == point.zero_count - (since.zero_count if since else 0)
    for side in ("positive", "negative"):
        expected = _by_index(getattr(point, side))
        if since is not None:
            for index, count in _by_index(getattr(since, side)).items():
                expected[index >> (since.scale - point.scale)] -= count
        offset, counts = row[f"exp_{side}_offset"], row[f"exp_{side}"]
        found = {(offset or 0) + at: count for at, count in enumerate(counts or []) if count}
        assert found == {index: count for index, count in expected.items() if count}


def _by_index(buckets: Any) -> dict[int, int]:
    return defaultdict(int, {buckets.offset + at: count for at, count in enumerate(buckets.bucket_counts) if count})


def test_scales_fall_and_exemplars_come(recorded: Recorded) -> None:
    """Or merging buckets, and exemplars, were not tried."""
    ((with_exemplars,),) = [row.values() for row in rows(recorded.store, "SELECT sum(len(exemplars)) FROM samples")]
    assert with_exemplars > 100
    scales = rows(recorded.store, "SELECT series_id, list(exp_scale ORDER BY ts_ns) AS scales FROM samples "
                                  "WHERE exp_scale IS NOT NULL GROUP BY series_id")
    assert any(row["scales"][0] > row["scales"][-1] for row in scales)


@pytest.mark.parametrize("table", ["spans", "series", "samples", "logs", "events", "edges"])
def test_json_of_the_same_gives_the_same_rows(recorded: Recorded, table: str) -> None:
    query = f"SELECT * EXCLUDE (frame) FROM {table}"
    same = [sorted(map(repr, rows(store, query))) for store in (recorded.store, recorded.again)]
    assert same[0] == same[1]
    assert same[0] or table == "edges"
