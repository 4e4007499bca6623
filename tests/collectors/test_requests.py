"""``requests``: each attempt once and whole, whatever has been written, in whatever order and grouping its spans came."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attempts import BEGIN, ENGINE, GATEWAY, MINUTE, Attempt, Sent, attempts, body_of_spans, row_of, span
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sdk_bodies import decoded

from collectors.intake import Intake
from collectors.live_views import open_duckdb
from collectors.schema import PHASES, REQUESTS
from collectors.snapshot import read_snapshot
from collectors.store import Store
from collectors.tables.hours import HOUR_NS, hour_name
from collectors.tables.requests_table import WATERMARK_NS, requests_sql

Rows = list[dict[str, Any]]
IN_ORDER = "ORDER BY trace_hi, trace_lo, span_id, arrival_ns"


duckdb_of_all = cache(open_duckdb)


def viewed(sent: list[Sent]) -> Rows:
    """The view over these spans, without a store."""
    with duckdb_of_all().cursor() as connection:
        connection.register("spans", decoded(body_of_spans(sent))["spans"])
        found = connection.sql(f"SELECT * FROM ({requests_sql()}) {IN_ORDER}").to_arrow_table()
    rows: Rows = found.cast(REQUESTS.arrow).to_pylist()
    return rows


def stored(path: Path) -> Rows:
    """What a reader sees."""
    with Store.open(path) as store:
        found: Rows = store.query(f"SELECT * FROM requests {IN_ORDER}").cast(REQUESTS.arrow).to_pylist()
    return found


def clean_hours(path: Path) -> list[int]:
    """The hours whose attempts are written, counted from BEGIN."""
    snapshot = read_snapshot(path)
    assert snapshot is not None
    names = {hour_name(BEGIN // HOUR_NS + at): at for at in range(-1, 24)}
    return [names[name] for name in snapshot.clean_hours]


def written(path: Path) -> tuple[int, dict[int, list[str]]]:
    """Commits to the table ``requests`` so far, and its live files by hour, counted from BEGIN."""
    try:
        table = DeltaTable(path / "tables" / "requests")
    except TableNotFoundError:
        return 0, {}
    files: dict[int, list[str]] = {}
    for uri in table.file_uris():
        at = next(at for at in range(-1, 24) if f"hour={hour_name(BEGIN // HOUR_NS + at)}" in uri)
        files.setdefault(at, []).append(uri)
    return table.version(), files


def take(intake: Intake, *sent: Sent) -> None:
    """Put spans, a body each, and drain."""
    for one in sent:
        intake.put(*body_of_spans([one]))
    intake.sync()
    intake.drain()


@given(attempts(most=12), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_each_attempt_is_one_row_with_what_its_spans_say(found: list[Attempt], chance: Any) -> None:
    """Also when spans are delivered twice."""
    sent = [one for attempt in found for one in attempt.spans]
    sent += [one for one in sent if chance.random() < 0.3]
    chance.shuffle(sent)
    rows = viewed(sent)
    assert rows == [attempt.row for attempt in found if attempt.row is not None]
    for row in rows:
        assert sum(row[phase] or 0 for phase in PHASES) == row["e2e_ns"] == row["end_ns"] - row["arrival_ns"]


@given(attempts(most=6), st.randoms(use_true_random=False))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_readers_see_what_the_view_makes_of_all_spans_whatever_was_written_when(
    quick_path: Path, found: list[Attempt], chance: Any
) -> None:
    """Spans in any order, several drains in between, hours that are over and hours that are not; then all hours written."""
    sent = [one for attempt in found for one in attempt.spans]
    chance.shuffle(sent)
    with tempfile.TemporaryDirectory(dir=quick_path) as folder:
        path, taken = Path(folder) / "store", 0
        intake = Intake.open(path)
        while taken < len(sent):
            end = min(len(sent), taken + 1 + chance.randrange(2 + len(sent) // 2))
            take(intake, *sent[taken:end])
            taken = end
            latest = max(time for _, one in sent[:taken] for time in (one.start_ns, one.end_ns))
            assert stored(path) == viewed(sent[:taken])
            assert clean_hours(path) == sorted({
                hour for _, one in sent[:taken] for hour in [(one.start_ns - BEGIN) // HOUR_NS]
                if BEGIN + (hour + 1) * HOUR_NS + WATERMARK_NS <= latest})
        intake.close()
        assert stored(path) == [attempt.row for attempt in found if attempt.row is not None]
        assert clean_hours(path) == sorted({(one.start_ns - BEGIN) // HOUR_NS for _, one in sent})


def root(trace: int, at_ns: int, e2e_ns: int = MINUTE, **columns: Any) -> Sent:
    """A root span that carries its phases."""
    return GATEWAY, span(trace, 1, "gateway.request", BEGIN + at_ns, BEGIN + at_ns + e2e_ns, request_id=f"q{trace}", attempt=1,
                         decode_ns=e2e_ns, e2e_ns=e2e_ns, outcome="ok", **columns)


def engine(trace: int, at_ns: int, **columns: Any) -> Sent:
    """The engine's span below it."""
    return ENGINE, span(trace, 2, "llm_request", BEGIN + at_ns, BEGIN + at_ns + MINUTE, 1, request_id=f"q{trace}", attempt=1,
                        **columns)


def test_an_hour_is_written_ten_minutes_after_its_end_and_not_a_nanosecond_before(quick_path: Path) -> None:
    with Intake.open(quick_path / "s") as intake:
        take(intake, root(1, 0), root(2, HOUR_NS + WATERMARK_NS - 1, 0))
        assert clean_hours(intake.path) == [] and written(intake.path) == (0, {})
        assert len(stored(intake.path)) == 2
        take(intake, root(3, HOUR_NS + WATERMARK_NS, 0))
        assert clean_hours(intake.path) == [0] and list(written(intake.path)[1]) == [0]
        assert len(stored(intake.path)) == 3
        take(intake, root(4, HOUR_NS, WATERMARK_NS + HOUR_NS))
        assert clean_hours(intake.path) == [0, 1]
        assert len(stored(intake.path)) == 4


def test_a_late_span_has_its_hour_replaced_in_one_commit_and_no_other(quick_path: Path) -> None:
    """The engine's span comes after two hours were written, and starts in the hour after its root's."""
    with Intake.open(quick_path / "s") as intake:
        take(intake, root(1, 0), root(2, HOUR_NS), root(3, 2 * HOUR_NS), root(4, 4 * HOUR_NS))
        commits, files = written(intake.path)
        assert clean_hours(intake.path) == [0, 1, 2] and {at: len(of) for at, of in files.items()} == {0: 1, 1: 1, 2: 1}
        assert [row["output_tokens"] for row in stored(intake.path)] == [None] * 4
        take(intake, engine(3, 3 * HOUR_NS, output_tokens=7))
        later, replaced = written(intake.path)
        assert [row["output_tokens"] for row in stored(intake.path)] == [None, None, 7, None]
        assert later == commits + 1 and replaced[0] == files[0] and replaced[1] == files[1] and replaced[2] != files[2]
        assert clean_hours(intake.path) == [0, 1, 2] and len(replaced[2]) == 1 and 3 not in replaced
        take(intake, engine(4, 4 * HOUR_NS, output_tokens=9))
        assert written(intake.path)[0] == later and stored(intake.path)[3]["output_tokens"] == 9


def test_between_drain_and_writing_a_dirty_hour_is_read_from_its_spans(quick_path: Path) -> None:
    """A store copied, or a process killed, before the hour is written anew."""
    intake = Intake.open(quick_path / "s")
    take(intake, root(1, 0), root(2, 3 * HOUR_NS))
    assert clean_hours(intake.path) == [0]
    intake.put(*body_of_spans([engine(1, MINUTE, output_tokens=7)]))
    intake.sync()
    intake._worker.drain()
    assert clean_hours(intake.path) == []
    assert [row["output_tokens"] for row in stored(intake.path)] == [7, None]
    intake.close()
    assert [row["output_tokens"] for row in stored(intake.path)] == [7, None]


def arrivals(rows: Rows) -> list[tuple[int, int]]:
    return [(row["trace_lo"], row["arrival_ns"] - BEGIN) for row in rows]


def test_a_late_root_takes_its_attempt_away_from_the_hour_where_it_was_assembled(quick_path: Path) -> None:
    """The engine's own phases stood for the attempt; its hour is left without a row."""
    alone = (ENGINE, span(1, 2, "llm_request", BEGIN + HOUR_NS, BEGIN + HOUR_NS + MINUTE, 1, request_id="q1", attempt=1,
                          queue_ns=MINUTE))
    with Intake.open(quick_path / "s") as intake:
        take(intake, alone, root(9, 3 * HOUR_NS))
        assert arrivals(stored(intake.path)) == [(1, HOUR_NS), (9, 3 * HOUR_NS)]
        assert clean_hours(intake.path) == [1]
        take(intake, root(1, HOUR_NS - 1))
        assert arrivals(stored(intake.path)) == [(1, HOUR_NS - 1), (9, 3 * HOUR_NS)]
        assert clean_hours(intake.path) == [0, 1] and list(written(intake.path)[1]) == [0]


def test_the_engine_s_span_of_a_numbered_attempt_waits_for_its_root() -> None:
    assert viewed([engine(1, 0)]) == []
    (row,) = viewed([engine(1, 0), root(1, 0)])
    assert (row["span_id"], row["engine_span_id"], row["replica"]) == (1, 2, ENGINE)


INTERVALS = st.lists(st.tuples(st.sampled_from([phase[:-3] for phase in PHASES]), st.integers(-2, 12), st.integers(0, 8)),
                     min_size=1, max_size=5)


def held_ticks(intervals: list[tuple[str, int, int]]) -> dict[str, int]:
    """For each phase the ticks, of ten, that it holds: queueing is nothing but waiting, so it yields; of others the one that
    began last holds."""
    children = [(phase, max(begin, 0), min(begin + length, 10), at) for at, (phase, begin, length) in enumerate(intervals)]
    expected: dict[str, int] = {f"{phase}_ns": 0 for phase, _, _ in intervals}
    for tick in range(10):
        held = [child for child in children if child[1] <= tick < child[2]]
        if held:
            phase, *_ = min(held, key=lambda child: (child[0] == "queue", -child[1], child[2], child[3]))
            expected[f"{phase}_ns"] += 1
    return expected


@given(st.lists(INTERVALS, min_size=1, max_size=12))
@settings(max_examples=20)
def test_phases_are_disjoint_and_are_all_the_time_that_children_account_for(traces: list[list[tuple[str, int, int]]]) -> None:
    """Children may nest, overlap and stick out of the attempt's ten ticks. A phase that took no time is 0, one unheard of is
    NULL, and time that no child accounts for is in no state."""
    sent = [(GATEWAY, span(trace, 1, "gateway.request", BEGIN, BEGIN + 10)) for trace in range(1, len(traces) + 1)]
    sent += [(GATEWAY, span(trace, 10 + at, phase, BEGIN + begin, BEGIN + begin + length, 1))
             for trace, intervals in enumerate(traces, start=1) for at, (phase, begin, length) in enumerate(intervals)]
    for row, intervals in zip(viewed(sent), traces, strict=True):
        held = held_ticks(intervals)
        covered = {tick for _, begin, length in intervals for tick in range(max(begin, 0), min(begin + length, 10))}
        assert {phase: row[phase] for phase in PHASES} == {**dict.fromkeys(PHASES), **held}
        assert sum(held.values()) == len(covered) <= row["e2e_ns"] == 10


def test_a_kv_transfer_inside_of_vllm_s_queue_is_not_queueing() -> None:
    """By child spans, and where only the transfer has one and the queue is an attribute."""
    transfer = (ENGINE, span(1, 3, "vllm_async_kv_transfer", BEGIN + 2, BEGIN + 8, 1))
    queue = (ENGINE, span(1, 4, "vllm_queue", BEGIN, BEGIN + 10, 1))
    for base, children in ((span(1, 1, "llm_request", BEGIN, BEGIN + 20), [transfer, queue]),
                           (span(1, 1, "llm_request", BEGIN, BEGIN + 20, queue_ns=10), [transfer])):
        (row,) = viewed([(ENGINE, base), *children])
        assert (row["queue_ns"], row["kv_transfer_ns"], row["prefill_ns"]) == (4, 6, None)


def carrier(number: int, parent: int | None, start: int = 0, **columns: Any) -> Sent:
    name = "llm_request" if number > 5 else "proxy"
    return GATEWAY, span(1, number, name, BEGIN + start, BEGIN + 9, parent, e2e_ns=9, **columns)


ACCOUNTS: dict[str, tuple[list[Sent], list[int]]] = {
    "the engine's own account below a gateway's": ([carrier(1, None), carrier(6, 1)], [1]),
    "also with another name for the request": (
        [carrier(1, None, request_id="q", attempt=1), carrier(6, 1, request_id="x")], [1]),
    "also when both begin at once and the gateway's has a parent": (
        [carrier(5, 99, request_id="q", attempt=1), carrier(2, 5, request_id="q", attempt=1)], [5]),
    "a retry nested in the attempt before": (
        [carrier(1, None, request_id="q", attempt=1), carrier(2, 1, 3, request_id="q", attempt=2)], [1, 2]),
    "attempts side by side": ([carrier(1, 99, request_id="q", attempt=1), carrier(2, 99, request_id="q", attempt=2)], [1, 2]),
    "attempts without a number": ([carrier(1, 99), carrier(2, 99)], [1, 2]),
    "a gateway with phases as children above an engine's span": (
        [(GATEWAY, span(1, 1, "proxy", BEGIN, BEGIN + 9)), (GATEWAY, span(1, 2, "queue", BEGIN, BEGIN + 9, 1)),
         (ENGINE, span(1, 6, "llm_request", BEGIN, BEGIN + 9, 1))], [1]),
    "the same above an engine's span with phases": (
        [(GATEWAY, span(1, 1, "proxy", BEGIN, BEGIN + 9, request_id="q", attempt=1)),
         (GATEWAY, span(1, 2, "queue", BEGIN, BEGIN + 9, 1)), carrier(6, 1, request_id="x")], [6]),
    "the engine's span two levels below": (
        [carrier(1, None, request_id="q", attempt=1), (GATEWAY, span(1, 2, "forward", BEGIN, BEGIN + 9, 1)),
         (ENGINE, span(1, 6, "llm_request", BEGIN, BEGIN + 9, 2, request_id="q"))], [1]),
    "one attempt that carries its phases beside one to be assembled": (
        [carrier(1, None, request_id="q", attempt=1), (GATEWAY, span(1, 2, "queue", BEGIN, BEGIN + 9, 3)),
         (GATEWAY, span(1, 3, "proxy", BEGIN, BEGIN + 9, request_id="q", attempt=2))], [1, 3]),
    "a span that is its own parent": ([carrier(1, 1)], [1]),
}


@pytest.mark.parametrize("case", ACCOUNTS)
def test_one_row_speaks_for_an_attempt_of_which_several_spans_give_account(case: str) -> None:
    sent, speakers = ACCOUNTS[case]
    assert [row["span_id"] for row in viewed(sent)] == [row["span_id"] for row in viewed(sent[::-1])] == speakers


def test_the_engine_fills_the_phases_of_an_attempt_that_has_none_and_no_other() -> None:
    """They are disjoint and sum to the attempt's time only if one source accounts for all of them."""
    own = (ENGINE, span(1, 6, "llm_request", BEGIN, BEGIN + 9, 1, queue_ns=2, decode_ns=5))
    (row,) = viewed([carrier(1, None), own])
    assert (row["queue_ns"], row["decode_ns"], row["prefill_ns"]) == (2, 5, None)
    (row,) = viewed([carrier(1, None, decode_ns=9), own])
    assert (row["queue_ns"], row["decode_ns"], row["prefill_ns"]) == (None, 9, None)
    base = (GATEWAY, span(1, 1, "proxy", BEGIN, BEGIN + 9))
    (row,) = viewed([base, (GATEWAY, span(1, 2, "prefill", BEGIN, BEGIN + 9, 1)), own])
    assert (row["prefill_ns"], row["queue_ns"], row["decode_ns"]) == (9, None, None)


def test_an_attempt_whose_end_was_not_sent_ends_when_its_phases_do() -> None:
    (row,) = viewed([(GATEWAY, span(1, 1, "proxy", BEGIN, 0, e2e_ns=9, queue_ns=9))])
    assert row == row_of(1, 1, BEGIN, BEGIN + 9, gateway=GATEWAY, engine=None, e2e_ns=9, queue_ns=9)
    (row,) = viewed([(ENGINE, span(1, 1, "llm_request", BEGIN, 0))])
    assert row == row_of(1, 1, BEGIN, BEGIN, gateway=None, engine=1, replica=ENGINE) | {"end_ns": None}


def test_an_hour_of_very_many_spans_is_assembled_in_shares(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole traces at a time, so that the attempts are the same; a share without any is none."""
    sent = [one for trace in range(1, 12) for one in (root(trace, trace), engine(trace, trace, output_tokens=trace))]
    with Intake.open(quick_path / "whole") as intake:
        take(intake, *sent)
    monkeypatch.setattr("collectors.tables.requests_table.SPANS_AT_ONCE", 2)
    with Intake.open(quick_path / "shares") as intake:
        take(intake, *sent)
    assert stored(quick_path / "shares") == stored(quick_path / "whole") == viewed(sent)
    assert clean_hours(quick_path / "shares") == [0] and len(written(quick_path / "shares")[1][0]) == 1
