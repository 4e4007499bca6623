"""A program that is instrumented by the OpenTelemetry SDK, whose exporters send to a collector; and what they were given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode

DELTA = dict.fromkeys((Counter, ObservableCounter, Histogram, UpDownCounter), AggregationTemporality.DELTA)
SCOPE = "flashover.tests"
EVERY_TYPE: dict[str, Any] = {
    "x.text": "日本 🔥", "x.empty": "", "x.nul": "a\0b", "x.true": True, "x.false": False, "x.zero": 0, "x.int": -(1 << 63),
    "x.big": (1 << 63) - 1, "x.real": 0.1, "x.negative zero": -0.0, "x.nan": math.nan, "x.infinite": -math.inf,
    "x.bytes": b"\0\xff", "x.texts": ["a", ""], "x.numbers": [0, -1], "x.reals": [0.5, math.inf], "x.flags": [True, False],
    "x.none of them": [],
}


@dataclass
class Given:
    """What the exporters of one program were given, in that order."""

    spans: list[ReadableSpan] = field(default_factory=list)
    metrics: list[MetricsData] = field(default_factory=list)
    logs: list[ReadableLogRecord] = field(default_factory=list)
    answers: list[object] = field(default_factory=list)


class Spans(SpanExporter):
    """Remembers what another exporter is given."""

    def __init__(self, exporter: SpanExporter, given: Given) -> None:
        self._exporter, self._given = exporter, given

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._given.spans += spans
        answer = self._exporter.export(spans)
        self._given.answers.append(answer)
        return answer

    def shutdown(self) -> None:
        self._exporter.shutdown()


class Metrics(MetricExporter):
    """The same for metrics, of cumulative streams unless ``temporality`` says else."""

    def __init__(self, exporter: MetricExporter, given: Given, temporality: dict[type, AggregationTemporality]) -> None:
        super().__init__(preferred_temporality=temporality)
        self._exporter, self._given = exporter, given

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self._given.metrics.append(metrics_data)
        answer = self._exporter.export(metrics_data, timeout_millis, **kwargs)
        self._given.answers.append(answer)
        return answer

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)


class Logs(LogRecordExporter):
    """The same for logs."""

    def __init__(self, exporter: LogRecordExporter, given: Given) -> None:
        self._exporter, self._given = exporter, given

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        self._given.logs += batch
        answer = self._exporter.export(batch)
        self._given.answers.append(answer)
        return answer

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._exporter.shutdown()


def run_program(name: str, spans: SpanExporter, metrics: MetricExporter, logs: LogRecordExporter, delta: bool) -> Given:
    """Record everything that the SDK can under the service ``name``, and export it; what the exporters were given."""
    given = Given()
    resource = Resource({"service.name": name, "host.cpus": 8})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(Spans(spans, given)))
    reader = PeriodicExportingMetricReader(Metrics(metrics, given, DELTA if delta else {}), export_interval_millis=math.inf)
    meters = MeterProvider([reader], resource, shutdown_on_exit=False, views=[
        View(instrument_name="*.wide", aggregation=ExponentialBucketHistogramAggregation(max_size=40))])
    loggers = LoggerProvider(resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(BatchLogRecordProcessor(Logs(logs, given)))
    tracer, meter = tracers.get_tracer(SCOPE, "1"), meters.get_meter(SCOPE, "1")
    measure = _instruments(meter)
    for turn in range(3):
        with tracer.start_as_current_span("turn", kind=SpanKind.SERVER) as span:
            _spans(tracer, turn)
            measure(turn)
            _records(loggers.get_logger(SCOPE), turn, span)
        reader.force_flush()
    for provider in (tracers, loggers):
        provider.force_flush()
    for provider in (tracers, meters, loggers):
        provider.shutdown()
    return given


def _spans(tracer: trace.Tracer, turn: int) -> None:
    linked = [Link(SpanContext((1 << 128) - 1, (1 << 64) - 1, is_remote=True), {"x.weight": 0.5}),
              Link(SpanContext(1, 1, is_remote=False))]
    with tracer.start_as_current_span("every type", kind=SpanKind.CLIENT, attributes=EVERY_TYPE, links=linked[:turn]) as span:
        span.add_event("at a time", {"x.n": turn, "x.list": ["a"]}, timestamp=1_770_000_000_000_000_000 + turn)
        span.add_event("without attributes")
        span.set_status(Status(StatusCode.OK))
    for kind in SpanKind:
        tracer.start_span(kind.name, kind=kind, attributes={"gen_ai.usage.input_tokens": turn, "gen_ai.request.id": "r"}).end()
    try:
        with tracer.start_as_current_span("fails"):
            raise ValueError("as it should")
    except ValueError:
        pass


def _instruments(meter: Any) -> Any:
    """Every instrument that the SDK has; what is returned measures with each."""
    turns: list[int] = []

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(10 * len(turns), {"x.of": "all"}), Observation(0.5 * len(turns), {"x.of": "half"})]

    meter.create_observable_counter("observed.counter", [observe], "By")
    meter.create_observable_up_down_counter("observed.up_down", [observe])
    meter.create_observable_gauge("observed.gauge", [observe], "1")
    counters = [meter.create_counter("counter.whole", "{call}"), meter.create_counter("counter.real", "s")]
    depth = meter.create_up_down_counter("up_down")
    level = meter.create_gauge("gauge", "Cel", "what it is")
    narrow = meter.create_histogram("histogram.narrow", "s", explicit_bucket_boundaries_advisory=[-1.0, 0.0, 2.5])
    plain, wide = meter.create_histogram("histogram.plain"), meter.create_histogram("histogram.wide", "ms")

    def measure(turn: int) -> None:
        turns.append(turn)
        for labels in ({}, {"x.kind": "a", "x.n": 1, "x.yes": True}, {"x.kind": "b", "x.real": 0.25}):
            counters[0].add(turn + 1, labels)
            counters[1].add(0.125 * turn, labels)
            depth.add(3 - 4 * turn, labels)
            level.set((-1.5, 0, 1e300)[turn], labels)
            for value in (-3.0, -1.0, 0.0, 2.5 * turn, 1e6):
                narrow.record(value, labels)
                plain.record(abs(value), labels)
            for value in ((1.0, 2.0), (0.0, 3.0, 1e9), (1e-9, 5.0))[turn]:
                wide.record(value, labels)

    return measure


def _records(logger: Any, turn: int, span: trace.Span) -> None:
    at = 1_770_000_000_000_000_000 + turn
    bodies: list[Any] = ["text", "", 0, 7, 0.5, False, b"\0\xff", ["a", None, 1.5], {"k": {"inner": [1, True]}}, None]
    for number, body in enumerate(bodies):
        logger.emit(LogRecord(timestamp=at + 100 * number, observed_timestamp=at, severity_number=SeverityNumber(number + 1),
                              severity_text=("", "WARN")[number % 2], body=body, attributes={"x.number": number}))
    logger.emit(LogRecord(observed_timestamp=at, body="only observed", attributes=EVERY_TYPE | {"x.map": {"a": {"b": [0]}}}))
    logger.emit(LogRecord(timestamp=at, body="deployed", event_name="flashover.event.deploy", attributes={"version": turn}))
    logger.emit(LogRecord(timestamp=at, body="named", event_name="some.event", context=trace.set_span_in_context(span)))
