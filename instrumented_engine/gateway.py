"""The front door: takes an attempt in, routes it, waits for its answer as long as its client does, and keeps its account.

An attempt is in exactly one phase at any time, so the phases it reports sum to its end-to-end time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Literal

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.engine import Engine
from instrumented_engine.router import Decision, Router
from instrumented_engine.scenario import Gateway as Policy
from instrumented_engine.sequence import Attempt, Sequence, State
from instrumented_engine.workload import Arrival

Outcome = Literal["ok", "timeout", "rejected"]


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """How an attempt went, as the gateway saw it. ``phases`` are nanoseconds per phase column and sum to ``e2e_ns``."""

    attempt: Attempt
    start_ns: int
    end_ns: int
    outcome: Outcome
    decision: Decision | None
    sequence: Sequence | None
    phases: dict[str, int]
    ttft_ns: int | None


class GatewayServer:
    """``tokens`` gives the token ids of a prompt; ``ids`` draws span ids; ``on_attempt`` is told how each attempt went."""

    def __init__(
        self,
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
        self.shed_share = policy.shed_share
        self.in_flight = 0
        self.arrivals: dict[tuple[str, str], int] = {}
        self._loop = loop
        self._policy = policy
        self._router = router
        self._lookup_ns = lookup_ns
        self._engines = engines
        self._tokens = tokens
        self._ids = ids
        self._luck = luck
        self._on_attempt = on_attempt

    async def handle(self, attempt: Attempt) -> Outcome:
        """Serve one attempt to the end its client sees."""
        start_ns = self._loop.now_ns
        kind = (attempt.cohort.name, "first" if attempt.number == 1 else "retry")
        self.arrivals[kind] = self.arrivals.get(kind, 0) + 1
        self.in_flight += 1
        await self._loop.sleep_ns(round(self._policy.overhead_ms * 1e6))
        phases = {"gateway_ns": self._loop.now_ns - start_ns}
        if self._luck.random() < self.shed_share:
            return self._report(attempt, start_ns, "rejected", None, None, phases)
        await self._loop.sleep_ns(self._lookup_ns)
        phases["route_ns"] = self._lookup_ns
        taking = [engine.number for engine in self._engines if not engine.full]
        decision = self._router.choose(attempt.arrival.blocks, taking)
        if decision is None:
            return self._report(attempt, start_ns, "rejected", None, None, phases)
        sequence, outcome = await self._serve(attempt, decision, start_ns)
        self._router.done(decision.replica)
        spent = sequence.spent_by(self._loop.now_ns)
        if outcome == "ok":
            await self._loop.sleep_ns(round(self._policy.stream_ms * 1e6))
        phases |= {state.value: spent[state] for state in State if state is not State.DONE}
        phases["stream_ns"] = self._loop.now_ns - start_ns - sum(phases.values())
        return self._report(attempt, start_ns, outcome, decision, sequence, phases)

    async def _serve(self, attempt: Attempt, decision: Decision, start_ns: int) -> tuple[Sequence, Outcome]:
        """Put the attempt on its replica; come back when it is done, or when the client gave up on its first token."""
        ended: asyncio.Future[Outcome] = self._loop.create_future()

        def end(outcome: Outcome) -> None:
            if not ended.done():
                ended.set_result(outcome)

        deadline_ns = start_ns + round(attempt.cohort.ttft_timeout_s * 1e9)
        patience = self._loop.call_at_ns(deadline_ns, end, "timeout")
        sequence = Sequence(
            arrival=attempt.arrival,
            attempt=attempt,
            span_id=self._ids.getrandbits(63) | 1,
            entered_ns=self._loop.now_ns,
            prompt=self._tokens(attempt.arrival),
            on_first_token=patience.cancel,
            on_done=lambda: end("ok"),
        )
        engine = self._engines[decision.replica]
        engine.submit(sequence)
        outcome = await ended
        if outcome == "timeout":
            engine.disconnect(sequence)
        return sequence, outcome

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
        self._on_attempt(
            AttemptRecord(attempt, start_ns, self._loop.now_ns, outcome, decision, sequence, phases, ttft_ns)
        )
        return outcome
