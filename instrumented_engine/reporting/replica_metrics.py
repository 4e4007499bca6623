"""The metrics of one replica, under vLLM's names (telemetry names: vLLM V1 ``metrics/loggers.py``)."""

from __future__ import annotations

from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Sequence, State
from instrumented_engine.replica.step_record import StepRecord
from instrumented_engine.scenario import Scenario
from instrumented_engine.telemetry import Registry

_STEP_BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Seconds; fine around the engine's step target, so that a slow step is no lump in one bucket."""


class ReplicaMetrics:
    """Handles bound once; ``step`` and ``sequence_done`` write as things happen, ``scrape`` reads what is a level."""

    def __init__(self, registry: Registry, scenario: Scenario) -> None:
        self._prompt_scale = scenario.workload.prompt_scale
        self._output_scale = scenario.workload.output_scale
        self._block_tokens = scenario.replica.block_tokens
        counter, gauge, histogram = registry.counter, registry.gauge, registry.histogram
        self._running = gauge("vllm:num_requests_running")
        self._waiting = gauge("vllm:num_requests_waiting")
        self._waiting_capacity = gauge("vllm:num_requests_waiting_by_reason", reason="capacity")
        self._waiting_deferred = gauge("vllm:num_requests_waiting_by_reason", reason="deferred")
        self._usage = gauge("vllm:kv_cache_usage_perc")
        self._cached = gauge("flashover:kv_cached_blocks", "blocks")
        self._queries = counter("vllm:prefix_cache_queries", "tokens")
        self._hits = counter("vllm:prefix_cache_hits", "tokens")
        self._preemptions = counter("vllm:num_preemptions")
        self._prompt = counter("vllm:prompt_tokens", "tokens")
        self._output = counter("vllm:generation_tokens", "tokens")
        self._computed = counter("vllm:prompt_tokens_by_source", "tokens", source="local_compute")
        self._from_cache = counter("vllm:prompt_tokens_by_source", "tokens", source="local_cache_hit")
        self._recomputed = counter("vllm:prompt_tokens_recomputed", "tokens")
        self._stored = counter("flashover:kv_blocks_stored", "blocks")
        self._evicted = counter("flashover:kv_blocks_evicted", "blocks")
        self._published = counter("flashover:kv_events_published")
        self._dropped = counter("flashover:kv_events_dropped")
        self._finished = counter("vllm:request_success", finished_reason="length")
        self._aborted = counter("vllm:request_success", finished_reason="abort")
        self._ttft = histogram("vllm:time_to_first_token_seconds", "s")
        self._e2e = histogram("vllm:e2e_request_latency_seconds", "s")
        self._queue = histogram("vllm:request_queue_time_seconds", "s")
        self._prefill = histogram("vllm:request_prefill_time_seconds", "s")
        self._decode = histogram("vllm:request_decode_time_seconds", "s")
        self._step = histogram("flashover:step_duration_seconds", "s", bounds=_STEP_BOUNDS)
        self._step_tokens = histogram("vllm:iteration_tokens_total", "tokens")
        self._totals: tuple[int, ...] | None = None

    def cached_tokens(self, sequence: Sequence) -> int:
        """Unscaled prompt tokens that came from the prefix cache at the first admission."""
        return round((sequence.hit_blocks or 0) * self._block_tokens / self._prompt_scale)

    def step(self, record: StepRecord) -> None:
        """One step is over."""
        self._step.observe(record.duration_ns / 1e9)
        self._step_tokens.observe(record.prefill_tokens + record.decode_tokens)
        self._output.add(record.decode_tokens)
        self._computed.add(record.prefill_tokens)
        self._recomputed.add(record.recomputed_tokens)

    def sequence_done(self, sequence: Sequence) -> None:
        """The engine is done with an attempt."""
        if not sequence.finished:
            self._aborted.add()
            return
        self._finished.add()
        self._prompt.add(sequence.arrival.prompt_tokens)
        self._from_cache.add(self.cached_tokens(sequence))
        self._e2e.observe((sequence.since_ns - sequence.entered_ns) / 1e9)
        self._queue.observe(sequence.spent_ns[State.QUEUED] / 1e9)
        self._prefill.observe(sequence.spent_ns[State.PREFILL] / 1e9)
        self._decode.observe(sequence.spent_ns[State.DECODE] / 1e9)
        if sequence.first_token_ns is not None:
            self._ttft.observe((sequence.first_token_ns - sequence.entered_ns) / 1e9)

    def scrape(self, engine: Engine) -> None:
        """Read levels, and the totals that the engine keeps anyway."""
        scheduler, pool, stream = engine.scheduler, engine.pool, engine.stream
        self._running.set(len(scheduler.running))
        self._waiting.set(len(scheduler.waiting))
        self._waiting_capacity.set(len(scheduler.waiting))
        self._waiting_deferred.set(engine.deferred)
        self._usage.set(pool.used / pool.total)
        self._cached.set(pool.cached)
        totals = (
            round(scheduler.prefix_queries / self._prompt_scale),
            round(scheduler.prefix_hits / self._prompt_scale),
            scheduler.preemptions,
            pool.stored,
            pool.evicted,
            stream.published,
            stream.dropped,
        )
        counters = (
            self._queries, self._hits, self._preemptions, self._stored, self._evicted, self._published, self._dropped
        )
        for counter, total, before in zip(counters, totals, self._totals or totals, strict=True):
            counter.add(total - before)
        self._totals = totals
