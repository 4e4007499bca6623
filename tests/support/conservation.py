"""What no mechanism may break: requests, phases, blocks and tokens are conserved in any cluster, at any instant."""

from __future__ import annotations

from collections import Counter

from small_fleet import Memory

from instrumented_engine.cluster import Cluster
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.routing.door import Outcome


class CountingDoor:
    """Stands before ``cluster.front`` and counts what goes in and comes out."""

    def __init__(self, cluster: Cluster) -> None:
        self._door = cluster.front
        self.entered = self.left = 0
        self.outcomes: Counter[str] = Counter()
        cluster.front = self

    async def handle(self, attempt: Attempt, since_ns: int | None = None) -> Outcome:
        self.entered += 1
        outcome = await self._door.handle(attempt, since_ns)
        self.left += 1
        self.outcomes[outcome] += 1
        return outcome


def check_conserved(cluster: Cluster, memory: Memory, door: CountingDoor) -> None:
    """Raise AssertionError when a request, a nanosecond, a block or a token was lost or made."""
    reported = Counter(record.outcome for record in memory.attempts if record.attempt.cohort.name != "probe")
    assert door.left <= reported.total() <= door.entered, "every attempt that ended is reported"
    assert door.outcomes <= reported, "as what it ended"
    ids = [(record.attempt.request_id, record.attempt.number) for record in memory.attempts]
    assert len(set(ids)) == len(ids), "no attempt is reported twice"
    for record in memory.attempts:
        assert sum(record.phases.values()) == record.end_ns - record.start_ns, record
        assert all(value >= 0 for value in record.phases.values()), record
        assert record.ttft_ns is None or 0 <= record.ttft_ns <= record.end_ns - record.start_ns
    for engine in cluster.engines:
        engine.pool.check()
        inside = [*engine.scheduler.running, *engine.scheduler.waiting]
        held = {block for sequence in inside for block in sequence.blocks}
        assert engine.pool.used >= len(held)
    block_tokens = cluster.scenario.replica.block_tokens
    for sequence in memory.done:
        assert sequence.ending is not None
        assert sequence.blocks == [], "who is done holds nothing"
        if sequence.ending == "ok":
            assert len(sequence.generated) == sequence.arrival.engine_output
            if sequence.preemptions == 0:
                cached = (sequence.hit_blocks or 0) * block_tokens
                assert cached + sequence.computed_prompt - sequence.recomputed == sequence.arrival.engine_prompt
