"""Telemetry leaves the engine through here and nowhere else: records in the hot path, OTLP bodies in bulk.

All times are UTC ns and all ids are arguments (trace ids 128 bits, span ids 64 bits, unsigned, never 0)::

    digest = DigestSink(sink)                                    # optional: .sha256 over every body
    telemetry = Telemetry(digest, start_ns=epoch_ns)
    gateway = telemetry.resource("gateway:main", "flashover-gateway")
    pool = telemetry.resource("pool:main", "flashover-engine")
    r0 = telemetry.resource("replica:r0", "flashover-engine", {"flashover.prompt_scale": 1 / 32,
                            "flashover.edge.syncs_kv": "kv_index:main"}, steps_under=pool)

    running = r0.metrics.gauge("vllm:num_requests_running")      # bind once ...
    finished = r0.metrics.counter("vllm:request_success", finished_reason="stop")
    ttft = r0.metrics.histogram("vllm:time_to_first_token_seconds")   # vLLM's buckets by name, else bounds=(...)
    running.set(3); finished.add(); ttft.observe(0.21)           # ... write in the hot path
    ttft.observe(0.4, n=256)                                     # n observations in one write

    telemetry.llm_request(r0, trace_id=t, span_id=e, parent_id=g, start_ns=.., end_ns=.., request_id="q1", attempt=1,
                          prompt_tokens=900, events=[("queued", ns), ("first_token", ns), ("finished", ns)])
    telemetry.gateway_request(gateway, trace_id=t, span_id=g, start_ns=.., end_ns=.., outcome="timeout",
                              retry_of=(t, previous_span_id), request_id="q1", attempt=2, queue_ns=.., ttft_ns=None)
    telemetry.step(r0, step_id=1, start_ns=.., duration_ns=.., running=3, batch_ids=[e], batch_tokens=[16],
                   expert_load=int32_array)
    telemetry.event(gateway, "config_change", "retry budget set to 3", now_ns, attributes={"author": "ops"})

    telemetry.scrape(now_ns)                                     # every 5 virtual seconds
    telemetry.flush(now_ns)                                      # spans, events, steps -> sink, then sync

Columns are those of ``collectors/schema.py``; one that is None or not given is an attribute that is not sent. Records
that find no room are counted in ``flashover:telemetry_dropped{kind}``.
"""

from __future__ import annotations

from instrumented_engine.telemetry.digest import DigestSink
from instrumented_engine.telemetry.emitter import Telemetry
from instrumented_engine.telemetry.metrics import Counter, Gauge, Histogram, Registry
from instrumented_engine.telemetry.resources import Resource
from instrumented_engine.telemetry.spans import GATEWAY_REQUEST, LLM_REQUEST

__all__ = [
    "GATEWAY_REQUEST", "LLM_REQUEST", "Counter", "DigestSink", "Gauge", "Histogram", "Registry", "Resource",
    "Telemetry",
]
