"""Serving an attempt on one replica, prefill and decode alike."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Protocol

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Attempt, Sequence
from instrumented_engine.routing.door import Outcome
from instrumented_engine.routing.router import Decision

_CONNECT_NS = 3_000_000_000
"""What a gateway waits for a connection to a replica."""


class Backend(Protocol):
    """What stands behind a router's decision."""

    def candidates(self) -> list[int]:
        """The replicas, by their number in the region, that take another attempt now."""

    async def serve(
        self, attempt: Attempt, decision: Decision, start_ns: int, *, left: bool = False
    ) -> tuple[Sequence, Outcome]:
        """Serve the attempt, sent at ``start_ns``, to the end its client sees. The sequence's ``spent_by`` is its account
        from now on. ``left``: there is no client any more; serve to the end of the work."""


class Direct:
    """A decision names the one replica that does it all. ``tokens`` gives a prompt's ids, ``ids`` draws span ids."""

    def __init__(
        self, loop: VirtualLoop, engines: Seq[Engine], tokens: Callable[[Attempt], list[int]], ids: random.Random
    ) -> None:
        self._loop = loop
        self._engines = engines
        self._tokens = tokens
        self._ids = ids

    def candidates(self) -> list[int]:
        """Replicas that serve, and whose queue is not full."""
        return [i for i, engine in enumerate(self._engines) if engine.accepts]

    async def serve(
        self, attempt: Attempt, decision: Decision, start_ns: int, *, left: bool = False
    ) -> tuple[Sequence, Outcome]:
        """Put the attempt on its replica; come back when it is done, or when the client gave up on its first token."""
        ended: asyncio.Future[Outcome] = self._loop.create_future()

        def end(outcome: Outcome) -> None:
            if not ended.done():
                ended.set_result(outcome)

        deadline_ns = start_ns + round(attempt.cohort.ttft_timeout_s * 1e9)
        patience = self._loop.call_at_ns(deadline_ns, end, "timeout")
        if left:
            patience.cancel()
        sequence = Sequence(
            arrival=attempt.arrival,
            attempt=attempt,
            span_id=self._ids.getrandbits(63) | 1,
            entered_ns=self._loop.now_ns,
            prompt=self._tokens(attempt),
            on_first_token=patience.cancel,
            on_end=end,
            abandoned=left,
        )
        engine = self._engines[decision.replica]
        if not engine.reachable:
            return await self._unreachable(sequence, start_ns)
        engine.submit(sequence)
        outcome = await ended
        patience.cancel()
        if outcome == "timeout":
            engine.disconnect(sequence)
        return sequence, outcome

    async def _unreachable(self, sequence: Sequence, start_ns: int) -> tuple[Sequence, Outcome]:
        """The router does not know that nothing gets through: the connection times out."""
        patience_s = sequence.attempt.cohort.ttft_timeout_s
        sequence.since_ns = self._loop.now_ns
        sequence.on_first_token()
        give_up_ns = min(start_ns + round(patience_s * 1e9), self._loop.now_ns + _CONNECT_NS)
        await self._loop.sleep_until_ns(give_up_ns)
        return sequence, "timeout" if self._loop.now_ns >= start_ns + patience_s * 1e9 else "error"
