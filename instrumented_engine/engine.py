"""One replica: the step loop. ``step`` reads like its description: schedule, run, post-process, emit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.cost_model import CostModel
from instrumented_engine.kv_blocks import BlockPool
from instrumented_engine.kv_events import EventStream
from instrumented_engine.runner import Chunk, Runner, StepOutput
from instrumented_engine.scenario import Replica as Limits
from instrumented_engine.scheduler import Part, Plan, Scheduler
from instrumented_engine.sequence import Sequence, State


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did; token counts are unscaled except ``engine_tokens`` and ``batch_tokens``."""

    step_id: int
    start_ns: int
    duration_ns: int
    prefill_tokens: int
    decode_tokens: int
    engine_tokens: int
    running: int
    waiting: int
    kv_used_blocks: int
    evicted_blocks: int
    preempted: int
    recomputed_tokens: int
    batch_spans: list[int]
    batch_tokens: list[int]
    expert_load: NDArray[np.int32]


class Engine:
    """Replica number ``number``. ``on_step`` and ``on_sequence_done`` are called with what telemetry needs."""

    def __init__(
        self,
        number: int,
        loop: VirtualLoop,
        limits: Limits,
        cost: CostModel,
        runner: Runner,
        *,
        stream: EventStream,
        on_step: Callable[[Engine, StepRecord], None],
        on_sequence_done: Callable[[Engine, Sequence], None],
    ) -> None:
        self.number = number
        self.speed = limits.speed
        self.cancel_on_disconnect = limits.cancel_on_disconnect
        self.stream = stream
        self.steps = 0
        self.pool = BlockPool(limits.kv_blocks, stream.publish)
        self.scheduler = Scheduler(
            self.pool,
            cost,
            block_tokens=limits.block_tokens,
            max_running=limits.max_running,
            step_target_ns=round(limits.step_target_ms * 1e6),
        )
        self._loop = loop
        self._max_waiting = limits.max_waiting
        self._cost = cost
        self._runner = runner
        self._on_step = on_step
        self._on_sequence_done = on_sequence_done
        self._work = asyncio.Event()

    def held_keys(self) -> list[int]:
        """All prefix block keys that this replica can serve from its cache."""
        return self.pool.keys()

    @property
    def full(self) -> bool:
        """Whether the queue takes no more (vLLM's ``max_num_queued_reqs``)."""
        return len(self.scheduler.waiting) >= self._max_waiting

    def submit(self, sequence: Sequence) -> None:
        """Take in an attempt; the caller has looked at ``full``."""
        sequence.since_ns = sequence.held_since_ns = self._loop.now_ns
        sequence.events.append(("queued", self._loop.now_ns))
        self.scheduler.add(sequence)
        self._work.set()

    def disconnect(self, sequence: Sequence) -> None:
        """The client left. Unless told to cancel, the engine does not care: the work goes on for nobody."""
        sequence.abandoned = True
        if self.cancel_on_disconnect and sequence.state in (State.QUEUED, State.PREEMPTED):
            self._complete(sequence, "cancelled")

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if self.scheduler.idle:
                self._work.clear()
                await self._work.wait()
            await self.step()

    async def step(self) -> None:
        """Schedule, run, post-process, emit."""
        start_ns, evicted = self._loop.now_ns, self.pool.evicted
        plan = self.scheduler.schedule(start_ns)
        output = self._runner.submit(self.number, [self._chunk(part) for part in plan.parts])
        duration_ns = self._cost.step_ns(plan.prefill_tokens, plan.decoding, self.speed)
        await self._loop.sleep_ns(duration_ns)
        self._charge(plan, duration_ns)
        self._postprocess(plan, output)
        self._emit(plan, output, start_ns, duration_ns, self.pool.evicted - evicted)

    @staticmethod
    def _chunk(part: Part) -> Chunk:
        sequence = part.sequence
        return Chunk(sequence.tokens_from(part.start, part.count), part.start, sequence.blocks, part.sample)

    def _charge(self, plan: Plan, duration_ns: int) -> None:
        """Divide the step's time: decode time evenly, prefill time by tokens, the remainder to the first. Sums exactly."""
        if not plan.parts:
            return
        decode_each = self._cost.decode_ns(plan.decoding, self.speed) // plan.decoding if plan.decoding else 0
        prefill_ns = duration_ns - decode_each * plan.decoding
        per_token = prefill_ns // plan.prefill_tokens if plan.prefill_tokens else 0
        left = duration_ns
        for part in reversed(plan.parts):
            share = left if part is plan.parts[0] else decode_each if part.decode else per_token * part.count
            left -= share
            part.sequence.busy_ns += share

    def _postprocess(self, plan: Plan, output: StepOutput) -> None:
        now_ns = self._loop.now_ns
        block_tokens = self.scheduler.block_tokens
        for part, token in zip(plan.parts, output.tokens, strict=True):
            sequence = part.sequence
            before, sequence.computed = sequence.computed, sequence.computed + part.count
            if not part.decode:
                sequence.filled = sequence.computed == sequence.target
                sequence.computed_prompt += part.count
                sequence.recomputed += part.count if sequence.preemptions else 0
                keys = sequence.arrival.blocks
                for i in range(before // block_tokens, min(sequence.computed // block_tokens, len(keys))):
                    self.pool.complete(sequence.blocks[i], keys[i])
            if part.sample:
                sequence.generated.append(token)
                if sequence.first_token_ns is None:
                    sequence.first_token_ns = now_ns
                    sequence.enter(State.DECODE, now_ns, "first_token")
                    sequence.on_first_token()
            if sequence.finished:
                self._complete(sequence, "finished")
            elif sequence.abandoned and self.cancel_on_disconnect:
                self._complete(sequence, "cancelled")

    def _complete(self, sequence: Sequence, event: str) -> None:
        now_ns = self._loop.now_ns
        self.scheduler.finish(sequence, now_ns)
        sequence.enter(State.DONE, now_ns, event)
        sequence.on_done()
        self._on_sequence_done(self, sequence)

    def _emit(self, plan: Plan, output: StepOutput, start_ns: int, duration_ns: int, evicted: int) -> None:
        self.steps += 1
        batch_tokens = [part.count for part in plan.parts]
        self._on_step(self, StepRecord(
            step_id=self.steps,
            start_ns=start_ns,
            duration_ns=duration_ns,
            prefill_tokens=round(plan.prefill_tokens / self._cost.prompt_scale),
            decode_tokens=round(plan.decoding / self._cost.output_scale),
            engine_tokens=sum(batch_tokens),
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            kv_used_blocks=self.pool.used,
            evicted_blocks=evicted,
            preempted=len(plan.preempted),
            recomputed_tokens=round(plan.recomputed_tokens / self._cost.prompt_scale),
            batch_spans=[part.sequence.span_id for part in plan.parts],
            batch_tokens=batch_tokens,
            expert_load=output.expert_load,
        ))
