"""What the separation of prefill and decode offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.disaggregation.pair import Pairs
from instrumented_engine.mechanism import Mechanism, Room, Switch
from instrumented_engine.network.link import SWITCHES, Link
from instrumented_engine.regions.region import Site, sites
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_disaggregation.py::"

MECHANISMS = (
    Mechanism(
        "prefill and decode apart",
        "prompts are computed on some replicas, answers on others; KV crosses a NIC in between",
        "DeepSeek day 6; DistServe, OSDI'24; serving-mechanisms 1 (P to D traffic)",
        ("kv_transfer_ns", "flashover:pd_transfers", "flashover:pd_transfer_seconds", "flashover:link_sent_bytes"),
        _TEST + "test_prompts_are_computed_here_and_answers_there_and_all_is_conserved",
        settings=("disaggregation.prefill", "disaggregation.kv_bytes_per_token"),
    ),
    Mechanism(
        "slots held for requests that are gone",
        "the prefill side drops a request and does not tell the decode side, whose slot waits for 300 s or for ever: nothing "
        "runs, nothing gets in, KV usage is low",
        "serving-mechanisms 3.5; sglang#28651, #31800 (throughput 1/15, over an hour)",
        ("flashover:pd_slots_held", "flashover:pd_decode_running", "flashover:pd_bootstrap_queue", "waiting_deferred",
         "flashover:pd_transfers"),
        _TEST + "test_slots_leak_when_aborts_are_not_told_and_do_not_when_they_are",
        switches=(
            Switch("disaggregation", "abort_notifies_peer", flag=True),
            Switch("disaggregation", "waiting_timeout_s", low=0.001),
            Switch("disaggregation", "bootstrap_timeout_s", low=0.001),
        ),
        settings=("disaggregation.abort_notifies_peer", "disaggregation.waiting_timeout_s",
                  "disaggregation.bootstrap_timeout_s"),
    ),
    Mechanism(
        "slow, lossy or broken transfer of KV",
        "transfers queue up on a NIC that is too slow, or break, while both sides have memory and compute to spare",
        "serving-mechanisms 2 (P/D row: transfer-queue depth, failures)",
        ("flashover:pd_transfers_active", "flashover:link_active_transfers", "flashover:link_failures", "kv_transfer_ns"),
        _TEST + "test_a_slow_nic_makes_transfers_queue_and_a_broken_one_fails_them",
        switches=SWITCHES,
        settings=("disaggregation.bandwidth_gbps", "disaggregation.latency_ms", "disaggregation.loss"),
    ),
)


def _nic(replica: str) -> str:
    return f"link:{replica.partition(':')[2]}-nic"


def _entity(scenario: Scenario, site: Site) -> str:
    return f"disaggregation:{site.name if scenario.regions else 'main'}"


def entities(scenario: Scenario) -> Iterator[str]:
    """Per region the pairing (in the change log the pool), and a NIC for each decode replica."""
    if scenario.disaggregation is not None:
        for site in sites(scenario):
            yield _entity(scenario, site)
            yield from (_nic(replica) for replica in site.replicas[scenario.disaggregation.prefill :])


def problems(scenario: Scenario) -> Iterator[str]:
    """Regions in which nobody prefills or nobody decodes, and transfers that cannot end in time."""
    settings = scenario.disaggregation
    if settings is None:
        return
    for site in sites(scenario):
        count = len(site.replicas)
        if settings.prefill == 0:
            yield "disaggregation.prefill = 0: leaves no replica to prefill; give at least 1"
        elif settings.prefill >= count:
            most = f"give at most {count - 1}" if count > 1 else "give the region a second replica"
            yield f"disaggregation.prefill = {settings.prefill}: leaves no replica of region {site.name} to decode; {most}"
    seconds = 1_000 * settings.kv_bytes_per_token * 8 / settings.bandwidth_gbps / 1e9
    if seconds > settings.waiting_timeout_s:
        yield (f"disaggregation.bandwidth_gbps = {settings.bandwidth_gbps:g}: the KV of 1,000 tokens alone takes {seconds:.0f} "
               f"s, longer than waiting_timeout_s = {settings.waiting_timeout_s:g}; give more")


def install(cluster: Cluster) -> None:
    """Let pairs of replicas serve instead of single ones."""
    scenario = cluster.scenario
    settings = scenario.disaggregation
    if settings is None:
        return
    for region in cluster.regions:
        decoding = region.engines[settings.prefill :]
        links = []
        for engine in decoding:
            entity = _nic(engine.entity)
            links.append(Link(
                entity, cluster.loop, cluster.random(entity), latency_ms=settings.latency_ms,
                bandwidth_gbps=settings.bandwidth_gbps, loss=settings.loss,
            ))
            cluster.add(entity, links[-1], links[-1].measures)
        pairs = Pairs(
            cluster.loop, region.engines, links, settings, cluster.prompt, cluster.random(f"pairs:{region.site.name}")
        )
        region.gateway.backend = pairs
        targets = [engine.entity for engine in decoding]
        for engine in region.engines[: settings.prefill]:
            cluster.add(engine.entity, engine, transfers_kv=targets)
        cluster.add(_entity(scenario, region.site), pairs, of=region.site.pool)
        cluster.measures.setdefault(region.site.pool, []).append(pairs.measures)


ROOM = Room(MECHANISMS, install, entities, problems)
