"""What the OpenTelemetry SDK can say, drawn by hypothesis; the bodies its own encoders make of it; how a MAP says it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode

from collectors.decode.decode_metrics import KnownSeries
from collectors.decode.edges import SpanMemory
from collectors.decode.limits import Drops, Limits
from collectors.decode.resources import Emitters
from collectors.decode.round import Round
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects
from collectors.schema import TABLES
from collectors.sink import Signal

INT64 = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([0, -1, (1 << 63) - 1, -(1 << 63)])
INT32 = st.integers(-(1 << 31), (1 << 31) - 1) | st.sampled_from([0, (1 << 31) - 1, -(1 << 31)])
TEXTS = st.text(max_size=12) | st.sampled_from(["", "0", "ß\0", "日本🔥", '"{[', "NaN"])
SCALARS = st.one_of(TEXTS, INT64, st.floats(), st.booleans(), st.binary(max_size=6), st.none())
_INNER = st.text(min_size=1, max_size=4)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(_INNER, SCALARS | st.lists(SCALARS, max_size=2), max_size=2)
NAMES = st.text(max_size=12).map(lambda name: f"x.{name}")
"""Attribute keys that no column is promoted from."""
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=3)
TIMES = st.integers(1, (1 << 63) - 1) | st.sampled_from([1, (1 << 63) - 1])
ENTITIES = st.fixed_dictionaries({}, optional={"service.name": st.text(min_size=1, max_size=5),
                                               "flashover.entity": st.sampled_from(["replica:r0", "gateway:main"])})
_SCOPE = InstrumentationScope("test", "1")


def plain(value: Any) -> Any:
    """An attribute's value as protobuf's JSON mapping has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def says(text: str | None, value: Any) -> bool:
    """Whether a MAP's text holds exactly ``value``."""
    if value is None or text is None:
        return value is text
    if isinstance(value, (list, dict)):
        return repr(json.loads(text, parse_constant=_no_json)) == repr(plain(value))
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, float):
        return repr(float(text)) == repr(value)
    return text == (plain(value) if isinstance(value, (str, bytes)) else f"{value:d}")


def all_said(pairs: Sequence[tuple[str, str | None]], attributes: dict[str, Any]) -> bool:
    """Whether a MAP (as Arrow gives it) holds exactly these attributes, in their order."""
    return [key for key, _ in pairs] == list(attributes) and all(says(text, attributes[key]) for key, text in pairs)


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@dataclass(frozen=True)
class SpanFacts:
    """One span as it is before the SDK sees it; ids are unsigned."""

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    status: Status
    attributes: dict[str, Any] = field(default_factory=dict)
    events: tuple[tuple[str, int, dict[str, Any]], ...] = ()
    links: tuple[tuple[int, int, dict[str, Any]], ...] = ()

    def sdk(self, resource: Resource) -> ReadableSpan:
        """The same span as the SDK holds it."""
        return ReadableSpan(
            self.name, SpanContext(self.trace_id, self.span_id, is_remote=False),
            None if self.parent_id is None else SpanContext(self.trace_id, self.parent_id, is_remote=True), resource,
            self.attributes, [Event(name, attributes, ts_ns) for name, ts_ns, attributes in self.events],
            [Link(SpanContext(trace, span, is_remote=True), attributes) for trace, span, attributes in self.links],
            self.kind, None, self.status, self.start_ns, self.end_ns, _SCOPE)


TRACE_IDS, SPAN_IDS = st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1)
STATUSES = st.sampled_from([StatusCode.UNSET, StatusCode.OK]).map(Status) | st.builds(
    Status, st.just(StatusCode.ERROR), st.none() | TEXTS)
SPANS = st.builds(
    SpanFacts, TRACE_IDS, SPAN_IDS, st.none() | SPAN_IDS, TEXTS, st.sampled_from(SpanKind), TIMES, TIMES, STATUSES, ATTRIBUTES,
    st.lists(st.tuples(TEXTS, TIMES, ATTRIBUTES), max_size=2).map(tuple),
    st.lists(st.tuples(TRACE_IDS, SPAN_IDS, ATTRIBUTES), max_size=2).map(tuple))


def traces_body(*groups: tuple[dict[str, Any], Iterable[SpanFacts]]) -> tuple[Signal, bytes]:
    """Groups of (resource attributes, spans) as one body."""
    spans = [span.sdk(resource) for attributes, members in groups for resource in [Resource(attributes)] for span in members]
    return "traces", encode_spans(spans).SerializeToString()


def metrics_body(attributes: dict[str, Any], *metrics: Metric) -> tuple[Signal, bytes]:
    """Metrics of one resource as one body."""
    data = ResourceMetrics(Resource(attributes), [ScopeMetrics(_SCOPE, list(metrics), "")], "")
    return "metrics", encode_metrics(MetricsData([data])).SerializeToString()


def logs_body(attributes: dict[str, Any], *records: LogRecord) -> tuple[Signal, bytes]:
    """Log records of one resource as one body."""
    resource = Resource(attributes)
    return "logs", encode_logs([ReadableLogRecord(record, resource) for record in records]).SerializeToString()


def log_record(ts_ns: int | None, body: Any, *, observed_ns: int = 0, severity: int = 0, event_name: str | None = None,
               attributes: dict[str, Any] | None = None) -> LogRecord:
    """One log record as the SDK holds it."""
    return LogRecord(timestamp=ts_ns, observed_timestamp=observed_ns, severity_number=SeverityNumber(severity), body=body,
                     attributes=attributes or {}, event_name=event_name)


_DIALECTS = Dialects()


def decoded(*bodies: tuple[Signal, bytes], state: SeriesState | None = None, limits: Limits | None = None,
            drops: Drops | None = None, official: bool = False) -> dict[str, pa.Table]:
    """The tables of one round that decodes these bodies as the frames 1, 2, ..., each with its schema, some empty."""
    limits = limits or Limits()
    work = Round(Emitters(limits), SpanMemory(), KnownSeries(set(), _DIALECTS), state or SeriesState(), {}, 0, limits,
                 Drops() if drops is None else drops, official)
    work.take((frame, *body) for frame, body in enumerate(bodies, start=1))
    tables = work.tables()
    for name, table in tables.items():
        assert table.schema == TABLES[name].arrow
        table.validate(full=True)
    return {name: tables.get(name, table.arrow.empty_table()) for name, table in TABLES.items()}
