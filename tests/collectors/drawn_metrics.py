"""OTLP metrics requests drawn field by field by hypothesis: every point kind, and what a wire may carry that no SDK sends."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

START = 1_770_000_000_000_000_000
_SCALARS = st.one_of(
    st.builds(AnyValue, string_value=st.sampled_from(["", "a", "b", "ß\0", "x" * 40])),
    st.builds(AnyValue, int_value=st.sampled_from([0, 7, -(1 << 63)])), st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, double_value=st.sampled_from([0.0, 1.5, math.nan])), st.builds(AnyValue, bytes_value=st.just(b"\xff")),
    st.just(AnyValue()))
VALUES = _SCALARS | st.builds(lambda key, value: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value)])),
                              st.sampled_from(["k", "prompt"]), _SCALARS)
ATTRIBUTES = st.lists(st.builds(KeyValue, key=st.sampled_from(["", "a", "b", "gen_ai.prompt"]), value=VALUES) | st.builds(
    lambda key, text: KeyValue(key=key, value=AnyValue(string_value=text)), st.sampled_from("ab"), st.sampled_from("xy")),
    max_size=3)
ORDINARY = st.lists(st.builds(lambda key, text: KeyValue(key=key, value=AnyValue(string_value=text)), st.sampled_from("ab"),
                              st.sampled_from("xy")), max_size=2)
_TIMES = st.integers(START, START + 20)
_STARTS = st.sampled_from([0, START - 100, START - 99, START, START + 5, START - 10**12])
_NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 0.1, -2.5, math.nan, math.inf, 1e300])
_COUNTS = st.integers(0, 4)
_FLAGS = st.sampled_from([0, 0, 0, 0, 0, 1, 2])
_ODD_TIMES = st.sampled_from([0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])


def optional(**fields: Any) -> Any:
    """Keyword arguments, each of which may be absent."""
    return st.fixed_dictionaries({}, optional=fields)


def _made(kind: Any, *parts: Any) -> Any:
    return st.tuples(*parts).map(lambda drawn: kind(**{key: value for part in drawn for key, value in part.items()}))


def _number(odd: bool) -> Any:
    return {"as_double": _NUMBERS} if not odd else {"as_double": _NUMBERS, "as_int": st.sampled_from([0, 3, (1 << 63) - 1])}


def exemplars(odd: bool) -> Any:
    ids = (b"", bytes(8), b"\x80" + bytes(7), *([b"\1"] if odd else []))
    traces = (b"", bytes(16), b"\xff" * 16, *([bytes(8)] if odd else []))
    one = _made(Exemplar, st.fixed_dictionaries({
        "span_id": st.sampled_from(ids), "trace_id": st.sampled_from(traces),
        "filtered_attributes": ATTRIBUTES if odd else ORDINARY,
        "time_unix_nano": _TIMES | st.just(0)}), st.sampled_from([{}, {"as_double": 1.5}, {"as_int": 0}]))
    return st.just([]) | st.lists(one, max_size=2)


def _points(kind: Any, odd: bool, needed: dict[str, Any], may: dict[str, Any]) -> Any:
    times = _TIMES | _ODD_TIMES if odd else _TIMES
    always = {"time_unix_nano": times, "attributes": ATTRIBUTES if odd else ORDINARY, "flags": _FLAGS, **needed}
    return st.lists(_made(kind, st.fixed_dictionaries(always), optional(
        start_time_unix_nano=_STARTS | _ODD_TIMES if odd else _STARTS, **may)), max_size=4)


@st.composite
def _buckets(draw: Any, odd: bool) -> dict[str, Any]:
    bounds = draw(st.sampled_from([[], [1.0], [1.0, 2.0], [0.0], [-0.0], [math.nan]]))
    length = draw(st.sampled_from([len(bounds) + 1, len(bounds) + 1, 0, *([1, 5] if odd else [])]))
    return {"explicit_bounds": bounds, "bucket_counts": draw(st.lists(_COUNTS | st.just(1 << 63) if odd else _COUNTS,
                                                                      min_size=length, max_size=length))}


def _histogram_points(odd: bool) -> Any:
    one = _made(HistogramDataPoint, st.fixed_dictionaries({
        "time_unix_nano": _TIMES | _ODD_TIMES if odd else _TIMES, "attributes": ATTRIBUTES if odd else ORDINARY,
        "flags": _FLAGS, "count": _COUNTS | st.just(1 << 63) if odd else _COUNTS, "exemplars": exemplars(odd)}),
        _buckets(odd), optional(start_time_unix_nano=_STARTS, sum=_NUMBERS, min=_NUMBERS, max=_NUMBERS))
    return st.lists(one, max_size=5)


_SIDES = st.builds(ExponentialHistogramDataPoint.Buckets, offset=st.integers(-3, 3),
                   bucket_counts=st.lists(_COUNTS, max_size=4))
_TEMPORALITY = st.sampled_from([0, 1, 2])


def metrics(odd: bool) -> Any:
    """One metric of any kind. ``odd``: with everything that a row cannot hold, or that limits take."""
    number = _points(NumberDataPoint, odd, {"exemplars": exemplars(odd)}, {})
    numbers = st.lists(number.flatmap(lambda points: st.tuples(*(
        st.sampled_from([{}, {"as_double": 0.5}, {"as_double": -0.0}, {"as_double": math.nan}, {"as_int": 0},
                         {"as_int": (1 << 63) - 1}]).map(lambda value, point=point: _with(point, value))
        for point in points))), max_size=1).map(lambda lists: [point for one in lists for point in one])
    exponential = _points(ExponentialHistogramDataPoint, odd, {"exemplars": exemplars(odd)}, {
        "count": _COUNTS, "sum": _NUMBERS, "scale": st.integers(-2, 3), "zero_count": _COUNTS, "positive": _SIDES,
        "negative": _SIDES, "min": _NUMBERS, "max": _NUMBERS, "zero_threshold": st.sampled_from([0.0, 0.5, 2.0, math.nan])})
    summary = _points(SummaryDataPoint, odd, {}, {
        "count": _COUNTS, "sum": _NUMBERS, "quantile_values": st.lists(st.builds(
            SummaryDataPoint.ValueAtQuantile, quantile=st.sampled_from([0.0, 0.5, 1.0]), value=_NUMBERS), max_size=2)})
    data = st.one_of(
        st.builds(lambda points: {"gauge": Gauge(data_points=points)}, numbers),
        st.builds(lambda points, delta, up: {"sum": Sum(data_points=points, aggregation_temporality=delta, is_monotonic=up)},
                  numbers, _TEMPORALITY, st.booleans()),
        st.builds(lambda points, delta: {"histogram": Histogram(data_points=points, aggregation_temporality=delta)},
                  _histogram_points(odd), _TEMPORALITY),
        st.builds(lambda points, delta: {"exponential_histogram": ExponentialHistogram(
            data_points=points, aggregation_temporality=delta)}, exponential, _TEMPORALITY),
        st.builds(lambda points: {"summary": Summary(data_points=points)}, summary), *([st.just({})] if odd else []))
    names = st.sampled_from(["m", "n", "vllm:num_requests_running", *(["", "n" * 40] if odd else [])])
    return st.builds(lambda name, unit, one: Metric(name=name, unit=unit, description="what it is", **one),
                     names, st.sampled_from(["", "s"]), data)


def _with(point: NumberDataPoint, value: dict[str, Any]) -> NumberDataPoint:
    made = NumberDataPoint(**value)
    made.MergeFrom(point)
    return made


RESOURCES = st.sampled_from([
    None, {}, {"service.name": "s"}, {"flashover.entity": "replica:r0", "flashover.edge.syncs_kv": "kv_index:main"},
    {"flashover.entity": "replica:r0", "gen_ai.prompt": "text", "flashover.edge.calls": "router:a,router:b"}])


@st.composite
def requests(draw: Any, odd: bool) -> ExportMetricsServiceRequest:
    """One request; several resources, scopes and metrics, each list may be empty."""
    request = ExportMetricsServiceRequest()
    for attributes in draw(st.lists(RESOURCES, max_size=2)):
        scopes = [ScopeMetrics(metrics=found) for found in draw(st.lists(st.lists(metrics(odd), max_size=3), max_size=2))]
        block = ResourceMetrics(scope_metrics=scopes)
        if attributes is not None:
            block.resource.CopyFrom(Resource(attributes=[
                KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items()]))
        request.resource_metrics.append(block)
    return request
