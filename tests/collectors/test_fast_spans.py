"""The fast decoder of traces says what the official classes say: rows, edges, rejects and drops, for any bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from otlp_bodies import attribute, engine_span, resource, root_span, traces
from sdk_bodies import ATTRIBUTES, ENTITIES, SPANS, traces_body
from wire_fuzz import BODY, EDITS, edited, lenient

from collectors.decode.decode_spans import SpanRows
from collectors.decode.edges import Arrivals, EdgeRows, SpanMemory
from collectors.decode.fast_spans import FastSpans
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters
from collectors.schema import PHASES
from collectors.sink import MemorySink
from instrumented_engine.telemetry import Telemetry

Outcome = tuple[pa.Table, pa.Table, pa.Table, Drops]
START = 1_770_000_000_000_000_000
LIMITS = st.sampled_from([Limits(), Limits(keep_text=True), Limits(attributes=2), Limits(value_chars=40),
                          Limits(attributes=1, value_chars=16)])


def outcome(kind: type[FastSpans] | type[SpanRows], rounds: Iterable[Sequence[bytes]],
            limits: Limits) -> tuple[list[Outcome], int]:
    """What each round gives (spans, edges, rejects, drops), and how many bodies the official classes read."""
    emitters, memory, frames, outcomes, unusual = Emitters(limits), SpanMemory(), count(1), [], 0
    for bodies in rounds:
        drops = Drops()
        edges, rejects = EdgeRows(memory, 0), Rejects(limits, drops)
        rows = kind(emitters, edges, rejects, limits, drops)
        for body in bodies:
            rows.add(next(frames), body)
        spans = rows.finish()
        unusual += rows.unusual if isinstance(rows, FastSpans) else len(bodies)
        spans.validate(full=True)
        outcomes.append((spans, edges.table(), rejects.table(), drops))
    return outcomes, unusual


def check_equal(rounds: Sequence[Sequence[bytes]], limits: Limits) -> int:
    """Both decoders give the same; returns how many bodies the fast one left to the official classes."""
    fast, unusual = outcome(FastSpans, rounds, limits)
    official, _ = outcome(SpanRows, rounds, limits)
    for got, expected in zip(fast, official, strict=True):
        for mine, its in zip(got[:3], expected[:3], strict=True):
            for name in its.column_names:
                assert repr(mine[name].to_pylist()) == repr(its[name].to_pylist()), name
            assert mine.schema == its.schema
        assert got[3] == expected[3]
    return unusual


@given(st.lists(st.lists(BODY, max_size=3), min_size=1, max_size=2), LIMITS)
@settings(max_examples=40, deadline=None)
def test_any_bytes_decode_as_by_the_official_classes(rounds: list[list[bytes]], limits: Limits) -> None:
    check_equal(rounds, limits)


@st.composite
def ordinary(draw: st.DrawFn) -> list[list[bytes]]:
    """Bodies as an SDK sends them, in one or two rounds; ids and parents are of a few spans, so that they meet."""
    rounds = []
    for _ in range(draw(st.integers(1, 2))):
        groups = [({**draw(ENTITIES), **draw(ATTRIBUTES)}, draw(st.lists(SPANS, max_size=3)))
                  for _ in range(draw(st.integers(1, 3)))]
        rounds.append([traces_body(group)[1] for group in groups])
    return rounds


@given(ordinary())
@settings(max_examples=40, deadline=None)
def test_what_an_sdk_sends_takes_the_fast_way(rounds: list[list[bytes]]) -> None:
    """With lists, maps, bytes, unset values, events and links; only an id of zeros or a key of two meanings would not."""
    assert check_equal(rounds, Limits()) == 0


@pytest.fixture(scope="module")
def engine_bodies() -> list[bytes]:
    """Ten seconds of two replicas, with errors, retries and events, flushed each second."""
    source, sink = np.random.default_rng(3), MemorySink()
    telemetry, ids = Telemetry(sink, start_ns=START), count(1)
    gateway = telemetry.resource("gateway:main", "gateway", {"flashover.edge.calls": "router:main"})
    replicas = [telemetry.resource(f"replica:r{at}", "engine") for at in range(2)]
    for second in range(10):
        now = START + second * 1_000_000_000
        for number in [next(ids) for _ in range(20)]:
            parts = source.integers(0, 1_000_000_000, len(PHASES)).tolist()
            known = {"request_id": f"q{number}", "attempt": 1 + number % 2, "prompt_tokens": 900}
            retry_of = (number << 64, 2 * number - 2) if number % 2 else None
            telemetry.gateway_request(
                gateway, trace_id=number << 64 | number, span_id=2 * number, start_ns=now + number, end_ns=now + sum(parts),
                outcome="timeout" if number % 5 == 0 else "ok", cohort="chat", replica="replica:r0", e2e_ns=sum(parts),
                **dict(zip(PHASES, parts, strict=True)), **known,
                retry_of=retry_of)
            telemetry.llm_request(
                replicas[number % 2], trace_id=number << 64 | number, span_id=2 * number + 1, parent_id=2 * number,
                start_ns=now + number, end_ns=now + 9, output_tokens=0, busy_ns=5,
                events=[("queued", now), ("first_token", now + 5)], **known)
        telemetry.flush(now)
    return [body for signal, body in sink.bodies if signal == "traces"]


def test_the_engines_own_bodies_take_the_fast_way(engine_bodies: list[bytes]) -> None:
    """Whether they come in one round or in many."""
    assert check_equal([engine_bodies], Limits()) == 0
    assert check_equal([[body] for body in engine_bodies], Limits()) == 0
    (spans, edges, rejects, drops), *_ = outcome(FastSpans, [engine_bodies], Limits())[0]
    assert spans.num_rows == 400 and rejects.num_rows == 0 and not drops
    assert set(edges.column("kind").to_pylist()) == {"calls", "routes_to", "retries_of"}
    assert sum(map(len, spans.column("events").to_pylist())) == 400


@given(st.integers(0, 9), EDITS)
@settings(max_examples=60, deadline=None)
def test_damaged_bodies_decode_as_by_the_official_classes(
    engine_bodies: list[bytes], at: int, edits: list[tuple[str, float, int]]) -> None:
    """Or are refused as by them."""
    body = edited(engine_bodies[at], edits)
    assume(not lenient(body))
    check_equal([[engine_bodies[at - 1], body]], Limits())


@pytest.mark.parametrize(
    "body", [b"\xc2\x80\x80\x80\x80\x80\0\0", b"\x12\x80\x80\x80\x80\x80\0", b"\xfa\xff\xff\xff\x7f\0"], ids=repr)
def test_it_reads_tags_and_lengths_that_the_official_classes_find_too_long(body: bytes, engine_bodies: list[bytes]) -> None:
    """All that is known to differ, and only for what a receiver refuses: the spans before it are rows, not a reject."""
    assert lenient(body)
    (spans, _, rejects, _), *_ = outcome(FastSpans, [[engine_bodies[0] + body]], Limits())[0]
    assert spans.num_rows == 40 and rejects.num_rows == 0


def test_one_unusual_body_costs_the_others_nothing(engine_bodies: list[bytes]) -> None:
    """Bytes that do not parse, a short id, a time that no column holds: each in a body of its own among the ordinary."""
    short, late = engine_span(1, START), engine_span(2, START)
    short.span_id, late.end_time_unix_nano = b"\1", 1 << 63
    harmed = [b"\xff", traces((resource("replica:r0"), [short])), traces((resource("replica:r0"), [late, root_span(9, START)]))]
    mixed = [harmed[0], *engine_bodies[:5], harmed[1], harmed[2], *engine_bodies[5:]]
    assert check_equal([mixed], Limits()) == 3
    (spans, _, rejects, drops), *_ = outcome(FastSpans, [mixed], Limits())[0]
    assert spans.num_rows == 401 and rejects.column("frame").to_pylist() == [1, 7, 8] and drops == {"prompt_text": 1}


@pytest.mark.parametrize("keys", [3, 64, 65, 130, 512, 700])
def test_a_key_that_comes_twice_is_seen_among_few_keys_and_among_many(keys: int) -> None:
    """The last value wins then, which is for the official classes to say."""
    spans = [engine_span(at, START) for at in range(1, keys // 100 + 3)]
    for at in range(keys):
        spans[at // 100].attributes.append(attribute(f"k{at}", at))
    once = traces((resource("replica:r0"), spans))
    spans[-1].attributes.extend([attribute("k1", "first"), attribute(f"k{keys - 1}", 0), attribute("k1", "last")])
    twice = traces((resource("replica:r1"), spans))
    assert check_equal([[once]], Limits()) == 0
    assert check_equal([[once, twice, once]], Limits()) == 1


def test_the_official_way_takes_everything_when_texts_may_be_shorter_than_numbers(engine_bodies: list[bytes]) -> None:
    assert check_equal([engine_bodies], Limits(value_chars=16)) == len(engine_bodies)


SOME, MANY = st.integers(1, 6), st.integers(1, 40)
PARENTS = st.just(0) | SOME | MANY
NAMES = st.sampled_from(["", "gateway:main", "router:main", "replica:r0"])
FAMILY = st.lists(st.tuples(SOME, PARENTS, NAMES, st.integers(1, 50)), max_size=24) | st.lists(
    st.tuples(MANY, PARENTS, NAMES, st.integers(1, 50)), max_size=24, unique_by=lambda span: span[0])
"""Spans as (id, parent's id, entity, start); their ids are often distinct."""


def remembered(memory: SpanMemory) -> list[list[object]]:
    """What a memory holds, in the order in which it would forget."""
    return [list(known.items()) for known in vars(memory).values()]


@given(FAMILY, st.lists(st.integers(0, 24), max_size=3))
@settings(max_examples=150, deadline=None)
def test_the_joined_edges_are_those_of_one_span_after_another(
    spans: list[tuple[int, int, str, int]], cuts: list[int]) -> None:
    """Ids that come twice, parents that never come, spans that are their own parents; cut into rounds anywhere."""
    joined, looped = SpanMemory(), SpanMemory()
    bounds = sorted({0, len(spans), *(cut for cut in cuts if cut < len(spans))})
    for begin, end in pairwise(bounds):
        one, other = EdgeRows(joined, 3), EdgeRows(looped, 3)
        some = [(at // 2 + 1, span, parent, entity or None, start) for at, (span, parent, entity, start)
                in enumerate(spans[begin:end], start=begin)]
        rows = [(frame, span, parent, one.code(entity), start) for frame, span, parent, entity, start in some]
        one.join(Arrivals(*np.array(rows, np.int64).reshape(-1, 5).T))
        other.spans((frame, span, parent or None, entity, start) for frame, span, parent, entity, start in some)
        assert one.table().equals(other.table())
        assert remembered(joined) == remembered(looped)
