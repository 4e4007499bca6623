"""OTLP metrics -> rows of ``samples``, and of ``series`` once for each new series."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from collectors.attributes import Undecodable, map_array, text_map, time_of, time_or_none
from collectors.dialects import Dialects
from collectors.edges import EdgeRows
from collectors.limits import Drops, Limits
from collectors.rejects import Rejects
from collectors.resources import Emitters
from collectors.schema import SAMPLES, SERIES
from collectors.series_state import SeriesState

_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_NO_VALUE = 1
_Labels = tuple[tuple[str, str | None], ...]


def series_id(name: str, entity: str | None, labels: dict[str, str | None], bounds: list[float]) -> int:
    """The signed 64-bit id of a series: blake2b of name, entity, sorted labels and bucket bounds."""
    text = json.dumps([name, entity, sorted(labels.items()), bounds], ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


class KnownSeries:
    """The series that the store has met: the ids by what they are made of, and which are in the table already."""

    def __init__(self, stored: set[int], dialects: Dialects) -> None:
        self.stored = stored
        self.dialects = dialects
        self.ids: dict[tuple[str, str | None, _Labels, tuple[float, ...]], int] = {}


class SampleRows:
    """Collects the samples and the new series of a round's bodies."""

    def __init__(self, emitters: Emitters, edges: EdgeRows, rejects: Rejects, known: KnownSeries,
                 state: SeriesState, limits: Limits, drops: Drops) -> None:
        self._limits, self._drops = limits, drops
        self._emitters, self._edges, self._rejects = emitters, edges, rejects
        self._known, self._state = known, state
        self._rows: list[tuple[Any, ...]] = []
        self._series: dict[int, tuple[Any, ...]] = {}

    def add(self, frame: int, body: bytes) -> None:
        """Decode one ExportMetricsServiceRequest. What cannot be a row goes to the rejects, the rest is kept."""
        try:
            request = ExportMetricsServiceRequest.FromString(body)
        except DecodeError as error:
            self._rejects.add_body(frame, "metrics", error, body)
            return
        for block in request.resource_metrics:
            emitter = self._emitters.read(block.resource, self._drops)
            before = len(self._rows)
            for scope in block.scope_metrics:
                for metric in scope.metrics:
                    self._metric(frame, emitter.entity, metric)
            times = [row[1] for row in self._rows[before:]] if emitter.edges else [0]
            self._edges.declared(frame, emitter, min(times, default=0), max(times, default=0))

    def samples(self) -> pa.Table:
        """The samples as Arrow, schema SAMPLES, sorted by series and time."""
        columns = list(zip(*self._rows, strict=True)) or [()] * len(SAMPLES.columns)
        table = pa.table([pa.array(c, t) for c, t in zip(columns, SAMPLES.arrow.types, strict=True)], SAMPLES.arrow)
        return table.take(pc.sort_indices(
            table, sort_keys=[("series_id", "ascending"), ("ts_ns", "ascending"), ("frame", "ascending")]))

    def series(self) -> pa.Table:
        """The new series as Arrow, schema SERIES, sorted by id."""
        rows = [row for _, row in sorted(self._series.items())]
        columns: list[Any] = list(zip(*rows, strict=True)) or [()] * len(SERIES.columns)
        arrays = [map_array(c) if f.name == "labels" else pa.array(c, f.type)
                  for c, f in zip(columns, SERIES.arrow, strict=True)]
        return pa.table(arrays, SERIES.arrow)

    def new_series(self) -> set[int]:
        """Ids of the series in ``series``."""
        return set(self._series)

    def _metric(self, frame: int, entity: str | None, metric: Metric) -> None:
        which = metric.WhichOneof("data")
        if which == "gauge":
            kind, delta, points = "gauge", False, metric.gauge.data_points
        elif which == "sum":
            kind = "counter" if metric.sum.is_monotonic else "gauge"
            delta = metric.sum.aggregation_temporality == _DELTA
            points = metric.sum.data_points
        elif which == "histogram":
            self._histograms(frame, entity, metric)
            return
        else:
            self._rejects.add(frame, "metrics", f"metric {metric.name!r}: data of type {which} is not supported",
                              metric)
            return
        for point in points:
            try:
                self._rows.append(self._number(frame, entity, metric, kind, point, delta))
            except Undecodable as error:
                self._reject_point(frame, metric, point, error)

    def _histograms(self, frame: int, entity: str | None, metric: Metric) -> None:
        delta = metric.histogram.aggregation_temporality == _DELTA
        for point in metric.histogram.data_points:
            try:
                self._rows.append(self._histogram(frame, entity, metric, point, delta))
            except Undecodable as error:
                self._reject_point(frame, metric, point, error)

    def _reject_point(self, frame: int, metric: Metric, point: NumberDataPoint | HistogramDataPoint,
                      error: Undecodable) -> None:
        self._rejects.add(frame, "metrics", f"metric {metric.name!r}: {error}", point)

    def _number(self, frame: int, entity: str | None, metric: Metric, kind: str, point: NumberDataPoint,
                delta: bool) -> tuple[Any, ...]:
        ts_ns = time_of(point.time_unix_nano)
        series = self._id(frame, entity, metric, kind, point, ())
        which = point.WhichOneof("value")
        if point.flags & _NO_VALUE or which is None:
            return series, ts_ns, None, None, None, None, frame
        value = point.as_double if which == "as_double" else float(point.as_int)
        return series, ts_ns, self._state.accumulate(series, value) if delta else value, None, None, None, frame

    def _histogram(self, frame: int, entity: str | None, metric: Metric, point: HistogramDataPoint,
                   delta: bool) -> tuple[Any, ...]:
        ts_ns, start_ns = time_of(point.time_unix_nano), time_or_none(point.start_time_unix_nano) or 0
        buckets = list(point.bucket_counts)
        total = point.sum if point.HasField("sum") else None
        if point.count >= 1 << 63 or any(bucket >= 1 << 63 for bucket in buckets):
            raise Undecodable("a count is beyond 63 bits")
        if buckets and len(buckets) != len(point.explicit_bounds) + 1:
            raise Undecodable(f"{len(buckets)} buckets for {len(point.explicit_bounds)} bounds")
        series = self._id(frame, entity, metric, "histogram", point, tuple(point.explicit_bounds))
        if point.flags & _NO_VALUE:
            return series, ts_ns, None, None, None, None, frame
        change = ((point.count, total, buckets) if delta else
                  self._state.histogram(series, start_ns, ts_ns, point.count, total, buckets))
        return series, ts_ns, None, *(change or (None, None, None)), frame

    def _id(self, frame: int, entity: str | None, metric: Metric, kind: str,
            point: NumberDataPoint | HistogramDataPoint, bounds: tuple[float, ...]) -> int:
        labels = tuple([(a.key, a.value.string_value or None) for a in point.attributes])
        plain = None not in [value for _, value in labels]
        key = (metric.name, entity, labels, bounds)
        found = self._known.ids.get(key) if plain else None
        if found is None:
            text = text_map(point.attributes, self._limits, self._drops)
            found = series_id(metric.name, entity, text, list(bounds))
            if plain:
                self._known.ids[key] = found
            if found not in self._known.stored and found not in self._series:
                self._series[found] = (found, metric.name, entity, text, self._known.dialects.signal(metric.name), kind,
                                       metric.unit or None, list(bounds) if kind == "histogram" else None, frame)
        return found
