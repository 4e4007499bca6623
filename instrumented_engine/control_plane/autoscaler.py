"""How many replicas serve: a schedule, load, and a scheduler that may be paused while decisions pile up.

The night schedule is DeepSeek's (node curve of day 6: 278 nodes by day, 68 from 03:30 to 06:30). A breaker that pauses
scheduling and then lets a backlog of stale decisions run at once took many engines away together (OpenAI 2026-03-04).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.clients.sources.origin import parameters
from instrumented_engine.control_plane.api_server import ApiServer
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.scenario.control_plane import ControlPlane

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_BLOCKER = "scaled in"
_STARTING = "starting"
_LOOK_NS = 60_000_000_000


class Autoscaler:
    """``wanted`` replicas of ``engines`` serve, the first ones. ``scheduling_paused``, ``backlog_validated`` and
    ``scale_min`` are switches."""

    def __init__(self, cluster: Cluster, api: ApiServer, engines: Sequence[Engine], settings: ControlPlane) -> None:
        self.backlog_validated = settings.backlog_validated
        self.scale_min: float = settings.scale_min
        self.wanted = min(settings.replicas or len(engines), len(engines))
        self.backlog: list[int] = []
        self._paused = False
        self._cluster = cluster
        self._api = api
        self._engines = engines
        self._settings = settings
        for engine in engines[self.wanted :]:
            engine.blockers.add(_BLOCKER)

    @property
    def scheduling_paused(self) -> bool:
        """Whether decisions wait."""
        return self._paused

    @scheduling_paused.setter
    def scheduling_paused(self, value: bool) -> None:
        self._paused = value
        if value:
            return
        backlog, self.backlog = self.backlog, []
        if not self.backlog_validated:
            for wanted in backlog:
                self._carry_out(wanted, blindly=True)
        elif backlog:
            self._carry_out(self._by_load() if self._settings.autoscale else backlog[-1])

    async def follow_schedule(self) -> None:
        """Want what the schedule says, when it says so."""
        begin_s = self._cluster.scenario.warm_up_s
        for target in self._settings.schedule:
            await self._cluster.loop.sleep_until_ns(round((begin_s + target.at_s) * 1e9))
            self.want(target.replicas)

    async def follow_curve(self, start_hour: float) -> None:
        """Want the share of the replicas that DeepSeek's nodes were of their most, by the hour of Beijing's day."""
        steps: list[list[float]] = parameters("day6_nodes")
        while True:
            hour = (start_hour - 12 + self._cluster.loop.now_ns / 3.6e12) % 24
            share = next(share for begin, share in reversed(steps) if begin <= hour)
            if (wanted := max(1, round(share * len(self._engines)))) != self.wanted:
                self.want(wanted)
            await self._cluster.loop.sleep_ns(_LOOK_NS)

    async def follow_load(self) -> None:
        """Want as many as the load asks for, looked at again and again."""
        while True:
            await self._cluster.loop.sleep_ns(round(self._settings.scale_interval_s * 1e9))
            if (wanted := self._by_load()) != (self.backlog[-1] if self.backlog else self.wanted):
                self.want(wanted)

    def _by_load(self) -> int:
        load = sum(len(engine.scheduler.running) + len(engine.scheduler.waiting) for engine in self._engines)
        return max(int(self.scale_min), -(-load // max(1, round(self._settings.autoscale or 1))))

    def want(self, replicas: int) -> None:
        """Decide; carried out at once unless scheduling is paused."""
        if self._paused:
            self.backlog.append(replicas)
        else:
            self._carry_out(replicas)

    def _carry_out(self, replicas: int, *, blindly: bool = False) -> None:
        replicas = min(max(replicas, 0), len(self._engines))
        if replicas == self.wanted:
            return
        self._cluster.tell("scale", "control_plane:main", f"replicas {self.wanted} -> {replicas}")
        for engine in self._engines[self.wanted : replicas]:
            self._cluster.spawn(self._start(engine))
        for engine in self._engines[replicas : self.wanted]:
            self._cluster.spawn(self._stop(engine, blindly=blindly))
        self.wanted = replicas

    def _is_wanted(self, engine: Engine) -> bool:
        return engine in self._engines[: self.wanted]

    async def _start(self, engine: Engine) -> None:
        """Schedule, pull the image, warm up; the cache is cold."""
        await self._api.insist("scheduler")
        if _BLOCKER not in engine.blockers or not self._is_wanted(engine):
            return
        engine.blockers.add(_STARTING)
        await self._cluster.loop.sleep_ns(round((self._settings.image_pull_s + self._settings.warm_up_s) * 1e9))
        engine.blockers.discard(_STARTING)
        if self._is_wanted(engine):
            engine.blockers.discard(_BLOCKER)

    async def _stop(self, engine: Engine, *, blindly: bool) -> None:
        """Take no more, drain, end: what is not done by then fails. ``blindly``: also if it is wanted again by now."""
        await self._api.insist("scheduler")
        if self._is_wanted(engine) and not blindly:
            return
        engine.blockers.add(_BLOCKER)
        await self._cluster.loop.sleep_ns(round(self._settings.drain_s * 1e9))
        if blindly or not self._is_wanted(engine):
            engine.lose()

    def measures(self) -> Iterable[Measure]:
        """Wanted, starting, ready, and decisions that wait."""
        yield Measure("flashover:replicas_wanted", self.wanted)
        yield Measure("flashover:replicas_starting", sum(_STARTING in engine.blockers for engine in self._engines))
        yield Measure("flashover:replicas_ready", sum(not engine.blockers for engine in self._engines))
        yield Measure("flashover:scheduling_backlog", len(self.backlog))
