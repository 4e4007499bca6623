"""Places at a decode replica: taken before prefill begins, held while KV is computed and on its way.

A place that is held takes no KV memory yet, so a replica whose places are all held by requests that no longer exist looks
idle: KV usage near zero, one request running, and nothing gets in (sglang#28651, #31800).
"""

from __future__ import annotations

import asyncio
from collections import deque

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.replica.engine import Engine


class DecodeSlots:
    """``held`` places wait for KV; together with what runs they are at most the replica's ``max_running``."""

    def __init__(self, loop: VirtualLoop, engine: Engine) -> None:
        self.engine = engine
        self.held = 0
        self._loop = loop
        self._queue: deque[asyncio.Future[bool]] = deque()

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return len(self._queue)

    @property
    def load(self) -> int:
        """Places taken and asked for: what the decode balancer goes by."""
        return self.held + len(self.engine.scheduler.running) + len(self._queue)

    def _free(self) -> bool:
        return self.held + len(self.engine.scheduler.running) < self.engine.scheduler.max_running

    async def take(self, timeout_s: float) -> bool:
        """Hold a place; False when none came free within ``timeout_s``."""
        if not self._queue and self._free():
            self._hold(1)
            return True
        waiting: asyncio.Future[bool] = self._loop.create_future()
        self._queue.append(waiting)
        timer = self._loop.call_at_ns(self._loop.now_ns + round(timeout_s * 1e9), self._give_up, waiting)
        taken = await waiting
        timer.cancel()
        return taken

    def _give_up(self, waiting: asyncio.Future[bool]) -> None:
        if not waiting.done():
            self._queue.remove(waiting)
            waiting.set_result(False)

    def release(self) -> None:
        """A held place is free again, or runs now."""
        self._hold(-1)
        self.let_in()

    def let_in(self) -> None:
        """Give free places to those who wait longest; called as well when something stopped running."""
        while self._queue and self._free():
            self._hold(1)
            self._queue.popleft().set_result(True)

    def _hold(self, count: int) -> None:
        self.held += count
        self.engine.deferred = self.held
