"""The global traffic manager: which region a user is sent to, and what stands between the two.

A user (session) has a home region. While the manager believes the home healthy, the user goes there; else to another
region, always the same one for the same beliefs. Clients keep an answer for a time to live, in resolvers that many
users share. Several managers stand in different regions and decide each by their own probes; who asks which is drawn per
request, so that a split view sends one conversation back and forth. A request to another region than home crosses the
link between them; answers are small and their way back is not charged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Measure
from instrumented_engine.network.link import Link, LinkDown
from instrumented_engine.regions.balancing import Balance
from instrumented_engine.regions.health_checks import HealthCheck
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.routing.door import AttemptRecord, Outcome
from instrumented_engine.scenario.regions import TrafficManager as Policy

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster
    from instrumented_engine.regions.region import Region

_RESOLVERS = 512
_BYTES_PER_TOKEN = 4


class Manager:
    """One decider. Its attributes are the policy's, and may change at any time."""

    def __init__(self, entity: str, cluster: Cluster, policy: Policy, regions: Sequence[Region]) -> None:
        self.entity = entity
        self.probe_interval_s = policy.probe_interval_s
        self.probe_timeout_s = policy.probe_timeout_s
        self.probe_path: str = policy.probe_path
        self.probe_loss = 0.0
        self.fall, self.rise = policy.fall, policy.rise
        self.hold_down_s = policy.hold_down_s
        self.return_ramp_s = policy.return_ramp_s
        self.health_delay_s = policy.health_delay_s
        self.fail_open = policy.fail_open
        self.dns_ttl_s = policy.dns_ttl_s
        self.checks: list[HealthCheck] = []
        self.drained: set[int] = set()
        self.balance: str = policy.balance
        self.balance_interval_s = policy.balance_interval_s
        self.weights = Balance(cluster, regions, self)

    def choose(self, home: int, place: float) -> int | None:
        """The region for a user of ``home`` who stands at ``place`` (0 to 1, fixed per user); None when none is left."""
        return_share = self.checks[home].returned() if home not in self.drained else 0.0
        if self.balance == "load":
            return self.weights.pick(place, self._usable())
        if place < return_share or return_share >= 1.0:
            return home
        others = [number for number in self._usable() if number != home]
        if others:
            return others[int(place * 7_919) % len(others)]
        return home if return_share > 0 or self.fail_open else None

    def _usable(self) -> list[int]:
        healthy = [i for i, check in enumerate(self.checks) if check.healthy and i not in self.drained]
        return healthy or (list(range(len(self.checks))) if self.fail_open else [])

    def measures(self) -> Iterable[Measure]:
        """What its checks saw."""
        for check in self.checks:
            yield from check.measures()
        yield from self.weights.measures()


class TrafficDoor:
    """The door before the regions' gateways."""

    def __init__(
        self, cluster: Cluster, policy: Policy, managers: Sequence[Manager], links: dict[frozenset[int], Link]
    ) -> None:
        self._cluster = cluster
        self._policy = policy
        self._regions = cluster.regions
        self._managers = managers
        self._links = links
        self._uplinks = [cluster.parts[f"region:{region.site.name}"] for region in cluster.regions]
        self._answers: dict[tuple[int, int, int], tuple[int, int | None]] = {}
        self._bounds = _bounds([region.users for region in cluster.scenario.regions])
        self.sent = [0] * len(self._regions)
        self.away = 0

    def home(self, session: str) -> tuple[int, float]:
        """The user's home region, and their place among its users."""
        luck = int.from_bytes(hashlib.blake2b(session.encode(), digest_size=8).digest()) / 2**64
        for number, (low, high) in enumerate(self._bounds):
            if luck < high:
                return number, (luck - low) / (high - low)
        return len(self._bounds) - 1, 1.0

    def _resolve(self, attempt: Attempt, home: int, place: float) -> int | None:
        """What the user's resolver says: its cached answer, or the present one of the manager that it happens to ask."""
        now_ns = self._cluster.loop.now_ns
        asked = (attempt.span_id >> 8) % len(self._managers)
        key = (asked, home, int(place * _RESOLVERS))
        until_ns, region = self._answers.get(key, (0, None))
        if now_ns >= until_ns:
            region = self._managers[asked].choose(home, (key[2] + 0.5) / _RESOLVERS)
            self._answers[key] = (now_ns + round(self._managers[asked].dns_ttl_s * 1e9), region)
        return region

    async def handle(self, attempt: Attempt, since_ns: int | None = None) -> Outcome:
        """Send the attempt to a region; what fails on the way there is the manager's to report."""
        start_ns = self._cluster.loop.now_ns if since_ns is None else since_ns
        home, place = self.home(attempt.arrival.session)
        region = self._resolve(attempt, home, place)
        if region is None or not await self._reach(attempt, home, region):
            return await self._failed(attempt, start_ns)
        self.sent[region] += 1
        self.away += region != home
        return await self._regions[region].gateway.handle(attempt, start_ns)

    async def _reach(self, attempt: Attempt, home: int, region: int) -> bool:
        link = self._links.get(frozenset((home, region)))
        try:
            if link is not None:
                await link.transfer(attempt.arrival.prompt_tokens * _BYTES_PER_TOKEN)
        except LinkDown:
            return False
        return bool(self._uplinks[region].up)

    async def _failed(self, attempt: Attempt, start_ns: int) -> Outcome:
        """Nobody answers: the client's connection times out, or its patience ends before."""
        loop = self._cluster.loop
        give_up_ns = start_ns + round(min(self._policy.connect_timeout_s, attempt.cohort.ttft_timeout_s) * 1e9)
        await loop.sleep_until_ns(max(give_up_ns, loop.now_ns))
        outcome: Outcome = "timeout" if attempt.cohort.ttft_timeout_s <= self._policy.connect_timeout_s else "error"
        phases = {"gateway_ns": loop.now_ns - start_ns}
        self._cluster.observer.on_attempt(AttemptRecord(
            self._managers[0].entity, attempt, start_ns, loop.now_ns, outcome, None, None, None, phases, None
        ))
        return outcome

    def measures(self) -> Iterable[Measure]:
        """Attempts sent, by region, and those that were sent away from home."""
        for region, count in zip(self._regions, self.sent, strict=True):
            yield Measure("flashover:traffic_sent", count, counter=True, labels=(("region", region.site.name),))
        yield Measure("flashover:traffic_away_from_home", self.away, counter=True)


def _bounds(shares: Sequence[float]) -> list[tuple[float, float]]:
    total, low, found = sum(shares), 0.0, []
    for share in shares:
        high = low + share / total
        found.append((low, high if share else low))
        low = high
    return found
