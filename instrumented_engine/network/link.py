"""A link between two places: propagation latency, a bandwidth that transfers share fairly, loss.

Transfers in progress share the bandwidth equally (processor sharing, what many TCP or RDMA flows come to; the same rule
as in BLIS's fair-share transfers): a transfer ends when the bytes given to each since it began reach its size. Loss: a
transfer of n packets sends n / (1 - loss) of them; a lost last packet, that no later one gives away, costs a time-out.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Iterable

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.mechanism import Measure, Switch

RETRANSMIT_S = 0.2
"""Linux TCP's least retransmission time-out."""

SWITCHES = (
    Switch("link", "latency_ms", high=60_000), Switch("link", "bandwidth_gbps", low=1e-6, high=100_000),
    Switch("link", "loss", high=0.99), Switch("link", "up", flag=True),
)


class LinkDown(ConnectionError):
    """The link carries nothing now."""


class Link:
    """``latency_ms`` one way, ``bandwidth_gbps`` in Gbit/s, ``loss`` the share of packets lost, ``up`` whether it carries
    anything. All four may change at any time; a transfer under way goes on with the new values."""

    def __init__(
        self, entity: str, loop: VirtualLoop, luck: random.Random, *, latency_ms: float, bandwidth_gbps: float, loss: float
    ) -> None:
        self.entity = entity
        self.latency_ms = latency_ms
        self.loss = loss
        self.sent_bytes = 0
        self.transfers = self.failures = 0
        self._bandwidth_gbps = bandwidth_gbps
        self._up = True
        self._loop = loop
        self._luck = luck
        self._given = 0.0
        self._since_ns = 0
        self._under_way: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def bandwidth_gbps(self) -> float:
        """Gbit/s that all transfers share."""
        return self._bandwidth_gbps

    @bandwidth_gbps.setter
    def bandwidth_gbps(self, value: float) -> None:
        self._advance()
        self._bandwidth_gbps = value
        self._plan()

    @property
    def up(self) -> bool:
        """Whether the link carries anything."""
        return self._up

    @up.setter
    def up(self, value: bool) -> None:
        self._advance()
        self._up = value
        if not value:
            for _, _, done in self._under_way:
                if not done.done():
                    done.set_exception(LinkDown(self.entity))
            self._under_way.clear()
        self._plan()

    @property
    def active(self) -> int:
        """Transfers under way."""
        return len(self._under_way)

    async def cross(self) -> None:
        """One small message to the other end. Raises LinkDown."""
        await self.transfer(0)

    async def transfer(self, size_bytes: int) -> None:
        """``size_bytes`` to the other end. Raises LinkDown, at once or when the link goes down meanwhile."""
        if not self._up:
            self.failures += 1
            raise LinkDown(self.entity)
        delay_s = self.latency_ms / 1e3
        while self.loss > 0 and self._luck.random() < self.loss:
            delay_s += RETRANSMIT_S
        if size_bytes:
            self._advance()
            done: asyncio.Future[None] = self._loop.create_future()
            self._numbers += 1
            heapq.heappush(self._under_way, (self._given + size_bytes / max(1e-9, 1 - self.loss), self._numbers, done))
            self._plan()
            try:
                await done
            except LinkDown:
                self.failures += 1
                raise
            except asyncio.CancelledError:
                self._advance()
                self._under_way = [entry for entry in self._under_way if entry[2] is not done]
                heapq.heapify(self._under_way)
                self._plan()
                raise
        await self._loop.sleep_ns(round(delay_s * 1e9))
        self.transfers += 1
        self.sent_bytes += size_bytes

    def measures(self) -> Iterable[Measure]:
        """Bytes and transfers so far, and those under way."""
        yield Measure("flashover:link_sent_bytes", self.sent_bytes, "By", counter=True)
        yield Measure("flashover:link_transfers", self.transfers, counter=True)
        yield Measure("flashover:link_failures", self.failures, counter=True)
        yield Measure("flashover:link_active_transfers", self.active)

    def _advance(self) -> None:
        """Account for the bytes given to each transfer since the last change."""
        now_ns = self._loop.now_ns
        if self._under_way and self._up:
            each = self._bandwidth_gbps / 8 / len(self._under_way)
            self._given += each * (now_ns - self._since_ns)
        self._since_ns = now_ns

    def _plan(self) -> None:
        """Set the timer to when the next transfer ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._under_way or not self._up or self._bandwidth_gbps <= 0:
            return
        left = max(0.1, self._under_way[0][0] - self._given)
        wait_ns = math.ceil(left * 8 * len(self._under_way) / self._bandwidth_gbps)
        self._timer = self._loop.call_at_ns(self._loop.now_ns + wait_ns, self._finish)

    def _finish(self) -> None:
        self._timer = None
        self._advance()
        while self._under_way and self._under_way[0][0] <= self._given + 0.5:
            _, _, done = heapq.heappop(self._under_way)
            if not done.done():
                done.set_result(None)
        self._plan()
