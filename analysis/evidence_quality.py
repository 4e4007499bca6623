"""How far the telemetry can be trusted: replicas that are silent, spans that are a sample, clocks that disagree, counters that
stand still under load. Each is said in ``coverage``, and adds doubt: odds for *not in the catalogue*.

The traps are those of telemetry-names §5: counters that read zero under load, GPUs that vanish without a metric, traces that a
flag promised and nobody sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from analysis import queries
from analysis.counted import SAMPLED
from analysis.queries import Tables

SKEW_S = 2.0
"""Seconds by which a child may begin before its parent before clocks are said to disagree."""
DOUBT = 1.5
"""Log odds for every other explanation when half of the replicas are silent; in proportion."""


@dataclass(frozen=True, slots=True)
class Quality:
    """``warnings``: what is wrong, for the reader. ``doubt``: log odds added to *not in the catalogue*."""

    warnings: tuple[str, ...]
    doubt: float


def assess(tables: Tables, start_ns: int, end_ns: int, recorded: float | None) -> Quality:
    """The quality of a window. ``recorded``: attempts recorded over attempts counted."""
    window = {"start_ns": start_ns, "end_ns": end_ns}
    warnings, doubt = [], 0.0
    if recorded is not None and recorded < SAMPLED:
        warnings.append(f"requests are a sample: {recorded:.0%} of the attempts that gateways counted were recorded")
    silent = tables.query(queries.sql("silent_replicas", **window)).to_pylist()
    known = sum(row["replicas"] for row in silent[:1])
    mute = [row["replica"] for row in silent if row["replica"] is not None]
    if mute and known:
        warnings.append(f"no steps and no metrics of {', '.join(mute)}: what happened there cannot be seen")
        doubt += 2 * DOUBT * len(mute) / known
    for row in tables.query(queries.sql("clock_skew", **window)).to_pylist():
        if abs(row["ahead_s"]) >= SKEW_S:
            way = "behind" if row["ahead_s"] > 0 else "ahead of"
            warnings.append(f"the clock of {row['entity']} is at least {abs(row['ahead_s']):.0f} s {way} its callers': its "
                            "onsets are no better than that")
    warnings += [
        f"{row['signal']} of {row['entity']} never moved although requests came: it may be broken"
        for row in tables.query(queries.sql("frozen_counters", **window)).to_pylist()
    ]
    return Quality(tuple(warnings), doubt)
