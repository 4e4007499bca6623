"""What keeping telemetry costs: ``python tests/bench/bench_intake.py``. CPU time, as ratios.

The bodies are those of four replicas: a minute of attempts, steps and scrapes, flushed each second. Each part is compared
with the least that could do its work on the same bytes, in one process and taking turns, least of several repeats.
journal: put and sync, against zstd, write and fdatasync. decode: bodies to Arrow, against the official protobuf classes'
parser alone. drain: journal to committed Delta tables, against the same tables written and synced as Parquet files.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.decode.decode_metrics import KnownSeries
from collectors.decode.edges import SpanMemory
from collectors.decode.limits import Drops, Limits
from collectors.decode.resources import Emitters
from collectors.decode.round import Round
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects
from collectors.durable import sync_path
from collectors.intake import Intake
from collectors.schema import PHASES
from collectors.sink import SIGNALS, MemorySink, Signal
from instrumented_engine.telemetry import Resource, Telemetry

SECONDS, REPLICAS, ATTEMPTS_A_SECOND, STEPS_A_SECOND, SCRAPE_EVERY, EXPERTS = 60, 4, 100, 25, 5, 128
REPEATS, START, SECOND = 5, 1_770_000_000_000_000_000, 1_000_000_000
PARSERS = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}
DIALECTS = Dialects()
Bodies = list[tuple[Signal, bytes]]


def make_bodies(source: np.random.Generator) -> list[Bodies]:
    """A minute of the fleet, one list of bodies for each flush."""
    sink, groups = MemorySink(), []
    telemetry, ids = Telemetry(sink, start_ns=START), count(1)
    gateway = telemetry.resource("gateway:main", "gateway", {"flashover.edge.calls": "router:main"})
    replicas = [telemetry.resource(f"replica:r{at}", "engine") for at in range(REPLICAS)]
    gauges = [replica.metrics.gauge(f"vllm:{name}") for replica in replicas
              for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")]
    ttft = [replica.metrics.histogram("vllm:time_to_first_token_seconds") for replica in replicas]
    for second in range(SECONDS):
        now = START + second * SECOND
        for _ in range(ATTEMPTS_A_SECOND):
            at = int(source.integers(REPLICAS))
            attempt(telemetry, gateway, replicas[at], next(ids), now, source.integers(0, SECOND, len(PHASES)).tolist())
            ttft[at].observe(float(source.exponential(0.3)))
        for at in range(STEPS_A_SECOND * REPLICAS):
            telemetry.step(replicas[at % REPLICAS], step_id=next(ids), start_ns=now + at, duration_ns=9, running=8, waiting=2,
                           batch_ids=list(range(1, 9)), batch_tokens=[1] * 8,
                           expert_load=source.integers(0, 64, EXPERTS).astype(np.int32))
        for gauge in gauges:
            gauge.set(float(source.random()))
        if second % SCRAPE_EVERY == 0:
            telemetry.scrape(now)
        telemetry.flush(now)
        groups.append(sink.bodies)
        sink.bodies = []
    return groups


def attempt(telemetry: Telemetry, gateway: Resource, replica: Resource, number: int, now: int, parts: list[int]) -> None:
    """The two spans of one attempt, whose phases take ``parts``."""
    known = {"request_id": f"request-{number:08d}", "attempt": 1, "prompt_tokens": 900}
    telemetry.gateway_request(
        gateway, trace_id=number << 64 | number, span_id=2 * number, start_ns=now, end_ns=now + sum(parts), outcome="ok",
        cohort="chat", tier="paid", session=f"s{number // 5}", replica="replica:r0", ttft_ns=parts[0], e2e_ns=sum(parts),
        **dict(zip(PHASES, parts, strict=True)), **known)
    telemetry.llm_request(
        replica, trace_id=number << 64 | number, span_id=2 * number + 1, parent_id=2 * number, start_ns=now,
        end_ns=now + SECOND, output_tokens=120, cached_tokens=512, computed_tokens=388, busy_ns=SECOND // 9,
        events=[("queued", now), ("first_token", now + 5)], **known)


def decode(bodies: Bodies) -> dict[str, pa.Table]:
    work = Round(Emitters(Limits()), SpanMemory(), KnownSeries(set(), DIALECTS), SeriesState(), {}, 0, Limits(), Drops())
    work.take((frame, *body) for frame, body in enumerate(bodies, start=1))
    return work.tables()


def parse(bodies: Bodies) -> None:
    for signal, body in bodies:
        PARSERS[signal].FromString(body)


def compress_and_sync(groups: list[Bodies], path: Path) -> None:
    compressor, descriptor = zstandard.ZstdCompressor(level=1), os.open(path, os.O_WRONLY | os.O_CREAT)
    for group in groups:
        os.write(descriptor, b"".join([compressor.compress(body) for _, body in group]))
        os.fdatasync(descriptor)
    os.close(descriptor)


def journal(groups: list[Bodies], intake: Intake) -> None:
    for group in groups:
        for body in group:
            intake.put(*body)
        intake.sync()


def write_parquet(tables: dict[str, pa.Table], folder: Path) -> None:
    for name, table in tables.items():
        pq.write_table(table, folder / name, compression="zstd", compression_level=1)
        sync_path(folder / name)


def main() -> None:
    """Measure and print."""
    groups = make_bodies(np.random.default_rng(1))
    bodies = [body for group in groups for body in group]
    tables, least = decode(bodies), dict[str, float]()

    def measure(name: str, action: Callable[[], object]) -> None:
        begun = time.process_time_ns()
        action()
        least[name] = min(least.get(name, float("inf")), (time.process_time_ns() - begun) / 1e6)

    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as name, Intake.open((folder := Path(name)) / "store") as intake:
            measure("journal", lambda intake=intake: journal(groups, intake))
            measure("journal least", lambda folder=folder: compress_and_sync(groups, folder / "plain"))
            measure("drain", intake.drain)
            measure("drain least", lambda folder=folder: write_parquet(tables, folder))
        for signal in SIGNALS:
            some = [body for body in bodies if body[0] == signal]
            measure(f"decode {signal}", lambda some=some: decode(some))
            measure(f"decode {signal} least", lambda some=some: parse(some))
    print(f"{len(bodies)} bodies: {', '.join(f'{table.num_rows} {name}' for name, table in tables.items())}")
    print("part                MB  CPU ms  least ms  ratio")
    for name in [name for name in least if not name.endswith(" least")]:
        size = sum(len(body) for signal, body in bodies if signal in name or " " not in name) / 1e6
        cpu, floor = least[name], least[f"{name} least"]
        print(f"{name:15s} {size:6.2f} {cpu:7.1f} {floor:9.1f} {cpu / floor:6.1f}")


if __name__ == "__main__":
    main()
