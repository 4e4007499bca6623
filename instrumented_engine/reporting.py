"""From what happens in the cluster to telemetry: the observer that names every span, metric and event.

Metrics carry vLLM's own names where vLLM has one. Token counts are unscaled. Nothing is reported of the warm-up: the
collector was attached at the scenario's ``start``. There is no GPU, so no GPU or energy value is ever set.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collectors.schema import PHASES
from collectors.sink import Sink
from instrumented_engine.cluster import Cluster
from instrumented_engine.engine import Engine, StepRecord
from instrumented_engine.gateway import AttemptRecord
from instrumented_engine.replica_metrics import ReplicaMetrics
from instrumented_engine.scenario import Scenario
from instrumented_engine.sequence import Sequence
from instrumented_engine.telemetry import Counter, Resource, Telemetry

FLUSH_TICKS = 12
"""Spans, steps and events leave with every so many scrapes."""


@dataclass(slots=True)
class Running:
    """A counter fed from a running total that a component keeps."""

    counter: Counter
    total: float

    def follow(self, total: float) -> None:
        """Add what the total has grown by."""
        self.counter.add(total - self.total)
        self.total = total


class Reporter:
    """Implements ``cluster.Observer`` over a sink. Call ``finish`` after the run. ``on_progress`` gets virtual seconds."""

    def __init__(
        self, scenario: Scenario, sink: Sink, on_progress: Callable[[float], None] = lambda seconds: None
    ) -> None:
        names = scenario.names
        self._scenario = scenario
        self._offset_ns = scenario.start_ns - round(scenario.warm_up_s * 1e9)
        self._begin_ns = round(scenario.warm_up_s * 1e9)
        self._ticks = 0
        self._running: list[Running] | None = None
        self.replica_names = [f"replica:{names.replica}{number}" for number in range(scenario.cluster.replicas)]
        self._telemetry = Telemetry(sink, start_ns=scenario.start_ns)
        index, router = f"kv_index:{names.kv_index}", f"router:{names.router}"
        self._gateway = self._resource(f"gateway:{names.gateway}", {"flashover.edge.calls": router})
        self._router = self._resource(
            router, {"flashover.edge.calls": index, "flashover.edge.routes_to": ",".join(self.replica_names)}
        )
        self._index = self._resource(index, {})
        pool = self._resource("pool:main", {})
        facts: dict[str, str | float] = {
            "flashover.edge.syncs_kv": index,
            "flashover.prompt_scale": scenario.workload.prompt_scale,
            "flashover.output_scale": scenario.workload.output_scale,
        }
        self._replicas = [self._resource(name, facts, steps_under=pool) for name in self.replica_names]
        self._metrics = [ReplicaMetrics(resource.metrics, scenario) for resource in self._replicas]
        self._on_progress = on_progress

    def _resource(
        self, entity: str, attributes: dict[str, str | float], steps_under: Resource | None = None
    ) -> Resource:
        service = f"flashover-{entity.partition(':')[0]}"
        return self._telemetry.resource(entity, service, attributes, steps_under=steps_under)

    def _utc(self, loop_ns: int) -> int:
        return self._offset_ns + loop_ns

    # -- what the cluster tells ------------------------------------------------------------------------------------

    def on_attempt(self, record: AttemptRecord) -> None:
        """One ``gateway.request`` span, and the gateway's counters."""
        if record.start_ns < self._begin_ns:
            return
        attempt, sequence, decision = record.attempt, record.sequence, record.decision
        previous = attempt.previous_span_id
        reached = sequence is not None and decision is not None
        columns: dict[str, Any] = {phase: record.phases.get(phase, 0) for phase in PHASES}
        self._telemetry.gateway_request(
            self._gateway,
            trace_id=attempt.trace_id,
            span_id=attempt.span_id,
            start_ns=self._utc(record.start_ns),
            end_ns=self._utc(record.end_ns),
            outcome=record.outcome,
            retry_of=None if previous is None else (attempt.trace_id, previous),
            request_id=attempt.request_id,
            attempt=attempt.number,
            cohort=attempt.cohort.name,
            tier=attempt.cohort.tier,
            session=attempt.arrival.session,
            user_hash=zlib.crc32(attempt.arrival.session.encode()),
            replica=self.replica_names[decision.replica] if reached and decision is not None else None,
            prompt_tokens=attempt.arrival.prompt_tokens,
            ttft_ns=record.ttft_ns,
            e2e_ns=record.end_ns - record.start_ns,
            predicted_blocks=decision.predicted_blocks if reached and decision is not None else None,
            hit_blocks=sequence.hit_blocks if sequence is not None else None,
            prompt_blocks=len(attempt.arrival.blocks),
            **columns,
        )
        self._gateway.metrics.counter("flashover:gateway_finished", outcome=record.outcome).add()

    def on_sequence_done(self, engine: Engine, sequence: Sequence) -> None:
        """One ``llm_request`` span, and the replica's histograms."""
        attempt = sequence.attempt
        if sequence.entered_ns < self._begin_ns:
            return
        workload = self._scenario.workload
        self._telemetry.llm_request(
            self._replicas[engine.number],
            trace_id=attempt.trace_id,
            span_id=sequence.span_id,
            parent_id=attempt.span_id,
            start_ns=self._utc(sequence.entered_ns),
            end_ns=self._utc(sequence.since_ns),
            events=[(name, self._utc(at_ns)) for name, at_ns in sequence.events],
            request_id=attempt.request_id,
            attempt=attempt.number,
            prompt_tokens=sequence.arrival.prompt_tokens,
            cached_tokens=self._metrics[engine.number].cached_tokens(sequence),
            computed_tokens=round(sequence.computed_prompt / workload.prompt_scale),
            recomputed_tokens=round(sequence.recomputed / workload.prompt_scale),
            output_tokens=round(len(sequence.generated) / workload.output_scale),
            hit_blocks=sequence.hit_blocks,
            busy_ns=sequence.busy_ns,
            wasted_ns=sequence.busy_ns if sequence.abandoned else 0,
            preemptions=sequence.preemptions,
            kv_block_ns=sequence.kv_block_ns,
        )
        self._metrics[engine.number].sequence_done(sequence)

    def on_step(self, engine: Engine, record: StepRecord) -> None:
        """One row of ``steps``."""
        if record.start_ns < self._begin_ns:
            return
        self._telemetry.step(
            self._replicas[engine.number],
            step_id=record.step_id,
            start_ns=self._utc(record.start_ns),
            duration_ns=record.duration_ns,
            prefill_tokens=record.prefill_tokens,
            decode_tokens=record.decode_tokens,
            engine_tokens=record.engine_tokens,
            running=record.running,
            waiting=record.waiting,
            waiting_capacity=record.waiting,
            waiting_deferred=0,
            kv_used_blocks=record.kv_used_blocks,
            kv_total_blocks=engine.pool.total,
            kv_evicted_blocks=record.evicted_blocks,
            preempted=record.preempted,
            recomputed_tokens=record.recomputed_tokens,
            batch_ids=record.batch_spans,
            batch_tokens=record.batch_tokens,
            expert_load=record.expert_load,
        )
        self._metrics[engine.number].step(record)

    def on_action(self, kind: str, entity: str, summary: str, at_ns: int) -> None:
        """One row of ``events``."""
        self._telemetry.event(self._gateway, kind, summary, self._utc(at_ns), entity=entity)

    def on_tick(self, cluster: Cluster) -> None:
        """Scrape; every ``FLUSH_TICKS``-th time, flush. The first tick is where counters begin."""
        now_ns = self._utc(cluster.loop.now_ns)
        if self._running is None:
            self._running = self._bind(cluster)
            self._describe_run(cluster)
        for running, total in zip(self._running, _totals(cluster), strict=True):
            running.follow(total)
        self._set_gauges(cluster)
        self._telemetry.scrape(now_ns)
        self._on_progress(cluster.loop.now_ns / 1e9)
        self._ticks += 1
        if self._ticks % FLUSH_TICKS == 0:
            cluster.runner.settle()
            self._telemetry.flush(now_ns)

    def finish(self, cluster: Cluster) -> None:
        """Flush what is left."""
        cluster.runner.settle()
        self._telemetry.flush(self._utc(cluster.loop.now_ns))

    # -- metrics of gateway, router, index -------------------------------------------------------------------------

    def _describe_run(self, cluster: Cluster) -> None:
        workload = self._scenario.workload
        self._telemetry.event(
            self._gateway,
            "run",
            "telemetry begins",
            self._scenario.start_ns,
            attributes={
                "flashover.prompt_scale": workload.prompt_scale,
                "flashover.output_scale": workload.output_scale,
                "flashover.clipped_requests": cluster.arrivals.clipped,
                "flashover.requests": len(cluster.arrivals.requests),
            },
        )

    def _bind(self, cluster: Cluster) -> list[Running]:
        gateway, router, index = self._gateway.metrics, self._router.metrics, self._index.metrics
        counters = [
            *(
                gateway.counter("flashover:gateway_arrivals", cohort=cohort.name, attempt=kind)
                for cohort in self._scenario.cohorts
                for kind in ("first", "retry")
            ),
            *(router.counter("flashover:router_decisions", reason=reason) for reason in ("prefix", "load")),
            router.counter("flashover:router_predicted_blocks", "blocks"),
            router.counter("flashover:router_hit_blocks", "blocks"),
            index.counter("flashover:kv_index_events_applied"),
            index.counter("flashover:kv_index_sequence_gaps"),
            index.counter("flashover:kv_index_dumps"),
        ]
        return [Running(counter, total) for counter, total in zip(counters, _totals(cluster), strict=True)]

    def _set_gauges(self, cluster: Cluster) -> None:
        self._gateway.metrics.gauge("flashover:gateway_inflight").set(cluster.gateway.in_flight)
        index = self._index.metrics
        index.gauge("flashover:kv_index_lag_events").set(cluster.index.pending)
        index.gauge("flashover:kv_index_lag_seconds", "s").set(cluster.index.lag_ns / 1e9)
        index.gauge("flashover:kv_index_blocks", "blocks").set(cluster.index.size)
        for engine, metrics in zip(cluster.engines, self._metrics, strict=True):
            metrics.scrape(engine)


def _totals(cluster: Cluster) -> list[float]:
    """The running totals behind the counters of ``Reporter._bind``, in the same order."""
    arrivals = cluster.gateway.arrivals
    return [
        *(
            arrivals.get((cohort.name, kind), 0)
            for cohort in cluster.scenario.cohorts
            for kind in ("first", "retry")
        ),
        *(cluster.router.decisions[reason] for reason in ("prefix", "load")),
        cluster.router.predicted_blocks,
        sum(engine.scheduler.hit_blocks for engine in cluster.engines),
        cluster.index.applied,
        cluster.index.gaps,
        cluster.index.dumps,
    ]
