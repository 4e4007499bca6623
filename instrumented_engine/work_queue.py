"""A server with finite work per second, first come first served: how long what comes now will wait.

With arrivals at random and equal work this is M/D/1. The backlog is kept as one number, so a call costs the same however long
the queue is; work that its caller no longer waits for is done all the same.
"""

from __future__ import annotations

from instrumented_engine.clock import VirtualLoop


class WorkQueue:
    """``units_per_s`` may change at any time; what waits is done at the new rate."""

    def __init__(self, loop: VirtualLoop, units_per_s: float) -> None:
        self._units_per_s = units_per_s
        self._loop = loop
        self._backlog = 0.0
        self._since_ns = 0

    @property
    def units_per_s(self) -> float:
        """Units of work a second."""
        return self._units_per_s

    @units_per_s.setter
    def units_per_s(self, value: float) -> None:
        self._advance()
        self._units_per_s = value

    def _advance(self) -> None:
        now_ns = self._loop.now_ns
        self._backlog = max(0.0, self._backlog - self._units_per_s * (now_ns - self._since_ns) / 1e9)
        self._since_ns = now_ns

    @property
    def wait_s(self) -> float:
        """How long work that comes now waits."""
        self._advance()
        return self._backlog / self._units_per_s

    async def do(self, units: float, timeout_s: float) -> bool:
        """Queue ``units`` of work; True when it is done, False when ``timeout_s`` is over before."""
        wait_s = self.wait_s
        self._backlog += units
        took_s = wait_s + units / self._units_per_s
        await self._loop.sleep_ns(round(min(took_s, timeout_s) * 1e9))
        return took_s <= timeout_s
