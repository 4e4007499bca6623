"""The control plane's API server: finite work per second, first come first served, callers that give up and call again.

Work that its caller no longer waits for is done all the same. With calls at random this is M/D/1; with callers that retry
at once it stays overloaded after the load that overloaded it has gone (OpenAI 2024-12-11; Google's restart herd).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.mechanism import Measure
from instrumented_engine.work_queue import WorkQueue


class ApiServer:
    """``api_units_per_s``, ``agent_units`` and ``caller_backoff`` are switches."""

    def __init__(
        self, loop: VirtualLoop, luck: random.Random, *, units_per_s: float, timeout_s: float, agent_units: float, backoff: bool
    ) -> None:
        self.agent_units = agent_units
        self.caller_backoff = backoff
        self.timeout_s = timeout_s
        self.calls: dict[tuple[str, str], int] = {}
        self._loop = loop
        self._luck = luck
        self._work = WorkQueue(loop, units_per_s)

    @property
    def api_units_per_s(self) -> float:
        """Units of work a second."""
        return self._work.units_per_s

    @api_units_per_s.setter
    def api_units_per_s(self, value: float) -> None:
        self._work.units_per_s = value

    async def call(self, caller: str, units: float = 1.0) -> bool:
        """One call; whether an answer came before the time-out. Its work is done in any case."""
        answered = await self._work.do(units, self.timeout_s)
        key = (caller, "ok" if answered else "timeout")
        self.calls[key] = self.calls.get(key, 0) + 1
        return answered

    async def insist(self, caller: str, units: float = 1.0, attempts: int = 1_000_000) -> bool:
        """Call until there is an answer, or ``attempts`` are used up; whether there was one."""
        for attempt in range(attempts):
            if await self.call(caller, units):
                return True
            if self.caller_backoff:
                await self._loop.sleep_ns(round(min(300.0, 2.0 ** min(attempt, 8)) * (0.5 + self._luck.random()) * 1e9))
        return False

    async def agent(self, interval_s: float) -> None:
        """One node's agent: a call every ``interval_s``, from a random moment on."""
        await self._loop.sleep_ns(round(self._luck.random() * interval_s * 1e9))
        while True:
            start_ns = self._loop.now_ns
            await self.insist("agent", self.agent_units)
            await self._loop.sleep_until_ns(start_ns + round(interval_s * 1e9))

    def measures(self) -> Iterable[Measure]:
        """Calls by caller and result, and the wait of a call that comes now."""
        for (caller, result), count in self.calls.items():
            labels = (("caller", caller), ("result", result))
            yield Measure("flashover:api_calls", count, counter=True, labels=labels)
        yield Measure("flashover:api_wait_seconds", self._work.wait_s, "s")
