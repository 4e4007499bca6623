"""What the KV index, its event streams and its master offer to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from instrumented_engine.kv.metadata_master import MetadataMaster
from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.regions.region import Site, sites
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_kv_sync.py::"

MECHANISMS = (
    Mechanism(
        "KV index writer saturation",
        "one writer applies block events at a finite rate; a rebalance makes every replica announce all it holds",
        "serving-mechanisms 3.2; dynamo#7072; flash indexer measurements",
        ("flashover:kv_index_lag_seconds", "flashover:kv_index_lag_events", "predicted_blocks", "hit_blocks"),
        "incidents/test_mechanism.py::test_each_part_is_needed_for_five_seeds",
        switches=(
            Switch("kv_index", "writer_ops_per_s", low=1e-3),
            Switch("kv_index", "route_by", choices=("new_map", "old_map_until_synced")),
        ),
        operations=(Operation("kv_index", "rebalance"), Operation("kv_index", "undo_rebalance")),
        settings=("kv_index.writer_ops_per_s", "kv_index.route_by"),
    ),
    Mechanism(
        "event gap, then dump storm",
        "a ring of events that is too small, or events lost on the way, leave gaps; each gap costs a dump of all that the "
        "replica holds, during which the ring overflows again",
        "serving-mechanisms 3.1; dynamo#7072 (recovery loop); vLLM replay ring of 10,000",
        ("flashover:kv_index_sequence_gaps", "flashover:kv_index_dumps", "flashover:kv_events_dropped",
         "flashover:kv_index_lag_seconds"),
        _TEST + "test_a_small_ring_gaps_and_dumps_in_a_loop",
        switches=(
            Switch("stream", "capacity", low=1, whole=True), Switch("stream", "loss", high=1.0),
        ),
        settings=("kv_index.stream_buffer_events",),
    ),
    Mechanism(
        "lookups behind writes",
        "one actor serves reads and writes in turn: a lookup waits for every write before it",
        "serving-mechanisms 3.2 (single-thread actor serialises reads behind writes)",
        ("kv_sync_ns", "flashover:kv_index_lag_events", "ttft_ns"),
        _TEST + "test_lookups_wait_behind_writes_where_one_actor_does_both",
        switches=(Switch("kv_index", "lookups_wait", flag=True),),
        settings=("kv_index.lookups_wait",),
    ),
    Mechanism(
        "metadata-master failover that loses all",
        "a new leader without what the last one knew: the key count falls to zero and fills at the writer's rate; routers that "
        "stay with the old leader go by a map that ages",
        "serving-mechanisms 3.4; Mooncake#1871, #1200, #2253; dynamo#13174",
        ("flashover:metadata_keys", "flashover:metadata_failovers", "event failover", "hit_blocks", "predicted_blocks"),
        _TEST + "test_a_failover_without_persistence_forgets_every_key_and_refills_slowly",
        switches=(
            Switch("metadata_master", "metadata_persisted", flag=True), Switch("metadata_master", "routers_follow", flag=True),
            Switch("metadata_master", "election_s", high=86_400),
        ),
        operations=(Operation("metadata_master", "fail_over"),),
        settings=("metadata_master.metadata_persisted", "metadata_master.routers_follow", "metadata_master.election_s"),
    ),
    Mechanism(
        "prefix cache cold after a restart",
        "a replica that comes back holds nothing; an index that was not told sends it what it no longer has",
        "serving-mechanisms 2 (prefix cache: cold after restart or failover)",
        ("flashover:kv_cached_blocks", "predicted_blocks", "hit_blocks", "computed_tokens"),
        _TEST + "test_a_restarted_replica_is_cold_and_an_index_that_was_not_told_is_wrong_about_it",
        switches=(Switch("kv_index", "told_of_losses", flag=True),),
        settings=("kv_index.told_of_losses",),
    ),
    Mechanism(
        "hash-seed mismatch",
        "a replica that names its blocks by another hash seed announces keys that no router ever asks for",
        "serving-mechanisms 2 (prefix cache: hash-seed or block-size mismatch)",
        ("predicted_blocks", "hit_blocks", "flashover:kv_index_blocks"),
        _TEST + "test_another_hash_seed_makes_announced_keys_useless",
        switches=(Switch("stream", "hash_seed", whole=True, high=2**31),),
    ),
)


def _master(scenario: Scenario, site: Site) -> str:
    return f"metadata_master:{site.name if scenario.regions else 'main'}"


def _stream(replica: str) -> str:
    return f"stream:{replica.partition(':')[2]}"


def entities(scenario: Scenario) -> Iterator[str]:
    """An event stream per replica (in the change log the replica), and a metadata master per region, if there are any."""
    yield from (_stream(replica) for site in sites(scenario) for replica in site.replicas)
    if scenario.metadata_master is not None:
        yield from (_master(scenario, site) for site in sites(scenario))


def problems(scenario: Scenario) -> Iterator[str]:
    """An index whose lookups alone would take longer than any client waits."""
    patience = max((cohort.ttft_timeout_s for cohort in scenario.cohorts), default=float("inf"))
    if scenario.kv_index.lookup_ms / 1e3 >= patience:
        yield (f"kv_index.lookup_ms = {scenario.kv_index.lookup_ms:g}: every client has left by then (the longest "
               f"cohorts.ttft_timeout_s is {patience:g}); give less")


def install(cluster: Cluster) -> None:
    """Put masters before the indexes, and tell the indexes of losses."""
    scenario = cluster.scenario
    for engine in cluster.engines:
        cluster.add(_stream(engine.entity), engine.stream, of=engine.entity)
    for region in cluster.regions:
        for number, engine in enumerate(region.engines):
            engine.on_lost.append(partial(region.index.forget, number))
        region.gateway.index_wait = region.index.read_wait_ns
        if scenario.metadata_master is not None:
            master = MetadataMaster(_master(scenario, region.site), cluster, region.index, scenario.metadata_master)
            cluster.add(master.entity, master, master.measures)
            cluster.add(region.site.kv_index, region.index, calls=[master.entity])


ROOM = Room(MECHANISMS, install, entities, problems)
