"""The way from the trigger to the users: connected, related, and never from a later onset to an earlier one."""

from __future__ import annotations

import pytest
from simulated_runs import Runs, scene_of
from simulated_tables import COHORT, GATEWAY, INDEX, ROUTER

from analysis.cascade import trace_cascade
from analysis.investigate import investigate
from analysis.mechanisms import catalogue
from analysis.posterior import rank

INCIDENTS = [("slow_index", 1), ("slow_replica", 8), ("longer", 2), ("shed", 5)]


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_the_way_leads_from_the_trigger_to_the_users_over_known_relations(runs: Runs, family: str, seed: int) -> None:
    found = runs.answer(family, seed)
    scene = runs.scene(family, seed)
    assert found.cascade
    assert found.cascade[0].from_ == found.triggers[0].entity and found.cascade[-1].to == COHORT
    reached = {found.triggers[0].entity}
    for edge in found.cascade:
        assert edge.from_ in reached and edge.from_ != edge.to
        assert {edge.from_, edge.to} == {COHORT, GATEWAY} or scene.related(edge.from_, edge.to)
        reached.add(edge.to)
    stations = [hop.kind for hop in catalogue()[found.triggers[0].mechanism].path]
    assert {entity.partition(":")[0] for entity in reached} <= set(stations)


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_no_edge_runs_from_a_surely_later_onset_to_a_surely_earlier_one(runs: Runs, family: str, seed: int) -> None:
    for edge in runs.answer(family, seed).cascade:
        low, high = edge.lag_range_s
        assert 0 <= low < high, "the other end may be earlier, but not surely"
        assert edge.lag_s == 0 or low <= edge.lag_s <= high
        assert (edge.lag_s == 0) == (low == 0) or low == 0


def test_what_deviated_long_before_the_trigger_is_no_station(runs: Runs) -> None:
    found = rank(runs.scene("slow_index", 1))[0][0].signature.found
    assert found is not None
    before = found.onset.low - 150_000_000_000
    scene = scene_of(runs.tables("slow_index", 1).change(
        f"UPDATE requests SET predicted_blocks = 0, hit_blocks = 0 WHERE arrival_ns > {before}"
    ))  # fmt: skip
    told = trace_cascade(scene, next(one for one, _ in rank(scene) if one.mechanism.name == "kv_sync_bottleneck"))
    assert ROUTER not in {edge.to for edge in told}
    assert ROUTER in {edge.to for edge in runs.answer("slow_index", 1).cascade}


def test_without_a_relation_there_is_no_edge(runs: Runs) -> None:
    cut = runs.tables("slow_index", 1).change(f"DELETE FROM edges WHERE dst = '{INDEX}' AND src = '{ROUTER}'")
    told = investigate(cut)
    assert told.triggers[0].entity == INDEX
    assert all({edge.from_, edge.to} != {INDEX, ROUTER} for edge in told.cascade)


def test_without_any_relations_kinds_alone_lead_the_way(runs: Runs) -> None:
    told = investigate(runs.tables("slow_replica", 8).change("DELETE FROM edges"))
    assert [edge.to for edge in told.cascade][-1] == COHORT
