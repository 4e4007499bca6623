"""Hosts: their NICs, their loss, a group of them that goes, and an update that takes their routes away.

OpenAI 2025-06-09: an operating-system update restarted the hosts' network service and removed their routes; the GPUs were
fine and nobody could reach them (incident-facts 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.hardware.gpus import return_after
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.scenario.hardware import Hardware

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster


class Host:
    """``up`` and ``nic_up`` are switches. Without NIC the replicas go on, unreachable; without host they are dead."""

    def __init__(self, entity: str, cluster: Cluster, engines: Sequence[Engine], restart_s: float) -> None:
        self.entity = entity
        self._cluster = cluster
        self._engines = engines
        self._restart_s = restart_s
        self._up = self._nic_up = True

    @property
    def up(self) -> bool:
        """Whether the host runs."""
        return self._up

    @up.setter
    def up(self, value: bool) -> None:
        if value == self._up:
            return
        self._up = value
        for engine in self._engines:
            if value:
                self._cluster.spawn(return_after(self._cluster, engine, "host down", self._restart_s))
            else:
                engine.blockers.add("host down")
                engine.lose()

    @property
    def nic_up(self) -> bool:
        """Whether anything reaches the host."""
        return self._nic_up

    @nic_up.setter
    def nic_up(self, value: bool) -> None:
        self._nic_up = value
        for engine in self._engines:
            engine.reachable = value

    def measures(self) -> Iterable[Measure]:
        """Whether it runs and whether it is connected."""
        yield Measure("flashover:host_up", float(self._up))
        yield Measure("flashover:host_nic_up", float(self._nic_up))


class HostGroup:
    """The hosts of a region. ``hosts_up`` is the share of them that run; ``os_update`` goes through them one by one."""

    def __init__(self, cluster: Cluster, hosts: Sequence[Host], settings: Hardware) -> None:
        self._cluster = cluster
        self._hosts = hosts
        self._settings = settings
        self._share = 1.0

    @property
    def hosts_up(self) -> float:
        """Share of the hosts that run; the last ones go first."""
        return self._share

    @hosts_up.setter
    def hosts_up(self, value: float) -> None:
        self._share = value
        keep = round(value * len(self._hosts))
        for number, host in enumerate(self._hosts):
            host.up = number < keep

    def os_update(self) -> None:
        """Begin an update that takes each host's routes away for a while."""
        self._cluster.spawn(self._update())

    async def _update(self) -> None:
        loop = self._cluster.loop
        for host in self._hosts:
            self._cluster.spawn(self._without_routes(host))
            await loop.sleep_ns(round(self._settings.update_gap_s * 1e9))

    async def _without_routes(self, host: Host) -> None:
        host.nic_up = False
        await self._cluster.loop.sleep_ns(round(self._settings.update_s * 1e9))
        host.nic_up = True
