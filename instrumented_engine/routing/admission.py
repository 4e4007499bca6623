"""Who may go on to a replica now, who waits in the gateway, in which order, and who is turned away and why.

Without ``max_concurrency`` nobody waits here. With it and no other limit it is DeepSeek's early design: any number of
connections kept open, closed after half an hour. Adaptive LIFO and queue-time shedding are from "Fail at Scale"
(Maurer, ACM Queue 13(8), 2015).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from instrumented_engine.clock import Timer, VirtualLoop
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.routing.tier_limits import TierLimit
from instrumented_engine.scenario import Gateway as Policy

Verdict = Literal["admitted", "rate_limit", "tier_quota", "queue_full", "queue_time", "deadline", "hold_expired", "left"]
"""``left``: the client gave up while it waited here."""


@dataclass(slots=True, eq=False)
class _Waiting:
    attempt: Attempt
    since_ns: int
    deadline_ns: int
    verdict: asyncio.Future[Verdict]
    timer: Timer | None = None
    dead: bool = False


class Admission:
    """Attributes ``max_concurrency`` to ``drop_left`` are switches. ``tiers`` are looked at by tier name.
    ``on_dead`` is called when the turn of an attempt comes whose client has left."""

    def __init__(self, loop: VirtualLoop, policy: Policy, tiers: dict[str, TierLimit]) -> None:
        no_limit = float("inf")
        self.shed_queue_s = no_limit if policy.shed_queue_s is None else policy.shed_queue_s
        self.max_queue = no_limit if policy.max_queue is None else policy.max_queue
        self.order: str = policy.order
        self.drop_left = policy.drop_left
        self.inside = 0
        self.verdicts: dict[tuple[str, str], int] = {}
        self._max_concurrency = no_limit if policy.max_concurrency is None else policy.max_concurrency
        self._policy = policy
        self.tiers = tiers
        self._loop = loop
        self._queue: deque[_Waiting] = deque()
        self.on_dead: Callable[[Attempt], None] = lambda attempt: None

    @property
    def max_concurrency(self) -> float:
        """How many attempts may be at the replicas at one time."""
        return self._max_concurrency

    @max_concurrency.setter
    def max_concurrency(self, value: float) -> None:
        self._max_concurrency = value
        self._let_in()

    @property
    def queued(self) -> int:
        """Attempts that wait here, the dead included."""
        return len(self._queue)

    @property
    def oldest_s(self) -> float:
        """How long the attempt at the head has waited."""
        return (self._loop.now_ns - self._queue[0].since_ns) / 1e9 if self._queue else 0.0

    async def enter(self, attempt: Attempt, deadline_ns: int) -> Verdict:
        """Wait for a place; after ``admitted`` call ``leave`` once. ``deadline_ns``: when the client gives up."""
        tier = self.tiers.get(attempt.cohort.tier)
        if tier is not None and (refusal := tier.take()) is not None:
            return self._counted(attempt, refusal)
        verdict = await self._place(attempt, deadline_ns)
        if verdict != "admitted" and tier is not None:
            tier.leave()
        return self._counted(attempt, verdict)

    async def _place(self, attempt: Attempt, deadline_ns: int) -> Verdict:
        if self.inside < self._max_concurrency and not self._queue:
            self.inside += 1
            return "admitted"
        if len(self._queue) >= self.max_queue:
            return "queue_full"
        waiting = _Waiting(attempt, self._loop.now_ns, deadline_ns, self._loop.create_future())
        self._queue.append(waiting)
        self._arm(waiting)
        return await waiting.verdict

    def leave(self, attempt: Attempt) -> None:
        """An admitted attempt is over."""
        tier = self.tiers.get(attempt.cohort.tier)
        if tier is not None:
            tier.leave()
        self.leave_dead()

    def leave_dead(self) -> None:
        """A place is free again; whoever had it has left its tier before."""
        self.inside -= 1
        self._let_in()

    def _arm(self, waiting: _Waiting) -> None:
        """End the wait at the first of: the client's patience, the queue's limit, the connection's limit."""
        ends: list[tuple[float, Verdict]] = [
            (waiting.since_ns + self._policy.hold_s * 1e9, "hold_expired"),
            (waiting.since_ns + self.shed_queue_s * 1e9, "queue_time"),
            (waiting.deadline_ns, "left"),
        ]
        at_ns, verdict = min(ends, key=lambda end: end[0])
        waiting.timer = self._loop.call_at_ns(round(at_ns), self._end, waiting, verdict)

    def _end(self, waiting: _Waiting, verdict: Verdict) -> None:
        if waiting.verdict.done():
            return
        waiting.verdict.set_result(verdict)
        if verdict == "left" and not self.drop_left:
            waiting.dead = True
        else:
            self._queue.remove(waiting)

    def _let_in(self) -> None:
        while self._queue and self.inside < self._max_concurrency:
            waiting = self._next()
            if waiting.dead:
                self.on_dead(waiting.attempt)
                continue
            if waiting.timer is not None:
                waiting.timer.cancel()
            late = self.order == "deadline" and self._too_late(waiting)
            if not late:
                self.inside += 1
            waiting.verdict.set_result("deadline" if late else "admitted")

    def _too_late(self, waiting: _Waiting) -> bool:
        return self._loop.now_ns + self._policy.deadline_slack_s * 1e9 > waiting.deadline_ns

    def _next(self) -> _Waiting:
        if self.order == "lifo_under_load" and self.oldest_s > self._policy.lifo_after_s:
            return self._queue.pop()
        if self.order == "deadline":
            first = min(self._queue, key=lambda waiting: waiting.deadline_ns)
            self._queue.remove(first)
            return first
        return self._queue.popleft()

    def _counted(self, attempt: Attempt, verdict: Verdict) -> Verdict:
        key = (attempt.cohort.tier, verdict)
        self.verdicts[key] = self.verdicts.get(key, 0) + 1
        return verdict

    def measures(self) -> Iterable[Measure]:
        """Verdicts by tier, and the queue."""
        for (tier, verdict), count in self.verdicts.items():
            labels = (("tier", tier), ("verdict", verdict))
            yield Measure("flashover:gateway_admissions", count, counter=True, labels=labels)
        yield Measure("flashover:gateway_queue", self.queued)
        yield Measure("flashover:gateway_queue_age_seconds", self.oldest_s, "s")
