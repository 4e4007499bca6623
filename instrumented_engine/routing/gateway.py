"""The front door of a region: takes an attempt in, routes it, waits for its answer as long as its client does.

An attempt is in exactly one phase at any time, so the phases it reports sum to its end-to-end time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq

from instrumented_engine.clients.workload import Arrival
from instrumented_engine.clock import VirtualLoop
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Attempt, Sequence, State
from instrumented_engine.routing.direct import Backend, Direct
from instrumented_engine.routing.door import AttemptRecord, Outcome
from instrumented_engine.routing.router import Decision, Router
from instrumented_engine.scenario import Cohort
from instrumented_engine.scenario import Gateway as Policy


class GatewayServer:
    """``tokens`` gives the token ids of a prompt; ``ids`` draws span ids; ``on_attempt`` is told how each attempt went."""

    def __init__(
        self,
        entity: str,
        loop: VirtualLoop,
        policy: Policy,
        router: Router,
        lookup_ns: int,
        engines: Seq[Engine],
        *,
        tokens: Callable[[Arrival], list[int]],
        ids: random.Random,
        luck: random.Random,
        on_attempt: Callable[[AttemptRecord], None],
    ) -> None:
        self.entity = entity
        self.shed_share = policy.shed_share
        self.in_flight = 0
        self.arrivals: dict[tuple[str, str], int] = {}
        self.backend: Backend = Direct(loop, engines, tokens, ids)
        self._loop = loop
        self._policy = policy
        self._router = router
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
        phases = {"gateway_ns": self._loop.now_ns - start_ns}
        if self._luck.random() < self.shed_share:
            return self._report(attempt, start_ns, "rejected", None, None, phases)
        await self._loop.sleep_ns(self._lookup_ns)
        phases["route_ns"] = self._lookup_ns
        decision = self._router.choose(attempt.arrival.blocks, self.backend.candidates())
        if decision is None:
            return self._report(attempt, start_ns, "rejected", None, None, phases)
        sequence, outcome = await self.backend.serve(attempt, decision, start_ns)
        self._router.done(decision.replica)
        spent = sequence.spent_by(self._loop.now_ns)
        if outcome == "ok":
            await self._loop.sleep_ns(round(self._policy.stream_ms * 1e6))
        phases |= {state.value: spent[state] for state in State if state is not State.DONE}
        phases["stream_ns"] = self._loop.now_ns - start_ns - sum(phases.values())
        return self._report(attempt, start_ns, outcome, decision, sequence, phases)

    def measures(self, cohorts: Iterable[Cohort]) -> Iterable[Measure]:
        """What has come in, by cohort and attempt, and what is inside."""
        for cohort in cohorts:
            for kind in ("first", "retry"):
                count = self.arrivals.get((cohort.name, kind), 0)
                labels = (("cohort", cohort.name), ("attempt", kind))
                yield Measure("flashover:gateway_arrivals", count, counter=True, labels=labels)
        yield Measure("flashover:gateway_inflight", self.in_flight)

    def _report(
        self,
        attempt: Attempt,
        start_ns: int,
        outcome: Outcome,
        decision: Decision | None,
        sequence: Sequence | None,
        phases: dict[str, int],
    ) -> Outcome:
        self.in_flight -= 1
        ttft_ns = None
        if outcome == "ok" and sequence is not None and sequence.first_token_ns is not None:
            ttft_ns = sequence.first_token_ns - start_ns
        replica = None if decision is None else self._engines[decision.replica].entity
        self._on_attempt(AttemptRecord(
            self.entity, attempt, start_ns, self._loop.now_ns, outcome, decision, replica, sequence, phases, ttft_ns
        ))
        return outcome
