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

from collectors.decode.attributes import Undecodable, text_map
from collectors.decode.block_shapes import Section, Texts, block_shapes
from collectors.decode.data_points import NO_VALUE, exemplars
from collectors.decode.decode_metrics import DELTA
from collectors.decode.equal_values import (
    as_bytes,
    empty,
    encoded,
    first_places,
    items_of,
    joined,
)
from collectors.decode.known_series import KnownSeries
from collectors.decode.limits import Drops, Limits
from collectors.decode.resources import Emitter, Emitters
from collectors.decode.wire_arrow import Ints, Mask, Members, WireReader, byte_lengths, plain_values, valid

_POINT = "2 start fixed64, 3 time fixed64, "
METRICS = {
    "Number": _POINT + "4 as_double oneof double, 5 exemplars repeated bytes, 6 as_int oneof sfixed64, "
                       "7 attributes repeated bytes, 8 flags uint32",
    "HistogramPoint": _POINT + "4 count fixed64, 5 sum oneof double, 6 buckets repeated fixed64, 7 bounds repeated double, "
                               "8 exemplars repeated bytes, 9 attributes repeated bytes, 10 flags uint32, 11 min oneof double, "
                               "12 max oneof double",
    "Gauge": "1 points repeated Number",
    "Sum": "1 points repeated Number, 2 temporality int32, 3 is_monotonic bool",
    "Histogram": "1 points repeated HistogramPoint, 2 temporality int32",
    "Metric": "1 name string, 3 unit string, 5 gauge Gauge, 7 sum Sum, 9 histogram Histogram, "
              "10 exponential_histogram repeated bytes, 11 summary repeated bytes",
    "Scope": "2 metrics repeated Metric",
    "Block": "1 resource repeated bytes, 2 scopes repeated Scope",
    "Request": "1 blocks repeated Block",
}
"""Messages of a metrics body, as ``wire_arrow`` takes them. What is not named is skipped."""

_reader = WireReader(METRICS)
SIMPLE = ("gauge", "sum", "histogram")
WITH_CLASSES = ("exponential_histogram", "summary")
"""Data of metrics that are read by the official classes, each metric by itself."""

_LEAST_POINT = 11
"""Bytes of the shortest point that has a time."""


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
        self.unusual = np.zeros(len(bodies), np.bool_)
        rows, bad = _reader.read(bodies)
        if bad:
            self.unusual[bad] = True
            return
        blocks = Members.of(rows.column(0))
        self.frame_of = blocks.owners
        scopes = Members.of(blocks.values.field("scopes"))
        metrics = Members.of(scopes.values.field("metrics"))
        self.block_of = scopes.owners[metrics.owners]
        self.metrics = metrics.values
        self._read_resources(Members.of(blocks.values.field("resource")), emitters)
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

    def _mark_blocks(self, which: Mask) -> None:
        self.unusual[self.frame_of[which]] = True

    def _mark_metrics(self, which: Mask) -> None:
        self.unusual[self.frame_of[self.block_of[which]]] = True

    def _mark_points(self, which: Mask | Ints) -> None:
        self.unusual[self.frame_of[self.block_of[self.metric_of[which]]]] = True

    def _read_resources(self, resources: Members, emitters: Emitters) -> None:
        self._mark_blocks(resources.counts > 1)
        self.emitter_of, distinct = encoded([joined(resources)[0]])
        self.emitters: list[Emitter] = [
            emitters.read(Resource.FromString(resource), Drops()) for resource in distinct.to_pylist()]

    def _read_metrics(self) -> None:
        sent = np.sum([valid(self.metrics.field(data)) for data in SIMPLE], axis=0, dtype=np.int64)
        classes = [Members.of(self.metrics.field(data)) for data in WITH_CLASSES]
        self.with_classes: Ints = np.sum([one.counts for one in classes], axis=0)
        self.class_points = sum(int(byte_lengths(one.values).sum()) for one in classes) // _LEAST_POINT
        self._mark_metrics(sent + self.with_classes != 1)
        for field in ("name", "unit"):
            self._mark_metrics(byte_lengths(self.metrics.field(field)) > self._limits.value_chars)
        sums, histograms = self.metrics.field("sum"), self.metrics.field("histogram")
        self.is_monotonic: Mask = sums.field("is_monotonic").fill_null(False).to_numpy(zero_copy_only=False)
        self.is_delta = {kind: plain_values(data.field("temporality")) == DELTA
                         for kind, data in (("sum", sums), ("histogram", histograms))}

    def _read_points(self) -> None:
        lists = [Members.of(self.metrics.field(kind).field("points")) for kind in SIMPLE]
        self._values = [one.values for one in lists]
        self._begins = np.cumsum([0, *(len(values) for values in self._values)])
        self.metric_of = np.concatenate([one.owners for one in lists])
        self.times, self.starts = self._times("time"), self._times("start")
        self._mark_points((self.times <= 0) | (self.starts < 0))
        flags = np.concatenate([plain_values(values.field("flags")) for values in self._values])
        self.has_no_value = (flags & NO_VALUE) != 0
        numbers = pa.concat_arrays(self._values[:2])
        doubles, integers = numbers.field("as_double"), numbers.field("as_int")
        has_double, has_integer = valid(doubles), valid(integers)
        self._mark_points(np.flatnonzero(has_double & has_integer))
        self.numbers = np.where(has_integer, plain_values(integers).astype(np.float64), plain_values(doubles))
        self.has_number = (has_double | has_integer) & ~self.has_no_value[: len(numbers)]
        self._read_histograms()
        self._read_exemplars()

    def _times(self, field: str) -> Ints:
        """Times as signed numbers: negative ones are beyond the contract."""
        return np.concatenate([plain_values(values.field(field)) for values in self._values]).view(np.int64)

    def _read_histograms(self) -> None:
        points, begin = self._values[2], self._begins[2]
        self.counts = plain_values(points.field("count")).view(np.int64)
        buckets, bounds = Members.of(points.field("buckets")), Members.of(points.field("bounds"))
        self.bucket_offsets, self.buckets = buckets.offsets, plain_values(buckets.values).view(np.int64)
        unfit = (buckets.counts > 0) & (buckets.counts != bounds.counts + 1)
        self._mark_points(begin + np.flatnonzero((self.counts < 0) | unfit))
        self._mark_points(begin + buckets.owners[self.buckets < 0])
        self.sums, self.least, self.greatest = (points.field(name) for name in ("sum", "min", "max"))
        self._bounds = as_bytes(bounds)

    def _read_exemplars(self) -> None:
        """``exemplars``: point -> rows of the contract's list, for the points that have some."""
        self.exemplars: dict[int, list[dict[str, Any]] | None] = {}
        for begin, values in zip(self._begins.tolist(), self._values, strict=False):
            lists, drops = Members.of(values.field("exemplars")), Drops()
            for at in np.flatnonzero(lists.counts).tolist():
                sent = lists.values[int(lists.offsets[at]) : int(lists.offsets[at + 1])].to_pylist()
                try:
                    self.exemplars[begin + at] = exemplars([Exemplar.FromString(one) for one in sent], self._limits, drops)
                except Undecodable:
                    self._mark_points(np.array([begin + at]))
                if drops:
                    self._mark_points(np.array([begin + at]))
                    drops.clear()

    def _read_labels(self) -> None:
        """The series of each point as far as they are remembered, and candidates for the others.

        ``recalled``: points whose block was remembered, ``series`` theirs. ``candidates``: the distinct series of the other
        points in the order in which the bodies name them, ``candidate_of`` each of these points.
        """
        keys, cuts = zip(*(joined(Members.of(values.field("attributes"))) for values in self._values), strict=True)
        self.recalled = np.zeros(len(self.metric_of), np.bool_)
        self.series = np.zeros(len(self.metric_of), np.int64)
        self._recall_blocks(keys, cuts)
        rest = np.flatnonzero(~self.recalled)
        rest = rest[np.argsort(self.metric_of[rest], kind="stable")]
        self.candidates: list[Candidate] = []
        self.candidate_of = np.full(len(self.metric_of), -1)
        if len(rest):
            self._read_candidates(rest, keys, cuts)

    def _recall_blocks(self, keys: Sequence[pa.Array], cuts: Sequence[pa.Array]) -> None:
        """``shapes``: digest of a block -> its points. There are none where a histogram without bounds is, which has to be
        looked at by its name: it could share a sum's series."""
        self.shapes: dict[bytes, Ints] = {}
        if (byte_lengths(self._bounds) == 0).any():
            return
        metric_ends = np.searchsorted(self.block_of, np.arange(len(self.frame_of) + 1))
        bounds = [empty(len(self._values[0])), empty(len(self._values[1])), self._bounds]
        sections = [
            Section(np.bincount(self.metric_of[self.points(kind)], minlength=len(self.metrics)),
                    [Texts(key), Texts(cut), Texts(bound)], self.points(kind).start)
            for kind, key, cut, bound in zip(SIMPLE, keys, cuts, bounds, strict=True)]
        entities = [self.emitters[at].entity for at in self.emitter_of.tolist()]
        for digest, points in block_shapes(metric_ends, entities, self.metrics.field("name"), sections):
            self.shapes[digest] = points
            series = self._known.recall_block(digest)
            if series is not None:
                self.recalled[points] = True
                self.series[points] = series

    def _read_candidates(self, rest: Ints, keys: Sequence[pa.Array], cuts: Sequence[pa.Array]) -> None:
        """Tell the points ``rest`` apart, which are in the order of the bodies."""
        at = pa.array(rest)
        labels, distinct_labels = encoded([pa.concat_arrays(keys).take(at)])
        ends, distinct_ends = encoded([pa.concat_arrays(cuts).take(at)])
        bounds, distinct_bounds = encoded([pa.concat_arrays([empty(int(self._begins[2])), self._bounds]).take(at)])
        names, distinct_names = encoded([self.metrics.field("name")])
        entities = {emitter.entity: place for place, emitter in enumerate(self.emitters)}
        places = np.array([entities[emitter.entity] for emitter in self.emitters], np.int64)
        metrics = self.metric_of[rest]
        entity = places[self.emitter_of[self.block_of[metrics]]]
        codes, distinct = encoded([pa.array(_mixed(_mixed(entity, names[metrics]), _mixed(bounds, _mixed(labels, ends))))])
        self.candidate_of[rest] = codes
        first = first_places(codes, len(distinct))
        entity_names = {place: name for name, place in entities.items()}
        columns = (rest[first].tolist(), entity[first].tolist(), names[metrics[first]].tolist(),
                   distinct_bounds.take(pa.array(bounds[first])).to_pylist(),
                   distinct_labels.take(pa.array(labels[first])).to_pylist(),
                   distinct_ends.take(pa.array(ends[first])).to_pylist())
        names_of = distinct_names.to_pylist()
        strange: list[int] = []
        for point, emitter, name, bound, label, cut in zip(*columns, strict=True):
            key = (entity_names[emitter], names_of[name], bound, label, cut)
            series, text = self._known.recall(key), None
            if series is None:
                drops = Drops()
                text = text_map([KeyValue.FromString(item) for item in items_of(label, cut)], self._limits, drops)
                if drops:
                    strange.append(len(self.candidates))
            self.candidates.append(Candidate(key, point, series, text))
        if strange:
            self._mark_points(np.isin(self.candidate_of, strange))


def _mixed(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Ints:
    """Pairs of codes as codes."""
    return encoded([pa.array(first * (int(second.max(initial=0)) + 1) + second)])[0]

