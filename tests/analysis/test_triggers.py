"""The ranking: probabilities sum to one, names and the change log decide nothing, and no cause comes after its effect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from simulated_runs import Runs, scene_of
from simulated_tables import INDEX, ROUTER, START_NS, tables_of

from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.posterior import CHANGE_BONUS, Hypothesis, rank, shipped_weights

S = 1_000_000_000
INCIDENTS = [("slow_index", 1), ("slow_replica", 8), ("longer", 2)]


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_probabilities_and_what_is_left_sum_to_one(runs: Runs, family: str, seed: int) -> None:
    ranked = rank(runs.scene(family, seed))
    outside = ranked[0][1] * math.exp(shipped_weights().outside - ranked[0][0].score)
    assert sum(probability for _, probability in ranked) + outside == pytest.approx(1.0)
    assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    found = runs.answer(family, seed)
    assert sum(trigger.probability for trigger in found.triggers) + found.residual_probability == pytest.approx(1.0)
    assert [trigger.rank for trigger in found.triggers] == list(range(1, len(found.triggers) + 1))


LOGS = {
    "none": [],
    "everything at once": [
        (400.0, kind, entity, "x") for kind in ("deploy", "config_change", "scale", "failover", "rebalance", "load_shed")
        for entity in (INDEX, ROUTER, "replica:0", "replica:1", "replica:2", "gateway:front", "")
    ],
    "a decoy at the wrong place": [(395.0, "deploy", "replica:2", "routine")],
}  # fmt: skip


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize(("family", "seed"), INCIDENTS[:2])
def test_the_change_log_never_decides_the_order(runs: Runs, family: str, seed: int, log: str) -> None:
    _, fleet = runs.fleet(family, seed)
    blind, seeing = rank(scene_of(tables_of(fleet))), rank(scene_of(tables_of(fleet, LOGS[log])))
    assert order(blind) == order(seeing)
    scores = {key(hypothesis): hypothesis.score for hypothesis, _ in blind}
    assert all(0 <= h.score - scores[key(h)] <= CHANGE_BONUS for h, _ in seeing)
    assert all(h.case.change is not None for h, _ in seeing if h.score > scores[key(h)])


def key(hypothesis: Hypothesis) -> tuple[str, str]:
    return (hypothesis.mechanism.name, hypothesis.entity)


def order(ranked: list[tuple[Hypothesis, float]]) -> list[tuple[str, str]]:
    return [key(hypothesis) for hypothesis, _ in ranked]


def test_a_change_at_the_trigger_s_place_and_time_is_its_initiator_and_no_other(runs: Runs) -> None:
    case, fleet = runs.fleet("slow_index", 1)
    at = case.since - 20
    log = [(at, "deploy", INDEX, "new build"), (at, "deploy", "replica:1", "elsewhere"),
           (case.until + 99, "deploy", INDEX, "late"), (at + 1, "note", INDEX, "somebody wrote this")]  # fmt: skip
    found = investigate(tables_of(fleet, log))
    assert [(one.event, one.at) for one in found.initiators] == [(f"deploy on {INDEX}: new build", START_NS + round(at * S))]
    assert investigate(tables_of(fleet, log[1:])).initiators == ()


def shape(found: Investigation, name: Callable[[str], str] = str) -> dict[str, Any]:
    """Who, what, when and how much, with entities called as ``name`` calls them."""
    return {
        "phases": [(phase.state, phase.start, phase.end) for phase in found.impact.phases],
        "triggers": [(name(one.entity), one.mechanism, one.onset) for one in found.triggers],
        "loops": [(name(one.entity), one.mechanism, one.gain) for one in (*found.amplifiers, *found.sustainers)],
        "cascade": {(name(edge.from_), name(edge.to), edge.lag_s, edge.lag_range_s) for edge in found.cascade},
        "rejected": [one.hypothesis for one in found.rejected],
    }


@pytest.mark.parametrize(("family", "seed"), INCIDENTS[:2])
def test_other_names_give_the_same_answer(runs: Runs, family: str, seed: int) -> None:
    names = {f"replica:{number}": f"replica:{9 - number}-x'y" for number in range(8)}

    def renamed(entity: str) -> str:
        return names.get(entity) or f"{entity.partition(':')[0]}:any other"

    _, fleet = runs.fleet(family, seed)
    assert shape(investigate(tables_of(fleet, name=renamed))) == shape(runs.answer(family, seed), renamed)


def test_another_epoch_shifts_the_answer_and_changes_nothing_else(runs: Runs) -> None:
    _, fleet = runs.fleet("slow_replica", 8)
    by = 86_400 * S + 17
    here = runs.answer("slow_replica", 8)
    there = investigate(tables_of(fleet, runs.fleet("slow_replica", 8)[0].events, start_ns=START_NS + by))
    assert [(p.state, p.start + by, p.end + by) for p in here.impact.phases] == [
        (p.state, p.start, p.end) for p in there.impact.phases
    ]
    assert [(one.entity, one.mechanism, one.probability) for one in here.triggers] == [
        (one.entity, one.mechanism, one.probability) for one in there.triggers
    ]
    assert here.phase_seconds == there.phase_seconds
    values = [[item.value for one in found.triggers for item in one.evidence] for found in (here, there)]
    assert values[0] == pytest.approx(values[1])


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_a_named_trigger_shows_its_signature_and_began_before_users_felt_it(runs: Runs, family: str, seed: int) -> None:
    scene = runs.scene(family, seed)
    best, probability = rank(scene)[0]
    assert probability > 0.4
    found = best.signature.found
    assert found is not None and best.strength > 0 and best.signature.state == "there"
    assert found.onset.low < scene.bins.at(scene.horizon) and found.first < scene.horizon
    for reading in best.case.readings:
        if reading.move.role == "symptom" and reading.found is not None and reading.state == "there":
            assert reading.found.onset.high > found.onset.low


def test_what_moves_only_after_the_impact_is_late_and_scores_nothing(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    afterwards = scene.bins.at(scene.first) + 200 * S
    later = runs.tables("longer", 2).change(f"UPDATE steps SET kv_evicted_blocks = 900 WHERE start_ns > {afterwards}")
    evicted = [h for h, _ in rank(scene_of(later)) if h.mechanism.name == "kv_eviction_storm"]
    assert [h.signature.state for h in evicted] == ["late"]
    assert evicted[0].strength == 0 and evicted[0].signature.found is not None
    assert evicted[0].signature.found.onset.low >= afterwards - 30 * S
    rejected = {one.hypothesis: one.why for one in investigate(later).rejected}
    assert "a consequence" in rejected["kv_eviction_storm"] and "a consequence" not in rejected["slow_replica"]


def test_a_symptom_that_began_before_its_cause_does_not_count(runs: Runs) -> None:
    case, fleet = runs.fleet("slow_index", 1)
    before = f"arrival_ns >= {START_NS + 300 * S} AND arrival_ns < {START_NS + round(case.since * S)}"
    early = tables_of(fleet).change(f"UPDATE requests SET predicted_blocks = 0 WHERE {before}")
    states = {
        tables: {
            r.move.signal: r.state for h, _ in rank(scene) if h.mechanism.name == "kv_sync_bottleneck" for r in h.case.readings
        }
        for tables, scene in (("as it was", runs.scene("slow_index", 1)), ("early", scene_of(early)))
    }
    assert states["as it was"]["router.predicted"] == "there"
    assert states["early"]["router.predicted"] == "absent"
