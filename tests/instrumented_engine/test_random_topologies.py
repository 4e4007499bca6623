"""Whatever fleet is drawn, with whatever happens to it: it conserves, it ends, and a seed is one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conservation import CountingDoor, check_conserved
from hypothesis import HealthCheck, given, settings
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


TABLES: dict[str, st.SearchStrategy[Any]] = {
    "replica": st.fixed_dictionaries({
        "block_tokens": st.just(8), "kv_blocks": st.sampled_from([256, 400, 4096]),
        "max_running": st.sampled_from([2, 16, 64]), "max_waiting": st.sampled_from([3, 120]),
        "cancel_on_disconnect": st.booleans(),
    }),
    "kv_index": optional(writer_ops_per_s=st.sampled_from([5.0, 300.0]), stream_buffer_events=st.sampled_from([20, 10_000])),
    "gateway": optional(shed_share=st.sampled_from([0.0, 0.5])),
}


def value_of(switch: Switch) -> st.SearchStrategy[Any]:
    if switch.choices:
        return st.sampled_from(switch.choices)
    if switch.flag:
        return st.booleans()
    low, high = switch.low, min(switch.high, max(1.0, switch.low) * 1_000)
    if switch.whole:
        return st.integers(int(low), int(high))
    return st.floats(low, high, allow_nan=False)


@st.composite
def scenes(draw: st.DrawFn, trace: Path) -> Scenario:
    """A scenario of random tables, and random switches of random parts of it at random times."""
    data: dict[str, Any] = {
        "title": "drawn", "duration_s": DURATION_S, "seed": draw(st.integers(0, 3)),
        "workload": {"file": str(trace), "prompt_scale": 1 / 64},
        "cohorts": [{"name": "chat", "ttft_timeout_s": draw(st.sampled_from([2.0, 20.0]))}],
        "cluster": {"replicas": draw(st.integers(1, 4))},
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
        own = [switch for switch in switches if switch.kind == kind]
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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_fleet_conserves(trace: Path, data: st.DataObject) -> None:
    scene = data.draw(scenes(trace))
    check(scene)
    memory = Memory()
    cluster = Cluster(scene, arrivals_of(scene), NullRunner(), memory, lambda key, count, vocabulary: [key % 64] * count)
    door = CountingDoor(cluster)
    cluster.run()
    check_conserved(cluster, memory, door)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
