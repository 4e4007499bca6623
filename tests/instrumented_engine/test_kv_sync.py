"""The KV-sync variants that lie in the index, its streams and its master, each beside the setting that is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, play, scenario

from instrumented_engine.cluster import Cluster
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

PATIENT = [{"name": "chat", "ttft_timeout_s": 300, "max_retries": 0}]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=300, seconds=118, prompt=6_000)


def fleet(trace: Path, *actions: dict[str, Any], **tables: Any) -> tuple[Cluster, Memory]:
    tables = {"cohorts": PATIENT, "cluster": {"replicas": 4}, "duration_s": 140, **tables}
    return play(scenario(trace, actions=list(actions), **tables))


def fault(target: str, key: str, value: Any, at_s: float = 30, until_s: float | str = "end") -> dict[str, Any]:
    return {"at_s": at_s, "until_s": until_s, "do": "set", "target": target, "key": key, "value": value}


def measured(cluster: Cluster, entity: str) -> dict[str, float]:
    return {m.name: m.value for source in cluster.measures[entity] for m in source()}


def hits(memory: Memory, low_s: float, high_s: float) -> tuple[float, float]:
    """Shares of the prompts' blocks that were hit, and that were predicted to be."""
    found = [r for r in memory.attempts if r.sequence and r.decision and low_s < r.start_ns / 1e9 < high_s]
    blocks = sum(len(r.attempt.arrival.blocks) for r in found)
    hit = sum((r.sequence.hit_blocks or 0) for r in found if r.sequence)
    return hit / blocks, sum(r.decision.predicted_blocks for r in found if r.decision) / blocks


def test_a_small_ring_gaps_and_dumps_in_a_loop(trace: Path) -> None:
    """The writer keeps up with the events; with a ring of three a burst leaves a gap, the dump takes long, and meanwhile
    the ring overflows again."""
    slow = {"writer_ops_per_s": 60.0}
    sound, well = fleet(trace, kv_index=slow)
    small, ill = fleet(trace, *(fault(f"stream:r{i}", "capacity", 3) for i in range(4)), kv_index=slow)
    lossy, _ = fleet(trace, *(fault(f"stream:r{i}", "loss", 0.05) for i in range(4)), kv_index=slow)
    healthy, storm, loss = (measured(c, "kv_index:main") for c in (sound, small, lossy))
    assert healthy["flashover:kv_index_sequence_gaps"] == 0
    assert storm["flashover:kv_index_sequence_gaps"] > 10
    assert loss["flashover:kv_index_sequence_gaps"] > 5
    assert storm["flashover:kv_index_dumps"] == storm["flashover:kv_index_sequence_gaps"]
    assert sum(engine.stream.dropped for engine in small.engines) > 100
    assert hits(ill, 60, 118)[1] < 0.8 * hits(well, 60, 118)[1]


def test_lookups_wait_behind_writes_where_one_actor_does_both(trace: Path) -> None:
    def waits(lookups_wait: bool, ops: float, *actions: dict[str, Any]) -> float:
        index = {"writer_ops_per_s": ops, "lookups_wait": lookups_wait}
        rebalance = {"at_s": 60, "do": "rebalance", "target": "kv_index:main"}
        _, memory = fleet(trace, rebalance, *actions, kv_index=index)
        return max(r.phases.get("kv_sync_ns", 0) for r in memory.attempts) / 1e9

    assert waits(False, 100) == 0
    assert waits(True, 100) > 3
    assert waits(True, 100_000) < 0.2
    assert waits(False, 100, fault("kv_index:main", "lookups_wait", True, 55, 80)) > 3
    assert waits(False, 100, fault("kv_index:main", "lookups_wait", True, 20, 50)) < 1


def test_a_failover_without_persistence_forgets_every_key_and_refills_slowly(trace: Path) -> None:
    over = {"at_s": 60, "do": "fail_over", "target": "metadata_master:main"}

    def after(**master: Any) -> tuple[list[float], Memory]:
        keys: list[float] = []
        scene = {"kv_index": {"writer_ops_per_s": 80.0}, "metadata_master": {"election_s": 2, **master}}
        cluster, memory = fleet(trace, over, scrape_s=5, **scene)
        keys.append(measured(cluster, "metadata_master:main")["flashover:metadata_keys"])
        assert measured(cluster, "metadata_master:main")["flashover:metadata_failovers"] == 1
        return keys, memory

    kept_keys, kept = after()
    lost_keys, lost = after(metadata_persisted=False)
    _, stale = after(metadata_persisted=False, routers_follow=False)
    assert hits(lost, 62, 72)[1] < 0.7 * hits(kept, 62, 72)[1], "what routers know is gone"
    assert hits(lost, 62, 72)[0] < hits(kept, 62, 72)[0], "and so are hits, though every block is still there"
    assert sum(r.evicted_blocks for _, r in lost.steps) == 0
    assert lost_keys[0] > 0.9 * kept_keys[0], "in the end it is full again"
    assert hits(stale, 100, 118)[1] < 0.9 * hits(kept, 100, 118)[1], "an old map ages"
    assert [entry[1] for entry in lost.actions if entry[0] == "failover"] == ["metadata_master:main"]


def test_a_restarted_replica_is_cold_and_an_index_that_was_not_told_is_wrong_about_it(trace: Path) -> None:
    hardware = {"gpus": 1, "restart_s": 2}
    xids = [{"at_s": 60, "do": "xid", "target": f"gpu:r{i}.0"} for i in range(4)]

    def after(told: bool, *actions: dict[str, Any]) -> tuple[float, float]:
        _, memory = fleet(trace, *actions, hardware=hardware, kv_index={"told_of_losses": told})
        return hits(memory, 62, 75)

    warm, predicted = after(True)
    cold, known_cold = after(True, *xids)
    cold_too, believed = after(False, *xids)
    assert after(True, fault("kv_index:main", "told_of_losses", False), *xids) == (cold_too, believed)
    assert cold < 0.6 * warm
    assert known_cold == pytest.approx(cold, abs=0.1)
    assert believed > cold_too + 0.1, "it sends requests to what is no longer there"
    assert predicted == pytest.approx(warm, abs=0.1)


def test_another_hash_seed_makes_announced_keys_useless(trace: Path) -> None:
    _, sound = fleet(trace)
    cluster, seeded = fleet(trace, *(fault(f"stream:r{i}", "hash_seed", i + 1, at_s=0) for i in range(4)))
    assert hits(sound, 30, 118)[1] > 0.3
    assert hits(seeded, 30, 118)[1] == 0
    assert hits(seeded, 30, 118)[0] < 0.8 * hits(sound, 30, 118)[0]
    assert measured(cluster, "kv_index:main")["flashover:kv_index_blocks"] > 100


def test_a_lookup_longer_than_any_patience_is_named() -> None:
    scene = Scenario.model_validate({"title": "t", "duration_s": 60, "kv_index": {"lookup_ms": 90_000}})
    assert any("kv_index.lookup_ms = 90000" in problem for problem in problems(scene))
