"""OTLP logs -> rows of ``steps`` (event name ``flashover.step``), ``events`` (``flashover.event.<kind>``) and ``logs``."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from collectors.attributes import Undecodable, body_text, map_array, text_map, time_of, time_or_none
from collectors.columns import Table
from collectors.decode_steps import StepRows
from collectors.edges import EdgeRows
from collectors.limits import Drops, Limits
from collectors.prompt_text import event_name_of
from collectors.rejects import Rejects
from collectors.resources import ENTITY_KEY, Emitters
from collectors.schema import EVENTS, LOGS

STEP = "flashover.step"
EVENT_PREFIX = "flashover.event."


class LogRows:
    """Collects the log records of a round's bodies."""

    def __init__(self, emitters: Emitters, edges: EdgeRows, rejects: Rejects, ignored: dict[str, int],
                 limits: Limits, drops: Drops) -> None:
        self._emitters, self._edges, self._rejects = emitters, edges, rejects
        self._limits, self._drops = limits, drops
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
            emitter = self._emitters.read(block.resource, self._drops)
            times: list[int | None] = []
            for scope in block.scope_logs:
                for record in scope.log_records:
                    try:
                        times.append(self._record(frame, record, emitter.entity))
                    except Undecodable as error:
                        self._rejects.add(frame, "logs", error, record)
            known = [time for time in times if time is not None]
            self._edges.declared(frame, emitter, min(known, default=0), max(known, default=0))

    def events(self) -> pa.Table:
        """The control facts as Arrow, schema EVENTS, sorted by time."""
        return _table(EVENTS, self._events)

    def logs(self) -> pa.Table:
        """The other records as Arrow, schema LOGS, sorted by time."""
        return _table(LOGS, self._logs)

    def _record(self, frame: int, record: LogRecord, entity: str | None) -> int | None:
        ns = record.time_unix_nano or record.observed_time_unix_nano
        if record.event_name == STEP:
            self.steps.add(frame, record.body.bytes_value, entity)
            return time_or_none(ns)
        ts_ns = time_of(ns)
        name = event_name_of(record)
        attributes = text_map(record.attributes, self._limits, self._drops, name)
        body = body_text(record.body, name, self._limits, self._drops)
        if name.startswith(EVENT_PREFIX):
            target = attributes.pop(ENTITY_KEY, None) or entity
            kind = name.removeprefix(EVENT_PREFIX)
            self._events.append((ts_ns, kind, target, body, attributes, frame))
        else:
            self._logs.append((ts_ns, record.severity_number or None, entity, name or None, body, attributes,
                               frame))
        return ts_ns


def _table(table: Table, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns: list[Any] = list(zip(*sorted(rows, key=lambda row: (row[0], row[-1])), strict=True))
    columns = columns or [()] * len(table.columns)
    arrays = [map_array(c) if f.name == "attributes" else pa.array(c, f.type)
              for c, f in zip(columns, table.arrow, strict=True)]
    return pa.table(arrays, table.arrow)
