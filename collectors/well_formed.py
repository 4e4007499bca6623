"""Whether a body is what its signal's message says, in protobuf's binary form: the official parser reads it once."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.bad_request import BadRequest
from collectors.sink import Signal

REQUESTS: Mapping[Signal, type[Message]] = {
    "traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest,
}  # fmt: skip


def check_protobuf(signal: Signal, body: bytes) -> None:
    """Raises BadRequest (``malformed``) when ``body`` is no Export*ServiceRequest: cut, of wrong types, text that is no UTF-8,
    or nested deeper than protobuf reads (100)."""
    request = REQUESTS[signal]
    try:
        request.FromString(body)
    except DecodeError:
        name = request.DESCRIPTOR.name
        raise BadRequest("malformed", f"the body is no {name}: cut, damaged, too deep, or text that is no UTF-8") from None
