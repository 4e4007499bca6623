"""Prefill and decode apart: conserved when all is well, and its leaks beside the setting under which nothing leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conservation import CountingDoor, check_conserved
from small_fleet import Memory, NullRunner, made_trace, scenario

from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

PATIENT = [{"name": "chat", "ttft_timeout_s": 60, "max_retries": 0}]
HASTY = [{"name": "chat", "ttft_timeout_s": 3, "max_retries": 0}]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=240, seconds=100, prompt=3_000)


def fleet(trace: Path, *actions: dict[str, Any], **tables: Any) -> tuple[Cluster, Memory]:
    apart = {"prefill": 2, **tables.pop("apart", {})}
    tables = {"cohorts": PATIENT, "cluster": {"replicas": 4}, "duration_s": 140, **tables}
    scene = scenario(trace, disaggregation=apart, actions=list(actions), **tables)
    assert not list(problems(scene))
    memory = Memory()
    arrivals = prepare(scene.workload, block_tokens=8, context=2048, duration_s=scene.duration_s, seed=scene.seed)
    cluster = Cluster(scene, arrivals, NullRunner(), memory, lambda key, count, vocabulary: [key % 64] * count)
    door = CountingDoor(cluster)
    cluster.run()
    check_conserved(cluster, memory, door)
    return cluster, memory


def measured(cluster: Cluster, name: str, result: str = "") -> float:
    found = [m for m in cluster.regions[0].gateway.backend.measures() if m.name == name]  # type: ignore[attr-defined]
    return sum(m.value for m in found if not result or dict(m.labels)["result"] == result)


def fault(target: str, key: str, value: Any, at_s: float = 30, until_s: float = 60) -> dict[str, Any]:
    return {"at_s": at_s, "until_s": until_s, "do": "set", "target": target, "key": key, "value": value}


def test_prompts_are_computed_here_and_answers_there_and_all_is_conserved(trace: Path) -> None:
    cluster, memory = fleet(trace)
    assert len(memory.attempts) == 240
    assert {record.outcome for record in memory.attempts} == {"ok"}
    for number, record in memory.steps:
        assert record.decode_tokens == 0 if number < 2 else record.prefill_tokens == 0
    assert all(r.phases["kv_transfer_ns"] > 0 for r in memory.attempts if r.attempt.arrival.engine_output > 1)
    backend: Any = cluster.regions[0].gateway.backend
    nics = [m for i in (2, 3) for source in cluster.measures[f"link:r{i}-nic"] for m in source()]
    sent = sum(m.value for m in nics if m.name == "flashover:link_sent_bytes")
    assert sent == backend.bytes_needed == sum(
        s.arrival.prompt_tokens * 70_272 for s in memory.done if s.arrival.engine_output > 1
    )
    for engine in cluster.engines:
        assert engine.pool.used == 0
        assert engine.deferred == 0
    assert measured(cluster, "flashover:pd_transfers", "ok") == len([s for s in memory.done if s.arrival.engine_output > 1])
    assert cluster.edges["replica:r0"]["transfers_kv"] == ["replica:r2", "replica:r3"]


def test_slots_leak_when_aborts_are_not_told_and_do_not_when_they_are(trace: Path) -> None:
    """Prefill is slow for half a minute, hasty clients leave while they wait there, and prefill drops them."""

    def after(**apart: Any) -> tuple[float, float, Cluster, Memory]:
        slow = [fault(f"replica:r{i}", "speed", 0.05) for i in (0, 1)]
        cluster, memory = fleet(
            trace, *slow, cohorts=HASTY, apart=apart, replica={"cancel_on_disconnect": True, "max_running": 6}
        )
        late = [r for r in memory.attempts if 70e9 < r.start_ns < 95e9]
        good = sum(r.outcome == "ok" for r in late) / len(late)
        held = max(r.deferred for n, r in memory.steps if n > 1 and r.start_ns > 35e9)
        return good, held, cluster, memory

    told, _, cluster, _ = after()
    leaked, stuck, broken, memory = after(abort_notifies_peer=False)
    forever, _, _, _ = after(abort_notifies_peer=False, waiting_timeout_s=1e6)
    short, _, brief, _ = after(abort_notifies_peer=False, waiting_timeout_s=5)
    assert told > 0.9
    assert leaked < 0.35
    assert forever < 0.35
    assert short > 0.8, "a time-out that is shorter than users' patience with the service heals it"
    assert stuck >= 5
    assert measured(broken, "flashover:pd_slots_held") > 3 * (measured(cluster, "flashover:pd_slots_held") + 1)
    assert measured(brief, "flashover:pd_transfers", "waiting_timeout") > 5
    usage = [r.kv_used_blocks / 4096 for n, r in memory.steps if n > 1 and r.start_ns > 70e9]
    assert max(usage, default=0) < 0.1, "and the KV memory is nearly empty"


def test_a_slow_nic_makes_transfers_queue_and_a_broken_one_fails_them(trace: Path) -> None:
    def transfer_s(memory: Memory, low: float, high: float) -> float:
        waits = [r.phases.get("kv_transfer_ns", 0) for r in memory.attempts if low < r.start_ns / 1e9 < high]
        return max(waits) / 1e9

    _, healthy = fleet(trace)
    slow_cluster, slow = fleet(trace, *(fault(f"link:r{i}-nic", "bandwidth_gbps", 0.4) for i in (2, 3)))
    assert transfer_s(slow, 30, 60) > 10 * transfer_s(healthy, 30, 60)
    assert transfer_s(slow, 80, 100) < 5 * transfer_s(healthy, 80, 100) + 1
    assert measured(slow_cluster, "flashover:pd_transfer_seconds") > 10
    broken_cluster, broken = fleet(trace, *(fault(f"link:r{i}-nic", "up", False) for i in (2, 3)))
    assert measured(broken_cluster, "flashover:pd_transfers", "failed") > 10
    assert sum(r.outcome == "error" for r in broken.attempts if 31e9 < r.start_ns < 59e9) > 10
    assert {r.outcome for r in broken.attempts if r.start_ns > 62e9} == {"ok"}


def test_a_replica_of_either_side_may_die(trace: Path) -> None:
    hardware = {"gpus": 1, "restart_s": 5}
    for replica in ("r0", "r2"):
        xid = {"at_s": 40, "do": "xid", "target": f"gpu:{replica}.0"}
        cluster, memory = fleet(trace, xid, hardware=hardware)
        assert sum(r.outcome == "error" for r in memory.attempts) >= 1
        assert {r.outcome for r in memory.attempts if r.start_ns > 50e9} == {"ok"}
        assert all(engine.pool.used == 0 for engine in cluster.engines)


def test_without_any_decode_replica_attempts_are_turned_away(trace: Path) -> None:
    hardware = {"gpus": 1, "restart_s": 5}
    _, memory = fleet(trace, *(fault(f"gpu:r{i}.0", "lost", True) for i in (2, 3)), hardware=hardware)
    assert {r.refusal for r in memory.attempts if 40e9 < r.start_ns < 59e9} == {"no_replica"}


@pytest.mark.parametrize(("prefill", "tables", "part"), [
    (0, {}, "leaves no replica to prefill"),
    (4, {}, "leaves no replica of region main to decode; give at most 3"),
    (1, {"cluster": {"replicas": 1}}, "give the region a second replica"),
    (1, {"disaggregation": {"prefill": 1, "bandwidth_gbps": 0.001}}, "the KV of 1,000 tokens alone takes 562 s"),
])
def test_what_cannot_work_is_named(prefill: int, tables: dict[str, Any], part: str) -> None:
    data = {"title": "t", "duration_s": 60, "cluster": {"replicas": 4}, "disaggregation": {"prefill": prefill}, **tables}
    assert any(part in problem for problem in problems(Scenario.model_validate(data)))
