"""The retry loop: a sustainer only where cutting retries would free the fleet, nothing where nobody retries or wastes."""

from __future__ import annotations

import math

import pytest
from simulated_families import judge
from simulated_runs import Runs, scene_of

from analysis.investigate import investigate
from analysis.loops import find_loops
from analysis.posterior import rank

S = 1_000_000_000


@pytest.mark.parametrize(("family", "seed", "kept"), [("slow_index", 1, True), ("longer", 2, False)])
def test_retries_sustain_where_a_twin_without_them_recovers_and_nowhere_else(
    runs: Runs, family: str, seed: int, kept: bool
) -> None:
    truth = judge(*runs.fleet(family, seed))
    assert truth.kept_down is kept
    found = runs.answer(family, seed)
    assert [loop.mechanism for loop in found.sustainers] == (["retry_storm"] if kept else [])
    (loop,) = found.amplifiers
    assert loop.mechanism == "retry_storm" and found.sustainers in ((), (loop,))
    assert 1.0 < loop.gain[0] <= loop.gain[1]
    assert loop.evidence and loop.basis == "hysteresis"


def test_a_fleet_that_recovers_by_itself_has_no_loop(runs: Runs) -> None:
    found = runs.answer("shed", 5)
    assert found.impact.phases[-1].state == "over"
    assert (found.amplifiers, found.sustainers) == ((), ())


SPOILED = {
    "nobody retries": ["DELETE FROM requests WHERE attempt > 1"],
    "nothing is wasted": ["UPDATE requests SET wasted_ns = 0"],
    "nobody knows what is wasted": ["UPDATE requests SET busy_ns = NULL, wasted_ns = NULL"],
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILED)
def test_without_retries_or_waste_there_is_no_loop(runs: Runs, how: str) -> None:
    found = investigate(runs.tables("slow_index", 1).change(*SPOILED[how]))
    assert found.impact.phases
    assert (found.amplifiers, found.sustainers) == ((), ())


def test_without_steps_nobody_knows_the_gain(runs: Runs) -> None:
    found = investigate(runs.tables("slow_index", 1).change("DELETE FROM steps"))
    (loop,) = found.amplifiers
    assert loop.gain == (0.0, math.inf) and loop.shed is None


def test_requests_that_cost_too_much_for_first_attempts_alone_are_not_sustained_by_retries(runs: Runs) -> None:
    tables = runs.tables("slow_index", 1).change("UPDATE requests SET busy_ns = busy_ns * 4 WHERE attempt = 1")
    found = investigate(tables)
    assert found.sustainers == () and [loop.mechanism for loop in found.amplifiers] == ["retry_storm"]


def test_a_trigger_that_never_returns_is_judged_by_the_model_alone(runs: Runs) -> None:
    scene = runs.scene("slow_index", 1)
    best = rank(scene)[0][0]
    (held,) = find_loops(scene, best)[1]
    assert held.basis == "hysteresis"
    amplifiers, sustainers = find_loops(scene, None)
    assert {loop.basis for loop in (*amplifiers, *sustainers)} == {"model"}
    onset = best.signature.found
    assert onset is not None
    stuck = scene_of(runs.tables("slow_index", 1).change(
        f"UPDATE samples SET value = 60 WHERE ts_ns > {onset.onset.low} AND series_id IN "
        "(SELECT series_id FROM series WHERE signal = 'kv_index.lag')"
    ))  # fmt: skip
    loops = find_loops(stuck, rank(stuck)[0][0])
    assert {loop.basis for loop in (*loops[0], *loops[1])} == {"model"}


def test_more_users_than_were_ever_served_are_no_hysteresis(runs: Runs) -> None:
    """Every request after the trigger's return is told three times over: the same goodput share at thrice the demand."""
    scene = runs.scene("slow_index", 1)
    since = scene.bins.at(scene.first) + 300 * S
    copies = [
        f"INSERT INTO requests SELECT * REPLACE (trace_lo + {n}000000 AS trace_lo, span_id + {n}000000 AS span_id, "
        f"arrival_ns + {n} AS arrival_ns) FROM requests WHERE trace_hi = 7 AND trace_lo < 1000000 AND arrival_ns > {since}"
        for n in (1, 2)
    ]
    found = investigate(runs.tables("slow_index", 1).change(*copies))
    assert runs.answer("slow_index", 1).sustainers and found.sustainers == ()
