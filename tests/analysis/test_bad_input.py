"""Telemetry as bad as it comes: an honest answer every time, never a traceback, and never a surer one for the damage."""

from __future__ import annotations

import pytest
from simulated_runs import Runs
from simulated_tables import START_NS, MemoryTables

from analysis.investigate import investigate
from analysis.investigation import Investigation

S = 1_000_000_000


def sane(found: Investigation) -> None:
    assert found.document().startswith("{")
    assert sum(one.probability for one in found.triggers if one.episode == found.triggers[0].episode) <= 1.0 + 1e-9
    assert 0.0 <= found.residual_probability <= 1.0


def named(found: Investigation) -> list[tuple[str, str]]:
    return [(one.entity, one.mechanism) for one in found.triggers[:1]]


DAMAGE = {
    "rows out of order": [f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name} ORDER BY hash({key})"
                          for name, key in (("requests", "span_id"), ("steps", "step_id"), ("samples", "ts_ns"))],
    "samples told twice": ["INSERT INTO samples SELECT * FROM samples"],
    "samples that are no numbers": [
        f"INSERT INTO samples (series_id, ts_ns, value) SELECT series_id, ts_ns + 1, '{value}'::DOUBLE FROM samples"
        for value in ("nan", "inf")
    ],
    "events told twice": ["INSERT INTO events SELECT * FROM events"],
    "changes to everything": [("INSERT INTO events (ts_ns, kind, entity, summary) SELECT arrival_ns, 'deploy', replica, 'x' "
                              "FROM requests WHERE span_id % 50 = 0")],
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_harmless_damage_changes_no_name(runs: Runs, how: str) -> None:
    found = investigate(runs.tables("slow_index", 1).change(*DAMAGE[how]))
    sane(found)
    assert named(found) == named(runs.answer("slow_index", 1))


HOPELESS = {
    "everything at one moment": ["UPDATE requests SET arrival_ns = 1750000000000000000, end_ns = 1750000000000000001"],
    "no outcome": ["UPDATE requests SET outcome = NULL"],
    "every step takes no time": ["UPDATE steps SET duration_ns = 0"],
    "negative numbers": ["UPDATE steps SET duration_ns = -duration_ns", "UPDATE requests SET ttft_ns = -ttft_ns"],
    "constant metrics": ["UPDATE samples SET value = 7"],
    "one sample a series": ["DELETE FROM samples WHERE ts_ns > (SELECT min(ts_ns) FROM samples)"],
    "relations in a circle": ["INSERT INTO edges (src, dst, kind, count) SELECT dst, src, kind, count FROM edges"],
}


@pytest.mark.parametrize("how", HOPELESS)
def test_what_nobody_could_read_is_answered_all_the_same(runs: Runs, how: str) -> None:
    sane(investigate(runs.tables("longer", 2).change(*HOPELESS[how])))


def requests_of(select: str) -> MemoryTables:
    """A store with what ``select`` gives as requests, in columns by name."""
    return MemoryTables({}).change(f"INSERT INTO requests BY NAME {select}")


def test_a_fleet_of_ten_thousand_entities_is_investigated() -> None:
    found = investigate(requests_of(f"""
        SELECT {START_NS} + i * 20000000 AS arrival_ns, {START_NS} + i * 20000000 + 1000000000 AS end_ns, 1 AS trace_hi,
            i AS trace_lo, i AS span_id, 'gateway:g' AS gateway, 'replica:' || (i % 10000) AS replica, 1 AS attempt,
            'chat' AS cohort, CASE WHEN i > 40000 AND i % 2 = 0 THEN 'timeout' ELSE 'ok' END AS outcome,
            500 AS prompt_tokens, 300000000 AS ttft_ns, 1000000000 AS e2e_ns
        FROM range(60000) t(i)"""))
    sane(found)
    assert found.impact.phases


def test_an_outage_from_the_first_minute_claims_nothing() -> None:
    found = investigate(requests_of(f"""
        SELECT {START_NS} + i * 200000000 AS arrival_ns, {START_NS} + i * 200000000 + 1000000000 AS end_ns, 1 AS trace_hi,
            i AS trace_lo, i AS span_id, 1 AS attempt, 'timeout' AS outcome
        FROM range(4000) t(i)"""))
    sane(found)
    assert found.abstained and found.impact.phases
    assert any("no healthy time" in warning for warning in found.coverage.warnings)
