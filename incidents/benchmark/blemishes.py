"""What telemetry suffers on its way to a store, for robustness curves: parts of it missing, sampled, skewed, or scraped rarely.

A blemish changes OTLP bodies between the engine and the store and nothing of the incident itself; only the scrape interval is
the fleet's own. ``late_s`` delays what baselines are told of the alarm; our analysis is told nothing and does not care.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from collectors.sink import Signal, Sink
from instrumented_engine.scenario import Scenario
from instrumented_engine.telemetry.events import STEP_EVENT


@dataclass(frozen=True, slots=True)
class Blemish:
    """``scrape_s``: seconds between scrapes; ``without_kinds``: kinds of entity whose metrics are missing; ``without_steps``,
    ``without_changes``: engine steps, the change log; ``lost_share``: of the replicas, of which nothing arrives;
    ``kept_spans``: share of traces; ``skew_s``: how far every other replica's clock is ahead; ``late_s``: see above."""

    scrape_s: float | None = None
    without_kinds: frozenset[str] = frozenset()
    without_steps: bool = False
    without_changes: bool = False
    lost_share: float = 0.0
    kept_spans: float = 1.0
    skew_s: float = 0.0
    late_s: float = 0.0

    def scraped(self, scenario: Scenario) -> Scenario:
        """The same fleet, scraped as the blemish says."""
        return scenario if self.scrape_s is None else scenario.model_copy(update={"scrape_s": self.scrape_s})

    def sink(self, inner: Sink, replicas: Collection[str]) -> Sink:
        """``inner`` behind the blemish. ``replicas``: their entities."""
        plain = replace(self, scrape_s=None, late_s=0.0) == Blemish()
        ordered = sorted(replicas)
        lost = frozenset(ordered[: round(self.lost_share * len(ordered))])
        return inner if plain else BlemishedSink(inner, self, lost, frozenset(ordered[::2]))


BLEMISHES = {
    "": Blemish(),
    "scrape 1 s": Blemish(scrape_s=1.0), "scrape 15 s": Blemish(scrape_s=15.0), "scrape 30 s": Blemish(scrape_s=30.0),
    "alarm 30 s late": Blemish(late_s=30.0), "alarm 60 s late": Blemish(late_s=60.0),
    "alarm 120 s late": Blemish(late_s=120.0),
    "no KV-index metrics": Blemish(without_kinds=frozenset({"kv_index"})),
    "no router metrics": Blemish(without_kinds=frozenset({"router"})),
    "no gateway metrics": Blemish(without_kinds=frozenset({"gateway"})),
    "no replica metrics": Blemish(without_kinds=frozenset({"replica"})),
    "no engine steps": Blemish(without_steps=True), "no change log": Blemish(without_changes=True),
    "a quarter of replicas missing": Blemish(lost_share=0.25), "half of replicas missing": Blemish(lost_share=0.5),
    "spans sampled at 10 %": Blemish(kept_spans=0.1), "spans sampled at 1 %": Blemish(kept_spans=0.01),
    "clocks 1 s apart": Blemish(skew_s=1.0), "clocks 10 s apart": Blemish(skew_s=10.0),
}  # fmt: skip
"""By name; the first is none at all."""


@dataclass(frozen=True, slots=True)
class BlemishedSink:
    """Hands bodies on as ``blemish`` leaves them. ``lost``, ``skewed``: entities of replicas."""

    inner: Sink
    blemish: Blemish
    lost: frozenset[str]
    skewed: frozenset[str]

    def sync(self) -> None:
        self.inner.sync()

    def put(self, signal: Signal, body: bytes) -> None:
        change = {"traces": self._traces, "metrics": self._metrics, "logs": self._logs}[signal]
        self.inner.put(signal, change(body))

    def _traces(self, body: bytes) -> bytes:
        told = ExportTraceServiceRequest.FromString(body)
        _keep(told.resource_spans, lambda one: _entity(one) not in self.lost)
        for resource in told.resource_spans:
            ahead = self._ahead(_entity(resource))
            for scope in resource.scope_spans:
                _keep(scope.spans, lambda span: _drawn(span.trace_id, self.blemish.kept_spans))
                for span in scope.spans if ahead else ():
                    span.start_time_unix_nano += ahead
                    span.end_time_unix_nano += ahead
        return bytes(told.SerializeToString())

    def _metrics(self, body: bytes) -> bytes:
        told = ExportMetricsServiceRequest.FromString(body)
        gone = self.blemish.without_kinds
        _keep(told.resource_metrics, lambda one: _entity(one) not in self.lost and _entity(one).partition(":")[0] not in gone)
        for resource in told.resource_metrics:
            ahead = self._ahead(_entity(resource))
            for point in _points(resource) if ahead else ():
                point.time_unix_nano += ahead
        return bytes(told.SerializeToString())

    def _logs(self, body: bytes) -> bytes:
        told = ExportLogsServiceRequest.FromString(body)
        for resource in told.resource_logs:
            for scope in resource.scope_logs:
                _keep(scope.log_records, self._keeps)
                for record in scope.log_records:
                    if record.event_name == STEP_EVENT:
                        record.body.bytes_value = self._steps(record.body.bytes_value)
        return bytes(told.SerializeToString())

    def _keeps(self, record: LogRecord) -> bool:
        return not (self.blemish.without_steps if record.event_name == STEP_EVENT else self.blemish.without_changes)

    def _steps(self, stream: bytes) -> bytes:
        with pa.ipc.open_stream(stream) as reader:
            table = reader.read_all()
        table = table.filter(pc.invert(pc.is_in(table["replica"], pa.array(sorted(self.lost), table["replica"].type))))
        if self.blemish.skew_s:
            ahead = pc.is_in(table["replica"], pa.array(sorted(self.skewed), table["replica"].type))
            later = pc.add(table["start_ns"], pc.multiply(pc.cast(ahead, pa.int64()), round(self.blemish.skew_s * 1e9)))
            table = table.set_column(table.schema.get_field_index("start_ns"), table.schema.field("start_ns"), later)
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        stored: bytes = out.getvalue().to_pybytes()
        return stored

    def _ahead(self, entity: str) -> int:
        return round(self.blemish.skew_s * 1e9) if entity in self.skewed else 0


def _entity(part: Any) -> str:
    return next((str(one.value.string_value) for one in part.resource.attributes if one.key == "flashover.entity"), "")


def _points(resource: Any) -> Iterator[Any]:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            yield from _data(metric).data_points


def _data(metric: Metric) -> Any:
    return getattr(metric, str(metric.WhichOneof("data")))


def _drawn(key: bytes, share: float) -> bool:
    return share >= 1.0 or zlib.crc32(key) < share * 2**32


def _keep(parts: Any, wanted: Any) -> None:
    kept = [one for one in parts if wanted(one)]
    if len(kept) < len(parts):
        copies = [type(one).FromString(one.SerializeToString()) for one in kept]
        del parts[:]
        parts.extend(copies)
