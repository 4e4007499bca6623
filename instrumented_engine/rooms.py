"""The rooms of mechanisms, in the order in which they are put into a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.errors import BadInput
from instrumented_engine.actions import action_problems
from instrumented_engine.chat_tier.room import ROOM as CHAT_TIER
from instrumented_engine.clients.room import ROOM as CLIENTS
from instrumented_engine.control_plane.room import ROOM as CONTROL_PLANE
from instrumented_engine.disaggregation.room import ROOM as DISAGGREGATION
from instrumented_engine.hardware.room import ROOM as HARDWARE
from instrumented_engine.kv.room import ROOM as KV
from instrumented_engine.mechanism import Room
from instrumented_engine.moe.room import ROOM as MOE
from instrumented_engine.regions.region import region_entities
from instrumented_engine.regions.room import ROOM as REGIONS
from instrumented_engine.replica.room import ROOM as REPLICA
from instrumented_engine.routing.room import ROOM as ROUTING
from instrumented_engine.scenario import Scenario
from instrumented_engine.speculative.room import ROOM as SPECULATIVE

ROOMS: tuple[Room, ...] = (
    REPLICA, HARDWARE, MOE, SPECULATIVE, KV, DISAGGREGATION, ROUTING, CONTROL_PLANE, REGIONS, CHAT_TIER, CLIENTS,
)


def entities(scenario: Scenario) -> list[str]:
    """Every entity of the scenario that an action may name."""
    return [*region_entities(scenario), *(entity for room in ROOMS for entity in room.entities(scenario))]


def problems(scenario: Scenario) -> Iterator[str]:
    """What cannot work in ``scenario``, one line each."""
    for room in ROOMS:
        yield from room.problems(scenario)
    mechanisms = [mechanism for room in ROOMS for mechanism in room.mechanisms]
    yield from action_problems(scenario, mechanisms, entities(scenario))


def check(scenario: Scenario) -> None:
    """Raise BadInput with a line for each thing that cannot work."""
    if found := list(problems(scenario)):
        raise BadInput("\n".join(found))
