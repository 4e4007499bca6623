"""OTLP metrics -> rows of ``samples``, and of ``series`` once for each new series, by the official protobuf classes.

``fast_metrics`` does the same for ordinary bodies in less time: this is what it is measured by, and what takes the others.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from collectors.decode.attributes import Undecodable, cut, map_array, text_map, time_of, time_or_none
from collectors.decode.data_points import (
    NO_VALUE,
    Point,
    check_buckets,
    check_counts,
    exemplars,
    exponential,
    number,
)
from collectors.decode.edges import EdgeRows
from collectors.decode.known_series import OVERFLOW, OVERFLOW_ID, series_id
from collectors.decode.known_series import KnownSeries as KnownSeries
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters
from collectors.decode.series_state import SeriesState
from collectors.schema import SAMPLES, SERIES

OWN_IDS = ("exponential_histogram", "summary")
"""Kinds whose series are told apart by kind too. The others' ids are as they were before these kinds were known."""

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_NO_HISTOGRAM, _NO_EXPONENTIAL = (None,) * 5, (None,) * 7


class Stream(NamedTuple):
    """What the points of one metric in one body have in common. ``delta``: they say what is new, not what is there."""

    frame: int
    entity: str | None
    name: str
    unit: str | None
    kind: str
    delta: bool


class SampleRows:
    """Collects the samples and the new series of a round's bodies.

    ``rows``: the samples so far, in the order in which they came. ``fresh``: the new series by id.
    """

    def __init__(self, emitters: Emitters, edges: EdgeRows, rejects: Rejects, known: KnownSeries,
                 state: SeriesState, limits: Limits, drops: Drops) -> None:
        self.known, self.state, self.limits, self.drops = known, state, limits, drops
        self.emitters, self.edges = emitters, edges
        self.rows: list[tuple[Any, ...]] = []
        self.fresh: dict[int, tuple[Any, ...]] = {}
        self._rejects = rejects
        self._refused: list[int] = []

    def add(self, frame: int, body: bytes) -> None:
        """Decode one ExportMetricsServiceRequest. What cannot be a row goes to the rejects, the rest is kept."""
        try:
            request = ExportMetricsServiceRequest.FromString(body)
        except DecodeError as error:
            self._rejects.add_body(frame, "metrics", error, body)
            return
        for block in request.resource_metrics:
            emitter = self.emitters.read(block.resource, self.drops)
            times: list[int] = []
            for scope in block.scope_metrics:
                for metric in scope.metrics:
                    times += self.metric(frame, emitter.entity, metric)
            self.edges.declared(frame, emitter, min(times, default=0), max(times, default=0))
        if self._refused:
            self.overflow(frame, len(self._refused), max(self._refused))
            self._refused = []

    def samples(self) -> pa.Table:
        """The samples as Arrow, schema SAMPLES, sorted by series and time."""
        table = self.unsorted()
        return table.take(pc.sort_indices(
            table, sort_keys=[("series_id", "ascending"), ("ts_ns", "ascending"), ("frame", "ascending")]))

    def unsorted(self) -> pa.Table:
        """The samples in the order in which they came."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(SAMPLES.columns)
        return pa.table([pa.array(c, t) for c, t in zip(columns, SAMPLES.arrow.types, strict=True)], SAMPLES.arrow)

    def series(self) -> pa.Table:
        """The new series as Arrow, schema SERIES, sorted by id."""
        rows = [row for _, row in sorted(self.fresh.items())]
        columns: list[Any] = list(zip(*rows, strict=True)) or [()] * len(SERIES.columns)
        arrays = [map_array(c) if f.name == "labels" else pa.array(c, f.type)
                  for c, f in zip(columns, SERIES.arrow, strict=True)]
        return pa.table(arrays, SERIES.arrow)

    def new_series(self) -> set[int]:
        """Ids of the series in ``series``."""
        return set(self.fresh)

    def overflow(self, frame: int, samples: int, ts_ns: int) -> None:
        """Count samples of a frame that were dropped, as their series are beyond the limit; ``ts_ns``: the latest's."""
        self.drops["series_overflow"] += samples
        self._meet(Stream(frame, None, OVERFLOW, None, "counter", True), OVERFLOW_ID, {}, None)
        total = self.state.accumulate(OVERFLOW_ID, float(samples))
        self.rows.append((OVERFLOW_ID, ts_ns, None, total, *_NO_HISTOGRAM, *_NO_EXPONENTIAL, None, None, frame))

    def metric(self, frame: int, entity: str | None, metric: Metric) -> list[int]:
        """Decode one metric; returns the times of its points."""
        which = metric.WhichOneof("data")
        if which is None:
            self._rejects.add(frame, "metrics", f"metric {metric.name!r}: it has no data", metric)
            return []
        readers: dict[str, Callable[[Stream, Any], tuple[Any, ...] | None]] = {
            "gauge": self._number, "sum": self._number, "histogram": self._histogram,
            "exponential_histogram": self._exponential, "summary": self._summary}
        data = getattr(metric, which)
        kind = which if which != "sum" else "counter" if data.is_monotonic else "gauge"
        stream = self.stream(frame, entity, metric.name, metric.unit, kind,
                             which not in ("gauge", "summary") and data.aggregation_temporality == DELTA)
        times: list[int] = []
        for point in data.data_points:
            try:
                ts_ns, row = time_of(point.time_unix_nano), readers[which](stream, point)
            except Undecodable as error:
                self._rejects.add(frame, "metrics", f"metric {stream.name!r}: {error}", point)
                continue
            times.append(ts_ns)
            if row is None:
                self._refused.append(ts_ns)
            else:
                self.rows.append(row)
        return times

    def stream(self, frame: int, entity: str | None, name: str, unit: str, kind: str, delta: bool) -> Stream:
        """What the points of a metric have in common, within the limits."""
        chars = self.limits.value_chars
        return Stream(frame, entity, cut(name, chars, self.drops), cut(unit, chars, self.drops) or None, kind, delta)

    def identify(self, stream: Stream, labels: dict[str, str | None], bounds: tuple[float, ...]) -> int | None:
        """The id of a series, which is a new row of ``series`` if the store has not met it; None when beyond the limit."""
        found = series_id(stream.name, stream.entity, labels, list(bounds), stream.kind if stream.kind in OWN_IDS else "")
        if not self.known.admits(found, self.fresh, self.limits.series):
            return None
        self._meet(stream, found, labels, list(bounds) if stream.kind == "histogram" else None)
        return found

    def _number(self, stream: Stream, point: NumberDataPoint) -> tuple[Any, ...] | None:
        start_ns = time_or_none(point.start_time_unix_nano)
        seen = exemplars(point.exemplars, self.limits, self.drops) if point.exemplars else None
        series = self._id(stream, point, ())
        if series is None:
            return None
        value = None if point.flags & NO_VALUE else number(point)
        if stream.delta and value is not None:
            value = self.state.accumulate(series, value)
        return (series, point.time_unix_nano, start_ns, value, *_NO_HISTOGRAM, *_NO_EXPONENTIAL, None, seen, stream.frame)

    def _histogram(self, stream: Stream, point: HistogramDataPoint) -> tuple[Any, ...] | None:
        check_buckets(point)
        ts_ns, start_ns = point.time_unix_nano, time_or_none(point.start_time_unix_nano)
        seen = exemplars(point.exemplars, self.limits, self.drops) if point.exemplars else None
        series = self._id(stream, point, tuple(point.explicit_bounds))
        if series is None:
            return None
        if point.flags & NO_VALUE:
            return (series, ts_ns, start_ns, None, *_NO_HISTOGRAM, *_NO_EXPONENTIAL, None, seen, stream.frame)
        total = point.sum if point.HasField("sum") else None
        change = ((point.count, total, list(point.bucket_counts)) if stream.delta else
                  self.state.histogram(series, start_ns or 0, ts_ns, point.count, total, point.bucket_counts))
        count, total, buckets = change or (None, None, None)
        return (series, ts_ns, start_ns, None, count, total, *_extremes(point), buckets, *_NO_EXPONENTIAL, None, seen,
                stream.frame)

    def _exponential(self, stream: Stream, point: ExponentialHistogramDataPoint) -> tuple[Any, ...] | None:
        now = exponential(point)
        ts_ns, start_ns = point.time_unix_nano, time_or_none(point.start_time_unix_nano)
        seen = exemplars(point.exemplars, self.limits, self.drops) if point.exemplars else None
        series = self._id(stream, point, ())
        if series is None:
            return None
        if point.flags & NO_VALUE:
            return (series, ts_ns, start_ns, None, *_NO_HISTOGRAM, *_NO_EXPONENTIAL, None, seen, stream.frame)
        change = now if stream.delta else self.state.exponential(series, start_ns or 0, ts_ns, now)
        count, total, *shape = (None,) * 9 if change is None else (*change[:5], *change.positive, *change.negative)
        return (series, ts_ns, start_ns, None, count, total, *_extremes(point), None, *shape, None, seen, stream.frame)

    def _summary(self, stream: Stream, point: SummaryDataPoint) -> tuple[Any, ...] | None:
        check_counts(point.count, ())
        ts_ns, start_ns = point.time_unix_nano, time_or_none(point.start_time_unix_nano)
        series = self._id(stream, point, ())
        if series is None:
            return None
        if point.flags & NO_VALUE:
            return (series, ts_ns, start_ns, None, *_NO_HISTOGRAM, *_NO_EXPONENTIAL, None, None, stream.frame)
        change = self.state.histogram(series, start_ns or 0, ts_ns, point.count, point.sum, ())
        count, total, _ = change or (None, None, None)
        quantiles = [{"quantile": at.quantile, "value": at.value} for at in point.quantile_values]
        return (series, ts_ns, start_ns, None, count, total, None, None, None, *_NO_EXPONENTIAL, quantiles, None,
                stream.frame)

    def _id(self, stream: Stream, point: Point, bounds: tuple[float, ...]) -> int | None:
        """The point's series; None when it is beyond the limit."""
        labels = tuple([(a.key, a.value.string_value or None) for a in point.attributes])
        plain = None not in [value for _, value in labels]
        key = (stream.name, stream.entity, labels, array("d", bounds).tobytes(), stream.kind if stream.kind in OWN_IDS else "")
        found = self.known.recall(key) if plain else None
        if found is None:
            drops = Drops()
            text = text_map(point.attributes, self.limits, drops)
            found = self.identify(stream, text, bounds)
            self.drops.update(drops)
            if plain and not drops and found is not None:
                self.known.remember(key, found)
        return found

    def _meet(self, stream: Stream, found: int, labels: dict[str, str | None], bounds: list[float] | None) -> None:
        if found not in self.known.stored and found not in self.fresh:
            self.fresh[found] = (found, stream.name, stream.entity, labels, self.known.dialects.signal(stream.name),
                                   stream.kind, stream.unit, bounds, stream.frame)


def _extremes(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> tuple[float | None, float | None]:
    return (point.min if point.HasField("min") else None, point.max if point.HasField("max") else None)
