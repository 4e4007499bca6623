"""OTLP metrics -> rows of ``samples`` and ``series``, many bodies at once, by arrays: what ``decode_metrics`` makes of them.

Ordinary bodies (see ``metric_batch``) never meet Python object by object. Any other body goes whole through the official
classes, in its turn, as do runs of few points, for which arrays cost more than they save. Every body is parsed by the
official classes first, which costs a thirtieth of what reading from them does: what they refuse is refused here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from collectors.decode.decode_metrics import SampleRows, Stream
from collectors.decode.equal_values import ranges
from collectors.decode.histogram_deltas import Points, since_previous
from collectors.decode.metric_batch import SIMPLE, WITH_CLASSES, MetricBatch
from collectors.decode.wire_arrow import Ints, Mask, plain_values, valid
from collectors.schema import SAMPLES

_LEAST_BYTES = 20_000
"""Bytes of bodies in a row below which the official classes are as fast."""

_Frames = Sequence[tuple[int, bytes]]


class MetricBodies:
    """Collects a round's bodies; the first look at ``samples`` or ``series`` decodes them. ``official`` is a new one."""

    def __init__(self, official: SampleRows, least_bytes: int = _LEAST_BYTES) -> None:
        self._official = official
        self._least_bytes = least_bytes
        self._bodies: list[tuple[int, bytes]] = []
        self._parts: list[dict[str, pa.Array]] = []
        self._places: list[Ints] = []
        self._official_places: list[int] = []
        self._place = 0

    def add(self, frame: int, body: bytes) -> None:
        """Take one ExportMetricsServiceRequest."""
        self._bodies.append((frame, body))

    def samples(self) -> pa.Table:
        """The samples as Arrow, schema SAMPLES, sorted by series and time."""
        self._decode()
        slow = self._official.unsorted()
        parts = [*self._parts, {name: slow.column(name).combine_chunks() for name in slow.column_names}]
        lengths = [len(part["series_id"]) for part in parts]
        places = np.concatenate([*self._places, np.array(self._official_places, np.int64)])
        order = pa.array(_order(_stacked("series_id", parts, lengths).to_numpy(), _stacked("ts_ns", parts, lengths).to_numpy(),
                                places))
        arrays = []
        for field in SAMPLES.arrow:
            held = any(field.name in part and part[field.name].null_count < len(part[field.name]) for part in parts)
            arrays.append(_stacked(field.name, parts, lengths).take(order) if held else pa.nulls(sum(lengths), field.type))
        return pa.table(arrays, SAMPLES.arrow)

    def series(self) -> pa.Table:
        """The new series as Arrow, schema SERIES, sorted by id."""
        self._decode()
        return self._official.series()

    def new_series(self) -> set[int]:
        """Ids of the series in ``series``."""
        self._decode()
        return self._official.new_series()

    def _decode(self) -> None:
        bodies, self._bodies = self._bodies, []
        for good, run in groupby(bodies, lambda entry: _parses(entry[1])):
            self._run(list(run), good)

    def _run(self, frames: _Frames, good: bool) -> None:
        """Take some bodies; ``good``: they may be taken as arrays."""
        if not good or sum(len(body) for _, body in frames) < self._least_bytes:
            self._one_by_one(frames)
            return
        batch = MetricBatch([body for _, body in frames], self._official.emitters, self._official.known, self._official.limits)
        if batch.unusual.any():
            for odd, run in groupby(zip(batch.unusual.tolist(), frames, strict=True), lambda entry: entry[0]):
                self._run([frame for _, frame in run], not odd)
        elif self._mixes_orders(batch):
            self._one_by_one(frames)
        else:
            self._take(batch, [frame for frame, _ in frames])

    def _one_by_one(self, frames: _Frames) -> None:
        for frame, body in frames:
            self._official.add(frame, body)
            self._note_official()

    def _note_official(self) -> None:
        """Give the rows that the official classes made their place in the order of all rows."""
        fresh = len(self._official.rows) - len(self._official_places)
        self._official_places += range(self._place, self._place + fresh)
        self._place += fresh

    def _mixes_orders(self, batch: MetricBatch) -> bool:
        """Whether points that arrays take apart from each other could bear on each other: those of one series that is both a
        histogram and a sum, and those that the limit of series has to be asked for in their order."""
        known, limit = self._official.known, self._official.limits.series
        fresh = sum(candidate.series is None for candidate in batch.candidates)
        if batch.class_points and len(known.stored) + len(self._official.fresh) + fresh + batch.class_points > limit:
            return True
        histograms, sums = (np.unique(codes[codes >= 0]).tolist() for codes in (
            batch.candidate_of[batch.points(kind)] for kind in ("histogram", "sum")))
        without_bounds = {candidate.key[:2] for at in histograms if not (candidate := batch.candidates[at]).key[2]}
        return bool(without_bounds) and any(batch.candidates[at].key[:2] in without_bounds for at in sums)

    def _take(self, batch: MetricBatch, frames: list[int]) -> None:
        """Take ordinary bodies: what it changes is what the official classes would change."""
        frame_of_metric = np.array(frames, np.int64)[batch.frame_of[batch.block_of]]
        series, admitted = self._series(batch, frame_of_metric)
        frame_of = frame_of_metric[batch.metric_of]
        self._edges(batch, frames, self._classes(batch, frame_of_metric))
        for kind in SIMPLE:
            at = batch.points(kind)
            keep = at.start + np.flatnonzero(admitted[at])
            if len(keep):
                part = (self._histograms(batch, series, keep) if kind == "histogram"
                        else self._numbers(batch, series, keep, kind))
                starts = batch.starts[keep]
                part |= {"series_id": pa.array(series[keep]), "ts_ns": pa.array(batch.times[keep]),
                         "start_ns": pa.array(starts, mask=starts == 0), "frame": pa.array(frame_of[keep])}
                _add_exemplars(part, batch, keep)
                self._parts.append(part)
                self._places.append(self._place + batch.metric_of[keep])
        self._place += len(batch.metrics)
        for frame in np.unique(frame_of[~admitted]).tolist():
            refused = batch.times[~admitted & (frame_of == frame)]
            self._official.overflow(frame, len(refused), int(refused.max()))
        self._note_official()
        for emitter, times in zip(batch.emitters, np.bincount(batch.emitter_of, minlength=len(batch.emitters)).tolist(),
                                  strict=True):
            for reason, count in emitter.drops.items():
                self._official.drops[reason] += count * times

    def _series(self, batch: MetricBatch, frame_of_metric: Ints) -> tuple[Ints, Mask]:
        """The series of each point, and whether it is within the limit."""
        if batch.recalled.all():
            return batch.series, batch.recalled
        ids = np.zeros(len(batch.candidates), np.int64)
        admitted = np.ones(len(batch.candidates), np.bool_)
        metrics = batch.metric_of[[candidate.point for candidate in batch.candidates]]
        frames, units = frame_of_metric[metrics].tolist(), batch.metrics.field("unit").take(pa.array(metrics)).to_pylist()
        for at, (key, point, found, labels) in enumerate(batch.candidates):
            if found is None and labels is not None:
                stream = Stream(frames[at], key[0], key[1], units[at] or None, batch.kind_of(point), delta=False)
                found = self._official.identify(stream, labels, tuple(np.frombuffer(key[2]).tolist()))
                if found is not None:
                    self._official.known.remember(key, found)
            admitted[at] = found is not None
            ids[at] = found or 0
        series = np.where(batch.recalled, batch.series, ids[batch.candidate_of])
        has = batch.recalled | admitted[batch.candidate_of]
        for digest, points in batch.shapes.items():
            if has[points].all() and not batch.recalled[points].any():
                self._official.known.remember_block(digest, series[points])
        return series, has

    def _classes(self, batch: MetricBatch, frame_of_metric: Ints) -> dict[int, list[int]]:
        """Take the metrics that only the official classes read; the times of their points by block."""
        times: dict[int, list[int]] = {}
        places = np.flatnonzero(batch.with_classes)
        fields = [batch.metrics.field(field).take(pa.array(places)).to_pylist() for field in ("name", "unit", *WITH_CLASSES)]
        for at, name, unit, *sent in zip(places.tolist(), *fields, strict=True):
            metric, block = Metric(name=name, unit=unit), int(batch.block_of[at])
            for kind, data in zip(WITH_CLASSES, sent, strict=True):
                if data:
                    getattr(metric, kind).SetInParent()
                    getattr(metric, kind).MergeFromString(data[0])
            entity = batch.emitters[batch.emitter_of[block]].entity
            times.setdefault(block, []).extend(self._official.metric(int(frame_of_metric[at]), entity, metric))
        self._note_official()
        return times

    def _edges(self, batch: MetricBatch, frames: list[int], more: dict[int, list[int]]) -> None:
        """The edges that resources declare, seen when their points were."""
        if not any(emitter.edges for emitter in batch.emitters):
            return
        block_of = batch.block_of[batch.metric_of]
        first = np.full(len(batch.frame_of), np.iinfo(np.int64).max)
        last = np.zeros(len(batch.frame_of), np.int64)
        np.minimum.at(first, block_of, batch.times)
        np.maximum.at(last, block_of, batch.times)
        for block, emitter in enumerate(batch.emitters[at] for at in batch.emitter_of.tolist()):
            if emitter.edges:
                times = [*more.get(block, ()), *((int(first[block]), int(last[block])) if last[block] else ())]
                self._official.edges.declared(frames[batch.frame_of[block]], emitter, min(times, default=0),
                                              max(times, default=0))

    def _numbers(self, batch: MetricBatch, series: Ints, keep: Ints, kind: str) -> dict[str, pa.Array]:
        has, values = batch.has_number[keep], batch.numbers[keep]
        if kind == "sum":
            state = self._official.state
            for at in np.flatnonzero(batch.is_delta["sum"][batch.metric_of[keep]] & has).tolist():
                values[at] = state.accumulate(int(series[keep[at]]), float(values[at]))
        return {"value": pa.array(values, mask=~has)}

    def _histograms(self, batch: MetricBatch, series: Ints, keep: Ints) -> dict[str, pa.Array]:
        at = keep - batch.points("histogram").start
        points = Points(series[keep], batch.starts[keep], batch.times[keep], batch.counts[at], plain_values(batch.sums)[at],
                        valid(batch.sums)[at], *_chosen(batch.bucket_offsets, batch.buckets, at))
        has = ~batch.has_no_value[keep]
        sent = has.copy()
        cumulative = np.flatnonzero(has & ~batch.is_delta["histogram"][batch.metric_of[keep]])
        if len(cumulative):
            known, changes = since_previous(points.taken(cumulative), self._official.state)
            has[cumulative] = known
            points = points.replaced(cumulative, changes)
        extremes = {name: pc.if_else(pa.array(sent), values.take(pa.array(at)), None)
                    for name, values in (("hist_min", batch.least), ("hist_max", batch.greatest))}
        return {**extremes, "hist_count": pa.array(points.counts, mask=~has),
                "hist_sum": pa.array(points.totals, mask=~(has & points.has_total)),
                "hist_deltas": _lists(points.offsets, points.flat, has)}


def _parses(body: bytes) -> bool:
    try:
        ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        return False
    return True


def _chosen(offsets: Ints, flat: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Some of the lists."""
    lengths = np.diff(offsets)[rows]
    return np.concatenate([[0], np.cumsum(lengths)]), flat[ranges(offsets[:-1][rows], lengths)]


def _lists(offsets: Ints, flat: Ints, has: Mask) -> pa.Array:
    """Lists as Arrow, NULL where ``has`` is false."""
    lengths = np.where(has, np.diff(offsets), 0)
    values = flat if has.all() else flat[ranges(offsets[:-1], lengths)]
    places = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(places), pa.array(values), mask=pa.array(~has))


def _add_exemplars(part: dict[str, pa.Array], batch: MetricBatch, keep: Ints) -> None:
    if batch.exemplars:
        found = [batch.exemplars.get(at) for at in keep.tolist()]
        part["exemplars"] = pa.array(found, SAMPLES.column("exemplars").type)


def _stacked(name: str, parts: list[dict[str, pa.Array]], lengths: list[int]) -> pa.Array:
    """A column of all parts, NULL for a part without it."""
    kind = SAMPLES.column(name).type
    chunks = [part[name].cast(kind) if name in part else pa.nulls(rows, kind)
              for part, rows in zip(parts, lengths, strict=True)]
    return pa.chunked_array(chunks, kind).combine_chunks()


def _order(series: Ints, times: Ints, places: Ints) -> Ints:
    """Rows by series, then time, then as they came."""
    return np.lexsort((places, times, series))
