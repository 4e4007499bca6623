"""Service discovery with a time to live: a cache that hides a dead control plane until its records expire.

On 2024-12-11 DNS caches hid the overloaded API servers for about 20 minutes, while the roll-out went on (incident-facts 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.control_plane.api_server import ApiServer
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_BLOCKER = "not discovered"


class Discovery:
    """A record per replica. ``dns_ttl_s`` is a switch; a record is renewed when four fifths of it are over."""

    def __init__(self, cluster: Cluster, api: ApiServer, engines: Sequence[Engine], ttl_s: float) -> None:
        self.dns_ttl_s = ttl_s
        self.expiries = 0
        self._cluster = cluster
        self._api = api
        self._engines = engines
        luck = cluster.random("discovery")
        self._confirmed_ns = [-round(luck.random() * 0.8 * ttl_s * 1e9) for _ in engines]

    async def keep(self, number: int) -> None:
        """Keep the record of one replica fresh, for ever."""
        loop, engine = self._cluster.loop, self._engines[number]
        while True:
            await loop.sleep_until_ns(self._confirmed_ns[number] + round(0.8 * self.dns_ttl_s * 1e9))
            expiry = loop.call_at_ns(self._confirmed_ns[number] + round(self.dns_ttl_s * 1e9), self._expire, engine)
            await self._api.insist("discovery")
            expiry.cancel()
            self._confirmed_ns[number] = loop.now_ns
            engine.blockers.discard(_BLOCKER)

    def _expire(self, engine: Engine) -> None:
        self.expiries += 1
        engine.blockers.add(_BLOCKER)

    def measures(self) -> Iterable[Measure]:
        """Age of the oldest record, and expiries."""
        oldest_s = (self._cluster.loop.now_ns - min(self._confirmed_ns)) / 1e9
        yield Measure("flashover:discovery_oldest_record_seconds", oldest_s, "s")
        yield Measure("flashover:discovery_expired_records", self.expiries, counter=True)
