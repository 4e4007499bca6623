"""Many metrics bodies as arrays, before any of them has changed anything: which can be taken as they are, which cannot.

A frame is ordinary when each of its points is a row, within every limit, and nothing of it was sent twice. The others are
for the official classes. Labels and exemplars stay bytes in Arrow; each distinct set of labels is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.attributes import Undecodable, text_map
from collectors.data_points import NO_VALUE, exemplars
from collectors.known_series import KnownSeries
from collectors.limits import Drops, Limits
from collectors.nested_arrays import (
    Bools,
    Ints,
    encoded,
    first_places,
    given,
    items_of,
    joined,
    offsets_of,
    parents,
    whole,
)
from collectors.resources import Emitter, Emitters
from collectors.wire_messages import Field, reader

_OF_POINTS = (Field("start_time_unix_nano", 2, "fixed64"), Field("time_unix_nano", 3, "fixed64"))
READ = reader("flashover.metrics", {
    "Request": [Field("resource_metrics", 1, "ResourceMetrics", many=True)],
    "ResourceMetrics": [Field("resource", 1, "bytes", many=True), Field("scope_metrics", 2, "ScopeMetrics", many=True)],
    "ScopeMetrics": [Field("metrics", 2, "Metric", many=True)],
    "Metric": [Field("name", 1, "string"), Field("unit", 3, "string"), Field("gauge", 5, "Gauge", optional=True),
               Field("sum", 7, "Sum", optional=True), Field("histogram", 9, "Histogram", optional=True),
               Field("exponential_histogram", 10, "bytes", many=True), Field("summary", 11, "bytes", many=True)],
    "Gauge": [Field("data_points", 1, "Number", many=True)],
    "Sum": [Field("data_points", 1, "Number", many=True), Field("aggregation_temporality", 2, "int32"),
            Field("is_monotonic", 3, "bool")],
    "Histogram": [Field("data_points", 1, "HistogramPoint", many=True), Field("aggregation_temporality", 2, "int32")],
    "Number": [*_OF_POINTS, Field("as_double", 4, "double", optional=True), Field("exemplars", 5, "bytes", many=True),
               Field("as_int", 6, "sfixed64", optional=True), Field("attributes", 7, "bytes", many=True),
               Field("flags", 8, "uint32")],
    "HistogramPoint": [*_OF_POINTS, Field("count", 4, "fixed64"), Field("sum", 5, "double", optional=True),
                       Field("bucket_counts", 6, "fixed64", many=True), Field("explicit_bounds", 7, "double", many=True),
                       Field("exemplars", 8, "bytes", many=True), Field("attributes", 9, "bytes", many=True),
                       Field("flags", 10, "uint32"), Field("min", 11, "double", optional=True),
                       Field("max", 12, "double", optional=True)],
})

SIMPLE = ("gauge", "sum", "histogram")
WITH_CLASSES = ("exponential_histogram", "summary")
"""Data of metrics that are read by the official classes, each metric by itself."""

_DELTA = 1


class Candidate(NamedTuple):
    """A distinct combination of metric and labels, and the point that has it first. ``series``: its id if remembered,
    ``labels`` otherwise."""

    key: tuple[str | None, str, bytes, bytes, bytes]
    point: int
    series: int | None
    labels: dict[str, str | None] | None


class MetricBatch:
    """Points of gauges, sums and histograms, in this order, each kind in the order of the bodies.

    ``metric_of``: the metric of each point, numbered as they come; ``block_of``: the resource block of each metric;
    ``frame_of``: the body of each block. ``unusual``: the bodies that are not ordinary; of those nothing else holds.
    """

    def __init__(self, bodies: Sequence[bytes], emitters: Emitters, known: KnownSeries, limits: Limits) -> None:
        self._known, self._limits = known, limits
        blocks = READ(bodies).column(0)
        offsets = offsets_of(blocks)
        self.frame_of = parents(offsets)
        scopes = blocks.values.field("scope_metrics")
        metrics = scopes.values.field("metrics")
        self.block_of = parents(offsets_of(scopes))[parents(offsets_of(metrics))]
        self.metrics = metrics.values
        self.unusual = np.zeros(len(bodies), np.bool_)
        self._read_resources(blocks.values.field("resource"), emitters)
        self._read_metrics()
        self._read_points()
        self._read_labels()

    def points(self, kind: str) -> slice:
        """The points of ``gauge``, ``sum`` or ``histogram``."""
        at = SIMPLE.index(kind)
        return slice(self._begins[at], self._begins[at + 1])

    def kind_of(self, point: int) -> str:
        """What the series of a point is called: gauge, counter or histogram."""
        kind = SIMPLE[int(np.searchsorted(self._begins, point, "right")) - 1]
        return kind if kind != "sum" else "counter" if self.is_monotonic[self.metric_of[point]] else "gauge"

    def _mark_blocks(self, which: Bools) -> None:
        self.unusual[self.frame_of[which]] = True

    def _mark_metrics(self, which: Bools) -> None:
        self.unusual[self.frame_of[self.block_of[which]]] = True

    def _mark_points(self, which: Bools | Ints) -> None:
        self.unusual[self.frame_of[self.block_of[self.metric_of[which]]]] = True

    def _read_resources(self, resources: pa.Array, emitters: Emitters) -> None:
        self._mark_blocks(np.diff(offsets_of(resources)) > 1)
        self.emitter_of, distinct = encoded([joined(resources)[0]])
        self.emitters: list[Emitter] = []
        for resource in distinct.to_pylist():
            self.emitters.append(emitters.read(Resource.FromString(resource), Drops()))

    def _read_metrics(self) -> None:
        sent = np.sum([given(self.metrics.field(data)) for data in SIMPLE], axis=0, dtype=np.int64)
        self.classes = [np.diff(offsets_of(self.metrics.field(data))) for data in WITH_CLASSES]
        self.class_points = sum(len(self.metrics.field(data).values.buffers()[2] or b"") for data in WITH_CLASSES) // 8
        self._mark_metrics(sum(self.classes, sent) != 1)
        most = self._limits.value_chars
        for field in ("name", "unit"):
            self._mark_metrics(np.diff(offsets_of(self.metrics.field(field))) > most)
        sums = self.metrics.field("sum")
        self.is_monotonic = whole(sums.field("is_monotonic"))
        self.is_delta = {"sum": whole(sums.field("aggregation_temporality")) == _DELTA, "histogram": whole(
            self.metrics.field("histogram").field("aggregation_temporality")) == _DELTA}

    def _read_points(self) -> None:
        lists = [self.metrics.field(kind).field("data_points") for kind in SIMPLE]
        self._values = [one.values for one in lists]
        self._begins = np.cumsum([0, *(len(values) for values in self._values)])
        self.metric_of = np.concatenate([parents(offsets_of(one)) for one in lists])
        self.times, self.starts = self._times("time_unix_nano"), self._times("start_time_unix_nano")
        self._mark_points(self.times <= 0)
        self._mark_points(self.starts < 0)
        flags = np.concatenate([whole(values.field("flags")) for values in self._values])
        self.has_no_value = (flags & NO_VALUE) != 0
        numbers = pa.concat_arrays(self._values[:2])
        doubles, integers = numbers.field("as_double"), numbers.field("as_int")
        has_double, has_integer = given(doubles), given(integers)
        self._mark_points(np.flatnonzero(has_double & has_integer))
        self.numbers = np.where(has_integer, whole(integers).astype(np.float64), whole(doubles))
        self.has_number = (has_double | has_integer) & ~self.has_no_value[: len(numbers)]
        self._read_histograms()
        self._read_exemplars()

    def _times(self, field: str) -> Ints:
        """Times as signed numbers: negative ones are beyond the contract."""
        return np.concatenate([whole(values.field(field)) for values in self._values]).view(np.int64)

    def _read_histograms(self) -> None:
        points, begin = self._values[2], self._begins[2]
        self.counts = whole(points.field("count")).view(np.int64)
        buckets = points.field("bucket_counts")
        self.bucket_offsets, self.buckets = offsets_of(buckets), whole(buckets.values).view(np.int64)
        bounds = points.field("explicit_bounds")
        bound_offsets, values = offsets_of(bounds), whole(bounds.values)
        lengths = np.diff(self.bucket_offsets)
        self._mark_points(begin + np.flatnonzero(
            (self.counts < 0) | ((lengths > 0) & (lengths != np.diff(bound_offsets) + 1))))
        self._mark_points(begin + parents(self.bucket_offsets)[self.buckets < 0])
        self.sums, self.least, self.greatest = (points.field(name) for name in ("sum", "min", "max"))
        places = pa.py_buffer((8 * bound_offsets).astype(np.int32).tobytes())
        self._bounds = pa.Array.from_buffers(pa.binary(), len(points), [None, places, pa.py_buffer(values.tobytes())])

    def _read_exemplars(self) -> None:
        """``exemplars``: point -> rows of the contract's list, for the points that have some."""
        self.exemplars: dict[int, list[dict[str, Any]] | None] = {}
        for begin, values in zip(self._begins, self._values, strict=False):
            lists = values.field("exemplars")
            offsets, drops = offsets_of(lists), Drops()
            for at in np.flatnonzero(np.diff(offsets)).tolist():
                sent = [Exemplar.FromString(item) for item in lists.values[offsets[at] : offsets[at + 1]].to_pylist()]
                try:
                    self.exemplars[int(begin) + at] = exemplars(sent, self._limits, drops)
                except Undecodable:
                    self._mark_points(np.array([begin + at]))
                if drops:
                    self._mark_points(np.array([begin + at]))
                    drops.clear()

    def _read_labels(self) -> None:
        """``candidates``: the distinct series in the order in which the bodies name them; ``candidate_of`` each point."""
        keys, lengths = zip(*(joined(values.field("attributes")) for values in self._values), strict=True)
        labels, distinct_labels = encoded(keys)
        cuts, distinct_cuts = encoded(lengths)
        names, distinct_names = encoded([self.metrics.field("name")])
        bounds, distinct_bounds = encoded([_empty(self._begins[2]), self._bounds])
        entities = {emitter.entity: at for at, emitter in enumerate(self.emitters)}
        entity_of = np.array([entities[emitter.entity] for emitter in self.emitters], np.int64)
        of_metric = entity_of[self.emitter_of[self.block_of]] * len(distinct_names) + names
        mixed = _mixed(_mixed(of_metric[self.metric_of], bounds), _mixed(labels, cuts))
        order = np.argsort(self.metric_of, kind="stable")
        codes, distinct = encoded([pa.array(mixed[order])])
        self.candidate_of = np.empty(len(codes), np.int64)
        self.candidate_of[order] = codes
        self.candidates: list[Candidate] = []
        first = order[first_places(codes, len(distinct))]
        entity_names = {at: entity for entity, at in entities.items()}
        names_of = distinct_names.to_pylist()
        columns = (first.tolist(), (of_metric[self.metric_of[first]] // len(distinct_names)).tolist() if len(first) else [],
                   names[self.metric_of[first]].tolist(), distinct_bounds.take(pa.array(bounds[first])).to_pylist(),
                   distinct_labels.take(pa.array(labels[first])).to_pylist(),
                   distinct_cuts.take(pa.array(cuts[first])).to_pylist())
        strange: list[int] = []
        for at, entity, name, bound, label, cut in zip(*columns, strict=True):
            key = (entity_names[entity], names_of[name], bound, label, cut)
            series = self._known.recall(key)
            text = None
            if series is None:
                drops = Drops()
                text = text_map([KeyValue.FromString(item) for item in items_of(label, cut)], self._limits, drops)
                if drops:
                    strange.append(len(self.candidates))
            self.candidates.append(Candidate(key, at, series, text))
        if strange:
            self._mark_points(np.isin(self.candidate_of, strange))


def _empty(length: int) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(), length, [None, pa.py_buffer(bytes(4 * (int(length) + 1))), pa.py_buffer(b"")])


def _mixed(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Ints:
    """Pairs of codes as codes."""
    return encoded([pa.array(first * (int(second.max(initial=0)) + 1) + second)])[0]

