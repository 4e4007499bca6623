"""Canonical per-entity signals: which there are, and their series over a window.

A signal is an SQL file of the same name (``kv_index.lag`` is ``sql/kv_index_lag.sql``) that gives entity, bin, num and
den; its value is sum(num) / sum(den) over any bins, so one file serves the series and every claim about it. How much
of a change matters is said in units of the signal's own kind, so nothing depends on the size of a fleet:

* ``ratio``: times the healthy value (1.3: a third more), and as many times less;
* ``share``: absolute difference of a share;
* ``seconds``: multiples of the mean wait of a healthy attempt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import queries
from analysis.queries import Tables

Floats = NDArray[np.float64]
Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal. ``kind``: of the entities that have it. ``material``: the change that counts as 1, see above."""

    name: str
    kind: str
    scale: Literal["ratio", "share", "seconds"]
    material: float
    meaning: str


SIGNALS: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        Signal("users.answered", "cohort", "share", 0.1, "share of requests answered"),
        Signal("demand.fresh", "cohort", "ratio", 1.3, "first attempts per second"),
        Signal("demand.users", "cohort", "ratio", 1.3, "users who ask, per minute"),
        Signal("demand.prompt", "cohort", "ratio", 1.4, "mean prompt length of first attempts"),
        Signal("demand.attempts", "cohort", "ratio", 1.3, "attempts per first attempt"),
        Signal("gateway.rejected", "gateway", "share", 0.1, "share of attempts turned away"),
        Signal("gateway.wait", "gateway", "ratio", 1.7, "mean wait for the first token"),
        Signal("router.predicted", "router", "share", 0.12, "share of the prompt that the router expects in a cache"),
        Signal("router.unpredicted", "router", "share", 0.04, "share of the prompt in a cache without the router knowing"),
        Signal("router.imbalance", "router", "ratio", 1.5, "busiest replica's share of a minute, times replicas"),
        Signal("kv_index.lag", "kv_index", "seconds", 1.0, "age of the oldest block event not applied"),
        Signal("kv_index.backlog", "kv_index", "ratio", 10.0, "block events not applied"),
        Signal("replica.step_cost", "replica", "ratio", 1.4, "duration of steps, over healthy steps for the same work"),
        Signal("replica.waiting", "replica", "share", 1.0, "requests waiting, per request in the batch"),
        Signal("replica.hit", "replica", "share", 0.12, "share of the prompt found in the prefix cache"),
        Signal("replica.wasted", "replica", "share", 0.15, "share of engine time spent for clients that had left"),
        Signal("replica.evicted", "replica", "share", 0.15, "share of the KV pool evicted per minute"),
        Signal("replica.recomputed", "replica", "share", 0.1, "share of prefill computed again after preemption"),
        Signal("replica.kv_used", "replica", "share", 0.25, "share of KV blocks held by running requests"),
        Signal("replica.computed", "replica", "ratio", 1.5, "prompt tokens computed per second"),
        Signal("replica.busy", "replica", "share", 0.5, "share of time spent in steps"),
    )
}  # fmt: skip


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
    """One signal of one entity: ``num`` and ``den`` per bin [count]."""

    entity: str
    signal: Signal
    num: Floats
    den: Floats

    def mean(self, first: int, last: int) -> float:
        """Value over the bins ``first <= i < last`` together; NaN when they hold nothing."""
        total = float(self.den[first:last].sum())
        return float(self.num[first:last].sum()) / total if total > 0 else math.nan


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a healthy step costs, in ns: per step, per prompt token, per decoding step, per output token."""

    per_step: float
    per_prefill: float
    per_decode_step: float
    per_decode: float

    def parameters(self) -> dict[str, float]:
        """As parameters of ``sql/replica_step_cost.sql``."""
        return {name: getattr(self, name) for name in ("per_step", "per_prefill", "per_decode_step", "per_decode")}


Board = Mapping[str, Mapping[str, Series]]
"""Signal name -> entity -> series."""


def signal_sql(name: str, start_ns: int, end_ns: int, bin_ns: int, cost: StepCost | None) -> str:
    """The query of signal ``name`` over a window, ready to run."""
    extra = cost.parameters() if name == "replica.step_cost" and cost is not None else {}
    return queries.sql(name.replace(".", "_"), start_ns=start_ns, end_ns=end_ns, bin_ns=bin_ns, **extra)


def load_board(tables: Tables, bins: Bins, cost: StepCost | None) -> Board:
    """All signals that the telemetry holds, as series over ``bins``. Counts of nothing are 0, ratios of nothing NaN."""
    board: dict[str, dict[str, Series]] = {}
    for name, signal in SIGNALS.items():
        if name == "replica.step_cost" and cost is None:
            continue
        frame = tables.frame(signal_sql(name, bins.start_ns, bins.end_ns, bins.width_ns, cost))
        rows = {str(key[0]): _series(signal, str(key[0]), part, bins) for key, part in frame.group_by("entity")}
        board[name] = {entity: rows[entity] for entity in sorted(rows)}
    return board


def _series(signal: Signal, entity: str, part: pl.DataFrame, bins: Bins) -> Series:
    at = np.minimum(part["bin"].to_numpy(), bins.count - 1)
    num, den = np.zeros(bins.count), np.zeros(bins.count)
    np.add.at(num, at, part["num"].fill_null(0.0).to_numpy())
    np.add.at(den, at, part["den"].fill_null(0.0).to_numpy())
    if signal.name in PER_TIME:
        den[:] = part["den"].fill_null(0.0).to_numpy().max()
        den[-1] *= (bins.end_ns - bins.at(bins.count - 1)) / bins.width_ns
    return Series(entity, signal, num, den)


PER_TIME = ("demand.fresh", "demand.users", "replica.busy", "replica.computed", "replica.evicted")
"""Signals whose denominator is time: a bin without rows is a zero, not a gap."""


def fit_step_cost(tables: Tables, bins: Bins, first: int, last: int) -> StepCost | None:
    """The fleet's cost of a step from the bins ``first <= i < last``, or None when there are too few steps: non-negative
    least squares over (replica, bin) sums, which are linear in the work as single steps are. A slow replica is outvoted:
    the fit is repeated without the bins that lie far off (iteratively trimmed least squares, Rousseeuw 1984)."""
    sql = queries.sql("step_work", start_ns=bins.at(first), end_ns=bins.at(last), bin_ns=bins.width_ns)
    frame = tables.frame(sql)
    if frame.height < 8:
        return None
    work = frame.select("steps", "prefill_tokens", "decode_steps", "decode_tokens").to_numpy().astype(float)
    took = frame["duration_ns"].to_numpy().astype(float)
    keep = took > 0
    for _ in range(4):
        weights = _nonnegative(work[keep], took[keep])
        ratio = took / np.maximum(work @ weights, 1e-9)
        middle = float(np.median(ratio))
        spread = 1.4826 * float(np.median(np.abs(ratio - middle))) + 0.02
        keep = (took > 0) & (np.abs(ratio - middle) < 4 * spread)
    weights = weights * middle
    return StepCost(*(float(f"{weight:.6g}") for weight in weights)) if float((work @ weights).min()) > 0 else None


def _nonnegative(work: Floats, took: Floats) -> Floats:
    """Relative least squares with coefficients >= 0: negative ones are taken out until none is left."""
    scaled, one = work / took[:, None], np.ones(len(took))
    active = [column for column in range(work.shape[1]) if bool(np.any(work[:, column] > 0))]
    weights = np.zeros(work.shape[1])
    while active:
        found = np.linalg.lstsq(scaled[:, active], one, rcond=None)[0]
        if bool(np.all(found >= 0)):
            weights[active] = found
            return weights
        active.pop(int(np.argmin(found * scaled[:, active].mean(axis=0))))
    return weights
