"""The leader that holds the KV index, and what its failover loses.

A leader without persistence loses ALL metadata: the key count falls to zero, and the index fills again only as fast as
replicas can re-announce and the writer can write, minutes to tens of minutes (Mooncake#1871, #1200, #2253). Routers that do not
notice the new leader go on with the old one's map (dynamo#13174).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from instrumented_engine.kv.kv_index import KvIndex
from instrumented_engine.mechanism import Measure
from instrumented_engine.scenario import MetadataMaster as Settings

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster


class MetadataMaster:
    """Stands before ``index``. ``metadata_persisted``, ``routers_follow`` and ``election_s`` are switches; ``fail_over`` is
    what a lost leader brings about."""

    def __init__(self, entity: str, cluster: Cluster, index: KvIndex, settings: Settings) -> None:
        self.entity = entity
        self.metadata_persisted = settings.metadata_persisted
        self.routers_follow = settings.routers_follow
        self.election_s = settings.election_s
        self.failovers = 0
        self._cluster = cluster
        self._index = index

    def fail_over(self) -> None:
        """The leader is gone; another one is elected."""
        self._cluster.spawn(self._elect())

    async def _elect(self) -> None:
        index = self._index
        self.failovers += 1
        before = index.snapshot()
        index.writing = False
        index.reading = {} if self.routers_follow else before
        await self._cluster.loop.sleep_ns(round(self.election_s * 1e9))
        self._cluster.tell("failover", self.entity, "metadata master: new leader elected")
        if not self.metadata_persisted:
            index.lose_everything()
        index.writing = True
        if self.routers_follow:
            index.reading = None

    def measures(self) -> Iterable[Measure]:
        """Keys that the leader knows, and failovers."""
        yield Measure("flashover:metadata_keys", self._index.keys_known, "blocks")
        yield Measure("flashover:metadata_failovers", self.failovers, counter=True)
