"""What baselines see: one matrix of metrics over time, who calls whom, and when the alarm went off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import queries
from analysis.board import Bins, load_board
from analysis.impact import choose_bins, load_users
from analysis.queries import Tables
from analysis.step_cost import fit_step_cost

Floats = NDArray[np.float64]
Ranking = list[tuple[str, float]]
"""Entities with scores, best first. Equal scores are ties, and ties count against the method (``scores.strict_rank``)."""
Baseline = Callable[["Observed"], Ranking]


@dataclass(frozen=True, slots=True)
class Observed:
    """``values`` [time, metric], gaps filled; ``metrics``: the entity and the name of each column; ``alarm``: the row at
    which users had noticed, from which on it is abnormal; ``calls``: (from, to); ``target``: the entity that users see."""

    values: Floats
    metrics: tuple[tuple[str, str], ...]
    alarm: int
    calls: frozenset[tuple[str, str]]
    entities: tuple[str, ...]
    target: str

    @property
    def before(self) -> Floats:
        """The normal rows."""
        return self.values[: self.alarm]

    @property
    def after(self) -> Floats:
        """The abnormal rows."""
        return self.values[self.alarm :]

    def columns(self, entity: str) -> list[int]:
        """The columns of an entity."""
        return [i for i, (owner, _) in enumerate(self.metrics) if owner == entity]

    def best_of(self, score: Floats) -> Ranking:
        """Entities by the highest score of their metrics; those without metrics are not named."""
        best: dict[str, float] = {}
        for (entity, _), one in zip(self.metrics, score.tolist(), strict=True):
            best[entity] = max(best.get(entity, -np.inf), one)
        return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))


def observe(tables: Tables, alarm_ns: int) -> Observed:
    """The canonical signals of a store as a matrix. ``alarm_ns``: when users noticed, UTC."""
    row = tables.query(queries.sql("window")).to_pylist()[0]
    start, end = int(row["start_ns"]), int(row["end_ns"])
    bins = choose_bins(load_users(tables, start, end), start, end)
    board = load_board(tables, bins, _cost(tables, bins, alarm_ns))
    columns, metrics = [], []
    for name, holders in sorted(board.items()):
        for entity, series in sorted(holders.items()):
            with np.errstate(divide="ignore", invalid="ignore"):
                columns.append(np.where(series.den > 0, series.num / series.den, np.nan))
            metrics.append((entity, name))
    calls = frozenset((r["src"], r["dst"]) for r in tables.query(queries.sql("relations")).to_pylist())
    entities = {r["entity"] for r in tables.query(queries.sql("entities")).to_pylist()} | {entity for entity, _ in metrics}
    return Observed(
        filled(np.array(columns).T if columns else np.zeros((bins.count, 0))), tuple(metrics),
        min(max(bins.index(alarm_ns), 4), bins.count - 2), calls, tuple(sorted(entities)), _users(metrics),
    )  # fmt: skip


def _cost(tables: Tables, bins: Bins, alarm_ns: int) -> Mapping[str, float]:
    cost = fit_step_cost(tables, bins, 0, max(8, bins.index(alarm_ns)))
    return {} if cost is None else cost.parameters()


def filled(values: Floats) -> Floats:
    """Gaps hold the value before them, or the first one after; a metric that never says anything is 0."""
    result = values.copy()
    for column in result.T:
        known = np.flatnonzero(~np.isnan(column))
        if len(known) == 0:
            column[:] = 0.0
            continue
        at = np.maximum(np.searchsorted(known, np.arange(len(column)), side="right") - 1, 0)
        column[:] = column[known[at]]
    return result


def _users(metrics: Sequence[tuple[str, str]]) -> str:
    asked = [entity for entity, name in metrics if name == "users.answered"]
    return asked[0] if asked else ""
