"""One region: its gateway, router and KV index, and the replicas behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from instrumented_engine.kv.kv_index import KvIndex
from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.engine import Engine
from instrumented_engine.routing.gateway import GatewayServer
from instrumented_engine.routing.router import Router
from instrumented_engine.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Site:
    """What a region is called: entities of its parts, ``kind:name``. ``first`` is the fleet-wide number of its first
    replica."""

    name: str
    gateway: str
    routers: tuple[str, ...]
    kv_index: str
    pool: str
    replicas: tuple[str, ...]
    first: int


def sites(scenario: Scenario) -> list[Site]:
    """The regions of ``scenario``; one without a name of its own where it names none."""
    names = scenario.names
    if not scenario.regions:
        replicas = tuple(f"replica:{names.replica}{number}" for number in range(scenario.cluster.replicas))
        return [Site("main", f"gateway:{names.gateway}", _routers(scenario, names.router), f"kv_index:{names.kv_index}",
                     "pool:main", replicas, 0)]
    found, first = [], 0
    for region in scenario.regions:
        name, count = region.name, region.replicas or scenario.cluster.replicas
        replicas = tuple(f"replica:{name}-{names.replica}{number}" for number in range(count))
        routers = _routers(scenario, name)
        found.append(Site(name, f"gateway:{name}", routers, f"kv_index:{name}", f"pool:{name}", replicas, first))
        first += count
    return found


def _routers(scenario: Scenario, name: str) -> tuple[str, ...]:
    count = scenario.router.replicas
    return (f"router:{name}",) if count == 1 else tuple(f"router:{name}-{number}" for number in range(count))


def region_entities(scenario: Scenario) -> Iterator[str]:
    """The parts that every region has."""
    for site in sites(scenario):
        yield from (site.gateway, *site.routers, site.kv_index, *site.replicas)


@dataclass(slots=True)
class Region:
    """The live parts. Routers number the region's replicas from 0 (``engines[i]``)."""

    site: Site
    index: KvIndex
    engines: list[Engine]
    routers: list[Router]
    gateway: GatewayServer

    @property
    def router(self) -> Router:
        """The first router, mostly the only one."""
        return self.routers[0]

    def index_measures(self) -> Iterable[Measure]:
        """How far the index is behind."""
        index = self.index
        yield Measure("flashover:kv_index_events_applied", index.applied, counter=True)
        yield Measure("flashover:kv_index_sequence_gaps", index.gaps, counter=True)
        yield Measure("flashover:kv_index_dumps", index.dumps, counter=True)
        yield Measure("flashover:kv_index_lag_events", index.pending)
        yield Measure("flashover:kv_index_lag_seconds", index.lag_ns / 1e9, "s")
        yield Measure("flashover:kv_index_blocks", index.size, "blocks")
