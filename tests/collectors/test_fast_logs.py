"""Log bodies taken as arrays become what the official classes make of them, for any bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_bodies import step_stream
from wire_fuzz import (
    ATTRIBUTE,
    GOOD_TIMES,
    INTS,
    RESOURCE,
    TIMES,
    UNKNOWN,
    VALUE,
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

from collectors.decode_logs import LogRows
from collectors.edges import EdgeRows, SpanMemory
from collectors.fast_logs import LogBodies
from collectors.limits import Drops, Limits
from collectors.rejects import Rejects
from collectors.resources import Emitters
from collectors.schema import EVENTS, LOGS, STEPS

LINES = st.sampled_from([
    "", "ready", "Received request cmpl-1: prompt: 'hello', params: SamplingParams(n=1)", 'prompt_token_ids: [1, 2', "ß" * 40,
    "finish: output=\\\"x\\\"", "text: 'a'", "prompt\u00a0=\u2003\"x\"", "prıompt_ıds: [1]", "output_ıds=[1]", "input_id\u017f: (1)"])
NAMES = st.sampled_from(["", "", "device.app", "flashover.event.note", "flashover.event.", "gen_ai.choice", "flashover.step", "n" * 50])
STEP_BODY = st.sampled_from([step_stream([{"start_ns": 5, "step_id": 1}]), b"none"]).map(lambda body: field(5, field(7, body)))
RECORD = once(
    maybe(fixed(1, GOOD_TIMES)), fixed(11, GOOD_TIMES), maybe(number(2, st.integers(0, 24) | INTS)),
    maybe(text(3, st.sampled_from(["INFO", "", "w" * 50]))), text(12, NAMES),
    maybe(message(5, LINES.map(lambda line: field(1, line.encode())) | VALUE)), strange(lambda: STEP_BODY),
    some(message(6, ATTRIBUTE), 3), maybe(st.sampled_from([bytes(16), bytes(15) + b"\1", b"\xff" * 16]).map(lambda id_: field(9, id_))),
    maybe(st.sampled_from([bytes(8), b"\x80" * 8]).map(lambda id_: field(10, id_))), strange(lambda: fixed(1, TIMES)),
    strange(lambda: message(5, VALUE)), strange(lambda: UNKNOWN), strange(lambda: st.just(field(10, b"\1"))),
    strange(lambda: text(12, NAMES)))
SCOPE = once(some(message(2, RECORD), 4), strange(lambda: message(1, UNKNOWN)), strange(lambda: text(3, st.just("url"))))
BLOCK = once(maybe(message(1, RESOURCE)), some(message(2, SCOPE), 2), strange(lambda: message(1, RESOURCE)))
BODY = once(some(message(1, BLOCK)), strange(lambda: UNKNOWN))
LIMITS = st.sampled_from([Limits(), Limits(), Limits(keep_text=True), Limits(attributes=2), Limits(value_chars=40, body_chars=30),
                          Limits(attributes=1, value_chars=16)])


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
