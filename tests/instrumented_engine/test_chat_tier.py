"""The chat tier: down by itself, while the API behind it stays up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conservation import CountingDoor, check_conserved
from small_fleet import Memory, NullRunner, made_trace, scenario

from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.rooms import problems

CHAT = {"name": "chat", "tier": "free", "share": 1, "via": "chat", "ttft_timeout_s": 20, "max_retries": 0}
API = {"name": "api", "tier": "paid", "share": 1, "ttft_timeout_s": 20, "max_retries": 0}
BOTS = {"name": "bots", "source": "flood", "sign_up_share": 1.0, "flood_per_s": 0}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=300, seconds=95, prompt=1_500)


def fleet(trace: Path, *actions: dict[str, Any], **tier: Any) -> tuple[Cluster, Memory]:
    scene = scenario(
        trace, cohorts=[CHAT, API, BOTS], actions=list(actions), duration_s=100, cluster={"replicas": 4},
        chat_tier={"logins_per_s": 20, "history_ops_per_s": 100, **tier},
    )
    assert not list(problems(scene))
    memory = Memory()
    arrivals = prepare(scene.workload, block_tokens=8, context=2048, duration_s=100, seed=1)
    cluster = Cluster(scene, arrivals, NullRunner(), memory, lambda key, count, vocabulary: [key % 64] * count)
    door = CountingDoor(cluster)
    cluster.run()
    check_conserved(cluster, memory, door)
    return cluster, memory


def good(memory: Memory, cohort: str, low_s: float = 32, high_s: float = 58) -> float:
    own = [r for r in memory.attempts if r.attempt.cohort.name == cohort and low_s < r.start_ns / 1e9 < high_s]
    return sum(record.outcome == "ok" for record in own) / len(own)


def fault(target: str, key: str, value: float) -> dict[str, Any]:
    return {"at_s": 30, "until_s": 60, "do": "set", "target": target, "key": key, "value": value}


def refusals(cluster: Cluster) -> dict[str, float]:
    measures = cluster.parts["service:chat"].measures()
    return {dict(m.labels)["reason"]: m.value for m in measures if m.name == "flashover:chat_refusals"}


def test_when_all_is_well_both_are_served(trace: Path) -> None:
    cluster, memory = fleet(trace)
    assert good(memory, "chat") == good(memory, "api") == 1.0
    assert refusals(cluster) == {}
    assert {r.door for r in memory.attempts} == {"gateway:main"}, "the door that ended it reports it"


def test_chat_goes_down_with_its_history_while_the_api_stays_up(trace: Path) -> None:
    cluster, memory = fleet(trace, fault("service:history", "chat_ops_per_s", 0.5))
    assert good(memory, "chat") < 0.2
    assert good(memory, "api") == 1.0
    assert refusals(cluster).keys() == {"history"}
    failed = [r for r in memory.attempts if r.outcome != "ok"]
    assert {r.door for r in failed} == {"service:chat"}
    assert good(memory, "chat", 85, 99) == 1.0
    waits = [m for s in cluster.measures["service:history"] for m in s() if m.labels == (("result", "timeout"),)]
    assert waits[0].value > 20


def test_a_flood_of_sign_ups_locks_users_out(trace: Path) -> None:
    cluster, memory = fleet(trace, fault("cohort:bots", "flood_per_s", 30))
    assert good(memory, "chat") < 0.7
    assert good(memory, "api") == 1.0
    assert refusals(cluster).keys() == {"login"}
    assert cluster.parts["service:chat"].sign_ups > 600
    out = {"at_s": 40, "do": "log_everybody_out", "target": "chat:main"}
    kept, _ = fleet(trace, login_ttl_s=10_000, logins_per_s=3)
    relogged, _ = fleet(trace, out, login_ttl_s=10_000, logins_per_s=3)
    assert relogged.parts["service:chat"].login.done > kept.parts["service:chat"].login.done


def test_a_full_front_says_busy(trace: Path) -> None:
    cluster, memory = fleet(trace, fault("chat:main", "chat_concurrency", 1))
    busy = [r for r in memory.attempts if r.refusal == "server_busy"]
    assert len(busy) > 10
    assert {r.attempt.cohort.name for r in busy} == {"chat"}
    assert all(30e9 <= r.start_ns < 60e9 for r in busy)
    assert good(memory, "api") == 1.0
    assert refusals(cluster) == {"server_busy": len(busy)}


def test_a_chat_tier_that_nobody_uses_is_named(trace: Path) -> None:
    assert "chat_tier: no cohort comes this way" in "".join(problems(scenario(trace, chat_tier={})))
