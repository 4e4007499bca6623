"""Balancing between regions by load: weights follow what each region has in flight, as old as the report is.

The weight of a region is moved in proportion to how far its requests in flight per replica lie below the mean
(multiplicative weights). A report that is older than the effect takes makes it swing: everybody runs to where it was
empty, which is how global balancers have oscillated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Measure

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster
    from instrumented_engine.regions.region import Region
    from instrumented_engine.regions.traffic_manager import Manager

_LEAST = 0.02
_GAIN = 0.15
"""How much of a difference in load one look makes up for (an exponent)."""


class Balance:
    """Weights of ``regions``; they sum to 1."""

    def __init__(self, cluster: Cluster, regions: Sequence[Region], manager: Manager) -> None:
        sizes = [len(region.engines) for region in regions]
        self.weights = [size / sum(sizes) for size in sizes]
        self._cluster = cluster
        self._regions = regions
        self._manager = manager
        self._reports: deque[tuple[int, list[float]]] = deque()

    async def run(self) -> None:
        """Look, and adjust while the manager balances by load, for ever."""
        loop = self._cluster.loop
        while True:
            await loop.sleep_ns(round(self._manager.balance_interval_s * 1e9))
            if self._manager.balance != "load":
                self._reports.clear()
                continue
            self._reports.append((loop.now_ns, [r.gateway.in_flight / len(r.engines) for r in self._regions]))
            due_ns = loop.now_ns - round(self._manager.health_delay_s * 1e9)
            load = None
            while self._reports and self._reports[0][0] <= due_ns:
                load = self._reports.popleft()[1]
            if load is not None:
                self._adjust(load)

    def _adjust(self, load: Sequence[float]) -> None:
        mean = sum(load) / len(load) + 1.0
        moved = [weight * (mean / (one + 1.0)) ** _GAIN for weight, one in zip(self.weights, load, strict=True)]
        total = sum(moved)
        floored = [max(_LEAST, weight / total) for weight in moved]
        self.weights = [weight / sum(floored) for weight in floored]

    def pick(self, place: float, usable: Sequence[int]) -> int | None:
        """The region at ``place`` (0 to 1) along the weights of ``usable``; None when there is none."""
        left = place * sum(self.weights[number] for number in usable)
        for number in usable:
            left -= self.weights[number]
            if left < 0:
                return number
        return usable[-1] if usable else None

    def measures(self) -> Iterable[Measure]:
        """The weights."""
        if self._manager.balance == "load":
            for region, weight in zip(self._regions, self.weights, strict=True):
                yield Measure("flashover:region_weight", weight, labels=(("region", region.site.name),))
