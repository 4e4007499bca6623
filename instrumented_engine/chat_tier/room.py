"""What the chat tier offers to timed actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Room

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

MECHANISMS: tuple[Mechanism, ...] = ()


def install(cluster: Cluster) -> None:
    """Nothing yet."""


ROOM = Room(MECHANISMS, install)
