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
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Sequence
from instrumented_engine.replica.step_record import StepRecord
from instrumented_engine.reporting.replica_metrics import ReplicaMetrics
from instrumented_engine.routing.door import AttemptRecord
from instrumented_engine.scenario import Scenario
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


def _decided(record: AttemptRecord) -> dict[str, Any]:
    """How the attempt was routed or why it was turned away: attributes of its root span."""
    decision = record.decision
    if decision is None:
        return {"refusal": record.refusal}
    return {
        "route_router": decision.router, "route_reason": decision.reason, "route_load": decision.load,
        "route_candidates": decision.candidates,
    }


class Reporter:
    """Implements ``cluster.Observer`` over a sink. Call ``finish`` after the run. ``on_progress`` gets virtual seconds."""

    def __init__(
        self, scenario: Scenario, sink: Sink, on_progress: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self._scenario = scenario
        self._offset_ns = scenario.start_ns - round(scenario.warm_up_s * 1e9)
        self._begin_ns = round(scenario.warm_up_s * 1e9)
        self._ticks = 0
        self._running: dict[tuple[str, str, tuple[tuple[str, str], ...]], Running] = {}
        self._telemetry = Telemetry(sink, start_ns=scenario.start_ns)
        self._resources: dict[str, Resource] = {}
        self._replicas: list[Resource] = []
        self._metrics: list[ReplicaMetrics] = []
        self._on_progress = on_progress

    def on_start(self, cluster: Cluster) -> None:
        """Make a resource of every part that has metrics or serves, each with what it depends on."""
        scale: dict[str, str | float] = {
            "flashover.prompt_scale": self._scenario.workload.prompt_scale,
            "flashover.output_scale": self._scenario.workload.output_scale,
        }
        for region in cluster.regions:
            for entity in (region.site.gateway, *region.site.routers, region.site.kv_index):
                self._resource(entity, self._edges(cluster, entity))
            pool = self._resource(region.site.pool, {})
            for entity in region.site.replicas:
                self._resource(entity, self._edges(cluster, entity) | scale, steps_under=pool)
        for entity in cluster.measures:
            if entity not in self._resources:
                self._resource(entity, self._edges(cluster, entity))
        self._replicas = [self._resources[engine.entity] for engine in cluster.engines]
        self._metrics = [ReplicaMetrics(resource.metrics, self._scenario) for resource in self._replicas]
        self._first = self._resources[cluster.regions[0].site.gateway]

    @staticmethod
    def _edges(cluster: Cluster, entity: str) -> dict[str, str | float]:
        relations = cluster.edges.get(entity, {})
        return {f"flashover.edge.{kind}": ",".join(others) for kind, others in relations.items()}

    def _resource(
        self, entity: str, attributes: dict[str, str | float], steps_under: Resource | None = None
    ) -> Resource:
        service = f"flashover-{entity.partition(':')[0]}"
        resource = self._telemetry.resource(entity, service, attributes, steps_under=steps_under)
        self._resources[entity] = resource
        return resource

    def _utc(self, loop_ns: int) -> int:
        return self._offset_ns + loop_ns

    # -- what the cluster tells ------------------------------------------------------------------------------------

    def on_attempt(self, record: AttemptRecord) -> None:
        """One ``gateway.request`` span, and the gateway's counters."""
        if record.start_ns < self._begin_ns:
            return
        attempt, sequence, decision = record.attempt, record.sequence, record.decision
        previous = attempt.previous_span_id
        door = self._resources[record.door]
        columns: dict[str, Any] = {phase: record.phases.get(phase, 0) for phase in PHASES}
        self._telemetry.gateway_request(
            door,
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
            replica=record.replica,
            prompt_tokens=attempt.arrival.prompt_tokens,
            ttft_ns=record.ttft_ns,
            e2e_ns=record.end_ns - record.start_ns,
            predicted_blocks=decision.predicted_blocks if decision is not None else None,
            hit_blocks=sequence.hit_blocks if sequence is not None else None,
            prompt_blocks=len(attempt.arrival.blocks),
            **_decided(record),
            **columns,
        )
        door.metrics.counter("flashover:gateway_finished", outcome=record.outcome).add()

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
            waiting_deferred=record.deferred,
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
        self._telemetry.event(self._first, kind, summary, self._utc(at_ns), entity=entity)

    def on_tick(self, cluster: Cluster) -> None:
        """Scrape; every ``FLUSH_TICKS``-th time, flush. The first tick is where counters begin."""
        now_ns = self._utc(cluster.loop.now_ns)
        if self._ticks == 0:
            self._describe_run(cluster)
        self._measure(cluster)
        for engine, metrics in zip(cluster.engines, self._metrics, strict=True):
            metrics.scrape(engine)
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

    # -- metrics of the parts ----------------------------------------------------------------------------------------

    def _describe_run(self, cluster: Cluster) -> None:
        workload = self._scenario.workload
        self._telemetry.event(
            self._first,
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

    def _measure(self, cluster: Cluster) -> None:
        """Read every part's measures. A counter that exists at the first tick begins there, a later one at 0."""
        for entity, sources in cluster.measures.items():
            registry = self._resources[entity].metrics
            for source in sources:
                for measure in source():
                    if not measure.counter:
                        registry.gauge(measure.name, measure.unit, **dict(measure.labels)).set(measure.value)
                        continue
                    key = (entity, measure.name, measure.labels)
                    running = self._running.get(key)
                    if running is None:
                        counter = registry.counter(measure.name, measure.unit, **dict(measure.labels))
                        begin = measure.value if self._ticks == 0 else 0.0
                        running = self._running[key] = Running(counter, begin)
                    running.follow(measure.value)
