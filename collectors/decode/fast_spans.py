"""OTLP traces -> rows of ``spans``, many bodies at once as Arrow.

Fast for ordinary bodies, the official classes for the rest: a body with anything unusual (ids of another length, times that
no column holds, two values where one belongs, text beyond the limits, bytes that do not parse) is decoded as a whole by
``decode_spans.SpanRows``, which is also what the tests hold this to, value by value.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.decode.attributes import INT64_MAX, map_array, text_map
from collectors.decode.decode_spans import LINK_EDGE, SpanRows
from collectors.decode.edges import Arrivals, EdgeRows
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitter, Emitters
from collectors.decode.span_values import SpanValues
from collectors.decode.wire_arrow import SPANS as WIRE
from collectors.decode.wire_arrow import Ints, Mask, Members, WireReader, big_endian, byte_lengths, plain_values
from collectors.schema import ATTEMPT_COLUMNS, SPANS

_reader = WireReader(WIRE)
_NOTHING: dict[str, str | None] = {}
_SHORTEST = 32
"""Characters that every number has room in; with a lower limit of text all bodies take the other way."""


class FastSpans:
    """Collects the traces bodies of a round; ``finish`` decodes them."""

    def __init__(self, emitters: Emitters, edges: EdgeRows, rejects: Rejects, limits: Limits, drops: Drops) -> None:
        self._emitters, self._edges, self._limits, self._drops = emitters, edges, limits, drops
        self._rest = SpanRows(emitters, edges, rejects, limits, drops)
        self._frames: list[int] = []
        self._bodies: list[bytes] = []
        self.unusual = 0
        """Bodies that the official classes read."""

    def add(self, frame: int, body: bytes) -> None:
        """Take one ExportTraceServiceRequest."""
        self._frames.append(frame)
        self._bodies.append(body)

    def finish(self) -> pa.Table:
        """All rows as Arrow, schema SPANS, sorted by start; relations go to the edges, what cannot be a row to the rejects."""
        able = self._limits.value_chars >= _SHORTEST
        batch, bad = _reader.read(self._bodies if able else [])
        fast = np.full(len(self._bodies), able)
        fast[bad] = False
        frames = np.array(self._frames, np.int64)
        nested = _Nested(self._limits)
        while batch.num_rows:
            spans = _Spans(batch, frames[fast], self._limits, nested)
            odd = spans.odd_bodies(self._emitters)
            if not odd.any():
                break
            fast[np.flatnonzero(fast)[odd]] = False
            batch = batch.filter(pa.array(~odd))
        for place in np.flatnonzero(~fast).tolist():
            self._rest.add(self._frames[place], self._bodies[place])
        self.unusual = len(self._bodies) - int(fast.sum())
        self._frames, self._bodies = [], []
        if not batch.num_rows:
            return self._rest.finish()
        table, arrivals = spans.table(self._emitters, self._edges, self._drops)
        if not len(self._rest):
            self._edges.join(arrivals)
            return table
        self._edges.join(arrivals.among(self._rest.arrivals()))
        self._rest.find_retries()
        both = pa.concat_tables([table, self._rest.table()]).combine_chunks()
        order = pc.sort_indices(both, sort_keys=[(name, "ascending") for name in ("start_ns", "span_id", "frame")])
        return both.take(order)


class _Nested:
    """Attributes of events and links: read by the official classes, once for each of equal bytes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parsed: dict[bytes, KeyValue | None] = {}

    def parses(self, attributes: pa.Array) -> list[bool]:
        """For each KeyValue's bytes, whether they are one."""
        found = []
        for data in attributes.to_pylist():
            if data not in self._parsed:
                try:
                    self._parsed[data] = KeyValue.FromString(data)
                except DecodeError:
                    self._parsed[data] = None
            found.append(self._parsed[data] is not None)
        return found

    def texts(self, lists: Members, names: pa.Array | None, drops: Drops) -> list[dict[str, str | None]]:
        """Key -> text of each list; ``names`` are those of the events."""
        texts = [_NOTHING] * (len(lists.offsets) - 1)
        for place in np.flatnonzero(lists.counts).tolist():
            data = lists.values[int(lists.offsets[place]) : int(lists.offsets[place + 1])].to_pylist()
            members = [member for member in map(self._parsed.get, data) if member is not None]
            texts[place] = text_map(members, self._limits, drops, names[place].as_py() if names is not None else "")
        return texts


class _Spans:
    """The spans of a batch of bodies, flat."""

    def __init__(self, batch: pa.RecordBatch, frames: Ints, limits: Limits, nested: _Nested) -> None:
        self._limits, self._nested, self._count = limits, nested, batch.num_rows
        blocks = Members.of(batch.column(0))
        resources, scopes, _ = blocks.values.flatten()
        self._resources, scopes = Members.of(resources), Members.of(scopes)
        scope, spans, _ = scopes.values.flatten()
        self._scope, spans = Members.of(scope), Members.of(spans)
        self._body_of_block = blocks.owners
        self._block = scopes.owners[spans.owners]
        self._body = self._body_of_block[self._block]
        self._scope_bodies = self._body_of_block[scopes.owners[self._scope.owners]]
        self._frames = frames
        (self._trace_ids, self._span_ids, _, self._parent_ids, self._names, self._kinds, start, end, attributes, events, links,
         status) = spans.values.flatten()
        self._start, self._end = plain_values(start), plain_values(end)
        self._attributes, self._events, self._links = Members.of(attributes), Members.of(events), Members.of(links)
        self._status = Members.of(status)
        self._event_times, self._event_names, event_attributes = self._events.values.flatten()
        self._link_traces, self._link_spans, _, link_attributes = self._links.values.flatten()
        self._event_attributes, self._link_attributes = Members.of(event_attributes), Members.of(link_attributes)

    def odd_bodies(self, emitters: Emitters) -> Mask:
        """Bodies that the official classes should read. Asked again after these are gone, it may find others."""
        odd = np.zeros(self._count, np.bool_)
        for bad in self._odd_spans():
            odd[self._body[bad]] = True
        several = self._resources.counts > 1
        odd[self._body_of_block[several]] = True
        unreadable = _unreadable(self._scope.values, InstrumentationScope)
        odd[self._scope_bodies[unreadable]] = True
        unreadable = _unreadable(self._resources.values, Resource)
        odd[self._body_of_block[self._resources.owners[unreadable]]] = True
        if not odd.any():
            self._values = SpanValues(self._attributes, self._limits)
            odd[self._body[self._values.odd()]] = True
        return odd

    def _odd_spans(self) -> list[Ints | Mask]:
        most = self._limits.value_chars
        parents, events, links = byte_lengths(self._parent_ids), self._events.owners, self._links.owners
        return [
            (byte_lengths(self._trace_ids) != 16) | (byte_lengths(self._span_ids) != 8) | ((parents != 8) & (parents != 0)),
            (self._start == 0) | (self._start > INT64_MAX) | (self._end > INT64_MAX) | (self._status.counts > 1),
            (byte_lengths(self._names) > most) | (self._attributes.counts > self._limits.attributes),
            self._status.owners[byte_lengths(self._status.values.field(0)) > most],
            events[(plain_values(self._event_times) > INT64_MAX) | (byte_lengths(self._event_names) > most)],
            links[(byte_lengths(self._link_traces) != 16) | (byte_lengths(self._link_spans) != 8)],
            events[self._event_attributes.owners[~np.array(self._nested.parses(self._event_attributes.values), np.bool_)]],
            links[self._link_attributes.owners[~np.array(self._nested.parses(self._link_attributes.values), np.bool_)]],
            SpanValues.lacking(self._attributes),
        ]

    def table(self, emitters: Emitters, edges: EdgeRows, drops: Drops) -> tuple[pa.Table, Arrivals]:
        """The rows sorted by start, and what the edges need of them in their order of arrival."""
        sources, source = self._sources(emitters, drops)
        start = self._start.astype(np.int64)
        trace_ids, span_ids = big_endian(self._trace_ids, 2), big_endian(self._span_ids, 1)[:, 0]
        parents = np.zeros(len(start), np.int64)
        parents[byte_lengths(self._parent_ids) > 0] = big_endian(self._parent_ids, 1)[:, 0]
        order = np.lexsort((span_ids, start))
        rows = np.empty(len(order), np.int64)
        rows[order] = np.arange(len(order))
        if self._values.private():
            drops["prompt_text"] += self._values.private()
        promoted, extra = self._values.columns(rows)
        frame = self._frames[self._body]
        end = self._end.astype(np.int64)
        status, message = self._status_columns(order)
        by = pa.array(order)
        of_source = pa.array(source[order])
        link_texts = self._nested.texts(self._link_attributes, None, drops)
        arrays = [
            pa.array(trace_ids[order, 0]), pa.array(trace_ids[order, 1]), pa.array(span_ids[order]),
            _nullable(parents[order]), self._names.take(by), self._kinds.take(by), pa.array(start[order]),
            _nullable(end[order]), status, message,
            pa.array([emitter.service for emitter in sources], pa.string()).take(of_source),
            pa.array([emitter.entity for emitter in sources], pa.string()).take(of_source),
            *promoted, extra, map_array([emitter.rest for emitter in sources]).take(of_source),
            self._event_lists(by, drops), self._link_lists(by, link_texts), pa.array(frame[order])]
        codes = np.array([edges.code(emitter.entity) for emitter in sources], np.int64)[source]
        self._declare(edges, sources, source, start, np.maximum(start, end))
        self._retries(edges, link_texts, promoted[ATTEMPT_COLUMNS.index("cohort")], rows, codes, start, frame)
        return pa.table(arrays, SPANS.arrow), Arrivals(frame, span_ids, parents, codes, start)

    def _sources(self, emitters: Emitters, drops: Drops) -> tuple[list[Emitter], Ints]:
        """The distinct emitters, and for each span the place of its own; what the limits took is counted for each block."""
        data = [b""] * (len(self._resources.offsets) - 1)
        for block, value in zip(self._resources.owners.tolist(), self._resources.values.to_pylist(), strict=True):
            data[block] = value
        places: dict[bytes, int] = {}
        self._block_source = np.array([places.setdefault(value, len(places)) for value in data], np.int64)
        sources = [emitters.read_bytes(value) for value in places]
        for place, emitter in enumerate(sources):
            for reason, times in emitter.drops.items():
                drops[reason] += times * int((self._block_source == place).sum())
        return sources, self._block_source[self._block]

    def _declare(self, edges: EdgeRows, sources: list[Emitter], source: Ints, start: Ints, last: Ints) -> None:
        """Hand the edges what resources declare, for each block that has spans."""
        if not any(emitter.edges for emitter in sources):
            return
        begins = np.flatnonzero(np.diff(self._block, prepend=-1))
        firsts, lasts = np.minimum.reduceat(start, begins), np.maximum.reduceat(last, begins)
        for begin, first_ns, last_ns in zip(begins.tolist(), firsts.tolist(), lasts.tolist(), strict=True):
            emitter = sources[source[begin]]
            if emitter.edges:
                edges.declared(int(self._frames[self._body[begin]]), emitter, first_ns, last_ns)

    def _retries(self, edges: EdgeRows, texts: list[dict[str, str | None]], cohorts: pa.Array, rows: Ints, codes: Ints,
                 start: Ints, frame: Ints) -> None:
        for span, link in zip(self._links.owners.tolist(), texts, strict=True):
            if link.get(LINK_EDGE) == "retries_of":
                cohort = cohorts[int(rows[span])].as_py()
                edges.retried(int(frame[span]), cohort, edges.name(int(codes[span])), int(start[span]))

    def _status_columns(self, order: Ints) -> tuple[pa.Array, pa.Array]:
        message, code = self._status.values.flatten()
        first = np.where(self._status.counts > 0, self._status.offsets[:-1], -1)[order]
        at = pa.array(first, mask=first < 0)
        empty = pa.array(byte_lengths(message) == 0)
        return code.take(at).fill_null(0), pc.if_else(empty, None, message).take(at)

    def _event_lists(self, by: pa.Array, drops: Drops) -> pa.Array:
        kind = SPANS.column("events").type
        texts = self._nested.texts(self._event_attributes, self._event_names, drops)
        times = plain_values(self._event_times).astype(np.int64)
        values = pa.StructArray.from_arrays([_nullable(times), self._event_names, map_array(texts)],
                                            fields=list(kind.value_type))
        return pa.ListArray.from_arrays(pa.array(self._events.offsets, pa.int32()), values, type=kind).take(by)

    def _link_lists(self, by: pa.Array, texts: list[dict[str, str | None]]) -> pa.Array:
        kind = SPANS.column("links").type
        traces = big_endian(self._link_traces, 2)
        values = pa.StructArray.from_arrays(
            [pa.array(traces[:, 0]), pa.array(traces[:, 1]), pa.array(big_endian(self._link_spans, 1)[:, 0]), map_array(texts)],
            fields=list(kind.value_type))
        return pa.ListArray.from_arrays(pa.array(self._links.offsets, pa.int32()), values, type=kind).take(by)


def _unreadable(values: pa.Array, message: type[InstrumentationScope] | type[Resource]) -> list[int]:
    """Places of the bytes that are no such message."""
    good: dict[bytes, bool] = {}
    found = []
    for place, data in enumerate(values.to_pylist()):
        if data not in good:
            try:
                message.FromString(data)
                good[data] = True
            except DecodeError:
                good[data] = False
        if not good[data]:
            found.append(place)
    return found


def _nullable(values: Ints) -> pa.Array:
    """Numbers of which 0 means that there is none."""
    return pa.array(values, mask=values == 0)
