"""OTLP traces -> rows of ``spans``, by lists for each column."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collectors.decode.attributes import (
    Undecodable,
    cut,
    first_ones,
    map_array,
    text_map,
    text_of,
    time_of,
    time_or_none,
)
from collectors.decode.edges import Arrivals, EdgeRows
from collectors.decode.limits import Drops, Limits
from collectors.decode.promoted import slots
from collectors.decode.prompt_text import holds_text
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitter, Emitters
from collectors.schema import ATTEMPT_COLUMNS, SPANS

_SLOTS = slots()
_NOTHING: dict[str, str | None] = {}
_PROMOTED = [None] * len(ATTEMPT_COLUMNS)
_PLAIN_COLUMNS = len(SPANS.columns) - 5
LINK_EDGE = "flashover.edge"
_COHORT = SPANS.arrow.names.index("cohort")
_ids = struct.Struct(">qq").unpack
_id = struct.Struct(">q").unpack


class SpanRows:
    """Collects the spans of a round's bodies; ``table`` gives them as Arrow, sorted by start."""

    def __init__(self, emitters: Emitters, edges: EdgeRows, rejects: Rejects, limits: Limits, drops: Drops) -> None:
        self._emitters = emitters
        self._edges = edges
        self._rejects = rejects
        self._limits = limits
        self._drops = drops
        self._rows: list[list[Any]] = []
        self._extras: list[dict[str, str | None]] = []
        self._resources: list[dict[str, str | None]] = []
        self._events: list[list[tuple[int | None, str, dict[str, str | None]]]] = []
        self._links: list[list[tuple[int, int, int, dict[str, str | None]]]] = []
        self._frames: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, frame: int, body: bytes) -> None:
        """Decode one ExportTraceServiceRequest. What cannot be a row goes to the rejects, the rest is kept."""
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError as error:
            self._rejects.add_body(frame, "traces", error, body)
            return
        for block in request.resource_spans:
            emitter = self._emitters.read(block.resource, self._drops)
            first, last = 0, 0
            for scope in block.scope_spans:
                for span in scope.spans:
                    try:
                        row, extra, events, links = self._span(span, emitter)
                    except Undecodable as error:
                        self._rejects.add(frame, "traces", error, span)
                        continue
                    self._rows.append(row)
                    self._extras.append(extra)
                    self._resources.append(emitter.rest)
                    self._events.append(events)
                    self._links.append(links)
                    self._frames.append(frame)
                    first, last = min(first or row[6], row[6]), max(last, row[7] or 0, row[6])
            self._edges.declared(frame, emitter, first, last)

    def finish(self) -> pa.Table:
        """Hand the spans' relations to the edges, and give ``table``."""
        self._edges.spans((frame, row[2], row[3], row[11], row[6])
                          for frame, row in zip(self._frames, self._rows, strict=True))
        self.find_retries()
        return self.table()

    def arrivals(self) -> Arrivals:
        """What the edges need of the rows, in their order of arrival."""
        rows = [(frame, row[2], row[3] or 0, self._edges.code(row[11]), row[6])
                for frame, row in zip(self._frames, self._rows, strict=True)]
        return Arrivals(*np.array(rows, np.int64).reshape(-1, 5).T)

    def find_retries(self) -> None:
        """Hand the retries alone to the edges."""
        for frame, row, links in zip(self._frames, self._rows, self._links, strict=True):
            for link in links:
                if link[3].get(LINK_EDGE) == "retries_of":
                    self._edges.retried(frame, row[_COHORT], row[11], row[6])

    def table(self) -> pa.Table:
        """The rows as Arrow, schema SPANS, sorted by start."""
        fields = SPANS.arrow
        columns: list[Any] = list(zip(*self._rows, strict=True)) or [()] * _PLAIN_COLUMNS
        arrays = [pa.array(values, field.type) for values, field in zip(columns, fields, strict=False)]
        arrays += [map_array(self._extras), map_array(self._resources), _event_lists(self._events),
                   _link_lists(self._links), pa.array(self._frames, pa.int64())]
        table = pa.table(arrays, fields)
        return table.take(pc.sort_indices(table, sort_keys=[("start_ns", "ascending"), ("span_id", "ascending")]))


    def _span(self, span: Span, emitter: Emitter) -> tuple[
            list[Any], dict[str, str | None], list[tuple[int | None, str, dict[str, str | None]]],
            list[tuple[int, int, int, dict[str, str | None]]]]:
        limits, drops = self._limits, self._drops
        keep_text, chars = limits.keep_text, limits.value_chars
        plain = _plain_columns(span)
        times = [time_or_none(event.time_unix_nano) for event in span.events]
        plain[4] = cut(plain[4], chars, drops)
        plain[9] = cut(plain[9], chars, drops) or None
        promoted: list[Any] = _PROMOTED.copy()
        extra = _NOTHING
        for attribute in first_ones(span.attributes, limits, drops):
            key = attribute.key
            slot = _SLOTS.get(key)
            if slot is None:
                if not keep_text and holds_text(key):
                    drops["prompt_text"] += 1
                    continue
            elif promoted[slot.place] is None:
                value = slot.read(attribute.value)
                if value is not None:
                    promoted[slot.place] = cut(value, chars, drops) if isinstance(value, str) else value
                    continue
            if extra is _NOTHING:
                extra = {}
            extra[key if len(key) <= chars else cut(key, chars, drops)] = text_of(attribute.value, limits, drops)
        events = [(ns, cut(x.name, chars, drops), text_map(x.attributes, limits, drops, x.name) if x.attributes
                   else _NOTHING) for ns, x in zip(times, span.events, strict=True)]
        links = [(*_ids(x.trace_id), *_id(x.span_id), text_map(x.attributes, limits, drops)) for x in span.links]
        return [*plain, emitter.service, emitter.entity, *promoted], extra, events, links


def _plain_columns(span: Span) -> list[Any]:
    """Ids, name, kind, times and status, with the ids of links checked too. Raises Undecodable."""
    try:
        trace_hi, trace_lo = _ids(span.trace_id)
        span_id, = _id(span.span_id)
        parent = span.parent_span_id
        parent_id = _id(parent)[0] if parent else None
        for link in span.links:
            _ids(link.trace_id), _id(link.span_id)
    except struct.error as error:
        raise Undecodable(f"an id has the wrong length: {error}") from error
    return [trace_hi, trace_lo, span_id, parent_id or None, span.name, span.kind, time_of(span.start_time_unix_nano),
            time_or_none(span.end_time_unix_nano), span.status.code, span.status.message]


def _event_lists(rows: list[list[tuple[int | None, str, dict[str, str | None]]]]) -> pa.Array:
    flat = [event for row in rows for event in row]
    struct_type = SPANS.column("events").type.value_type
    values = pa.StructArray.from_arrays(
        [pa.array([e[0] for e in flat], pa.int64()), pa.array([e[1] for e in flat], pa.string()),
         map_array([e[2] for e in flat])], fields=list(struct_type))
    return pa.ListArray.from_arrays(_offsets(rows), values, type=SPANS.column("events").type)


def _link_lists(rows: list[list[tuple[int, int, int, dict[str, str | None]]]]) -> pa.Array:
    flat = [link for row in rows for link in row]
    struct_type = SPANS.column("links").type.value_type
    values = pa.StructArray.from_arrays(
        [*(pa.array([link[i] for link in flat], pa.int64()) for i in range(3)), map_array([link[3] for link in flat])],
        fields=list(struct_type))
    return pa.ListArray.from_arrays(_offsets(rows), values, type=SPANS.column("links").type)


def _offsets(rows: list[list[Any]]) -> pa.Array:
    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row))
    return pa.array(offsets, pa.int32())
