"""What the analysis looks at once the impact is known: signals over bins, healthy time, relations, changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from analysis import queries
from analysis.board import Bins, Board, load_board, signal_sql
from analysis.impact import Finding, Stretch
from analysis.investigation import Evidence
from analysis.noise import effect_of
from analysis.onsets import LARGEST, Deviation, Healthy, choose_healthy, detect, quiet_time
from analysis.queries import Tables
from analysis.seasons import without_seasons
from analysis.signal_catalogue import SIGNALS, Direction
from analysis.step_cost import StepCost, fit_step_cost

GRACE_S, MARGIN_S = 30.0, 15.0
"""A cause may show in its own signal so long after the first bad request began, or after the first was known to be bad:
clients are patient, scrapes are late, and bins have width."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the change log; ``entity`` may be empty."""

    at_ns: int
    kind: str
    entity: str
    summary: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One episode of bad service in its surroundings. ``first`` and ``last`` are its bins, ``last`` exclusive."""

    tables: Tables
    bins: Bins
    board: Board
    cost: StepCost | None
    healthy: Healthy
    finding: Finding
    first: int
    last: int
    entities: tuple[str, ...]
    relations: frozenset[tuple[str, str]]
    changes: tuple[Change, ...]
    _seen: dict[tuple[str, str, str, int], Deviation | None] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """The bin from which on a first deviation can only be a consequence of the impact. Where bad service came before an
        outage, it is the outage that is to be explained."""
        stretch = (self.first, self.last)
        grace = max(GRACE_S, self.finding.patience(stretch) + MARGIN_S)
        return min(self.last, self.finding.outage_begin(stretch) + 1 + self.bins.wide(grace))

    @property
    def lead_up(self) -> tuple[int, int]:
        """The bins in which a cause can have shown: from healthy time, or the end of the trouble before, to the horizon."""
        since = self.healthy.since
        return min(since, self.horizon - 1), self.horizon

    def of_kind(self, kind: str) -> list[str]:
        """The entities of one kind."""
        return [entity for entity in self.entities if entity.startswith(f"{kind}:")]

    def related(self, one: str, other: str) -> bool:
        """Whether telemetry shows any relation between two entities, in either direction."""
        return (one, other) in self.relations or (other, one) in self.relations

    def measured(self, signal: str, entity: str) -> bool:
        """Whether the signal of the entity has anything in healthy time and in the lead-up: silence is no alibi."""
        series = self.board.get(signal, {}).get(entity)
        spans = ((self.healthy.first, self.healthy.last), self.lead_up)
        return series is not None and all(series.den[first:last].sum() > 0 for first, last in spans)

    def deviation(self, signal: str, entity: str, direction: Direction, until: int | None = None) -> Deviation | None:
        """The first lasting deviation before bin ``until`` (the horizon when None)."""
        stop = self.horizon if until is None else until
        key = (signal, entity, direction, stop)
        if key not in self._seen:
            series = self.board.get(signal, {}).get(entity)
            self._seen[key] = None if series is None else detect(series, direction, self.bins, self.healthy, stop)
        return self._seen[key]

    def peer_effect(self, found: Deviation) -> float:
        """Median effect of the same signal on the entity's peers in the same bins; 0 without peers."""
        effects = []
        for entity, series in self.board[found.signal.name].items():
            if entity != found.entity:
                value = series.mean(found.first, found.last)
                baseline = series.mean(self.healthy.first, self.healthy.last)
                effects.append(min(effect_of(found.signal, value, baseline, self.healthy.wait_s, found.direction), LARGEST))
        known = [effect for effect in effects if not math.isnan(effect)]
        return float(np.median(known)) if known else 0.0

    def lead_up_effect(self, signal: str, entity: str, direction: Direction) -> float:
        """How far the signal of the entity went in the lead-up as a whole, in material units; NaN where it is not measured."""
        series = self.board[signal][entity]
        value, baseline = series.mean(*self.lead_up), series.mean(self.healthy.first, self.healthy.last)
        return effect_of(series.signal, value, baseline, self.healthy.wait_s, direction)

    def fleet(self, signal: str, first: int, last: int) -> float:
        """Value of all entities that have the signal together, over the bins ``first <= i < last``; NaN without any."""
        of = self.board.get(signal, {}).values()
        total = sum(float(series.den[first:last].sum()) for series in of)
        return sum(float(series.num[first:last].sum()) for series in of) / total if total > 0 else math.nan

    def evidence(self, claim: str, signal: str, entity: str, first: int, last: int) -> Evidence:
        """The claim with the signal's value over the bins ``first <= i < last`` beside healthy time, as its SQL gives
        them."""
        return ask(self.tables, claim, self.signal_query(signal, entity, first, last))

    def signal_query(self, signal: str, entity: str, first: int, last: int) -> str:
        """SQL that gives ``value`` over the bins and ``baseline`` over healthy time, at the same time of day where the signal
        has seasons."""
        window = (self.bins.at(first), self.bins.at(max(last, first + 1)))
        value, baseline = (self._value(signal, entity, spans) for spans in ([window], self._usual(signal, entity, window)))
        return f"SELECT {value} AS value, {baseline} AS baseline"

    def _usual(self, signal: str, entity: str, window: tuple[int, int]) -> list[tuple[int, int]]:
        """When the signal was as it usually is in ``window``, ns UTC."""
        begin, end = self.bins.at(self.healthy.first), self.bins.at(max(self.healthy.last, self.healthy.first + 1))
        series = self.board.get(signal, {}).get(entity)
        period = 0 if series is None else series.period_ns
        back = range(period, window[1] - begin, period) if period else ()
        earlier = [(max(window[0] - ago, begin), window[1] - ago) for ago in back if begin < window[1] - ago <= end]
        return earlier or [(begin, end)]

    def _value(self, signal: str, entity: str, spans: list[tuple[int, int]]) -> str:
        held = next(iter(self.board.get(signal, {}).values()), None)
        source = SIGNALS[signal].sources[0] if held is None else held.source
        cost = self.cost.parameters() if self.cost is not None and signal.endswith(".step_cost") else {}
        parts = (signal_sql(SIGNALS[signal], source, start, end, end - start, cost) for start, end in spans)
        rows = " UNION ALL ".join(f"SELECT * FROM ({part}) p" for part in parts)
        return f"(SELECT sum(num) / nullif(sum(den), 0) FROM ({rows}) t WHERE entity = {queries.literal(entity)})"


def look(
    tables: Tables, bins: Bins, finding: Finding, stretch: Stretch, changes: tuple[Change, ...] = (), like: Scene | None = None,
    sampled: bool = False,
) -> Scene | None:
    """A stretch of ``finding`` in its surroundings; None when there is no healthy time to compare it with. ``like``: a scene
    of another stretch of the same finding, whose signals are taken over. ``sampled``: rows of requests are a sample."""
    quiet = quiet_time(finding.stretches, stretch, bins)
    if quiet is None:
        return None
    if like is not None:
        return replace(like, healthy=choose_healthy(like.board, bins, quiet), first=stretch[0], last=stretch[1], _seen={})
    cost = fit_step_cost(tables, bins, quiet.first, quiet.last)
    board = load_board(tables, bins, {} if cost is None else cost.parameters(), sampled)
    board = without_seasons(board, bins, quiet.first, quiet.last) if quiet.before else board
    entities = {row["entity"] for row in tables.query(queries.sql("entities")).to_pylist()}
    entities |= {entity for of_entity in board.values() for entity in of_entity}
    relations = {(row["src"], row["dst"]) for row in tables.query(queries.sql("relations")).to_pylist()}
    return Scene(
        tables, bins, board, cost, choose_healthy(board, bins, quiet), finding, *stretch, tuple(sorted(entities)),
        frozenset(relations), changes,
    )  # fmt: skip


def ask(tables: Tables, claim: str, sql: str) -> Evidence:
    """A claim whose SQL gives one row with ``value`` and ``baseline``."""
    row = tables.query(sql).to_pylist()[0]
    return Evidence(claim, sql, _number(row["value"]), _number(row["baseline"]))


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]
