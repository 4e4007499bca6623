"""OTLP logs -> rows of ``steps`` (event name ``flashover.step``), ``events`` (``flashover.event.<kind>``) and ``logs``, by
the official protobuf classes.

``fast_logs`` does the same for ordinary bodies in less time: this is what it is measured by, and what takes the others.
"""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from collectors.columns import Table
from collectors.decode.attributes import Undecodable, body_text, cut, map_array, text_map, time_of, time_or_none
from collectors.decode.decode_steps import StepRows
from collectors.decode.edges import EdgeRows
from collectors.decode.limits import Drops, Limits
from collectors.decode.prompt_text import event_name_of
from collectors.decode.rejects import Rejects
from collectors.decode.resources import ENTITY_KEY, Emitters
from collectors.schema import EVENTS, LOGS

STEP = "flashover.step"
EVENT_PREFIX = "flashover.event."


class LogRows:
    """Collects the log records of a round's bodies."""

    def __init__(self, emitters: Emitters, edges: EdgeRows, rejects: Rejects, ignored: dict[str, int],
                 limits: Limits, drops: Drops) -> None:
        self.emitters, self.edges, self.limits, self.drops = emitters, edges, limits, drops
        self._rejects = rejects
        self.steps = StepRows(ignored)
        self._events: list[tuple[Any, ...]] = []
        self._logs: list[tuple[Any, ...]] = []

    def add(self, frame: int, body: bytes) -> None:
        """Decode one ExportLogsServiceRequest. What cannot be a row goes to the rejects, the rest is kept."""
        try:
            request = ExportLogsServiceRequest.FromString(body)
        except DecodeError as error:
            self._rejects.add_body(frame, "logs", error, body)
            return
        for block in request.resource_logs:
            emitter = self.emitters.read(block.resource, self.drops)
            times: list[int | None] = []
            for scope in block.scope_logs:
                times += [self.record(frame, record, emitter.entity) for record in scope.log_records]
            known = [time for time in times if time is not None]
            self.edges.declared(frame, emitter, min(known, default=0), max(known, default=0))

    def events(self) -> pa.Table:
        """The control facts as Arrow, schema EVENTS, sorted by time."""
        return _table(EVENTS, self._events)

    def logs(self) -> pa.Table:
        """The other records as Arrow, schema LOGS, sorted by time."""
        return _table(LOGS, self._logs)

    def record(self, frame: int, record: LogRecord, entity: str | None) -> int | None:
        """Decode one record; returns its time in ns, None without one or if it was rejected."""
        try:
            return self._record(frame, record, entity)
        except Undecodable as error:
            self._rejects.add(frame, "logs", error, record)
            return None

    def _record(self, frame: int, record: LogRecord, entity: str | None) -> int | None:
        ns = record.time_unix_nano or record.observed_time_unix_nano
        if record.event_name == STEP:
            self.steps.add(frame, record.body.bytes_value, entity)
            return time_or_none(ns)
        ts_ns = time_of(ns)
        trace_hi, trace_lo, span_id = _ids(record)
        name = cut(event_name_of(record), self.limits.value_chars, self.drops)
        attributes = text_map(record.attributes, self.limits, self.drops, name)
        body = body_text(record.body, name, self.limits, self.drops)
        if name.startswith(EVENT_PREFIX):
            target = attributes.pop(ENTITY_KEY, None) or entity
            kind = name.removeprefix(EVENT_PREFIX)
            self._events.append((ts_ns, kind, target, body, attributes, frame))
        else:
            severity_text = cut(record.severity_text, self.limits.value_chars, self.drops)
            self._logs.append((ts_ns, record.severity_number or None, severity_text or None, entity, name or None, body,
                               trace_hi, trace_lo, span_id, attributes, frame))
        return ts_ns


def _ids(record: LogRecord) -> tuple[int | None, int | None, int | None]:
    """Trace and span ids; None for those that were not sent or are zero. Undecodable when they have another length."""
    try:
        trace = struct.unpack(">qq", record.trace_id) if record.trace_id else (0, 0)
        span, = struct.unpack(">q", record.span_id) if record.span_id else (0,)
    except struct.error as error:
        raise Undecodable(f"an id has the wrong length: {error}") from error
    return *(trace if any(trace) else (None, None)), span or None


def _table(table: Table, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns: list[Any] = list(zip(*sorted(rows, key=lambda row: (row[0], row[-1])), strict=True))
    columns = columns or [()] * len(table.columns)
    arrays = [map_array(c) if f.name == "attributes" else pa.array(c, f.type)
              for c, f in zip(columns, table.arrow, strict=True)]
    return pa.table(arrays, table.arrow)
