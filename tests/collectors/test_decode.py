"""Spans as the SDK encodes them come back as they went in; what cannot be a row is kept with its bytes, and counted."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status, StatusCode
from sdk_bodies import (
    ATTRIBUTES,
    ENTITIES,
    INT32,
    INT64,
    TEXTS,
    VALUES,
    SpanFacts,
    all_said,
    decoded,
    log_record,
    logs_body,
    metrics_body,
    says,
    traces_body,
)
from sdk_bodies import SPANS as ANY_SPAN

from collectors.schema import ATTEMPT_COLUMNS, SPANS

SECONDS = {"gen_ai.latency.time_to_first_token": "ttft_ns", "gen_ai.latency.e2e": "e2e_ns",
           "gen_ai.latency.time_in_queue": "queue_ns", "gen_ai.latency.time_in_model_prefill": "prefill_ns",
           "gen_ai.latency.time_in_model_decode": "decode_ns"}
KEYS = {key.strip(): name for name in ATTEMPT_COLUMNS for key in SPANS.column(name).source.split(",")
        if key.strip() not in SECONDS}
"""Attribute keys that the contract promotes, and their columns."""
FITTING = {pa.string(): TEXTS, pa.int64(): INT64, pa.int32(): INT32}
COLUMNS = st.fixed_dictionaries({}, optional={name: st.tuples(
    st.sampled_from([key for key, column in KEYS.items() if column == name]),
    FITTING[SPANS.column(name).type]) for name in ATTEMPT_COLUMNS})
"""Any of the promoted columns, each with one of the names it comes from and a value that it can hold."""
MEMBERS = st.lists(st.tuples(st.integers(0, 1), ANY_SPAN, COLUMNS), max_size=4, unique_by=lambda member: member[1].span_id)


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def halves(trace_id: int) -> tuple[int, int]:
    return signed(trace_id >> 64), signed(trace_id & (1 << 64) - 1)


def with_more(span: SpanFacts, attributes: dict[str, Any]) -> SpanFacts:
    return SpanFacts(**{**vars(span), "attributes": {**span.attributes, **attributes}})


def plain_columns(span: SpanFacts) -> dict[str, Any]:
    """What the columns must hold that are neither promoted nor nested."""
    hi, lo = halves(span.trace_id)
    return {"trace_hi": hi, "trace_lo": lo, "span_id": signed(span.span_id),
            "parent_id": None if span.parent_id is None else signed(span.parent_id), "name": span.name,
            "kind": span.kind.value + 1, "start_ns": span.start_ns, "end_ns": span.end_ns,
            "status_code": span.status.status_code.value, "status_message": span.status.description or None}


def check_nested(row: dict[str, Any], span: SpanFacts) -> None:
    """Events and links are those of the span, in order."""
    assert [(event["name"], event["ts_ns"]) for event in row["events"]] == [event[:2] for event in span.events]
    assert all(all_said(got["attributes"], event[2]) for got, event in zip(row["events"], span.events, strict=True))
    assert [(link["trace_hi"], link["trace_lo"], link["span_id"]) for link in row["links"]] == [
        (*halves(trace), signed(span_id)) for trace, span_id, _ in span.links]
    assert all(all_said(got["attributes"], link[2]) for got, link in zip(row["links"], span.links, strict=True))


@given(st.lists(st.tuples(ENTITIES, ATTRIBUTES), min_size=2, max_size=2), MEMBERS)
@settings(max_examples=60)
def test_every_column_of_a_span_comes_back(
    resources: list[tuple[dict[str, str], dict[str, Any]]], members: list[tuple[int, SpanFacts, dict[str, tuple[str, Any]]]]
) -> None:
    body = traces_body(*(({**resources[where][0], **resources[where][1]}, [with_more(span, dict(columns.values()))])
                         for where, span, columns in members))
    rows = decoded(body)["spans"].to_pylist()
    assert [(row["start_ns"], row["span_id"]) for row in rows] == sorted(
        (span.start_ns, signed(span.span_id)) for _, span, _ in members)
    for where, span, columns in members:
        (row,) = [row for row in rows if row["span_id"] == signed(span.span_id)]
        who, more = resources[where]
        service = who.get("service.name")
        entity = who.get("flashover.entity") or (f"service:{service}" if service else None)
        expected = {**plain_columns(span), **dict.fromkeys(ATTEMPT_COLUMNS), "service": service, "entity": entity, "frame": 1,
                    **{name: value for name, (_, value) in columns.items()}}
        assert {name: row[name] for name in expected} == expected
        assert all_said(row["attributes"], span.attributes) and all_said(row["resource"], more)
        check_nested(row, span)


@pytest.fixture(scope="module")
def bare() -> SpanFacts:
    """A span that says nothing of an attempt."""
    return SpanFacts(1, 2, None, "s", SpanKind.SERVER, 3, 4, Status(StatusCode.UNSET))


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), VALUES, max_size=8))
@example({"flashover.attempt": 1 << 31, "flashover.user_hash": str(-(1 << 63)), "flashover.tier": 7})
@example({"gen_ai.usage.input_tokens": "007", "gen_ai.usage.output_tokens": 2.0, "flashover.hit_blocks": True})
@example({"gen_ai.usage.input_tokens": 5, "gen_ai.usage.prompt_tokens": 6, "flashover.e2e_ns": "9" * 19})
def test_a_promoted_attribute_is_in_its_column_or_in_the_map_and_the_same(bare: SpanFacts, values: dict[str, Any]) -> None:
    """Whatever its value: one that the column's type does not hold stays beside the others, as text."""
    (row,) = decoded(traces_body(({}, [with_more(bare, values)])))["spans"].to_pylist()
    kept = dict(row["attributes"])
    promoted = {key for key in values if key not in kept}
    assert kept.keys() == values.keys() - promoted
    assert all(says(text, values[key]) for key, text in kept.items())
    filled = {KEYS[key]: values[key] for key in promoted}
    assert len(filled) == len(promoted)
    assert not any(isinstance(value, (bool, bytes)) for value in filled.values())
    for name in ATTEMPT_COLUMNS:
        assert row[name] == filled.get(name) or str(row[name]) == str(filled[name])


@pytest.mark.parametrize(("who", "entity"), [
    ({}, None), ({"service.name": ""}, None), ({"service.name": "vllm"}, "service:vllm"),
    ({"flashover.entity": "gpu:0"}, "gpu:0"), ({"service.name": "vllm", "flashover.entity": "gpu:0"}, "gpu:0")])
def test_the_emitter_is_the_entity_it_names_or_else_its_service(
    bare: SpanFacts, who: dict[str, str], entity: str | None
) -> None:
    """In every signal."""
    metric = Metric("m", None, None, Gauge([NumberDataPoint({}, 0, 1, 1)]))
    tables = decoded(traces_body((who, [bare])), metrics_body(who, metric), logs_body(who, log_record(1, "text")))
    assert [tables[name].column("entity").to_pylist() for name in ("spans", "series", "logs")] == [[entity]] * 3
    assert tables["spans"].column("service").to_pylist() == [who.get("service.name")]


@pytest.mark.parametrize("value", [
    [math.nan, math.inf, -math.inf], {"a": math.nan, "b": {"c": [math.inf]}}, math.nan, -math.inf, -0.0, [], {}, "", b"",
    b"\xff", [b"\xff", None, True, 1, 1.0, "1"], -(1 << 63), [(1 << 63) - 1], 1e300, '"quoted"', ["\0ß🔥"]], ids=repr)
def test_a_value_of_any_type_is_text_in_the_map(bare: SpanFacts, value: Any) -> None:
    (row,) = decoded(traces_body(({"x": value}, [with_more(bare, {"x": value, "y": 1})])))["spans"].to_pylist()
    assert all_said(row["attributes"], {"x": value, "y": 1}) and all_said(row["resource"], {"x": value})


@pytest.mark.parametrize(("key", "name"), SECONDS.items())
@pytest.mark.parametrize(("seconds", "ns"), [(0.25, 250_000_000), (3, 3_000_000_000), (0.0, 0), (1e-9, 1)])
def test_seconds_become_nanoseconds(bare: SpanFacts, key: str, name: str, seconds: float, ns: int) -> None:
    (row,) = decoded(traces_body(({}, [with_more(bare, {key: seconds})])))["spans"].to_pylist()
    assert row[name] == ns and row["attributes"] == []


def test_what_is_missing_is_null_and_never_zero() -> None:
    """Also where OTLP itself writes nothing and zero alike: a time, a parent."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=bytes(15) + b"\1", span_id=b"\1" * 8, parent_span_id=bytes(8), start_time_unix_nano=7)
    spans[0].events.add(name="e")
    (row,) = decoded(("traces", request.SerializeToString()))["spans"].to_pylist()
    said = {"trace_hi": 0, "trace_lo": 1, "span_id": int.from_bytes(b"\1" * 8), "name": "", "kind": 0, "start_ns": 7,
            "status_code": 0, "attributes": [], "resource": [], "links": [], "frame": 1,
            "events": [{"ts_ns": None, "name": "e", "attributes": []}]}
    assert row == {**dict.fromkeys(SPANS.arrow.names), **said}


def _short_id(span: Span) -> None:
    span.span_id = b"\1\2\3"


def _no_trace(span: Span) -> None:
    span.trace_id = b""


def _no_start(span: Span) -> None:
    span.start_time_unix_nano = 0


def _far_end(span: Span) -> None:
    span.end_time_unix_nano = 1 << 63


def _far_event(span: Span) -> None:
    span.events.add(time_unix_nano=(1 << 64) - 1)


def _bad_link(span: Span) -> None:
    span.links.add(trace_id=b"\1" * 16, span_id=b"\1" * 9)


@given(st.lists(st.sampled_from([None, _short_id, _no_trace, _no_start, _far_end, _far_event, _bad_link]), max_size=8))
@settings(max_examples=40)
def test_a_span_that_cannot_be_a_row_is_kept_with_its_bytes_and_costs_no_other(bare: SpanFacts, harms: list[Any]) -> None:
    facts = [SpanFacts(**{**vars(bare), "span_id": at + 1}) for at in range(len(harms))]
    _, body = traces_body(({"flashover.entity": "replica:r0"}, facts))
    request = ExportTraceServiceRequest.FromString(body)
    spans = [span for block in request.resource_spans for scope in block.scope_spans for span in scope.spans]
    for span, harm in zip(spans, harms, strict=True):
        if harm:
            harm(span)
    tables = decoded(("traces", request.SerializeToString()))
    assert tables["spans"].column("span_id").to_pylist() == [at + 1 for at, harm in enumerate(harms) if not harm]
    rejects = tables["rejects"].to_pylist()
    assert [(row["frame"], row["signal"], row["body"]) for row in rejects] == [
        (1, "traces", span.SerializeToString()) for span, harm in zip(spans, harms, strict=True) if harm]
    assert all(row["reason"] for row in rejects)
