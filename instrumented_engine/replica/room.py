"""What a replica offers to timed actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Room, Switch

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
)


def install(cluster: Cluster) -> None:
    """Replicas are built by the cluster itself."""


ROOM = Room(MECHANISMS, install)
