"""What decoding metrics and logs costs: ``python tests/bench/bench_decode_metrics_logs.py``. CPU time, as ratios.

Bodies to Arrow, every column of ``samples`` and ``series`` or of ``logs``, ready to be written: the fast decoders against the
official protobuf classes read into Python lists, which is what decodes whatever is unusual. In one process, taking turns,
least of several repeats. Metrics: bodies of 2,000 points with three labels each, twenty points a metric, as a scraped
replica sends them, ten bodies a round and one a round; ``new``: the round in which each series is met first. Logs: bodies of
500 lines with eight attributes; ``quotes``: one line in ten quotes a prompt, which is cut out. The last column is the part
of the fast decoder's time that no decoder can save: the official classes' parser alone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.decode.decode_logs import LogRows
from collectors.decode.decode_metrics import KnownSeries, SampleRows
from collectors.decode.edges import EdgeRows, SpanMemory
from collectors.decode.fast_logs import LogBodies
from collectors.decode.fast_metrics import MetricBodies
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects

REPEATS, BODIES, METRICS, POINTS, BUCKETS, LINES = 5, 10, 100, 20, 20, 500
START, SECOND = 1_770_000_000_000_000_000, 1_000_000_000
LIMITS, DIALECTS = Limits(), Dialects()
Decode = Callable[[list[bytes]], object]


def attributes(**values: Any) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value))
            for key, value in values.items()]


RESOURCE = Resource(attributes=attributes(**{"service.name": "vllm", "flashover.entity": "replica:r0", "host.name": "n1"}))


def add_point(metric: Metric, kind: str, source: np.random.Generator, second: int, at: int) -> None:
    """One point of a cumulative or delta stream; counts of cumulative ones grow with ``second``."""
    labels = attributes(model_name="meta-llama/Llama-3.1-8B-Instruct", engine=str(at), finished_reason=f"r{at % 3}")
    base = {"time_unix_nano": START + second * SECOND, "start_time_unix_nano": START - 60 * SECOND, "attributes": labels}
    if kind == "gauge":
        metric.gauge.data_points.add(**base, as_double=source.random())
    elif kind in ("counter", "delta sum"):
        metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 1 if kind == "delta sum" else 2
        metric.sum.data_points.add(**base, as_int=second * 1000 + at)
    elif kind in ("histogram", "histogram with exemplars"):
        counts = (np.arange(BUCKETS) * second + at).tolist()
        metric.histogram.aggregation_temporality = 2
        point = metric.histogram.data_points.add(**base, count=sum(counts), sum=1.5 * second, bucket_counts=counts,
                                                 explicit_bounds=[0.1 * bound for bound in range(BUCKETS - 1)])
        if "exemplars" in kind and at % 10 == 0:
            point.exemplars.add(time_unix_nano=START, as_double=0.5, trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\2")
    elif kind == "exponential histogram":
        metric.exponential_histogram.aggregation_temporality = 2
        point = metric.exponential_histogram.data_points.add(**base, count=BUCKETS * second, sum=1.5 * second, scale=3)
        point.positive.offset = 5
        point.positive.bucket_counts.extend([second] * BUCKETS)
    else:
        point = metric.summary.data_points.add(**base, count=second, sum=1.5 * second)
        for quantile in (0.5, 0.9, 0.99):
            point.quantile_values.add(quantile=quantile, value=source.random())


def metrics_bodies(kind: str, source: np.random.Generator, first: int, count: int) -> list[bytes]:
    bodies = []
    for second in range(first, first + count):
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add(resource=RESOURCE).scope_metrics.add()
        for number in range(METRICS):
            metric = scope.metrics.add(name=f"vllm:metric_{number}", unit="s", description="What this metric is about.")
            for at in range(POINTS):
                add_point(metric, kind, source, second, at)
        bodies.append(request.SerializeToString())
    return bodies


def logs_bodies(quotes: bool, source: np.random.Generator, first: int, count: int) -> list[bytes]:
    bodies = []
    for second in range(first, first + count):
        request = ExportLogsServiceRequest()
        scope = request.resource_logs.add(resource=RESOURCE).scope_logs.add()
        for at in range(LINES):
            known = attributes(**{
                "code.file.path": "vllm/v1/engine/async_llm.py", "code.line.number": 263 + at % 9, "thread.name": "MainThread",
                "process.pid": 4711, "request.id": f"cmpl-{second:06d}-{at:04d}", "http.response.status_code": 200,
                "url.path": "/v1/chat/completions", "duration_ms": int(source.integers(1, 9999))})
            line = (f"Received request cmpl-{at}: prompt: 'Tell me about {at}', params: SamplingParams(n=1)" if quotes and
                    at % 10 == 0 else f'10.0.0.{at % 255}:5{at:04d} - "POST /v1/chat/completions HTTP/1.1" 200 OK')
            scope.log_records.add(time_unix_nano=START + second * SECOND + at, severity_number=9, severity_text="INFO",
                                  trace_id=source.bytes(16), span_id=source.bytes(8), body=AnyValue(string_value=line),
                                  attributes=known)
        bodies.append(request.SerializeToString())
    return bodies


@dataclass
class Store:
    """What a worker keeps between rounds."""

    known: KnownSeries = field(default_factory=lambda: KnownSeries(set(), DIALECTS))
    state: SeriesState = field(default_factory=SeriesState)
    emitters: Emitters = field(default_factory=lambda: Emitters(LIMITS))
    drops: Drops = field(default_factory=Drops)

    def metrics(self, fast: bool, bodies: list[bytes]) -> None:
        official = SampleRows(self.emitters, EdgeRows(SpanMemory(), 0), Rejects(LIMITS, self.drops), self.known, self.state,
                              LIMITS, self.drops)
        rows = MetricBodies(official) if fast else official
        for frame, body in enumerate(bodies, start=1):
            rows.add(frame, body)
        assert rows.samples().num_rows == len(bodies) * METRICS * POINTS
        rows.series()
        self.known.stored |= rows.new_series()

    def logs(self, fast: bool, bodies: list[bytes]) -> None:
        official = LogRows(self.emitters, EdgeRows(SpanMemory(), 0), Rejects(LIMITS, self.drops), {}, LIMITS, self.drops)
        rows = LogBodies(official) if fast else official
        for frame, body in enumerate(bodies, start=1):
            rows.add(frame, body)
        assert rows.logs().num_rows == len(bodies) * LINES


def cpu_us(action: Callable[[], object]) -> float:
    begun = time.process_time_ns()
    action()
    return (time.process_time_ns() - begun) / 1e3


def row(name: str, records: int, least: dict[str, float]) -> None:
    lists, fast, parse = (least[part] / records for part in ("lists", "fast", "parse"))
    print(f"{name:36s} {lists:9.2f} {fast:8.2f} {lists / fast:6.1f} {parse / fast:8.2f}", flush=True)


def measure_metrics(kind: str) -> None:
    """One line for known series in rounds of many bodies, one in rounds of one, one for series that are new."""
    source = np.random.default_rng(1)
    first = metrics_bodies(kind, source, 0, 1)
    for name, count in ((f"{kind}, {BODIES} bodies", BODIES), (f"{kind}, one body", 1), (f"{kind}, new", 0)):
        least: dict[str, float] = {}
        for repeat in range(REPEATS):
            bodies = metrics_bodies(kind, source, 1, count) if count else first
            for part in ("lists", "fast") if repeat % 2 else ("fast", "lists"):
                store = Store()
                if count:
                    store.metrics(part == "fast", first)
                took = cpu_us(lambda store=store, part=part, bodies=bodies: store.metrics(part == "fast", bodies))
                least[part] = min(least.get(part, took), took)
            took = cpu_us(lambda bodies=bodies: [ExportMetricsServiceRequest.FromString(body) for body in bodies])
            least["parse"] = min(least.get("parse", took), took)
        row(name, max(count, 1) * METRICS * POINTS, least)


def measure_logs(name: str, quotes: bool, count: int) -> None:
    least: dict[str, float] = {}
    bodies = logs_bodies(quotes, np.random.default_rng(1), 0, count)
    for repeat in range(REPEATS):
        for part in ("lists", "fast") if repeat % 2 else ("fast", "lists"):
            took = cpu_us(lambda part=part: Store().logs(part == "fast", bodies))
            least[part] = min(least.get(part, took), took)
        took = cpu_us(lambda: [ExportLogsServiceRequest.FromString(body) for body in bodies])
        least["parse"] = min(least.get("parse", took), took)
    row(name, count * LINES, least)


def main() -> None:
    """Measure and print."""
    gc.disable()
    print("CPU us a point or record              by lists     fast  ratio  parsing")
    for kind in ("gauge", "counter", "delta sum", "histogram", "histogram with exemplars", "exponential histogram", "summary"):
        measure_metrics(kind)
    measure_logs(f"logs, {BODIES} bodies", False, BODIES)
    measure_logs("logs, one body", False, 1)
    measure_logs(f"logs with quotes, {BODIES} bodies", True, BODIES)


if __name__ == "__main__":
    main()
