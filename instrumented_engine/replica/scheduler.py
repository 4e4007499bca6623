"""Continuous batching with chunked prefill: what runs in the next step, first come first served.

Decoding sequences go first, one token each; what is left of the step's time target is filled with prompt chunks, oldest
first. When KV blocks run out, a running sequence is preempted and recomputed later: the youngest is vLLM V1's choice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from instrumented_engine.replica.cost_model import CostModel
from instrumented_engine.replica.kv_blocks import BlockPool
from instrumented_engine.replica.sequence import Sequence, State
from instrumented_engine.scenario import Replica as Limits


@dataclass(slots=True, eq=False)
class Part:
    """One sequence's part of a step: ``count`` tokens from position ``start``; ``sample``: a new token comes out."""

    sequence: Sequence
    start: int
    count: int
    sample: bool
    decode: bool


@dataclass(slots=True)
class Plan:
    """One step: its parts, and what had to give way for it. ``decoding`` sequences advance by one output token;
    ``prefill_tokens`` are scaled prompt tokens (recomputed output tokens included)."""

    parts: list[Part] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)
    recomputed_tokens: int = 0
    decoding: int = 0
    prefill_tokens: int = 0

    def add(self, part: Part) -> None:
        """One more part."""
        self.parts.append(part)
        self._count(part, 1)

    def remove(self, sequence: Sequence) -> None:
        """``sequence`` was preempted: its part is off."""
        for part in [part for part in self.parts if part.sequence is sequence]:
            self.parts.remove(part)
            self._count(part, -1)

    def _count(self, part: Part, sign: int) -> None:
        if part.decode:
            self.decoding += sign
        else:
            self.prefill_tokens += sign * part.count


class Scheduler:
    """Queues of one replica: ``waiting`` (FIFO) and ``running``."""

    def __init__(self, pool: BlockPool, cost: CostModel, limits: Limits) -> None:
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.pool = pool
        self.cost = cost
        self.block_tokens = limits.block_tokens
        self.max_running = limits.max_running
        self.step_target_ns = round(limits.step_target_ms * 1e6)
        self.watermark = limits.watermark
        self.reserve_tokens = limits.reserve_tokens
        self.preempt: str = limits.preempt
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.hit_blocks = 0
        self.preemptions = 0

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence at the end."""
        self.waiting.append(sequence)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to run."""
        return not self.waiting and not self.running

    def schedule(self, now_ns: int) -> Plan:
        """Decide the next step and allocate its blocks."""
        plan = Plan()
        self._schedule_decodes(plan, now_ns)
        unfilled = [sequence for sequence in self.running if not sequence.filled]
        if unfilled or self.waiting:
            budget = self.cost.prefill_budget(plan.decoding, self.step_target_ns)
            budget = self._schedule_running_prefills(unfilled, plan, budget, now_ns)
            if not plan.preempted:
                self._admit(plan, budget, now_ns)
        return plan

    def _schedule_decodes(self, plan: Plan, now_ns: int) -> None:
        block_tokens, parts = self.block_tokens, plan.parts
        for sequence in self.running.copy():
            if not sequence.filled or sequence.state is State.PREEMPTED:
                continue
            computed = sequence.computed
            if len(sequence.blocks) * block_tokens > computed or self._ensure_blocks(sequence, computed + 1, plan, now_ns):
                parts.append(Part(sequence, computed, 1, True, True))
                plan.decoding += 1

    def _schedule_running_prefills(self, unfilled: list[Sequence], plan: Plan, budget: int, now_ns: int) -> int:
        for sequence in unfilled:
            if budget <= 0:
                break
            if sequence.state is not State.PREEMPTED:
                budget -= self._prefill_part(sequence, budget, plan, now_ns)
        return budget

    def _admit(self, plan: Plan, budget: int, now_ns: int) -> None:
        """Take sequences from the head of the queue while there are slots, blocks and budget."""
        while self.waiting and budget > 0 and len(self.running) < self.max_running:
            sequence = self.waiting[0]
            hit = self._match(sequence)
            if self.blocks_for(sequence.target) + self._kept_free() > self.pool.available:
                return
            self.waiting.popleft()
            self._reuse(sequence, hit, now_ns)
            self.running.append(sequence)
            resumed = sequence.state is State.PREEMPTED
            sequence.enter(State.DECODE if resumed and sequence.generated else State.PREFILL, now_ns, "scheduled")
            if sequence.first_scheduled_ns is None:
                sequence.first_scheduled_ns = now_ns
            budget -= self._prefill_part(sequence, budget, plan, now_ns)

    def _kept_free(self) -> int:
        """Blocks that must be left when another request is let in; none for the only one, or it would wait for ever."""
        if not self.running:
            return 0
        reserve = -(-self.reserve_tokens // self.block_tokens) * len(self.running) if self.reserve_tokens else 0
        return reserve + int(self.watermark * self.pool.total)

    def _match(self, sequence: Sequence) -> int:
        """Prefix blocks that can be reused; at least one token is left to compute."""
        keys = sequence.arrival.blocks
        usable = min(len(keys), (sequence.target - 1) // self.block_tokens)
        return self.pool.match(keys[:usable])

    def _reuse(self, sequence: Sequence, hit: int, now_ns: int) -> None:
        sequence.hold(self.pool.reuse(sequence.arrival.blocks[:hit]), now_ns)
        sequence.computed = hit * self.block_tokens
        if sequence.hit_blocks is None:
            sequence.hit_blocks = hit
            self.prefix_queries += len(sequence.prompt)
            self.prefix_hits += sequence.computed
            self.hit_blocks += hit

    def _prefill_part(self, sequence: Sequence, budget: int, plan: Plan, now_ns: int) -> int:
        count = min(budget, sequence.target - sequence.computed)
        if not self._ensure_blocks(sequence, sequence.computed + count, plan, now_ns):
            return 0
        last = sequence.computed + count == sequence.target
        plan.add(Part(sequence, sequence.computed, count, sample=last and not sequence.generated, decode=False))
        if sequence.preemptions:
            plan.recomputed_tokens += count
        return count

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-tokens // self.block_tokens)

    def _ensure_blocks(self, sequence: Sequence, tokens: int, plan: Plan, now_ns: int) -> bool:
        """Give ``sequence`` blocks for ``tokens`` tokens, preempting others if need be; False when it lost its own."""
        missing = -(-tokens // self.block_tokens) - len(sequence.blocks)
        while missing > 0:
            blocks = self.pool.allocate(missing)
            if blocks is not None:
                sequence.hold(blocks, now_ns)
                return True
            victim = self._victim()
            self._preempt(victim, plan, now_ns)
            if victim is sequence:
                return False
        return True

    def _victim(self) -> Sequence:
        """Who gives way."""
        if self.preempt == "youngest":
            return self.running[-1]
        return self.running[0] if self.preempt == "oldest" else max(self.running, key=lambda one: len(one.blocks))

    def _preempt(self, victim: Sequence, plan: Plan, now_ns: int) -> None:
        """Take everything from ``victim`` and put it back to the head of the queue."""
        self.running.remove(victim)
        plan.remove(victim)
        plan.preempted.append(victim)
        self.release(victim, now_ns)
        victim.computed = 0
        victim.filled = False
        victim.preemptions += 1
        self.preemptions += 1
        victim.enter(State.PREEMPTED, now_ns, "preempted")
        self.waiting.appendleft(victim)

    def release(self, sequence: Sequence, now_ns: int) -> None:
        """Give back all blocks of ``sequence``."""
        sequence.settle(now_ns)
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def finish(self, sequence: Sequence, now_ns: int) -> None:
        """``sequence`` is complete (or cancelled): it leaves the batch or the queue."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self.release(sequence, now_ns)
