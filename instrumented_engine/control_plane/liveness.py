"""Liveness probes that restart replicas: right about the dead, wrong about the busy.

``queue`` asks for one token, which waits in the replica's queue like everything else: a saturated replica fails its probe,
is restarted, comes back with a cold cache, and its load goes to the others meanwhile. 8 and more false restarts a day were
reported (serving-mechanisms 2: prime-rl#2375, gonka#1421). ``heartbeat`` asks whether the step loop moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.hardware.gpus import return_after
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.scenario.control_plane import ControlPlane

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_BLOCKER = "restarting"


class LivenessProbes:
    """``probes``, ``liveness_timeout_s`` and ``liveness_threshold`` are switches."""

    def __init__(self, cluster: Cluster, engines: Sequence[Engine], settings: ControlPlane) -> None:
        self.probes: str = settings.probes
        self.liveness_timeout_s = settings.probe_timeout_s
        self.liveness_threshold = settings.probe_threshold
        self.asked = self.failed = self.restarts = 0
        self._cluster = cluster
        self._engines = engines
        self._settings = settings

    async def watch(self, engine: Engine) -> None:
        """Probe one replica for ever."""
        loop, row, steps = self._cluster.loop, 0, -1
        while True:
            await loop.sleep_ns(round(self._settings.probe_interval_s * 1e9))
            if self.probes == "off" or engine.blockers - {"not discovered"}:
                row = 0
                continue
            self.asked += 1
            moved = engine.steps != steps or engine.scheduler.idle
            alive = moved if self.probes == "heartbeat" else self._queue_wait_s(engine) <= self.liveness_timeout_s
            steps, row = engine.steps, 0 if alive else row + 1
            self.failed += not alive
            if row >= self.liveness_threshold:
                row = 0
                self._restart(engine)

    def _queue_wait_s(self, engine: Engine) -> float:
        """How long a request that comes now will wait, as the one at the head has waited."""
        waiting = engine.scheduler.waiting
        return (self._cluster.loop.now_ns - waiting[0].since_ns) / 1e9 if waiting else 0.0

    def _restart(self, engine: Engine) -> None:
        self.restarts += 1
        self._cluster.tell("health", engine.entity, f"liveness probe failed {self.liveness_threshold} times: restart")
        engine.blockers.add(_BLOCKER)
        engine.lose()
        self._cluster.spawn(return_after(self._cluster, engine, _BLOCKER, self._settings.restart_s))

    def measures(self) -> Iterable[Measure]:
        """Probes, failures, restarts."""
        yield Measure("flashover:liveness_probes", self.asked, counter=True)
        yield Measure("flashover:liveness_failures", self.failed, counter=True)
        yield Measure("flashover:replica_restarts", self.restarts, counter=True)
