"""Log records: control facts, and the carrier of the step bodies.

Messages: opentelemetry-proto ``logs/v1/logs.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from instrumented_engine.telemetry import wire

STEP_EVENT = "flashover.step"
EVENT_PREFIX = "flashover.event."
SEVERITY_INFO = 9


class EventRecord(NamedTuple):
    """One control fact as the hot path leaves it; ``resource`` is an index, ``at_ns`` UTC ns."""

    resource: int
    at_ns: int
    kind: str
    summary: str
    attributes: Mapping[str, Any]


def encode_log(
    at_ns: int, observed_ns: int, event_name: str, body: str | bytes, attributes: Mapping[str, Any]
) -> bytes:
    """The OTLP LogRecord message of severity INFO."""
    return b"".join((
        wire.fixed64(b"\x09", at_ns),
        b"\x10" + bytes([SEVERITY_INFO]),
        wire.delimited(b"\x2a", wire.any_value(body)),
        wire.attributes(b"\x32", attributes),
        wire.fixed64(b"\x59", observed_ns),
        wire.text(b"\x62", event_name),
    ))


def encode_event(record: EventRecord, observed_ns: int) -> bytes:
    """The LogRecord of a control fact; ``observed_ns`` is the time of the flush."""
    return encode_log(record.at_ns, observed_ns, EVENT_PREFIX + record.kind, record.summary, record.attributes)


def encode_steps(stream: bytes, now_ns: int) -> bytes:
    """The LogRecord that carries one Arrow IPC stream of steps."""
    return encode_log(now_ns, now_ns, STEP_EVENT, stream, {})
