"""What a replica offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.clients.live_cohort import CONTEXT
from instrumented_engine.mechanism import Mechanism, Room, Switch
from instrumented_engine.regions.region import sites
from instrumented_engine.replica.eviction import POLICIES
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

MECHANISMS = (
    Mechanism(
        "slow replica",
        "a GPU that computes slower than its peers (clock throttling, a bad card): every step takes longer",
        "incident-facts 3 (GPU failures); serving-mechanisms 2",
        ("flashover:step_duration_seconds", "duration_ns"),
        "instrumented_engine/test_cluster.py::test_a_slow_replica_steps_slower",
        switches=(Switch("replica", "speed", low=0.001, high=1.0),),
        settings=("replica.speed",),
    ),
    Mechanism(
        "work for clients that have left",
        "an engine that is not told, or does not care, that its client hung up computes on for nobody",
        "serving-mechanisms: cancel_on_disconnect; zombies of an unbounded queue",
        ("wasted_ns", "flashover:gateway_inflight"),
        "instrumented_engine/test_cluster.py::test_cancelling_on_disconnect_wastes_less",
        switches=(Switch("replica", "cancel_on_disconnect", flag=True),),
        settings=("replica.cancel_on_disconnect",),
    ),
    Mechanism(
        "eviction policy",
        "which cached block goes when space is needed: least recently used, first in, least often used",
        "SGLang radix eviction policies; serving-mechanisms 2 (eviction storm)",
        ("flashover:kv_blocks_evicted", "kv_evicted_blocks", "hit_blocks"),
        "instrumented_engine/test_preemption.py::test_eviction_policies_differ_where_blocks_are_short_and_only_there",
        switches=(Switch("kv_pool", "eviction", choices=tuple(POLICIES)),),
        settings=("replica.eviction",),
    ),
    Mechanism(
        "preemption thrash",
        "requests are let in by their prompts alone; when their answers do not fit, one after the other is thrown out and "
        "computed again. A watermark, or room kept for answers, ends it",
        "serving-mechanisms 2 (preemption); BLIS H8 cliff; SGLang new_token_ratio, vLLM watermark",
        ("vllm:num_preemptions", "preempted", "recomputed_tokens", "preempted_ns"),
        "instrumented_engine/test_preemption.py::test_too_few_blocks_thrash_and_room_kept_for_answers_ends_it",
        switches=(
            Switch("scheduler", "watermark", high=0.9), Switch("scheduler", "reserve_tokens", whole=True),
            Switch("scheduler", "preempt", choices=("youngest", "oldest", "largest")),
            Switch("scheduler", "max_running", low=1, whole=True),
        ),
        settings=("replica.watermark", "replica.reserve_tokens", "replica.preempt", "replica.kv_blocks"),
    ),
    Mechanism(
        "a request that the pool cannot hold",
        "kept at the head of the queue for ever it blocks the replica; answered with an error it blocks nobody",
        "serving-mechanisms 2 (unservable request retried forever: vllm#52530)",
        ("outcome", "flashover:step_duration_seconds", "vllm:num_requests_waiting"),
        "instrumented_engine/test_preemption.py::test_an_unservable_request_blocks_for_ever_or_is_answered_with_an_error",
        switches=(Switch("replica", "unservable", choices=("error", "retry_forever")),),
        settings=("replica.unservable",),
    ),
    Mechanism(
        "long contexts",
        "KV memory grows with the context: a release from 64K to 128K takes two to three times the blocks times time per "
        "request; up to a million positions with the recorded runner",
        "serving-mechanisms 6 (KV: lambda E[residence (I + O/2)] < capacity)",
        ("kv_block_ns", "kv_used_blocks", "prompt_tokens"),
        "instrumented_engine/test_preemption.py::test_twice_the_context_takes_two_to_three_times_the_memory",
        switches=(CONTEXT,),
        settings=("workload.prompt_scale",),
    ),
)


def scheduler_entity(replica: str) -> str:
    """The scheduler of a replica: switched by itself, in the change log the replica."""
    return f"scheduler:{replica.partition(':')[2]}"


def _kv_pool(replica: str) -> str:
    return f"kv_pool:{replica.partition(':')[2]}"


def entities(scenario: Scenario) -> Iterator[str]:
    """A scheduler and a KV pool per replica."""
    for site in sites(scenario):
        yield from map(scheduler_entity, site.replicas)
        yield from map(_kv_pool, site.replicas)


def install(cluster: Cluster) -> None:
    """Replicas are built by the cluster itself; their schedulers and pools get names."""
    for engine in cluster.engines:
        cluster.add(scheduler_entity(engine.entity), engine.scheduler, of=engine.entity)
        cluster.add(_kv_pool(engine.entity), engine.pool, of=engine.entity)


ROOM = Room(MECHANISMS, install, entities)
