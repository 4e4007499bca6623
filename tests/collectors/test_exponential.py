"""What came in between two exponential histograms is what was observed in between, whatever scale each of them has."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource
from sdk_bodies import decoded, metrics_body

from collectors.decode.exponential import Buckets, Exponential, since, trimmed
from collectors.decode.series_state import FIRST_REACH_NS, SeriesState

FINEST = 6
VALUES = st.lists(st.integers(-4000, 4000).map(lambda at: at / 8), max_size=12)
SCALES = st.integers(-3, FINEST)


def index_of(value: float, scale: int) -> int:
    """The bucket of a positive value. The finest index is made coarser, so that all scales agree at a bucket's end."""
    return math.ceil(math.log2(value) * (1 << FINEST)) - 1 >> FINEST - scale


def histogram(values: list[float], scale: int, threshold: float = 0.0) -> Exponential:
    """What an SDK would hold after these values."""
    sides = []
    for sign in (1, -1):
        counts = Counter(index_of(sign * value, scale) for value in values if sign * value > threshold)
        first = min(counts, default=0)
        sides.append(trimmed(first, [counts[at] for at in range(first, max(counts, default=0) + 1)]))
    zeros = sum(abs(value) <= threshold for value in values)
    return Exponential(len(values), float(sum(values)), scale, zeros, threshold, *sides)


@given(VALUES, VALUES, SCALES, SCALES)
def test_the_difference_is_the_histogram_of_what_is_new(old: list[float], new: list[float], before: int, after: int) -> None:
    got = since(histogram(old + new, after), histogram(old, before))
    assert got is not None and got.total == pytest.approx(sum(new))
    assert got._replace(total=None) == histogram(new, min(before, after))._replace(total=None)


@given(VALUES, VALUES, SCALES, st.integers(-20, 80), st.integers(-20, 80))
def test_a_threshold_that_moves_takes_the_buckets_below_it_along(
    old: list[float], new: list[float], scale: int, first: int, second: int
) -> None:
    """Thresholds are ends of buckets, as the data model asks of who raises one."""
    low, high = (2.0 ** (at / 2.0**scale) if abs(at / 2.0**scale) < 60 else 0.0 for at in sorted((first, second)))
    got = since(histogram(old + new, scale, high), histogram(old, scale, low))
    assert got is not None
    assert got._replace(total=None) == histogram(new, scale, max(low, high))._replace(total=None)


@given(VALUES, VALUES.filter(bool), SCALES, SCALES)
def test_a_count_that_falls_is_a_reset(old: list[float], new: list[float], before: int, after: int) -> None:
    assert since(histogram(old, after), histogram(old + new, before)) is None


def test_distant_buckets_and_strange_thresholds_take_neither_memory_nor_errors() -> None:
    def one(offset: int, threshold: float = 0.0, scale: int = 20) -> Exponential:
        return Exponential(1, None, scale, 0, threshold, Buckets(offset, [1]), Buckets(0, []))

    low, high = -(1 << 31), (1 << 31) - 1
    assert since(one(high), one(low)) is None and since(one(low), one(high)) is None
    assert since(one(high, math.inf), one(low)) is None
    for scale in (-(1 << 31), (1 << 31) - 1):
        assert since(one(5, 1e-300, scale), one(5, 0.0, scale)) is not None
        assert since(one(0, 1e300, scale), one(0, 1e300, 3)) == Exponential(
            0, None, min(scale, 3), 0, 1e300, Buckets(0, []), Buckets(0, []))


@given(st.lists(st.tuples(VALUES, SCALES, st.booleans()), min_size=1, max_size=5), st.integers(0, 5))
@settings(max_examples=60)
def test_the_state_tells_what_is_new_across_restarts_and_a_saved_snapshot(
    steps: list[tuple[list[float], int, bool]], saved_at: int
) -> None:
    state, held, began, now = SeriesState(), list[float](), 1_000, 1_000
    for at, (values, scale, restarts) in enumerate(steps):
        if at == saved_at:
            state = SeriesState(json.loads(json.dumps(state.save())))
        now += FIRST_REACH_NS // 10
        if restarts:
            held, began = [], now - 5
        held = held + values
        got = state.exponential(7, began, now, histogram(held, scale))
        assert got is not None and got.observed == len(values)
        expected = histogram(values, got.scale)
        assert (got.zero_count, got.positive, got.negative) == (expected.zero_count, expected.positive, expected.negative)
    assert state.exponential(7, began, now - 1, histogram([1.0], 0)) is None
    assert SeriesState().exponential(7, 0, now, histogram([1.0], 0)) is None


@given(st.lists(st.lists(st.sampled_from([0.0, 3.0, 5.0, 7.0, 700.0, 0.3]), max_size=5), min_size=1, max_size=4),
       st.sampled_from([AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA]))
@settings(max_examples=25)
def test_what_an_sdk_measured_between_collections_is_in_the_buckets(
    collections: list[list[float]], temporality: AggregationTemporality
) -> None:
    assume(any(next((values for values in collections if values), [1.0])))  # the SDK (1.45) fails after zeros alone
    reader = InMemoryMetricReader(preferred_temporality={HistogramInstrument: temporality}, preferred_aggregation={
        HistogramInstrument: ExponentialBucketHistogramAggregation(max_size=8, max_scale=4)})
    provider = MeterProvider([reader], Resource({}), shutdown_on_exit=False)
    seen = provider.get_meter("test").create_histogram("seen")
    bodies = []
    for values in collections:
        for value in values:
            seen.record(value)
        data = reader.get_metrics_data()
        metrics = data.resource_metrics[0].scope_metrics[0].metrics if data and data.resource_metrics else []
        bodies.append(metrics_body({}, *metrics))
    provider.shutdown()
    tables = decoded(*bodies)
    assert set(tables["series"].column("type").to_pylist()) <= {"exponential_histogram"}
    rows = {row["frame"]: row for row in tables["samples"].to_pylist()}
    for frame, values in enumerate(collections, start=1):
        row = rows.get(frame)
        if row is None:
            assert not values
            continue
        assert (row["hist_count"], row["exp_zero_count"], row["exp_negative"]) == (len(values), values.count(0.0), [])
        base = 2.0 ** (2.0 ** -row["exp_scale"])
        for at, count in enumerate(row["exp_positive"], start=row["exp_positive_offset"]):
            assert count == sum(base**at < value <= base ** (at + 1) for value in values)
        assert sum(row["exp_positive"]) + row["exp_zero_count"] == len(values)
        assert row["value"] is None and row["hist_deltas"] is None
        if temporality is AggregationTemporality.DELTA and values:
            assert (row["hist_min"], row["hist_max"]) == (min(values), max(values))
