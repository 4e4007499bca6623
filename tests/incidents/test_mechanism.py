"""The first incident is what its truth says, by experiment; its loop feeds on work for users who have left."""

from __future__ import annotations

from small_fleet import Memory

from incidents.library_index import scenario_path
from incidents.replay import prepared
from incidents.truth import load_truth
from incidents.verify import verify
from instrumented_engine.cluster import Cluster
from instrumented_engine.loading import load_scenario

PATH = scenario_path("kv-sync-rebalance")


def test_its_labels_survive() -> None:
    scenario = load_scenario(PATH)
    found = verify(scenario, load_truth(PATH.with_name("truth.toml"), scenario), [1, 2], jobs=1)
    assert [one.label for one in found] == [
        "impact", "initiator rebalance", "triggers.0 kv_sync_bottleneck", "amplifiers.0 retry_storm", "sustained",
        "sustainers.0 retry_storm",
    ]
    assert all(one.holds for one in found), found


def test_failed_attempts_cost_engine_time() -> None:
    shipped = load_scenario(PATH)
    scenario = shipped.model_copy(update={"duration_s": 900, "actions": shipped.actions[:1]})
    runner, arrivals = prepared(scenario, "recorded")
    memory = Memory()
    Cluster(scenario, arrivals, runner, memory, lambda key, count, vocabulary: []).run()
    wasted = [sequence.busy_ns / 1e9 for sequence in memory.done if sequence.abandoned]
    assert sum(wasted) / len(wasted) > 0.3, "seconds for each attempt whose client had left"
