"""Outages of service graphs that tell latency, availability and requests alone: whose own trouble is it?

Nobody says when to look: users' trouble is that of services that nobody calls (of all, without a graph), in two samples in a
row. A service is suspect by three things together: how far it is from its own past, on a scale that knows its tails
(log-latency, share of faults); its *self share*, what is left of its excess seconds or faults once its callees' are taken away,
for trouble is passed on to callers; and how much of the users' excess it could account for. Links to peers, which only callers
measure, are no suspects. Ranking and abstention are two outputs: where users' trouble is not clear the most suspicious recent
samples are ranked all the same, and nothing is claimed (forensics-methods §5, §6 steps 0, 2 and 3).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis import queries
from analysis.board import Floats
from analysis.investigation import (
    Calibration,
    CascadeEdge,
    Coverage,
    Episode,
    Evidence,
    Impact,
    Instant,
    Investigation,
    Onset,
    Phase,
    Trigger,
    Window,
)
from analysis.queries import Tables
from analysis.scene import ask

Kind = Literal["latency", "faults"]
KINDS: tuple[Kind, ...] = ("latency", "faults")
MECHANISMS: Mapping[Kind, str] = {"latency": "slow_service", "faults": "failing_service"}
FLOORS: Mapping[Kind, float] = {"latency": 0.05, "faults": 0.005}
"""Least spread that any service is believed to have: of its log-latency, of its share of faults."""
PAST_SHARE = 0.75
"""Share of the samples that is taken for the past."""
BOTH, EITHER = 2.4, 3.4
"""Spreads from the past that users' trouble needs: in both of two samples, and in one of them."""
RECENT = 6
"""Samples at the end that are ranked where users' trouble is not clear."""
LEAST = 12
SHARE_OF_USERS = 0.05
"""Services that nobody calls count with at least this share of such requests."""
OWN, PASSED = 1.0, 0.2
"""What a service's suspicion is worth when all of its excess is its own, and when none is."""
HALF = 3.0
"""Spreads beyond one from which a deviation is half as suspicious as can be."""
SHARPNESS = 8.0
"""Log odds per unit of suspicion."""


@dataclass(frozen=True, slots=True)
class Services:
    """``times_ns`` [time]; ``latency_s``, ``faults``, ``requests`` [time, service], NaN where not measured; ``callees``: of
    each place, places; ``links``: places that are no services."""

    names: tuple[str, ...]
    times_ns: Sequence[int]
    latency_s: Floats
    faults: Floats
    requests: Floats
    callees: Mapping[int, tuple[int, ...]]
    links: frozenset[int]

    @property
    def past(self) -> int:
        """How many samples are the past."""
        return int(len(self.times_ns) * PAST_SHARE)

    def values(self, kind: Kind) -> Floats:
        """The measurements of one kind."""
        return self.latency_s if kind == "latency" else self.faults

    def users(self) -> list[int]:
        """The places of services that nobody calls and that have their share of requests."""
        called = {callee for callees in self.callees.values() for callee in callees}
        services = [i for i in range(len(self.names)) if i not in self.links]
        roots = [i for i in services if i not in called and (self.callees.get(i) or not called)]
        asked = [float(np.nansum(self.requests[: self.past, i])) for i in roots]
        return [i for i, own in zip(roots, asked, strict=True) if own >= SHARE_OF_USERS * sum(asked)]


def load_services(tables: Tables, start_ns: int, end_ns: int) -> Services | None:
    """The services of a window; None when there are none, or too few samples."""
    frame = tables.frame(queries.sql("service_samples", start_ns=start_ns, end_ns=end_ns))
    times = sorted(frame["ts_ns"].unique().to_list())
    names = sorted(frame["entity"].unique().to_list())
    if len(times) < LEAST or not names:
        return None
    at, place = {t: i for i, t in enumerate(times)}, {name: i for i, name in enumerate(names)}
    values = {s: np.full((len(times), len(names)), np.nan) for s in ("latency", "availability", "requests")}
    for entity, signal, ts_ns, value in frame.iter_rows():
        values[signal.partition(".")[2]][at[ts_ns], place[entity]] = value
    callees: dict[int, list[int]] = {}
    for row in tables.query(queries.sql("relations")).to_pylist():
        if row["kind"] == "calls" and row["src"] in place and row["dst"] in place:
            callees.setdefault(place[row["src"]], []).append(place[row["dst"]])
    links = frozenset(i for name, i in place.items() if not name.startswith("service:"))
    return Services(tuple(names), times, values["latency"], 1.0 - values["availability"] / 100.0, values["requests"],
                    {src: tuple(sorted(dst)) for src, dst in callees.items()}, links)  # fmt: skip


def explain_services(tables: Tables, window: Window, coverage: Coverage) -> Investigation | None:
    """The investigation of a store that holds services; None when it holds none."""
    services = load_services(tables, window.start, window.end)
    if services is None or not services.users():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of samples that hold nothing are NaN, as they should be
        far = {kind: _spreads(services, kind) for kind in KINDS}
        first, clear = _trouble(services, far)
        suspects = _suspects(services, far, first)
    probabilities = _probabilities([one.suspicion for one in suspects])
    triggers = tuple(
        _trigger(tables, services, far, one, rank, p, first)
        for rank, (one, p) in enumerate(zip(suspects[:5], probabilities[:5], strict=True), start=1)
    )
    end = services.times_ns[min(first + 2, len(services.times_ns) - 1)]
    begin, slo = Instant(services.times_ns[first]), "services that nobody calls answer as fast and as well as they used to"
    if not clear:
        return Investigation(window, coverage, Calibration(), abstained=True, impact=Impact(slo, None, None, 0.0),
                             triggers=triggers, residual_probability=max(0.0, 1.0 - sum(one.probability for one in triggers)))
    impact = Impact(slo, begin, Instant(end), _fault_share(services, first), (Phase("degraded", begin, Instant(end)),))
    return Investigation(
        window, coverage, Calibration(), abstained=not triggers or triggers[0].probability < 0.5, impact=impact,
        triggers=triggers, residual_probability=max(0.0, 1.0 - sum(one.probability for one in triggers)),
        episodes=(Episode(begin, Instant(end), (1,) if triggers else ()),),
        cascade=_way(tables, services, far, suspects[0], first) if suspects else (),
    )  # fmt: skip


def _spreads(services: Services, kind: Kind) -> Floats:
    """How far each sample is from its service's past [time, service], in robust spreads."""
    values = services.values(kind)
    scaled = np.log(np.maximum(values, 1e-9)) if kind == "latency" else values
    past = scaled[: services.past]
    middle = np.nanmedian(past, axis=0)
    mad = 1.4826 * np.nanmedian(np.abs(past - middle), axis=0)
    tail = (np.nanquantile(past, 0.975, axis=0) - middle) / 1.96
    far: Floats = (scaled - middle) / np.maximum(np.fmax(mad, tail), FLOORS[kind])
    far[:, np.isfinite(past).sum(axis=0) < 8] = np.nan
    return far


def _trouble(services: Services, far: Mapping[Kind, Floats]) -> tuple[int, bool]:
    """The first of the two samples in which users' trouble is latest and clear; or, unclear, largest of the recent ones."""
    users = services.users()
    worst = np.nan_to_num(np.fmax.reduce([far[kind][:, users].max(axis=1) for kind in KINDS]))
    low, high = np.minimum(worst[:-1], worst[1:]), np.maximum(worst[:-1], worst[1:])
    clear = np.flatnonzero((low >= BOTH) & (high >= EITHER))
    if len(clear):
        return int(clear[-1]), True
    recent = max(0, len(low) - RECENT)
    return recent + int(np.argmax((low + high)[recent:])), False


@dataclass(frozen=True, slots=True)
class Suspect:
    """A service, what it is suspected of, how far it is off, and the share of its excess that is its own."""

    place: int
    kind: Kind
    suspicion: float
    far: float
    own: float


def _suspects(services: Services, far: Mapping[Kind, Floats], first: int) -> list[Suspect]:
    span = slice(first, first + 2)
    peak = {kind: np.nan_to_num(np.nanmax(far[kind][span], axis=0)) for kind in KINDS}
    users = services.users()
    felt = max(float(peak[kind][i]) for kind in KINDS for i in users)
    ill = [i for i in users if max(peak[kind][i] for kind in KINDS) >= 0.6 * felt]
    weight = {kind: max(0.0, max(float(peak[kind][i]) for i in ill)) / max(felt, 1e-9) for kind in KINDS}
    excess = {kind: _excess(services, kind, span) for kind in KINDS}
    found = []
    for i in _behind(services, ill):
        options = [_suspect(services, i, kind, excess[kind], float(peak[kind][i]), ill, weight[kind]) for kind in KINDS]
        found.append(max(options, key=lambda one: one.suspicion))
    return sorted((one for one in found if one.suspicion > 0), key=lambda one: (-one.suspicion, services.names[one.place]))


def _suspect(
    services: Services, place: int, kind: Kind, excess: Floats, far: float, ill: Sequence[int], weight: float
) -> Suspect:
    own = float(excess[place])
    if own <= 0:
        return Suspect(place, kind, 0.0, far, 0.0)
    passed = sum(min(float(excess[i]), own) for i in services.callees.get(place, ()) if i not in services.links)
    share = max(0.0, own - passed) / own
    flow = min(1.0, own / max(max(float(excess[i]) for i in ill), 1e-12))
    beyond = max(0.0, far - 1.0)
    suspicion = weight * beyond / (beyond + HALF) * (PASSED + (OWN - PASSED) * share) * math.sqrt(flow)
    return Suspect(place, kind, suspicion, far, share)


def _excess(services: Services, kind: Kind, span: slice) -> Floats:
    """Seconds, or faults, beyond the past's median [service], per sample."""
    values = services.values(kind)
    more = np.maximum(values[span] - np.nanmedian(values[: services.past], axis=0), 0.0)
    excess: Floats = np.nan_to_num(np.nanmean(more * np.nan_to_num(services.requests[span]), axis=0))
    return excess


def _behind(services: Services, places: Sequence[int]) -> list[int]:
    """The services that the users' own depend on, themselves included."""
    reached: set[int] = set()
    open_ends = list(places)
    while open_ends:
        one = open_ends.pop()
        if one not in reached:
            reached.add(one)
            open_ends += services.callees.get(one, ())
    return sorted(reached - services.links)


def _probabilities(suspicions: Sequence[float]) -> list[float]:
    if not suspicions:
        return []
    parts = [math.exp(SHARPNESS * (one - suspicions[0])) for one in suspicions]
    none = math.exp(SHARPNESS * (0.25 - suspicions[0]))
    return [part / (sum(parts) + none) for part in parts]


def _fault_share(services: Services, first: int) -> float:
    users = services.users()
    asked = np.nan_to_num(services.requests[first : first + 2, users])
    return float((np.nan_to_num(services.faults[first : first + 2, users]) * asked).sum() / max(asked.sum(), 1e-9))


def _trigger(
    tables: Tables, services: Services, far: Mapping[Kind, Floats], one: Suspect, rank: int, probability: float, first: int
) -> Trigger:
    begin = first
    while begin > services.past and np.nan_to_num(far[one.kind][begin - 1, one.place]) >= EITHER:
        begin -= 1
    onset = Onset(Instant(services.times_ns[max(begin - 1, 0)]), Instant(services.times_ns[begin]))
    claim = f"{services.names[one.place]}: {one.own:.0%} of its excess is its own, {one.far:.1f} spreads from its past"
    evidence = _evidence(tables, services, one.place, one.kind, first, claim)
    return Trigger(rank, services.names[one.place], MECHANISMS[one.kind], (), probability, onset, (evidence,))


def _evidence(tables: Tables, services: Services, place: int, kind: Kind, first: int, claim: str) -> Evidence:
    times = services.times_ns
    end = times[first + 2] if first + 2 < len(times) else times[-1] + 1
    signal, what = ("service.latency", "value") if kind == "latency" else ("service.availability", "1.0 - value / 100.0")

    def mean(start_ns: int, end_ns: int) -> str:
        inner = queries.sql("service_samples", start_ns=start_ns, end_ns=end_ns)
        return (f"(SELECT avg({what}) FROM ({inner}) t WHERE entity = {queries.literal(services.names[place])} "
                f"AND signal = {queries.literal(signal)})")

    return ask(tables, claim, f"SELECT {mean(times[first], end)} AS value, {mean(times[0], times[services.past])} AS baseline")


def _way(tables: Tables, services: Services, far: Mapping[Kind, Floats], one: Suspect, first: int) -> tuple[CascadeEdge, ...]:
    """From the suspect over its callers, as far as they are off as well, to a service that nobody calls."""
    edges: list[CascadeEdge] = []
    here = one.place
    while True:
        passed = {edge.from_ for edge in edges}
        callers = [src for src, dst in services.callees.items() if here in dst and services.names[src] not in passed]
        peak = {src: float(np.nan_to_num(np.nanmax(far[one.kind][first : first + 2, src]))) for src in callers}
        ill = [src for src in callers if peak[src] >= 1.0]
        if not ill or len(edges) > len(services.names):
            return tuple(edges)
        caller = max(ill, key=lambda src: (peak[src], services.names[src]))
        claim = f"{services.names[caller]}: {peak[caller]:.1f} spreads from its past at the same time"
        period = (services.times_ns[1] - services.times_ns[0]) / 1e9
        evidence = _evidence(tables, services, caller, one.kind, first, claim)
        edges.append(CascadeEdge(services.names[here], services.names[caller], 0.0, (0.0, period), (evidence,)))
        here = caller
