"""A whole fleet under the virtual clock: clients, gateway, router, KV index, replicas, and the timed actions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Protocol

from collectors.errors import BadInput
from instrumented_engine.actions import perform_all
from instrumented_engine.clients import Clients
from instrumented_engine.clock import VirtualLoop, run_virtual
from instrumented_engine.cost_model import CostModel, load_profile
from instrumented_engine.engine import Engine, StepRecord
from instrumented_engine.gateway import AttemptRecord, GatewayServer
from instrumented_engine.kv_events import EventStream
from instrumented_engine.kv_index import KvIndex
from instrumented_engine.router import Router
from instrumented_engine.runner import Runner
from instrumented_engine.scenario import Scenario
from instrumented_engine.sequence import Sequence
from instrumented_engine.workload import Arrival, Arrivals


class Observer(Protocol):
    """Who is told what happens in the fleet: the one way out of the cluster."""

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
    """Built from a scenario; ``run`` plays it to its end. Attributes are the live parts, for actions and scrapes."""

    def __init__(
        self,
        scenario: Scenario,
        arrivals: Arrivals,
        runner: Runner,
        observer: Observer,
        token_ids: Callable[[int, int, int], list[int]],
    ) -> None:
        context_blocks = runner.shape.context // scenario.replica.block_tokens
        if scenario.replica.kv_blocks < context_blocks:
            raise BadInput(
                f"replica.kv_blocks = {scenario.replica.kv_blocks} cannot hold one full context; give at least {context_blocks}"
            )
        self.scenario = scenario
        self.loop = VirtualLoop()
        self.arrivals = arrivals
        self.runner = runner
        self.observer = observer
        self.index = KvIndex(
            self.loop, writer_ops_per_s=scenario.kv_index.writer_ops_per_s, route_by=scenario.kv_index.route_by
        )
        self.engines = [self._engine(number, runner) for number in range(scenario.cluster.replicas)]
        self.router = Router(scenario.router, self.index, len(self.engines))
        vocabulary, block_tokens = runner.shape.vocabulary, scenario.replica.block_tokens

        @lru_cache(maxsize=65_536)
        def block(key: int) -> list[int]:
            return [int(token) for token in token_ids(key, block_tokens, vocabulary)]

        def prompt(arrival: Arrival) -> list[int]:
            if not runner.reads_tokens:
                return [0] * arrival.engine_prompt
            ids = [token for key in arrival.blocks for token in block(key)]
            rest = arrival.engine_prompt - len(ids)
            return ids + [int(token) for token in token_ids(arrival.at_ns, rest, vocabulary)] if rest else ids

        self.gateway = GatewayServer(
            self.loop,
            scenario.gateway,
            self.router,
            round(scenario.kv_index.lookup_ms * 1e6),
            self.engines,
            tokens=prompt,
            ids=random.Random(f"{scenario.seed}:engine ids"),
            luck=random.Random(f"{scenario.seed}:shed"),
            on_attempt=observer.on_attempt,
        )
        self.clients = Clients(self.loop, scenario.cohorts, self.gateway, scenario.seed)

    def _engine(self, number: int, runner: Runner) -> Engine:
        scenario = self.scenario
        engine = Engine(
            number,
            self.loop,
            scenario.replica,
            CostModel(
                load_profile(scenario.cluster.profile), scenario.workload.prompt_scale, scenario.workload.output_scale
            ),
            runner,
            stream=EventStream(scenario.kv_index.stream_buffer_events, lambda: self.loop.now_ns, self.index.wake),
            on_step=self.observer.on_step,
            on_sequence_done=self.observer.on_sequence_done,
        )
        self.index.connect(engine)
        return engine

    def run(self) -> None:
        """Play the scenario from its first to its last instant."""
        run_virtual(self._main(), self.loop)

    async def _main(self) -> None:
        tasks = [self.loop.create_task(engine.run()) for engine in self.engines]
        tasks.append(self.loop.create_task(self.index.run()))
        tasks.append(self.loop.create_task(self.clients.run(self.arrivals.requests)))
        tasks.append(self.loop.create_task(self._tick()))
        tasks.append(self.loop.create_task(perform_all(self, self.scenario.actions)))
        over: asyncio.Future[None] = self.loop.create_future()
        for task in tasks:
            task.add_done_callback(partial(_end_if_failed, over))
        self.loop.call_at_ns(round((self.scenario.warm_up_s + self.scenario.duration_s) * 1e9), _end, over)
        await over

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
