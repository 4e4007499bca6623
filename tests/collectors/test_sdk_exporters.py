"""The OpenTelemetry SDK itself as the client, over both transports: what the door gets is what was recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult, MetricsData
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from running_receivers import Running, running
from sdk_bodies import SPANS, SpanFacts, log_record, logs_body, metrics_body, traces_body

from collectors.receive.door import Refused
from collectors.receive.receiver_options import ReceiverOptions
from collectors.receive.well_formed import REQUESTS
from collectors.sink import Signal

TOKEN = "s3cret"
RESOURCE = Resource({"service.name": "test", "n": 1})


@pytest.fixture(scope="module")
def up() -> Iterator[Running]:
    with running(ReceiverOptions(token=TOKEN)) as receivers:
        yield receivers


@pytest.fixture(params=["http", "http gzip", "grpc", "grpc gzip"], scope="module")
def exporters(up: Running, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any, Any]]:
    """The SDK's exporters of spans, metrics and logs, over one transport."""
    transport, _, gzip = request.param.partition(" ")
    bearer = {"authorization": f"Bearer {TOKEN}"}
    if transport == "http":
        how: dict[str, Any] = {"headers": bearer, "compression": Compression.Gzip if gzip else Compression.NoCompression}
        made: tuple[Any, Any, Any] = (HttpSpans(f"{up.url}/v1/traces", **how), HttpMetrics(f"{up.url}/v1/metrics", **how),
                                      HttpLogs(f"{up.url}/v1/logs", **how))
    else:
        how = {"endpoint": up.addresses.grpc, "insecure": True, "headers": tuple(bearer.items()),
               "compression": grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression}
        made = (GrpcSpans(**how), GrpcMetrics(**how), GrpcLogs(**how))
    yield made
    for exporter in made:
        exporter.shutdown()


def admitted(up: Running, export: Callable[[], object], success: object) -> tuple[Signal, Message]:
    """The one body that the door gets of an export that succeeds."""
    up.door.bodies.clear()
    assert export() == success
    ((signal, body),) = up.door.bodies
    return signal, REQUESTS[signal].FromString(body)


def expected(body: tuple[Signal, bytes]) -> tuple[Signal, str]:
    return body[0], str(REQUESTS[body[0]].FromString(body[1]))


@given(spans=st.lists(SPANS, min_size=1, max_size=4))
@settings(max_examples=15)
def test_spans_arrive_as_they_were(up: Running, exporters: tuple[Any, Any, Any], spans: Sequence[SpanFacts]) -> None:
    recorded = [span.sdk(RESOURCE) for span in spans]
    signal, message = admitted(up, lambda: exporters[0].export(recorded), SpanExportResult.SUCCESS)
    assert (signal, str(message)) == expected(traces_body((dict(RESOURCE.attributes), spans)))


def test_metrics_of_every_kind_arrive_as_they_were(up: Running, exporters: tuple[Any, Any, Any]) -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="wide", aggregation=ExponentialBucketHistogramAggregation())
    meter = MeterProvider([reader], RESOURCE, views=[view]).get_meter("test", "1")
    meter.create_counter("calls").add(3, {"a": "b"})
    meter.create_up_down_counter("depth").add(-2)
    meter.create_histogram("narrow", explicit_bucket_boundaries_advisory=[1.0, 2.0]).record(1.5, {"a": True})
    meter.create_histogram("wide").record(1e-9)
    meter.create_gauge("level").set(0.0)
    data = reader.get_metrics_data()
    assert isinstance(data, MetricsData)
    signal, message = admitted(up, lambda: exporters[1].export(data), MetricExportResult.SUCCESS)
    (block,) = data.resource_metrics
    same = [metric for scope in block.scope_metrics for metric in scope.metrics]
    assert len(same) == 5
    said = expected(metrics_body(dict(RESOURCE.attributes), *same))
    assert (signal, str(message)) == said


def test_logs_arrive_as_they_were(up: Running, exporters: tuple[Any, Any, Any]) -> None:
    records = [log_record(5, {"a": [1, None, b"\0"]}, severity=9, attributes={"k": "v"}),
               log_record(None, "text", observed_ns=7), log_record(1, None, event_name="flashover.event.note")]
    signal, message = admitted(up, lambda: exporters[2].export([ReadableLogRecord(record, RESOURCE) for record in records]),
                               LogRecordExportResult.SUCCESS)
    assert (signal, str(message)) == expected(logs_body(dict(RESOURCE.attributes), *records))


def test_the_sdk_comes_back_when_it_is_told_to(up: Running, exporters: tuple[Any, Any, Any]) -> None:
    up.door.refusal = Refused("queue_full", 1, "come back")
    up.told.requests.clear()
    opened = threading.Thread(target=_open_later, args=(up,))
    opened.start()
    body = "unlike the others " + str(time.monotonic_ns())
    record = ReadableLogRecord(log_record(1, body), RESOURCE)
    _, message = admitted(up, lambda: exporters[2].export([record]), LogRecordExportResult.SUCCESS)
    opened.join()
    assert body in str(message)
    assert up.outcomes[0] == "queue_full" and up.outcomes[-1] == "ok"


def _open_later(up: Running) -> None:
    while "queue_full" not in up.outcomes:
        time.sleep(0.01)
    up.door.refusal = None


def test_a_span_of_a_real_tracer_arrives(up: Running, exporters: tuple[Any, Any, Any]) -> None:
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporters[0]))
    up.door.bodies.clear()
    with provider.get_tracer("test").start_as_current_span("work", attributes={"k": 1.5}, kind=trace.SpanKind.SERVER) as span:
        span.add_event("happened", {"x": "y"})
    ((_, body),) = up.door.bodies
    message: Any = REQUESTS["traces"].FromString(body)
    (arrived,) = message.resource_spans[0].scope_spans[0].spans
    context = span.get_span_context()
    assert (arrived.name, arrived.span_id) == ("work", context.span_id.to_bytes(8, "big"))
    assert [event.name for event in arrived.events] == ["happened"]
