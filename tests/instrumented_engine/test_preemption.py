"""KV memory that runs short: eviction, preemption, requests that do not fit, and contexts that grow."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import Memory, NullRunner, made_trace, play, scenario

from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.model.recorded_runner import RecordedRunner
from instrumented_engine.replica.eviction import POLICIES
from instrumented_engine.replica.kv_blocks import BlockPool

PATIENT = [{"name": "chat", "ttft_timeout_s": 600, "max_retries": 0}]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=260, seconds=80, prompt=9_000)


def fleet(trace: Path, *actions: dict[str, Any], **tables: Any) -> tuple[Cluster, Memory]:
    tables = {"cohorts": PATIENT, "workload": {"output_scale": 1.0}, "duration_s": 120, **tables}
    return play(scenario(trace, actions=list(actions), **tables))


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    moves=st.lists(
        st.tuples(st.sampled_from(["take", "hit", "give", "retire", "restore", "change"]), st.integers(1, 6)), max_size=60
    ),
)
def test_blocks_are_conserved_under_every_policy(policy: str, moves: list[tuple[str, int]]) -> None:
    pool = BlockPool(16, lambda event: None, policy)
    held: list[list[int]] = []
    key = 0
    for move, count in moves:
        if move == "take" and (blocks := pool.allocate(count)) is not None:
            held.append(blocks)
            for block in blocks:
                key += 1
                pool.complete(block, key)
        elif move == "hit" and pool.keys():
            held.append(pool.reuse(pool.keys()[:count]))
        elif move == "give" and held:
            pool.release(held.pop(count % len(held)))
        elif move == "retire":
            pool.retire(count)
        elif move == "restore":
            pool.restore()
        elif move == "change":
            cached = pool.keys()
            pool.eviction = sorted(POLICIES)[count % 3]
            assert pool.keys() == cached
        pool.check()
        assert pool.used == len({block for blocks in held for block in blocks})
        assert pool.used + pool.available == pool.total


def test_eviction_policies_differ_where_blocks_are_short_and_only_there() -> None:
    """A few prefixes that are asked for again and again, among many that come once: counting uses keeps the few, order of
    arrival does not."""

    def hits(policy: str, blocks: int, then: str = "") -> tuple[int, int]:
        events: list[str] = []
        pool = BlockPool(blocks, lambda event: events.append(event[0]), policy)
        rng, found = random.Random(4), 0
        for number in range(4_000):
            if number == 1_000 and then:
                pool.eviction = then
            key = int(rng.paretovariate(0.7)) if rng.random() < 0.5 else 10**6 + number
            if pool.match([key]):
                found += 1
                held = pool.reuse([key])
            else:
                held = pool.allocate(1) or []
                pool.complete(held[0], key)
            pool.release(held)
            pool.check()
        assert pool.evicted == events.count("removed")
        return found, pool.evicted

    plenty = {policy: hits(policy, 6_000) for policy in POLICIES}
    assert len(set(plenty.values())) == 1
    assert plenty["lru"][1] == 0
    short = {policy: hits(policy, 40) for policy in POLICIES}
    assert all(evicted > 1_000 for _, evicted in short.values())
    assert short["fifo"][0] < short["lru"][0] < short["lfu"][0] < plenty["lru"][0]
    assert short["fifo"][0] < hits("lfu", 40, "fifo")[0] < hits("fifo", 40, "lfu")[0] < short["lfu"][0]


def test_a_fleet_runs_with_each_eviction_policy(trace: Path) -> None:
    for policy in POLICIES:
        _, memory = fleet(trace, replica={"eviction": policy, "kv_blocks": 700}, workload={})
        assert sum(r.evicted_blocks for _, r in memory.steps) > 500
        assert len(memory.done) > 200


def test_the_policy_can_be_changed_under_way_and_back(trace: Path) -> None:
    change = {"at_s": 30, "until_s": 90, "do": "set", "key": "eviction", "value": "fifo", "log": "cache tuning"}
    tables: dict[str, Any] = {"replica": {"kv_blocks": 300}, "workload": {}}
    cluster, changed = fleet(trace, *({**change, "target": f"kv_pool:r{i}"} for i in (0, 1)), **tables)
    _, plain = fleet(trace, **tables)
    assert [e.pool.eviction for e in cluster.engines] == ["lru", "lru"]
    hit = [[sum(s.hit_blocks or 0 for s in m.done if (s.arrival.at_ns < 30e9) == early) for early in (True, False)]
           for m in (changed, plain)]
    assert hit[0][0] == hit[1][0]
    assert hit[0][1] != hit[1][1]
    assert any(target == "replica:r0" for _, target, *_ in changed.actions), "the change log names the replica"


def thrash(memory: Memory) -> tuple[int, float, float]:
    """Preemptions, share of prefill done again, 99th percentile of the time to the first token in seconds."""
    first = sorted(r.ttft_ns for r in memory.attempts if r.ttft_ns is not None)
    computed = sum(record.prefill_tokens for _, record in memory.steps)
    again = sum(record.recomputed_tokens for _, record in memory.steps)
    return sum(r.preempted for _, r in memory.steps), again / computed, first[int(0.99 * len(first))] / 1e9


def test_too_few_blocks_thrash_and_room_kept_for_answers_ends_it(trace: Path) -> None:
    enough, _, quick = thrash(fleet(trace, replica={"kv_blocks": 4_000})[1])
    few, again, slow = thrash(fleet(trace, replica={"kv_blocks": 300})[1])
    assert enough == 0
    assert few > 100
    assert again > 0.1
    assert slow > 3 * quick
    for cure in ({"reserve_tokens": 250}, {"watermark": 0.5}):
        cured, less, _ = thrash(fleet(trace, replica={"kv_blocks": 300, **cure})[1])
        assert cured < few / 3
        assert less < again / 2


@pytest.mark.parametrize("victim", ["youngest", "oldest", "largest"])
def test_whoever_gives_way_all_is_finished(trace: Path, victim: str) -> None:
    _, memory = fleet(trace, replica={"kv_blocks": 300, "preempt": victim})
    assert any(sequence.preemptions for sequence in memory.done)
    assert all(len(s.generated) == s.arrival.engine_output for s in memory.done)


def test_a_watermark_can_be_raised_while_it_thrashes(trace: Path) -> None:
    raise_it = {"at_s": 30, "until_s": "end", "do": "set", "key": "watermark", "value": 0.5}
    raised = [{**raise_it, "target": f"scheduler:r{i}"} for i in (0, 1)]
    _, memory = fleet(trace, *raised, replica={"kv_blocks": 300})
    _, before = fleet(trace, replica={"kv_blocks": 300})
    late = [sum(r.preempted for _, r in m.steps if r.start_ns > 40e9) for m in (memory, before)]
    assert late[0] < late[1] / 2


def test_an_unservable_request_blocks_for_ever_or_is_answered_with_an_error(tmp_path: Path) -> None:
    path = made_trace(tmp_path / "t.jsonl", requests=100, seconds=60, prompt=2_000)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[30] |= {"input_length": 90_000, "hash_ids": list(range(10**6, 10**6 + 176))}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(unservable: str, *actions: dict[str, Any]) -> tuple[Counter[str], int]:
        tables = {"cluster": {"replicas": 1}, "workload": {}, "duration_s": 100}
        _, memory = fleet(path, *actions, replica={"kv_blocks": 120, "unservable": unservable}, **tables)
        late = [record.waiting for _, record in memory.steps if record.start_ns > 80e9]
        return Counter(record.outcome for record in memory.attempts), max(late, default=0)

    answered, _ = run("error")
    assert answered == {"ok": 99, "error": 1}
    blocked, waiting = run("retry_forever")
    assert blocked["ok"] < 45
    assert waiting > 50
    switch = {"at_s": 5, "until_s": 90, "do": "set", "target": "replica:r0", "key": "unservable"}
    assert run("error", {**switch, "value": "retry_forever"}) == (blocked, waiting)
    assert run("retry_forever", {**switch, "value": "error"})[0] == answered


def long_contexts(path: Path, tokens: int, count: int, gap_s: int) -> Path:
    rows = []
    for number in range(count):
        ids = list(range(number * 4_000, number * 4_000 + -(-tokens // 512)))
        rows.append({"timestamp": number * gap_s * 1_000, "input_length": tokens, "output_length": 300, "hash_ids": ids})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_twice_the_context_takes_two_to_three_times_the_memory(tmp_path: Path) -> None:
    """Blocks times time per request, 64K and 128K tokens, at a load that both lengths leave uncrowded."""

    def held(tokens: int, count: int = 40, gap_s: int = 4, *actions: dict[str, Any], late_s: float = 0) -> float:
        tables: dict[str, Any] = {
            "workload": {"prompt_scale": 1 / 512, "output_scale": 1 / 4}, "cluster": {"replicas": 4}, "duration_s": 300,
            "replica": {"block_tokens": 1, "kv_blocks": 16_000},
        }
        trace = long_contexts(tmp_path / f"{tokens}.jsonl", tokens, count, gap_s)
        scene = scenario(trace, cohorts=PATIENT, actions=list(actions), **tables)
        arrivals = prepare(scene.workload, block_tokens=1, context=2048, duration_s=300, seed=1)
        assert arrivals.clipped == 0
        memory = Memory()
        runner = RecordedRunner("S", replicas=4, blocks=16_000, block_tokens=1, seed=1)
        Cluster(scene, arrivals, runner, memory, lambda key, count, vocabulary: [0] * count).run()
        assert len(memory.done) == count
        late = [s for s in memory.done if s.arrival.at_ns >= late_s * 1e9]
        assert {s.arrival.prompt_tokens for s in late} == {tokens * (2 if actions else 1)}
        return sum(s.kv_block_ns for s in late) / len(late)

    short, long = held(65_536), held(131_072)
    assert 2.0 <= long / short <= 3.0
    release = {"at_s": 80, "until_s": "end", "do": "set", "target": "cohort:chat", "key": "context_factor", "value": 2}
    assert held(65_536, 40, 4, release, late_s=80) == pytest.approx(long, rel=0.05)
    assert held(1_000_000, 4, 40) > 5 * long, "a million positions are served too"


def test_the_null_runner_has_what_the_recorded_one_has() -> None:
    assert NullRunner.shape.context == RecordedRunner("S", replicas=1, blocks=300, block_tokens=8, seed=1).shape.context
