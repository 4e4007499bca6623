"""Whether a body is what its signal's message says, in protobuf's binary form: the official parser reads it once.

An empty span of two bytes takes 170 in the parser's memory, so a large body is read in pieces of about a megabyte, each of
which is forgotten before the next, and may not hold more records than a batch of telemetry ever does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.receive.bad_request import BadRequest
from collectors.sink import Signal

REQUESTS: Mapping[Signal, type[Message]] = {
    "traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest,
}  # fmt: skip
MAX_DEPTH = 100
"""Messages inside each other that protobuf reads."""
PIECE_BYTES = 1 << 20
MOST_RECORDS = 1 << 20
MOST_BLOCKS = 1 << 16
"""Spans, metrics or log records, and blocks of a resource or scope, of one body that is larger than a piece."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_RECORDS = frozenset({"spans", "metrics", "log_records"})
_BLOCKS = frozenset({"resource_spans", "resource_metrics", "resource_logs", "scope_spans", "scope_metrics", "scope_logs"})


def check_protobuf(signal: Signal, body: bytes, piece_bytes: int = PIECE_BYTES) -> None:
    """Raises BadRequest: ``malformed`` when ``body`` is no Export*ServiceRequest (cut, of wrong types, text that is no UTF-8,
    nested deeper than protobuf reads, which is 100 messages), ``too_large`` beyond MOST_RECORDS or MOST_BLOCKS."""
    request = REQUESTS[signal]
    try:
        if len(body) <= piece_bytes:
            request.FromString(body)
        else:
            _Pieces(piece_bytes).check(request.DESCRIPTOR, memoryview(body))
    except (DecodeError, IndexError):
        name = request.DESCRIPTOR.name
        raise BadRequest("malformed", f"the body is no {name}: cut, damaged, too deep, or text that is no UTF-8") from None


class _Pieces:
    """Reads a message as runs of its fields, each run a message of its own; a field larger than a piece is read likewise."""

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._fields = 0
        self._records = 0
        self._blocks = 0

    def check(self, kind: Descriptor, content: memoryview, depth: int = MAX_DEPTH) -> None:
        """``depth``: messages that may be inside each other. Raises DecodeError, IndexError, BadRequest (``too_large``)."""
        if not depth:
            raise DecodeError
        begin = at = 0
        while at < len(content):
            key, inside = _varint(content, at)
            end, inside = _field_end(content, key & 7, inside)
            self._fields += 1
            if end - inside > self._piece_bytes and (inner := _message_of(kind, key)) is not None:
                self._read(kind, content[begin:at])
                self.check(inner, content[inside:end], depth - 1)
                begin = end
            elif end - begin > self._piece_bytes:
                self._read(kind, content[begin:end])
                begin = end
            at = end
        self._read(kind, content[begin:])

    def _read(self, kind: Descriptor, run: memoryview) -> None:
        self._count(GetMessageClass(kind).FromString(bytes(run)))

    def _count(self, message: Any) -> None:
        """Count what a request, or a block of one, holds."""
        self._blocks += 1
        for field, value in message.ListFields():
            if field.name in _RECORDS:
                self._records += len(value)
            elif field.name in _BLOCKS:
                if self._blocks + len(value) > MOST_BLOCKS:
                    raise BadRequest("too_large", f"the body holds more than {MOST_BLOCKS} blocks of a resource or scope")
                for block in value:
                    self._count(block)
        if max(self._records, self._fields) > MOST_RECORDS:
            raise BadRequest("too_large", f"the body holds more than {MOST_RECORDS} records")


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at`` and where it ends. IndexError, DecodeError: there is none."""
    number = shift = 0
    while (byte := content[at]) > 0x7F:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise DecodeError
    return number | byte << shift, at + 1


def _field_end(content: memoryview, wire_type: int, at: int) -> tuple[int, int]:
    """Where a field whose key ends at ``at`` ends, and where its content begins."""
    if wire_type == _LENGTH:
        size, at = _varint(content, at)
        end = at + size
    elif wire_type == _VARINT:
        end = _varint(content, at)[1]
    elif wire_type in (_FIXED32, _FIXED64):
        end = at + (4 if wire_type == _FIXED32 else 8)
    else:
        raise DecodeError
    if end > len(content):
        raise DecodeError
    return end, at


def _message_of(kind: Descriptor, key: int) -> Descriptor | None:
    field = kind.fields_by_number.get(key >> 3)
    return field.message_type if field is not None and key & 7 == _LENGTH else None
