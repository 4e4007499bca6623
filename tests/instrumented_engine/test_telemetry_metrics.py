"""Metrics leave as the SDK's own encoder would write them, and what is counted is conserved."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import export

from collectors.sink import MemorySink
from instrumented_engine.telemetry import Registry, Telemetry, buckets
from instrumented_engine.telemetry.resources import SCOPE, Resource

START = 1_770_000_000_000_000_000
NOW = START + 5_000_000_000
NUMBERS = st.one_of(st.integers(0, 1 << 40), st.floats(0, 1e12), st.sampled_from([0, 0.0]))
ANY_NUMBERS = NUMBERS | st.integers(-(1 << 62), 1 << 62) | st.floats(allow_nan=False) | st.sampled_from([-1, -0.0])
LABELS = st.dictionaries(
    st.sampled_from(["reason", "result", "größe"]), st.text(max_size=5) | st.booleans() | st.integers(-5, 5)
)
BOUNDS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8, unique=True).map(sorted)


@st.composite
def instruments(draw: st.DrawFn) -> list[tuple[str, str, str, list[tuple[dict[str, Any], Any]]]]:
    """(type, unit, description, [(labels, writes)]) of a few metrics; for a histogram (bounds, observations)."""
    out = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["counter", "gauge", "histogram"]))
        bounds = draw(BOUNDS)
        writes: st.SearchStrategy[Any] = {
            "counter": st.lists(NUMBERS, max_size=4),
            "gauge": st.lists(ANY_NUMBERS | st.none(), max_size=3),
            "histogram": st.lists(
                st.tuples(st.floats(-1e9, 1e9) | st.sampled_from(bounds), st.integers(0, 9)), max_size=6
            ),
        }[kind]
        points = draw(
            st.lists(st.tuples(LABELS, writes), min_size=1, max_size=3, unique_by=lambda p: str(sorted(p[0].items())))
        )
        unit, description = draw(st.sampled_from(["s", "1", ""])), draw(st.text(max_size=5))
        out.append(
            (kind, unit, description, [(labels, (bounds, w) if kind == "histogram" else w) for labels, w in points])
        )
    return out


def number_point(labels: dict[str, Any], value: float, *, gauge: bool = False) -> export.NumberDataPoint:
    return export.NumberDataPoint(labels, None if gauge else START, NOW, value)  # type: ignore[arg-type]


def histogram_point(
    labels: dict[str, Any], bounds: list[float], writes: list[tuple[float, int]]
) -> export.HistogramDataPoint:
    counts = [0] * (len(bounds) + 1)
    total = 0.0
    for value, n in writes:
        counts[sum(bound < value for bound in bounds)] += n
        total += value * n
    no_extreme: Any = None
    return export.HistogramDataPoint(
        labels, START, NOW, sum(counts), total, counts, explicit_bounds=bounds, min=no_extreme, max=no_extreme
    )


def write(
    resource: Resource, name: str, metric: tuple[str, str, str, list[tuple[dict[str, Any], Any]]]
) -> export.Metric | None:
    """Write a metric through our registry and return the SDK's picture of it, None when there is nothing to export."""
    kind, unit, description, points = metric
    expected: list[Any] = []
    for labels, writes in points:
        if kind == "counter":
            counter = resource.metrics.counter(name, unit, description, **labels)
            total = 0
            for n in writes:
                counter.add(n)
                total += n
            expected.append(number_point(labels, total))
        elif kind == "gauge":
            gauge = resource.metrics.gauge(name, unit, description, **labels)
            for value in writes:
                gauge.set(value)
            expected += [number_point(labels, value, gauge=True) for value in writes[-1:] if value is not None]
        else:
            histogram = resource.metrics.histogram(name, unit, description, bounds=writes[0], **labels)
            for value, n in writes[1]:
                histogram.observe(value, n)
            expected.append(histogram_point(labels, *writes))
    if not expected:
        return None
    data: export.Sum | export.Gauge | export.Histogram = export.Gauge(expected)
    if kind == "counter":
        data = export.Sum(expected, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    elif kind == "histogram":
        data = export.Histogram(expected, export.AggregationTemporality.CUMULATIVE)
    return export.Metric(name, description, unit, data)


@given(st.lists(instruments(), min_size=1, max_size=3))
def test_a_scrape_is_what_the_sdk_encodes(resources: list[Any]) -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    expected = []
    for at, metrics in enumerate(resources):
        resource = telemetry.resource(f"replica:r{at}", "engine", {"flashover.output_scale": 0.25})
        written = [write(resource, f"m{number}", metric) for number, metric in enumerate(metrics)]
        known = [metric for metric in written if metric is not None]
        if known:
            expected.append(export.ResourceMetrics(resource.sdk, [export.ScopeMetrics(SCOPE, known, "")], ""))
    telemetry.scrape(NOW)
    request = encode_metrics(export.MetricsData(expected))
    bodies = [body for signal, body in sink.bodies if signal == "metrics"]
    assert bodies == ([request.SerializeToString()] if expected else [])
    assert [ExportMetricsServiceRequest.FromString(body) for body in bodies] == ([request] if expected else [])


@given(st.lists(st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 300)), max_size=5), max_size=4), BOUNDS)
def test_observations_are_conserved_and_only_grow(scrapes: list[list[tuple[float, int]]], bounds: list[float]) -> None:
    histogram = Registry(START).histogram("h", bounds=bounds)
    seen, before = 0, [0] * (len(bounds) + 1)
    for observations in scrapes:
        for value, n in observations:
            histogram.observe(value, n)
            seen += n
        assert sum(histogram.counts) == histogram.count == seen
        assert all(low <= high for low, high in zip(before, histogram.counts, strict=True))
        before = list(histogram.counts)
    assert math.isclose(histogram.sum, math.fsum(value * n for group in scrapes for value, n in group), abs_tol=1e-6)


@given(st.floats(0, 100), st.integers(0, 50))
def test_n_observations_at_once_are_n_observations(value: float, n: int) -> None:
    at_once, one_by_one = Registry(START).histogram("h", bounds=(1, 10)), Registry(START).histogram("h", bounds=(1, 10))
    at_once.observe(value, n)
    for _ in range(n):
        one_by_one.observe(value)
    assert (at_once.counts, at_once.count) == (one_by_one.counts, one_by_one.count)
    assert math.isclose(at_once.sum, one_by_one.sum, rel_tol=1e-12)


@given(st.lists(st.integers(0, 1 << 50)))
def test_a_counter_is_the_sum_of_what_was_added(steps: list[int]) -> None:
    counter = Registry(START).counter("c")
    for n in steps:
        counter.add(n)
    assert counter.value == sum(steps)


def test_a_bucket_holds_its_upper_bound() -> None:
    histogram = Registry(START).histogram("vllm:e2e_request_latency_seconds")
    histogram.observe(0.3)
    histogram.observe(0.30001)
    histogram.observe(7681.0)
    assert (histogram.counts[0], histogram.counts[1], histogram.counts[-1]) == (1, 1, 1)


def test_vllm_buckets_are_vllms() -> None:
    """Lengths and ends as /metrics of vLLM 0.32.0 prints them, the open bucket not counted."""
    shapes = {name: (len(bounds), bounds[0], bounds[-1]) for name, bounds in buckets.BOUNDS.items()}
    assert shapes["vllm:time_to_first_token_seconds"] == (22, 0.001, 2560.0)
    for name in ("e2e_request_latency", "request_queue_time", "request_prefill_time", "request_decode_time"):
        assert shapes[f"vllm:{name}_seconds"] == (21, 0.3, 7680.0)
    assert shapes["vllm:iteration_tokens_total"] == (13, 1.0, 16384.0)
    assert all(list(bounds) == sorted(set(bounds)) for bounds in buckets.BOUNDS.values())


def collected(telemetry: Telemetry, sink: MemorySink) -> list[str]:
    telemetry.scrape(NOW)
    requests = [ExportMetricsServiceRequest.FromString(body) for signal, body in sink.bodies if signal == "metrics"]
    return [metric.name for r in requests for group in r.resource_metrics for metric in group.scope_metrics[0].metrics]


def test_a_gauge_that_was_never_set_is_not_exported() -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    metrics = telemetry.resource("replica:r0", "engine").metrics
    metrics.gauge("never")
    cleared = metrics.gauge("cleared")
    cleared.set(1.0)
    cleared.set(None)
    assert collected(telemetry, sink) == [] and sink.bodies == []
    metrics.gauge("zero").set(0)
    metrics.counter("nothing_yet")
    assert collected(telemetry, sink) == ["zero", "nothing_yet"]


def test_the_same_name_and_labels_are_the_same_handle() -> None:
    metrics = Registry(START)
    assert metrics.counter("c", a=1, b="x") is metrics.counter("c", b="x", a=1)
    assert metrics.counter("c", a=1) is not metrics.counter("c", a=2)
    assert metrics.counter("c", a=1) is not metrics.counter("c", a=True)
    assert metrics.histogram("h", bounds=(1, 2)) is metrics.histogram("h", bounds=(1, 2))


def test_a_name_has_one_type_unit_and_list_of_bounds() -> None:
    metrics = Registry(START)
    metrics.counter("c", "s")
    metrics.histogram("h", bounds=(1, 2))
    with pytest.raises(ValueError, match="already a counter"):
        metrics.gauge("c", "s")
    with pytest.raises(ValueError, match="in 's'"):
        metrics.counter("c", "ms", a=1)
    with pytest.raises(ValueError, match="other bounds"):
        metrics.histogram("h", bounds=(1, 3))
    with pytest.raises(ValueError, match="other bounds"):
        metrics.histogram("h", bounds=(1, 3), a=1)


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_that_are_none_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be there and rise"):
        Registry(START).histogram("unknown", bounds=bounds)


@pytest.mark.parametrize("n", [-1, -0.5, math.nan])
def test_a_counter_cannot_shrink(n: float) -> None:
    counter = Registry(START).counter("c")
    with pytest.raises(ValueError, match="only grows"):
        counter.add(n)
    assert counter.value == 0


@pytest.mark.parametrize(("value", "n"), [(1.0, -1), (math.nan, 1), (math.inf, 1)])
def test_a_histogram_refuses_what_it_cannot_count(value: float, n: int) -> None:
    histogram = Registry(START).histogram("h", bounds=(1, 2))
    with pytest.raises(ValueError, match="cannot take"):
        histogram.observe(value, n)
    assert (histogram.count, sum(histogram.counts), histogram.sum) == (0, 0, 0.0)
