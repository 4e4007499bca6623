"""The front door of a region: takes an attempt in, routes it, waits for its answer as long as its client does.

An attempt is in exactly one phase at any time, so the phases it reports sum to its end-to-end time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Attempt, Sequence, State
from instrumented_engine.routing.admission import Admission
from instrumented_engine.routing.direct import Backend, Direct
from instrumented_engine.routing.door import AttemptRecord, Outcome
from instrumented_engine.routing.router import Decision, Router
from instrumented_engine.routing.tier_limits import TierLimit
from instrumented_engine.scenario import Cohort
from instrumented_engine.scenario import Gateway as Policy


class GatewayServer:
    """``tokens`` gives the token ids of a prompt; ``ids`` draws span ids; ``on_attempt`` is told how each attempt went."""

    def __init__(
        self,
        entity: str,
        loop: VirtualLoop,
        policy: Policy,
        routers: Seq[Router],
        lookup_ns: int,
        engines: Seq[Engine],
        *,
        tiers: dict[str, TierLimit],
        tokens: Callable[[Attempt], list[int]],
        ids: random.Random,
        luck: random.Random,
        on_attempt: Callable[[AttemptRecord], None],
    ) -> None:
        self.entity = entity
        self.shed_share = policy.shed_share
        self.in_flight = 0
        self.arrivals: dict[tuple[str, str], int] = {}
        self.outcomes: dict[tuple[str, str], int] = {}
        self.backend: Backend = Direct(loop, engines, tokens, ids)
        self.index_wait: Callable[[], int | None] = lambda: None
        self.admission = Admission(loop, policy, tiers)
        self.admission.on_dead = self._serve_the_dead
        self._loop = loop
        self._policy = policy
        self._routers = routers
        self._turn = 0
        self._lookup_ns = lookup_ns
        self._engines = engines
        self._luck = luck
        self._on_attempt = on_attempt

    async def handle(self, attempt: Attempt, since_ns: int | None = None) -> Outcome:
        """Serve one attempt to the end its client sees."""
        start_ns = self._loop.now_ns if since_ns is None else since_ns
        kind = (attempt.cohort.name, "first" if attempt.number == 1 else "retry")
        self.arrivals[kind] = self.arrivals.get(kind, 0) + 1
        self.in_flight += 1
        await self._loop.sleep_ns(round(self._policy.overhead_ms * 1e6))
        if self._luck.random() < self.shed_share:
            return self._refuse(attempt, start_ns, "shed", "rejected")
        verdict = await self.admission.enter(attempt, start_ns + round(attempt.cohort.ttft_timeout_s * 1e9))
        if verdict != "admitted":
            return self._refuse(attempt, start_ns, verdict, "timeout" if verdict == "left" else "rejected")
        outcome = await self._route(attempt, start_ns)
        self.admission.leave(attempt)
        return outcome

    async def _route(self, attempt: Attempt, start_ns: int) -> Outcome:
        phases = {"gateway_ns": self._loop.now_ns - start_ns}
        await self._loop.sleep_ns(self._lookup_ns)
        phases["route_ns"] = self._lookup_ns
        if (wait_ns := self.index_wait()) is not None:
            phases["kv_sync_ns"] = wait_ns
            await self._loop.sleep_ns(wait_ns)
        router = self._next_router()
        decision = router.choose(attempt.arrival.blocks, self.backend.candidates(), attempt.arrival.session)
        if decision is None:
            return self._report(attempt, start_ns, "rejected", None, None, phases, "no_replica")
        sequence, outcome = await self.backend.serve(attempt, decision, start_ns)
        router.done(decision.replica, sequence.hit_blocks or 0)
        spent = sequence.spent_by(self._loop.now_ns)
        if outcome == "ok":
            await self._loop.sleep_ns(round(self._policy.stream_ms * 1e6))
        phases |= {state.value: spent[state] for state in State if state is not State.DONE}
        phases["stream_ns"] = self._loop.now_ns - start_ns - sum(phases.values())
        return self._report(attempt, start_ns, outcome, decision, sequence, phases)

    def _next_router(self) -> Router:
        self._turn = (self._turn + 1) % len(self._routers)
        return self._routers[self._turn]

    def _serve_the_dead(self, attempt: Attempt) -> None:
        """The turn of an attempt has come whose client has left: it takes its place at a replica all the same."""
        router = self._next_router()
        decision = router.choose(attempt.arrival.blocks, self.backend.candidates(), attempt.arrival.session)
        if decision is None:
            return

        async def serve() -> None:
            sequence, _ = await self.backend.serve(attempt, decision, self._loop.now_ns, left=True)
            router.done(decision.replica, sequence.hit_blocks or 0)
            self.admission.leave_dead()

        self.admission.inside += 1
        self._loop.start(serve())

    def _refuse(self, attempt: Attempt, start_ns: int, reason: str, outcome: Outcome) -> Outcome:
        phases = {"gateway_ns": self._loop.now_ns - start_ns}
        return self._report(attempt, start_ns, outcome, None, None, phases, reason)

    def measures(self, cohorts: Iterable[Cohort]) -> Iterable[Measure]:
        """What has come in, by cohort and attempt, and what is inside."""
        for cohort in cohorts:
            for kind in ("first", "retry"):
                count = self.arrivals.get((cohort.name, kind), 0)
                labels = (("cohort", cohort.name), ("attempt", kind))
                yield Measure("flashover:gateway_arrivals", count, counter=True, labels=labels)
        for (tier, outcome), count in self.outcomes.items():
            yield Measure("flashover:gateway_outcomes", count, counter=True, labels=(("tier", tier), ("outcome", outcome)))
        yield Measure("flashover:gateway_inflight", self.in_flight)

    def _report(
        self,
        attempt: Attempt,
        start_ns: int,
        outcome: Outcome,
        decision: Decision | None,
        sequence: Sequence | None,
        phases: dict[str, int],
        reason: str | None = None,
    ) -> Outcome:
        self.in_flight -= 1
        tier = attempt.cohort.tier
        self.outcomes[tier, outcome] = self.outcomes.get((tier, outcome), 0) + 1
        ttft_ns = None
        if outcome == "ok" and sequence is not None and sequence.first_token_ns is not None:
            ttft_ns = sequence.first_token_ns - start_ns
        replica = None if decision is None else self._engines[decision.replica].entity
        self._on_attempt(AttemptRecord(
            self.entity, attempt, start_ns, self._loop.now_ns, outcome, decision, replica, sequence, phases, ttft_ns,
            reason,
        ))
        return outcome
