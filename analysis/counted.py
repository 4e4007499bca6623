"""What users felt, from counters alone: where requests were not recorded, or only a sample of them.

Gateways count what comes (first attempts and retries) and how it ends. A request counts when an attempt at it ends: answered
ones are good; of failed attempts so many make one bad request as there are attempts to a request at the time.
"""

from __future__ import annotations

import numpy as np

from analysis import queries
from analysis.board import Bins, Floats
from analysis.impact import Finding, judge
from analysis.queries import Tables

SAMPLED = 0.8
"""Attempts recorded over attempts counted below which the recorded ones are a sample."""
WIDTH_S = 15
SLO = "a request is good when an attempt is answered, as gateways count; waits are not judged"


def recorded_share(tables: Tables, start_ns: int, end_ns: int) -> float | None:
    """Attempts recorded, over attempts that gateways counted; None where they count none."""
    sql = queries.sql("recorded_share", start_ns=start_ns, end_ns=end_ns)
    row = tables.query(sql).to_pylist()[0]
    counted = row["counted"] or 0.0
    return float(row["recorded"]) / counted if counted > 0 else None


def counted_bins(start_ns: int, end_ns: int) -> Bins:
    """Bins wide enough for any usual scrape interval."""
    return Bins(start_ns, end_ns, WIDTH_S * 1_000_000_000)


def counted_impact(tables: Tables, bins: Bins) -> Finding | None:
    """The impact by counters; None where gateways count nothing."""
    sql = queries.sql("counted_users", start_ns=bins.start_ns, end_ns=bins.end_ns, bin_ns=bins.width_ns)
    frame = tables.frame(sql)
    if frame.height == 0:
        return None
    at = np.minimum(frame["bin"].to_numpy(), bins.count - 1)

    def column(name: str) -> Floats:
        values = np.zeros(bins.count)
        np.add.at(values, at, frame[name].fill_null(0.0).to_numpy())
        return values

    ok, failed, first, came = (column(name) for name in ("ok", "failed", "first", "came"))
    each = np.maximum(np.where(first > 0, came / np.maximum(first, 1e-9), 1.0), 1.0)
    return judge(ok + failed / each, ok, bins, SLO)
