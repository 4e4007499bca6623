"""The first incident, in sharper numbers than its labels ask for; its loop feeds on work for users who have left."""

from __future__ import annotations

import pytest
from small_fleet import Memory

from incidents.goodput import goodput
from incidents.library_index import scenario_path
from incidents.replay import prepared
from incidents.truth import load_truth
from incidents.verify import experiments
from instrumented_engine.cluster import Cluster
from instrumented_engine.loading import load_scenario

PATH = scenario_path("kv-sync-rebalance")


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_each_part_is_needed_for_five_seeds(seed: int) -> None:
    """What users get without a part is next to everything, and while the loop turns next to nothing."""
    scenario = load_scenario(PATH)
    truth = load_truth(PATH.with_name("truth.toml"), scenario)
    runs = experiments(scenario, truth, seed)
    shares = {
        name: {window.at_s: window.share for window in goodput(runs[name], ["chat"])}
        for name in ("initiator", "triggers.0", "undone", "sustainers.0")
    }
    for name in ("initiator", "triggers.0"):
        assert min(share for at_s, share in shares[name].items() if at_s < 1080) > 0.98
    stuck, freed = shares["undone"], shares["sustainers.0"]
    assert min(share for at_s, share in stuck.items() if at_s < 240) > 0.98
    assert max(share for at_s, share in stuck.items() if 660 <= at_s < 720 or 840 <= at_s < 1200) < 0.10
    assert max(freed[660], freed[690]) < 0.10
    assert min(share for at_s, share in freed.items() if at_s >= 1860) > 0.90


def test_failed_attempts_cost_engine_time() -> None:
    shipped = load_scenario(PATH)
    scenario = shipped.model_copy(update={"duration_s": 900, "actions": shipped.actions[:1]})
    runner, arrivals = prepared(scenario, "recorded")
    memory = Memory()
    Cluster(scenario, arrivals, runner, memory, lambda key, count, vocabulary: []).run()
    wasted = [sequence.busy_ns / 1e9 for sequence in memory.done if sequence.abandoned]
    assert sum(wasted) / len(wasted) > 0.3, "seconds for each attempt whose client had left"
