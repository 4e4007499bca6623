"""The load that benchmarks send is what it claims to be: well-formed, complete, and never the same twice."""

from __future__ import annotations

from collections import Counter

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_load import CHILDREN, METRICS, REQUESTS, SAMPLES, SPANS, SampleBodies, SpanBodies
from sdk_bodies import decoded

NOW = 1_770_000_000_000_000_000


def test_spans_are_whole_requests_with_ids_that_never_repeat() -> None:
    source, seen = SpanBodies(1), Counter[bytes]()
    for number in range(20):
        request = ExportTraceServiceRequest.FromString(source.next(NOW + number))
        spans = request.resource_spans[0].scope_spans[0].spans
        assert len(spans) == SPANS == 510
        roots = {span.span_id: span for span in spans if not span.parent_span_id}
        assert len(roots) == REQUESTS
        children = Counter(span.parent_span_id for span in spans if span.parent_span_id)
        assert children == dict.fromkeys(roots, len(CHILDREN))
        for span in spans:
            root = roots[span.parent_span_id or span.span_id]
            assert span.trace_id == root.trace_id
            assert span.attributes[0].value.string_value == root.trace_id[:8].hex()
            assert NOW + number <= span.start_time_unix_nano <= span.end_time_unix_nano < NOW + 3 * 10**9
            assert 12 <= len(span.attributes) <= 15
        seen.update(span.span_id for span in spans)
    assert max(seen.values()) == 1


def test_samples_are_one_replica_s_series_at_one_time() -> None:
    source = SampleBodies(1)
    sums: dict[tuple[int, str, str], float] = {}
    for number in range(20):
        request = ExportMetricsServiceRequest.FromString(source.next(NOW + number))
        metrics = request.resource_metrics[0].scope_metrics[0].metrics
        assert len(metrics) == METRICS
        points = [(metric, point) for metric in metrics for point in metric.gauge.data_points or metric.sum.data_points]
        assert len(points) == SAMPLES == 5000
        for metric, point in points:
            assert point.time_unix_nano == NOW + number
            if metric.HasField("sum"):
                key = (number % 10, metric.name, point.attributes[2].value.string_value)
                assert point.as_double >= sums.get(key, 0.0)
                sums[key] = point.as_double
    assert any(value > 0 for value in sums.values())


def test_the_store_takes_every_row_of_it() -> None:
    spans, samples = SpanBodies(2), SampleBodies(2)
    tables = decoded(("traces", spans.next(NOW)), ("metrics", samples.next(NOW)), ("traces", spans.next(NOW)))
    assert tables["spans"].num_rows == 2 * SPANS
    assert tables["samples"].num_rows == SAMPLES == tables["series"].num_rows
    assert tables["rejects"].num_rows == 0
    rows = tables["spans"].select(["name", "e2e_ns", "outcome"]).to_pylist()
    roots = [row for row in rows if row["name"] == "gateway.request"]
    assert len(roots) == 2 * REQUESTS and all(row["e2e_ns"] and row["outcome"] == "ok" for row in roots)
