"""Proof that the first incident is what its truth says, by removing one part at a time (five seeds).

(a) no rebalance: no outage. (b) a fast index: no outage. (c) the rebalance undone late: the fleet stays down.
(d) retries cut at that point: goodput returns. None of this looks at telemetry; it asks the clients.
"""

from __future__ import annotations

from typing import Any

import pytest
from small_fleet import Memory, NullRunner

from incidents.library_index import scenario_path
from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.loading import load_scenario
from instrumented_engine.scenario import Scenario

SEEDS = [1, 2, 3, 4, 5]
REBALANCE = {"at_s": 240, "do": "rebalance", "target": "kv_index:main"}
LATE = 840


class Blind(NullRunner):
    """Does not even want to know the tokens."""

    reads_tokens = False


def scene(seed: int, duration_s: float, actions: list[dict[str, Any]], **overrides: Any) -> Scenario:
    shipped = load_scenario(scenario_path("kv-sync-rebalance")).model_dump()
    shipped |= {"seed": seed, "duration_s": duration_s, "actions": actions}
    for table, values in overrides.items():
        shipped[table] |= values
    return Scenario.model_validate(shipped)


def goodput(scenario: Scenario, minutes: list[int]) -> tuple[list[float], Memory]:
    """Share of the users who arrived in each minute since ``start`` that got an answer by any attempt."""
    arrivals = prepare(scenario.workload, block_tokens=scenario.replica.block_tokens, context=2048,
                       duration_s=scenario.warm_up_s + scenario.duration_s, seed=scenario.seed)
    memory = Memory()
    Cluster(scenario, arrivals, Blind(), memory, lambda key, count, vocabulary: []).run()
    users: dict[str, tuple[int, bool]] = {}
    for record in memory.attempts:
        first, answered = users.get(record.attempt.request_id, (record.start_ns, False))
        users[record.attempt.request_id] = min(first, record.start_ns), answered or record.outcome == "ok"
    shares = []
    for minute in minutes:
        start = (scenario.warm_up_s + 60 * minute) * 1e9
        inside = [answered for first, answered in users.values() if start <= first < start + 60e9]
        shares.append(sum(inside) / len(inside))
    return shares, memory


@pytest.mark.parametrize("seed", SEEDS)
def test_a_without_the_rebalance_there_is_no_outage(seed: int) -> None:
    shares, _ = goodput(scene(seed, 1080, []), list(range(18)))
    assert min(shares) > 0.98


@pytest.mark.parametrize("seed", SEEDS)
def test_b_with_a_fast_index_there_is_no_outage(seed: int) -> None:
    shares, _ = goodput(scene(seed, 1080, [REBALANCE], kv_index={"writer_ops_per_s": 100_000.0}), list(range(18)))
    assert min(shares) > 0.98


@pytest.mark.parametrize("seed", SEEDS)
def test_c_undone_late_it_stays_down_and_d_with_retries_cut_it_recovers(seed: int) -> None:
    undo = {"at_s": LATE, "do": "undo_rebalance", "target": "kv_index:main"}
    cut = {"at_s": LATE, "do": "set", "target": "clients", "key": "retries_on", "value": False}
    stuck, memory = goodput(scene(seed, 1260, [REBALANCE, undo]), [0, 3, 11, *range(14, 20)])
    assert min(stuck[:2]) > 0.98
    assert max(stuck[2:]) < 0.10
    freed, _ = goodput(scene(seed, 2000, [REBALANCE, undo, cut]), [11, 31, 32])
    assert freed[0] < 0.10
    assert min(freed[1:]) > 0.90
    wasted = [sequence.busy_ns / 1e9 for sequence in memory.done if sequence.abandoned]
    assert sum(wasted) / len(wasted) > 0.3, "seconds of engine time wasted per failed attempt"
