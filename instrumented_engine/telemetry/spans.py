"""The two spans of an attempt: their declared layouts, the fixed-size record of one, and its OTLP message.

Attribute keys and types come from the contract (``collectors/schema.py``): a layout is a list of column names.
Messages: opentelemetry-proto ``trace/v1/trace.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from collectors import schema
from instrumented_engine.telemetry import wire

KIND_SERVER = 2
STATUS_UNSET, STATUS_ERROR = 0, 2
FLAGS_PARENT_KNOWN, FLAGS_PARENT_REMOTE = 0x100, 0x300
"""Span.flags: whether the parent is known to be local or remote (a parent here lives in another entity: remote)."""

Event = tuple[str, int]
Link = tuple[int, int]


class SpanLayout:
    """One kind of span: its name and, in order, the contract columns it carries as attributes.

    ``columns`` are names of ``schema.SPANS`` columns, ``keys`` their attribute keys (the first source name). ``more``:
    what the contract has no column for, name -> (attribute key, type). ``names`` are both.
    """

    def __init__(self, name: str, columns: tuple[str, ...], more: Mapping[str, tuple[str, type[wire.Value]]]) -> None:
        self.name = name
        declared = [schema.SPANS.column(column) for column in columns]
        self.columns = columns
        self.names = (*columns, *more)
        self.keys = (*(column.source.split(",")[0].strip() for column in declared), *(key for key, _ in more.values()))
        self.kinds = (*(_KINDS[column.type] for column in declared), *(kind for _, kind in more.values()))
        typed_keys = zip(self.keys, self.kinds, strict=True)
        self.encoders = tuple(wire.attribute(b"\x4a", key, kind) for key, kind in typed_keys)
        self.head = wire.text(b"\x2a", name) + b"\x30" + bytes([KIND_SERVER])
        self._known = frozenset(self.names)

    def values(self, columns: Mapping[str, Any]) -> tuple[Any, ...]:
        """The record's values in the layout's order, None where ``columns`` has none; TypeError for an unknown name."""
        if not columns.keys() <= self._known:
            unknown = sorted(columns.keys() - self._known)
            raise TypeError(f"span {self.name} has no column {', '.join(unknown)}; it has {', '.join(self.names)}")
        return tuple(map(columns.get, self.names))


_KINDS: dict[pa.DataType, type[wire.Value]] = {pa.string(): str, pa.int64(): int, pa.int32(): int, pa.float64(): float}

GATEWAY_REQUEST = SpanLayout("gateway.request", (
    "request_id", "attempt", "cohort", "tier", "session", "user_hash", "replica", "outcome", "prompt_tokens",
    *schema.PHASES, "ttft_ns", "e2e_ns", "predicted_blocks", "hit_blocks", "prompt_blocks",
), {
    "route_router": ("flashover.route.router", str), "route_reason": ("flashover.route.reason", str),
    "route_candidates": ("flashover.route.candidates", int), "route_load": ("flashover.route.load", int),
    "refusal": ("flashover.admission.refusal", str),
})
"""The root span of an attempt: what its client saw. Ends when the client got its answer, or left."""

LLM_REQUEST = SpanLayout("llm_request", (
    "request_id", "attempt", "prompt_tokens", "output_tokens", "cached_tokens", "computed_tokens", "recomputed_tokens",
    "hit_blocks", "busy_ns", "wasted_ns", "preemptions", "gpu_ns", "energy_mj", "kv_block_ns",
), {})
"""What the engine did for the attempt. Ends when the engine is done with it, maybe long after the client left."""


class SpanRecord(NamedTuple):
    """One span as the hot path leaves it. Ids are unsigned (128 and 64 bits), times UTC ns, ``resource`` an index."""

    layout: SpanLayout
    resource: int
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ns: int
    end_ns: int
    status: int
    message: str
    values: tuple[Any, ...]
    events: tuple[Event, ...]
    link: Link | None


_REFUSALS = (TypeError, AttributeError, OverflowError)


def encode_span(record: SpanRecord) -> bytes:
    """The OTLP Span message. TypeError, naming span and attribute, when the contract's type cannot hold a value."""
    layout = record.layout
    root = record.parent_id is None
    out = [b"\x0a\x10", record.trace_id.to_bytes(16), b"\x12\x08", record.span_id.to_bytes(8)]
    if record.parent_id is not None:
        out += (b"\x22\x08", record.parent_id.to_bytes(8))
    out += (layout.head, wire.fixed64(b"\x39", record.start_ns), wire.fixed64(b"\x41", record.end_ns))
    try:
        attributes = zip(layout.encoders, record.values, strict=True)
        out += [encode(value) for encode, value in attributes if value is not None]
    except _REFUSALS as error:
        raise _culprit(record, error) from error
    out += [_event(name, ts_ns) for name, ts_ns in record.events]
    if record.link is not None:
        out.append(_link(*record.link))
    out.append(_status(record.status, record.message))
    out.append(b"\x85\x01" + (FLAGS_PARENT_KNOWN if root else FLAGS_PARENT_REMOTE).to_bytes(4, "little"))
    return b"".join(out)


def _event(name: str, ts_ns: int) -> bytes:
    return wire.delimited(b"\x5a", wire.fixed64(b"\x09", ts_ns) + wire.text(b"\x12", name))


_RETRIES_OF = wire.attributes(b"\x22", {"flashover.edge": "retries_of"})
_LINK_FLAGS = b"\x35" + FLAGS_PARENT_REMOTE.to_bytes(4, "little")


def _link(trace_id: int, span_id: int) -> bytes:
    ids = b"\x0a\x10" + trace_id.to_bytes(16) + b"\x12\x08" + span_id.to_bytes(8)
    return wire.delimited(b"\x6a", ids + _RETRIES_OF + _LINK_FLAGS)


def _status(code: int, message: str) -> bytes:
    return wire.delimited(b"\x7a", wire.text(b"\x12", message) + (b"\x18" + bytes([code]) if code else b""))


def _culprit(record: SpanRecord, error: Exception) -> TypeError:
    layout = record.layout
    for key, encode, value in zip(layout.keys, layout.encoders, record.values, strict=True):
        if value is None:
            continue
        try:
            encode(value)
        except _REFUSALS:
            return TypeError(f"span {layout.name}: attribute {key} cannot hold {value!r}")
    return TypeError(f"span {layout.name}: {error}")
