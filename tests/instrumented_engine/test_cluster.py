"""The whole fleet conserves requests, tokens, time and blocks, and is the same for a seed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from small_fleet import NullRunner, made_trace, play, scenario

from collectors.errors import BadInput
from collectors.sink import MemorySink
from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.replica.cost_model import CostModel, load_profile
from instrumented_engine.replica.sequence import Sequence as EngineSequence
from instrumented_engine.replica.sequence import State
from instrumented_engine.reporting.reporter import Reporter
from instrumented_engine.telemetry import DigestSink

CALM = {"requests": 120, "seconds": 55}
CRUSH = {"requests": 700, "seconds": 55}


@pytest.fixture(params=[CALM, CRUSH], ids=["calm", "crushed"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return made_trace(tmp_path / "trace.jsonl", **request.param)


def test_every_phase_account_sums_to_the_nanosecond(load: Path) -> None:
    _, memory = play(scenario(load))
    assert memory.attempts
    for record in memory.attempts:
        assert sum(record.phases.values()) == record.end_ns - record.start_ns
        assert all(value >= 0 for value in record.phases.values())


def test_requests_are_conserved(load: Path) -> None:
    cluster, memory = play(scenario(load))
    inside = sum(len(engine.scheduler.waiting) + len(engine.scheduler.running) for engine in cluster.engines)
    entered = inside + len(memory.done)
    routed = sum(cluster.regions[0].router.decisions.values())
    assert entered == routed
    arrived = sum(cluster.regions[0].gateway.arrivals.values())
    assert arrived == len(memory.attempts) + cluster.regions[0].gateway.in_flight


def test_tokens_in_are_cached_or_computed_and_no_output_is_lost(load: Path) -> None:
    _, memory = play(scenario(load))
    for sequence in memory.done:
        assert sequence.finished
        assert len(sequence.generated) == sequence.arrival.engine_output
        cached = (sequence.hit_blocks or 0) * 8
        if sequence.preemptions == 0:
            assert cached + sequence.computed_prompt == sequence.arrival.engine_prompt
        assert sequence.blocks == []


def test_step_time_is_divided_among_its_batch_without_remainder(load: Path) -> None:
    cluster, memory = play(scenario(load))
    unfinished = [s for engine in cluster.engines for s in [*engine.scheduler.waiting, *engine.scheduler.running]]
    charged = sum(sequence.busy_ns for sequence in [*memory.done, *unfinished])
    assert charged == sum(record.duration_ns for _, record in memory.steps if record.batch_spans)


def test_steps_of_a_replica_never_overlap_and_expert_loads_add_up(load: Path) -> None:
    _, memory = play(scenario(load))
    ends: dict[int, int] = defaultdict(int)
    for replica, record in memory.steps:
        assert record.start_ns >= ends[replica]
        ends[replica] = record.start_ns + record.duration_ns
        assert int(record.expert_load.sum()) == 2 * 2 * record.engine_tokens
        assert sum(record.batch_tokens) == record.engine_tokens


def test_steps_stay_within_their_target(load: Path) -> None:
    _, memory = play(scenario(load))
    assert max(record.duration_ns for _, record in memory.steps) <= 100_000_000


def test_preemption_recomputes_and_still_finishes(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", requests=260, seconds=40, prompt=12_000)
    _, memory = play(scenario(trace, replica={"kv_blocks": 256}, workload={"output_scale": 1.0}, duration_s=120))
    again = [sequence for sequence in memory.done if sequence.preemptions]
    assert again
    for sequence in again:
        assert sequence.recomputed > 0
        assert sequence.spent_ns[State.PREEMPTED] > 0
        assert len(sequence.generated) == sequence.arrival.engine_output


def test_a_pool_smaller_than_one_context_is_refused(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", **CALM)
    with pytest.raises(BadInput, match="kv_blocks = 100"):
        play(scenario(trace, replica={"kv_blocks": 100}))


def test_attempts_never_exceed_the_retry_budget_and_follow_each_other(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", **CRUSH)
    cohort = {"name": "chat", "ttft_timeout_s": 4, "max_retries": 2}
    _, memory = play(scenario(trace, cohorts=[cohort]))
    by_request: dict[str, list[Any]] = defaultdict(list)
    for record in memory.attempts:
        by_request[record.attempt.request_id].append(record)
    assert any(len(records) == 3 for records in by_request.values())
    for records in by_request.values():
        records.sort(key=lambda record: record.attempt.number)
        assert [record.attempt.number for record in records] == list(range(1, len(records) + 1))
        for earlier, later in itertools.pairwise(records):
            assert earlier.outcome != "ok"
            assert later.attempt.previous_span_id == earlier.attempt.span_id
            assert later.start_ns >= earlier.end_ns + 0.375e9


def test_cancelling_on_disconnect_wastes_less(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", **CRUSH)
    cohort = [{"name": "chat", "ttft_timeout_s": 4}]

    def abandoned(cancel: bool) -> list[EngineSequence]:
        _, memory = play(scenario(trace, cohorts=cohort, replica={"cancel_on_disconnect": cancel}))
        return [sequence for sequence in memory.done if sequence.abandoned]

    kept, cancelled = abandoned(False), abandoned(True)
    assert all(sequence.finished for sequence in kept) and kept
    assert not any(sequence.finished for sequence in cancelled) and cancelled
    assert sum(sequence.busy_ns for sequence in cancelled) < sum(sequence.busy_ns for sequence in kept)


def emitted(trace: Path, **changes: Any) -> tuple[str, int]:
    scene = scenario(trace, **changes)
    sink = DigestSink(MemorySink())
    reporter = Reporter(scene, sink)
    arrivals = prepare(scene.workload, block_tokens=8, context=2048, duration_s=scene.duration_s, seed=scene.seed)
    cluster = Cluster(scene, arrivals, NullRunner(), reporter, lambda key, count, vocabulary: [key % 64] * count)
    cluster.run()
    reporter.finish(cluster)
    return sink.sha256, len(arrivals.requests)


def test_one_seed_gives_one_digest_and_another_seed_another(load: Path) -> None:
    assert emitted(load) == emitted(load)
    assert emitted(load)[0] != emitted(load, seed=2)[0]


def test_shedding_turns_attempts_away(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", **CALM)
    shed = {"at_s": 20, "until_s": 40, "do": "set", "target": "gateway:main", "key": "shed_share", "value": 1.0}
    _, memory = play(scenario(trace, actions=[shed]))
    for record in memory.attempts:
        during = 20e9 <= record.start_ns < 39.9e9
        assert (record.outcome == "rejected") == during
    _, memory = play(scenario(trace))
    assert all(record.outcome != "rejected" for record in memory.attempts)


def test_a_slow_replica_steps_slower(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", **CALM)
    slow = {"at_s": 0, "until_s": "end", "do": "set", "target": "replica:r1", "key": "speed", "value": 0.25}

    cost = CostModel(load_profile("h20_16b_a2b"), 1 / 64, 1 / 4)
    _, memory = play(scenario(trace, actions=[slow]))
    decodes = [(number, record) for number, record in memory.steps if record.prefill_tokens == 0]
    assert {number for number, _ in decodes} == {0, 1}
    for number, record in decodes:
        assert record.duration_ns == cost.step_ns(0, record.engine_tokens, 0.25 if number == 1 else 1.0)
