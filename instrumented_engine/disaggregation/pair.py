"""Serving an attempt on two replicas: a slot at the decode side, prefill, KV transfer, decode (DistServe, OSDI'24; SGLang).

One sequence wanders, so that its account stays whole: the wait for a slot and the transfer are ``kv_transfer_ns``. What can
go wrong is what went wrong in the field: a prefill that is dropped without telling the decode side leaves the slot held
until a time-out of minutes; a transfer that breaks leaves a receiver that waits.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Literal

from instrumented_engine.clock import Timer, VirtualLoop
from instrumented_engine.disaggregation.decode_slots import DecodeSlots
from instrumented_engine.mechanism import Measure
from instrumented_engine.network.link import Link, LinkDown
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Attempt, Ending, Sequence, State
from instrumented_engine.routing.door import Outcome
from instrumented_engine.routing.router import Decision
from instrumented_engine.scenario.disaggregation import Disaggregation

_RETRY_NS = 50_000_000
"""How long a transfer that finds no free KV blocks waits before it looks again."""


@dataclass(slots=True, eq=False)
class _Way:
    """Where one sequence is: the replica that has it, and what ended its stay at the prefill side."""

    engine: Engine
    turn: asyncio.Future[Literal["handed", "ended", "late"]]

    def take(self, turn: Literal["handed", "ended", "late"]) -> None:
        if not self.turn.done():
            self.turn.set_result(turn)


class Pairs:
    """The backend of a region whose first ``settings.prefill`` replicas prefill. ``abort_notifies_peer``,
    ``waiting_timeout_s`` and ``bootstrap_timeout_s`` are switches."""

    def __init__(
        self,
        loop: VirtualLoop,
        engines: Seq[Engine],
        links: Seq[Link],
        settings: Disaggregation,
        tokens: Callable[[Attempt], list[int]],
        ids: random.Random,
    ) -> None:
        self.abort_notifies_peer = settings.abort_notifies_peer
        self.waiting_timeout_s = settings.waiting_timeout_s
        self.bootstrap_timeout_s = settings.bootstrap_timeout_s
        self.results: dict[str, int] = dict.fromkeys(("ok", "failed", "waiting_timeout", "bootstrap_timeout"), 0)
        self.transfer_s = 0.0
        self.slots = [DecodeSlots(loop, engine) for engine in engines[settings.prefill :]]
        self.bytes_needed = 0
        self._prefill = engines[: settings.prefill]
        self._links = links
        self._bytes_per_token = settings.kv_bytes_per_token
        self._loop = loop
        self._tokens = tokens
        self._ids = ids

    def candidates(self) -> list[int]:
        """Prefill replicas that take another attempt; none while no decode replica serves."""
        if all(slots.engine.blockers for slots in self.slots):
            return []
        return [i for i, engine in enumerate(self._prefill) if engine.accepts]

    async def serve(
        self, attempt: Attempt, decision: Decision, start_ns: int, *, left: bool = False
    ) -> tuple[Sequence, Outcome]:
        """Serve the attempt, prefill where the router said, decode at the least loaded decode replica."""
        ended: asyncio.Future[Outcome] = self._loop.create_future()
        number = min(
            (i for i, slots in enumerate(self.slots) if not slots.engine.blockers), key=lambda i: self.slots[i].load
        )
        way = _Way(self._prefill[decision.replica], self._loop.create_future())

        def end(outcome: Outcome) -> None:
            if not ended.done():
                ended.set_result(outcome)

        def on_end(ending: Ending) -> None:
            way.take("ended")
            self.slots[number].let_in()
            end(ending)

        patience = self._patience(attempt, start_ns, end, left=left)
        now_ns = self._loop.now_ns
        sequence = Sequence(
            arrival=attempt.arrival, attempt=attempt, span_id=self._ids.getrandbits(63) | 1, entered_ns=now_ns,
            prompt=self._tokens(attempt), on_first_token=patience.cancel, on_end=on_end,
            handover=lambda: way.take("handed"), state=State.KV_TRANSFER, since_ns=now_ns, held_since_ns=now_ns,
            abandoned=left,
        )
        self._loop.start(self._drive(sequence, way, number))
        outcome = await ended
        patience.cancel()
        if outcome == "timeout":
            way.engine.disconnect(sequence)
        return sequence, outcome

    def _patience(self, attempt: Attempt, start_ns: int, end: Callable[[Outcome], None], *, left: bool) -> Timer:
        patience = self._loop.call_at_ns(start_ns + round(attempt.cohort.ttft_timeout_s * 1e9), end, "timeout")
        if left:
            patience.cancel()
        return patience

    async def _drive(self, sequence: Sequence, way: _Way, number: int) -> None:
        """Take the sequence from the wait for a slot to the decode replica."""
        slots, prefill = self.slots[number], way.engine
        if not await slots.take(self.bootstrap_timeout_s):
            self.results["bootstrap_timeout"] += 1
            prefill.drop_handed(sequence, "error")
            return
        late_ns = self._loop.now_ns + round(self.waiting_timeout_s * 1e9)
        if (sequence.abandoned and prefill.cancel_on_disconnect) or prefill.blockers:
            slots.release()
            prefill.drop_handed(sequence, "cancelled" if sequence.abandoned else "error")
            return
        timer = self._loop.call_at_ns(late_ns, way.take, "late")
        sequence.enter(State.QUEUED, self._loop.now_ns, "bootstrapped")
        prefill.submit(sequence)
        turn = await way.turn
        timer.cancel()
        if turn == "handed":
            await self._transfer(sequence, way, number, late_ns)
        elif turn == "late":
            self.results["waiting_timeout"] += 1
            slots.release()
            prefill.abort(sequence)
        elif sequence.ending == "ok":
            slots.release()
        else:
            await self._orphaned(slots, late_ns)

    async def _orphaned(self, slots: DecodeSlots, late_ns: int) -> None:
        """The prefill side has dropped the request. A decode side that is not told waits to the end of its patience."""
        if not self.abort_notifies_peer and self._loop.now_ns < late_ns:
            await self._loop.sleep_until_ns(late_ns)
            self.results["waiting_timeout"] += 1
        slots.release()

    async def _transfer(self, sequence: Sequence, way: _Way, number: int, late_ns: int) -> None:
        slots, prefill, start_ns = self.slots[number], way.engine, self._loop.now_ns
        blocks = await self._blocks(sequence, slots.engine, late_ns)
        if blocks is None:
            self.results["waiting_timeout"] += 1
            self._drop(sequence, prefill)
            slots.release()
            return
        size = sequence.arrival.prompt_tokens * self._bytes_per_token
        self.bytes_needed += size
        life = slots.engine.lives
        try:
            await self._links[number].transfer(size)
        except LinkDown:
            self.results["failed"] += 1
            if life == slots.engine.lives:
                slots.engine.pool.release(blocks)
            self._drop(sequence, prefill)
            await self._orphaned(slots, late_ns)
            return
        self.transfer_s += (self._loop.now_ns - start_ns) / 1e9
        if sequence.ending is not None or life != slots.engine.lives:
            self.results["failed"] += 1
            if life == slots.engine.lives:
                slots.engine.pool.release(blocks)
            self._drop(sequence, prefill)
            slots.release()
            return
        self.results["ok"] += 1
        prefill.let_go(sequence)
        way.engine = slots.engine
        slots.engine.adopt(sequence, blocks)
        slots.release()

    async def _blocks(self, sequence: Sequence, engine: Engine, late_ns: int) -> list[int] | None:
        """KV blocks at the decode side, as soon as it has them."""
        count = len(sequence.blocks)
        while (blocks := engine.pool.allocate(count)) is None:
            if self._loop.now_ns >= late_ns or sequence.ending is not None:
                return None
            await self._loop.sleep_ns(_RETRY_NS)
        return blocks

    @staticmethod
    def _drop(sequence: Sequence, prefill: Engine) -> None:
        if sequence.ending is None:
            prefill.drop_handed(sequence, "error")

    def measures(self) -> Iterable[Measure]:
        """Slots held beside what runs, requests that wait for one, transfers by result, and the time they took."""
        yield Measure("flashover:pd_slots_held", sum(slots.held for slots in self.slots))
        yield Measure("flashover:pd_decode_running", sum(len(s.engine.scheduler.running) for s in self.slots))
        yield Measure("flashover:pd_bootstrap_queue", sum(slots.queued for slots in self.slots))
        yield Measure("flashover:pd_transfers_active", sum(link.active for link in self._links))
        for result, count in self.results.items():
            yield Measure("flashover:pd_transfers", count, counter=True, labels=(("result", result),))
        yield Measure("flashover:pd_transfer_seconds", self.transfer_s, "s", counter=True)

