"""The signals of a window as series over bins, from rows and from samples, each table read once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import queries
from analysis.queries import Tables
from analysis.signal_catalogue import SIGNALS, Metric, Signal

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of ``width_ns`` from ``start_ns`` to ``end_ns``; the last one takes what is left over: up to twice as much."""

    start_ns: int
    end_ns: int
    width_ns: int

    @property
    def count(self) -> int:
        """How many bins, at least one."""
        return max(1, (self.end_ns - self.start_ns) // self.width_ns)

    def at(self, index: int) -> int:
        """Start of bin ``index``, ns UTC; the end for those after the last."""
        return self.start_ns + index * self.width_ns if index < self.count else self.end_ns

    def wide(self, seconds: float) -> int:
        """How many bins make up so many seconds, at least one."""
        return max(1, round(seconds * 1e9 / self.width_ns))

    def index(self, at_ns: int) -> int:
        """The bin that holds ``at_ns``, kept to the range 0 .. count."""
        return min(max((at_ns - self.start_ns) // self.width_ns, 0), self.count)


@dataclass(frozen=True, slots=True)
class Series:
    """One signal of one entity: ``num`` and ``den`` per bin [count]. ``source``: the metric it comes from, None for rows.
    ``period_ns``: of the season that was taken out of ``num``, 0 for none (see ``seasons``)."""

    entity: str
    signal: Signal
    num: Floats
    den: Floats
    source: Metric | None = None
    period_ns: int = 0

    def mean(self, first: int, last: int) -> float:
        """Value over the bins ``first <= i < last`` together; NaN when they hold nothing."""
        total = float(self.den[first:last].sum())
        return float(self.num[first:last].sum()) / total if total > 0 else math.nan


Board = Mapping[str, Mapping[str, Series]]
"""Signal name -> entity -> series."""
Parameters = Mapping[str, float]
"""What ``sql/*_step_cost.sql`` need of the cost of a step, see ``step_cost``; empty where it is not known."""


def signal_sql(signal: Signal, source: Metric | None, start_ns: int, end_ns: int, bin_ns: int, cost: Parameters) -> str:
    """The query of a signal over a window, ready to run. KeyError for a signal that needs the cost of a step and has none."""
    window = {"start_ns": start_ns, "end_ns": end_ns, "bin_ns": bin_ns}
    if source is None:
        return queries.sql(signal.name.replace(".", "_"), **window, **cost)
    return queries.sql(
        f"metric_{source.form}", signal=source.of, over=source.over, label=source.label, value=source.value, by=source.by,
        kind=signal.kind, **window,
    )  # fmt: skip


def load_board(tables: Tables, bins: Bins, cost: Parameters, sampled: bool = False) -> Board:
    """All signals that the telemetry holds, as series over ``bins``; signals without any are left out. Counts of nothing are
    0, ratios of nothing NaN. ``sampled``: rows of requests are a sample, so that metrics which count all are better."""
    metrics = _Samples(tables, bins)
    board: dict[str, dict[str, Series]] = {}
    for name, signal in SIGNALS.items():
        for source in signal.sampled_sources if sampled else signal.sources:
            if source is None and name.endswith(".step_cost") and not cost:
                continue
            rows = _from_rows(tables, signal, bins, cost) if source is None else metrics.series(signal, source)
            if rows:
                board[name] = {entity: rows[entity] for entity in sorted(rows)}
                break
    return board


def _from_rows(tables: Tables, signal: Signal, bins: Bins, cost: Parameters) -> dict[str, Series]:
    frame = tables.frame(signal_sql(signal, None, bins.start_ns, bins.end_ns, bins.width_ns, cost))
    found = {}
    for key, part in frame.group_by("entity"):
        at = part["bin"].to_numpy()
        num, den = (_added(bins, at, part[column].fill_null(0.0).to_numpy()) for column in ("num", "den"))
        if signal.per_time:
            den[:] = part["den"].fill_null(0.0).to_numpy().max()
            den[-1] *= (bins.end_ns - bins.at(bins.count - 1)) / bins.width_ns
        found[str(key[0])] = Series(str(key[0]), signal, num, den)
    return found


def _added(bins: Bins, at: NDArray[np.int64], values: Floats) -> Floats:
    """Values per bin, summed."""
    result = np.zeros(bins.count)
    np.add.at(result, np.minimum(at, bins.count - 1), values)
    return result


Part = tuple[pl.DataFrame, bool, bool]
"""The bins of one series, and whether it is counted above and below the line."""


class _Samples:
    """Every sample reduced to bins by one query; signals are then sums over series."""

    def __init__(self, tables: Tables, bins: Bins) -> None:
        self._bins = bins
        metrics = [metric for signal in SIGNALS.values() for metric in signal.metrics]
        wanted = sorted({of for metric in metrics for of in (metric.of, metric.over) if of})
        series = tables.frame(queries.sql("series_owners")).filter(pl.col("signal").is_in(wanted))
        self._series: dict[str, list[tuple[int, str | None, dict[str, str]]]] = {}
        for row in series.iter_rows(named=True):
            self._series.setdefault(row["signal"], []).append((row["series_id"], row["entity"], _labels(row["labels"])))
        self._frames: dict[int, pl.DataFrame] = {}
        if series.height:
            sql = queries.sql("sample_bins", signals="," + ",".join(wanted) + ",", start_ns=bins.start_ns, end_ns=bins.end_ns,
                              bin_ns=bins.width_ns)  # fmt: skip
            self._frames = {int(key[0]): part for key, part in tables.frame(sql).group_by("series_id")}
        self._owners: dict[tuple[str, str], str] = {}
        for row in tables.query(queries.sql("relations")).to_pylist():
            key = (row["src"], row["dst"].partition(":")[0])
            self._owners[key] = min(row["dst"], self._owners.get(key, row["dst"]))

    def series(self, signal: Signal, metric: Metric) -> dict[str, Series]:
        """The series of a signal by entity, as ``sql/metric_<form>.sql`` give them."""
        members: dict[str, list[Part]] = {}
        for of in dict.fromkeys((metric.of, metric.over)):
            for series_id, sender, labels in self._series.get(of, ()):
                entity = self._entity(signal.kind, metric, sender, labels)
                chosen = not metric.label or labels.get(metric.label) == metric.value
                if entity is not None and series_id in self._frames and (chosen or metric.form == "share" or of == metric.over):
                    part = (self._frames[series_id], of == metric.of and chosen, of != metric.of)
                    members.setdefault(entity, []).append(part)
        return {entity: self._together(entity, signal, metric, parts) for entity, parts in members.items()}

    def _entity(self, kind: str, metric: Metric, sender: str | None, labels: Mapping[str, str]) -> str | None:
        if metric.by:
            return f"{kind}:{labels[metric.by]}" if metric.by in labels else None
        if sender is None or sender.startswith(f"{kind}:"):
            return sender
        return self._owners.get((sender, kind))

    def _together(self, entity: str, signal: Signal, metric: Metric, parts: Iterable[Part]) -> Series:
        num, den = np.zeros(self._bins.count), np.zeros(self._bins.count)
        for frame, counted, below in parts:
            at = frame["bin"].to_numpy()

            def column(name: str, at: NDArray[np.int64] = at, frame: pl.DataFrame = frame) -> Floats:
                return _added(self._bins, at, frame[name].fill_null(0.0).to_numpy().astype(float))

            if metric.form in ("mean", "observed"):
                names = ("total", "scrapes") if metric.form == "mean" else ("hist_sum", "hist_count")
                num, den = num + column(names[0]), den + column(names[1])
            elif metric.form == "rate":
                num, den = num + column("more"), np.maximum(den, column("seconds"))
            elif metric.form == "share":
                num, den = num + column("more") * counted, den + column("more")
            else:
                num, den = num + column("more") * counted, den + column("more") * below
        return Series(entity, signal, num, den, metric)


def _labels(pairs: object) -> dict[str, str]:
    """A MAP column's value, however the driver hands it over."""
    if isinstance(pairs, Mapping):
        return {str(key): str(value) for key, value in pairs.items()}
    return {str(pair["key"]): str(pair["value"]) for pair in pairs or ()}  # type: ignore[attr-defined]
