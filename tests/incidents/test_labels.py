"""Incidents are what their truth says, by experiment; the loop of the first feeds on work for users who have left."""

from __future__ import annotations

import pytest
from small_fleet import Memory

from incidents.library_index import incidents, scenario_path
from incidents.replay import prepared
from incidents.truth import load_truth
from incidents.verify import verify
from instrumented_engine.cluster import Cluster
from instrumented_engine.loading import load_scenario

SLUGS = [incident.slug for incident in incidents()]


@pytest.mark.parametrize("slug", SLUGS)
def test_the_labels_survive(slug: str) -> None:
    """With one seed; ``make bench`` takes five."""
    path = scenario_path(slug)
    scenario = load_scenario(path)
    truth = load_truth(path.with_name("truth.toml"), scenario)
    found = verify(scenario, truth, [1])
    parts = [truth.triggers, truth.amplifiers, truth.sustainers, truth.decoys]
    assert len(found) == 1 + bool(truth.initiator) + bool(truth.sustainers) + sum(map(len, parts))
    assert all(one.holds for one in found), found


def test_failed_attempts_cost_engine_time() -> None:
    shipped = load_scenario(scenario_path("kv-sync-rebalance"))
    scenario = shipped.model_copy(update={"duration_s": 900, "actions": shipped.actions[:1]})
    runner, arrivals = prepared(scenario, "recorded")
    memory = Memory()
    Cluster(scenario, arrivals, runner, memory, lambda key, count, vocabulary: []).run()
    wasted = [sequence.busy_ns / 1e9 for sequence in memory.done if sequence.abandoned]
    assert sum(wasted) / len(wasted) > 0.3, "seconds for each attempt whose client had left"
