"""Metrics as the SDK encodes them: what was measured between two samples is what the store says, in either temporality."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as MetricMessage
from opentelemetry.sdk.metrics import Counter as CounterInstrument
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from sdk_bodies import ATTRIBUTES, ENTITIES, INT64, TEXTS, TIMES, all_said, decoded, metrics_body

from collectors.decode.limits import Drops
from collectors.decode.series_state import FIRST_REACH_NS, SeriesState
from collectors.sink import Signal

START = 1_770_000_000_000_000_000
CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
BOUNDS = [0.0, 10.0, 100.0]
POINTS = st.lists(st.tuples(ATTRIBUTES, TIMES, INT64 | st.floats()), min_size=1, max_size=3)
KINDS: dict[str, Callable[[list[NumberDataPoint]], Any]] = {
    "gauge": Gauge,
    "counter": lambda points: Sum(points, CUMULATIVE, is_monotonic=True),
    "gauge from a sum that may fall": lambda points: Sum(points, CUMULATIVE, is_monotonic=False),
}


@given(st.lists(st.tuples(ENTITIES, TEXTS, TEXTS, st.sampled_from(sorted(KINDS)), POINTS), max_size=3,
                unique_by=lambda metric: metric[1]))
@example([({}, "m", "", "gauge", [({}, 1, -0.0), ({"l": 1}, 1, (1 << 63) - 1), ({"l": 2}, 1, math.nan)])])
@settings(max_examples=50)
def test_gauges_and_counters_come_back(metrics: list[tuple[dict[str, str], str, str, str, list[Any]]]) -> None:
    """Each metric in a body of its own; as many samples as points, each of the one series that it belongs to."""
    bodies = [metrics_body(who, Metric(name, None, unit, KINDS[kind]([
        NumberDataPoint(labels, 0, ts_ns, value) for labels, ts_ns, value in points])))
        for who, name, unit, kind, points in metrics]
    tables = decoded(*bodies)
    series = {row["series_id"]: row for row in tables["series"].to_pylist()}
    samples = tables["samples"].to_pylist()
    assert len(series) == tables["series"].num_rows and list(series) == sorted(series)
    assert {row["series_id"] for row in samples} == set(series)
    assert [(row["series_id"], row["ts_ns"]) for row in samples] == sorted((row["series_id"], row["ts_ns"]) for row in samples)
    assert len(samples) == sum(len(points) for *_, points in metrics)
    for frame, (who, name, unit, kind, points) in enumerate(metrics, start=1):
        service = who.get("service.name")
        expected = {"name": name, "entity": who.get("flashover.entity") or (f"service:{service}" if service else None),
                    "signal": None, "type": kind.split()[0], "unit": unit or None, "bounds": None, "frame": frame}
        for labels, ts_ns, value in points:
            found = [row for row in samples if row["frame"] == frame and row["ts_ns"] == ts_ns
                     and repr(row["value"]) == repr(float(value)) and all_said(series[row["series_id"]]["labels"], labels)]
            assert found and expected.items() <= series[found[0]["series_id"]].items()
            assert found[0]["hist_count"] is found[0]["hist_sum"] is found[0]["hist_deltas"] is None


MEASURED = st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.lists(st.integers(0, 200), min_size=1, max_size=4)),
                    min_size=1, max_size=4)
"""Collections of a reader: label -> values recorded since the one before. An SDK's histogram takes no negative ones."""


@given(MEASURED, st.sampled_from([CUMULATIVE, DELTA]))
@settings(max_examples=25)
def test_what_an_sdk_measured_between_collections_is_in_the_samples(
    collections: list[dict[str, list[int]]], temporality: AggregationTemporality
) -> None:
    """A real meter: a histogram's sample holds the observations since the one before, a counter's the sum of all so far."""
    reader = InMemoryMetricReader(preferred_temporality={HistogramInstrument: temporality, CounterInstrument: temporality})
    provider = MeterProvider([reader], Resource({"flashover.entity": "replica:r0"}), shutdown_on_exit=False)
    meter = provider.get_meter("test")
    histogram = meter.create_histogram("seen", "s", explicit_bucket_boundaries_advisory=BOUNDS)
    counter = meter.create_counter("added")
    bodies: list[tuple[Signal, bytes]] = []
    for measured in collections:
        for label, values in measured.items():
            for value in values:
                histogram.record(value, {"label": label})
                counter.add(value, {"label": label})
        data = reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else []
        bodies.append(metrics_body({"flashover.entity": "replica:r0"}, *metrics))
    provider.shutdown()
    tables = decoded(*bodies)
    series = {row["series_id"]: row for row in tables["series"].to_pylist()}
    got = {(series[row["series_id"]]["name"], dict(series[row["series_id"]]["labels"])["label"], row["frame"]):
           (row["value"], row["hist_count"], row["hist_sum"], row["hist_deltas"]) for row in tables["samples"].to_pylist()}
    assert len(got) == tables["samples"].num_rows
    assert all(row["bounds"] == (BOUNDS if row["name"] == "seen" else None) for row in series.values())
    totals = {"a": 0, "b": 0}
    for frame, measured in enumerate(collections, start=1):
        for label in totals:
            values = measured.get(label, [])
            totals[label] += sum(values)
            buckets = [bisect_left(BOUNDS, value) for value in values]
            deltas = [buckets.count(at) for at in range(len(BOUNDS) + 1)]
            seen, added = got.pop(("seen", label, frame), None), got.pop(("added", label, frame), None)
            assert seen == (None, len(values), float(sum(values)), deltas) or (seen is None and not values)
            assert added == (float(totals[label]), None, None, None) or (added is None and not values)
    assert not got


@dataclass(frozen=True)
class Scrape:
    """One scrape of a cumulative histogram. ``restarts``: the process began anew before it; ``gap_ns`` after the last one."""

    gap_ns: int
    restarts: bool
    fresh: list[int]


SCRAPES = st.lists(st.builds(Scrape, st.integers(1, 2 * FIRST_REACH_NS), st.booleans(),
                             st.lists(st.integers(0, 5), min_size=3, max_size=3)), min_size=1, max_size=6)


@given(SCRAPES, st.integers(0, 5), st.booleans())
@settings(max_examples=60)
def test_a_cumulative_histogram_counts_what_is_new_across_restarts(scrapes: list[Scrape], saved_at: int, dated: bool) -> None:
    """``dated``: the source says when its process began. The state survives a round trip through the snapshot's JSON."""
    state, now, began, held = SeriesState(), START, START, [0, 0, 0]
    for at, scrape in enumerate(scrapes):
        if at == saved_at:
            state = SeriesState(json.loads(json.dumps(state.save())))
        now += scrape.gap_ns
        fallen = scrape.restarts and any(scrape.fresh[i] < held[i] for i in range(3))
        if scrape.restarts and (dated or fallen):
            began, held = now - scrape.gap_ns + 1, [0, 0, 0]
        held = [a + b for a, b in zip(held, scrape.fresh, strict=True)]
        point = HistogramDataPoint({}, began if dated else 0, now, sum(held), float(sum(held)), held, [1.0, 2.0], 0, 0)
        (row,) = decoded(metrics_body({}, Metric("h", None, None, Histogram([point], CUMULATIVE))),
                         state=state)["samples"].to_pylist()
        known = at > 0 or (dated and now - began <= FIRST_REACH_NS)
        assert (row["hist_count"], row["hist_sum"], row["hist_deltas"]) == (
            (sum(scrape.fresh), float(sum(scrape.fresh)), scrape.fresh) if known else (None, None, None))


def test_a_histogram_s_point_that_is_older_than_the_last_has_no_delta_and_changes_nothing() -> None:
    seen = [(10, [1, 0]), (5, [0, 0]), (20, [3, 1])]
    points = [HistogramDataPoint({}, START, START + ns, sum(held), 0.0, held, [1.0], 0, 0) for ns, held in seen]
    samples = decoded(metrics_body({}, Metric("h", None, None, Histogram(points, CUMULATIVE))))["samples"]
    assert samples.select(["ts_ns", "hist_deltas"]).to_pylist() == [
        {"ts_ns": START + 5, "hist_deltas": None}, {"ts_ns": START + 10, "hist_deltas": [1, 0]},
        {"ts_ns": START + 20, "hist_deltas": [2, 1]}]


def number(metric: MetricMessage, **values: Any) -> Any:
    return metric.gauge.data_points.add(time_unix_nano=5, **values)


def histogram(metric: MetricMessage, **values: Any) -> Any:
    metric.histogram.aggregation_temporality = 1
    return metric.histogram.data_points.add(time_unix_nano=5, **values)


@pytest.mark.parametrize("add", [number, histogram])
@pytest.mark.parametrize("flags", [0, 1])
def test_what_is_missing_is_null_and_never_zero(add: Callable[..., Any], flags: int) -> None:
    """No value, or the flag that says so, which rules over a value; a sum that was not sent; zero is zero."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    add(metrics.add(name="bare"), flags=flags)
    full = {"as_double": 2.0} if add is number else {"count": 2, "sum": 2.0, "bucket_counts": [2]}
    add(metrics.add(name="full"), flags=flags, **full)
    zero = {"as_int": 0} if add is number else {"count": 0, "sum": 0.0, "bucket_counts": [0]}
    add(metrics.add(name="zero"), **zero)
    tables = decoded(("metrics", request.SerializeToString()))
    names = {row["series_id"]: row["name"] for row in tables["series"].to_pylist()}
    got = {names[row["series_id"]]: (row["value"], row["hist_count"], row["hist_sum"]) for row in tables["samples"].to_pylist()}
    nothing = (None, None, None)
    assert got["zero"] == ((0.0, None, None) if add is number else (None, 0, 0.0))
    assert got["bare"] == (nothing if add is number or flags else (None, 0, None))
    assert got["full"] == (nothing if flags else (2.0, None, None) if add is number else (None, 2, 2.0))


def _exponential(metric: MetricMessage) -> object:
    return metric.exponential_histogram.data_points.add(time_unix_nano=5, count=1 << 63)


def _summary(metric: MetricMessage) -> object:
    return metric.summary.data_points.add(time_unix_nano=5, count=1 << 63)


def _nothing(metric: MetricMessage) -> object:
    return metric


def _no_time(metric: MetricMessage) -> object:
    point = number(metric, as_int=1)
    point.time_unix_nano = 0
    return point


def _far(metric: MetricMessage) -> object:
    point = number(metric, as_int=1)
    point.time_unix_nano = 1 << 63
    return point


BAD: list[Callable[[MetricMessage], Any]] = [
    _exponential, _summary, _nothing, _no_time, _far,
    lambda metric: histogram(metric, count=1 << 63),
    lambda metric: histogram(metric, count=1, bucket_counts=[1, 0], explicit_bounds=[1.0, 2.0]),
    lambda metric: histogram(metric, bucket_counts=[1 << 63]),
]


@given(st.lists(st.none() | st.sampled_from(BAD), max_size=6))
@settings(max_examples=40)
def test_a_point_that_cannot_be_a_row_is_kept_with_its_bytes_and_costs_no_other(
    harms: list[Callable[[MetricMessage], Any] | None]
) -> None:
    request, expected = ExportMetricsServiceRequest(), []
    scope = request.resource_metrics.add().scope_metrics.add()
    for at, harm in enumerate(harms):
        metric = scope.metrics.add(name=f"m{at}")
        if harm:
            expected.append((1, "metrics", harm(metric).SerializeToString()))
        number(metric, as_int=at) if harm in (None, _no_time, _far) else None
    tables = decoded(("metrics", request.SerializeToString()))
    assert [(row["frame"], row["signal"], row["body"]) for row in tables["rejects"].to_pylist()] == expected
    assert all("'m" in row["reason"] for row in tables["rejects"].to_pylist())
    assert sorted(tables["samples"].column("value").to_pylist()) == [
        float(at) for at, harm in enumerate(harms) if harm in (None, _no_time, _far)]


def test_a_series_is_what_its_labels_say_whatever_their_order_and_type() -> None:
    labels = {"a": "1", "b": 2, "c": ""}
    turned = dict(reversed(labels.items()))
    bodies = [metrics_body({}, Metric("vllm:num_requests_running", None, "1", Gauge([NumberDataPoint(pairs, 0, at + 1, at)])))
              for at, pairs in enumerate([labels, turned, labels, {**labels, "b": 3}, {**labels, "c": "x"}])]
    tables = decoded(*bodies)
    assert tables["series"].column("frame").to_pylist().count(1) == 1 and tables["series"].num_rows == 3
    assert set(tables["series"].column("signal").to_pylist()) == {"requests.running"}
    assert len(set(tables["samples"].column("series_id").to_pylist())) == 3


def test_a_summary_counts_since_its_previous_sample_and_keeps_its_quantiles() -> None:
    request = ExportMetricsServiceRequest()
    summary = request.resource_metrics.add().scope_metrics.add().metrics.add(name="gc").summary
    for second, (seen, total, median) in enumerate([(3, 1.5, 0.25), (5, 2.0, math.nan), (2, 0.5, 0.125)]):
        point = summary.data_points.add(time_unix_nano=START + second, start_time_unix_nano=START, count=seen, sum=total)
        point.quantile_values.add(quantile=0.5, value=median)
    summary.data_points.add(time_unix_nano=START + 9, flags=1)
    tables = decoded(("metrics", request.SerializeToString()))
    assert tables["series"].column("type").to_pylist() == ["summary"]
    rows = tables["samples"].to_pylist()
    assert [(row["hist_count"], row["hist_sum"]) for row in rows] == [(3, 1.5), (2, 0.5), (2, 0.5), (None, None)]
    assert [repr(row["quantiles"]) for row in rows] == [
        *(repr([{"quantile": 0.5, "value": median}]) for median in (0.25, math.nan, 0.125)), "None"]


def exponential(metric: MetricMessage) -> Any:
    return metric.exponential_histogram.data_points.add(time_unix_nano=5)


@pytest.mark.parametrize("add", [number, histogram, exponential])
def test_exemplars_come_with_the_spans_they_were_made_in(add: Callable[..., Any]) -> None:
    """Prompt text in an exemplar's attributes goes; an id of zeros is none; one of another length is no exemplar."""
    request, drops = ExportMetricsServiceRequest(), Drops()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    point = add(metrics.add(name="m"))
    first = point.exemplars.add(time_unix_nano=3, as_int=7, trace_id=bytes(7) + b"\1" + b"\xff" * 8,
                                span_id=bytes(7) + b"\2")
    for key in ("user", "gen_ai.prompt"):
        first.filtered_attributes.add(key=key).value.string_value = "x"
    point.exemplars.add(as_double=0.0, trace_id=bytes(16), span_id=bytes(8))
    add(metrics.add(name="none"))
    add(metrics.add(name="bad")).exemplars.add(span_id=b"\1")
    tables = decoded(("metrics", request.SerializeToString()), drops=drops)
    names = {row["series_id"]: row["name"] for row in tables["series"].to_pylist()}
    assert {names[row["series_id"]]: row["exemplars"] for row in tables["samples"].to_pylist()} == {"none": None, "m": [
        {"ts_ns": 3, "value": 7.0, "trace_hi": 1, "trace_lo": -1, "span_id": 2, "attributes": [("user", "x")]},
        {"ts_ns": None, "value": 0.0, "trace_hi": None, "trace_lo": None, "span_id": None, "attributes": []}]}
    assert [row["reason"].split(":")[0] for row in tables["rejects"].to_pylist()] == ["metric 'bad'"]
    assert drops == {"prompt_text": 1}


@pytest.mark.parametrize("start", [0, START - 7])
def test_start_and_extremes_are_as_sent(start: int) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    number(metrics.add(name="n"), start_time_unix_nano=start, as_double=1.0)
    histogram(metrics.add(name="h"), start_time_unix_nano=start, count=1, sum=-0.0, min=-0.0, max=math.inf)
    histogram(metrics.add(name="i"), start_time_unix_nano=start, count=1)
    rows = decoded(("metrics", request.SerializeToString()))["samples"].to_pylist()
    assert {row["start_ns"] for row in rows} == {start or None}
    assert sorted(repr((row["hist_sum"], row["hist_min"], row["hist_max"])) for row in rows) == sorted(
        ["(None, None, None)", "(None, None, None)", "(-0.0, -0.0, inf)"])
