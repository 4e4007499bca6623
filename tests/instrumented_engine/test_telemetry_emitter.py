"""The emitter as a whole: what is lost is counted, the bodies are a function of the calls, resources are declared."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import instrumented_engine
from collectors.sink import MemorySink, Signal
from instrumented_engine.telemetry import DigestSink, Telemetry
from instrumented_engine.telemetry.resources import sdk_resource
from instrumented_engine.telemetry.ring import Ring

START = 1_770_000_000_000_000_000


@given(st.integers(1, 5), st.lists(st.none() | st.integers(), max_size=30))
def test_a_ring_keeps_the_first_and_counts_the_rest(capacity: int, actions: list[int | None]) -> None:
    """None drains, a number is pushed: a list is the model."""
    ring: Ring[int] = Ring(capacity)
    waiting: list[int] = []
    dropped = 0
    for action in actions:
        if action is None:
            assert ring.drain() == waiting
            waiting = []
        elif len(waiting) < capacity:
            assert ring.push(action)
            waiting.append(action)
        else:
            assert not ring.push(action)
            dropped += 1
        assert (len(ring), ring.dropped) == (len(waiting), dropped)


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ring(0)


def dropped(sink: MemorySink) -> dict[tuple[str, str], int]:
    """(entity, kind) -> value in the last scrape."""
    body = [body for signal, body in sink.bodies if signal == "metrics"][-1]
    out = {}
    for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        entity = {item.key: item.value.string_value for item in group.resource.attributes}["flashover.entity"]
        for metric in group.scope_metrics[0].metrics:
            assert metric.name == "flashover:telemetry_dropped" and metric.sum.is_monotonic
            for point in metric.sum.data_points:
                out[entity, point.attributes[0].value.string_value] = point.as_int
    return out


@given(
    size=st.integers(1, 6),
    gateway_spans=st.integers(0, 8),
    replica_spans=st.integers(0, 8),
    steps=st.integers(1, 8),
    events=st.integers(1, 8),
    rounds=st.integers(1, 3),
)
def test_what_is_lost_is_counted(
    size: int, gateway_spans: int, replica_spans: int, steps: int, events: int, rounds: int
) -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START, ring_size=size)
    gateway, replica = telemetry.resource("gateway:main", "gateway"), telemetry.resource("replica:r0", "engine")
    for _ in range(rounds):
        for at in range(gateway_spans):
            telemetry.gateway_request(gateway, trace_id=1, span_id=at + 1, start_ns=START, end_ns=START, outcome="ok")
        for at in range(replica_spans):
            telemetry.llm_request(replica, trace_id=1, span_id=at + 1, parent_id=9, start_ns=START, end_ns=START)
        for at in range(steps):
            telemetry.step(replica, step_id=at, start_ns=START, duration_ns=1)
        for _ in range(events):
            telemetry.event(gateway, "note", "", START)
        telemetry.scrape(START)
        telemetry.flush(START)
    lost = dropped(sink)
    kept = {"gateway": min(gateway_spans, size), "replica": min(replica_spans, max(0, size - gateway_spans))}
    assert lost["replica:r0", "step"] == rounds * max(0, steps - size)
    assert lost["gateway:main", "event"] == rounds * max(0, events - size)
    assert lost.get(("gateway:main", "span"), 0) == rounds * (gateway_spans - kept["gateway"])
    assert lost.get(("replica:r0", "span"), 0) == rounds * (replica_spans - kept["replica"])
    requests = [ExportTraceServiceRequest.FromString(body) for signal, body in sink.bodies if signal == "traces"]
    sent = sum(len(group.scope_spans[0].spans) for request in requests for group in request.resource_spans)
    assert sent == rounds * (kept["gateway"] + kept["replica"])


def test_a_loss_counter_exists_for_what_a_resource_emits_and_no_more() -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    telemetry.resource("router:main", "router")
    telemetry.event(telemetry.resource("gateway:main", "gateway"), "note", "", START)
    telemetry.scrape(START)
    assert dropped(sink) == {("gateway:main", "event"): 0}


SCRIPT = """
import random, sys
import numpy as np
from collectors.sink import MemorySink
from instrumented_engine.telemetry import DigestSink, Telemetry

START = 1_770_000_000_000_000_000
seed = random.Random(int(sys.argv[1]))
digest = DigestSink(MemorySink())
telemetry = Telemetry(digest, start_ns=START, ring_size=50)
gateway, pool = telemetry.resource("gateway:main", "gateway"), telemetry.resource("pool:main", "engine")
scale = {"flashover.prompt_scale": 0.1}
replicas = [telemetry.resource(f"replica:r{at}", "engine", scale, steps_under=pool) for at in range(3)]
ttft = [replica.metrics.histogram("vllm:time_to_first_token_seconds") for replica in replicas]
for turn in range(6):
    now = START + turn * 5_000_000_000
    for at in range(30):
        which = seed.randrange(3)
        trace, span = seed.getrandbits(128) | 1, seed.getrandbits(64) | 1
        ttft[which].observe(seed.random(), seed.randrange(1, 4))
        telemetry.llm_request(replicas[which], trace_id=trace, span_id=span, parent_id=5, start_ns=now, end_ns=now + at,
                              request_id=f"q{at}", events=[("queued", now)])
        telemetry.gateway_request(gateway, trace_id=trace, span_id=5, start_ns=now, end_ns=now + at,
                                  retry_of=(trace, span), outcome=seed.choice(["ok", "timeout"]),
                                  queue_ns=seed.randrange(10**9))
        load = None if at % 7 == 0 else np.array([seed.randrange(99) for _ in range(8)], np.int32)
        telemetry.step(replicas[which], step_id=at, start_ns=now, duration_ns=9, running=seed.choice([None, 3]),
                       batch_ids=[span], batch_tokens=[4], expert_load=load)
    telemetry.event(gateway, "note", f"turn {turn}", now, attributes={"turn": turn, "last": turn == 5})
    telemetry.scrape(now)
    telemetry.flush(now)
print(digest.sha256)
"""


def run_script(seed: int, hash_seed: str) -> str:
    root = Path(instrumented_engine.__file__).parent.parent
    settings = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root), "OTEL_RESOURCE_ATTRIBUTES": f"x={hash_seed}"}
    command = [sys.executable, "-c", SCRIPT, str(seed)]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_bodies_are_a_function_of_the_calls() -> None:
    """Two processes with other hash seeds and another environment, one digest; another seed, another digest."""
    first = run_script(7, "1")
    assert len(first) == 64
    assert run_script(7, "2") == first
    assert run_script(8, "1") != first


@given(st.lists(st.tuples(st.sampled_from(["traces", "metrics", "logs"]), st.binary(max_size=20)), max_size=6))
def test_the_digest_covers_every_body_and_forwards_it(bodies: list[tuple[Signal, bytes]]) -> None:
    inner = MemorySink()
    digest = DigestSink(inner)
    seen = [digest.sha256]
    expected = hashlib.sha256()
    for signal, body in bodies:
        digest.put(signal, body)
        expected.update(f"{signal} {len(body)}\n".encode() + body)
        seen.append(digest.sha256)
    digest.sync()
    assert inner.bodies == bodies
    assert len(set(seen)) == len(seen)
    assert digest.sha256 == expected.hexdigest()


class Journal:
    """A sink that notes what was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def put(self, signal: Signal, body: bytes) -> None:
        self.calls.append(signal)

    def sync(self) -> None:
        self.calls.append("sync")


def test_a_flush_ends_with_a_sync_also_when_there_is_nothing_to_say() -> None:
    journal = Journal()
    telemetry = Telemetry(DigestSink(journal), start_ns=START)
    gateway = telemetry.resource("gateway:main", "gateway")
    telemetry.flush(START)
    telemetry.event(gateway, "note", "", START)
    telemetry.gateway_request(gateway, trace_id=1, span_id=1, start_ns=START, end_ns=START, outcome="ok")
    telemetry.scrape(START)
    telemetry.flush(START)
    assert journal.calls == ["sync", "metrics", "traces", "logs", "sync"]


def test_a_resource_says_who_it_is_and_nothing_about_the_machine() -> None:
    attributes = dict(sdk_resource("replica:r0", "engine", {"flashover.prompt_scale": 0.5, "gone": None}).attributes)  # type: ignore[dict-item]
    assert attributes.pop("telemetry.sdk.name") == "opentelemetry"
    assert attributes.pop("telemetry.sdk.language") == "python"
    assert attributes.pop("telemetry.sdk.version")
    assert attributes == {
        "service.name": "engine",
        "service.instance.id": "replica:r0",
        "flashover.entity": "replica:r0",
        "flashover.prompt_scale": 0.5,
    }


@pytest.mark.parametrize("entity", ["r0", "replica:", "thing:r0", ":r0", ""])
def test_an_entity_must_be_of_a_known_kind(entity: str) -> None:
    with pytest.raises(ValueError, match="kind:name"):
        sdk_resource(entity, "engine")


def test_an_entity_has_one_resource_and_one_name() -> None:
    telemetry = Telemetry(MemorySink(), start_ns=START)
    telemetry.resource("replica:r0", "engine")
    with pytest.raises(ValueError, match="replica:r0 already"):
        telemetry.resource("replica:r0", "engine")
    with pytest.raises(ValueError, match=r"flashover\.entity cannot be given"):
        telemetry.resource("replica:r1", "engine", {"flashover.entity": "replica:r0"})
