"""The one way in for bodies that come over a network: admitted means durable."""

from __future__ import annotations

from typing import Protocol

from collectors.sink import Signal


class Refused(Exception):
    """The body was not kept, through no fault of its sender, who may try again after ``retry_after_s`` seconds.

    ``reason`` is one of ``queue_full`` (too many bodies wait for the disk), ``journal_full`` (decoding lags behind),
    ``disk_full``, ``stopping``.
    """

    def __init__(self, reason: str, retry_after_s: int, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Door(Protocol):
    """Takes plain, well-formed Export*ServiceRequest bodies in protobuf's binary form."""

    async def admit(self, signal: Signal, body: bytes, packed: bytes = b"") -> bool:
        """Return when the body is durable; False when the same body was admitted before (a retry), which changes nothing.
        ``packed``: the body as one zstd frame, where the sender has packed it so; it need not be packed again.

        Raises Refused. A caller that is cancelled leaves it open whether the body was kept.
        """
