"""The virtual clock: an asyncio event loop that jumps to its next timer instead of waiting for it.

Everything in the cluster is plain asyncio and asks this loop for the time, so one run is the same whatever else the
machine does. Nothing in the loop may touch threads, sockets or wall time. Time is kept as an integer number of
nanoseconds, timers of one instant fire in the order in which they were set.

The loop keeps timers of its own instead of asyncio's: those order by float seconds, compare in Python, and copy a
context each, which together was a sixth of a run. A task that sleeps awaits its timer itself, and goes on when that fires:
a future in between would cost two more turns of the loop.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

_SWEEP = 1_000
"""So many cancelled timers at least are swept out together, once they are half of all."""


class Stalled(RuntimeError):
    """Every task waits for something that can never happen."""


class Timer(asyncio.TimerHandle):
    """A callback that is due at ``due_ns``."""

    __slots__ = ("due_ns",)

    def __init__(self, loop: VirtualLoop, due_ns: int, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        # Not asyncio's own set-up, which copies the context; nothing here reads one.
        self._loop = loop
        self.due_ns = due_ns
        self._callback = callback
        self._args = arguments
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Timer due at {self.due_ns} ns>"

    def when(self) -> float:
        """Due time in seconds of the loop's clock."""
        return self.due_ns / 1e9

    def cancel(self) -> None:
        """Never call it."""
        if not self._cancelled:
            self._cancelled = True
            self._loop.cancelled += 1

    def _run(self) -> None:
        self._callback(*self._args)


class _Nap(Timer):
    """A timer that a task awaits, by asyncio's protocol for futures of other makes (``_asyncio_future_blocking``)."""

    __slots__ = ("_asyncio_future_blocking", "_wake")

    def __init__(self, loop: VirtualLoop, due_ns: int) -> None:
        self._loop = loop
        self.due_ns = due_ns
        self._cancelled = False
        self._asyncio_future_blocking = False
        self._wake: Callable[[_Nap], object] | None = None

    def __await__(self) -> Generator[_Nap, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> VirtualLoop:
        """Whose time it is about."""
        return self._loop

    def add_done_callback(self, wake: Callable[[_Nap], object], *, context: object = None) -> None:
        """Whom to wake; the task that awaits."""
        self._wake = wake

    def result(self) -> None:
        """Raises CancelledError when it was cut short."""
        if self._cancelled:
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:  # type: ignore[override]
        """Wake the task at once, with an error."""
        if self._cancelled or self._wake is None:
            return False
        super().cancel()
        self._loop.call_soon(self._wake, self)
        return True

    def _run(self) -> None:
        if self._wake is not None:
            self._wake(self)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps. ``now_ns`` is nanoseconds since the loop's own zero."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.cancelled = 0
        self._timers: list[tuple[int, int, Timer]] = []
        self._set = 0
        self._started: set[asyncio.Task[None]] = set()
        super().__init__(selectors.SelectSelector())

    def time(self) -> float:
        return self.now_ns / 1e9

    def call_at_ns(self, at_ns: int, callback: Callable[..., object], *arguments: object) -> Timer:
        """Call ``callback`` at ``at_ns`` exactly, or at once when that has passed. An error in it ends the run."""
        timer = Timer(self, at_ns, callback, arguments)
        self._add(timer)
        return timer

    def _add(self, timer: Timer) -> None:
        self._set += 1
        heapq.heappush(self._timers, (timer.due_ns, self._set, timer))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *arguments: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """asyncio's own timers (``asyncio.timeout``) are ours."""
        return self.call_at_ns(round(when * 1e9), callback, *arguments)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let ``work`` run by itself. An error in it ends the run."""
        task = self.create_task(work)
        self._started.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._started.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.call_at_ns(self.now_ns, _raise, error)

    def sleep_until_ns(self, at_ns: int) -> Awaitable[None]:
        """Return at ``at_ns`` exactly, or at once when that has passed. To be awaited by a task, where it is called."""
        if at_ns <= self.now_ns:
            return asyncio.sleep(0)
        nap = _Nap(self, at_ns)
        self._add(nap)
        return nap

    def sleep_ns(self, duration_ns: int) -> Awaitable[None]:
        """Sleep ``duration_ns`` of virtual time."""
        return self.sleep_until_ns(self.now_ns + duration_ns)

    def _run_once(self) -> None:
        """One turn of the loop (overrides asyncio's): what is ready, or the next timers. Raises Stalled without either."""
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        if not ready:
            self._jump()
        now_ns = self.now_ns
        while timers and timers[0][0] <= now_ns:
            timer = heapq.heappop(timers)[2]
            if timer._cancelled:
                self.cancelled -= 1
            else:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _jump(self) -> None:
        """Go to the next timer."""
        timers = self._timers
        if self.cancelled > _SWEEP and self.cancelled * 2 > len(timers):
            timers[:] = [entry for entry in timers if not entry[2]._cancelled]
            heapq.heapify(timers)
            self.cancelled = 0
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self.cancelled -= 1
        if not timers:
            raise Stalled("nothing is ready, no timer is set, and the run is not over")
        self.now_ns = max(self.now_ns, timers[0][0])


def _raise(error: BaseException) -> None:
    raise error


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
