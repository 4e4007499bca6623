"""The virtual clock: an asyncio event loop that jumps to its next timer instead of waiting for it.

Everything in the cluster is plain asyncio and asks this loop for the time, so one run is the same whatever else the
machine does. Nothing in the loop may touch threads, sockets or wall time. Time is kept as an integer number of
nanoseconds; asyncio's own float seconds are derived from it and never added up.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _NoFiles(selectors.SelectSelector):
    """A selector with nothing to select: instead of blocking it tells the loop that time may jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("nothing is ready, no timer is set, and the run is not over")
        if timeout > 0:
            self._loop.jump()
        return []


class Stalled(RuntimeError):
    """Every task waits for something that can never happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps. ``now_ns`` is nanoseconds since the loop's own zero."""

    def __init__(self) -> None:
        self.now_ns = 0
        super().__init__(_NoFiles(self))
        # asyncio runs timers up to one clock resolution early; ours is finer than the nanosecond that we count in.
        self._clock_resolution = 2e-10

    def time(self) -> float:
        return self.now_ns / 1e9

    def jump(self) -> None:
        """Go to the next timer. Its float seconds came from whole nanoseconds, so rounding gives those back."""
        self.now_ns = max(self.now_ns, round(self._scheduled[0].when() * 1e9))  # type: ignore[attr-defined]

    def call_at_ns(self, at_ns: int, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
        """Call ``callback`` at ``at_ns`` exactly."""
        return self.call_at(at_ns / 1e9, callback, *arguments)

    async def sleep_until_ns(self, at_ns: int) -> None:
        """Return at ``at_ns`` exactly, or at once when that has passed."""
        if at_ns <= self.now_ns:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = self.create_future()
        self.call_at_ns(at_ns, _wake, future)
        await future

    async def sleep_ns(self, duration_ns: int) -> None:
        """Sleep ``duration_ns`` of virtual time."""
        await self.sleep_until_ns(self.now_ns + duration_ns)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def run_virtual(main: Coroutine[Any, Any, None], loop: VirtualLoop) -> None:
    """Run ``main`` on ``loop`` to its end, also one by an error; cancel what is left, close the loop."""
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
