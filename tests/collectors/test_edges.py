"""Relations between entities are the same whatever the order and grouping of the spans they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status
from otlp_bodies import START
from sdk_bodies import SpanFacts, decoded, log_record, logs_body, metrics_body, traces_body

from collectors.decode import edges
from collectors.decode.decode_metrics import KnownSeries
from collectors.decode.edges import SpanMemory
from collectors.decode.limits import Drops, Limits
from collectors.decode.resources import Emitters
from collectors.decode.round import Round
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects
from collectors.schema import EDGE_KINDS
from collectors.sink import SIGNALS, Signal

ENTITIES = [None, "gateway:main", "router:main", "replica:r0", "replica:r1"]
DIALECTS = Dialects()
RETRY = {"flashover.edge": "retries_of"}
Seen = dict[tuple[str, str, str], tuple[int, int, int]]


def facts(at: int, parent: int | None, start_ns: int, retried: str | None) -> SpanFacts:
    """Span number ``at``; ``retried``: None for no retry, "" for one of no cohort."""
    links = () if retried is None else ((9, 9, RETRY), (8, 8, {"flashover.edge": "other"}))
    return SpanFacts(1, at + 1, None if parent is None else parent + 1, "s", SpanKind.SERVER, start_ns, start_ns + 5, Status(),
                     {"flashover.cohort": retried} if retried else {}, (), links)


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[str | None, SpanFacts]]:
    """Spans of one trace with their entities; a parent may be any other span, or one that never comes."""
    count = draw(st.integers(1, 8))
    return [(draw(st.sampled_from(ENTITIES)),
             facts(at, draw(st.none() | st.integers(0, count).filter(lambda parent, at=at: parent != at)),  # type: ignore[misc]
                   START + draw(st.integers(0, 50)), draw(st.sampled_from([None, None, "", "chat"]))))
            for at in range(count)]


def joined(rows: Iterable[dict[str, Any]]) -> Seen:
    """What several rounds saw, joined as the store's view joins it."""
    seen: Seen = {}
    for row in rows:
        key = row["src"], row["dst"], row["kind"]
        first, last, count = seen.get(key, (1 << 63, 0, 0))
        seen[key] = min(first, row["first_seen_ns"]), max(last, row["last_seen_ns"]), count + row["count"]
    return seen


def observed(spans: list[tuple[str | None, SpanFacts]]) -> Iterator[dict[str, Any]]:
    """The relations by their definition, one row for each time seen."""
    entities = {span.span_id: entity for entity, span in spans}
    for entity, span in spans:
        once = {"dst": entity, "first_seen_ns": span.start_ns, "last_seen_ns": span.start_ns, "count": 1}
        parent = entities.get(span.parent_id or 0)
        if entity and parent and parent != entity:
            yield {**once, "src": parent, "kind": "routes_to" if entity.startswith("replica:") else "calls"}
        if entity and span.links:
            cohort = span.attributes.get("flashover.cohort")
            yield {**once, "src": f"cohort:{cohort}" if cohort else entity, "kind": "retries_of"}


def bodies_of(spans: list[tuple[str | None, SpanFacts]]) -> list[tuple[Signal, bytes]]:
    """Each span in a body of its own."""
    return [traces_body(({"flashover.entity": entity} if entity else {}, [span])) for entity, span in spans]


def round_of(memory: SpanMemory, first: int, bodies: list[tuple[Signal, bytes]], after: int = 0) -> list[dict[str, Any]]:
    """The edges of a round whose frames start at ``first``, from those above ``after``."""
    work = Round(Emitters(Limits()), memory, KnownSeries(set(), DIALECTS), SeriesState(), {}, after, Limits(), Drops())
    work.take((frame, *body) for frame, body in enumerate(bodies, start=first))
    found = work.tables().get("edges")
    return [] if found is None else found.to_pylist()


@given(traffic(), st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_observed_relations_do_not_depend_on_order_or_grouping(spans: list[tuple[str | None, SpanFacts]], chance: Any) -> None:
    """The bodies come in any order and are cut into rounds anywhere."""
    chance.shuffle(spans)
    bodies, memory, rows, begin = bodies_of(spans), SpanMemory(), [], 0
    while begin < len(bodies):
        end = chance.randint(begin + 1, len(bodies))
        rows += round_of(memory, begin + 1, bodies[begin:end])
        begin = end
    assert joined(rows) == joined(observed(spans))


@given(traffic(), st.integers(0, 8))
@settings(max_examples=40)
def test_frames_that_the_table_has_are_not_seen_twice(spans: list[tuple[str | None, SpanFacts]], after: int) -> None:
    """A round decoded anew after a crash: what frames up to ``after`` showed is left out, and remembered for the others."""
    after = min(after, len(spans))
    bodies = bodies_of(spans)
    before = round_of(SpanMemory(), 1, bodies[:after])
    rest = round_of(SpanMemory(), 1, bodies, after)
    assert joined([*before, *rest]) == joined(observed(spans))
    assert all(row["frame"] > after for row in rest)


@given(st.dictionaries(st.sampled_from([*EDGE_KINDS, "likes"]), st.sampled_from(["a:1", "a:1,b:2", " a:1 ", "", ","])),
       st.sampled_from([None, "pool:main"]), st.lists(st.integers(1, 99), max_size=3), st.sampled_from(SIGNALS))
@settings(max_examples=80)
def test_declared_relations_are_seen_once_for_each_body_with_records(
    declared: dict[str, str], entity: str | None, times: list[int], signal: Signal
) -> None:
    """Kinds that the contract does not know are no edges; they stay among the resource's attributes."""
    who = {f"flashover.edge.{kind}": dst for kind, dst in declared.items()} | ({"flashover.entity": entity} if entity else {})
    if signal == "traces":
        body = traces_body((who, [facts(at, None, ns, None) for at, ns in enumerate(times)]))
    elif signal == "logs":
        body = logs_body(who, *(log_record(ns, "x") for ns in times))
    else:
        body = metrics_body(who, Metric("m", None, None, Gauge([NumberDataPoint({}, 0, ns, 1) for ns in times])))
    last = max(times, default=0) + (5 if signal == "traces" else 0)
    expected = {(entity, dst.strip(), kind): (min(times), last, 1)
                for kind, listed in declared.items() for dst in listed.split(",")
                if entity and times and kind in EDGE_KINDS and dst.strip()}
    assert joined(decoded(body)["edges"].to_pylist()) == expected
    assert all(row["count"] == 2 for row in decoded(body, body)["edges"].to_pylist())


def test_memory_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "MEMORY_SPANS", 2)
    old, new, child_of_old, child_of_new = (
        ("gateway:main", facts(0, None, START, None)), ("gateway:main", facts(1, None, START, None)),
        ("router:main", facts(2, 0, START, None)), ("replica:r0", facts(3, 1, START, None)))
    memory = SpanMemory()
    for frame, spans in enumerate([[old], [new], [("pool:main", facts(8, None, START, None))]], start=1):
        assert round_of(memory, frame, bodies_of(spans)) == []
    rows = round_of(memory, 4, bodies_of([child_of_old, child_of_new]))
    assert [(row["src"], row["dst"]) for row in rows] == [("gateway:main", "replica:r0")]
