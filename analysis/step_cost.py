"""What a healthy step costs, fitted from healthy time: the yardstick for "slower at the same work"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis import queries
from analysis.board import Bins, Floats
from analysis.queries import Tables


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a healthy step costs, in ns: per step, per prompt token, per decoding step, per output token."""

    per_step: float
    per_prefill: float
    per_decode_step: float
    per_decode: float

    def parameters(self) -> dict[str, float]:
        """As parameters of ``sql/replica_step_cost.sql`` and ``sql/pool_step_cost.sql``."""
        return {name: getattr(self, name) for name in ("per_step", "per_prefill", "per_decode_step", "per_decode")}


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
