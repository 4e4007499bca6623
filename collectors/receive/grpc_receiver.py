"""OTLP over gRPC: the three Export methods, with bodies as raw bytes.

Methods are served as streams of requests, which look the same on the wire, as gRPC calls a unary handler only when the whole
message is there: so a missing token is refused before the body, and slow or oversized bodies are seen and counted. gRPC's own
decompression is off, since it has no bound: a compressed body is unpacked as HTTP's are. It starts with gzip's magic number,
which no protobuf does (it would be a field of wire type 7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

import grpc

from collectors.receive.admission import Admission, Prepared
from collectors.receive.bad_request import RPC_CODE, BadRequest, outcome_of
from collectors.receive.bearer import Bearer
from collectors.receive.door import Refused
from collectors.receive.rpc_status import status_protobuf
from collectors.service.own_metrics import Outcome, OwnMetrics
from collectors.sink import Signal

_METHODS: Mapping[str, Signal] = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
}
_GZIP = b"\x1f\x8b"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_IDENTITY_AND_GZIP = 0b101


class Call(Protocol):
    """What is used of a grpc.aio.ServicerContext."""

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF."""

    async def abort(self, code: Any, details: str, trailing_metadata: tuple[tuple[str, bytes], ...]) -> NoReturn:
        """End the call; raises."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None:
        """What the client sent beside the message."""


class GrpcReceiver:
    """A generic handler of the three methods. ``timeout_s``: for a whole request."""

    def __init__(self, admission: Admission, metrics: OwnMetrics, bearer: Bearer, timeout_s: float) -> None:
        self._admission = admission
        self._metrics = metrics
        self._bearer = bearer
        self._timeout_s = timeout_s
        self._held = 0

    def server(self, max_calls: int) -> Any:
        """A grpc.aio.Server of these methods, without a port. ``max_calls``: at one time; more are refused."""
        options = [
            ("grpc.max_receive_message_length", self._admission.bounds.wire),
            ("grpc.per_message_decompression", 0),
            ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_AND_GZIP),
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", int(self._timeout_s * 1000)),
            ("grpc.max_connection_idle_ms", 300_000),
        ]
        return grpc.aio.server(handlers=[self], options=options, maximum_concurrent_rpcs=max_calls)

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, as gRPC asks for it; None for one that is not here."""
        signal = _METHODS.get(handler_call_details.method)
        if signal is None:
            self._metrics.received("grpc", None, "unsupported", 0, 0.0)
            return None

        async def export(requests: Any, context: Call) -> bytes:
            return await self._export(signal, context)

        return grpc.stream_unary_rpc_method_handler(export)

    async def _export(self, signal: Signal, context: Call) -> bytes:
        """Take one body, or say why not; count it, whatever happens."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome: Outcome = "error"
        failure: str | None = None
        retry_after_s = None
        sent = b""
        try:
            self._bearer.check(_metadata(context).get("authorization", ""))
            sent = await self._read(context)
            outcome = await self._admission.admit(signal, await self._prepared(signal, sent))
        except BadRequest as bad:
            outcome, failure = bad.outcome, str(bad)
        except Refused as refused:
            outcome, failure, retry_after_s = outcome_of(refused), str(refused), refused.retry_after_s
        except asyncio.CancelledError:
            outcome = "timed_out"
            raise
        finally:
            self._metrics.received("grpc", signal, outcome, len(sent), loop.time() - began)
        if failure is not None:
            code = RPC_CODE[outcome]
            status = status_protobuf(code, failure, retry_after_s)
            await context.abort(_CODES[code], failure, (("grpc-status-details-bin", status),))
        return b""

    async def _prepared(self, signal: Signal, sent: bytes) -> Prepared:
        """The body, ready to be admitted, unless too many others wait for the same. Raises BadRequest, Refused."""
        self._held += len(sent)
        try:
            if self._held > self._admission.bounds.held:
                raise Refused("queue_full", 1, "too many bodies are being received; come back")
            return await self._admission.prepare(signal, sent, "gzip" if sent.startswith(_GZIP) else "identity", json=False)
        finally:
            self._held -= len(sent)

    async def _read(self, context: Call) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                sent: Any = await context.read()
        except TimeoutError:
            raise BadRequest("timed_out", "the request was not there in time") from None
        if isinstance(sent, bytes):
            return sent
        raise BadRequest("too_large", f"no message came, or one of more than {self._admission.bounds.wire} bytes")


def _metadata(context: Call) -> Mapping[str, str]:
    return {key: value if isinstance(value, str) else value.decode("latin-1")
            for key, value in context.invocation_metadata() or ()}

