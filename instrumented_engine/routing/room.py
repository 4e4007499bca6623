"""What this room offers to timed actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Room, Switch

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

MECHANISMS = (
    Mechanism(
        "load shedding at the gateway",
        "an operator turns a share of the attempts away",
        "serving-mechanisms 5 (shed recovers)",
        ("outcome", "flashover:gateway_finished"),
        "instrumented_engine/test_cluster.py::test_shedding_turns_attempts_away",
        switches=(Switch("gateway", "shed_share", high=1.0),),
        settings=("gateway.shed_share",),
    ),
)


def install(cluster: Cluster) -> None:
    """The cluster itself builds these parts."""


ROOM = Room(MECHANISMS, install)
