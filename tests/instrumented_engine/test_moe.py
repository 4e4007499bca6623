"""Expert parallelism: what uneven, slow, stalled and missing ranks do to a replica, and what cures them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import Memory, made_trace, scenario

from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.model.recorded_runner import RecordedRunner
from instrumented_engine.model.tokens import CONTENTS, narrowed, token_ids
from instrumented_engine.moe.placement import balanced, imbalance, plain, rank_loads
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

PATIENT = {"name": "chat", "ttft_timeout_s": 300, "max_retries": 0}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=220, seconds=95, prompt=6_000)


def fleet(
    trace: Path, *actions: dict[str, Any], cohorts: list[dict[str, Any]] | None = None, runner: Any = None, **experts: Any
) -> tuple[Cluster, Memory]:
    scene = scenario(
        trace, cohorts=cohorts or [PATIENT], actions=list(actions), duration_s=110, experts={"ranks": 4, **experts}
    )
    assert not list(problems(scene))
    memory = Memory()
    arrivals = prepare(scene.workload, block_tokens=8, context=2048, duration_s=110, seed=1)
    drawn = runner or RecordedRunner("S", replicas=2, blocks=4096, block_tokens=8, seed=1)
    cluster = Cluster(scene, arrivals, drawn, memory, token_ids)
    cluster.run()
    return cluster, memory


def fault(target: str, key: str, value: Any, at_s: float = 0, until_s: float | str = "end") -> dict[str, Any]:
    return {"at_s": at_s, "until_s": until_s, "do": "set", "target": target, "key": key, "value": value}


def measured(cluster: Cluster, name: str, replica: str = "replica:r0") -> float:
    return sum(m.value for source in cluster.measures[replica] for m in source() if m.name == name)


def waited_per_second(cluster: Cluster, memory: Memory) -> float:
    """Seconds that ranks have lengthened steps by, per second of steps."""
    busy = sum(record.duration_ns for _, record in memory.steps) / 1e9
    return sum(measured(cluster, "flashover:moe_wait_seconds", f"replica:r{i}") for i in (0, 1)) / busy


MIXED = [{**PATIENT, "name": name, "content": name, "share": 1} for name in CONTENTS]
ONE = [{**PATIENT, "name": name, "content": "code", "share": 1} for name in CONTENTS]


def test_a_shift_of_the_mix_makes_hot_experts_and_rebalancing_cools_them(trace: Path) -> None:
    """The same requests, all about one thing: expert loads in the steps, and the wait for the hottest rank."""

    def skew(memory: Memory) -> float:
        load = sum(record.expert_load.reshape(4, 16).astype(float) for _, record in memory.steps if record.prefill_tokens)
        return float((load.max(axis=1) / load.mean(axis=1)).mean())

    mixed_cluster, mixed = fleet(trace, cohorts=MIXED, ranks=16)
    one_cluster, one = fleet(trace, cohorts=ONE, ranks=16)
    assert skew(one) > 1.2 * skew(mixed)
    assert waited_per_second(one_cluster, one) > 1.15 * waited_per_second(mixed_cluster, mixed)
    cured_cluster, cured = fleet(trace, cohorts=ONE, ranks=16, redundant=16, rebalance="async", interval_s=10)
    assert waited_per_second(cured_cluster, cured) < 0.9 * waited_per_second(one_cluster, one)
    assert measured(cured_cluster, "flashover:moe_imbalance") < measured(one_cluster, "flashover:moe_imbalance")
    tokens = [m.value for s in one_cluster.measures["replica:r0"] for m in s() if m.name == "flashover:moe_rank_tokens"]
    assert len(tokens) == 16 and max(tokens) > 1.1 * min(tokens)


def test_content_moves_experts_in_torch_as_in_what_was_recorded_of_it(tmp_path: Path) -> None:
    from instrumented_engine.model.torch_runner import TorchRunner

    path = made_trace(tmp_path / "t.jsonl", requests=25, seconds=50, prompt=4_000)

    def shares(runner: Any, content: str) -> np.ndarray[Any, Any]:
        cohorts = [{**PATIENT, "content": content}]
        _, memory = fleet(path, cohorts=cohorts, runner=runner)
        load = sum(r.expert_load.reshape(4, 16).astype(float) for _, r in memory.steps if r.prefill_tokens)
        return load / load.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
        return float(np.abs(a - b).sum(axis=1).mean() / 2)

    computed = {content: shares(TorchRunner("S", replicas=2, blocks=4096, block_tokens=8, seed=1), content)
                for content in ("code", "maths")}
    drawn = {content: shares(None, content) for content in ("code", "maths")}
    apart = distance(computed["code"], computed["maths"])
    assert apart > 0.08
    for content in ("code", "maths"):
        assert distance(computed[content], drawn[content]) < 0.6 * apart
    assert distance(drawn["code"], drawn["maths"]) == pytest.approx(apart, rel=0.5)


def test_synchronous_rebalancing_stops_the_world_and_asynchronous_does_not(trace: Path) -> None:
    def longest_gap_s(**experts: Any) -> tuple[float, Cluster, Memory]:
        cluster, memory = fleet(trace, interval_s=30, **experts)
        steps = [record for number, record in memory.steps if number == 0 and 29e9 < record.start_ns < 34e9]
        gaps = [b.start_ns - a.start_ns - a.duration_ns for a, b in pairwise(steps)]
        return max(gaps) / 1e9, cluster, memory

    sync, stopped, memory = longest_gap_s(rebalance="sync", rearrange_s=3)
    quiet, smooth, _ = longest_gap_s(rebalance="async", rearrange_s=3)
    assert sync > 2.9
    assert quiet < 1.5
    assert measured(stopped, "flashover:moe_rearranging_seconds") == 9.0
    assert measured(smooth, "flashover:moe_rearranging_seconds") == 0.0
    assert measured(smooth, "flashover:moe_rearrangements") == 3
    assert {entry[0] for entry in memory.actions} == {"rebalance"}
    by_hand, _ = fleet(trace, {"at_s": 50, "do": "rebalance_experts", "target": "experts:r1"})
    assert measured(by_hand, "flashover:moe_rearrangements", "replica:r1") == 1


def test_a_straggler_slows_all_ranks(trace: Path) -> None:
    _, even = fleet(trace)
    cluster, slow = fleet(trace, fault("rank:r0.2", "rank_speed", 0.5))

    def decode_step_ns(memory: Memory, replica: int) -> dict[int, int]:
        own = [record for number, record in memory.steps if number == replica and not record.prefill_tokens]
        return {record.engine_tokens: record.duration_ns for record in own if record.engine_tokens == 1}

    assert decode_step_ns(slow, 0)[1] == pytest.approx(2 * decode_step_ns(even, 0)[1], rel=0.01)
    assert decode_step_ns(slow, 1)[1] == decode_step_ns(even, 1)[1]
    assert measured(cluster, "flashover:moe_wait_seconds") > 2 * measured(cluster, "flashover:moe_wait_seconds", "replica:r1")


def test_steps_hit_by_a_stall_are_as_many_as_the_closed_form_says(trace: Path) -> None:
    """1 - (1 - p)^n, within 10 %."""
    cluster, memory = fleet(trace, ranks=16, stall_p=0.01)
    steps = len([1 for number, record in memory.steps if number == 0 and record.engine_tokens])
    assert measured(cluster, "flashover:moe_stalled_steps") / steps == pytest.approx(1 - 0.99**16, rel=0.10)
    calm, _ = fleet(trace, ranks=16)
    assert measured(calm, "flashover:moe_stalled_steps") == 0


def test_an_idle_rank_without_dummy_batch_hangs_the_replica(trace: Path) -> None:
    well, fine = fleet(trace, watchdog_s=20, restart_s=5)
    assert measured(well, "flashover:moe_dummy_batches") > 100
    assert measured(well, "flashover:moe_hangs") == 0
    assert {record.outcome for record in fine.attempts} == {"ok"}
    ill, hung = fleet(trace, fault("experts:r0", "dummy_batch_on_idle", False, 30, 60), watchdog_s=20, restart_s=5)
    assert measured(ill, "flashover:moe_hangs") >= 1
    assert sum(record.outcome == "error" for record in hung.attempts) >= 1
    silent = [record for number, record in hung.steps if number == 0 and 31e9 < record.start_ns < 50e9]
    assert len(silent) < 20, "not one step for most of the watchdog's time"
    stuck, _ = fleet(trace, fault("rank:r1.3", "hung", True, 40, 41), watchdog_s=20, restart_s=5)
    assert measured(stuck, "flashover:moe_hangs", "replica:r1") == 1


@settings(max_examples=60, deadline=None)
@given(
    load=st.lists(st.lists(st.floats(0, 1_000), min_size=16, max_size=16), min_size=1, max_size=3),
    ranks=st.sampled_from([1, 2, 4, 8]), redundant=st.sampled_from([0, 8, 16]),
)
def test_every_token_of_every_expert_is_computed_somewhere(load: list[list[float]], ranks: int, redundant: int) -> None:
    loads = np.array(load)
    for share in (plain(len(load), 16, ranks, redundant), balanced(loads, ranks, redundant)):
        assert np.allclose(share.sum(axis=2), 1.0)
        assert np.allclose(rank_loads(loads, share).sum(axis=1), loads.sum(axis=1))
        assert imbalance(rank_loads(loads, share)) >= 1.0 - 1e-9


def test_balanced_places_are_better_where_one_expert_is_hot() -> None:
    load = np.ones((1, 16))
    load[0, 3] = 20
    before = imbalance(rank_loads(load, plain(1, 16, 4, 0)))
    assert imbalance(rank_loads(load, balanced(load, 4, 0))) <= before
    assert imbalance(rank_loads(load, balanced(load, 4, 8))) < 0.6 * before


def test_contents_are_made_of_other_tokens() -> None:
    ids = token_ids(5, 400, 4096)
    spoken = {content: set(narrowed(ids, content, 4096)) for content in CONTENTS}
    assert narrowed(ids, "", 4096) == ids
    assert not spoken["code"] & spoken["prose"]
    assert all(max(words) < 4096 for words in spoken.values())


@pytest.mark.parametrize(("tables", "part"), [
    ({"experts": {"ranks": 5}}, "experts.ranks = 5: does not divide 16 experts"),
    ({"experts": {"rebalance": "sync", "interval_s": 5, "rearrange_s": 9}}, "is not over before the next re-balancing"),
    ({"experts": {"rebalance": "sync", "interval_s": 500}}, "is longer than the run"),
    ({"cohorts": [{"name": "a", "content": "code"}]}, "moves nothing without [experts]"),
])
def test_what_cannot_work_is_named(tables: dict[str, Any], part: str) -> None:
    scene = Scenario.model_validate({"title": "t", "duration_s": 60, **tables})
    assert any(part in problem for problem in problems(scene))
