"""What expert parallelism offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.model.sizes import size_named
from instrumented_engine.moe.expert_ranks import ExpertRanks
from instrumented_engine.regions.region import sites
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_moe.py::"

MECHANISMS = (
    Mechanism(
        "hot experts, and a shift of the traffic mix",
        "experts are chosen by content: a mix that shifts loads the ranks of some experts more, and every step waits for them; "
        "copies of hot experts and re-balancing even it out",
        "EPLB; sglang#5524 (max over mean 3.17); LMSYS (1.49 and 2.54 times); ROCm/ATOM#1210",
        ("expert_load", "flashover:moe_rank_tokens", "flashover:moe_imbalance", "flashover:moe_wait_seconds"),
        _TEST + "test_a_shift_of_the_mix_makes_hot_experts_and_rebalancing_cools_them",
        switches=(Switch("experts", "expert_rebalance", choices=("off", "sync", "async")),),
        operations=(Operation("experts", "rebalance_experts"),),
        settings=("experts.ranks", "experts.redundant", "experts.rebalance", "cohorts.content"),
    ),
    Mechanism(
        "re-balancing that stops the world",
        "synchronous re-arrangement stops the replica for 0.26 to 21 s; asynchronous takes a little of its speed for longer",
        "vllm#28369 (0.42 to 0.26 s), sglang#7879 (1 s), vllm#47206 (16-21 s), vllm#50647",
        ("flashover:moe_rearranging_seconds", "flashover:moe_rearrangements", "event rebalance", "start_ns"),
        _TEST + "test_synchronous_rebalancing_stops_the_world_and_asynchronous_does_not",
        switches=(Switch("experts", "rearrange_s", high=600),),
        settings=("experts.rearrange_s", "experts.async_cost", "experts.interval_s"),
    ),
    Mechanism(
        "straggler rank",
        "one slow rank slows every step of its replica",
        "serving-mechanisms 2 (EP all-to-all, rank stall)",
        ("flashover:moe_wait_seconds", "duration_ns"),
        _TEST + "test_a_straggler_slows_all_ranks",
        switches=(Switch("rank", "rank_speed", low=0.01, high=1.0),),
        settings=("experts.ranks",),
    ),
    Mechanism(
        "lock-step stalls",
        "a rare stall of any rank stalls all: 1 - (1 - p)^n of the steps",
        "serving-mechanisms 6 (lockstep: p = 0.1 %, n = 144: 13.4 %)",
        ("flashover:moe_stalled_steps", "duration_ns"),
        _TEST + "test_steps_hit_by_a_stall_are_as_many_as_the_closed_form_says",
        switches=(Switch("experts", "stall_p", high=1.0),),
        settings=("experts.stall_p", "experts.stall_ms"),
    ),
    Mechanism(
        "idle rank without dummy batch, and hung rank",
        "a rank that does not join the collective leaves all others waiting until the watchdog kills the replica",
        "vllm#51984, #53578; DeepEP#370, #411 (600 s watchdog)",
        ("flashover:moe_hangs", "flashover:moe_dummy_batches", "outcome", "vllm:num_requests_running"),
        _TEST + "test_an_idle_rank_without_dummy_batch_hangs_the_replica",
        switches=(Switch("experts", "dummy_batch_on_idle", flag=True), Switch("rank", "hung", flag=True)),
        settings=("experts.dummy_batch_on_idle", "experts.watchdog_s"),
    ),
)


def _experts(replica: str) -> str:
    return f"experts:{replica.partition(':')[2]}"


def entities(scenario: Scenario) -> Iterator[str]:
    """Per replica its experts (in the change log the replica) and its ranks."""
    if scenario.experts is None:
        return
    for site in sites(scenario):
        for replica in site.replicas:
            yield _experts(replica)
            yield from (f"rank:{replica.partition(':')[2]}.{i}" for i in range(scenario.experts.ranks))


def problems(scenario: Scenario) -> Iterator[str]:
    """Experts that do not lie evenly, re-balancing that never ends."""
    settings = scenario.experts
    if settings is not None:
        experts = size_named(scenario.model).shape.experts
        if (experts + settings.redundant) % settings.ranks:
            yield (f"experts.ranks = {settings.ranks}: does not divide {experts} experts and {settings.redundant} redundant "
                   "places; give a divisor, or other experts.redundant")
        if settings.rebalance != "off" and settings.rearrange_s >= settings.interval_s:
            yield (f"experts.rearrange_s = {settings.rearrange_s:g}: is not over before the next re-balancing (experts."
                   f"interval_s = {settings.interval_s:g}); give less")
        if settings.rebalance != "off" and settings.interval_s > scenario.duration_s:
            yield f"experts.interval_s = {settings.interval_s:g}: is longer than the run, nothing is ever re-balanced"
    contents = [cohort.name for cohort in scenario.cohorts if cohort.content]
    if contents and settings is None:
        yield f"cohorts.content ({', '.join(contents)}): moves nothing without [experts]; add the table, or leave it out"


def install(cluster: Cluster) -> None:
    """Put ranks into the replicas."""
    settings = cluster.scenario.experts
    if settings is None:
        return
    by_content = any(cohort.content for cohort in cluster.scenario.cohorts)
    for engine in cluster.engines:
        engine.by_content = by_content
        ranks = ExpertRanks(cluster, engine, settings)
        engine.stretches.append(ranks.stretch)
        cluster.add(_experts(engine.entity), ranks, of=engine.entity)
        cluster.measures.setdefault(engine.entity, []).append(ranks.measures)
        for number, rank in enumerate(ranks.ranks):
            cluster.add(f"rank:{engine.entity.partition(':')[2]}.{number}", rank)
        cluster.spawn(ranks.keep_balanced())


ROOM = Room(MECHANISMS, install, entities, problems)
