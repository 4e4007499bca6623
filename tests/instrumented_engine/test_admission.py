"""Admission: who waits in the gateway, in which order, and who is turned away, each beside the setting that fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, play, scenario

from instrumented_engine.cluster import Cluster

IMPATIENT = [{"name": "chat", "ttft_timeout_s": 8, "max_retries": 0}]
SLOW = {"kv_blocks": 4096, "max_running": 3, "max_waiting": 500}


@pytest.fixture(scope="module")
def crush(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than two replicas of three slots can serve."""
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=500, seconds=110, prompt=2_000)


def fleet(trace: Path, **gateway: Any) -> tuple[Cluster, Memory]:
    tiers = gateway.pop("cohorts", IMPATIENT)
    return play(scenario(trace, duration_s=130, cohorts=tiers, replica=SLOW, gateway=gateway))


def late_goodput(memory: Memory, tier: str | None = None) -> float:
    late = [r for r in memory.attempts if r.start_ns > 50e9 and (tier is None or r.attempt.cohort.tier == tier)]
    return sum(record.outcome == "ok" for record in late) / len(late)


def verdicts(cluster: Cluster) -> Counter[str]:
    found: Counter[str] = Counter()
    for measure in cluster.regions[0].gateway.admission.measures():
        if measure.name == "flashover:gateway_admissions":
            found[dict(measure.labels)["verdict"]] += int(measure.value)
    return found


def test_an_endless_queue_serves_the_dead_and_a_bound_on_waiting_does_not(crush: Path) -> None:
    cluster, endless = fleet(crush, max_concurrency=6, drop_left=False)
    bounded_cluster, bounded = fleet(crush, max_concurrency=6, shed_queue_s=3)
    short_cluster, short = fleet(crush, max_concurrency=6, max_queue=5)
    assert late_goodput(endless) < 0.1
    assert late_goodput(bounded) > 0.3
    assert late_goodput(short) > 0.3
    assert verdicts(cluster).keys() <= {"admitted", "left"}, "nobody is turned away"
    assert verdicts(bounded_cluster)["queue_time"] > 50
    assert verdicts(short_cluster)["queue_full"] > 50
    refusals = {record.refusal for record in short.attempts if record.outcome == "rejected"}
    assert refusals == {"queue_full"}
    wasted = sum(sequence.busy_ns for sequence in endless.done if sequence.abandoned)
    assert wasted > 0.5 * sum(sequence.busy_ns for sequence in endless.done)


def test_newest_first_and_deadlines_keep_goodput_where_fifo_loses_it(crush: Path) -> None:
    share = {
        order: late_goodput(fleet(crush, max_concurrency=6, order=order, deadline_slack_s=2, drop_left=False)[1])
        for order in ("fifo", "lifo_under_load", "deadline")
    }
    assert share["fifo"] < 0.1
    assert share["lifo_under_load"] > 0.3
    assert share["deadline"] > 0.2


def test_a_connection_held_too_long_is_closed(crush: Path) -> None:
    patient = [{"name": "chat", "ttft_timeout_s": 600, "max_retries": 0}]
    cluster, memory = fleet(crush, max_concurrency=6, hold_s=10, cohorts=patient)
    assert verdicts(cluster)["hold_expired"] > 50
    closed = [r for r in memory.attempts if r.refusal == "hold_expired"]
    assert all(r.phases["gateway_ns"] == pytest.approx(10e9, rel=0.01) for r in closed)


def test_limiting_the_free_tier_saves_the_paid_one(crush: Path) -> None:
    cohorts = [
        {"name": "chat", "tier": "free", "share": 4, "ttft_timeout_s": 8, "max_retries": 0},
        {"name": "api", "tier": "paid", "share": 1, "ttft_timeout_s": 8, "max_retries": 0},
    ]
    _, open_to_all = fleet(crush, cohorts=cohorts)
    for limit, reason in (({"max_concurrency": 3}, "tier_quota"), ({"rate_per_s": 0.5, "burst": 2}, "rate_limit")):
        cluster, limited = fleet(crush, cohorts=cohorts, tiers=[{"name": "free", **limit}])
        assert late_goodput(open_to_all, "paid") < 0.3
        assert late_goodput(limited, "paid") > 0.8
        assert {r.refusal for r in limited.attempts if r.outcome == "rejected"} == {reason}
        outcomes = {dict(m.labels)["tier"] for m in cluster.regions[0].gateway.measures(()) if m.labels}
        assert outcomes == {"free", "paid"}


def test_limits_can_be_switched_while_it_burns(crush: Path) -> None:
    action = {"at_s": 60, "until_s": "end", "do": "set", "target": "admission:main", "key": "shed_queue_s", "value": 2}
    replica = {**SLOW, "cancel_on_disconnect": True}
    _, memory = play(scenario(
        crush, duration_s=130, cohorts=IMPATIENT, replica=replica, gateway={"max_concurrency": 6}, actions=[action]
    ))
    early = [r for r in memory.attempts if 40e9 < r.start_ns < 55e9]
    late = [r for r in memory.attempts if r.start_ns > 80e9]
    assert sum(r.outcome == "ok" for r in late) / len(late) > sum(r.outcome == "ok" for r in early) / len(early)
    assert "queue_time" in {r.refusal for r in late}
    assert "queue_time" not in {r.refusal for r in early}
