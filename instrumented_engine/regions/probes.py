"""What a health check asks a region, and over which way it goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from instrumented_engine.clients.workload import Arrival
from instrumented_engine.network.link import Link, LinkDown
from instrumented_engine.regions.traffic_manager import Manager
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.scenario import Cohort

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster
    from instrumented_engine.regions.region import Region


class Uplink:
    """``region:<name>``: whether the region can be reached from outside at all; its replicas go on either way.

    ``fail_over`` and ``fail_back`` are what an operator does by hand at every traffic manager.
    """

    def __init__(self, number: int, managers: list[Manager]) -> None:
        self.up = True
        self._number = number
        self._managers = managers

    def fail_over(self) -> None:
        """Send the region's users elsewhere, whatever the probes say."""
        for manager in self._managers:
            manager.drained.add(self._number)

    def fail_back(self) -> None:
        """Leave it to the probes again."""
        for manager in self._managers:
            manager.drained.discard(self._number)


class Probe:
    """Asks ``region`` over ``link`` (None: the manager is next to it) in the way that ``manager.probe_path`` says."""

    def __init__(self, cluster: Cluster, manager: Manager, region: Region, uplink: Uplink, link: Link | None) -> None:
        self._cluster = cluster
        self._manager = manager
        self._region = region
        self._uplink = uplink
        self._link = link
        self._luck = cluster.random(f"probes:{manager.entity}:{region.site.name}")
        self._number = 0

    async def __call__(self, timeout_s: float) -> bool:
        """Whether an answer came within ``timeout_s``."""
        loop = self._cluster.loop
        start_ns = loop.now_ns
        if not self._uplink.up or self._luck.random() < self._manager.probe_loss:
            await loop.sleep_ns(round(timeout_s * 1e9))
            return False
        try:
            if self._link is not None:
                async with asyncio.timeout(timeout_s):
                    await self._link.cross()
                    await self._link.cross()
        except (TimeoutError, LinkDown):
            return False
        if self._manager.probe_path == "shallow":
            return True
        return await self._region.gateway.handle(self._attempt(timeout_s), start_ns) == "ok"

    def _attempt(self, timeout_s: float) -> Attempt:
        """The smallest request there is."""
        self._number += 1
        name = f"probe:{self._region.site.name}"
        arrival = Arrival(
            at_ns=self._cluster.loop.now_ns, session=name, prompt_tokens=8, output_tokens=1, engine_prompt=1,
            engine_output=1, blocks=(),
        )
        cohort = Cohort(name="probe", tier="probe", ttft_timeout_s=timeout_s, max_retries=0)
        ids = [self._luck.getrandbits(63) | 1 for _ in range(2)]
        request = f"{self._manager.entity}:{name}-{self._number}"
        return Attempt(arrival, cohort, request, 1, ids[0], ids[1], None)
