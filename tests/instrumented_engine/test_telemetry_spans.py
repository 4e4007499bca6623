"""Spans leave as the SDK's own encoder would write them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from collectors import schema
from collectors.sink import MemorySink
from instrumented_engine.telemetry import GATEWAY_REQUEST, LLM_REQUEST, Telemetry, emitter
from instrumented_engine.telemetry.resources import SCOPE, Resource
from instrumented_engine.telemetry.spans import SpanLayout

START = 1_770_000_000_000_000_000
TRACE_IDS = st.integers(1, (1 << 128) - 1)
SPAN_IDS = st.integers(1, (1 << 64) - 1)
TIMES = st.integers(0, (1 << 63) - 1)
EVENTS = st.lists(st.tuples(st.sampled_from(["queued", "scheduled", "first_token", ""]), TIMES), max_size=5)
TEXTS = st.text(max_size=20) | st.sampled_from(["", "ß", "日本", "🔥"])
INTEGERS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([0, -1, 127, 128]),
    pa.int32(): st.integers(-(1 << 31), (1 << 31) - 1) | st.just(0),
}


ROUTE = {
    "route_router": "flashover.route.router", "route_reason": "flashover.route.reason",
    "route_candidates": "flashover.route.candidates", "route_load": "flashover.route.load",
    "refusal": "flashover.admission.refusal",
}
"""What the contract has no column for: it comes to the reader in ``attributes``."""


def columns_of(layout: SpanLayout, *, without: str = "") -> st.SearchStrategy[dict[str, Any]]:
    """Any subset of a layout's columns, each None or any value of its type."""
    declared = [schema.SPANS.column(name) for name in layout.columns if name != without]
    values = {column.name: st.none() | INTEGERS.get(column.type, TEXTS) for column in declared}
    if layout is GATEWAY_REQUEST:
        values |= dict.fromkeys(("route_router", "route_reason", "refusal"), st.none() | TEXTS)
        values |= dict.fromkeys(("route_candidates", "route_load"), st.none() | INTEGERS[pa.int64()])
    return st.fixed_dictionaries({}, optional=values)


GATEWAY_SPANS = st.fixed_dictionaries(
    {
        "trace_id": TRACE_IDS,
        "span_id": SPAN_IDS,
        "start_ns": TIMES,
        "end_ns": TIMES,
        "events": EVENTS,
        "outcome": st.sampled_from(schema.OUTCOMES),
        "retry_of": st.none() | st.tuples(TRACE_IDS, SPAN_IDS),
        "columns": columns_of(GATEWAY_REQUEST, without="outcome"),
    }
)
LLM_SPANS = st.fixed_dictionaries(
    {
        "trace_id": TRACE_IDS,
        "span_id": SPAN_IDS,
        "parent_id": SPAN_IDS,
        "start_ns": TIMES,
        "end_ns": TIMES,
        "events": EVENTS,
        "error": st.none() | st.sampled_from(["", "out of blocks"]),
        "columns": columns_of(LLM_REQUEST),
    }
)


def context(trace_id: int, span_id: int, *, remote: bool) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def as_sdk(layout: SpanLayout, resource: Resource, span: dict[str, Any]) -> ReadableSpan:
    """The same span as the SDK holds it."""
    columns = dict(span["columns"])
    if "outcome" in span:
        columns["outcome"] = span["outcome"]
        message = None if span["outcome"] == "ok" else span["outcome"]
    else:
        message = span["error"]
    retry, parent = span.get("retry_of"), span.get("parent_id")
    keys = {schema.SPANS.column(name).name: schema.SPANS.column(name).source.split(", ")[0] for name in layout.columns}
    keys |= ROUTE if layout is GATEWAY_REQUEST else {}
    return ReadableSpan(
        name=layout.name,
        context=context(span["trace_id"], span["span_id"], remote=False),
        parent=None if parent is None else context(span["trace_id"], parent, remote=True),
        resource=resource.sdk,
        attributes={keys[name]: columns[name] for name in layout.names if columns.get(name) is not None},
        events=[Event(name, timestamp=ts_ns) for name, ts_ns in span["events"]],
        links=[Link(context(*retry, remote=True), {"flashover.edge": "retries_of"})] if retry else [],
        kind=SpanKind.SERVER,
        status=Status(StatusCode.UNSET) if message is None else Status(StatusCode.ERROR, message),
        start_time=span["start_ns"],
        end_time=span["end_ns"],
        instrumentation_scope=SCOPE,
    )


def arguments(span: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in span.items() if key != "columns"}, **span["columns"]}


@given(
    st.lists(
        st.one_of(st.tuples(st.just("gateway"), GATEWAY_SPANS), st.tuples(st.sampled_from(["r0", "r1"]), LLM_SPANS)),
        min_size=1,
        max_size=6,
    )
)
def test_a_body_of_spans_is_what_the_sdk_encodes(spans: list[tuple[str, dict[str, Any]]]) -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    resources = {
        "gateway": telemetry.resource("gateway:main", "gateway", {"flashover.edge.calls": "router:main"}),
        "r0": telemetry.resource("replica:r0", "engine", {"flashover.prompt_scale": 1 / 32}),
        "r1": telemetry.resource("replica:r1", "engine", {"flashover.prompt_scale": 1 / 32}),
    }
    expected = []
    for where, span in spans:
        resource = resources[where]
        if where == "gateway":
            telemetry.gateway_request(resource, **arguments(span))
            expected.append(as_sdk(GATEWAY_REQUEST, resource, span))
        else:
            telemetry.llm_request(resource, **arguments(span))
            expected.append(as_sdk(LLM_REQUEST, resource, span))
    telemetry.flush(START)
    request = encode_spans(expected)
    [(signal, body)] = sink.bodies
    assert signal == "traces"
    assert ExportTraceServiceRequest.FromString(body) == request
    assert body == request.SerializeToString()


def emitted(**columns: Any) -> dict[str, Any]:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    replica = telemetry.resource("replica:r0", "engine")
    telemetry.llm_request(replica, trace_id=1, span_id=2, parent_id=3, start_ns=START, end_ns=START, **columns)
    telemetry.flush(START)
    [(_, body)] = sink.bodies
    [span] = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    return {item.key: item.value.int_value for item in span.attributes}


def test_no_gpu_means_no_attribute_and_zero_means_zero() -> None:
    assert emitted(preemptions=0, gpu_ns=None, energy_mj=None) == {"flashover.preemptions": 0}
    assert emitted(gpu_ns=0) == {"flashover.gpu_ns": 0}


def test_every_phase_and_only_contract_columns_are_declared() -> None:
    assert set(schema.PHASES) <= set(GATEWAY_REQUEST.columns)
    for layout in (GATEWAY_REQUEST, LLM_REQUEST):
        assert set(layout.columns) <= set(schema.ATTEMPT_COLUMNS)
        assert len(set(layout.keys)) == len(layout.keys)
    assert GATEWAY_REQUEST.keys[0] == "gen_ai.request.id"
    assert LLM_REQUEST.keys[LLM_REQUEST.columns.index("cached_tokens")] == "gen_ai.usage.cache_read.input_tokens"


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(TypeError, match=r"llm_request has no column queue_ns, ttft_ns; it has request_id"):
        emitted(ttft_ns=1, queue_ns=1)


@pytest.mark.parametrize(
    ("column", "value", "key"),
    [
        ("output_tokens", 1.5, "gen_ai.usage.output_tokens"),
        ("request_id", 7, "gen_ai.request.id"),
        ("busy_ns", 1 << 63, "flashover.busy_ns"),
        ("hit_blocks", "3", "flashover.hit_blocks"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(column: str, value: object, key: str) -> None:
    with pytest.raises(TypeError, match=f"{key} cannot hold {value!r}"):
        emitted(**{column: value})


@pytest.mark.parametrize(("trace_id", "span_id"), [(0, 1), (1, 0), (-1, 1), (1, -1), (1 << 128, 1), (1, 1 << 64)])
def test_ids_that_no_trace_can_have_are_refused_at_once(trace_id: int, span_id: int) -> None:
    telemetry = Telemetry(MemorySink(), start_ns=START)
    gateway = telemetry.resource("gateway:main", "gateway")
    with pytest.raises(ValueError, match="zero, negative or too long"):
        telemetry.gateway_request(gateway, trace_id=trace_id, span_id=span_id, start_ns=0, end_ns=0, outcome="ok")


@given(count=st.integers(1, 40), records=st.integers(1, 15), size=st.integers(1, 2_000))
def test_bodies_are_bounded_and_lose_nothing(count: int, records: int, size: int) -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    replicas = [telemetry.resource(f"replica:r{at}", "engine") for at in range(3)]
    for at in range(count):
        telemetry.llm_request(replicas[at % 3], trace_id=1, span_id=at + 1, parent_id=7, start_ns=START, end_ns=START)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emitter, "BODY_RECORDS", records)
        patch.setattr(emitter, "BODY_BYTES", size)
        telemetry.flush(START)
    seen = []
    for _, body in sink.bodies:
        groups = ExportTraceServiceRequest.FromString(body).resource_spans
        spans = [span for group in groups for span in group.scope_spans[0].spans]
        lengths = [span.ByteSize() for span in spans]
        assert len(spans) <= records and (sum(lengths) <= size or len(spans) == 1)
        seen += [int.from_bytes(span.span_id) for span in spans]
    assert sorted(seen) == list(range(1, count + 1))
