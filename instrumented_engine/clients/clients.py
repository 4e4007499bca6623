"""Clients: users arrive when their source says, whether or not others still wait, and try again in their manner.

``sdk``: the OpenAI SDK's defaults are two retries, 0.5 s first back-off doubling to 8 s, shortened by up to a quarter at
random. ``refresh``: people press reload when nothing has come, until they are answered or lose interest.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

from instrumented_engine.clients.live_cohort import LiveCohort
from instrumented_engine.clients.workload import Arrival
from instrumented_engine.clock import VirtualLoop
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.routing.door import Outcome
from instrumented_engine.scenario import Cohort

_RELOAD_S = (0.5, 3.0)
"""Seconds from giving an answer up to pressing reload."""


class Clients:
    """Everybody who uses the service. ``retries_on``: whether failed attempts are tried again at all."""

    def __init__(
        self,
        loop: VirtualLoop,
        cohorts: Mapping[str, LiveCohort],
        send: Callable[[Attempt], Awaitable[Outcome]],
        seed: int,
    ) -> None:
        self.retries_on = True
        self.cohorts = cohorts
        self._shared = [cohort.settings for cohort in cohorts.values() if cohort.settings.source == "workload"]
        self._loop = loop
        self._send = send
        self._seed = seed
        self._number = 0
        self._ids = random.Random(f"{seed}:ids")
        self._jitter = random.Random(f"{seed}:back-off")

    def cohort_of(self, session: str) -> Cohort:
        """A session of the common workload always belongs to the same cohort, drawn by the cohorts' shares."""
        if len(self._shared) == 1:
            return self._shared[0]
        luck = random.Random(f"{self._seed}:cohort:{session}").random() * sum(c.share for c in self._shared)
        for cohort in self._shared:
            luck -= cohort.share
            if luck < 0:
                return cohort
        return self._shared[-1]

    async def run(self, arrivals: Iterable[Arrival]) -> None:
        """Let every user of the common workload arrive at their time; returns when the last one has arrived."""
        for arrival in arrivals if self._shared else ():
            await self._loop.sleep_until_ns(arrival.at_ns)
            cohort = self.cohorts[self.cohort_of(arrival.session).name]
            for later_s, request in cohort.requests(arrival):
                self._loop.start(self._after(later_s, cohort, request))

    async def _after(self, later_s: float, cohort: LiveCohort, request: Arrival) -> None:
        if later_s:
            await self._loop.sleep_ns(round(later_s * 1e9))
        await self.use(cohort, request)

    async def use(self, cohort: LiveCohort, arrival: Arrival) -> bool:
        """One user's request: attempts until one is answered or patience ends; whether one was."""
        settings = cohort.settings
        number, self._number = self._number, self._number + 1
        trace_id = self._ids.getrandbits(127) | 1
        previous: int | None = None
        attempt_number = 0
        while True:
            attempt_number += 1
            span_id = self._ids.getrandbits(63) | 1
            attempt = Attempt(arrival, settings, f"req-{number:06d}", attempt_number, trace_id, span_id, previous)
            if await self._send(attempt) == "ok":
                return True
            if not self.retries_on:
                return False
            pause_s = self._pause_s(cohort, attempt_number)
            if not self._again(cohort, attempt_number):
                return False
            cohort.refreshes += cohort.retry == "refresh"
            previous = span_id
            await self._loop.sleep_ns(round(pause_s * 1e9))

    def _again(self, cohort: LiveCohort, attempts: int) -> bool:
        if cohort.retry == "sdk":
            return attempts <= cohort.max_retries
        return self._jitter.random() >= cohort.give_up

    def _pause_s(self, cohort: LiveCohort, attempts: int) -> float:
        if cohort.retry == "refresh":
            return self._jitter.uniform(*_RELOAD_S)
        settings = cohort.settings
        pause = min(settings.backoff_initial_s * 2.0 ** (attempts - 1), settings.backoff_max_s)
        return pause * (1 - 0.25 * self._jitter.random())
