"""What hardware offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.hardware.gpus import Gpu
from instrumented_engine.hardware.hosts import Host, HostGroup
from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.regions.region import Site, sites
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_hardware.py::"

MECHANISMS = (
    Mechanism(
        "clock throttling",
        "one GPU too hot: a replica steps as slowly as its slowest GPU",
        "incident-facts 3 (GPU failures: thermal)",
        ("DCGM_FI_DEV_SM_CLOCK", "flashover:step_duration_seconds", "duration_ns"),
        _TEST + "test_the_slowest_gpu_sets_the_pace",
        switches=(Switch("gpu", "clock", low=0.01, high=1.0),),
        settings=("hardware.gpus", "hardware.rated_mhz"),
    ),
    Mechanism(
        "loss of a GPU",
        "an Xid error kills the process, or the GPU falls off the bus: the replica's requests fail, its cache is gone",
        "incident-facts 3 (GPU 30.1 %, HBM3 17.2 % of unplanned interruptions)",
        ("flashover:gpu_xid_errors", "outcome", "flashover:kv_cached_blocks"),
        _TEST + "test_a_lost_gpu_fails_its_requests_and_comes_back_cold",
        switches=(Switch("gpu", "lost", flag=True),),
        operations=(Operation("gpu", "xid"),),
        settings=("hardware.restart_s",),
    ),
    Mechanism(
        "ECC row remap",
        "rows that the memory has given up take KV blocks away: the pool is smaller, preemption begins earlier",
        "incident-facts 3 (HBM3); BLIS H8 cliff (4.5 % fewer blocks: 4.7 x TTFT p99)",
        ("flashover:gpu_retired_kv_blocks", "kv_total_blocks", "preempted"),
        _TEST + "test_remapped_rows_shrink_the_pool_until_it_thrashes",
        switches=(Switch("gpu", "retired_blocks", whole=True),),
        settings=("hardware.gpus",),
    ),
    Mechanism(
        "loss of a NIC, and of routes",
        "the GPUs are fine and nobody reaches them; routers go on choosing them",
        "OpenAI 2025-06-09 (incident-facts 3)",
        ("flashover:host_nic_up", "outcome", "vllm:num_requests_running"),
        _TEST + "test_without_a_nic_work_goes_on_unreachable",
        switches=(Switch("host", "nic_up", flag=True),),
        operations=(Operation("pool", "os_update"),),
        settings=("hardware.update_s", "hardware.update_gap_s", "hardware.replicas_per_host"),
    ),
    Mechanism(
        "loss of hosts",
        "a host, or a share of a region's hosts, is gone",
        "serving-mechanisms 5 (60 % of a region lost); 1 (one decode unit = 13.7 %)",
        ("flashover:host_up", "outcome", "vllm:num_requests_waiting"),
        _TEST + "test_a_group_of_hosts_gone_crowds_the_rest",
        switches=(Switch("host", "up", flag=True), Switch("pool", "hosts_up", high=1.0)),
        settings=("hardware.replicas_per_host",),
    ),
)


def _hosts(scenario: Scenario, site: Site) -> list[tuple[str, Sequence[int]]]:
    """Names of a region's hosts, each with the region's numbers of its replicas."""
    each = scenario.hardware.replicas_per_host if scenario.hardware else 1
    prefix = f"{site.name}-" if scenario.regions else ""
    count = len(site.replicas)
    return [(f"host:{prefix}h{i}", range(first, min(first + each, count))) for i, first in enumerate(range(0, count, each))]


def entities(scenario: Scenario) -> Iterator[str]:
    """Hosts, pools and GPUs."""
    if scenario.hardware is None:
        return
    for site in sites(scenario):
        yield site.pool
        yield from (entity for entity, _ in _hosts(scenario, site))
        for replica in site.replicas:
            name = replica.partition(":")[2]
            yield from (f"gpu:{name}.{i}" for i in range(scenario.hardware.gpus))


def problems(scenario: Scenario) -> Iterator[str]:
    """Hardware that cannot be laid out so."""
    if scenario.hardware is None:
        return
    each = scenario.hardware.replicas_per_host
    for site in sites(scenario):
        if len(site.replicas) % each:
            yield (f"hardware.replicas_per_host = {each}: does not divide the {len(site.replicas)} replicas of region "
                   f"{site.name}; give a divisor")


def install(cluster: Cluster) -> None:
    """Put GPUs and hosts below the replicas."""
    settings = cluster.scenario.hardware
    if settings is None:
        return
    for region in cluster.regions:
        hosts = []
        for entity, numbers in _hosts(cluster.scenario, region.site):
            host = Host(entity, cluster, [region.engines[i] for i in numbers], settings.restart_s)
            hosts.append(host)
            cluster.add(entity, host, host.measures)
            for i in numbers:
                cluster.add(region.engines[i].entity, region.engines[i], runs_on=[entity])
        cluster.add(region.site.pool, HostGroup(cluster, hosts, settings))
        for engine in region.engines:
            peers: list[Gpu] = []
            name = engine.entity.partition(":")[2]
            for i in range(settings.gpus):
                gpu = Gpu(cluster, engine, peers, settings.restart_s, settings.rated_mhz)
                cluster.add(f"gpu:{name}.{i}", gpu, gpu.measures)


ROOM = Room(MECHANISMS, install, entities, problems)
