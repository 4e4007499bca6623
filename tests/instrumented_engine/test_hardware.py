"""Hardware faults: each seen in what the replicas do, and gone without the fault."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, play, scenario

from instrumented_engine.cluster import Cluster
from instrumented_engine.replica.cost_model import CostModel, load_profile
from instrumented_engine.rooms import problems

PATIENT = [{"name": "chat", "ttft_timeout_s": 40, "max_retries": 0}]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=200, seconds=78, prompt=3_000)


def fleet(trace: Path, *actions: dict[str, Any], **tables: Any) -> tuple[Cluster, Memory]:
    hardware = {"gpus": 2, "restart_s": 10, "update_s": 8, "update_gap_s": 10}
    tables = {"cohorts": PATIENT, "hardware": hardware, "duration_s": 100, **tables}
    return play(scenario(trace, actions=list(actions), **tables))


def fault(target: str, key: str, value: Any, at_s: float = 30, until_s: float = 50) -> dict[str, Any]:
    return {"at_s": at_s, "until_s": until_s, "do": "set", "target": target, "key": key, "value": value}


def outcomes(memory: Memory, low_s: float = 0, high_s: float = 1e9) -> Counter[str]:
    return Counter(r.outcome for r in memory.attempts if low_s <= r.start_ns / 1e9 < high_s)


def measure(cluster: Cluster, entity: str, name: str) -> float:
    return next(m.value for source in cluster.measures[entity] for m in source() if m.name == name)


def test_the_slowest_gpu_sets_the_pace(trace: Path) -> None:
    cluster, memory = fleet(trace, fault("gpu:r1.1", "clock", 0.5, until_s=100))
    cost = CostModel(load_profile("h20_16b_a2b"), 1 / 64, 1 / 4)
    decodes = [(n, r) for n, r in memory.steps if r.prefill_tokens == 0 and r.start_ns > 30e9]
    assert {number for number, _ in decodes} == {0, 1}
    for number, record in decodes:
        assert record.duration_ns == cost.step_ns(0, record.engine_tokens, 0.5 if number == 1 else 1.0)
    assert measure(cluster, "gpu:r1.0", "DCGM_FI_DEV_SM_CLOCK") == 1_980


def test_a_lost_gpu_fails_its_requests_and_comes_back_cold(trace: Path) -> None:
    _, healthy = fleet(trace)
    assert set(outcomes(healthy)) == {"ok"}
    cluster, lost = fleet(trace, fault("gpu:r1.0", "lost", True))
    assert outcomes(lost)["error"] > 0
    served = [number for number, r in lost.steps if 31e9 < r.start_ns < 59e9]
    assert set(served) == {0}
    assert {number for number, r in lost.steps if r.start_ns > 61e9} == {0, 1}
    assert measure(cluster, "gpu:r1.0", "flashover:gpu_xid_errors") == 1
    _, restarted = fleet(trace, {"at_s": 30, "do": "xid", "target": "gpu:r1.1"})
    assert {number for number, r in restarted.steps if r.start_ns > 45e9} == {0, 1}
    assert outcomes(restarted)["error"] > 0


def test_remapped_rows_shrink_the_pool_until_it_thrashes(tmp_path: Path) -> None:
    heavy = made_trace(tmp_path / "heavy.jsonl", requests=220, seconds=60, prompt=12_000)

    def preempted(blocks: int) -> tuple[int, float]:
        actions = [fault("gpu:r1.0", "retired_blocks", blocks, at_s=5, until_s=99)] if blocks else []
        cluster, memory = fleet(heavy, *actions, replica={"kv_blocks": 1_400}, workload={"output_scale": 1})
        late = [record for number, record in memory.steps if number == 1 and record.start_ns < 90e9]
        return sum(record.preempted for record in late), cluster.engines[1].pool.total

    few, whole = preempted(0)
    many, back = preempted(1_140)
    assert whole == back == 1_400
    assert many > 3 * few + 5


def test_without_a_nic_work_goes_on_unreachable(trace: Path) -> None:
    cluster, memory = fleet(trace, fault("host:h1", "nic_up", False))
    during = outcomes(memory, 31, 45)
    assert during["error"] > 3 and during["ok"] > 3
    assert set(outcomes(memory, 55)) == {"ok"}
    cut = [s for s in memory.done if s.abandoned]
    assert cut and all(s.finished for s in cut), "the replica finishes what nobody hears of"
    assert measure(cluster, "host:h1", "flashover:host_nic_up") == 1
    _, update = fleet(trace, {"at_s": 20, "do": "os_update", "target": "pool:main"})
    assert outcomes(update, 20, 28)["error"] > 0
    assert outcomes(update, 30, 38)["error"] > 0
    assert set(outcomes(update, 42)) == {"ok"}


def test_a_group_of_hosts_gone_crowds_the_rest(trace: Path) -> None:
    tables: dict[str, Any] = {"cluster": {"replicas": 4}, "replica": {"max_running": 6}}
    _, whole = fleet(trace, **tables)
    cluster, half = fleet(trace, fault("pool:main", "hosts_up", 0.5, until_s=55), **tables)

    def longest_wait(memory: Memory) -> float:
        return max(r.phases.get("queue_ns", 0) for r in memory.attempts if 32e9 < r.start_ns < 54e9) / 1e9

    assert longest_wait(half) > 2 * longest_wait(whole)
    assert {n for n, r in half.steps if 31e9 < r.start_ns < 64e9} == {0, 1}
    assert {n for n, r in half.steps if r.start_ns > 66e9} == {0, 1, 2, 3}
    assert measure(cluster, "host:h3", "flashover:host_up") == 1


def test_hosts_that_do_not_divide_are_named(trace: Path) -> None:
    scene = scenario(trace, cluster={"replicas": 3}, hardware={"replicas_per_host": 2})
    assert list(
        problems(scene)
    ) == ["hardware.replicas_per_host = 2: does not divide the 3 replicas of region main; give a divisor"]
