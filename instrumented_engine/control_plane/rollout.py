"""Roll-out, roll-back, and a reconciler that enforces the version that it has been told of.

A version is a speed: what a bad configuration does to an engine. A reconciler with a stale source puts a bad version back
after it was rolled back (OpenAI 2026-07-25: the configuration re-deployed itself). All of it goes through the API server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.control_plane.api_server import ApiServer
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.scenario.control_plane import ControlPlane

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_BLOCKER = "rolling"


class Rollout:
    """``rollout`` and ``rollback`` are operations. ``reconciler_stale`` is a switch: the reconciler's source does not hear of
    roll-backs."""

    def __init__(self, cluster: Cluster, api: ApiServer, engines: Sequence[Engine], settings: ControlPlane) -> None:
        self.reconciler_stale = False
        self.replaced = 0
        self._cluster = cluster
        self._api = api
        self._engines = engines
        self._settings = settings
        self._old_speed = cluster.scenario.replica.speed
        self._versions = [0] * len(engines)
        self._wanted = self._source = 0
        self._generation = 0

    def rollout(self) -> None:
        """Begin to replace every replica by the new version."""
        self._source = 1
        self._begin(1)

    def rollback(self) -> None:
        """Begin to replace every replica by the old version."""
        if not self.reconciler_stale:
            self._source = 0
        self._begin(0)

    def _begin(self, version: int) -> None:
        self._wanted = version
        self._generation += 1
        self._cluster.spawn(self._replace_all(version, self._generation))

    async def reconcile(self) -> None:
        """Again and again, deploy what the source says, if that is not what is wanted."""
        while True:
            await self._cluster.loop.sleep_ns(round(self._settings.reconcile_s * 1e9))
            if self._source != self._wanted:
                self._cluster.tell("deploy", "control_plane:main", "reconciler: deploys the version of its source")
                self._begin(self._source)

    async def _replace_all(self, version: int, generation: int) -> None:
        todo = [i for i, found in enumerate(self._versions) if found != version]
        batch = self._settings.rollout_batch
        for first in range(0, len(todo), batch):
            numbers = todo[first : first + batch]
            if not await self._api.insist("rollout", float(len(numbers))) or generation != self._generation:
                return
            for number in numbers:
                self._engines[number].blockers.add(_BLOCKER)
            await self._cluster.loop.sleep_ns(round(self._settings.drain_s * 1e9))
            for number in numbers:
                self._engines[number].lose()
                self._versions[number] = version
                self._engines[number].speed = self._old_speed * (self._settings.rollout_speed if version else 1.0)
                self.replaced += 1
            await self._cluster.loop.sleep_ns(round(self._settings.warm_up_s * 1e9))
            for number in numbers:
                self._engines[number].blockers.discard(_BLOCKER)

    def measures(self) -> Iterable[Measure]:
        """Replicas of the new version, and replacements so far."""
        yield Measure("flashover:replicas_on_new_version", sum(self._versions))
        yield Measure("flashover:replicas_replaced", self.replaced, counter=True)
