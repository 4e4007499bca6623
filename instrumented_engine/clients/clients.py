"""Open-loop clients: users arrive when the trace says, whether or not others still wait, and retry as their SDK does.

Defaults are the OpenAI SDK's: two retries, 0.5 s first back-off doubling to 8 s, shortened by up to a quarter at random.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from instrumented_engine.clients.workload import Arrival
from instrumented_engine.clock import VirtualLoop
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.routing.door import Outcome
from instrumented_engine.scenario import Cohort


class Clients:
    """Everybody who uses the service. ``retries_on``: whether failed attempts are tried again at all."""

    def __init__(
        self, loop: VirtualLoop, cohorts: Sequence[Cohort], send: Callable[[Attempt], Awaitable[Outcome]], seed: int
    ) -> None:
        self.retries_on = True
        self._loop = loop
        self._cohorts = cohorts
        self._send = send
        self._seed = seed
        self._ids = random.Random(f"{seed}:ids")
        self._jitter = random.Random(f"{seed}:back-off")
        self._waiting: set[asyncio.Task[None]] = set()

    def cohort_of(self, session: str) -> Cohort:
        """A session always belongs to the same cohort, drawn by the cohorts' shares."""
        luck = random.Random(f"{self._seed}:cohort:{session}").random() * sum(c.share for c in self._cohorts)
        for cohort in self._cohorts:
            luck -= cohort.share
            if luck < 0:
                return cohort
        return self._cohorts[-1]

    async def run(self, arrivals: Sequence[Arrival]) -> None:
        """Let every user arrive at their time; returns when the last one has arrived."""
        for number, arrival in enumerate(arrivals):
            await self._loop.sleep_until_ns(arrival.at_ns)
            task = self._loop.create_task(self._use(arrival, number))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _use(self, arrival: Arrival, number: int) -> None:
        """One user's request: attempts until one is answered or patience ends."""
        cohort = self.cohort_of(arrival.session)
        trace_id = self._ids.getrandbits(127) | 1
        previous: int | None = None
        for attempt_number in range(1, cohort.max_retries + 2):
            span_id = self._ids.getrandbits(63) | 1
            attempt = Attempt(arrival, cohort, f"req-{number:06d}", attempt_number, trace_id, span_id, previous)
            if await self._send(attempt) == "ok" or not self.retries_on:
                return
            previous = span_id
            pause = min(cohort.backoff_initial_s * 2 ** (attempt_number - 1), cohort.backoff_max_s)
            await self._loop.sleep_ns(round(pause * (1 - 0.25 * self._jitter.random()) * 1e9))
