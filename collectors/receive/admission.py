"""What a body goes through between the wire and the journal: unpacked, checked, made binary, admitted."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from collectors.receive.bad_request import BadRequest
from collectors.receive.door import Door
from collectors.receive.otlp_json import to_protobuf
from collectors.receive.unpacking import is_one_frame, unpack
from collectors.receive.well_formed import check_protobuf
from collectors.service.own_metrics import Outcome
from collectors.sink import Signal

INLINE_BYTES = 512 << 10
"""Plain bytes up to which a body is prepared where it arrives, a millisecond's work: a thread costs more than it frees."""
_JSON_WORK = 32
"""A byte of JSON is as much work as so many of protobuf."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``wire``: bytes of one body as sent. ``plain``: of one unpacked; of JSON, which takes many times its size in memory, no
    more than ``wire`` unpacked. ``held``: of all bodies that are being received over HTTP, beyond which senders must wait, and
    of all that came over gRPC and are being prepared; what a connection gathers before it tells is not counted."""

    wire: int
    plain: int
    held: int


class Prepared(NamedTuple):
    """A body in protobuf's binary form, and the same as one zstd frame if it came as one; else ``packed`` is empty."""

    plain: bytes
    packed: bytes = b""


class Admission:
    """Prepares bodies and hands them to the door; large ones in a thread, so that small ones and /health need not wait."""

    def __init__(self, door: Door, bounds: Bounds) -> None:
        self.bounds = bounds
        self._door = door
        self._threads = ThreadPoolExecutor(1, "admission")

    async def prepare(self, signal: Signal, sent: bytes, encoding: str, *, json: bool) -> Prepared:
        """The body as the door takes it. Raises BadRequest."""
        small = INLINE_BYTES // _JSON_WORK if json else INLINE_BYTES
        limit = min(self.bounds.wire, self.bounds.plain) if json else self.bounds.plain
        try:
            plain = unpack(sent, encoding, min(small, limit))
        except BadRequest as bad:
            if bad.outcome != "too_large":
                raise
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._threads, lambda: _prepared(signal, sent, encoding, unpack(sent, encoding, limit), json))
        return _prepared(signal, sent, encoding, plain, json)

    async def admit(self, signal: Signal, body: Prepared) -> Outcome:
        """``ok`` when the body is durable, ``duplicate`` when it was before. Raises Refused. Nothing is nothing to keep."""
        return "ok" if not body.plain or await self._door.admit(signal, *body) else "duplicate"

    def close(self) -> None:
        """Give the thread back, after what it does now."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _prepared(signal: Signal, sent: bytes, encoding: str, plain: bytes, json: bool) -> Prepared:
    if json:
        return Prepared(to_protobuf(signal, plain))
    check_protobuf(signal, plain)
    return Prepared(plain, sent if encoding == "zstd" and is_one_frame(sent, plain) else b"")
