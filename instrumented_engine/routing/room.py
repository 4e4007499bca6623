"""What routing and admission offer to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.regions.region import sites
from instrumented_engine.routing.router_sync import keep_synced
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_ROUTING = "instrumented_engine/test_routing.py::"
_ADMISSION = "instrumented_engine/test_admission.py::"

MECHANISMS = (
    Mechanism(
        "routing policy",
        "affinity to cached prefixes saves prefill and makes hot spots; least load and power of two spread; sticky sessions do "
        "neither; one replica that is too hot switches affinity off for all",
        "SGLang router; Mitzenmacher 2001 (power of two choices); vllm router#238, sglang#32195",
        ("flashover:router_decisions", "predicted_blocks", "hit_blocks", "vllm:num_requests_running"),
        _ROUTING + "test_affinity_saves_prefill_and_random_does_not",
        switches=(
            Switch("router", "policy", choices=("prefix", "least_load", "power_of_two", "session", "hash_ring", "random")),
        ),
        settings=("router.policy", "router.min_match_share", "router.balance_abs", "router.balance_rel"),
    ),
    Mechanism(
        "hash-ring remap",
        "an update of the load balancer's map gives prefixes new owners: caches are cold although their blocks are alive",
        "serving-mechanisms 3.6; Karger et al. 1997",
        ("hit_blocks", "flashover:router_ring_remaps", "flashover:kv_blocks_evicted", "vllm:prefix_cache_hits"),
        _ROUTING + "test_a_ring_remap_makes_caches_cold_without_an_eviction",
        operations=(Operation("router", "remap"),),
        settings=("router.virtual_nodes",),
    ),
    Mechanism(
        "router replicas not synced",
        "each router counts only what it has sent itself, or remembers only its own prefixes: they herd, and miss each other's "
        "caches",
        "serving-mechanisms 3.3; Dynamo --router-replica-sync (off by default)",
        ("flashover:router_decisions", "predicted_blocks", "hit_blocks", "vllm:num_requests_waiting"),
        _ROUTING + "test_routers_that_do_not_hear_of_each_other_load_the_fleet_unevenly",
        switches=(
            Switch("router", "replica_sync", flag=True), Switch("router", "sync_interval_s", low=0.001, high=3_600),
        ),
        settings=("router.replicas", "router.replica_sync", "router.prefix_map"),
    ),
    Mechanism(
        "stale loads",
        "a load that is looked at too rarely sends everybody to the replica that was empty then",
        "BLIS (signal staleness 50 ms); Mitzenmacher 2000 (How useful is old information?)",
        ("flashover:router_decisions", "vllm:num_requests_running", "queue_ns"),
        _ROUTING + "test_old_loads_make_a_herd",
        switches=(Switch("router", "load_age_ms", high=3_600_000),),
        settings=("router.load_age_ms",),
    ),
    Mechanism(
        "load shedding at the gateway",
        "an operator turns a share of the attempts away",
        "serving-mechanisms 5 (shed recovers)",
        ("outcome", "flashover:gateway_finished", "flashover:gateway_outcomes"),
        "instrumented_engine/test_cluster.py::test_shedding_turns_attempts_away",
        switches=(Switch("gateway", "shed_share", high=1.0),),
        settings=("gateway.shed_share",),
    ),
    Mechanism(
        "queue in the gateway: keep-alive without end, or bounded",
        "connections held open with keep-alive for half an hour and first come first served: the queue serves the dead; a "
        "bound on its length or on the time in it keeps goodput",
        "DeepSeek's rate-limit pages (serving-mechanisms 0); Fail at Scale 2015",
        ("flashover:gateway_queue", "flashover:gateway_queue_age_seconds", "flashover:gateway_admissions", "gateway_ns"),
        _ADMISSION + "test_an_endless_queue_serves_the_dead_and_a_bound_on_waiting_does_not",
        switches=(
            Switch("admission", "max_concurrency", low=1), Switch("admission", "max_queue"),
            Switch("admission", "shed_queue_s", low=0.001), Switch("admission", "drop_left", flag=True),
        ),
        settings=(
            "gateway.max_concurrency", "gateway.max_queue", "gateway.shed_queue_s", "gateway.hold_s", "gateway.drop_left",
        ),
    ),
    Mechanism(
        "order of the gateway's queue",
        "first come first served gives everybody a wait that is too long; newest first under load, or by deadline, serves some "
        "in time",
        "Fail at Scale 2015 (adaptive LIFO)",
        ("flashover:gateway_admissions", "outcome", "ttft_ns"),
        _ADMISSION + "test_newest_first_and_deadlines_keep_goodput_where_fifo_loses_it",
        switches=(Switch("admission", "order", choices=("fifo", "lifo_under_load", "deadline")),),
        settings=("gateway.order", "gateway.lifo_after_s", "gateway.deadline_slack_s"),
    ),
    Mechanism(
        "tier quotas and rate limits",
        "free, paid, enterprise and agents get a number of attempts at one time and a token bucket each",
        "DeepSeek's per-account concurrency limits (serving-mechanisms 0)",
        ("flashover:gateway_admissions", "flashover:gateway_outcomes", "tier", "outcome"),
        _ADMISSION + "test_limiting_the_free_tier_saves_the_paid_one",
        switches=(Switch("tier", "tier_concurrency"), Switch("tier", "tier_rate_per_s", low=1e-6)),
        settings=("gateway.tiers",),
    ),
)


def entities(scenario: Scenario) -> Iterator[str]:
    """Admission and tiers have the names of their gateway; they are switched, but emit as the gateway."""
    for site in sites(scenario):
        name = site.gateway.partition(":")[2]
        yield f"admission:{name}"
        yield from (f"tier:{name}-{tier.name}" for tier in scenario.gateway.tiers)


def problems(scenario: Scenario) -> Iterator[str]:
    """What of routing and admission cannot work."""
    gateway, used = scenario.gateway, {cohort.tier for cohort in scenario.cohorts}
    names = [tier.name for tier in gateway.tiers]
    for number, tier in enumerate(gateway.tiers):
        where = f"gateway.tiers.{number}"
        if tier.name not in used:
            yield f"{where}.name = {tier.name!r}: no cohort is of this tier; there are: {', '.join(sorted(used))}"
        if names.index(tier.name) != number:
            yield f"{where}.name = {tier.name!r}: this tier has limits already; keep one"
        if tier.rate_per_s is not None and tier.burst < 1:
            yield f"{where}.burst = {tier.burst:g}: a bucket that never holds one whole token lets nobody in; give at least 1"
    if gateway.max_concurrency is None:
        for key in ("max_queue", "shed_queue_s"):
            value = getattr(gateway, key)
            if value is not None:
                yield f"gateway.{key} = {value:g}: nobody waits in the gateway without a gateway.max_concurrency"
    patience = max((cohort.ttft_timeout_s for cohort in scenario.cohorts), default=float("inf"))
    if gateway.shed_queue_s is not None and gateway.shed_queue_s >= patience:
        yield (f"gateway.shed_queue_s = {gateway.shed_queue_s:g}: every client has left by then (the longest "
               f"cohorts.ttft_timeout_s is {patience:g}); give less")


def install(cluster: Cluster) -> None:
    """Name the parts of admission, and let replicated routers hear of each other."""
    for region in cluster.regions:
        gateway = region.gateway
        name = gateway.entity.partition(":")[2]
        cluster.add(f"admission:{name}", gateway.admission, of=gateway.entity)
        cluster.measures[gateway.entity].append(gateway.admission.measures)
        for tier, limit in gateway.admission.tiers.items():
            cluster.add(f"tier:{name}-{tier}", limit, of=gateway.entity)
        if len(region.routers) > 1:
            cluster.spawn(keep_synced(cluster.loop, region.routers))


ROOM = Room(MECHANISMS, install, entities, problems)
