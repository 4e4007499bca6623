"""The one door through which telemetry leaves the engine.

The serving path only leaves fixed-size records behind; ``scrape`` and ``flush`` turn them into OTLP bodies in bulk.
Both are called by whoever owns the clock. There is no thread, no wall time and no randomness in here: times and ids are
arguments, so the bodies are a function of the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.sink import Signal, Sink
from instrumented_engine.telemetry import wire
from instrumented_engine.telemetry.events import EventRecord, encode_event, encode_steps
from instrumented_engine.telemetry.metrics import Registry
from instrumented_engine.telemetry.resources import SCOPE_BYTES, Resource, sdk_resource
from instrumented_engine.telemetry.ring import Ring
from instrumented_engine.telemetry.spans import (
    GATEWAY_REQUEST,
    LLM_REQUEST,
    STATUS_ERROR,
    STATUS_UNSET,
    Event,
    Link,
    SpanRecord,
    encode_span,
)
from instrumented_engine.telemetry.steps import StepColumns

RING_SIZE = 65_536
BODY_RECORDS = 5_000
BODY_BYTES = 3_500_000
"""A body holds at most so many records and about so many bytes: under the 4 MiB that gRPC receivers take by default."""


class Telemetry:
    """Spans, steps, control facts and metrics of one run.

    ``start_ns``: start of the run, UTC ns; every time handed in is UTC ns as well. ``ring_size``: how many spans, how
    many control facts and how many steps may wait for a flush; what exceeds it is counted in
    ``flashover:telemetry_dropped{kind=span|event|step}`` of the resource that lost it.
    """

    def __init__(self, sink: Sink, *, start_ns: int, ring_size: int = RING_SIZE) -> None:
        self._sink = sink
        self._start_ns = start_ns
        self._ring_size = ring_size
        self._resources: list[Resource] = []
        self._entities: set[str] = set()
        self._spans: Ring[SpanRecord] = Ring(ring_size)
        self._events: Ring[EventRecord] = Ring(ring_size)

    def resource(
        self,
        entity: str,
        service: str,
        attributes: Mapping[str, wire.Value] | None = None,
        *,
        steps_under: Resource | None = None,
    ) -> Resource:
        """The handle for ``entity`` ("replica:r0"); once per entity (ValueError).

        ``steps_under``: another resource (the pool, say) whose step bodies carry this one's steps too: one body a flush
        for a whole fleet is several times cheaper than one per replica, and each step names its replica anyway.
        """
        if entity in self._entities:
            raise ValueError(f"entity {entity} already has a resource")
        sdk = sdk_resource(entity, service, attributes)
        steps = StepColumns(self._ring_size) if steps_under is None else steps_under.steps
        resource = Resource(len(self._resources), entity, sdk, Registry(self._start_ns), steps)
        self._resources.append(resource)
        self._entities.add(entity)
        return resource

    def gateway_request(
        self,
        resource: Resource,
        *,
        trace_id: int,
        span_id: int,
        start_ns: int,
        end_ns: int,
        outcome: str,
        retry_of: Link | None = None,
        events: Sequence[Event] = (),
        **columns: Any,
    ) -> None:
        """The root span of one attempt, when its client got its answer or left.

        ``columns``: the rest of ``spans.GATEWAY_REQUEST.columns`` by name, absent or None where unknown. ``retry_of``:
        (trace id, span id) of the previous attempt's root span. The status is ERROR unless the outcome is ok.
        """
        columns["outcome"] = outcome
        status, message = (STATUS_UNSET, "") if outcome == "ok" else (STATUS_ERROR, outcome)
        values = GATEWAY_REQUEST.values(columns)
        self._span(resource, SpanRecord(
            GATEWAY_REQUEST, resource.index, trace_id, span_id, None, start_ns, end_ns, status, message, values,
            tuple(events), retry_of,
        ))

    def llm_request(
        self,
        resource: Resource,
        *,
        trace_id: int,
        span_id: int,
        parent_id: int,
        start_ns: int,
        end_ns: int,
        error: str | None = None,
        events: Sequence[Event] = (),
        **columns: Any,
    ) -> None:
        """The engine's span of one attempt, when the engine is done with it. ``parent_id``: its gateway.request span.

        ``columns``: those of ``spans.LLM_REQUEST.columns`` by name. ``events``: (name, UTC ns) in order of time.
        ``error``: what went wrong in the engine, None when nothing did.
        """
        status, message = (STATUS_UNSET, "") if error is None else (STATUS_ERROR, error)
        values = LLM_REQUEST.values(columns)
        self._span(resource, SpanRecord(
            LLM_REQUEST, resource.index, trace_id, span_id, parent_id, start_ns, end_ns, status, message, values,
            tuple(events), None,
        ))

    def _span(self, resource: Resource, record: SpanRecord) -> None:
        if not (0 < record.trace_id < 1 << 128 and 0 < record.span_id < 1 << 64):
            raise ValueError(f"trace id {record.trace_id} or span id {record.span_id} is zero, negative or too long")
        lost = resource.emits("span")
        if not self._spans.push(record):
            lost.add()

    def step(
        self,
        resource: Resource,
        *,
        step_id: int,
        start_ns: int,
        duration_ns: int,
        prefill_tokens: int | None = None,
        decode_tokens: int | None = None,
        engine_tokens: int | None = None,
        running: int | None = None,
        waiting: int | None = None,
        waiting_capacity: int | None = None,
        waiting_deferred: int | None = None,
        kv_used_blocks: int | None = None,
        kv_total_blocks: int | None = None,
        kv_evicted_blocks: int | None = None,
        preempted: int | None = None,
        recomputed_tokens: int | None = None,
        batch_ids: Sequence[int] = (),
        batch_tokens: Sequence[int] = (),
        expert_load: NDArray[np.int32] | None = None,
    ) -> None:
        """One engine step of replica ``resource``; columns and units as in ``schema.STEPS``.

        ``batch_ids`` (engine span ids) and ``batch_tokens`` (scaled tokens computed) are parallel and are copied;
        ``expert_load`` is kept by reference until the flush.
        """
        row = (
            resource.entity, step_id, start_ns, duration_ns, prefill_tokens, decode_tokens, engine_tokens, running,
            waiting, waiting_capacity, waiting_deferred, kv_used_blocks, kv_total_blocks, kv_evicted_blocks, preempted,
            recomputed_tokens,
        )
        lost = resource.emits("step")
        if not resource.steps.append(row, batch_ids, batch_tokens, expert_load):
            lost.add()

    def event(
        self,
        resource: Resource,
        kind: str,
        summary: str,
        at_ns: int,
        *,
        entity: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """A control fact, as an operator's change log would hold it (``schema.EVENTS``).

        ``entity``: whom it happened to, ``resource``'s own by default.
        """
        named = {"flashover.entity": entity or resource.entity, **(attributes or {})}
        lost = resource.emits("event")
        if not self._events.push(EventRecord(resource.index, at_ns, kind, summary, named)):
            lost.add()

    def scrape(self, now_ns: int) -> None:
        """Put the metrics of all resources into the sink, as one body if it fits; durable after the next ``flush``."""
        self._put("metrics", (
            (resource.index, metric) for resource in self._resources for metric in resource.metrics.collect(now_ns)
        ))

    def flush(self, now_ns: int) -> None:
        """Put all waiting spans, control facts and steps into the sink, then ``sync`` it."""
        self._put("traces", ((record.resource, encode_span(record)) for record in self._spans.drain()))
        self._put("logs", self._logs(now_ns))
        self._sink.sync()

    def _logs(self, now_ns: int) -> Iterator[tuple[int, bytes]]:
        for record in self._events.drain():
            yield record.resource, encode_event(record, now_ns)
        for resource in self._resources:
            for stream in resource.steps.drain(BODY_BYTES):
                yield resource.index, encode_steps(stream, now_ns)

    def _put(self, signal: Signal, records: Iterator[tuple[int, bytes]]) -> None:
        for groups in _bodies(records):
            encoded = [(self._resources[index].encoded, items) for index, items in groups.items()]
            self._sink.put(signal, wire.envelope(SCOPE_BYTES, encoded))


def _bodies(records: Iterator[tuple[int, bytes]]) -> Iterator[dict[int, list[bytes]]]:
    """Records (resource index, message) cut into bodies and grouped by resource, all in order of first appearance."""
    groups: dict[int, list[bytes]] = {}
    count = size = 0
    for index, message in records:
        if count and (count >= BODY_RECORDS or size + len(message) > BODY_BYTES):
            yield groups
            groups, count, size = {}, 0, 0
        groups.setdefault(index, []).append(message)
        count, size = count + 1, size + len(message)
    if count:
        yield groups
