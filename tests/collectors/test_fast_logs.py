"""Log bodies taken as arrays become what the official classes make of them, for any bytes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_bodies import START, attribute, resource, step_stream
from wire_fuzz import (
    ATTRIBUTE,
    GOOD_TIMES,
    INTS,
    RESOURCE,
    TIMES,
    UNKNOWN,
    VALUE,
    edited,
    field,
    fixed,
    maybe,
    message,
    number,
    once,
    some,
    strange,
    text,
)

from collectors.decode.decode_logs import LogRows
from collectors.decode.edges import EdgeRows, SpanMemory
from collectors.decode.fast_logs import LogBodies
from collectors.decode.limits import Drops, Limits
from collectors.decode.log_batch import LogBatch, may_quote
from collectors.decode.prompt_text import without_quotes
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters
from collectors.schema import EVENTS, LOGS, STEPS

LINES = st.sampled_from([
    "", "ready", "Received request cmpl-1: prompt: 'hello', params: SamplingParams(n=1)", 'prompt_token_ids: [1, 2', "ß" * 40,
    "finish: output=\\\"x\\\"", "text: 'a'", "prompt\u00a0=\u2003\"x\"", "output_\u0131ds=[1]",
    "input_id\u017f: (1)"])
NAMES = st.sampled_from(["", "", "device.app", "flashover.event.note", "flashover.event.", "gen_ai.choice", "flashover.step",
                         "n" * 50])
TRACES = st.sampled_from([bytes(16), bytes(15) + b"\1", b"\xff" * 16])
STEP_BODY = st.sampled_from([step_stream([{"start_ns": 5, "step_id": 1}]), b"none"]).map(lambda body: field(5, field(7, body)))
RECORD = once(
    maybe(fixed(1, GOOD_TIMES)), fixed(11, GOOD_TIMES), maybe(number(2, st.integers(0, 24) | INTS)),
    maybe(text(3, st.sampled_from(["INFO", "", "w" * 50]))), text(12, NAMES),
    maybe(message(5, LINES.map(lambda line: field(1, line.encode())) | VALUE)), strange(lambda: STEP_BODY),
    some(message(6, ATTRIBUTE), 3), maybe(TRACES.map(lambda id_: field(9, id_))),
    maybe(st.sampled_from([bytes(8), b"\x80" * 8]).map(lambda id_: field(10, id_))), strange(lambda: fixed(1, TIMES)),
    strange(lambda: message(5, VALUE)), strange(lambda: UNKNOWN), strange(lambda: st.just(field(10, b"\1"))),
    strange(lambda: text(12, NAMES)))
SCOPE = once(some(message(2, RECORD), 4), strange(lambda: message(1, UNKNOWN)), strange(lambda: text(3, st.just("url"))))
BLOCK = once(maybe(message(1, RESOURCE)), some(message(2, SCOPE), 2), strange(lambda: message(1, RESOURCE)))
BODY = once(some(message(1, BLOCK)), strange(lambda: UNKNOWN))
LIMITS = st.sampled_from([Limits(), Limits(), Limits(keep_text=True), Limits(attributes=2),
                          Limits(value_chars=40, body_chars=30), Limits(attributes=1, value_chars=16)])


def outcome(fast: bool, bodies: list[bytes], limits: Limits) -> dict[str, Any]:
    """Everything that the bodies give and change."""
    drops, ignored = Drops(), dict[str, int]()
    edges, rejects = EdgeRows(SpanMemory(), 0), Rejects(limits, drops)
    official = LogRows(Emitters(limits), edges, rejects, ignored, limits, drops)
    rows: Any = LogBodies(official, least_bytes=0) if fast else official
    for frame, body in enumerate(bodies, start=1):
        rows.add(frame, body)
    tables = {"logs": rows.logs(), "events": rows.events(), "steps": rows.steps.table()}
    for name, schema in (("logs", LOGS), ("events", EVENTS), ("steps", STEPS)):
        tables[name].validate(full=True)
        assert tables[name].schema == schema.arrow
    tables |= {"edges": edges.table(), "rejects": rejects.table()}
    return {name: [repr(row) for row in table.to_pylist()] for name, table in tables.items()} | {
        "drops": dict(+drops), "ignored": ignored}


@given(st.lists(BODY, max_size=4), LIMITS)
@settings(max_examples=100, deadline=None)
def test_any_bytes(bodies: list[bytes], limits: Limits) -> None:
    expected, got = outcome(False, bodies, limits), outcome(True, bodies, limits)
    for name in expected:
        assert got[name] == expected[name], name


EDITS = st.lists(st.tuples(st.sampled_from(["set", "drop", "insert", "cut"]), st.floats(0, 1, exclude_max=True),
                           st.integers(0, 255)), min_size=1, max_size=3)


@given(st.lists(st.tuples(BODY, EDITS), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_damaged_bytes(damaged: list[tuple[bytes, list[tuple[str, float, int]]]]) -> None:
    bodies = [edited(body, edits) for body, edits in damaged]
    assert outcome(True, bodies, Limits()) == outcome(False, bodies, Limits())


@given(st.text(st.sampled_from(list("promptextidsgucn_ :='\"[{(\\ARRAY\u0131\u0130\u017f\u212a\u00a0\x0b\x1c")) | st.characters(
    exclude_categories=("Cs",)), max_size=30), st.sampled_from(["", "Received request ", "finish: "]), st.sampled_from(
    ["", "prompt", "Input_\u0131ds", "text", "completions", "MESSAGES", "arguments", "delta_text"]))
@settings(max_examples=300, deadline=None)
def test_a_line_that_may_not_quote_is_left_as_it_is(tail: str, head: str, name: str) -> None:
    line = head + name + tail
    if not may_quote(pa.array([line]))[0]:
        assert without_quotes(line, Drops()) == line


def plain_body(lines: int, entity: str = "replica:r0") -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add(resource=resource(entity, calls="router:main")).scope_logs.add()
    for at in range(lines):
        record = scope.log_records.add(time_unix_nano=START + at, severity_number=9, severity_text="INFO",
                                       trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\2")
        record.body.string_value = f"line {at}"
        record.attributes.extend([attribute("code.lineno", at), attribute("thread", "main")])
    return request


def test_ordinary_records_never_meet_the_official_rows() -> None:
    """Lists, maps, bytes, quotes and control facts among them are ordinary too; a record without a time is not."""
    request = plain_body(20)
    records = request.resource_logs[0].scope_logs[0].log_records
    records[1].body.kvlist_value.values.add(key="a").value.int_value = 1
    records[2].body.bytes_value = b"\xff"
    records[3].body.string_value = "Received request 1: prompt: 'secret', params"
    records[4].event_name = "flashover.event.note"
    records[5].attributes.add(key="list").value.array_value.values.add(bool_value=False)
    limits = Limits()
    batch = LogBatch([request.SerializeToString()], Emitters(limits), limits)
    assert not batch.unusual.any() and len(batch.times) == 19 and batch.special.tolist() == [4]
    got = outcome(True, [request.SerializeToString()], limits)
    assert got == outcome(False, [request.SerializeToString()], limits)
    assert not any("secret" in line for line in got["logs"]) and got["drops"] == {"prompt_text": 1}
    records[6].time_unix_nano = 0
    assert LogBatch([request.SerializeToString()], Emitters(limits), limits).unusual.all()


@pytest.mark.parametrize("entity", ["replica:r0", "gateway:main"])
def test_records_of_two_rounds_of_bodies_come_sorted_by_time(entity: str) -> None:
    bodies = [plain_body(3, entity).SerializeToString() for _ in range(3)]
    got = outcome(True, bodies, Limits())
    times = [int(line.split("'ts_ns': ")[1].split(",")[0]) for line in got["logs"]]
    assert times == sorted(times) and len(times) == 9
    assert got["edges"] == [repr({"src": entity, "dst": "router:main", "kind": "calls", "first_seen_ns": START,
                                  "last_seen_ns": START + 2, "count": 3, "frame": 3})]
