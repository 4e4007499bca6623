"""One replica: the step loop. ``step`` reads like its description: schedule, run, post-process, emit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.kv.event_stream import EventStream
from instrumented_engine.model.runner import Chunk, DrawingRunner, Runner, StepOutput
from instrumented_engine.replica.cost_model import CostModel
from instrumented_engine.replica.kv_blocks import BlockPool
from instrumented_engine.replica.scheduler import Part, Plan, Scheduler
from instrumented_engine.replica.sequence import Ending, Sequence, State
from instrumented_engine.replica.step_record import StepRecord
from instrumented_engine.scenario import Replica as Limits

_IDLE_STEP_NS = 1_000_000
"""A step that finds nothing it could run takes at least so long."""


class Engine:
    """Replica number ``number`` of the fleet. ``on_step`` and ``on_sequence_done`` are called with what telemetry needs.

    ``blockers``: who keeps routers from choosing it (nobody: it serves); it works on what it has in any case. ``clock``: of
    its slowest GPU, 1.0 as rated. ``lives``: how often its process has died. ``deferred``: slots that wait for KV from
    elsewhere. ``by_content``: whether expert loads are drawn by what cohorts talk about. ``cost``: its step times.
    ``stretches``: functions of (plan, output, duration so far in ns), each of which may lengthen a step by so many ns.
    ``on_lost``: called after ``lose``.
    """

    def __init__(
        self,
        number: int,
        entity: str,
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
        self.entity = entity
        self.blockers: set[str] = set()
        self.clock = 1.0
        self._reachable = True
        self.deferred = 0
        self.by_content = False
        self._handing: set[Sequence] = set()
        self.stretches: list[Callable[[Plan, StepOutput, int], int]] = []
        self.on_lost: list[Callable[[], None]] = []
        self.speed = limits.speed
        self.cancel_on_disconnect = limits.cancel_on_disconnect
        self.stream = stream
        self.steps = 0
        self.pool = BlockPool(limits.kv_blocks, stream.publish, limits.eviction)
        self.scheduler = Scheduler(self.pool, cost, limits)
        self.unservable: str = limits.unservable
        self._loop = loop
        self._max_waiting = limits.max_waiting
        self.cost = cost
        self._runner = runner
        self._draw = runner.draw if isinstance(runner, DrawingRunner) else None
        self._on_step = on_step
        self._on_sequence_done = on_sequence_done
        self._work: asyncio.Future[None] = loop.create_future()
        self._stalled_until_ns = 0
        self.lives = 0

    def held_keys(self) -> list[int]:
        """All prefix block keys that this replica can serve from its cache, as it announces them."""
        return list(map(self.stream.name_of, self.pool.keys()))

    @property
    def full(self) -> bool:
        """Whether the queue takes no more (vLLM's ``max_num_queued_reqs``)."""
        return len(self.scheduler.waiting) >= self._max_waiting

    @property
    def accepts(self) -> bool:
        """Whether a router may send it another attempt."""
        return not self.blockers and not self.full

    def submit(self, sequence: Sequence) -> None:
        """Take in an attempt; the caller has looked at ``full``."""
        sequence.since_ns = sequence.held_since_ns = self._loop.now_ns
        sequence.events.append(("queued", self._loop.now_ns))
        if self.unservable == "error" and self._never_fits(sequence):
            self._ended(sequence, "unservable", "error")
            return
        self.scheduler.add(sequence)
        self._wake()

    def _never_fits(self, sequence: Sequence) -> bool:
        """Whether the whole pool is too small for the prompt and the answer that the model's limit allows."""
        return self.scheduler.blocks_for(len(sequence.prompt) + sequence.arrival.engine_output) > self.pool.total

    def disconnect(self, sequence: Sequence) -> None:
        """The client left. Unless told to cancel, the engine does not care: the work goes on for nobody."""
        sequence.abandoned = True
        if self.cancel_on_disconnect and sequence.state in (State.QUEUED, State.PREEMPTED):
            self._complete(sequence, "cancelled", "cancelled")

    @property
    def reachable(self) -> bool:
        """Whether anything gets through to it and back."""
        return self._reachable

    @reachable.setter
    def reachable(self, value: bool) -> None:
        self._reachable = value
        if not value:
            for sequence in [*self.scheduler.running, *self.scheduler.waiting]:
                sequence.on_end("error")
                self.disconnect(sequence)

    def stall(self, duration_ns: int) -> None:
        """Hold the step loop for so long: the next step (or the one that would come) starts that much later."""
        self._stalled_until_ns = max(self._stalled_until_ns, self._loop.now_ns) + duration_ns

    def lose(self) -> None:
        """The process dies: all it works on fails, its KV memory is gone, nobody is told."""
        self.lives += 1
        for sequence in [*self.scheduler.running, *self.scheduler.waiting]:
            self._complete(sequence, "lost", "error")
        for sequence in list(self._handing):
            self.drop_handed(sequence, "error")
        self.pool.clear()
        for tell in self.on_lost:
            tell()

    def _wake(self) -> None:
        if not self._work.done():
            self._work.set_result(None)

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if self.scheduler.idle:
                self._work = self._loop.create_future()
                await self._work
            if self._stalled_until_ns > self._loop.now_ns:
                await self._loop.sleep_until_ns(self._stalled_until_ns)
                continue
            await self.step()

    async def step(self) -> None:
        """Schedule, run, post-process, emit."""
        start_ns, evicted, life = self._loop.now_ns, self.pool.evicted, self.lives
        plan = self.scheduler.schedule(start_ns)
        output = self._compute(plan)
        speed = self.speed * self.clock
        duration_ns = self.cost.step_ns(plan.prefill_tokens, plan.decoding, speed)
        for stretch in self.stretches:
            duration_ns += stretch(plan, output, duration_ns)
        if not plan.parts:
            duration_ns = max(duration_ns, _IDLE_STEP_NS)
        await self._loop.sleep_ns(duration_ns)
        if life != self.lives:
            return
        self._charge(plan, duration_ns, speed)
        self._postprocess(plan, output)
        self._emit(plan, output, start_ns, duration_ns, self.pool.evicted - evicted)

    def _compute(self, plan: Plan) -> StepOutput:
        if self._draw is None:
            return self._runner.submit(self.number, [self._chunk(part) for part in plan.parts])
        if self.by_content:
            return StepOutput([0] * len(plan.parts), self._drawn_by_content(plan, self._draw))
        prefills = [part.count for part in plan.parts if not part.decode] if plan.prefill_tokens else []
        return StepOutput([0] * len(plan.parts), self._draw(self.number, plan.decoding, prefills))

    def _drawn_by_content(self, plan: Plan, draw: Callable[..., NDArray[np.int32]]) -> NDArray[np.int32]:
        """The step's expert load, where cohorts differ in what they talk about."""
        of_decodes = [part.sequence.attempt.cohort.content for part in plan.parts if part.decode]
        decoding: dict[str, int] = {content: of_decodes.count(content) for content in dict.fromkeys(of_decodes)}
        prefills: dict[str, list[int]] = {}
        for part in plan.parts if plan.prefill_tokens else ():
            if not part.decode:
                prefills.setdefault(part.sequence.attempt.cohort.content, []).append(part.count)
        loads = [draw(self.number, decoding.get(one, 0), prefills.get(one, []), one) for one in {**decoding, **prefills}]
        return sum(loads[1:], loads[0]) if loads else draw(self.number, 0, [])

    @staticmethod
    def _chunk(part: Part) -> Chunk:
        sequence = part.sequence
        return Chunk(sequence.tokens_from(part.start, part.count), part.start, sequence.blocks, part.sample)

    def _charge(self, plan: Plan, duration_ns: int, speed: float) -> None:
        """Divide the step's time: decode time evenly, prefill time by tokens, the remainder to the first. Sums exactly."""
        if not plan.parts:
            return
        decode_each = self.cost.decode_ns(plan.decoding, speed) // plan.decoding if plan.decoding else 0
        prefill_ns = duration_ns - decode_each * plan.decoding
        per_token = prefill_ns // plan.prefill_tokens if plan.prefill_tokens else 0
        left = duration_ns
        for part in plan.parts:
            share = decode_each if part.decode else per_token * part.count
            left -= share
            part.sequence.busy_ns += share
        plan.parts[0].sequence.busy_ns += left

    def _postprocess(self, plan: Plan, output: StepOutput) -> None:
        now_ns = self._loop.now_ns
        for part, token in zip(plan.parts, output.tokens, strict=True):
            sequence = part.sequence
            if sequence.ending is not None:
                continue  # aborted during the step
            if part.decode:
                sequence.computed += 1
                sequence.generated.append(token)
            else:
                self._prefilled(part, token, now_ns)
                if sequence.state is State.KV_TRANSFER:
                    continue
            if sequence.finished:
                self._complete(sequence, "finished", "ok")
            elif sequence.abandoned and self.cancel_on_disconnect:
                self._complete(sequence, "cancelled", "cancelled")

    def _prefilled(self, part: Part, token: int, now_ns: int) -> None:
        """A chunk of a prompt is computed; after the last one a token comes out."""
        sequence = part.sequence
        block_tokens = self.scheduler.block_tokens
        before, sequence.computed = sequence.computed, sequence.computed + part.count
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
                if sequence.handover is not None and not sequence.finished:
                    self._hand_over(sequence, sequence.handover)

    def _hand_over(self, sequence: Sequence, handover: Callable[[], None]) -> None:
        """The sequence leaves the batch; its blocks stay until ``let_go``."""
        self.scheduler.running.remove(sequence)
        self._handing.add(sequence)
        sequence.enter(State.KV_TRANSFER, self._loop.now_ns, "handed_over")
        handover()

    def let_go(self, sequence: Sequence) -> None:
        """Give up the blocks of a sequence that was handed over, if they are still there."""
        if sequence in self._handing:
            self._handing.remove(sequence)
            self.scheduler.release(sequence, self._loop.now_ns)

    def adopt(self, sequence: Sequence, blocks: list[int]) -> None:
        """Go on with a sequence whose prompt has been computed elsewhere and whose KV now lies in ``blocks`` here."""
        sequence.handover = None
        sequence.hold(blocks, self._loop.now_ns)
        sequence.enter(State.DECODE, self._loop.now_ns, "adopted")
        self.scheduler.running.append(sequence)
        self._wake()

    def abort(self, sequence: Sequence) -> None:
        """Drop a sequence that waits or runs here, with an error."""
        self._complete(sequence, "aborted", "error")

    def drop_handed(self, sequence: Sequence, ending: Ending) -> None:
        """The end of a sequence that is in no batch and in no queue: on its way between replicas, or not there yet."""
        self.let_go(sequence)
        self._ended(sequence, "dropped", ending)

    def _complete(self, sequence: Sequence, event: str, ending: Ending) -> None:
        now_ns = self._loop.now_ns
        self.scheduler.finish(sequence, now_ns)
        self._ended(sequence, event, ending)

    def _ended(self, sequence: Sequence, event: str, ending: Ending) -> None:
        sequence.enter(State.DONE, self._loop.now_ns, event)
        sequence.ending = ending
        sequence.on_end(ending)
        self._on_sequence_done(self, sequence)

    def _emit(self, plan: Plan, output: StepOutput, start_ns: int, duration_ns: int, evicted: int) -> None:
        self.steps += 1
        batch_tokens = [part.count for part in plan.parts]
        self._on_step(self, StepRecord(
            step_id=self.steps, start_ns=start_ns, duration_ns=duration_ns,
            prefill_tokens=round(plan.prefill_tokens / self.cost.prompt_scale),
            decode_tokens=round(plan.decoding / self.cost.output_scale), engine_tokens=sum(batch_tokens),
            running=len(self.scheduler.running), waiting=len(self.scheduler.waiting), deferred=self.deferred,
            kv_used_blocks=self.pool.used, evicted_blocks=evicted, preempted=len(plan.preempted),
            recomputed_tokens=round(plan.recomputed_tokens / self.cost.prompt_scale),
            batch_spans=[part.sequence.span_id for part in plan.parts],
            batch_tokens=batch_tokens, expert_load=output.expert_load,
        ))
