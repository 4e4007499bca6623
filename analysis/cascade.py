"""The way from the trigger to the users, edge by edge: related, both off their baseline, and not the later one first.

The mechanism's file says which kinds of entity its trouble passes and what shows there. A station that shows nothing is
passed over. Lags come from onset intervals: what overlaps is not ordered, and its lag is 0 with a range.
"""

from __future__ import annotations

from dataclasses import dataclass

from analysis.investigation import CascadeEdge, Instant, Onset
from analysis.mechanisms import Hop
from analysis.onsets import Deviation
from analysis.posterior import Hypothesis
from analysis.scene import Scene
from analysis.signal_catalogue import meaning

WIDEST = 8
"""Entities of one kind that are drawn at most, the earliest first, of equally early ones the most deviating."""


@dataclass(frozen=True, slots=True)
class Station:
    """An entity on the way, when its trouble began and the deviation that shows it (None: the users' impact itself)."""

    entity: str
    onset: Onset
    found: Deviation | None


def trace_cascade(scene: Scene, trigger: Hypothesis) -> tuple[CascadeEdge, ...]:
    """The edges in the order of the way."""
    found = trigger.signature.found
    if found is None:
        return ()
    users = _users(scene)
    if users is None:
        return ()
    here = [Station(trigger.entity, found.onset, found)]
    edges: list[CascadeEdge] = []
    hops = trigger.mechanism.path
    for number, hop in enumerate(hops[1:], start=1):
        last = number == len(hops) - 1
        there = [users] if last and hop.kind == "cohort" else _stations(scene, hop, found.onset, users.onset)
        there = [station for station in there if station.entity not in {one.entity for one in here}]
        new = [_edge(scene, one, other) for one in here for other in there if _leads(scene, one, other)]
        if new:
            edges += new
            here = [station for station in there if any(edge.to == station.entity for edge in new)]
    return tuple(edges)


def _stations(scene: Scene, hop: Hop, since: Onset, users: Onset) -> list[Station]:
    """The entities of the hop's kind that deviate, by their first sign that neither precedes the trigger nor surely comes
    after the users' trouble. A gateway without such a sign is where the users' trouble was seen: it has their onset."""
    stations = []
    for entity in scene.of_kind(hop.kind):
        signs = [
            found
            for signal, direction in zip(hop.signals, hop.directions, strict=True)
            if (found := scene.deviation(signal, entity, direction, scene.last))
            and found.onset.high > since.low and found.onset.low < users.high
        ]  # fmt: skip
        if signs:
            first = min(signs, key=lambda found: (found.onset.low, found.onset.high))
            stations.append(Station(entity, first.onset, first))
        elif hop.kind == "gateway":
            stations.append(Station(entity, users, None))
    stations.sort(key=lambda one: (one.onset.low, 0.0 if one.found is None else -one.found.effect, one.entity))
    return stations[:WIDEST]


def _users(scene: Scene) -> Station | None:
    """The cohort with the most unanswered requests in the episode; its onset is the impact's. None without requests."""
    lost = {
        entity: float((series.den - series.num)[scene.first : scene.last].sum())
        for entity, series in scene.board.get("users.answered", {}).items()
    }
    if not lost:
        return None
    entity = max(lost, key=lambda name: (lost[name], name))
    start = scene.bins.at(scene.first)
    return Station(entity, Onset(Instant(start), Instant(start + scene.bins.width_ns)), None)


def _leads(scene: Scene, one: Station, other: Station) -> bool:
    """Related (users are related to their gateway by asking it), and not surely in the wrong order."""
    kinds = {one.entity.partition(":")[0], other.entity.partition(":")[0]}
    asking = kinds == {"cohort", "gateway"}
    return (asking or not scene.relations or scene.related(one.entity, other.entity)) and other.onset.high > one.onset.low


def _edge(scene: Scene, one: Station, other: Station) -> CascadeEdge:
    low, high = other.onset.low - one.onset.high, other.onset.high - one.onset.low
    middle = (other.onset.low + other.onset.high - one.onset.low - one.onset.high) / 2e9
    if other.found is None:
        name = "users.answered" if other.entity.startswith("cohort:") else "gateway.wait"
        evidence = scene.evidence(f"{other.entity}: {meaning(name)}", name, other.entity, scene.first, scene.last)
    else:
        name = other.found.signal.name
        evidence = scene.evidence(f"{other.entity}: {meaning(name)}", name, other.entity, other.found.first, other.found.last)
    return CascadeEdge(one.entity, other.entity, middle if low >= 0 else 0.0, (max(0.0, low / 1e9), high / 1e9), (evidence,))
