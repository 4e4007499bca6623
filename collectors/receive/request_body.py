"""The body of one HTTP request: read once, within a size, a deadline and what all requests together may hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from collectors.receive.bad_request import BadRequest
from collectors.receive.http_connection import DEADLINE

LINGER_S = 2.0
"""Seconds for which the rest of a refused request is thrown away."""


class Gone(Exception):
    """The client left before its request was whole."""


class RequestBody:
    """``size``: bytes read so far. ``whole``: nothing is left to read. ``timeout_s`` counts from now, unless the connection
    knows when the request began."""

    def __init__(self, scope: Scope, headers: Headers, receive: Receive, timeout_s: float) -> None:
        self.size = 0
        self.whole = "content-length" not in headers and "transfer-encoding" not in headers
        self._length = headers.get("content-length", "0")
        self._receive = receive
        self._deadline = scope.get("state", {}).get(DEADLINE, asyncio.get_running_loop().time() + timeout_s)

    async def read(self, limit: int, hold: Callable[[int], None]) -> bytes:
        """All of it. ``hold`` is told of the bytes of each piece. Raises BadRequest, Gone and what ``hold`` raises."""
        if not self._length.isdecimal():
            raise BadRequest("malformed", "Content-Length must be a whole number")
        if int(self._length) > limit:
            raise BadRequest("too_large", f"the body is larger than {limit} bytes")
        pieces = []
        try:
            async with asyncio.timeout_at(self._deadline):
                while not self.whole:
                    piece = await self._next()
                    hold(len(piece))
                    if self.size > limit:
                        raise BadRequest("too_large", f"the body is larger than {limit} bytes")
                    pieces.append(piece)
        except TimeoutError:
            raise BadRequest("timed_out", "the request was not there in time") from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def throw_away(self, limit: int) -> None:
        """Read what is left, for a short while and at most about ``limit`` bytes, so that the client gets to read an answer."""
        read = self.size
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.whole and self.size - read <= limit:
                    await self._next()
        except (TimeoutError, Gone):
            return

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        self.whole = not message.get("more_body", False)
        return piece
