"""Attempts as sources of several kinds report them: the spans of each, and the row that the store must make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status, StatusCode
from sdk_bodies import SpanFacts, traces_body

from collectors.schema import ATTEMPT_COLUMNS, PHASES, REQUESTS, SPANS
from collectors.sink import Signal
from collectors.tables.hours import HOUR_NS

BEGIN = 490_000 * HOUR_NS
"""The start of an hour."""
MINUTE = HOUR_NS // 60
GATEWAY, ENGINE = "gateway:main", "replica:r0"
VLLM_NAMES = {"queue_ns": "vllm_queue", "prefill_ns": "vllm_prefill", "decode_ns": "vllm_decode",
              "kv_transfer_ns": "vllm_async_kv_transfer"}
ENGINE_COLUMNS = ("output_tokens", "computed_tokens", "busy_ns", "kv_block_ns", "hit_blocks")
_KEYS = {name: SPANS.column(name).source.split(",")[0].strip() for name in ATTEMPT_COLUMNS}
Sent = tuple[str, SpanFacts]


@dataclass(frozen=True)
class Attempt:
    """``spans`` with the entities that send them, and the ``row`` of ``requests`` that they make; None: no row."""

    spans: list[Sent]
    row: dict[str, Any] | None


def span(trace: int, number: int, name: str, start_ns: int, end_ns: int, parent: int | None = None, *, error: bool = False,
         attributes: dict[str, Any] | None = None, **columns: Any) -> SpanFacts:
    """A span with its id, its parent's id, and values of contract columns."""
    said = {_KEYS[column]: value for column, value in columns.items() if value is not None}
    return SpanFacts(trace, number, parent, name, SpanKind.SERVER, start_ns, end_ns,
                     Status(StatusCode.ERROR if error else StatusCode.UNSET), {**said, **(attributes or {})})


def body_of_spans(sent: list[Sent]) -> tuple[Signal, bytes]:
    """Spans as one body, in their order."""
    return traces_body(*(({"flashover.entity": entity}, [member]) for entity, member in sent))


def row_of(trace: int, number: int, start_ns: int, end_ns: int, *, gateway: str | None, engine: int | None,
           **columns: Any) -> dict[str, Any]:
    """A row of ``requests``; columns that are not given are NULL."""
    return {**dict.fromkeys(REQUESTS.arrow.names), "arrival_ns": start_ns, "end_ns": end_ns, "trace_hi": 0, "trace_lo": trace,
            "span_id": number, "gateway": gateway, "engine_span_id": engine, **columns}


def _carried(draw: st.DrawFn, trace: int, start: int, known: dict[str, Any]) -> Attempt:
    """A root span with phases; the engine's span below it, or beside it with the same number, fills what it leaves open."""
    phases = dict(zip(PHASES, draw(st.lists(st.integers(0, 5) | st.just(40), min_size=9, max_size=9)), strict=True))
    phases = {name: part * MINUTE for name, part in phases.items()}
    e2e = sum(phases.values())
    said = {**known, **phases, "e2e_ns": e2e, "outcome": draw(st.sampled_from(["ok", "timeout", None])),
            "ttft_ns": draw(st.none() | st.integers(0, e2e)), "replica": draw(st.sampled_from([None, "replica:r7"]))}
    error = draw(st.booleans())
    root = (GATEWAY, span(trace, 1, "gateway.request", start, start + e2e, error=error, **said))
    row = row_of(trace, 1, start, start + e2e, gateway=GATEWAY, engine=None,
                 **{**said, "outcome": said["outcome"] or ("error" if error else None)})
    if draw(st.booleans()):
        return Attempt([root], row)
    own = {name: draw(st.none() | st.integers(0, 99)) for name in ENGINE_COLUMNS}
    begun = start + draw(st.integers(0, 2)) * HOUR_NS
    below = draw(st.booleans())
    engine = (ENGINE, span(trace, 2, "llm_request", begun, begun + MINUTE, 1 if below else 77, ttft_ns=5, outcome="error",
                           **own, **{name: known[name] for name in ("request_id", "attempt")}))
    return Attempt([root, engine], {**row, **own, "engine_span_id": 2, "replica": said["replica"] or ENGINE})


def _assembled(draw: st.DrawFn, trace: int, start: int, known: dict[str, Any]) -> Attempt:
    """A span without phases whose children are phases, one after the other."""
    parts = draw(st.dictionaries(st.sampled_from(PHASES), st.integers(0, 20), min_size=1))
    vllm, named = draw(st.booleans()), draw(st.booleans())
    name, entity = ("llm_request", ENGINE) if named else ("gateway.request", GATEWAY)
    children, at = [], start
    for child, (phase, part) in enumerate(parts.items(), start=3):
        end = at + part * MINUTE
        called = VLLM_NAMES.get(phase, phase[:-3]) if vllm else phase[:-3]
        children.append((entity, span(trace, child, called, at, end, 1)))
        at = end
    numbered = draw(st.booleans())
    said = known if numbered else {key: value for key, value in known.items() if key != "attempt"}
    base = (entity, span(trace, 1, name, start, at, error=draw(st.booleans()), **said))
    outcome = "error" if base[1].status.status_code == StatusCode.ERROR else None
    held = {phase: part * MINUTE for phase, part in parts.items()}
    row = row_of(trace, 1, start, at, gateway=None if named else GATEWAY, engine=1 if named else None, e2e_ns=at - start,
                 outcome=outcome, replica=ENGINE if named else None, **said, **held)
    if named or draw(st.booleans()):
        return Attempt([base, *children], row)
    engine = (ENGINE, span(trace, 2, "llm_request", start, at, 1, output_tokens=7))
    return Attempt([base, *children, engine], {**row, "engine_span_id": 2, "replica": ENGINE, "output_tokens": 7})


def _of_vllm(draw: st.DrawFn, trace: int, start: int, known: dict[str, Any]) -> Attempt:
    """vLLM's own span: phases in seconds, no number, a parent that never comes."""
    queue, prefill, decode = draw(st.lists(st.integers(0, 9), min_size=3, max_size=3))
    e2e = (queue + prefill + decode) * MINUTE
    seconds = {"e2e": e2e, "time_in_queue": queue * MINUTE, "time_in_model_prefill": prefill * MINUTE,
               "time_in_model_decode": decode * MINUTE}
    sent = span(trace, 1, "llm_request", start, start + e2e, 66, request_id=known["request_id"],
                attributes={f"gen_ai.latency.{name}": ns / 1e9 for name, ns in seconds.items()})
    return Attempt([(ENGINE, sent)], row_of(
        trace, 1, start, start + e2e, gateway=None, engine=1, request_id=known["request_id"], replica=ENGINE, e2e_ns=e2e,
        queue_ns=queue * MINUTE, prefill_ns=prefill * MINUTE, decode_ns=decode * MINUTE))


def _waiting(draw: st.DrawFn, trace: int, start: int, known: dict[str, Any]) -> Attempt:
    """The engine's span of an attempt whose root never comes."""
    sent = span(trace, 1, "llm_request", start, start + draw(st.integers(0, 90)) * MINUTE, 66, busy_ns=3, **known)
    return Attempt([(ENGINE, sent)], None)


@st.composite
def attempts(draw: st.DrawFn, most: int) -> list[Attempt]:
    """Attempts of all kinds over some hours, each in a trace of its own; several may be of one request."""
    found = []
    for trace in range(1, draw(st.integers(1, most)) + 1):
        make = draw(st.sampled_from([_carried, _carried, _assembled, _of_vllm, _waiting]))
        known = {"request_id": f"q{draw(st.integers(1, 3))}", "attempt": trace, "cohort": draw(st.sampled_from([None, "chat"]))}
        start = BEGIN + draw(st.integers(0, 240) | st.sampled_from([59, 60, 119])) * MINUTE + draw(st.sampled_from([0, 1, -1]))
        found.append(make(draw, trace, start, known))
    return found
