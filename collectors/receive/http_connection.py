"""One HTTP connection that cannot be held for nothing: uvicorn's, with the bounds that it leaves to a proxy.

A request's head must be there within the time that the whole request has; its size is bounded, and so is the number of
connections; a client that does not read its answers is cut off. What the parser refuses is answered with google.rpc.Status.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from collectors.receive.bad_request import RPC_CODE
from collectors.receive.rpc_status import status_json
from collectors.service.own_metrics import Outcome, OwnMetrics

HEAD_BYTES = 64 << 10
"""Bytes of a request's line and headers, or of whatever else comes without being a body."""
PIECE_BYTES = 256 << 10
"""Bytes of a body that are gathered before the application is woken: most bodies wake it once."""
DEADLINE = "deadline"
"""Key of a scope's state: the loop's time by which the whole request must be there."""
REFUSED = "refused"
"""Key of a scope's state: the outcome of a request whose body turned out to be no HTTP."""


class HttpConnection(HttpToolsProtocol):
    """``timeout_s``: from a request's first byte to its last. ``max_connections``: at one time, this one counted."""

    def __init__(self, config: Config, state: ServerState, metrics: OwnMetrics, timeout_s: float, max_connections: int) -> None:
        super().__init__(config, state, {})
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._max_connections = max_connections
        self._patience: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self._max_connections:
            self._refuse(503, "queue_full", "too many connections; come back", retry_after_s=1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(400, "malformed", "this is no HTTP/1.1 request")
            return
        if self._head_bytes > HEAD_BYTES:
            self._refuse(431, "too_large", f"a request's head may have {HEAD_BYTES} bytes")
        elif not self._in_request() and self._patience is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self._patience is None:
            self._began = self.loop.time()
        self._stop_waiting()
        self._head_bytes = 0
        self.scope["state"][DEADLINE] = self._began + self._timeout_s
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > PIECE_BYTES:
                self.flow.pause_reading()
                self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._head_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_waiting()
        self._patience = self.loop.call_later(self._timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_waiting()
        super().resume_writing()

    def _parse(self, data: bytes) -> None:
        """Feed the parser. It stops at a request that offers another protocol, and takes its body for that protocol's bytes:
        such a request is read again without the offer, as if it had made none."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                method = self.parser.get_method()
                if method == b"CONNECT":
                    raise httptools.HttpParserError("CONNECT") from None
                self.parser = httptools.HttpRequestParser(self)
                kept = [b"%s: %s\r\n" % header for header in self.headers if header[0] not in (b"connection", b"upgrade")]
                data = b"".join((method, b" ", self.url, b" HTTP/1.1\r\n", *kept, b"\r\n", data[offer.args[0] :]))
            else:
                return

    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._began = self.loop.time()
        self._patience = self.loop.call_later(self._timeout_s, self._out_of_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _out_of_patience(self) -> None:
        if self._head_bytes:
            self._refuse(408, "timed_out", f"the request's head was not there within {self._timeout_s:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, outcome: Outcome, message: str, retry_after_s: int | None = None) -> None:
        """Answer without the application, and close. The application counts a request that it has; this one the others."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self._in_request():
            self.cycle.scope["state"][REFUSED] = outcome
        else:
            self._metrics.received("http", None, outcome, self._head_bytes, self.loop.time() - self._began)
        if not self._in_request() or not self.cycle.response_started:
            body = status_json(RPC_CODE[outcome], message)
            head = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(body)}\r\nconnection: close\r\n")
            retry = "" if retry_after_s is None else f"retry-after: {retry_after_s}\r\n"
            self.transport.write(f"{head}{retry}\r\n".encode() + body)
        self.transport.close()
