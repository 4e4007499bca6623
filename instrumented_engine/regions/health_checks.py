"""Health checks of one region by one traffic manager: probes, thresholds, hold-down.

``shallow`` asks the gateway's process, which answers while the replicas behind it hang. ``deep`` asks for one generated
token through the same queues as users, so that a saturated region looks dead (both are how real checks failed:
serving-mechanisms 2, health checks; AWS 2025-10-20, where flapping checks took capacity away).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Measure

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster
    from instrumented_engine.regions.traffic_manager import Manager


class HealthCheck:
    """What ``manager`` believes of the region called ``region``. ``probe`` asks it once and tells whether it answered within
    the seconds given."""

    def __init__(self, cluster: Cluster, manager: Manager, region: str, probe: Callable[[float], Awaitable[bool]]) -> None:
        self.region = region
        self.healthy = True
        self.changed_ns = -(1 << 62)
        self.probes = self.failures = self.flips = 0
        self.latency_s = 0.0
        self._cluster = cluster
        self._manager = manager
        self._probe = probe
        self._row = 0
        self._known: deque[tuple[int, bool]] = deque()

    async def run(self) -> None:
        """Probe for ever; a probe that hangs does not delay the next one."""
        loop = self._cluster.loop
        while True:
            self._cluster.spawn(self._once())
            await loop.sleep_ns(round(self._manager.probe_interval_s * 1e9))
            self._apply_due()

    async def _once(self) -> None:
        start_ns = self._cluster.loop.now_ns
        answered = await self._probe(self._manager.probe_timeout_s)
        self.probes += 1
        self.failures += not answered
        self.latency_s = (self._cluster.loop.now_ns - start_ns) / 1e9
        self._known.append((self._cluster.loop.now_ns, answered))
        self._apply_due()

    def _apply_due(self) -> None:
        """Count the results that are old enough to be known to who decides."""
        due_ns = self._cluster.loop.now_ns - round(self._manager.health_delay_s * 1e9)
        while self._known and self._known[0][0] <= due_ns:
            self._count(self._known.popleft()[1])

    def _count(self, answered: bool) -> None:
        self._row = self._row + 1 if answered != self.healthy else 0
        if self._row < (self._manager.rise if answered else self._manager.fall):
            return
        now_ns = self._cluster.loop.now_ns
        if answered and now_ns < self.changed_ns + round(self._manager.hold_down_s * 1e9):
            return
        self._row = 0
        self.healthy = answered
        self.changed_ns = now_ns
        self.flips += 1
        why = f"{self._manager.rise} probes answered" if answered else f"{self._manager.fall} probes failed"
        state = "healthy again" if answered else "unhealthy"
        self._cluster.tell("health", f"region:{self.region}", f"{self._manager.entity}: {self.region} {state}, {why}")

    def returned(self) -> float:
        """The share of the region's users that have come back: 1 unless it has become healthy within the ramp."""
        ramp_ns = round(self._manager.return_ramp_s * 1e9)
        if not self.healthy:
            return 0.0
        since = self._cluster.loop.now_ns - self.changed_ns
        return 1.0 if ramp_ns == 0 or since >= ramp_ns else since / ramp_ns

    def measures(self) -> Iterable[Measure]:
        """Probes, failures, flips, and what is believed."""
        labels = (("region", self.region),)
        yield Measure("flashover:probe_requests", self.probes, counter=True, labels=labels)
        yield Measure("flashover:probe_failures", self.failures, counter=True, labels=labels)
        yield Measure("flashover:health_flips", self.flips, counter=True, labels=labels)
        yield Measure("flashover:probe_latency_seconds", self.latency_s, "s", labels=labels)
        yield Measure("flashover:region_healthy", float(self.healthy), labels=labels)
