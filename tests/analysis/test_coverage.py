"""Missing telemetry: still an answer or an abstention, never a traceback, and no claim on what was not measured."""

from __future__ import annotations

import pytest
from simulated_runs import Runs
from simulated_tables import START_NS, MemoryTables, by_column

from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.mechanisms import catalogue
from analysis.signal_catalogue import SIGNALS
from collectors.errors import BadInput
from collectors.schema import REQUESTS, STEPS

S = 1_000_000_000
PARTS = ("steps", "samples", "edges", "events")


def sane(found: Investigation) -> None:
    assert set(found.coverage.signals) | set(found.coverage.missing) == set(SIGNALS)
    assert set(found.coverage.signals) & set(found.coverage.missing) == set()
    if not found.abstained and found.triggers:
        signatures = catalogue()[found.triggers[0].mechanism].of_role("signature")
        assert any(move.signal in found.coverage.signals for move in signatures), "claimed on a signal that is missing"
    assert found.document().startswith("{")


def states(found: Investigation) -> list[tuple[str, int]]:
    return [(phase.state, phase.start) for phase in found.impact.phases]


@pytest.mark.parametrize("gone", [*((part,) for part in PARTS), PARTS[:2], PARTS], ids="+".join)
def test_tables_may_be_missing(runs: Runs, gone: tuple[str, ...]) -> None:
    found = investigate(runs.tables("slow_index", 1).change(*(f"DELETE FROM {name}" for name in gone)))
    sane(found)
    assert states(found) == states(runs.answer("slow_index", 1))
    assert all(any(name in warning for warning in found.coverage.warnings) for name in gone)
    if "samples" in gone:
        assert {"kv_index.lag", "kv_index.backlog"} <= set(found.coverage.missing)
        assert found.abstained or found.triggers[0].mechanism != "kv_sync_bottleneck"
    else:
        assert not found.abstained and found.triggers[0].mechanism == "kv_sync_bottleneck"


def test_without_its_signature_a_mechanism_is_a_guess_beside_its_look_alikes_and_no_claim(runs: Runs) -> None:
    found = investigate(runs.tables("slow_index", 1).change("DELETE FROM samples", "DELETE FROM steps"))
    assert found.abstained
    assert found.initiators == () and found.cascade == ()
    guess = next(trigger for trigger in found.triggers if trigger.mechanism == "kv_sync_bottleneck")
    assert "kv_eviction_storm" in guess.equivalent_to or guess.probability > 2 * found.triggers[-1].probability


COLUMNS = [
    ("requests", column.name) for column in REQUESTS.columns
    if column.name not in ("arrival_ns", "end_ns", "trace_hi", "trace_lo", "span_id")
] + [("steps", column.name) for column in STEPS.columns if column.name not in ("start_ns", "batch", "expert_load")]  # fmt: skip


@pytest.mark.parametrize("order", [COLUMNS, COLUMNS[::-1]], ids=["forward", "backward"])
def test_columns_may_be_missing(runs: Runs, order: list[tuple[str, str]]) -> None:
    """Column after column is emptied, six at a time, until nothing is left of either table but its times."""
    tables = runs.tables("longer", 2)
    for i in range(0, len(order), 6):
        tables.change(*(f"UPDATE {table} SET {column} = NULL" for table, column in order[i : i + 6]))
        sane(investigate(tables))


def test_no_outage_lacks_nothing_that_was_there(runs: Runs) -> None:
    found = runs.answer("none", 5)
    assert found.impact.phases == () and not found.abstained
    gone = {SIGNALS[name].kind for name in found.coverage.missing}
    held = {"cohort", "gateway", "router", "kv_index", "replica"}
    assert {SIGNALS[name].kind for name in found.coverage.signals} == held and gone - held
    assert not [name for name in found.coverage.missing if SIGNALS[name].rows and SIGNALS[name].kind in ("gateway", "router")]


def test_an_empty_store_is_judged_by_nobody() -> None:
    found = investigate(MemoryTables({}))
    assert found.abstained and found.impact.phases == () and found.triggers == ()
    assert any("requests is empty" in warning for warning in found.coverage.warnings)


def one_request(outcome: str, e2e_s: float = 3.0) -> MemoryTables:
    took = round(e2e_s * S)
    return MemoryTables({"requests": by_column([{
        "arrival_ns": START_NS, "end_ns": START_NS + took, "trace_hi": 1, "trace_lo": 1, "span_id": 1, "attempt": 1,
        "outcome": outcome, "e2e_ns": took, "ttft_ns": S if outcome == "ok" else None,
    }])})  # fmt: skip


@pytest.mark.parametrize("outcome", ["ok", "timeout", "rejected", "error"])
def test_one_request_is_no_outage(outcome: str) -> None:
    found = investigate(one_request(outcome))
    assert found.impact.phases == () and found.triggers == ()


def test_requests_that_end_when_they_begin_leave_no_time_to_judge() -> None:
    assert investigate(one_request("rejected", 0.0)).impact.phases == ()


def test_a_window_is_all_that_is_looked_at(runs: Runs) -> None:
    case, _ = runs.fleet("longer", 2)
    low, high = START_NS + 60 * S, START_NS + round(case.since * S) - 30 * S
    calm = investigate(runs.tables("longer", 2), (low, high))
    assert calm.impact.phases == () and (calm.window.start, calm.window.end) == (low, high)
    assert calm.impact.goodput[0].start == low and calm.impact.goodput[-1].start < high
    around = investigate(runs.tables("longer", 2), (low, START_NS + 700 * S))
    assert around.triggers[0].mechanism == "prompt_mix_shift"
    assert all(low <= phase.start < phase.end <= around.window.end for phase in around.impact.phases)
    assert investigate(runs.tables("longer", 2), (0, 2**62)) == runs.answer("longer", 2)


@pytest.mark.parametrize("window", [(0, 10), (2**62, 2**62 + 1), (START_NS - 99 * S, START_NS - 1)])
def test_a_window_beside_the_telemetry_is_refused_with_what_there_is(runs: Runs, window: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match=r"no telemetry; give one between \d{4}-"):
        investigate(runs.tables("longer", 2), window)


def test_telemetry_that_begins_in_the_middle_of_an_outage_claims_no_trigger(runs: Runs) -> None:
    scene = runs.scene("shed", 5)
    begin = scene.bins.at(scene.first + 4)
    found = investigate(runs.tables("shed", 5), (begin, 2**62))
    assert found.impact.phases and found.impact.start == begin
    assert found.abstained and any("no healthy time before" in warning for warning in found.coverage.warnings)
    assert "gateway:front" in {trigger.entity for trigger in found.triggers}
    assert found.phase_seconds


def test_telemetry_that_is_all_outage_says_that_it_has_nothing_to_compare_with(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    found = investigate(runs.tables("longer", 2), (scene.bins.at(scene.first + 20), 2**62))
    assert found.abstained and found.triggers == ()
    assert found.residual_probability == 1.0 or found.impact.phases == ()
