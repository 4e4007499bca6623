"""What this room offers to timed actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

MECHANISMS = (
    Mechanism(
        "KV index writer saturation",
        "one writer applies block events at a finite rate; a rebalance makes every replica announce all it holds",
        "serving-mechanisms 3.2; dynamo#7072; flash indexer measurements",
        ("flashover:kv_index_lag_seconds", "flashover:kv_index_lag_events", "predicted_blocks", "hit_blocks"),
        "incidents/test_mechanism.py::test_b_with_a_fast_index_there_is_no_outage",
        switches=(
            Switch("kv_index", "writer_ops_per_s", low=1e-3),
            Switch("kv_index", "route_by", choices=("new_map", "old_map_until_synced")),
        ),
        operations=(Operation("kv_index", "rebalance"), Operation("kv_index", "undo_rebalance")),
        settings=("kv_index.writer_ops_per_s", "kv_index.route_by"),
    ),
)


def install(cluster: Cluster) -> None:
    """The cluster itself builds these parts."""


ROOM = Room(MECHANISMS, install)
