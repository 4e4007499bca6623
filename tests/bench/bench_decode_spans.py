"""What decoding traces costs: ``python tests/bench/bench_decode_spans.py``. CPU time, as a ratio.

OTLP bodies to the table of ``spans``, all columns, MAPs and edges, against the official protobuf classes and a Python list
for each column (``decode_spans.SpanRows``), in one process and taking turns. Bodies: (fleet) requests of root, queue,
prefill, kv_sync and decode spans with 13 to 15 attributes and random ids, as a vLLM-like source sends them; (engine) the
built-in engine's own. Both decoders must give equal tables.
"""

from __future__ import annotations

import gc
import statistics
import time

import bench_intake
import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.decode.decode_spans import SpanRows
from collectors.decode.edges import EdgeRows, SpanMemory
from collectors.decode.fast_spans import FastSpans
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters

REQUESTS, REQUESTS_OF_A_BODY, REPEATS, START = 5_000, 102, 7, 1_770_000_000_000_000_000
PARTS = ("queue", "prefill", "kv_sync", "decode")


def attribute(key: str, value: str | bool | int | float) -> KeyValue:
    kinds: dict[type, str] = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    return KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value}))


def fleet_bodies(source: np.random.Generator, requests: int = REQUESTS) -> list[bytes]:
    """Bodies of some 510 spans of two replicas and their gateway."""
    return [_fleet_body(source, range(first, min(first + REQUESTS_OF_A_BODY, requests)))
            for first in range(0, requests, REQUESTS_OF_A_BODY)]


def _fleet_body(source: np.random.Generator, numbers: range) -> bytes:
    request = ExportTraceServiceRequest()
    spans = []
    for entity in ("gateway:main", "replica:r0", "replica:r1"):
        who = {"service.name": "vllm", "flashover.entity": entity, "host.name": "node-1", "process.pid": 77,
               "telemetry.sdk.version": "1.38.0"}
        block = request.resource_spans.add(resource=Resource(attributes=[attribute(*pair) for pair in who.items()]))
        spans.append(block.scope_spans.add().spans)
    for number in numbers:
        trace, root, request_id = source.bytes(16), source.bytes(8), f"cmpl-{source.bytes(16).hex()}"
        for at, name in enumerate(("llm_request", *PARTS)):
            start = START + number * 1_000_000 + at * 1_000
            span = spans[at and 1 + number % 2].add(
                trace_id=trace, span_id=source.bytes(8) if at else root, parent_span_id=root if at else b"", name=name,
                kind=1 if at else 2, start_time_unix_nano=start, end_time_unix_nano=start + 5_000)
            values = {"gen_ai.request.id": request_id, "gen_ai.request.model": "deepseek-v3",
                      "gen_ai.operation.name": "chat", "gen_ai.provider.name": "vllm", "server.port": 8000,
                      "server.address": f"10.0.0.{number % 7}", "flashover.cohort": "chat", "flashover.tier": "paid"}
            values |= _part(source, number, at) if at else _root(source)
            span.attributes.extend(attribute(*pair) for pair in values.items())
    return request.SerializeToString()


def _root(source: np.random.Generator) -> dict[str, str | int | float]:
    prompt, output = source.integers(1, 4000, 2).tolist()
    return {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": output,
            "gen_ai.request.temperature": float(source.random()), "gen_ai.request.max_tokens": 1024, "flashover.outcome": "ok",
            "gen_ai.latency.e2e": float(source.random()), "gen_ai.latency.time_to_first_token": float(source.random())}


def _part(source: np.random.Generator, number: int, at: int) -> dict[str, str | int | float]:
    return {"phase.index": at, "phase.tokens": int(source.integers(0, 5000)), "engine.step": int(source.integers(0, 1 << 30)),
            "gpu.id": number % 8, "cache.hit": bool(number % 2)}


def engine_bodies(source: np.random.Generator) -> list[bytes]:
    """The traces of the minute that ``bench_intake`` decodes."""
    return [body for group in bench_intake.make_bodies(source) for signal, body in group if signal == "traces"]


def decode(kind: type[FastSpans] | type[SpanRows], bodies: list[bytes]) -> tuple[pa.Table, pa.Table]:
    """Spans and edges."""
    limits, drops = Limits(), Drops()
    edges = EdgeRows(SpanMemory(), 0)
    rows = kind(Emitters(limits), edges, Rejects(limits, drops), limits, drops)
    for frame, body in enumerate(bodies, start=1):
        rows.add(frame, body)
    return rows.finish(), edges.table()


def main() -> None:
    """Measure and print."""
    print("bodies     spans  B/span  lists us  fast us  ratio: least/least  median of pairs")
    for name, make in (("fleet", fleet_bodies), ("engine", engine_bodies)):
        bodies = make(np.random.default_rng(1))
        (spans, edges), (fast_spans, fast_edges) = decode(SpanRows, bodies), decode(FastSpans, bodies)
        if not (spans.equals(fast_spans) and edges.equals(fast_edges)):
            raise SystemExit(f"{name}: the decoders do not agree")
        times: dict[type, list[float]] = {SpanRows: [], FastSpans: []}
        gc.disable()
        for _ in range(REPEATS):
            for kind in (SpanRows, FastSpans):
                begun = time.process_time_ns()
                decode(kind, bodies)
                times[kind].append((time.process_time_ns() - begun) / 1e3 / spans.num_rows)
        gc.enable()
        lists, fast = times[SpanRows], times[FastSpans]
        median = statistics.median(slow / quick for slow, quick in zip(lists, fast, strict=True))
        print(f"{name:8s} {spans.num_rows:7d} {sum(map(len, bodies)) / spans.num_rows:7.0f} {min(lists):9.1f} {min(fast):8.2f} "
              f"{min(lists) / min(fast):19.1f} {median:16.1f}")


if __name__ == "__main__":
    main()
