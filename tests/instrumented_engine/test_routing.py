"""Routing: what each policy is good for, and what routers that know too little do to a fleet."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, play, scenario

from instrumented_engine.clients.workload import Arrival
from instrumented_engine.cluster import Cluster
from instrumented_engine.kv.hash_ring import HashRing
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

PATIENT = [{"name": "chat", "ttft_timeout_s": 300, "max_retries": 0}]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=260, seconds=58)


def fleet(trace: Path, duration_s: float = 90, **tables: Any) -> tuple[Cluster, Memory]:
    tables = {"cohorts": PATIENT, "cluster": {"replicas": 4}, **tables}
    return play(scenario(trace, duration_s=duration_s, **tables))


def hit_share(memory: Memory, low_s: float = 0, high_s: float = 1e9) -> float:
    done = [s for s in memory.done if low_s <= s.arrival.at_ns / 1e9 < high_s]
    return sum(s.hit_blocks or 0 for s in done) / sum(len(s.arrival.blocks) for s in done)


def test_affinity_saves_prefill_and_random_does_not(trace: Path) -> None:
    hits = {}
    for policy in ("prefix", "hash_ring", "session", "random", "least_load"):
        cluster, memory = fleet(trace, router={"policy": policy})
        assert len(memory.attempts) >= 200
        hits[policy] = hit_share(memory)
        reasons = {dict(m.labels)["reason"] for m in cluster.regions[0].router.measures() if m.labels and m.value}
        assert {record.decision.reason for record in memory.attempts if record.decision} == reasons
    assert hits["prefix"] > 1.3 * hits["random"]
    assert hits["hash_ring"] > 1.3 * hits["random"]
    assert hits["session"] > 1.3 * hits["random"]
    assert hits["least_load"] < 0.85 * hits["prefix"]


def unevenness(memory: Memory, replicas: int) -> float:
    """Standard deviation of requests in a batch between replicas, averaged over seconds."""
    seconds: dict[int, dict[int, int]] = {}
    for number, record in memory.steps:
        seconds.setdefault(record.start_ns // 10**9, {})[number] = record.running + record.waiting
    return statistics.mean(
        statistics.pstdev([row.get(i, 0) for i in range(replicas)]) for second, row in seconds.items() if second > 5
    )


def test_two_choices_are_nearly_as_even_as_the_least_loaded(trace: Path) -> None:
    spread = {p: unevenness(fleet(trace, router={"policy": p})[1], 4) for p in ("least_load", "power_of_two", "random")}
    assert spread["least_load"] <= spread["power_of_two"] < spread["random"]


def test_a_ring_remap_makes_caches_cold_without_an_eviction(trace: Path) -> None:
    def after(actions: list[dict[str, Any]]) -> tuple[float, float, float]:
        cluster, memory = fleet(trace, router={"policy": "hash_ring"}, actions=actions)
        evicted = sum(record.evicted_blocks for _, record in memory.steps)
        remaps = sum(m.value for m in cluster.regions[0].router.measures() if m.name == "flashover:router_ring_remaps")
        return hit_share(memory, 30, 40), evicted, remaps

    steady, evicted, remaps = after([])
    remapped, evicted_too, one = after([{"at_s": 30, "do": "remap", "target": "router:main"}])
    assert evicted == evicted_too == 0
    assert (remaps, one) == (0, 1)
    assert remapped < 0.75 * steady


def test_a_ring_is_even_and_moves_little_when_a_replica_leaves() -> None:
    ring = HashRing(4, 128, salt=0)
    before = [ring.owner(key, range(4)) for key in range(4_000)]
    assert all(800 < count < 1_250 for count in Counter(before).values())
    without = [ring.owner(key, [0, 1, 3]) for key in range(4_000)]
    assert all(new == old for new, old in zip(without, before, strict=True) if old != 2)
    ring.remap()
    moved = sum(ring.owner(key, range(4)) != old for key, old in enumerate(before))
    assert moved == pytest.approx(0.75 * 4_000, rel=0.1)


def test_routers_that_do_not_hear_of_each_other_load_the_fleet_unevenly(trace: Path) -> None:
    def spread(**router: Any) -> float:
        return unevenness(fleet(trace, router={"policy": "least_load", **router})[1], 4)

    one, synced = spread(), spread(replicas=4, sync_interval_s=0.05)
    apart = spread(replicas=4, replica_sync=False)
    assert apart > 1.2 * one
    assert synced < apart


def test_routers_that_remember_only_their_own_miss_each_other_s_prefixes(trace: Path) -> None:
    """Predicted beside actual hits, router by router."""
    shared_cluster, shared = fleet(trace, router={"replicas": 4})
    own_cluster, own = fleet(trace, router={"replicas": 4, "prefix_map": "own"})
    assert hit_share(own) < 0.9 * hit_share(shared)

    def predicted_over_hit(cluster: Cluster) -> float:
        routers = cluster.regions[0].routers
        values = [{m.name: m.value for m in router.measures() if not m.labels} for router in routers]
        assert len(values) == 4
        predicted, hit = (sum(v[f"flashover:router_{what}_blocks"] for v in values) for what in ("predicted", "hit"))
        return predicted / hit

    assert predicted_over_hit(own_cluster) < 0.9 * predicted_over_hit(shared_cluster)


def test_old_loads_make_a_herd(trace: Path) -> None:
    fresh, old = (
        unevenness(fleet(trace, router={"policy": "least_load", "load_age_ms": age})[1], 4) for age in (0, 5_000)
    )
    assert old > 1.5 * fresh


def test_one_hot_replica_switches_affinity_off_for_all(tmp_path: Path) -> None:
    """One prefix that everybody shares: its holder runs hot until the fleet counts as out of balance."""
    path = made_trace(tmp_path / "t.jsonl", requests=300, seconds=50)
    cluster, _ = fleet(path, router={"balance_abs": 2, "balance_rel": 1.01})
    strict = cluster.regions[0].router.decisions
    cluster, _ = fleet(path, router={"balance_abs": 1_000})
    loose = cluster.regions[0].router.decisions
    assert strict["load"] > 1.2 * loose["load"]


class Blindfolded(Arrival):
    """An arrival whose true output length nobody may read while it is being routed."""

    __slots__ = ()
    forbidden = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("engine_output", "output_tokens") and Blindfolded.forbidden:
            raise AssertionError("a router has read the true output length")
        return super().__getattribute__(name)


@pytest.mark.parametrize("policy", ["prefix", "least_load", "power_of_two", "session", "hash_ring", "random"])
def test_a_router_never_reads_the_true_output_length(
    trace: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instrumented_engine.routing import gateway as module

    arrived = []
    original = module.Router.choose

    def watched(self: Any, keys: Any, candidates: Any, session: str = "") -> Any:
        Blindfolded.forbidden = True
        try:
            return original(self, keys, candidates, session)
        finally:
            Blindfolded.forbidden = False
            arrived.append(session)

    monkeypatch.setattr(module.Router, "choose", watched)
    monkeypatch.setattr("instrumented_engine.clients.workload.Arrival", Blindfolded)
    fleet(trace, duration_s=20, router={"policy": policy})
    assert len(arrived) > 50


@pytest.mark.parametrize(("tables", "part"), [
    ({"gateway": {"tiers": [{"name": "gold"}]}}, "no cohort is of this tier; there are: free"),
    ({"gateway": {"tiers": [{"name": "free"}, {"name": "free"}]}}, "this tier has limits already"),
    ({"gateway": {"tiers": [{"name": "free", "rate_per_s": 2, "burst": 0.5}]}}, "never holds one whole token"),
    ({"gateway": {"max_queue": 5}}, "nobody waits in the gateway without a gateway.max_concurrency"),
    ({"gateway": {"max_concurrency": 5, "shed_queue_s": 90}}, "every client has left by then"),
])
def test_what_cannot_work_is_named(tables: dict[str, Any], part: str) -> None:
    scene = Scenario.model_validate({"title": "t", "duration_s": 60, **tables})
    assert any(part in problem for problem in problems(scene))
