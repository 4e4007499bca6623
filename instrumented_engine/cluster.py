"""A whole fleet under the virtual clock: clients, regions (gateway, router, KV index, replicas), and the timed actions.

``Cluster`` builds the regions; each room of mechanisms then installs what its tables of the scenario ask for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from functools import lru_cache, partial
from typing import Any, Protocol

from collectors.errors import BadInput
from instrumented_engine.actions import perform_all
from instrumented_engine.clients.clients import Clients
from instrumented_engine.clients.live_cohort import LiveCohort
from instrumented_engine.clients.workload import Arrivals
from instrumented_engine.clock import VirtualLoop, run_virtual
from instrumented_engine.kv.event_stream import EventStream
from instrumented_engine.kv.kv_index import KvIndex
from instrumented_engine.mechanism import Measure
from instrumented_engine.model.runner import Runner
from instrumented_engine.model.tokens import narrowed
from instrumented_engine.regions.region import Region, Site, sites
from instrumented_engine.replica.cost_model import CostModel, load_profile
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Attempt, Sequence
from instrumented_engine.replica.step_record import StepRecord
from instrumented_engine.rooms import ROOMS
from instrumented_engine.routing.door import AttemptRecord, Door
from instrumented_engine.routing.gateway import GatewayServer
from instrumented_engine.routing.router import Router
from instrumented_engine.routing.tier_limits import TierLimit
from instrumented_engine.scenario import Cohort, Scenario

Measures = Callable[[], Iterable[Measure]]


class Observer(Protocol):
    """Who is told what happens in the fleet: the one way out of the cluster."""

    def on_start(self, cluster: Cluster) -> None:
        """The cluster is complete and about to run."""

    def on_attempt(self, record: AttemptRecord) -> None:
        """An attempt ended as its client sees it."""

    def on_sequence_done(self, engine: Engine, sequence: Sequence) -> None:
        """An engine is done with an attempt, perhaps long after its client left."""

    def on_step(self, engine: Engine, record: StepRecord) -> None:
        """A replica finished a step."""

    def on_action(self, kind: str, entity: str, summary: str, at_ns: int) -> None:
        """Something that an operator's change log would hold."""

    def on_tick(self, cluster: Cluster) -> None:
        """A scrape interval has passed."""


class Cluster:
    """Built from a scenario; ``run`` plays it to its end.

    ``parts`` are the live parts by entity, for actions; ``measures`` their metrics; ``edges`` whom they depend on
    (relation -> entities); ``front`` the door that clients come to.
    """

    def __init__(
        self,
        scenario: Scenario,
        arrivals: Arrivals,
        runner: Runner,
        observer: Observer,
        token_ids: Callable[[int, int, int], list[int]],
    ) -> None:
        context_blocks = runner.shape.context // scenario.replica.block_tokens
        if scenario.replica.kv_blocks < context_blocks and scenario.replica.unservable == "refuse":
            raise BadInput(
                f"replica.kv_blocks = {scenario.replica.kv_blocks} cannot hold one full context; give at least "
                f"{context_blocks}, or say by replica.unservable what becomes of a request that it cannot hold"
            )
        self.scenario = scenario
        self.loop = VirtualLoop()
        self.arrivals = arrivals
        self.runner = runner
        self.observer = observer
        self.parts: dict[str, Any] = {}
        self.measures: dict[str, list[Measures]] = {}
        self.edges: dict[str, dict[str, list[str]]] = {}
        self._owners: dict[str, str] = {}
        self._background: list[Coroutine[Any, Any, None]] = []
        self._over: asyncio.Future[None] | None = None
        self.prompt = self._prompts(token_ids)
        self.regions = [self._region(site) for site in sites(scenario)]
        self.engines = [engine for region in self.regions for engine in region.engines]
        self.front: Door = self.regions[0].gateway
        cohorts = {cohort.name: self._cohort(cohort) for cohort in scenario.cohorts}
        self.clients = Clients(self.loop, cohorts, lambda attempt: self.front.handle(attempt), scenario.seed)
        self.add("clients", self.clients)
        for room in ROOMS:
            room.install(self)
        for number, action in enumerate(scenario.actions):
            if action.do == "set" and not hasattr(self.parts[action.target], action.key):
                raise BadInput(f"actions.{number}: {action.target} has no switch {action.key!r} in this scenario")

    # -- for the rooms ---------------------------------------------------------------------------------------------

    def add(
        self, entity: str, part: Any, measures: Measures | None = None, of: str = "", **edges: Iterable[str]
    ) -> None:
        """Make ``part`` the live part behind ``entity`` ("kind:name"). ``of``: the entity that it is a part of and that the
        change log names for it. ``edges``: relations of ``schema.EDGE_KINDS``."""
        self.parts[entity] = part
        if of:
            self._owners[entity] = of
        if measures is not None:
            self.measures.setdefault(entity, []).append(measures)
        for kind, others in edges.items():
            self.edges.setdefault(entity, {}).setdefault(kind, []).extend(others)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run ``task`` beside the rest, from the start of the run on or from now; if it fails, the run ends with its error."""
        if self._over is None:
            self._background.append(task)
        else:
            self.loop.create_task(task).add_done_callback(partial(_end_if_failed, self._over))

    def tell(self, kind: str, entity: str, summary: str) -> None:
        """Tell the observer what an operator's change log would now hold (kinds: ``schema.EVENTS``)."""
        self.observer.on_action(kind, self._owners.get(entity, entity), summary, self.loop.now_ns)

    def random(self, purpose: str) -> random.Random:
        """A stream of random numbers of its own for ``purpose``, by the scenario's seed."""
        return random.Random(f"{self.scenario.seed}:{purpose}")

    # -- building --------------------------------------------------------------------------------------------------

    def _prompts(self, token_ids: Callable[[int, int, int], list[int]]) -> Callable[[Attempt], list[int]]:
        vocabulary, block_tokens = self.runner.shape.vocabulary, self.scenario.replica.block_tokens

        @lru_cache(maxsize=65_536)
        def block(key: int) -> list[int]:
            return [int(token) for token in token_ids(key, block_tokens, vocabulary)]

        def prompt(attempt: Attempt) -> list[int]:
            arrival = attempt.arrival
            if not self.runner.reads_tokens:
                return [0] * arrival.engine_prompt
            ids = [token for key in arrival.blocks for token in block(key)]
            rest = arrival.engine_prompt - len(ids)
            ids += [int(token) for token in token_ids(arrival.at_ns, rest, vocabulary)] if rest else []
            return narrowed(ids, attempt.cohort.content, vocabulary)

        return prompt

    def _cohort(self, settings: Cohort) -> LiveCohort:
        scenario = self.scenario
        return LiveCohort(
            settings, scenario.workload, block_tokens=scenario.replica.block_tokens, context=self.runner.shape.context,
            seed=scenario.seed,
        )

    def _region(self, site: Site) -> Region:
        scenario, told = self.scenario, self.scenario.kv_index
        index = KvIndex(
            self.loop, writer_ops_per_s=told.writer_ops_per_s, route_by=told.route_by, lookups_wait=told.lookups_wait,
            told_of_losses=told.told_of_losses,
        )
        engines = [self._engine(site.first + i, entity, index) for i, entity in enumerate(site.replicas)]
        suffix = "" if not scenario.regions else f":{site.name}"
        routers = [
            Router(entity, scenario.router, index, len(engines), self.loop, self.random(f"routing{suffix}:{entity}"))
            for entity in site.routers
        ]
        if len(routers) == 1:
            routers[0].hits = lambda: sum(engine.scheduler.hit_blocks for engine in engines)
        gateway = GatewayServer(
            site.gateway,
            self.loop,
            scenario.gateway,
            routers,
            round(scenario.kv_index.lookup_ms * 1e6),
            engines,
            tiers={tier.name: TierLimit(self.loop, tier) for tier in scenario.gateway.tiers},
            tokens=self.prompt,
            ids=self.random(f"engine ids{suffix}"),
            luck=self.random(f"shed{suffix}"),
            on_attempt=self.observer.on_attempt,
        )
        region = Region(site, index, engines, routers, gateway)
        self.add(site.gateway, gateway, partial(gateway.measures, scenario.cohorts), calls=site.routers)
        for router in routers:
            self.add(router.entity, router, router.measures, calls=[site.kv_index], routes_to=site.replicas)
        self.add(site.kv_index, index, region.index_measures)
        for engine in engines:
            self.add(engine.entity, engine, syncs_kv=[site.kv_index])
        return region

    def _engine(self, number: int, entity: str, index: KvIndex) -> Engine:
        scenario = self.scenario
        engine = Engine(
            number,
            entity,
            self.loop,
            scenario.replica,
            CostModel(
                load_profile(scenario.cluster.profile), scenario.workload.prompt_scale, scenario.workload.output_scale
            ),
            self.runner,
            stream=EventStream(
                scenario.kv_index.stream_buffer_events, lambda: self.loop.now_ns, index.wake, self.random(f"events:{entity}")
            ),
            on_step=self.observer.on_step,
            on_sequence_done=self.observer.on_sequence_done,
        )
        index.connect(engine)
        return engine

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Play the scenario from its first to its last instant."""
        self.observer.on_start(self)
        run_virtual(self._main(), self.loop)

    async def _main(self) -> None:
        self._over = self.loop.create_future()
        for engine in self.engines:
            self.spawn(engine.run())
        for region in self.regions:
            self.spawn(region.index.run())
        self.spawn(self.clients.run(self.arrivals.requests))
        self.spawn(self._tick())
        self.spawn(perform_all(self, self.scenario.actions))
        for task in self._background:
            self.spawn(task)
        self.loop.call_at_ns(round((self.scenario.warm_up_s + self.scenario.duration_s) * 1e9), _end, self._over)
        await self._over

    async def _tick(self) -> None:
        interval_ns = round(self.scenario.scrape_s * 1e9)
        await self.loop.sleep_until_ns(round(self.scenario.warm_up_s * 1e9))
        while True:
            await self.loop.sleep_ns(interval_ns)
            self.observer.on_tick(self)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _end_if_failed(over: asyncio.Future[None], task: asyncio.Task[None]) -> None:
    """A part that failed, or a sink that takes no more, ends the run at once."""
    if not task.cancelled() and (error := task.exception()) is not None and not over.done():
        over.set_exception(error)
