"""The control plane: each way in which it takes a healthy fleet down, beside the setting under which it does not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, play, scenario

from instrumented_engine.cluster import Cluster
from instrumented_engine.rooms import problems

PATIENT = [{"name": "chat", "ttft_timeout_s": 60, "max_retries": 0}]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=200, seconds=118, prompt=3_000)


def fleet(trace: Path, plane: dict[str, Any], *actions: dict[str, Any], **tables: Any) -> tuple[Cluster, Memory]:
    tables = {"cohorts": PATIENT, "cluster": {"replicas": 4}, "duration_s": 140, **tables}
    return play(scenario(trace, control_plane=plane, actions=list(actions), **tables))


def fault(target: str, key: str, value: Any, at_s: float, until_s: float | str = "end") -> dict[str, Any]:
    return {"at_s": at_s, "until_s": until_s, "do": "set", "target": target, "key": key, "value": value}


def measured(cluster: Cluster, name: str) -> float:
    sources = cluster.measures["control_plane:main"]
    return sum(m.value for source in sources for m in source() if m.name == name)


BUSY_AGENTS = {"nodes": 100, "agent_interval_s": 60, "agent_units": 25, "api_timeout_s": 2, "api_units_per_s": 1_000}


def test_an_expensive_agent_overloads_the_api_and_without_back_off_it_stays_so(trace: Path) -> None:
    """Waiting for a call at the end, two minutes after an agent's calls cost as much as ever again."""

    def wait_s(backoff: bool, *actions: dict[str, Any]) -> float:
        plane = {**BUSY_AGENTS, "caller_backoff": backoff}
        cluster, _ = fleet(trace, plane, *actions, duration_s=220)
        assert measured(cluster, "flashover:api_calls") > 200
        return measured(cluster, "flashover:api_wait_seconds")

    costly = fault("control_plane:main", "agent_units", 500, 20, 50)
    assert wait_s(False) < 0.5
    assert wait_s(True, costly) < 2.5
    assert wait_s(False, costly) > 20


def test_users_feel_an_overloaded_api_only_when_records_expire(trace: Path) -> None:
    down = fault("control_plane:main", "api_units_per_s", 0.001, 20)

    def first_failure_s(ttl_s: float, *actions: dict[str, Any]) -> tuple[float, Cluster]:
        cluster, memory = fleet(trace, {"dns_ttl_s": ttl_s}, *actions)
        failed = [r.start_ns / 1e9 for r in memory.attempts if r.outcome == "rejected"]
        return min(failed, default=1e9), cluster

    short, cluster = first_failure_s(40, down)
    assert 40 < short < 75, "no record is older than its life when the API goes, and all are over soon after"
    assert measured(cluster, "flashover:discovery_expired_records") == 4
    assert measured(cluster, "flashover:replicas_ready") == 0
    assert first_failure_s(1_200, down)[0] == 1e9
    assert first_failure_s(40)[0] == 1e9


def longest_wait_s(memory: Memory, low_s: float, high_s: float) -> float:
    return max(r.phases.get("queue_ns", 0) for r in memory.attempts if low_s < r.start_ns / 1e9 < high_s) / 1e9


NARROW = {"max_running": 5}


def test_a_night_schedule_that_ends_too_late_makes_users_wait(trace: Path) -> None:
    def night(until_s: float) -> tuple[float, Memory]:
        plane = {
            "schedule": [{"at_s": 10, "replicas": 1}, {"at_s": until_s, "replicas": 4}], "image_pull_s": 5, "warm_up_s": 5,
            "drain_s": 5,
        }
        _, memory = fleet(trace, plane, replica=NARROW)
        return longest_wait_s(memory, 60, 100), memory

    early, memory = night(30)
    late, _ = night(85)
    assert late > 3 * early
    scaled = [summary for kind, _, summary, _ in memory.actions if kind == "scale"]
    assert scaled == ["replicas 4 -> 1", "replicas 1 -> 4"]
    served = {number for number, record in memory.steps if 20e9 < record.start_ns < 40e9}
    assert served == {0}, "a start takes its time"


def test_the_night_curve_takes_replicas_away_at_midnight_in_beijing(trace: Path) -> None:
    """278 nodes until midnight, then 218, and 68 from 03:30: of four replicas three, and one."""
    plane = {"curve": "day6", "image_pull_s": 1, "warm_up_s": 1, "drain_s": 1}

    def wanted(start: str) -> float:
        return measured(fleet(trace, plane, start=start)[0], "flashover:replicas_wanted")

    assert wanted("2026-03-29T13:00:00Z") == 4
    assert wanted("2026-03-29T15:59:00Z") == 3
    assert wanted("2026-03-29T20:00:00Z") == 1


def test_the_autoscaler_follows_the_load(trace: Path) -> None:
    plane = {"replicas": 1, "autoscale": 4, "scale_interval_s": 5, "image_pull_s": 1, "warm_up_s": 1, "drain_s": 5}
    cluster, memory = fleet(trace, plane, replica=NARROW)
    fixed, without = fleet(trace, {"replicas": 1}, replica=NARROW)
    assert measured(fixed, "flashover:replicas_wanted") == 1
    assert {number for number, _ in without.steps} == {0}
    assert len({number for number, _ in memory.steps}) >= 3
    assert longest_wait_s(memory, 40, 110) < longest_wait_s(without, 40, 110) / 2
    assert measured(cluster, "flashover:replicas_wanted") == 1, "and back when it is gone"


def test_a_released_backlog_takes_replicas_away_unless_it_is_looked_at_again(trace: Path) -> None:
    plane = {
        "schedule": [{"at_s": 30, "replicas": 1}, {"at_s": 50, "replicas": 4}], "image_pull_s": 15, "warm_up_s": 10,
        "drain_s": 1,
    }

    def ready_after(validated: bool) -> tuple[set[int], Memory]:
        pause = fault("autoscaler:main", "scheduling_paused", True, 20, 70)
        _, memory = fleet(trace, {**plane, "backlog_validated": validated}, pause, router={"policy": "random"})
        return {number for number, record in memory.steps if 74e9 < record.start_ns < 90e9}, memory

    kept, calm = ready_after(True)
    left, memory = ready_after(False)
    assert kept == {0, 1, 2, 3}
    assert left == {0}
    assert {number for number, record in memory.steps if record.start_ns > 100e9} == {0, 1, 2, 3}
    assert not [entry for entry in calm.actions if entry[0] == "scale"]
    assert len([entry for entry in memory.actions if entry[0] == "scale"]) == 2


def test_a_stale_reconciler_puts_a_bad_version_back(trace: Path) -> None:
    plane = {"rollout_speed": 0.3, "rollout_batch": 2, "drain_s": 2, "warm_up_s": 2, "reconcile_s": 20}
    out = {"at_s": 10, "do": "rollout", "target": "rollout:main"}
    back = {"at_s": 40, "do": "rollback", "target": "rollout:main"}

    def versions(*actions: dict[str, Any]) -> tuple[float, list[float], Memory]:
        cluster, memory = fleet(trace, plane, *actions)
        return measured(cluster, "flashover:replicas_on_new_version"), [e.speed for e in cluster.engines], memory

    assert versions(out)[:2] == (4, [0.3] * 4)
    healed, speeds, memory = versions(out, back)
    assert (healed, speeds) == (0, [1.0] * 4)
    assert not [entry for entry in memory.actions if entry[0] == "deploy"]
    relapsed, speeds, memory = versions(out, fault("rollout:main", "reconciler_stale", True, 30), back)
    assert (relapsed, speeds) == (4, [0.3] * 4)
    assert [entry for entry in memory.actions if entry[0] == "deploy"]


def test_a_roll_back_is_locked_out_by_the_api_that_it_needs(trace: Path) -> None:
    plane = {"rollout_speed": 0.3, "rollout_batch": 4, "drain_s": 2, "warm_up_s": 2, "dns_ttl_s": 3_600}
    out = {"at_s": 10, "do": "rollout", "target": "rollout:main"}
    back = {"at_s": 60, "do": "rollback", "target": "rollout:main"}
    overload = fault("control_plane:main", "agent_units", 50_000, 30)
    cluster, _ = fleet(trace, plane, out, overload, back)
    assert [engine.speed for engine in cluster.engines] == [0.3] * 4
    cluster, _ = fleet(trace, plane, out, back)
    assert [engine.speed for engine in cluster.engines] == [1.0] * 4


def test_probes_that_wait_in_the_queue_restart_the_busy(tmp_path: Path, trace: Path) -> None:
    crush = made_trace(tmp_path / "crush.jsonl", requests=700, seconds=100, prompt=2_000)

    def restarts(path: Path, probes: str) -> tuple[float, Counter[str], Memory]:
        plane = {"probes": probes, "probe_interval_s": 3, "probe_timeout_s": 1, "probe_threshold": 3, "restart_s": 15}
        cluster, memory = fleet(path, plane, replica=NARROW)
        count = measured(cluster, "flashover:replica_restarts")
        return count, Counter(record.outcome for record in memory.attempts), memory

    busy, outcomes, memory = restarts(crush, "queue")
    beat, steady, _ = restarts(crush, "heartbeat")
    quiet, _, _ = restarts(trace, "queue")
    assert busy >= 4
    assert beat == quiet == 0
    assert outcomes["error"] > 0 == steady["error"]
    assert outcomes["ok"] < steady["ok"]
    assert len([entry for entry in memory.actions if entry[0] == "health"]) == busy


@pytest.mark.parametrize(("plane", "part"), [
    ({"replicas": 9}, "control_plane.replicas = 9: there are only 4"),
    ({"schedule": [{"at_s": 5, "replicas": 7}]}, "control_plane.schedule.0.replicas = 7: there are only 4"),
    ({"schedule": [{"at_s": 500, "replicas": 2}]}, "lies after the end of the run"),
    ({"schedule": [{"at_s": 9, "replicas": 2}, {"at_s": 5, "replicas": 2}]}, "sort by time"),
    ({"curve": "day6", "autoscale": 3}, "keep one of the three"),
    ({"rollout_batch": 9}, "control_plane.rollout_batch = 9"),
    ({"nodes": 1_000, "agent_interval_s": 1, "api_units_per_s": 500}, "the agents alone ask for 1000 a second"),
])
def test_what_cannot_work_is_named(trace: Path, plane: dict[str, Any], part: str) -> None:
    scene = scenario(trace, cluster={"replicas": 4}, control_plane=plane)
    assert any(part in problem for problem in problems(scene))
