"""How replicated routers learn of each other's load: every ``sync_interval_s``, or not at all.

Dynamo's routers do not by default (``--router-replica-sync`` is off): each sees only what it has sent itself, and all of
them herd to the replica that looks empty to each (KV-sync variant 3 of serving-mechanisms).
"""

from __future__ import annotations

from collections.abc import Sequence

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.routing.router import Router


async def keep_synced(loop: VirtualLoop, routers: Sequence[Router]) -> None:
    """Tell each of ``routers`` what the others have in flight, for ever; the first one's switches say how often."""
    while True:
        await loop.sleep_ns(round(routers[0].sync_interval_s * 1e9))
        totals = [sum(column) for column in zip(*(router.in_flight for router in routers), strict=True)]
        for router in routers:
            if router.replica_sync:
                router.others = [total - own for total, own in zip(totals, router.in_flight, strict=True)]
            else:
                router.others = [0] * len(totals)
