"""Whatever fleet is drawn, with whatever happens to it: it conserves, it ends, and a seed is one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conservation import CountingDoor, check_conserved
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small_fleet import Memory, NullRunner, made_trace

from collectors.sink import MemorySink
from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.mechanism import Switch
from instrumented_engine.reporting.reporter import Reporter
from instrumented_engine.rooms import ROOMS, check, entities, problems
from instrumented_engine.scenario import Scenario
from instrumented_engine.telemetry import DigestSink

DURATION_S = 40


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "trace.jsonl", requests=160, seconds=38)


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


CROWDS = {("cohort", key) for key in ("users_factor", "turns_factor", "flood_per_s", "batch_size", "output_factor")}
"""Of these a handful is enough: a thousandfold crowd only takes long."""


def maybe(table: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any] | None]:
    return st.none() | table


TABLES: dict[str, st.SearchStrategy[Any]] = {
    "replica": st.fixed_dictionaries({
        "block_tokens": st.just(8), "kv_blocks": st.sampled_from([256, 400, 4096]),
        "max_running": st.sampled_from([2, 16, 64]), "max_waiting": st.sampled_from([3, 120]),
        "cancel_on_disconnect": st.booleans(), "eviction": st.sampled_from(["lru", "fifo", "lfu"]),
        "watermark": st.sampled_from([0.0, 0.2]), "preempt": st.sampled_from(["youngest", "oldest", "largest"]),
        "unservable": st.sampled_from(["refuse", "error"]),
    }),
    "kv_index": optional(
        writer_ops_per_s=st.sampled_from([5.0, 300.0]), stream_buffer_events=st.sampled_from([20, 10_000]),
        lookups_wait=st.booleans(), told_of_losses=st.booleans(),
    ),
    "router": optional(
        policy=st.sampled_from(["prefix", "least_load", "power_of_two", "session", "hash_ring", "random"]),
        replicas=st.integers(1, 3), replica_sync=st.booleans(), prefix_map=st.sampled_from(["events", "own"]),
        load_age_ms=st.sampled_from([0.0, 500.0]),
    ),
    "gateway": optional(
        shed_share=st.sampled_from([0.0, 0.5]), max_concurrency=st.sampled_from([2, 30]),
        order=st.sampled_from(["fifo", "lifo_under_load", "deadline"]), drop_left=st.booleans(),
        hold_s=st.sampled_from([5.0, 600.0]),
        tiers=st.just([{"name": "free", "max_concurrency": 20}]),
    ),
    "metadata_master": maybe(optional(metadata_persisted=st.booleans(), routers_follow=st.booleans())),
    "experts": maybe(st.fixed_dictionaries({
        "ranks": st.sampled_from([2, 4]), "rebalance": st.sampled_from(["off", "sync", "async"]), "interval_s": st.just(7),
        "stall_p": st.sampled_from([0.0, 0.01]), "watchdog_s": st.just(5), "restart_s": st.just(3),
    })),
    "speculative": maybe(optional(k=st.integers(0, 2))),
    "disaggregation": maybe(st.fixed_dictionaries({
        "prefill": st.integers(1, 2), "abort_notifies_peer": st.booleans(), "waiting_timeout_s": st.sampled_from([3.0, 300.0]),
        "bandwidth_gbps": st.sampled_from([1.0, 400.0]),
    })),
    "hardware": maybe(st.just({"gpus": 1, "restart_s": 3, "update_s": 4, "update_gap_s": 3})),
    "control_plane": maybe(optional(
        nodes=st.just(5), dns_ttl_s=st.sampled_from([5.0, 1_200.0]), probes=st.sampled_from(["off", "queue", "heartbeat"]),
        restart_s=st.just(4), image_pull_s=st.just(2), warm_up_s=st.just(2), drain_s=st.just(2), autoscale=st.just(6),
        scale_interval_s=st.just(5), reconcile_s=st.just(9),
    )),
    "regions": st.just(()) | st.just([{"name": "eu"}, {"name": "us", "replicas": 3}]),
    "chat_tier": st.just({"history_ops_per_s": 20, "logins_per_s": 10}),
}


def value_of(switch: Switch) -> st.SearchStrategy[Any]:
    if (switch.kind, switch.key) in CROWDS:
        return st.integers(1, 3)
    if switch.choices:
        return st.sampled_from(switch.choices)
    if switch.flag:
        return st.booleans()
    low, high = switch.low, min(switch.high, max(1.0, switch.low) * 1_000)
    if switch.whole:
        return st.integers(int(low), int(high))
    return st.floats(low, high, allow_nan=False)


def fits(entity: str, key: str) -> bool:
    """Services share a kind, not their switches."""
    return entity != "service:chat"


@st.composite
def scenes(draw: st.DrawFn, trace: Path) -> Scenario:
    """A scenario of random tables, and random switches of random parts of it at random times."""
    data: dict[str, Any] = {
        "title": "drawn", "duration_s": DURATION_S, "seed": draw(st.integers(0, 3)),
        "workload": {"file": str(trace), "prompt_scale": 1 / 64},
        "cohorts": [
            {"name": "chat", "via": "chat", "ttft_timeout_s": draw(st.sampled_from([2.0, 20.0])),
             "retry": draw(st.sampled_from(["sdk", "refresh"]))},
            {"name": "api", "tier": "paid", "ttft_timeout_s": 10},
            {"name": "agents", "source": "weka_agents", "agents": 2},
            {"name": "bots", "source": "flood", "prompt_tokens": 500, "output_tokens": 20, "sign_up_share": 0.5},
            {"name": "jobs", "source": "batch", "batch_size": 12, "batch_concurrency": 4},
        ],
        "cluster": {"replicas": draw(st.integers(3, 5))},
    }
    for name, strategy in TABLES.items():
        if (drawn := draw(strategy)) is not None:
            data[name] = drawn
    plain = Scenario.model_validate(data)
    known = entities(plain)
    switches = [switch for room in ROOMS for mechanism in room.mechanisms for switch in mechanism.switches]
    operations = [op for room in ROOMS for mechanism in room.mechanisms for op in mechanism.operations]
    actions: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 4))):
        entity = draw(st.sampled_from(known))
        kind = entity.partition(":")[0]
        at_s = draw(st.integers(0, DURATION_S - 10))
        own = [switch for switch in switches if switch.kind == kind and fits(entity, switch.key)]
        able = [op for op in operations if op.kind == kind]
        if own and draw(st.booleans()):
            switch = draw(st.sampled_from(own))
            until = draw(st.sampled_from(["end", at_s + 5]))
            actions.append({"at_s": at_s, "until_s": until, "do": "set", "target": entity, "key": switch.key,
                            "value": draw(value_of(switch))})
        elif able:
            actions.append({"at_s": at_s, "do": draw(st.sampled_from(able)).name, "target": entity})
    scene = Scenario.model_validate({**data, "actions": actions})
    return scene if not list(problems(scene)) else plain


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_any_fleet_conserves(trace: Path, data: st.DataObject) -> None:
    scene = data.draw(scenes(trace))
    check(scene)
    memory = Memory()
    cluster = Cluster(scene, arrivals_of(scene), NullRunner(), memory, lambda key, count, vocabulary: [key % 64] * count)
    door = CountingDoor(cluster)
    cluster.run()
    check_conserved(cluster, memory, door)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_any_fleet_is_one_digest_a_seed(trace: Path, data: st.DataObject) -> None:
    scene = data.draw(scenes(trace))

    def digest() -> str:
        sink = DigestSink(MemorySink())
        reporter = Reporter(scene, sink)
        cluster = Cluster(scene, arrivals_of(scene), NullRunner(), reporter, lambda key, count, vocabulary: [7] * count)
        cluster.run()
        reporter.finish(cluster)
        return sink.sha256

    assert digest() == digest()


def arrivals_of(scene: Scenario) -> Any:
    return prepare(scene.workload, block_tokens=8, context=2048, duration_s=scene.duration_s, seed=scene.seed)
