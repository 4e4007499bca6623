"""GPUs of a replica: clock, loss, remapped rows. A replica computes as fast as its slowest GPU and needs all of them.

Loss rates for orientation: Llama-3-405B saw one unplanned interruption per 50,700 GPU-hours, 30 % of them GPUs, 17 %
HBM3, thermal throttling among the rest (incident-facts 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster


async def return_after(cluster: Cluster, engine: Engine, blocker: str, seconds: float) -> None:
    """Let the replica serve again, as far as ``blocker`` is concerned, in so many seconds."""
    await cluster.loop.sleep_ns(round(seconds * 1e9))
    engine.blockers.discard(blocker)


class Gpu:
    """``clock`` (share of the rated one), ``lost`` and ``retired_blocks`` (KV blocks in rows that were remapped) are
    switches; ``xid`` is a fault that a restart of the process cures."""

    def __init__(self, cluster: Cluster, engine: Engine, peers: list[Gpu], restart_s: float, rated_mhz: float) -> None:
        self.xids = 0
        self._cluster = cluster
        self._engine = engine
        self._peers = peers
        self._restart_s = restart_s
        self._rated_mhz = rated_mhz
        self._clock = 1.0
        self._lost = False
        self._retired = 0
        peers.append(self)

    @property
    def clock(self) -> float:
        """Share of the rated SM clock."""
        return self._clock

    @clock.setter
    def clock(self, value: float) -> None:
        self._clock = value
        self._engine.clock = min(peer.clock for peer in self._peers)

    @property
    def lost(self) -> bool:
        """Whether it has fallen off the bus (Xid 79)."""
        return self._lost

    @lost.setter
    def lost(self, value: bool) -> None:
        self._lost = value
        if value:
            self.xids += 1
            self._engine.blockers.add("gpu lost")
            self._engine.lose()
        elif not any(peer.lost for peer in self._peers):
            self._cluster.spawn(return_after(self._cluster, self._engine, "gpu lost", self._restart_s))

    @property
    def retired_blocks(self) -> int:
        """KV blocks that its remapped rows have cost the replica."""
        return self._retired

    @retired_blocks.setter
    def retired_blocks(self, value: int) -> None:
        pool = self._engine.pool
        pool.restore()
        self._retired = value
        for peer in self._peers:
            pool.retire(peer.retired_blocks)

    def xid(self) -> None:
        """An Xid error kills the process; it is started again on the same GPU."""
        self.xids += 1
        self._engine.blockers.add("xid")
        self._engine.lose()
        self._cluster.spawn(return_after(self._cluster, self._engine, "xid", self._restart_s))

    def measures(self) -> Iterable[Measure]:
        """Under DCGM's names."""
        yield Measure("DCGM_FI_DEV_SM_CLOCK", 0.0 if self._lost else self._clock * self._rated_mhz, "MHz")
        yield Measure("flashover:gpu_xid_errors", self.xids, counter=True)
        yield Measure("flashover:gpu_retired_kv_blocks", self._retired, "blocks")
